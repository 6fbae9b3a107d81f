// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/serve/transport/fanotify_files.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/log.h"
#include "lib/base/mem.h"
#include "lib/serve/holder/presence.h"
#include "lib/serve/transport/fanotify_presence.h"

enum { BUCKETS = 1024 };

struct file {
	uint64_t dev, ino;
	struct shared_blob *blob;
	struct file *next; /* in its bucket */
	int slot; /* of the holder's; -1: it has none */
	pthread_mutex_t bits; /* for the slot's bits, and the next two */
	uint64_t look_at; /* from there on the bits are not known; UINT64_MAX: all are */
	bool losing; /* what is there will be less in a moment */
};

struct fanotify_files {
	pthread_rwlock_t lock; /* reading: blobs stay, until the engine knows of the want */
	struct file *buckets[BUCKETS];
	struct fanotify_presence *presence; /* or NULL */
	struct file *of_slot[PRESENCE_FILES];
	int more; /* an eventfd: some file's look_at says that there is more to do */
	unsigned last; /* the slot that was looked at last, on one thread */
};

struct fanotify_files *fanotify_files_new(struct fanotify_presence *presence)
{
	struct fanotify_files *f = xzalloc(sizeof(*f));

	f->presence = presence;
	f->more = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
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

/* ---- what the holder knows ---- */

static void call(struct fanotify_files *f)
{
	static const uint64_t one = 1;

	/* a number that is too large already calls as well */
	if (write(f->more, &one, sizeof(one)) < 0 && errno != EAGAIN)
		log_warn("fanotify: cannot go on to look what is there: %s", strerror(errno));
}

static void look_on_locked(struct fanotify_files *f, struct file *file)
{
	file->look_at = fanotify_presence_look_on(
		f->presence, file->slot, file->blob->served, file->look_at);
}

/* All bits are clear. Most files are no larger than the first part, which is looked at here. */
static void begin_to_look(struct fanotify_files *f, struct file *file)
{
	file->losing = false;
	file->look_at = UINT64_MAX;
	if (served_blob_is_empty(file->blob->served))
		return;
	file->look_at = 0;
	look_on_locked(f, file);
	if (file->look_at != UINT64_MAX)
		call(f);
}

static void update(struct fanotify_files *f, struct file *file, uint64_t offset, uint64_t len)
{
	if (file->slot < 0 || !file->blob->served)
		return;
	pthread_mutex_lock(&file->bits);
	if (len == UINT64_MAX) {
		/* also what a loss leaves set of a file that was not attached yet */
		fanotify_presence_clear(f->presence, file->slot);
		begin_to_look(f, file);
	} else if (!file->losing) {
		fanotify_presence_update(f->presence, file->slot, file->blob->served, offset, len);
	}
	pthread_mutex_unlock(&file->bits);
}

static bool look_on(struct fanotify_files *f, struct file *file)
{
	bool some;

	if (!file || !file->blob->served)
		return false;
	pthread_mutex_lock(&file->bits);
	some = file->look_at != UINT64_MAX;
	if (some)
		look_on_locked(f, file);
	pthread_mutex_unlock(&file->bits);
	return some;
}

/* Of several files each in its turn. */
bool fanotify_files_look_on(struct fanotify_files *f)
{
	bool some = false;
	uint64_t n;

	/* first: a call from now on may be of what is not seen below */
	if (read(f->more, &n, sizeof(n)) < 0)
		return false;
	pthread_rwlock_rdlock(&f->lock);
	for (unsigned i = 0; !some && i < PRESENCE_FILES; i++) {
		f->last = (f->last + 1) % PRESENCE_FILES;
		some = look_on(f, f->of_slot[f->last]);
	}
	pthread_rwlock_unlock(&f->lock);
	if (some)
		call(f); /* it, or another file, may have more */
	return some;
}

int fanotify_files_more(const struct fanotify_files *f)
{
	return f->more;
}

static void count_hits(struct fanotify_files *f, const struct file *file)
{
	if (file->slot >= 0 && file->blob->served)
		engine_count_also(
			file->blob->served, fanotify_presence_hits(f->presence, file->slot));
}

static void make_known_locked(struct fanotify_files *f, struct file *file)
{
	if (!f->presence || shared_blob_is_complete(file->blob))
		return;
	file->slot = fanotify_presence_add(f->presence, file->blob->fd);
	if (file->slot >= 0)
		f->of_slot[file->slot] = file;
	count_hits(f, file);
	if (file->slot >= 0 && file->blob->served)
		begin_to_look(f, file);
}

static void make_unknown_locked(struct fanotify_files *f, struct file *file)
{
	if (file->slot < 0)
		return;
	fanotify_presence_remove(f->presence, file->slot);
	f->of_slot[file->slot] = NULL;
	file->slot = -1;
	if (file->blob->served)
		engine_count_also(file->blob->served, NULL);
}

/* Nobody else makes or frees the blob's file meanwhile: it is attached, or the engine's. */
static struct file *file_of(const struct shared_blob *b)
{
	return b->attached[DEVICE_FANOTIFY];
}

void fanotify_files_complete(struct fanotify_files *f, struct shared_blob *b)
{
	pthread_rwlock_wrlock(&f->lock);
	if (file_of(b))
		make_unknown_locked(f, file_of(b));
	pthread_rwlock_unlock(&f->lock);
}

void fanotify_files_changed(
	struct fanotify_files *f, struct shared_blob *b, uint64_t offset, uint64_t len)
{
	pthread_rwlock_rdlock(&f->lock);
	if (file_of(b))
		update(f, file_of(b), offset, len);
	pthread_rwlock_unlock(&f->lock);
}

/* Until the engine says what is left, nothing is there: who has just seen a frame there, and does
 * not know yet that it goes, must not say so any more. */
void fanotify_files_lost(struct fanotify_files *f, struct shared_blob *b)
{
	struct file *file;

	pthread_rwlock_rdlock(&f->lock);
	file = file_of(b);
	if (file && file->slot >= 0) {
		pthread_mutex_lock(&file->bits);
		file->losing = true;
		file->look_at = UINT64_MAX;
		fanotify_presence_clear(f->presence, file->slot);
		pthread_mutex_unlock(&file->bits);
	}
	pthread_rwlock_unlock(&f->lock);
}

void fanotify_files_start(struct fanotify_files *f)
{
	pthread_rwlock_rdlock(&f->lock);
	for (unsigned i = 0; i < PRESENCE_FILES; i++)
		if (f->of_slot[i])
			count_hits(f, f->of_slot[i]);
	pthread_rwlock_unlock(&f->lock);
	if (f->presence)
		fanotify_presence_remove_others(f->presence);
}

void fanotify_files_take_notes(struct fanotify_files *f)
{
	uint64_t offset, len;
	int slot;

	while (f->presence && fanotify_presence_next_note(f->presence, &slot, &offset, &len)) {
		pthread_rwlock_rdlock(&f->lock);
		if (f->of_slot[slot] && f->of_slot[slot]->blob->served)
			engine_note(f->of_slot[slot]->blob->served, offset, len);
		pthread_rwlock_unlock(&f->lock);
	}
}

/* ---- files ---- */

int fanotify_files_add(struct fanotify_files *f, struct shared_blob *b, struct error **err)
{
	struct file *file, **bucket;
	struct stat st;

	if (fstat(b->fd, &st) < 0)
		return error_set(err, errno, "cannot look at %s", b->path);
	file = xzalloc(sizeof(*file));
	*file = (struct file){
		.dev = st.st_dev, .ino = st.st_ino, .blob = b, .slot = -1, .look_at = UINT64_MAX
	};
	pthread_mutex_init(&file->bits, NULL);
	bucket = bucket_of(f, file->dev, file->ino);
	pthread_rwlock_wrlock(&f->lock);
	file->next = *bucket;
	*bucket = file;
	b->attached[DEVICE_FANOTIFY] = file;
	make_known_locked(f, file);
	pthread_rwlock_unlock(&f->lock);
	return 0;
}

static void remove_locked(struct fanotify_files *f, struct file *file)
{
	struct file **at = bucket_of(f, file->dev, file->ino);

	while (*at != file)
		at = &(*at)->next;
	*at = file->next;
	make_unknown_locked(f, file);
	file->blob->attached[DEVICE_FANOTIFY] = NULL;
	pthread_mutex_destroy(&file->bits);
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

bool fanotify_files_each(
	struct fanotify_files *f, void (*each)(void *arg, struct served_blob *b), void *arg)
{
	bool all = true;

	pthread_rwlock_rdlock(&f->lock);
	for (unsigned i = 0; i < BUCKETS; i++)
		for (const struct file *file = f->buckets[i]; file; file = file->next)
			if (file->blob->served)
				each(arg, file->blob->served);
			else
				all = false;
	pthread_rwlock_unlock(&f->lock);
	return all;
}

void fanotify_files_free(struct fanotify_files *f)
{
	if (!f)
		return;
	for (unsigned i = 0; i < BUCKETS; i++)
		while (f->buckets[i])
			remove_locked(f, f->buckets[i]);
	pthread_rwlock_destroy(&f->lock);
	cleanup_fd_(&f->more);
	free(f);
}
