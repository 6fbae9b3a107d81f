// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/*
 * Any bytes as layers: parsed, applied to a tree, written as a bootstrap, which must then be
 * one that the reader walks from end to end without a fault. The input is cut into layers where
 * it says so; each regular file gets a run that its size allows.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/base/log.h"
#include "lib/base/mem.h"
#include "lib/bootstrap/bootstrap.h"
#include "lib/bootstrap/read.h"
#include "lib/bootstrap/walk.h"
#include "lib/layer/layer.h"
#include "lib/tree/apply.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Work for one input: more entries, levels or chunk indexes only take time. */
enum { INPUT_MAX = 256 * 1024, INDEXES_MAX = 64 * 1024, DEVICE_BLOCKS = 1 << 20 };

#define MUST(cond)               \
	do {                     \
		if (!(cond))     \
			abort(); \
	} while (0)

struct scene {
	struct tree tree;
	struct apply *apply;
	uint64_t indexes; /* at most so many are needed for the files seen */
};

static void add_run(struct scene *s, uint32_t id, const struct entry *e)
{
	uint64_t blocks = e->size / 4096 + (e->size % 4096 != 0);
	struct tree_extents *x;

	if (!blocks || blocks > DEVICE_BLOCKS || e->sparse)
		return;
	x = xmalloc(sizeof(*x) + 2 * sizeof(x->of[0]));
	x->n = blocks > 1 ? 2 : 1;
	x->of[0] = (struct tree_extent){ blocks > 1 ? blocks / 2 : 1, id % 16, 1 };
	x->of[1] = (struct tree_extent){ blocks - blocks / 2, 7, e->mode % 2 ? 2 : 0 };
	tree_inode(&s->tree, id)->extents = x;
	s->indexes += blocks;
}

static int on_entry(void *arg, const struct entry *e, struct error **err)
{
	struct scene *s = arg;
	uint32_t file;

	s->indexes += (e->size >> 43) + 1;
	if (s->indexes > INDEXES_MAX)
		return error_set(err, 0, "enough");
	if (apply_entry(s->apply, e, &file, err) < 0)
		return -1;
	if (file) {
		MUST(e->type == ENTRY_FILE && tree_inode(&s->tree, file)->size == e->size);
		add_run(s, file, e);
	}
	return 0;
}

static int on_data(void *arg, const uint8_t *p, size_t len, struct error **err)
{
	return 0;
}

static int on_hole(void *arg, uint64_t len, struct error **err)
{
	return 0;
}

static int on_file_end(void *arg, struct error **err)
{
	return 0;
}

static int apply_layer(struct scene *s, const uint8_t *data, size_t size, struct error **err)
{
	static const struct layer_events events = { on_entry, on_data, on_hole, on_file_end };
	struct layer_parser *p = layer_parser_new(&events, s);
	int r = apply_begin_layer(s->apply, err);

	if (r == 0)
		r = layer_parser_push(p, data, size, err);
	if (r == 0)
		r = layer_parser_finish(p, err);
	if (r == 0)
		r = apply_end_layer(s->apply, err);
	layer_parser_free(p);
	return r;
}

/* Links and names of the tree must agree, and no whiteout be left. */
static void check_tree(const struct tree *t)
{
	CLEANUP_FREE uint32_t *links = xcalloc(t->inodes.count + 1, sizeof(*links));

	links[t->root] = 2;
	for (uint32_t id = tree_walk(t, t->root, 0, false); id;
		id = tree_walk(t, t->root, id, false)) {
		const struct tree_name *n = tree_name(t, id);
		bool dir = tree_is_dir(t, n->inode);

		MUST(n->len > 0 && strlen(n->name) == n->len && !strchr(n->name, '/'));
		MUST(strcmp(n->name, ".") != 0 && strcmp(n->name, "..") != 0);
		MUST(strncmp(n->name, ".wh.", 4) != 0);
		MUST(tree_find(t, n->dir, n->name, n->len) == id);
		MUST(tree_inode(t, n->inode)->mode & S_IFMT);
		links[n->inode] += dir ? 2 : 1;
		links[n->dir] += dir;
	}
	for (uint32_t i = 1; i <= t->inodes.count; i++)
		MUST(tree_inode(t, i)->nlink == links[i]);
}

struct walked {
	const struct bootstrap *b;
	uint64_t inodes;
};

static int ignore_run(void *arg, const struct bootstrap_run *run, struct error **err)
{
	return 0;
}

static int on_walked(void *arg, const struct bootstrap_entry *entry, struct error **err)
{
	struct walked *w = arg;
	const struct bootstrap *b = w->b;

	w->inodes += !entry->again;
	if (bootstrap_xattrs(b, entry->inode, NULL, NULL, err))
		return -1;
	if (S_ISREG(entry->inode->inode.mode))
		return bootstrap_runs(b, entry->inode, ignore_run, NULL, err);
	if (S_ISLNK(entry->inode->inode.mode)) {
		CLEANUP_FREE char *target = bootstrap_readlink(b, entry->inode, err);

		return target ? 0 : -1;
	}
	return 0;
}

static void check_bootstrap(struct tree *t)
{
	static struct bootstrap_device devices[2] = { { .blocks = DEVICE_BLOCKS },
		{ .blocks = DEVICE_BLOCKS } };
	const char *dir = getenv("TMPDIR");
	const struct bootstrap_input in = {
		.tree = t, .devices = devices, .n_devices = 2, .identity = "fuzz"
	};
	struct walked walked = { 0 };
	const struct bootstrap_walker walker = { .each = on_walked, .arg = &walked };
	struct bootstrap_result result;
	struct error *err = NULL;
	struct outfile *file = outfile_new(dir ? dir : "/tmp", &err);
	struct bootstrap *b;

	MUST(file && bootstrap_write(&in, file, &result, &err) == 0);
	walked.b = b = bootstrap_open(outfile_fd(file), &err);
	MUST(b && bootstrap_walk(walked.b, &walker, &err) == 0);
	MUST(walked.inodes == t->n_inodes && result.inodes == t->n_inodes);
	bootstrap_close(b);
	outfile_free(file);
}

/* Mutations would hardly ever get past the checksum: make it right where a header may be. */
static void repair_checksums(uint8_t *data, size_t size)
{
	for (uint8_t *b = data; size >= 512; b += 512, size -= 512) {
		unsigned sum = 0;

		if (memcmp(b + 257, "ustar", 5) != 0)
			continue;
		memset(b + 148, ' ', 8);
		for (size_t i = 0; i < 512; i++)
			sum += b[i];
		for (size_t i = 0; i < 6; i++)
			b[148 + i] = (uint8_t)('0' + (sum >> (15 - 3 * i) & 7));
	}
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	log_set_level(LOG_QUIET);
	return 0;
}

/* A block that begins with "NEXT" ends a layer. */
int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
	CLEANUP_FREE uint8_t *data = xmemdup(input, size);
	CLEANUP_ERROR struct error *err = NULL;
	struct scene s = { 0 };
	size_t from = 0;
	int r = 0;

	if (size > INPUT_MAX)
		return 0;
	repair_checksums(data, size);
	tree_init(&s.tree);
	s.apply = apply_new(&s.tree);
	for (size_t at = 0; r == 0 && at <= size; at += 512) {
		bool next = size - at >= 512 && memcmp(data + at, "NEXT", 4) == 0;

		if (next || size - at < 512)
			r = apply_layer(&s, data + from, (next ? at : size) - from, &err);
		if (next)
			from = at + 512;
	}
	if (r == 0) {
		check_tree(&s.tree);
		check_bootstrap(&s.tree);
	} else {
		MUST(err && *err->msg);
	}
	apply_free(s.apply);
	tree_free(&s.tree);
	return 0;
}
