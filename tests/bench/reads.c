// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/*
 * Reads files, and prints for how many seconds: for tests/bench/serve-bench.
 *
 *	reads [--drop] all
 *	reads [--drop] random COUNT SEED
 *
 * Paths come on standard input, each ended by a zero byte. `all` reads each file from front to
 * back, in their order; `random` reads COUNT times 4 KiB somewhere in one of them, and large files
 * as much more often as they are larger. --drop takes the files out of the page cache before, which
 * is not counted; what lies below their filesystem stays there.
 */
#include "config.h"

#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/mem.h"

enum { PIECE = 128 * 1024, PAGE = 4096, OPEN_MAX_FILES = 512 };

struct list {
	char **paths;
	size_t n, cap;
};

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int open_it(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		die(path);
	return fd;
}

static void read_list(struct list *l)
{
	char *line = NULL;
	size_t cap = 0;

	while (getdelim(&line, &cap, '\0', stdin) > 0) {
		l->paths = xgrow(l->paths, l->n, &l->cap, sizeof(*l->paths));
		l->paths[l->n++] = xstrdup(line);
	}
	free(line);
}

static void drop(const struct list *l)
{
	for (size_t i = 0; i < l->n; i++) {
		int fd = open_it(l->paths[i]);

		if (posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED) != 0)
			die(l->paths[i]);
		close(fd);
	}
}

static void read_all(const struct list *l, char *buffer)
{
	for (size_t i = 0; i < l->n; i++) {
		int fd = open_it(l->paths[i]);
		ssize_t n;

		while ((n = read(fd, buffer, PIECE)) > 0)
			;
		if (n < 0)
			die(l->paths[i]);
		close(fd);
	}
}

/* ---- at random ---- */

struct open_file {
	int fd;
	uint64_t end; /* the whole blocks of it and of those before */
};

/* Those of some size: they have nearly all of the bytes. */
static size_t open_largest(const struct list *l, struct open_file *files)
{
	uint64_t sum = 0, floor = 16 * PAGE;
	size_t n = 0;

	for (size_t i = 0; i < l->n && n < OPEN_MAX_FILES; i++) {
		struct stat st;

		if (stat(l->paths[i], &st) < 0)
			die(l->paths[i]);
		if ((uint64_t)st.st_size < floor)
			continue;
		sum += (uint64_t)st.st_size / PAGE;
		files[n++] = (struct open_file){ open_it(l->paths[i]), sum };
	}
	if (!n) {
		fprintf(stderr, "reads: no file is large enough\n");
		exit(1);
	}
	return n;
}

static uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static const struct open_file *find(const struct open_file *files, size_t n, uint64_t block)
{
	size_t low = 0, high = n - 1;

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (files[middle].end > block)
			high = middle;
		else
			low = middle + 1;
	}
	return &files[low];
}

static void read_at_random(
	const struct open_file *files, size_t n, uint64_t count, uint64_t seed, char *buffer)
{
	uint64_t state = seed * 0x9e3779b97f4a7c15ull + 1;

	while (count--) {
		uint64_t block = next_random(&state) % files[n - 1].end;
		const struct open_file *f = find(files, n, block);
		uint64_t begin = f == files ? 0 : f[-1].end;

		if (pread(f->fd, buffer, PAGE, (off_t)((block - begin) * PAGE)) != PAGE)
			die("pread");
	}
}

int main(int argc, char **argv)
{
	static struct open_file files[OPEN_MAX_FILES];
	static char buffer[PIECE];
	int dropped = argc > 1 && strcmp(argv[1], "--drop") == 0;
	struct list l = { 0 };
	double start;
	size_t n;

	argv += dropped;
	argc -= dropped;
	if (argc < 2) {
		fprintf(stderr, "usage: reads [--drop] all | random COUNT SEED\n");
		return 2;
	}
	read_list(&l);
	if (dropped)
		drop(&l);
	if (strcmp(argv[1], "random") == 0 && argc == 4) {
		n = open_largest(&l, files);
		start = now();
		read_at_random(
			files, n, strtoull(argv[2], NULL, 10), strtoull(argv[3], NULL, 10), buffer);
	} else {
		start = now();
		read_all(&l, buffer);
	}
	printf("%.6f\n", now() - start);
	return 0;
}
