// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/* The way to the disk begins before a sync (linked with --wrap=sync_file_range,--wrap=fdatasync).
 */
#include "config.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <time.h>

#include "tests/unit/engine_fixture.h"

#define MIB	   (1024 * 1024)
#define PUSH_BYTES (32 * MIB)
#define STEP	   (PUSH_BYTES + 4 * MIB) /* some of it may have been read ahead before */

enum { N = 3 }; /* pushes */

static atomic_uint pushes;
static atomic_bool synced;
static atomic_int pushed_fd, pushed_how;

int __wrap_sync_file_range(int fd, off_t offset, off_t len, unsigned flags);
int __wrap_fdatasync(int fd);

int __wrap_sync_file_range(int fd, off_t offset, off_t len, unsigned flags)
{
	pushed_fd = fd;
	pushed_how = offset == 0 && len == 0 ? (int)flags : -1;
	pushes++;
	return 0;
}

int __wrap_fdatasync(int fd)
{
	synced = true;
	return 0;
}

static uint64_t now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

/* And wait for it. */
static void fetch(struct fixture *f, uint64_t from, uint64_t len)
{
	CHECK_U64((uint64_t)engine_need(f->blobs[0], from, len), 0);
}

/* A sync comes after 5 s. Where the bytes take nearly as long, it may be sooner. */
static void wait_for_push(unsigned n)
{
	uint64_t began = now_us();

	EVENTUALLY(pushes >= n || synced);
	CHECK(pushes >= n || now_us() - began < 3 * 1000 * 1000);
}

static void a_disk_works_while_more_is_fetched(void)
{
	struct engine_options o = options(2, MIB);
	struct fixture f;

	begin(&f, 1, (N + 1) * (PUSH_BYTES / BLOCK), &o, 0, true);
	fetch(&f, 0, PUSH_BYTES / 2);
	CHECK_U64(pushes, 0);
	for (unsigned i = 0; i < N && !synced; i++) {
		fetch(&f, PUSH_BYTES / 2 + i * (uint64_t)STEP, STEP);
		wait_for_push(i + 1);
	}
	if (pushes) {
		CHECK_U64((uint64_t)pushed_fd, (uint64_t)served_blob_fd(f.blobs[0]));
		CHECK_U64((uint64_t)pushed_how, SYNC_FILE_RANGE_WRITE);
	}
	end(&f);
}

int main(void)
{
	RUN(a_disk_works_while_more_is_fetched);
	return tap_done();
}
