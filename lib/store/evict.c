// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/store/evict.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "lib/base/log.h"
#include "lib/base/mem.h"
#include "lib/base/outfile.h"
#include "lib/store/lock.h"

uint64_t evict_choose(const struct store *s, struct holdings *h, const char *keep, uint64_t need)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < h->n && (sum < need || h->of[i].orphan); i++) {
		struct holding *one = &h->of[i];

		if ((keep && strcmp(one->stem, keep) == 0) || store_in_use(s, one->stem))
			continue;
		one->evict = true;
		sum += one->taken;
	}
	return sum;
}

static int remove_all(
	const struct store *s, const struct holdings *h, const char *suffix, struct error **err)
{
	char name[STORE_NAME_MAX];

	for (size_t i = 0; i < h->n; i++) {
		if (!h->of[i].evict)
			continue;
		store_name(h->of[i].stem, suffix, name);
		if (unlinkat(s->blobs_fd, name, 0) < 0 && errno != ENOENT)
			return error_set(err, errno, "cannot remove %s/blobs/%s", s->dir, name);
	}
	return 0;
}

/* All maps for good, then the caches: no map may outlive its cache (store_set_aside()). */
int evict_chosen(const struct store *s, const struct holdings *h, struct error **err)
{
	char digest[DIGEST_MAX_STR];
	size_t n = 0;

	for (size_t i = 0; i < h->n; i++)
		if (h->of[i].evict && ++n)
			log_debug("evicted from the store: %s",
				digest_format(&h->of[i].digest, digest));
	if (!n)
		return 0;
	if (remove_all(s, h, STORE_MAP, err) < 0)
		return -1;
	if (fsync(s->blobs_fd) < 0)
		return error_set(err, errno, "cannot sync %s/blobs", s->dir);
	return remove_all(s, h, STORE_CACHE, err);
}

int store_prune(struct store *s, uint64_t keep, uint64_t *freed, size_t *n, struct error **err)
{
	CLEANUP_STORE_LOCK struct store *locked = store_lock(s, err);
	CLEANUP_FREE char *blobs = xasprintf("%s/blobs", s->dir);
	CLEANUP_HOLDINGS struct holdings h = { 0 };
	uint64_t sum = 0, aside;

	if (!locked || holdings_read(&h, s, err) < 0)
		return -1;
	for (size_t i = 0; i < h.n; i++)
		sum += h.of[i].orphan ? 0 : h.of[i].taken;
	aside = store_aside_bytes(s);
	store_aside_remove(s);
	outfile_sweep(s->dir);
	outfile_sweep(blobs);
	if (!keep)
		sum = UINT64_MAX; /* also what takes no bytes */
	sum = evict_choose(s, &h, NULL, sum > keep ? sum - keep : 0);
	if (evict_chosen(s, &h, err) < 0)
		return -1;
	*freed = sum + aside;
	*n = 0;
	for (size_t i = 0; i < h.n; i++)
		*n += h.of[i].evict && !h.of[i].orphan;
	return 0;
}
