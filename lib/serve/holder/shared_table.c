// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/serve/holder/shared_table.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static uint64_t *map(int fd, size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	return p == MAP_FAILED ? NULL : p;
}

void *shared_table_map(int fd, size_t size, uint64_t magic)
{
	int seals = fcntl(fd, F_GET_SEALS);
	struct stat st;
	uint64_t *p;

	if (fstat(fd, &st) < 0)
		return NULL;
	if (seals < 0 || !(seals & F_SEAL_SHRINK) || st.st_size < 0 || (size_t)st.st_size != size) {
		errno = EINVAL;
		return NULL;
	}
	p = map(fd, size);
	if (p && *p != magic) {
		munmap(p, size);
		errno = EINVAL;
		return NULL;
	}
	return p;
}

int shared_table_create(const char *name, size_t size, uint64_t magic)
{
	int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	uint64_t *p;

	if (fd < 0)
		return -1;
	if (ftruncate(fd, (off_t)size) < 0 ||
		fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0 ||
		!(p = map(fd, size))) {
		int code = errno;

		close(fd);
		errno = code;
		return -1;
	}
	*p = magic;
	munmap(p, size);
	return fd;
}
