// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/*
 * The validator alone, timed:
 *
 *	validate [-n TIMES] BOOTSTRAP
 *
 * Prints what the image holds and the median speed.
 */
#include "config.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/mem.h"
#include "lib/bootstrap/validate.h"

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int compare_times(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
	size_t n = argc > 2 && argv[1][0] == '-' ? strtoul(argv[2], NULL, 10) : 1;
	CLEANUP_FD int fd = open(argv[argc - 1], O_RDONLY | O_CLOEXEC);
	CLEANUP_FREE double *times = xcalloc(n + 1, sizeof(*times));
	CLEANUP_ERROR struct error *err = NULL;
	struct bootstrap_validation r;
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0 || !n) {
		perror(argv[argc - 1]);
		return 2;
	}
	for (size_t i = 0; i < n; i++) {
		double start = now();

		if (bootstrap_validate_fd(fd, NULL, &r, &err) < 0) {
			printf("%s\n", err->msg);
			return 1;
		}
		times[i] = now() - start;
	}
	qsort(times, n, sizeof(*times), compare_times);
	printf("%" PRIu64 " inodes, %" PRIu64 " chunk indexes, %.1f MB, %.1f ms, %.0f MB/s\n",
		r.inodes, r.chunk_indexes, (double)st.st_size / 1e6, times[n / 2] * 1e3,
		(double)st.st_size / 1e6 / times[n / 2]);
	return 0;
}
