// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/*
 * The validator, and what follows from its yes: the reader walks the image and reads every
 * run, xattr and target without a fault. An input is either a whole image, or (first byte odd)
 * a list of places and bytes to change in a sound one. The checksum is always made right.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lib/bootstrap/validate.h"
#include "lib/bootstrap/walk.h"
#include "tests/unit/sample_image.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { PATCH = 3 }; /* offset u16, byte */

#define MUST(cond)               \
	do {                     \
		if (!(cond))     \
			abort(); \
	} while (0)

struct counts {
	const struct bootstrap *b;
	struct bootstrap_validation seen;
	uint64_t blocks;
};

static int on_run(void *arg, const struct bootstrap_run *run, struct error **err)
{
	struct counts *c = arg;

	c->blocks += run->n_blk;
	return 0;
}

static int on_entry(void *arg, const struct bootstrap_entry *entry, struct error **err)
{
	struct counts *c = arg;
	const struct bootstrap_inode *i = entry->inode;

	c->seen.names += entry->name != NULL;
	if (entry->again)
		return 0;
	c->seen.inodes++;
	c->seen.directories += S_ISDIR(i->inode.mode);
	c->seen.chunk_indexes += bootstrap_chunks(i);
	if (S_ISLNK(i->inode.mode)) {
		CLEANUP_FREE char *target = bootstrap_readlink(c->b, i, err);

		if (!target)
			return -1;
	}
	if (bootstrap_runs(c->b, i, on_run, c, err) < 0)
		return -1;
	return bootstrap_xattrs(c->b, i, NULL, NULL, err);
}

/* What was accepted has no fault, and as many of everything as the validator said. */
static void read_it(const uint8_t *image, size_t size, const struct bootstrap_validation *said)
{
	CLEANUP_FD int fd = memfd_create("image", MFD_CLOEXEC);
	CLEANUP_ERROR struct error *err = NULL;
	CLEANUP_BOOTSTRAP struct bootstrap *b = NULL;
	struct counts c = { 0 };
	const struct bootstrap_walker walker = { on_entry, NULL, &c };

	MUST(fd >= 0 && write(fd, image, size) == (ssize_t)size);
	b = bootstrap_open(fd, &err);
	c.b = b;
	if (!b || bootstrap_walk(b, &walker, &err) < 0) {
		fprintf(stderr, "accepted, but the reader says: %s\n", err->msg);
		abort();
	}
	MUST(c.seen.inodes == said->inodes && c.seen.directories == said->directories);
	MUST(c.seen.names == said->names && c.seen.chunk_indexes == said->chunk_indexes);
}

/* The image that the input stands for. */
static uint8_t *make_image(const uint8_t *data, size_t *size)
{
	static struct sample sample;
	uint8_t *image;

	if (!sample.image)
		sample_init(&sample);
	if (!*size || !(data[0] & 1))
		return xmemdup(data, *size);
	image = xmemdup(sample.image, sample.size);
	for (size_t i = 1; i + PATCH <= *size; i += PATCH)
		image[get_le16(data + i) % sample.size] = data[i + 2];
	*size = sample.size;
	return image;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	CLEANUP_FREE uint8_t *image = make_image(data, &size);
	CLEANUP_ERROR struct error *err = NULL;
	struct bootstrap_validation said;

	if (size >= EROFS_BLOCK_SIZE)
		erofs_super_seal(image);
	if (bootstrap_validate(image, size, NULL, &said, &err) == 0)
		read_it(image, size, &said);
	else
		MUST(err && *err->msg);
	return 0;
}
