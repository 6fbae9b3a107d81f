// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "tests/tools/crash.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/unit/random.h"

ssize_t __real_pwrite(int fd, const void *p, size_t len, off_t offset);
int __real_ftruncate(int fd, off_t size);
int __real_fsync(int fd);
int __real_fdatasync(int fd);
ssize_t __wrap_pwrite(int fd, const void *p, size_t len, off_t offset);
int __wrap_ftruncate(int fd, off_t size);
int __wrap_fsync(int fd);
int __wrap_fdatasync(int fd);

enum { MAX_RECORDS = 1 << 16, MAX_BYTES = 1 << 26 };

/* How far a change has come. LOST: a sync of it has failed, and no later one covers it. */
enum state { UNUSED, BEGUN, DONE, DURABLE, LOST };

struct record {
	_Atomic uint32_t state;
	uint32_t len; /* 0: the size was changed, from `offset` bytes */
	uint64_t file; /* file_of() */
	uint64_t offset;
	uint64_t bytes; /* where in the journal's bytes: what was there before */
};

struct journal {
	_Atomic uint64_t n_records, n_bytes;
	struct record records[MAX_RECORDS];
	uint8_t bytes[MAX_BYTES];
};

static struct journal *journal;
static _Atomic uint64_t random_state;
static unsigned fail_one_in;
static bool broken;

static void die(const char *what)
{
	perror(what);
	exit(99);
}

static struct journal *map_journal(const char *path, int flags)
{
	int fd = open(path, flags | O_RDWR | O_CLOEXEC, 0600);
	struct journal *j;

	if (fd < 0 || __real_ftruncate(fd, sizeof(*j)) < 0)
		die(path);
	j = mmap(NULL, sizeof(*j), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (j == MAP_FAILED)
		die(path);
	close(fd);
	return j;
}

void crash_journal(const char *path, uint64_t seed, unsigned fail, bool is_broken)
{
	random_state = seed;
	fail_one_in = fail;
	broken = is_broken;
	journal = map_journal(path, O_CREAT | O_TRUNC);
}

bool crash_journal_is_full(void)
{
	return journal->n_records > MAX_RECORDS - 1000 || journal->n_bytes > MAX_BYTES - (1 << 22);
}

static uint32_t chance(uint32_t n)
{
	uint64_t state = atomic_fetch_add(&random_state, 0x9e3779b97f4a7c15u);

	return random_below(&state, n);
}

static void state_of(int fd, struct stat *st)
{
	if (fstat(fd, st) < 0)
		die("fstat");
}

/* Which file it is. Numbers of inodes are used again; generations are not, where there are any. */
static uint64_t file_of(int fd)
{
	uint32_t generation[2] = { 0 }; /* the kernel writes 4 bytes, or 8 */
	struct statx x = { 0 };
	struct stat st;

	state_of(fd, &st);
	ioctl(fd, FS_IOC_GETVERSION, generation);
	statx(fd, "", AT_EMPTY_PATH, STATX_BTIME, &x);
	return ((st.st_ino * 31 + generation[0]) * 1000003 + (uint64_t)x.stx_btime.tv_sec) *
		       1000000007 +
	       x.stx_btime.tv_nsec;
}

/* A record of a change that is about to begin. */
static struct record *record(int fd, uint32_t len, uint64_t offset)
{
	struct record *r = &journal->records[atomic_fetch_add(&journal->n_records, 1)];

	if (r >= journal->records + MAX_RECORDS)
		die("the journal is full");
	r->len = len;
	r->file = file_of(fd);
	r->offset = offset;
	r->bytes = atomic_fetch_add(&journal->n_bytes, len);
	if (r->bytes + len > MAX_BYTES)
		die("the journal is full");
	if (len) /* what lies behind the end stays zero */
		pread(fd, journal->bytes + r->bytes, len, (off_t)offset) < 0 ? die("pread")
									     : (void)0;
	atomic_store(&r->state, BEGUN);
	return r;
}

ssize_t __wrap_pwrite(int fd, const void *p, size_t len, off_t offset)
{
	struct record *r = journal ? record(fd, (uint32_t)len, (uint64_t)offset) : NULL;
	ssize_t n = __real_pwrite(fd, p, len, offset);

	if (r)
		atomic_store(&r->state, DONE);
	return n;
}

int __wrap_ftruncate(int fd, off_t size)
{
	struct record *r = NULL;
	struct stat st;
	int rc;

	if (journal) {
		state_of(fd, &st);
		r = record(fd, 0, (uint64_t)st.st_size);
	}
	rc = __real_ftruncate(fd, size);
	if (r)
		atomic_store(&r->state, DONE);
	return rc;
}

static bool is_cache(int fd)
{
	char link[64], path[PATH_MAX];
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, path, sizeof(path));
	return n > 6 && memcmp(path + n - 6, ".cache", 6) == 0;
}

/* A sync covers what was done when it began, and nothing that a failed one was about. */
static int sync_file(int fd, bool data_only)
{
	uint64_t n = atomic_load(&journal->n_records), n_covered = 0;
	uint64_t *covered = calloc(n + 1, sizeof(*covered));
	bool cache = is_cache(fd), fails = cache && fail_one_in && !chance(fail_one_in);
	uint64_t file = file_of(fd);

	if (broken && cache && data_only) {
		free(covered);
		return 0;
	}
	for (uint64_t i = 0; i < n; i++) {
		struct record *r = &journal->records[i];

		if (atomic_load(&r->state) == DONE && r->file == file)
			covered[n_covered++] = i;
	}
	usleep(chance(3000));
	for (uint64_t i = 0; i < n_covered; i++)
		atomic_store(&journal->records[covered[i]].state, fails ? LOST : DURABLE);
	free(covered);
	errno = EIO;
	return fails ? -1 : 0;
}

int __wrap_fsync(int fd)
{
	return journal ? sync_file(fd, false) : __real_fsync(fd);
}

int __wrap_fdatasync(int fd)
{
	return journal ? sync_file(fd, true) : __real_fdatasync(fd);
}

/* --- afterwards --- */

/* One file, and how the power failure goes. */
struct undo {
	const struct journal *j;
	uint64_t rng;
	uint64_t file;
	uint64_t unit; /* bytes that reach the disk together */
	uint32_t percent; /* of the units that are lost */
	uint8_t *now; /* the file's bytes */
	uint8_t *kept; /* per byte: a later change of it has reached the disk */
	uint64_t size;
	uint64_t undone; /* bytes */
};

static void undo_write(struct undo *u, const struct record *r)
{
	const uint8_t *before = u->j->bytes + r->bytes;
	bool durable = r->state == DURABLE, keep = false;
	uint64_t unit = UINT64_MAX;

	for (uint64_t i = 0; i < r->len && r->offset + i < u->size; i++) {
		uint64_t at = r->offset + i;

		if (at / u->unit != unit) {
			unit = at / u->unit;
			keep = durable || random_below(&u->rng, 100) >= u->percent;
		}
		if (keep)
			u->kept[at] = 1;
		if (u->kept[at] || u->now[at] == before[i])
			continue;
		u->now[at] = before[i];
		u->undone++;
	}
}

static void undo_file(struct undo *u, int fd, uint64_t size)
{
	uint64_t n = u->j->n_records < MAX_RECORDS ? u->j->n_records : MAX_RECORDS;
	bool resized = false;

	u->size = size;
	u->now = calloc(size + 1, 1);
	u->kept = calloc(size + 1, 1);
	if (pread(fd, u->now, size, 0) != (ssize_t)size)
		die("pread");
	for (uint64_t i = n; i-- > 0;) {
		const struct record *r = &u->j->records[i];

		if (r->state == UNUSED || r->file != u->file)
			continue;
		if (r->len)
			undo_write(u, r);
		else if (!resized && r->state != DURABLE && random_below(&u->rng, 2))
			size = r->offset;
		resized |= !r->len;
	}
	if (__real_pwrite(fd, u->now, u->size, 0) != (ssize_t)u->size ||
		__real_ftruncate(fd, (off_t)size) < 0)
		die("undo");
	free(u->now);
	free(u->kept);
}

uint64_t crash_undo(const char *path, const char *dir, uint64_t seed)
{
	static const uint32_t percents[] = { 0, 10, 50, 90, 100 };
	static const uint64_t units[] = { 1, 512, 4096 };
	struct undo u = { .j = map_journal(path, 0), .rng = seed };
	DIR *d = opendir(dir);
	struct dirent *e;
	struct stat st;

	if (!d)
		die(dir);
	while ((e = readdir(d))) {
		int fd = openat(dirfd(d), e->d_name, O_RDWR | O_CLOEXEC);

		if (fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode)) {
			u.file = file_of(fd);
			u.unit = units[random_below(&u.rng, 3)];
			u.percent = percents[random_below(&u.rng, 5)];
			undo_file(&u, fd, (uint64_t)st.st_size);
		}
		if (fd >= 0)
			close(fd);
	}
	closedir(d);
	return u.undone;
}
