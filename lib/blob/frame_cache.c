// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/blob/frame_cache.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>

#include "lib/base/mem.h"
#include "lib/blob/decoder.h"

struct slot {
	pthread_mutex_t lock;
	bool filled; /* with this frame: */
	uint64_t owner;
	uint32_t frame;
	struct decoder *decoder;
	uint8_t *bytes, *stored;
	size_t bytes_cap, stored_cap;
};

struct frame_cache {
	atomic_ullong owners;
	unsigned n;
	struct slot slots[];
};

struct frame_cache *frame_cache_new(unsigned slots)
{
	struct frame_cache *c = xzalloc(sizeof(*c) + slots * sizeof(c->slots[0]));

	c->n = slots;
	for (unsigned i = 0; i < slots; i++)
		pthread_mutex_init(&c->slots[i].lock, NULL);
	return c;
}

void frame_cache_free(struct frame_cache *c)
{
	if (!c)
		return;
	for (unsigned i = 0; i < c->n; i++) {
		struct slot *s = &c->slots[i];

		decoder_free(s->decoder);
		free(s->bytes);
		free(s->stored);
		pthread_mutex_destroy(&s->lock);
	}
	free(c);
}

uint64_t frame_cache_new_owner(struct frame_cache *c)
{
	return atomic_fetch_add(&c->owners, 1);
}

static void make_room(uint8_t **buf, size_t *cap, size_t size)
{
	if (size <= *cap)
		return;
	free(*buf);
	*buf = xmalloc(size);
	*cap = size;
}

static int fill_locked(
	struct slot *s, const struct frame *f, frame_fetch_fn fetch, void *arg, struct error **err)
{
	s->filled = false;
	make_room(&s->bytes, &s->bytes_cap, f->size);
	make_room(&s->stored, &s->stored_cap, f->stored_size);
	if (!s->decoder)
		s->decoder = decoder_new();
	if (fetch(arg, f, s->stored, err) < 0)
		return -1;
	if (frame_verify(f, s->stored, err) == 0 &&
		decoder_decode(s->decoder, f, s->stored, s->bytes, err) == 0)
		return 0;
	error_wrap(err, "frame %" PRIu32, f->number);
	return error_hint(err, "copying the image again: the blob is damaged");
}

int frame_cache_read(struct frame_cache *c, uint64_t owner, const struct frame *f,
	frame_fetch_fn fetch, void *arg, size_t at, void *buf, size_t len, struct error **err)
{
	struct slot *s = &c->slots[(owner * 7 + f->number) % c->n];
	int rc = 0;

	pthread_mutex_lock(&s->lock);
	if (!s->filled || s->owner != owner || s->frame != f->number) {
		rc = fill_locked(s, f, fetch, arg, err);
		s->filled = rc == 0;
		s->owner = owner;
		s->frame = f->number;
	}
	if (rc == 0)
		memcpy(buf, s->bytes + at, len);
	pthread_mutex_unlock(&s->lock);
	return rc;
}
