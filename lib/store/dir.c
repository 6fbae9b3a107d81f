// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/store/dir.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "lib/base/mem.h"
#include "lib/base/outfile.h"
#include "lib/base/privilege.h"
#include "lib/base/remove_tree.h"
#include "lib/base/text.h"
#include "lib/store/lock.h"

#define VERSION_NAME "version"
#define VERSION_TEXT "erofs-convert store 1\n"

char *store_default_dir(struct error **err)
{
	const char *data = getenv("XDG_DATA_HOME"), *home = getenv("HOME");

	if (privilege_is_full_root())
		return xstrdup("/var/lib/erofs-convert");
	if (data && *data == '/') /* the specification has relative ones ignored */
		return xasprintf("%s/erofs-convert", data);
	if (home && *home == '/')
		return xasprintf("%s/.local/share/erofs-convert", home);
	error_set(err, 0, "there is no home directory for the store");
	error_hint(err, "--store DIR");
	return NULL;
}

DIR *store_opendir(int fd)
{
	int copy = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = copy < 0 ? NULL : fdopendir(copy);

	if (copy >= 0 && !d)
		close(copy);
	return d;
}

uint64_t store_disk_bytes(const struct stat *st)
{
	return (uint64_t)st->st_blocks * 512; /* st_blocks has this unit, whatever the filesystem */
}

/* --- opening --- */

static int make_parents(const char *dir, struct error **err)
{
	CLEANUP_FREE char *path = xstrdup(dir);

	for (char *p = path + 1; *path; p++) {
		char end = *p;

		if (end && end != '/')
			continue;
		*p = '\0';
		if (mkdir(path, 0700) < 0 && errno != EEXIST && errno != EROFS)
			return error_set(err, errno, "cannot make the directory %s", path);
		*p = end;
		if (!end)
			break;
	}
	return 0;
}

/* Who may write here may put bytes into images that nobody looks at again. */
static int check_owner(const struct store *s, struct error **err)
{
	struct stat st;

	if (fstat(s->fd, &st) < 0)
		return error_set(err, errno, "%s", s->dir);
	if (st.st_uid != geteuid()) {
		error_set(err, 0, "the store %s belongs to another user", s->dir);
		return error_hint(err, "--store with a directory of your own");
	}
	if (st.st_mode & 022) {
		error_set(err, 0, "others may write to the store %s", s->dir);
		return error_hint(err, "chmod 700 %s", s->dir);
	}
	return 0;
}

/* 1: it is one of ours; 0: there is no version file. */
static int check_version(const struct store *s, struct error **err)
{
	CLEANUP_FREE char *shown = NULL;
	char text[64];
	ssize_t n;
	CLEANUP_FD int fd =
		openat(s->fd, VERSION_NAME, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

	if (fd < 0 && errno == ENOENT)
		return 0;
	n = fd < 0 ? -1 : read(fd, text, sizeof(text));
	if (n < 0)
		return error_set(err, errno, "cannot read %s/" VERSION_NAME, s->dir);
	if ((size_t)n == strlen(VERSION_TEXT) && memcmp(text, VERSION_TEXT, (size_t)n) == 0)
		return 1;
	shown = text_printable(text, n && text[n - 1] == '\n' ? (size_t)n - 1 : (size_t)n);
	error_set(err, 0, "%s is not a store of this version, but \"%s\"", s->dir, shown);
	return error_hint(err, "another directory with --store");
}

/*
 * Beside a store there may be what else belongs to this program (rw: lib/mount/upper.h) or to a
 * filesystem. What another process begins, or a killed one has begun, begins with the lock; its
 * version may have come since we looked.
 */
static int check_foreign(const struct store *s, struct error **err)
{
	static const char *const known[] = { ".", "..", "lock", "owner", "aside", "mounts",
		VERSION_NAME, "rw", "lost+found" };
	bool blobs = false, foreign = false;
	CLEANUP_CLOSEDIR DIR *d = store_opendir(s->fd);
	struct dirent *e;

	if (!d)
		return error_set(err, errno, "cannot read the directory %s", s->dir);
	while ((e = readdir(d))) {
		bool found = outfile_is_hidden_name(e->d_name);

		for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++)
			found |= strcmp(e->d_name, known[i]) == 0;
		blobs |= strcmp(e->d_name, "blobs") == 0;
		foreign |= !found && strcmp(e->d_name, "blobs") != 0;
	}
	if (!foreign && (!blobs || faccessat(s->fd, "lock", F_OK, 0) == 0))
		return 0;
	error_set(err, 0, "%s is no store, and has other things in it", s->dir);
	return error_hint(err, "a new or empty directory with --store");
}

static int open_dir(const struct store *s, const char *name, struct error **err)
{
	int fd;

	if (mkdirat(s->fd, name, 0700) < 0 && errno != EEXIST)
		return error_set(err, errno, "cannot make %s/%s", s->dir, name);
	fd = openat(s->fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return error_set(err, errno, "cannot open %s/%s", s->dir, name);
	return fd;
}

/* The version is the last that appears: a store that has it has all the rest. */
static int write_version(struct store *s, struct error **err)
{
	CLEANUP_STORE_LOCK struct store *locked = store_lock(s, err);
	CLEANUP_OUTFILE struct outfile *o = NULL;
	int have = locked ? check_version(s, err) : -1;

	if (have)
		return have < 0 ? -1 : 0; /* another process was faster */
	o = outfile_new(s->dir, err);
	if (!o || outfile_pwrite(o, VERSION_TEXT, strlen(VERSION_TEXT), 0, err) < 0)
		return -1;
	fchmod(outfile_fd(o), 0600);
	if (outfile_publish(o, s->dir, VERSION_NAME, true, err) < 0)
		return -1;
	fsync(s->fd);
	return 0;
}

static int open_lock(const struct store *s, const char *name, struct error **err)
{
	int fd = openat(s->fd, name, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);

	return fd < 0 ? error_set(err, errno, "cannot open %s/%s", s->dir, name) : fd;
}

static int open_inside(struct store *s, int at, struct error **err)
{
	int have;

	s->fd = openat(at, at == AT_FDCWD ? s->dir : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (s->fd < 0)
		return error_set(err, errno, "cannot open the store %s", s->dir);
	if (check_owner(s, err) < 0)
		return -1;
	have = check_version(s, err);
	if (have < 0 || (!have && check_foreign(s, err) < 0))
		return -1;
	s->lock_fd = open_lock(s, "lock", err);
	s->owner_fd = s->lock_fd < 0 ? -1 : open_lock(s, "owner", err);
	if (s->owner_fd < 0)
		return -1;
	s->aside_fd = open_dir(s, "aside", err);
	s->blobs_fd = s->aside_fd < 0 ? -1 : open_dir(s, "blobs", err);
	if (s->blobs_fd < 0)
		return -1;
	return have ? 0 : write_version(s, err);
}

struct store *store_open_at(int at, const char *dir, uint64_t limit, struct error **err)
{
	CLEANUP_STORE struct store *s = xzalloc(sizeof(*s));

	s->fd = s->blobs_fd = s->aside_fd = s->lock_fd = s->owner_fd = -1;
	pthread_mutex_init(&s->mutex, NULL);
	pthread_mutex_init(&s->own_mutex, NULL);
	s->limit = limit;
	s->dir = xstrdup(dir);
	return open_inside(s, at, err) < 0 ? NULL : take_ptr(s);
}

struct store *store_open(const char *dir, uint64_t limit, struct error **err)
{
	CLEANUP_FREE char *absolute = NULL;

	if (make_parents(dir, err) < 0)
		return NULL;
	absolute = realpath(dir, NULL);
	if (!absolute) {
		error_set(err, errno, "cannot open the store %s", dir);
		return NULL;
	}
	return store_open_at(AT_FDCWD, absolute, limit, err);
}

const char *store_dir(const struct store *s)
{
	return s->dir;
}

void store_close(struct store *s)
{
	if (!s)
		return;
	cleanup_fd_(&s->fd);
	cleanup_fd_(&s->blobs_fd);
	cleanup_fd_(&s->aside_fd);
	cleanup_fd_(&s->lock_fd);
	cleanup_fd_(&s->owner_fd);
	pthread_mutex_destroy(&s->mutex);
	pthread_mutex_destroy(&s->own_mutex);
	free(s->own);
	free(s->dir);
	free(s);
}

/* --- what is set aside --- */

static int move_aside(struct store *s, const char *stem, const char *suffix)
{
	char name[STORE_NAME_MAX], random[OUTFILE_RANDOM + 1];
	CLEANUP_FREE char *to = NULL;

	store_name(stem, suffix, name);
	outfile_random_name(random);
	to = xasprintf("%s.%s", name, random);
	return renameat(s->blobs_fd, name, s->aside_fd, to) < 0 && errno != ENOENT ? -1 : 0;
}

/*
 * The map goes first, and is gone for good before its cache goes: after a power failure no map
 * may find another cache than its own.
 */
int store_set_aside(struct store *s, const char *stem, struct error **err)
{
	if (move_aside(s, stem, STORE_MAP) < 0 || fsync(s->blobs_fd) < 0 ||
		move_aside(s, stem, STORE_CACHE) < 0)
		return error_set(err, errno, "cannot set files of %s/blobs aside", s->dir);
	return 0;
}

uint64_t store_aside_bytes(const struct store *s)
{
	CLEANUP_CLOSEDIR DIR *d = store_opendir(s->aside_fd);
	uint64_t sum = 0;
	struct dirent *e;
	struct stat st;

	while (d && (e = readdir(d)))
		if (fstatat(s->aside_fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
			!S_ISDIR(st.st_mode))
			sum += store_disk_bytes(&st);
	return sum;
}

void store_aside_remove(const struct store *s)
{
	CLEANUP_FD int fd = openat(s->aside_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd >= 0)
		remove_tree_below(fd);
}
