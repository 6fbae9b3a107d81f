// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/serve/transport/fanotify_files.h"

#include <errno.h>
#include <pthread.h>
#include <sys/stat.h>

#include "lib/base/mem.h"

enum { BUCKETS = 1024 };

struct file {
	uint64_t dev, ino;
	struct shared_blob *blob;
	struct file *next; /* in its bucket */
};

struct fanotify_files {
	pthread_rwlock_t lock; /* reading: blobs stay, until the engine knows of the want */
	struct file *buckets[BUCKETS];
};

struct fanotify_files *fanotify_files_new(void)
{
	struct fanotify_files *f = xzalloc(sizeof(*f));

	pthread_rwlock_init(&f->lock, NULL);
	return f;
}

static struct file **bucket_of(struct fanotify_files *f, uint64_t dev, uint64_t ino)
{
	return &f->buckets[(ino ^ dev) % BUCKETS];
}

static struct file *find_locked(struct fanotify_files *f, uint64_t dev, uint64_t ino)
{
	struct file *i = *bucket_of(f, dev, ino);

	while (i && (i->dev != dev || i->ino != ino))
		i = i->next;
	return i;
}

int fanotify_files_add(struct fanotify_files *f, struct shared_blob *b, struct error **err)
{
	struct file *file, **bucket;
	struct stat st;

	if (fstat(b->fd, &st) < 0)
		return error_set(err, errno, "cannot look at %s", b->path);
	file = xzalloc(sizeof(*file));
	*file = (struct file){ .dev = st.st_dev, .ino = st.st_ino, .blob = b };
	bucket = bucket_of(f, file->dev, file->ino);
	pthread_rwlock_wrlock(&f->lock);
	file->next = *bucket;
	*bucket = file;
	b->attached[DEVICE_FANOTIFY] = file;
	pthread_rwlock_unlock(&f->lock);
	return 0;
}

static void remove_locked(struct fanotify_files *f, struct file *file)
{
	struct file **at = bucket_of(f, file->dev, file->ino);

	while (*at != file)
		at = &(*at)->next;
	*at = file->next;
	file->blob->attached[DEVICE_FANOTIFY] = NULL;
	free(file);
}

void fanotify_files_remove(struct fanotify_files *f, struct shared_blob *b)
{
	pthread_rwlock_wrlock(&f->lock);
	if (b->attached[DEVICE_FANOTIFY])
		remove_locked(f, b->attached[DEVICE_FANOTIFY]);
	pthread_rwlock_unlock(&f->lock);
}

bool fanotify_files_has(struct fanotify_files *f, dev_t dev, ino_t ino)
{
	bool has;

	pthread_rwlock_rdlock(&f->lock);
	has = find_locked(f, dev, ino) != NULL;
	pthread_rwlock_unlock(&f->lock);
	return has;
}

bool fanotify_files_want(struct fanotify_files *f, uint64_t dev, uint64_t ino, uint64_t offset,
	uint64_t len, struct want *w)
{
	const struct file *file;

	pthread_rwlock_rdlock(&f->lock);
	file = find_locked(f, dev, ino);
	if (file && file->blob->served)
		engine_want(file->blob->served, offset, len, w);
	else
		file = NULL;
	pthread_rwlock_unlock(&f->lock);
	return file != NULL;
}

void fanotify_files_free(struct fanotify_files *f)
{
	if (!f)
		return;
	for (unsigned i = 0; i < BUCKETS; i++)
		while (f->buckets[i])
			remove_locked(f, f->buckets[i]);
	pthread_rwlock_destroy(&f->lock);
	free(f);
}
