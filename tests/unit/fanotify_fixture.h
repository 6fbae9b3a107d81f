/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * The transport fanotify between an engine and readers that are processes of their own. The
 * holder's code runs on a thread here, which can be held up; what keeps descriptors is a fake.
 */
#ifndef TESTS_UNIT_FANOTIFY_FIXTURE_H
#define TESTS_UNIT_FANOTIFY_FIXTURE_H

#include <poll.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <sys/fanotify.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "lib/serve/holder/holder.h"
#include "lib/serve/transport/device_transport.h"
#include "tests/unit/engine_fixture.h"

/* Not in Debian 12's headers. */
#ifndef FAN_PRE_ACCESS
#define FAN_PRE_ACCESS 0x00100000
#endif

/* --- keep --- */

struct keep {
	int group, presence; /* -1: none */
	int requests_fd, wake;
	struct requests *requests;
};

struct requests *keep_requests(const struct keep *k)
{
	return k->requests;
}

int keep_requests_eventfd(const struct keep *k)
{
	return k->wake;
}

int keep_find(const struct keep *k, const char *name)
{
	int fd = strcmp(name, KEEP_PRESENCE) == 0 ? k->presence : k->group;

	CHECK(strcmp(name, KEEP_FANOTIFY) == 0 || strcmp(name, KEEP_PRESENCE) == 0);
	return fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 3);
}

int keep_put(struct keep *k, const char *name, int fd, struct error **err)
{
	int *kept = strcmp(name, KEEP_PRESENCE) == 0 ? &k->presence : &k->group;

	(void)err;
	CHECK(strcmp(name, KEEP_FANOTIFY) == 0 || strcmp(name, KEEP_PRESENCE) == 0);
	cleanup_fd_(kept);
	*kept = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	return 0;
}

static inline void keep_begin(struct keep *k)
{
	*k = (struct keep){ .group = -1, .presence = -1 };
	k->requests_fd = requests_create();
	k->requests = requests_map(k->requests_fd);
	k->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	CHECK(k->requests != NULL);
}

static inline void keep_end(struct keep *k)
{
	munmap(k->requests, sizeof(*k->requests));
	cleanup_fd_(&k->requests_fd);
	cleanup_fd_(&k->wake);
	cleanup_fd_(&k->group);
	cleanup_fd_(&k->presence);
	k->group = k->presence = -1;
}

/* --- the holder --- */

uint64_t holder_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

void holder_say(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	printf("# holder: ");
	vprintf(fmt, ap);
	printf("\n");
	va_end(ap);
}

static struct holder holder;
static pthread_t holder_thread;
static atomic_bool holder_stops;

static inline void holder_make(const struct keep *k, unsigned deadline)
{
	hits_forget(&holder);
	memset(&holder, 0, sizeof(holder));
	hits_know(&holder, k->presence);
	holder.base = 1 << 20;
	holder.held_max = REQUESTS_MAX;
	holder.deadline = deadline * UINT64_C(1000000000);
	holder.requests = k->requests;
	holder.group = k->group;
	holder.wake = k->wake;
	holder.n_free = REQUESTS_MAX;
	for (uint32_t i = 0; i < REQUESTS_MAX; i++)
		holder.free[i] = i;
}

/* A holder in the place of one that was killed: it begins with what that one left. */
static inline void holder_succeed(const struct keep *k, unsigned deadline)
{
	static int null = -1;

	if (null < 0)
		null = open("/dev/null", O_RDWR | O_CLOEXEC);
	holder_make(k, deadline);
	holder.n_free = 0;
	holder.null = null;
	held_adopt(&holder);
}

static inline void *holder_main(void *arg)
{
	struct pollfd p = { .fd = holder.group, .events = POLLIN };

	(void)arg;
	while (!holder_stops) {
		if (poll(&p, 1, 5) > 0 && held_may_read(&holder))
			held_read(&holder);
		held_sweep(&holder, holder_now());
		hits_tell(&holder, holder_now());
	}
	return NULL;
}

static inline void holder_go_on(void)
{
	holder_stops = false;
	CHECK(pthread_create(&holder_thread, NULL, holder_main, NULL) == 0);
}

/* Events wait in the kernel's queue from now on. */
static inline void holder_hold_up(void)
{
	holder_stops = true;
	pthread_join(holder_thread, NULL);
}

/* --- all of it --- */

struct serving {
	struct fixture f; /* first */
	struct keep keep;
	struct device_transport *transport;
	char *store_dir;
	int store_fd;
	struct shared_blob shared[MAX_BLOBS];
};

/* In the place of shared_blob.c, as the next ones. Shared while the transport is told something. */
static pthread_rwlock_t telling = PTHREAD_RWLOCK_INITIALIZER;

bool shared_blob_is_complete(const struct shared_blob *b)
{
	return served_blob_is_complete(b->served);
}

static inline void tell_completed(void *fixture)
{
	struct serving *s = fixture;

	pthread_rwlock_rdlock(&telling);
	for (unsigned i = 0; i < s->f.n; i++)
		if (s->transport && s->shared[i].attached[DEVICE_FANOTIFY] &&
			shared_blob_is_complete(&s->shared[i]))
			s->transport->completed(s->transport, &s->shared[i]);
	pthread_rwlock_unlock(&telling);
}

static inline void tell_changed(void *fixture, uint64_t offset, uint64_t len)
{
	struct serving *s = fixture;

	pthread_rwlock_rdlock(&telling);
	for (unsigned i = 0; i < s->f.n; i++)
		if (s->transport && s->shared[i].served)
			s->transport->changed(s->transport, &s->shared[i], offset, len);
	pthread_rwlock_unlock(&telling);
}

static inline void tell_lost(void *fixture)
{
	struct serving *s = fixture;

	pthread_rwlock_rdlock(&telling);
	for (unsigned i = 0; i < s->f.n; i++)
		if (s->transport && s->shared[i].served)
			s->transport->lost(s->transport, &s->shared[i]);
	pthread_rwlock_unlock(&telling);
}

static inline void open_transport(struct serving *s)
{
	CLEANUP_ERROR struct error *err = NULL;

	s->transport = fanotify_transport_open(&s->keep, s->store_dir, &s->store_fd, &err);
	must(s->transport != NULL, err);
}

static inline void attach(struct serving *s, unsigned i)
{
	CLEANUP_ERROR struct error *err = NULL;
	CLEANUP_FREE char *path = NULL;

	must(s->transport->attach(s->transport, &s->shared[i], &path, &err) == 0, err);
	CHECK_STR(path, s->shared[i].path);
}

static inline void start_transport(struct serving *s)
{
	CLEANUP_ERROR struct error *err = NULL;

	must(s->transport->start(s->transport, &err) == 0, err);
}

static inline void share(struct serving *s, unsigned i)
{
	s->shared[i] = (struct shared_blob){ .digest = s->f.samples[i].result.digest,
		.size = s->f.samples[i].size,
		.fd = store_blob_fd(s->f.caches[i]),
		.path = store_blob_path(s->f.caches[i]),
		.served = s->f.blobs[i] };
}

/* n samples of so many blocks, of which nothing is served yet; `deadline`: seconds, of the engine.
 */
static inline void serve_prepare(struct serving *s, unsigned n, unsigned blocks, unsigned deadline)
{
	struct engine_options o = options(4, 300000);
	CLEANUP_ERROR struct error *err = NULL;

	memset(s, 0, sizeof(*s));
	o.deadline = deadline;
	begin(&s->f, n, blocks, &o, 0, false);
	s->f.completed = tell_completed;
	s->f.changed = tell_changed;
	s->f.lost = tell_lost;
	s->store_dir = xasprintf("%s/store", s->f.dir);
	store_close(s->f.store);
	keep_begin(&s->keep);
	open_transport(s);
	s->f.store = store_open_at(s->store_fd, s->store_dir, 0, &err);
	must(s->f.store != NULL, err);
}

/* Its blobs, attached. */
static inline void serve_samples(struct serving *s)
{
	for (unsigned i = 0; i < s->f.n; i++) {
		add_blob(&s->f, i, NULL);
		share(s, i);
		attach(s, i);
	}
}

/* Both. */
static inline void serve(struct serving *s, unsigned n, unsigned blocks, unsigned deadline)
{
	serve_prepare(s, n, blocks, deadline);
	serve_samples(s);
}

/* The same, at work. */
static inline void serve_now(
	struct serving *s, unsigned n, unsigned blocks, unsigned engine_deadline, unsigned deadline)
{
	serve(s, n, blocks, engine_deadline);
	start_transport(s);
	holder_make(&s->keep, deadline);
	holder_go_on();
}

static inline void close_transport(struct serving *s)
{
	struct device_transport *t = s->transport;

	pthread_rwlock_wrlock(&telling);
	s->transport = NULL;
	pthread_rwlock_unlock(&telling);
	t->close(t);
}

/* After the holder has been held up. */
static inline void serve_end(struct serving *s)
{
	for (unsigned i = 0; s->transport && i < s->f.n; i++)
		s->transport->detach(s->transport, &s->shared[i]);
	if (s->transport)
		close_transport(s);
	end(&s->f);
	cleanup_fd_(&s->store_fd);
	keep_end(&s->keep);
	free(s->store_dir);
}

static inline bool slot_has(const struct serving *s, uint32_t slot, uint32_t state)
{
	return atomic_load(&s->keep.requests->slots[slot].state) == state;
}

/* --- readers --- */

enum { BY_READ, BY_MMAP, BY_DIRECT };
enum { WRONG_BYTES = 255, SHORT_READ = 254 };

struct reader {
	const char *path;
	int by;
	uint64_t offset; /* of whole pages */
	size_t len;
	const uint8_t *want;
	pid_t pid;
};

static uint8_t reader_buf[1 << 20] __attribute__((aligned(4096)));

static inline int read_and_compare(const struct reader *r)
{
	int fd = open(r->path, O_RDONLY | O_CLOEXEC | (r->by == BY_DIRECT ? O_DIRECT : 0));
	const uint8_t *got = reader_buf;
	ssize_t n = (ssize_t)r->len;

	if (fd < 0)
		return errno;
	if (r->by == BY_MMAP) {
		got = mmap(NULL, r->len, PROT_READ, MAP_SHARED, fd, (off_t)r->offset);
		if (got == MAP_FAILED)
			return errno;
	} else {
		n = pread(fd, reader_buf, r->len, (off_t)r->offset);
	}
	if (n < 0)
		return errno;
	if ((size_t)n != r->len)
		return SHORT_READ;
	return memcmp(got, r->want, r->len) == 0 ? 0 : WRONG_BYTES;
}

/* It has nothing open that is ours: least of all the group. */
static inline void reader_begin(struct reader *r)
{
	fflush(stdout);
	r->pid = fork();
	if (r->pid == 0) {
		close_range(3, ~0U, 0);
		_exit(read_and_compare(r));
	}
}

static inline bool reader_has_ended(struct reader *r, int *status)
{
	return waitpid(r->pid, status, WNOHANG) == r->pid;
}

/* 0, the errno, or another of the above; -1: it hung for a minute, or a signal has killed it. */
static inline int reader_end(struct reader *r)
{
	int status = 0;

	for (unsigned tries = 0; tries < 12000; tries++) {
		if (reader_has_ended(r, &status))
			return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
		usleep(5000);
	}
	kill(r->pid, SIGKILL);
	waitpid(r->pid, &status, 0);
	return -1;
}

static inline struct reader reader_of(
	const struct serving *s, unsigned blob, int by, uint64_t offset, size_t len)
{
	struct reader r = { .path = s->shared[blob].path, .by = by, .offset = offset, .len = len };

	r.want = s->f.samples[blob].content + offset;
	return r;
}

/* Read so many bytes of blob 0. */
static inline int read_now(const struct serving *s, int by, uint64_t offset, size_t len)
{
	struct reader r = reader_of(s, 0, by, offset, len);

	reader_begin(&r);
	return reader_end(&r);
}

/* Does the kernel give events for the files of a test? If not, *why: the caller frees it. */
static inline bool has_events(char **why)
{
	CLEANUP_TMPDIR char *dir = tmpdir_make();

	return fanotify_transport_supported(dir, why);
}

/* For a program that has no tests without them. */
static inline void skip_without_events(void)
{
	CLEANUP_FREE char *why = NULL;

	if (has_events(&why))
		return;
	printf("1..0 # SKIP %s\n", why);
	exit(0);
}

#endif
