/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* A directory for a test's files ($TMPDIR or /tmp), and what tests do with files. */
#ifndef TESTS_UNIT_TMPDIR_H
#define TESTS_UNIT_TMPDIR_H

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "lib/base/mem.h"

static inline char *tmpdir_make(void)
{
	const char *base = getenv("TMPDIR");
	char *dir = xasprintf("%s/erofs-convert-test-XXXXXX", base ? base : "/tmp");

	if (!mkdtemp(dir)) {
		perror(dir);
		exit(99);
	}
	return dir;
}

static inline int tmpdir_remove_one(
	const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static inline void tmpdir_remove(const char *dir)
{
	nftw(dir, tmpdir_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static inline void cleanup_tmpdir_(char **dir)
{
	tmpdir_remove(*dir);
	free(*dir);
}

#define CLEANUP_TMPDIR CLEANUP(cleanup_tmpdir_)

static inline void write_file(const char *path, const void *bytes, size_t len)
{
	FILE *f = fopen(path, "w");

	if (!f || fwrite(bytes, 1, len, f) != len || fclose(f) != 0) {
		perror(path);
		exit(99);
	}
}

/* The whole file with a NUL after it, or NULL. */
static inline char *read_file(const char *path)
{
	CLEANUP_FCLOSE FILE *f = fopen(path, "r");
	char *text = NULL;
	size_t n = 0;

	if (!f)
		return NULL;
	if (getdelim(&text, &n, '\0', f) < 0) {
		free(text);
		return xstrdup("");
	}
	return text;
}

static inline size_t count_entries(const char *dir)
{
	DIR *d = opendir(dir);
	struct dirent *e;
	size_t n = 0;

	if (!d)
		return 0;
	while ((e = readdir(d)))
		n += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
	closedir(d);
	return n;
}

#endif
