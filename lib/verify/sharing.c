// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/verify/sharing.h"

#include <stdlib.h>

#include "lib/base/mem.h"

/* Blocks of all devices on one axis. */
static uint64_t position(unsigned device, uint64_t blk)
{
	return (uint64_t)device << 32 | blk;
}

/* A run of a file. */
struct ref {
	uint64_t start;
	uint32_t n; /* a device has fewer than 2^32 blocks */
	bool newest; /* lies in its file's newest device */
};

/* Blocks that are referred to more than once; these ascend, with gaps between them. */
struct shared {
	uint64_t start, end;
	uint64_t before; /* shared blocks in all earlier ones */
};

struct sharing {
	unsigned n_devices;
	struct sharing_device *devices;
	bool *seen; /* devices in the file at hand; all false between files */
	struct ref *refs;
	size_t n_refs, cap_refs;
	struct shared *shared;
	size_t n_shared, cap_shared;
};

struct sharing *sharing_new(unsigned n_devices)
{
	struct sharing *s = xzalloc(sizeof(*s));

	s->n_devices = n_devices;
	s->devices = xcalloc(n_devices, sizeof(*s->devices));
	s->seen = xcalloc(n_devices, sizeof(*s->seen));
	return s;
}

void sharing_free(struct sharing *s)
{
	if (!s)
		return;
	free(s->devices);
	free(s->seen);
	free(s->refs);
	free(s->shared);
	free(s);
}

struct adding {
	struct sharing *s;
	struct sharing_file *file;
	uint64_t size;
	unsigned newest;
};

static int add_run(void *arg, const struct bootstrap_run *run, struct error **err)
{
	struct adding *a = arg;
	struct sharing *s = a->s;
	uint64_t bytes = run->n_blk << EROFS_BLOCK_BITS;

	(void)err;
	if (!run->device) {
		a->file->holes++;
		a->file->hole_bytes +=
			bytes < a->size - run->offset ? bytes : a->size - run->offset;
		return 0;
	}
	a->file->runs++;
	a->file->mapped += bytes;
	if (run->device > a->newest)
		a->newest = run->device;
	s->refs = xgrow(s->refs, s->n_refs, &s->cap_refs, sizeof(*s->refs));
	s->refs[s->n_refs++] = (struct ref){ .start = position(run->device - 1u, run->blk),
		.n = (uint32_t)run->n_blk };
	return 0;
}

/* A file counts once for each device, however often it goes back and forth between them. */
static void count_file(struct sharing *s, size_t first)
{
	for (size_t i = first; i < s->n_refs; i++) {
		uint64_t device = s->refs[i].start >> 32;

		s->devices[device].files += !s->seen[device];
		s->seen[device] = true;
	}
	for (size_t i = first; i < s->n_refs; i++)
		s->seen[s->refs[i].start >> 32] = false;
}

int sharing_add(struct sharing *s, const struct bootstrap *b, const struct bootstrap_inode *inode,
	struct sharing_file *file, struct error **err)
{
	struct adding a = { .s = s, .file = file, .size = inode->inode.size };
	size_t first = s->n_refs;

	*file = (struct sharing_file){ 0 };
	if (bootstrap_runs(b, inode, add_run, &a, err) < 0)
		return -1;
	for (size_t i = first; i < s->n_refs; i++)
		s->refs[i].newest = s->refs[i].start >> 32 == a.newest - 1u;
	count_file(s, first);
	return 0;
}

static int by_start(const void *a, const void *b)
{
	const struct ref *x = a, *y = b;

	return (x->start > y->start) - (x->start < y->start);
}

/* Of blocks [start, end), those from `done` on are new; moves `done`, returns how many. */
static uint64_t advance(uint64_t *done, uint64_t start, uint64_t end)
{
	uint64_t from = start > *done ? start : *done;

	if (end <= from)
		return 0;
	*done = end;
	return end - from;
}

static void add_shared(struct sharing *s, uint64_t start, uint64_t end)
{
	struct shared *last = s->n_shared ? &s->shared[s->n_shared - 1] : NULL;
	uint64_t before = last ? last->before + last->end - last->start : 0;

	if (last && start <= last->end) {
		last->end = end > last->end ? end : last->end;
		return;
	}
	s->shared = xgrow(s->shared, s->n_shared, &s->cap_shared, sizeof(*s->shared));
	s->shared[s->n_shared++] = (struct shared){ .start = start, .end = end, .before = before };
}

/*
 * In the order of their starts, a run's blocks below the furthest end so far are in an earlier
 * run, too; and every block of two runs is below that end when the later of them comes.
 */
void sharing_count(struct sharing *s)
{
	uint64_t done = 0, done_newest = 0;

	if (s->n_refs)
		qsort(s->refs, s->n_refs, sizeof(*s->refs), by_start);
	for (size_t i = 0; i < s->n_refs; i++) {
		const struct ref *r = &s->refs[i];
		struct sharing_device *d = &s->devices[r->start >> 32];
		uint64_t end = r->start + r->n;

		if (r->start < done) /* twice, at least */
			add_shared(s, r->start, end < done ? end : done);
		d->mapped += (uint64_t)r->n << EROFS_BLOCK_BITS;
		d->used += advance(&done, r->start, end) << EROFS_BLOCK_BITS;
		if (r->newest)
			d->within += (r->n - advance(&done_newest, r->start, end))
				     << EROFS_BLOCK_BITS;
	}
	for (unsigned i = 0; i < s->n_devices; i++)
		s->devices[i].across =
			s->devices[i].mapped - s->devices[i].used - s->devices[i].within;
	free(s->refs);
	s->refs = NULL;
	s->n_refs = s->cap_refs = 0;
}

const struct sharing_device *sharing_device(const struct sharing *s, unsigned i)
{
	return &s->devices[i];
}

/* How many of the blocks before `at` are shared. */
static uint64_t shared_before(const struct sharing *s, uint64_t at)
{
	size_t low = 0, high = s->n_shared;
	const struct shared *last;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (s->shared[middle].start < at)
			low = middle + 1;
		else
			high = middle;
	}
	if (!low)
		return 0;
	last = &s->shared[low - 1];
	return last->before + (at < last->end ? at : last->end) - last->start;
}

struct asking {
	const struct sharing *s;
	uint64_t blocks;
};

static int ask_run(void *arg, const struct bootstrap_run *run, struct error **err)
{
	struct asking *a = arg;
	uint64_t start;

	(void)err;
	if (!run->device)
		return 0;
	start = position(run->device - 1u, run->blk);
	a->blocks += shared_before(a->s, start + run->n_blk) - shared_before(a->s, start);
	return 0;
}

int sharing_of(const struct sharing *s, const struct bootstrap *b,
	const struct bootstrap_inode *inode, uint64_t *bytes, struct error **err)
{
	struct asking a = { .s = s };
	int ret = bootstrap_runs(b, inode, ask_run, &a, err);

	*bytes = a.blocks << EROFS_BLOCK_BITS;
	return ret;
}
