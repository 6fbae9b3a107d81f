// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/*
 * Cache files with marks: the kernel asks before it reads them. What is not to be asked for has no
 * mark, and is read without us; what was marked stays so when this process ends, for its successor
 * has to be asked.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <sys/stat.h>

#include "lib/base/log.h"
#include "lib/base/mem.h"
#include "lib/serve/holder/keep.h"
#include "lib/serve/transport/device_transport.h"
#include "lib/serve/transport/fanotify_answers.h"
#include "lib/serve/transport/fanotify_group.h"
#include "lib/serve/transport/fanotify_presence.h"

struct fanotify {
	struct device_transport transport; /* first */
	int group;
	int own; /* directory in our own mount of the store */
	bool adopted; /* the group: it may have marks of former processes */
	struct fanotify_presence *presence; /* NULL: the holder answers nothing by itself */
	struct fanotify_files *files;
	struct fanotify_answers *answers;
};

static struct fanotify *fanotify_of(struct device_transport *t)
{
	return (struct fanotify *)t;
}

/* It stays in the table: events that came before may still be on their way. */
static void completed(struct device_transport *t, struct shared_blob *b)
{
	fanotify_group_unmark(fanotify_of(t)->group, b->fd, b->path);
	fanotify_files_complete(fanotify_of(t)->files, b);
}

/*
 * An event must find its blob: first the table, then the mark. A blob that becomes complete on
 * another thread has its mark removed, and is forgotten by the holder, either by completed() or
 * here. One that was complete may have a mark of a former process, and reads that wait for an
 * answer.
 */
static int attach(
	struct device_transport *t, struct shared_blob *b, char **path, struct error **err)
{
	struct fanotify *f = fanotify_of(t);
	bool known = b->attached[DEVICE_FANOTIFY];

	*path = NULL;
	if (!known && fanotify_files_add(f->files, b, err) < 0)
		return -1;
	if (!known && !shared_blob_is_complete(b) &&
		fanotify_group_mark(f->group, b->fd, b->path, err) < 0) {
		fanotify_files_remove(f->files, b);
		return -1;
	}
	atomic_thread_fence(memory_order_seq_cst);
	if (shared_blob_is_complete(b))
		completed(t, b);
	*path = xstrdup(b->path);
	return 0;
}

static void detach(struct device_transport *t, struct shared_blob *b)
{
	struct fanotify *f = fanotify_of(t);

	if (!b->attached[DEVICE_FANOTIFY])
		return;
	fanotify_group_unmark(f->group, b->fd, b->path);
	fanotify_files_remove(f->files, b);
}

static void changed(
	struct device_transport *t, struct shared_blob *b, uint64_t offset, uint64_t len)
{
	fanotify_files_changed(fanotify_of(t)->files, b, offset, len);
}

static void lost(struct device_transport *t, struct shared_blob *b)
{
	fanotify_answers_lost(fanotify_of(t)->answers);
	fanotify_files_lost(fanotify_of(t)->files, b);
}

/* ---- marks that nobody needs ---- */

/* By the kernel, for a mount, or by somebody else, who could read holes. A lease tells (fcntl(2)).
 */
static bool is_open_elsewhere(int fd)
{
	return fcntl(fd, F_SETLEASE, F_WRLCK) < 0;
}

/* Of a mount that was gone when the former process had died. The mark would keep the file's space,
 * also when it is evicted. */
static void drop_stale(void *arg, int fd)
{
	struct fanotify *f = arg;
	struct stat st;

	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) &&
		!fanotify_files_has(f->files, st.st_dev, st.st_ino) && !is_open_elsewhere(fd))
		fanotify_group_unmark(f->group, fd, "a file that nobody uses");
}

/* ---- the transport ---- */

static int start(struct device_transport *t, struct error **err)
{
	struct fanotify *f = fanotify_of(t);

	if (f->adopted)
		fanotify_group_each_mark(f->group, f->own, drop_stale, f);
	fanotify_files_start(f->files);
	return fanotify_answers_start(f->answers, err);
}

static void close_transport(struct device_transport *t)
{
	struct fanotify *f = fanotify_of(t);

	fanotify_answers_end(f->answers);
	fanotify_files_free(f->files);
	fanotify_presence_close(f->presence);
	cleanup_fd_(&f->own);
	cleanup_fd_(&f->group);
	free(f);
}

static void cleanup_fanotify_(struct fanotify **f)
{
	if (*f)
		close_transport(&(*f)->transport);
}

/* Nobody has the group but this process, until it is kept. */
static int open_group(
	struct fanotify *f, struct keep *keep, const char *store_dir, struct error **err)
{
	f->group = keep_find(keep, KEEP_FANOTIFY);
	f->adopted = f->group >= 0;
	if (!f->adopted)
		f->group = fanotify_group_new(err);
	if (f->group < 0 || fanotify_group_check_dir(f->group, store_dir, err) < 0)
		return -1;
	f->own = fanotify_group_own_mount(f->group, store_dir, err);
	if (f->own < 0)
		return -1;
	return f->adopted ? 0 : keep_put(keep, KEEP_FANOTIFY, f->group, err);
}

/* Without it everything is done by this process. */
static void open_presence(struct fanotify *f, struct keep *keep)
{
	CLEANUP_ERROR struct error *err = NULL;

	f->presence = fanotify_presence_open(keep, &err);
	if (!f->presence)
		log_warn("fanotify: %s", err->msg);
}

struct device_transport *fanotify_transport_open(
	struct keep *keep, const char *store_dir, int *store_fd, struct error **err)
{
	CLEANUP(cleanup_fanotify_) struct fanotify *f = xzalloc(sizeof(*f));
	int fd = -1;

	f->transport = (struct device_transport){ .name = "fanotify",
		.kind = DEVICE_FANOTIFY,
		.attach = attach,
		.detach = detach,
		.completed = completed,
		.changed = changed,
		.lost = lost,
		.start = start,
		.close = close_transport };
	f->group = f->own = -1;
	if (open_group(f, keep, store_dir, err) == 0) {
		open_presence(f, keep);
		f->files = fanotify_files_new(f->presence);
		f->answers = fanotify_answers_new(keep, f->group, f->own, f->files, err);
	}
	if (f->answers && (fd = fcntl(f->own, F_DUPFD_CLOEXEC, 3)) < 0)
		error_set(err, errno, "cannot open %s once more", store_dir);
	if (fd < 0) {
		error_wrap(err, "transport fanotify");
		return NULL;
	}
	*store_fd = fd;
	return &take_ptr(f)->transport;
}

bool fanotify_transport_supported(const char *store_dir, char **why)
{
	CLEANUP_ERROR struct error *err = NULL;
	CLEANUP_FD int group = fanotify_group_new(&err), own = -1;

	*why = NULL;
	if (group >= 0 && fanotify_group_check_dir(group, store_dir, &err) == 0)
		own = fanotify_group_own_mount(group, store_dir, &err);
	if (own < 0)
		*why = xstrdup(err->msg);
	return own >= 0;
}
