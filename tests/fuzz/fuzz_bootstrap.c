// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/*
 * Any bytes as a bootstrap: opened, walked, every run, xattr and target read. No crash, and an
 * end in bounded time, whatever they say. What the walk shows must keep to its promises.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fmt/erofs.h"
#include "lib/base/mem.h"
#include "lib/bootstrap/read.h"
#include "lib/bootstrap/walk.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { INPUT_MAX = 1 << 20 };

#define MUST(cond)               \
	do {                     \
		if (!(cond))     \
			abort(); \
	} while (0)

struct seen {
	const struct bootstrap *b;
	uint64_t sum; /* of every byte that was shown: each must be readable */
	uint64_t end; /* of the runs of the file being read */
	unsigned faults;
};

static void see(struct seen *s, const void *p, size_t len)
{
	const uint8_t *b = p;

	for (size_t i = 0; i < len; i++)
		s->sum += b[i];
}

static int on_xattr(void *arg, const struct bootstrap_xattr *x, struct error **err)
{
	struct seen *s = arg;

	see(s, x->prefix, strlen(x->prefix));
	see(s, x->suffix, x->suffix_len);
	see(s, x->value, x->value_len);
	return 0;
}

static int on_run(void *arg, const struct bootstrap_run *run, struct error **err)
{
	struct seen *s = arg;
	struct erofs_device_slot slot;

	MUST(run->offset == s->end && run->n_blk > 0);
	s->end += run->n_blk * EROFS_BLOCK_SIZE;
	if (!run->device)
		return 0;
	MUST(bootstrap_device(s->b, run->device - 1u, &slot, err) == 0);
	MUST(run->blk + run->n_blk <= slot.blocks);
	return 0;
}

/* A fault in one inode ends that one only. */
static void forget(struct error **err)
{
	MUST(*err && *(*err)->msg);
	error_free(*err);
	*err = NULL;
}

static int on_entry(void *arg, const struct bootstrap_entry *entry, struct error **err)
{
	struct seen *s = arg;
	const struct bootstrap_inode *inode = entry->inode;

	if (entry->name)
		see(s, entry->name->name, entry->name->len);
	if (entry->again)
		return 0;
	if (bootstrap_xattrs(s->b, inode, on_xattr, s, err))
		forget(err);
	if (S_ISLNK(inode->inode.mode)) {
		CLEANUP_FREE char *target = bootstrap_readlink(s->b, inode, err);

		if (target)
			MUST(strlen(target) == inode->inode.size);
		else
			forget(err);
	} else if (inode->inode.layout == EROFS_CHUNKED) {
		s->end = 0;
		if (bootstrap_runs(s->b, inode, on_run, s, err))
			forget(err);
		else
			MUST(s->end >= inode->inode.size);
	} else if (S_ISREG(inode->inode.mode)) {
		struct bootstrap_flat flat;

		bootstrap_flat(s->b, inode, &flat);
		MUST(flat.head_size + flat.tail_size == inode->inode.size);
		if (flat.head_size) { /* files may overlap: their ends will do */
			see(s, flat.head, 1);
			see(s, flat.head + flat.head_size - 1, 1);
		}
		see(s, flat.tail, flat.tail_size);
	}
	return 0;
}

static int on_fault(void *arg, struct error **err)
{
	struct seen *s = arg;

	forget(err);
	s->faults++;
	return 0;
}

static void walk(const struct bootstrap *b, bool go_on)
{
	struct seen s = { .b = b };
	const struct bootstrap_walker walker = {
		.each = on_entry, .fault = go_on ? on_fault : NULL, .arg = &s
	};
	struct error *err = NULL;

	if (bootstrap_walk(b, &walker, &err))
		forget(&err);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	CLEANUP_FREE uint8_t *padded = NULL;
	size_t n = (size + EROFS_BLOCK_SIZE - 1) / EROFS_BLOCK_SIZE * EROFS_BLOCK_SIZE;
	struct bootstrap *b;
	struct error *err = NULL;
	static int fd = -1;

	if (!size || n > INPUT_MAX)
		return 0;
	if (fd < 0)
		fd = memfd_create("bootstrap", 0);
	padded = xzalloc(n);
	memcpy(padded, data, size);
	erofs_super_seal(padded); /* no mutation would get past the checksum */
	MUST(fd >= 0 && ftruncate(fd, (off_t)n) == 0);
	MUST(pwrite(fd, padded, n, 0) == (ssize_t)n);
	b = bootstrap_open(fd, &err);
	if (!b) {
		forget(&err);
		return 0;
	}
	walk(b, false);
	walk(b, true);
	bootstrap_close(b);
	return 0;
}
