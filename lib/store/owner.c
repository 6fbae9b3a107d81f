// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/*
 * Files that are one daemon's own. All its locks are on one file, a byte for each inode's number:
 * so one descriptor holds them all, and whoever has a copy of it keeps them while the daemon's
 * process is replaced by the next.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/mem.h"
#include "lib/store/dir.h"

static int set_lock(const struct store *s, short type, uint64_t first, uint64_t n)
{
	struct flock l = {
		.l_type = type, .l_whence = SEEK_SET, .l_start = (off_t)first, .l_len = (off_t)n
	};

	return fcntl(s->owner_fd, F_OFD_SETLK, &l);
}

/* Numbers that no lock can be of do not come from filesystems on disks. */
static int number_of(int fd, uint64_t *number)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -1;
	*number = st.st_ino;
	if (*number && *number < INT64_MAX)
		return 0;
	errno = EOVERFLOW;
	return -1;
}

static size_t find_locked(const struct store *s, uint64_t number)
{
	size_t i = 0;

	while (i < s->n_own && s->own[i] != number)
		i++;
	return i;
}

static int own_locked(struct store *s, uint64_t number)
{
	if (set_lock(s, F_WRLCK, number, 1) < 0) {
		if (errno == EACCES)
			errno = EWOULDBLOCK;
		return -1;
	}
	if (find_locked(s, number) == s->n_own) {
		s->own = xgrow(s->own, s->n_own, &s->cap_own, sizeof(*s->own));
		s->own[s->n_own++] = number;
	}
	return 0;
}

int store_own(struct store *s, int fd)
{
	uint64_t number;
	int rc;

	if (number_of(fd, &number) < 0)
		return -1;
	pthread_mutex_lock(&s->own_mutex);
	rc = own_locked(s, number);
	pthread_mutex_unlock(&s->own_mutex);
	return rc;
}

void store_disown(struct store *s, int fd)
{
	uint64_t number;
	size_t i;

	if (number_of(fd, &number) < 0)
		return;
	pthread_mutex_lock(&s->own_mutex);
	i = find_locked(s, number);
	if (i < s->n_own) {
		s->own[i] = s->own[--s->n_own];
		set_lock(s, F_UNLCK, number, 1);
	}
	pthread_mutex_unlock(&s->own_mutex);
}

bool store_is_others(const struct store *s, int fd)
{
	struct flock l = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 1 };
	uint64_t number;

	if (number_of(fd, &number) < 0)
		return false;
	l.l_start = (off_t)number;
	return fcntl(s->owner_fd, F_OFD_GETLK, &l) == 0 && l.l_type != F_UNLCK;
}

/* ---- from one process to the next ---- */

int store_owner_fd(const struct store *s)
{
	return s->owner_fd;
}

bool store_go_on_as(struct store *s, int fd)
{
	struct stat kept, here;

	if (fstat(fd, &kept) < 0 || fstat(s->owner_fd, &here) < 0 || kept.st_dev != here.st_dev ||
		kept.st_ino != here.st_ino) {
		close(fd);
		return false;
	}
	close(s->owner_fd);
	s->owner_fd = fd;
	return true;
}

static int by_number(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

/* All between those that are known: nobody can say which locks a descriptor has. */
void store_disown_rest(struct store *s)
{
	uint64_t at = 0;

	pthread_mutex_lock(&s->own_mutex);
	if (s->n_own)
		qsort(s->own, s->n_own, sizeof(*s->own), by_number);
	for (size_t i = 0; i < s->n_own; i++) {
		if (s->own[i] > at)
			set_lock(s, F_UNLCK, at, s->own[i] - at);
		at = s->own[i] + 1;
	}
	set_lock(s, F_UNLCK, at, 0); /* to the end of all numbers */
	pthread_mutex_unlock(&s->own_mutex);
}
