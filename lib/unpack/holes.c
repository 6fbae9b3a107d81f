// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/unpack/holes.h"

#include <sys/stat.h>

#include "lib/base/mem.h"

struct search {
	struct holes *h;
	size_t cap;
	uint64_t end; /* of the data so far */
	uint64_t least;
	bool (*stopped)(void *arg);
	void *arg;
};

/* Too many: only longer holes stay. */
static void merge(struct search *s)
{
	struct entry_region *v = s->h->regions;
	size_t n = 1;

	s->least *= 2;
	for (size_t i = 1; i < s->h->n; i++) {
		uint64_t end = v[n - 1].offset + v[n - 1].length;

		if (v[i].offset - end < s->least)
			v[n - 1].length = v[i].offset + v[i].length - v[n - 1].offset;
		else
			v[n++] = v[i];
	}
	s->h->n = n;
}

/* Data ends at `end`, after a hole from s->end to `offset`, which may be none. */
static void add(struct search *s, uint64_t offset, uint64_t end)
{
	struct holes *h = s->h;
	uint64_t hole = offset - s->end;

	h->matter |= hole >= HOLES_MATTER;
	if (hole < s->least) {
		offset = s->end;
		if (h->n)
			h->regions[h->n - 1].length = end - h->regions[h->n - 1].offset;
	}
	if (hole >= s->least || !h->n) {
		h->regions = xgrow(h->regions, h->n, &s->cap, sizeof(*h->regions));
		h->regions[h->n++] = (struct entry_region){ offset, end - offset };
	}
	s->end = end;
	while (h->n > HOLES_MAX_REGIONS)
		merge(s);
}

static int note_data(void *arg, uint64_t offset, const uint8_t *p, size_t len, struct error **err)
{
	struct search *s = arg;

	(void)p;
	if (s->stopped(s->arg))
		return error_set(err, 0, "interrupted");
	add(s, offset, offset + len);
	return 0;
}

static int pass_hole(void *arg, uint64_t offset, uint64_t len, struct error **err)
{
	(void)arg;
	(void)offset;
	(void)len;
	(void)err;
	return 0;
}

/* A hole at the end: long enough, or data as well. */
static void finish(struct search *s, uint64_t size)
{
	s->h->matter |= size - s->end >= HOLES_MATTER;
	if (s->end < size && size - s->end < s->least)
		add(s, size, size);
}

int holes_find(struct holes *h, const struct content *c, const struct bootstrap_inode *file,
	bool (*stopped)(void *arg), void *arg, struct error **err)
{
	struct search s = { .h = h, .least = HOLES_LEAST, .stopped = stopped, .arg = arg };
	const struct content_sink sink = { note_data, pass_hole, &s };
	int holes;

	*h = (struct holes){ 0 };
	if (file->inode.size < HOLES_MATTER)
		return 0;
	holes = content_has_holes(c, file, err);
	if (holes <= 0)
		return holes;
	if (content_read(c, file, true, &sink, err) < 0)
		return -1;
	finish(&s, file->inode.size);
	return 0;
}

void holes_free(struct holes *h)
{
	free(h->regions);
	*h = (struct holes){ 0 };
}
