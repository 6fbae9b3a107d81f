// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/verify/summary.h"

#include <sys/stat.h>

#include "lib/base/mem.h"
#include "lib/image/device.h"
#include "lib/image/parts.h"

static int add_run(void *arg, const struct bootstrap_run *run, struct error **err)
{
	struct tree_sums *s = arg;

	if (!run->device)
		return 0;
	s->runs++;
	s->mapped_bytes += run->n_blk << EROFS_BLOCK_BITS;
	return 0;
}

int tree_sums_add(struct tree_sums *s, const struct bootstrap *b,
	const struct bootstrap_entry *entry, struct error **err)
{
	const struct bootstrap_inode *i = entry->inode;

	if (entry->again) {
		s->hard_links++;
		return 0;
	}
	s->inodes++;
	s->compact_inodes += !i->inode.extended;
	switch (i->inode.mode & S_IFMT) {
	case S_IFDIR:
		s->directories++;
		return 0;
	case S_IFLNK:
		s->symlinks++;
		return 0;
	case S_IFREG:
		s->files++;
		s->logical_bytes += i->inode.size;
		s->chunk_indexes += bootstrap_chunks(i);
		return bootstrap_runs(b, i, add_run, s, err);
	default:
		s->others++;
		return 0;
	}
}

const uint64_t summary_run_classes[SUMMARY_RUN_CLASSES] = { 0, 1, 2, 3, 5, 17, 65 };

static unsigned run_class(uint64_t runs)
{
	unsigned class = SUMMARY_RUN_CLASSES - 1;

	while (runs < summary_run_classes[class])
		class --;
	return class;
}

struct summing {
	struct summary *s;
	const struct bootstrap *b;
};

static bool is_new_file(const struct bootstrap_entry *entry)
{
	return !entry->again && S_ISREG(entry->inode->inode.mode);
}

static int add_entry(void *arg, const struct bootstrap_entry *entry, struct error **err)
{
	const struct summing *summing = arg;
	struct summary *s = summing->s;
	struct sharing_file file;

	if (tree_sums_add(&s->tree, summing->b, entry, err) < 0)
		return -1;
	if (!is_new_file(entry))
		return 0;
	if (sharing_add(s->sharing, summing->b, entry->inode, &file, err) < 0)
		return -1;
	s->holes += file.holes;
	s->hole_bytes += file.hole_bytes;
	s->files_by_runs[run_class(file.runs)]++;
	return 0;
}

static int count_run(void *arg, const struct bootstrap_run *run, struct error **err)
{
	(void)err;
	*(uint64_t *)arg += run->device != 0;
	return 0;
}

static int rank_entry(void *arg, const struct bootstrap_entry *entry, struct error **err)
{
	const struct summing *summing = arg;
	struct summary *s = summing->s;
	struct top_file file = { 0 };

	if (!is_new_file(entry))
		return 0;
	file.size = entry->inode->inode.size;
	if (sharing_of(s->sharing, summing->b, entry->inode, &file.shared, err) < 0 ||
		bootstrap_runs(summing->b, entry->inode, count_run, &file.runs, err) < 0)
		return -1;
	top_files_offer(&s->largest, entry, &file, file.size);
	top_files_offer(&s->most_shared, entry, &file, file.shared);
	return 0;
}

static void sum_sharing(struct summary *s)
{
	sharing_count(s->sharing);
	for (unsigned i = 0; i < s->found.n_devices; i++) {
		const struct sharing_device *d = sharing_device(s->sharing, i);

		s->data.mapped += d->mapped;
		s->data.used += d->used;
		s->data.within += d->within;
		s->data.across += d->across;
	}
}

/* Twice over the tree: how often a block is shared is known once all files are in. */
static int walk_tree(struct summary *s, const struct bootstrap *b, struct error **err)
{
	struct summing summing = { .s = s, .b = b };
	const struct bootstrap_walker add = { .each = add_entry, .arg = &summing };
	const struct bootstrap_walker rank = { .each = rank_entry, .arg = &summing };

	s->sharing = sharing_new((unsigned)s->found.n_devices);
	if (bootstrap_walk(b, &add, err) < 0)
		return -1;
	sum_sharing(s);
	return s->largest.max ? bootstrap_walk(b, &rank, err) : 0;
}

static int sum_devices(
	struct summary *s, struct image_source *src, const struct bootstrap *b, struct error **err)
{
	if (parts_check_count(b, &s->found, err) < 0)
		return -1;
	s->slots = xcalloc(s->found.n_devices, sizeof(*s->slots));
	s->stored_bytes = s->found.bootstrap->size;
	for (unsigned i = 0; i < s->found.n_devices; i++) {
		const struct image_layer *l = s->found.devices[i];
		uint64_t size;

		if (image_device_size(src, l, &size, err) < 0 ||
			parts_check_device(b, i, l, size, err) < 0 ||
			bootstrap_device(b, i, &s->slots[i], err) < 0)
			return -1;
		s->stored_bytes += l->size;
		if (s->slots[i].blocks)
			s->unique_bytes += (uint64_t)(s->slots[i].blocks - 1) << EROFS_BLOCK_BITS;
	}
	return 0;
}

static int sum_all(struct summary *s, struct image_source *src, struct error **err)
{
	CLEANUP_BOOTSTRAP struct bootstrap *b = parts_open_bootstrap(src, s->found.bootstrap, err);

	if (!b || sum_devices(s, src, b, err) < 0)
		return -1;
	s->bootstrap_bytes = bootstrap_size(b);
	if (walk_tree(s, b, err) < 0)
		return error_hint(err, "erofs-convert check, which looks at everything");
	return 0;
}

int summary_make(struct summary *s, struct image_source *src, size_t n_files, struct error **err)
{
	*s = (struct summary){ 0 };
	top_files_init(&s->largest, n_files);
	top_files_init(&s->most_shared, n_files);
	if (erofs_image_find(&s->found, src, err) < 0) {
		summary_free(s);
		return -1;
	}
	if (sum_all(s, src, err) < 0) {
		summary_free(s);
		return error_wrap(err, "%s", src->ref.spec);
	}
	return 0;
}

void summary_free(struct summary *s)
{
	erofs_found_free(&s->found);
	sharing_free(s->sharing);
	top_files_free(&s->largest);
	top_files_free(&s->most_shared);
	free(s->slots);
	*s = (struct summary){ 0 };
}
