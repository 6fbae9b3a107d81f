// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/mount/mountable.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "lib/base/log.h"
#include "lib/base/mem.h"
#include "lib/image/device.h"
#include "lib/image/erofs.h"
#include "lib/image/parts.h"

struct search {
	struct mountable *m;
	struct image_source *src;
	const struct mountable_options *options;
	struct erofs_found found;
	uint64_t *sizes; /* of the devices, uncompressed */
};

/* ---- a layer as a file ---- */

/* A raw blob's absolute path, if it is a file and has the descriptor's size. The caller frees it.
 */
static char *find_raw(struct image_source *src, const struct image_layer *l, struct error **err)
{
	CLEANUP_FREE char *path = image_source_blob_path(src, &l->digest, err);
	CLEANUP_FREE char *real = NULL;
	struct stat st;

	if (!path)
		return NULL;
	real = realpath(path, NULL);
	if (!real || stat(real, &st) < 0) {
		error_set(err, errno, "%s: cannot look at %s", l->name, path);
		error_hint(err, "copying the image again: the layout is not complete");
		return NULL;
	}
	if (!S_ISREG(st.st_mode)) {
		error_set(err, 0, "%s: %s is not a regular file", l->name, real);
		return NULL;
	}
	if ((uint64_t)st.st_size != l->size) {
		error_set(err, 0, "%s: %s has %jd bytes, its descriptor says %" PRIu64, l->name,
			real, (intmax_t)st.st_size, l->size);
		error_hint(err, "copying the image again");
		return NULL;
	}
	return take_ptr(real);
}

static int open_store(struct search *s, struct error **err)
{
	CLEANUP_FREE char *chosen = NULL;
	const char *dir = s->options->store;

	if (s->m->store)
		return 0;
	if (!dir)
		dir = chosen = store_default_dir(err);
	if (dir)
		s->m->store = store_open(dir, s->options->store_limit, err);
	return s->m->store ? 0 : -1;
}

static char *find_inflated(struct search *s, const struct image_layer *l, struct error **err)
{
	struct mountable *m = s->m;
	struct store_blob *blob;

	if (open_store(s, err) < 0)
		return NULL;
	blob = inflate_blob(m->store, s->src, l, &s->options->inflate, err);
	if (!blob)
		return NULL;
	m->held[m->n_held++] = blob;
	return xstrdup(store_blob_path(blob));
}

static char *find_layer(struct search *s, const struct image_layer *l, struct error **err)
{
	int zstd = erofs_layer_is_zstd(l, err);

	if (zstd < 0)
		return NULL;
	return zstd ? find_inflated(s, l, err) : find_raw(s->src, l, err);
}

/* ---- the image ---- */

static int check_devices(struct search *s, struct error **err)
{
	const struct erofs_found *found = &s->found;

	if (parts_check_count(s->m->tree, found, err) < 0)
		return -1;
	for (unsigned i = 0; i < found->n_devices; i++) {
		const struct image_layer *l = found->devices[i];

		if (image_device_size(s->src, l, &s->sizes[i], err) < 0 ||
			parts_check_device(s->m->tree, i, l, s->sizes[i], err) < 0)
			return -1;
	}
	return 0;
}

static int open_bootstrap(struct search *s, int *fd, struct error **err)
{
	const struct image_layer *l = s->found.bootstrap;
	int zstd = erofs_layer_is_zstd(l, err);
	struct mountable *m = s->m;

	if (zstd < 0 || (zstd && parts_check_inflated(s->src, l, err) < 0))
		return -1;
	m->bootstrap = find_layer(s, l, err);
	if (!m->bootstrap)
		return -1;
	*fd = open(m->bootstrap, O_RDONLY | O_CLOEXEC);
	if (*fd < 0)
		return error_set(err, errno, "cannot open %s", m->bootstrap);
	m->tree = parts_open_verified(*fd, l, err);
	return m->tree ? 0 : -1;
}

/* Frames are verified before they come into the store: what is bad there was changed since. */
static int discard_bootstrap(struct search *s, struct error **err)
{
	struct mountable *m = s->m;

	log_warn("the store's copy of %s is set aside: its bytes have another digest",
		s->found.bootstrap->name);
	free(take_ptr(m->bootstrap));
	return store_blob_discard(m->held[--m->n_held], err);
}

/* The kernel is only asked to mount what the validator accepts. */
static int find_bootstrap(struct search *s, struct error **err)
{
	const struct image_layer *l = s->found.bootstrap;
	CLEANUP_FD int first = -1, second = -1;
	CLEANUP_ERROR struct error *bad = NULL;
	int *fd = &first;

	s->m->digest = l->digest;
	if (open_bootstrap(s, fd, &bad) < 0) {
		if (first < 0 || !s->m->n_held) {
			*err = take_ptr(bad);
			return -1;
		}
		fd = &second;
		if (discard_bootstrap(s, err) < 0 || open_bootstrap(s, fd, err) < 0)
			return -1;
	}
	if (check_devices(s, err) < 0)
		return -1;
	if (parts_validate(*fd, &s->found, s->sizes, err) < 0)
		return error_wrap(err, "%s, the bootstrap", l->name);
	return 0;
}

static int find_all(struct search *s, struct error **err)
{
	struct mountable *m = s->m;

	if (find_bootstrap(s, err) < 0)
		return -1;
	for (; m->n_devices < s->found.n_devices; m->n_devices++) {
		m->devices[m->n_devices] = find_layer(s, s->found.devices[m->n_devices], err);
		if (!m->devices[m->n_devices])
			return -1;
	}
	return 0;
}

static void search_end(struct search *s)
{
	erofs_found_free(&s->found);
	free(s->sizes);
}

int mountable_find(struct mountable *m, struct image_source *src, const struct mountable_options *o,
	struct error **err)
{
	CLEANUP(search_end) struct search s = { .m = m, .src = src, .options = o };

	*m = (struct mountable){ 0 };
	if (erofs_image_find(&s.found, src, err) < 0)
		return -1;
	s.sizes = xcalloc(s.found.n_devices, sizeof(*s.sizes));
	m->devices = xcalloc(s.found.n_devices, sizeof(*m->devices));
	m->held = xcalloc(s.found.n_devices + 1, sizeof(struct store_blob *));
	if (find_all(&s, err) == 0)
		return 0;
	mountable_free(m);
	return error_wrap(err, "%s", src->ref.spec);
}

int mountable_check(const void *arg, struct error **err)
{
	const struct mountable *m = arg;

	for (size_t i = 0; i < m->n_held; i++)
		if (store_blob_check_path(m->held[i], err) < 0)
			return -1;
	return 0;
}

void mountable_free(struct mountable *m)
{
	for (size_t i = 0; i < m->n_devices; i++)
		free(m->devices[i]);
	for (size_t i = 0; i < m->n_held; i++)
		store_blob_close(m->held[i]);
	store_close(m->store);
	cleanup_bootstrap_(&m->tree);
	free(m->devices);
	free(m->held);
	free(m->bootstrap);
	*m = (struct mountable){ 0 };
}
