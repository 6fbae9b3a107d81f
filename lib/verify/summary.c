// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/verify/summary.h"

#include <sys/stat.h>

#include "lib/base/mem.h"
#include "lib/verify/parts.h"

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

struct summing {
	struct tree_sums *sums;
	const struct bootstrap *b;
};

static int add_entry(void *arg, const struct bootstrap_entry *entry, struct error **err)
{
	const struct summing *s = arg;

	return tree_sums_add(s->sums, s->b, entry, err);
}

static int sum_devices(struct summary *s, const struct bootstrap *b, struct error **err)
{
	if (parts_check_count(b, &s->found, err) < 0)
		return -1;
	s->slots = xcalloc(s->found.n_devices, sizeof(*s->slots));
	s->stored_bytes = s->found.bootstrap->size;
	for (unsigned i = 0; i < s->found.n_devices; i++) {
		const struct image_layer *l = s->found.devices[i];

		if (parts_check_raw(l, err) < 0 || parts_check_device(b, i, l, err) < 0 ||
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
	struct summing summing = { .sums = &s->tree, .b = b };
	const struct bootstrap_walker walker = { .each = add_entry, .arg = &summing };

	if (!b || sum_devices(s, b, err) < 0)
		return -1;
	s->bootstrap_bytes = bootstrap_size(b);
	if (bootstrap_walk(b, &walker, err) < 0)
		return error_hint(err, "erofs-convert check, which looks at everything");
	return 0;
}

int summary_make(struct summary *s, struct image_source *src, struct error **err)
{
	*s = (struct summary){ 0 };
	if (erofs_image_find(&s->found, src, err) < 0)
		return -1;
	if (sum_all(s, src, err) < 0) {
		summary_free(s);
		return error_wrap(err, "%s", src->ref.spec);
	}
	return 0;
}

void summary_free(struct summary *s)
{
	erofs_found_free(&s->found);
	free(s->slots);
	*s = (struct summary){ 0 };
}
