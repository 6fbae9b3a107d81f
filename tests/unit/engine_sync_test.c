// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/* The way to the disk begins before a sync (linked with --wrap=sync_file_range,--wrap=fdatasync).
 */
#include "config.h"

#include <fcntl.h>
#include <stdatomic.h>

#include "tests/unit/engine_fixture.h"

#define MIB	   (1024 * 1024)
#define PUSH_BYTES (32 * MIB)

static atomic_uint pushes, syncs;
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
	syncs++;
	return 0;
}

static void a_disk_works_while_more_is_fetched(void)
{
	struct engine_options o = options(2, MIB);
	struct fixture f;

	begin(&f, 1, 2 * PUSH_BYTES / BLOCK + 4 * MIB / BLOCK, &o, 0, true);
	CHECK_U64((uint64_t)engine_need(f.blobs[0], 0, PUSH_BYTES / 2), 0);
	CHECK_U64(pushes, 0);
	CHECK_U64((uint64_t)engine_need(f.blobs[0], PUSH_BYTES / 2, PUSH_BYTES), 0);
	EVENTUALLY(pushes == 1 || syncs); /* a sync after 5 s is as good */
	if (pushes) {
		CHECK_U64((uint64_t)pushed_fd, (uint64_t)served_blob_fd(f.blobs[0]));
		CHECK_U64((uint64_t)pushed_how, SYNC_FILE_RANGE_WRITE);
	}
	CHECK_U64((uint64_t)engine_need(f.blobs[0], 3 * PUSH_BYTES / 2, PUSH_BYTES / 2), 0);
	EVENTUALLY(pushes == 2 || syncs);
	end(&f);
}

int main(void)
{
	RUN(a_disk_works_while_more_is_fetched);
	return tap_done();
}
