// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include <pthread.h>

#include "lib/base/mem.h"
#include "lib/serve/engine/sources.h"

/* A blob that was read: it stays open. An image has no more than its layers. */
struct opened {
	struct digest digest;
	struct file_range range;
};

struct file_source {
	struct blob_source source;
	struct image_source *image;
	pthread_mutex_t lock;
	struct opened *opened;
	size_t n, cap;
};

static int find_locked(
	struct file_source *s, const struct digest *d, struct file_range *r, struct error **err)
{
	for (size_t i = 0; i < s->n; i++)
		if (digest_equal(&s->opened[i].digest, d)) {
			*r = s->opened[i].range;
			return 0;
		}
	if (image_source_open_blob(s->image, d, r, err) < 0)
		return -1;
	s->opened = xgrow(s->opened, s->n, &s->cap, sizeof(*s->opened));
	s->opened[s->n++] = (struct opened){ *d, *r };
	return 0;
}

static int find(
	struct file_source *s, const struct digest *d, struct file_range *r, struct error **err)
{
	int rc;

	pthread_mutex_lock(&s->lock);
	rc = find_locked(s, d, r, err);
	pthread_mutex_unlock(&s->lock);
	return rc;
}

static int file_read(struct blob_source *source, const struct digest *blob, uint64_t offset,
	void *buf, size_t len, struct error **err)
{
	struct file_source *s = (struct file_source *)source;
	char name[DIGEST_MAX_STR];
	struct file_range r;

	if (find(s, blob, &r, err) < 0)
		return -1;
	digest_format(blob, name);
	if (offset > r.size || len > r.size - offset)
		return error_set(err, 0, "%s: it is shorter than its index says", name);
	r.offset += offset;
	r.size = len;
	return file_range_read(&r, buf, name, err);
}

static void file_close(struct blob_source *source)
{
	struct file_source *s = (struct file_source *)source;

	for (size_t i = 0; i < s->n; i++)
		cleanup_file_range_(&s->opened[i].range);
	pthread_mutex_destroy(&s->lock);
	free(s->opened);
	free(s);
}

struct blob_source *source_file_new(struct image_source *image)
{
	struct file_source *s = xzalloc(sizeof(*s));

	s->source = (struct blob_source){ .read = file_read, .close = file_close };
	s->image = image;
	pthread_mutex_init(&s->lock, NULL);
	return &s->source;
}
