// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/serve/holder/requests.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

_Static_assert((REQUESTS_MAX & (REQUESTS_MAX - 1)) == 0, "the ring is indexed modulo 2^32");
_Static_assert(ATOMIC_INT_LOCK_FREE == 2 && ATOMIC_LLONG_LOCK_FREE == 2,
	"a lock would be in one process's memory");

static struct requests *map(int fd)
{
	void *p = mmap(NULL, sizeof(struct requests), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	return p == MAP_FAILED ? NULL : p;
}

struct requests *requests_map(int fd)
{
	struct requests *r;
	struct stat st;
	int seals;

	if (fstat(fd, &st) < 0)
		return NULL;
	seals = fcntl(fd, F_GET_SEALS);
	if (seals < 0 || !(seals & F_SEAL_SHRINK) || st.st_size != sizeof(struct requests)) {
		errno = EINVAL;
		return NULL;
	}
	r = map(fd);
	if (r && r->magic != REQUESTS_MAGIC) {
		munmap(r, sizeof(*r));
		errno = EINVAL;
		return NULL;
	}
	return r;
}

int requests_create(void)
{
	int fd = memfd_create("erofs-convert-requests", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	struct requests *r;

	if (fd < 0)
		return -1;
	if (ftruncate(fd, sizeof(*r)) < 0 ||
		fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0 ||
		!(r = map(fd))) {
		int code = errno;

		close(fd);
		errno = code;
		return -1;
	}
	r->magic = REQUESTS_MAGIC; /* zeros are FREE slots */
	munmap(r, sizeof(*r));
	return fd;
}
