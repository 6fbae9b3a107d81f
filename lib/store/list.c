// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include <fcntl.h>

#include "lib/base/log.h"
#include "lib/base/mem.h"
#include "lib/store/holdings.h"
#include "lib/store/lock.h"
#include "lib/store/map.h"

static map_fault read_map(struct store_entry *e, int fd)
{
	struct presence_map m = { 0 };
	map_fault why = map_read_header(fd, &m);
	CLEANUP_FREE uint64_t *bits = NULL;
	uint32_t present = 0;

	if (why)
		return why;
	bits = xcalloc(map_words(m.n_frames) + 1, sizeof(*bits));
	why = map_read_bits(fd, m.n_frames, bits, &present);
	if (why)
		return why;
	e->size = m.size;
	e->n_frames = m.n_frames;
	e->present = present;
	return NULL;
}

static void fill_entry(struct store_entry *e, const struct store *s, const struct holding *h)
{
	char name[STORE_NAME_MAX];
	CLEANUP_FD int fd = openat(s->blobs_fd, store_name(h->stem, STORE_MAP, name),
		O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	map_fault why;

	*e = (struct store_entry){ .digest = h->digest, .cached = h->taken, .used = h->used };
	e->in_use = store_in_use(s, h->stem);
	why = fd < 0 ? "its map cannot be opened" : read_map(e, fd);
	if (why)
		log_warn("%s/blobs/%s: %s; its next use begins anew", s->dir, name, why);
}

int store_list(struct store *s, struct store_entry **list, size_t *n, struct error **err)
{
	CLEANUP_STORE_LOCK struct store *locked = store_lock(s, err);
	CLEANUP_HOLDINGS struct holdings h = { 0 };

	if (!locked || holdings_read(&h, s, err) < 0)
		return -1;
	*list = xcalloc(h.n + 1, sizeof(**list));
	*n = 0;
	for (size_t i = h.n; i-- > 0;)
		if (!h.of[i].orphan)
			fill_entry(&(*list)[(*n)++], s, &h.of[i]);
	return 0;
}
