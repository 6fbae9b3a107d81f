/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * A kernel's end of /dev/cachefiles: messages go over a socketpair, objects are files without a
 * name, and READ_COMPLETE is a hook that writes down what came.
 */
#ifndef TESTS_UNIT_CACHEFILES_FIXTURE_H
#define TESTS_UNIT_CACHEFILES_FIXTURE_H

#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "lib/serve/transport/cachefiles_part.h"
#include "tests/unit/engine_fixture.h"

#define DOMAIN "domain-of-the-test"

enum { COMPLETED_MAX = 8192, PATIENCE_MS = 60000 };

/* ---- the system calls ---- */

static struct {
	pthread_mutex_t lock;
	unsigned n;
	struct {
		int fd;
		uint32_t message;
	} of[COMPLETED_MAX];
} done = { .lock = PTHREAD_MUTEX_INITIALIZER };

static inline ssize_t receive(int dev, void *buf, size_t len)
{
	return recv(dev, buf, len, MSG_DONTWAIT);
}

static inline ssize_t tell(int dev, const void *buf, size_t len)
{
	return send(dev, buf, len, MSG_NOSIGNAL);
}

static inline int write_down(int object, uint32_t message)
{
	pthread_mutex_lock(&done.lock);
	if (done.n < COMPLETED_MAX) {
		done.of[done.n].fd = object;
		done.of[done.n].message = message;
	}
	done.n++;
	pthread_mutex_unlock(&done.lock);
	errno = EINVAL; /* as for a reader that was killed: nobody minds */
	return message % 2 ? -1 : 0;
}

static inline unsigned n_completed(void)
{
	unsigned n;

	pthread_mutex_lock(&done.lock);
	n = done.n;
	pthread_mutex_unlock(&done.lock);
	return n;
}

/* How many times. */
static inline unsigned completed_as(uint32_t message)
{
	unsigned n = 0;

	pthread_mutex_lock(&done.lock);
	for (unsigned i = 0; i < done.n && i < COMPLETED_MAX; i++)
		n += done.of[i].message == message;
	pthread_mutex_unlock(&done.lock);
	return n;
}

static const struct cachefiles_ops test_ops = {
	.read = receive, .write = tell, .complete = write_down
};

/* The kernel writes directly: what is not aligned would fail. Only objects are of memory here. */
ssize_t __real_pwrite(int fd, const void *buf, size_t len, off_t at);
ssize_t __wrap_pwrite(int fd, const void *buf, size_t len, off_t at);

ssize_t __wrap_pwrite(int fd, const void *buf, size_t len, off_t at)
{
	if (fcntl(fd, F_GET_SEALS) >= 0 && ((uintptr_t)buf | len | (size_t)at) % BLOCK) {
		errno = EINVAL;
		return -1;
	}
	return __real_pwrite(fd, buf, len, at);
}

/* ---- the world ---- */

struct world {
	struct fixture f;
	struct shared_blob blobs[MAX_BLOBS];
	char *cookies[MAX_BLOBS];
	struct device_transport *transport;
	int kernel; /* its end of the socket */
	uint32_t message, object; /* the last numbers */
};

static inline void attach_blob(struct world *w, unsigned i)
{
	CLEANUP_ERROR struct error *err = NULL;

	must(w->transport->attach(w->transport, &w->blobs[i], &w->cookies[i], &err) == 0, err);
}

static inline void detach_blob(struct world *w, unsigned i)
{
	w->transport->detach(w->transport, &w->blobs[i]);
	free(w->cookies[i]);
	w->cookies[i] = NULL;
}

/* n blobs of so many blocks. */
static inline void world_begin(struct world *w, unsigned n, unsigned blocks)
{
	CLEANUP_ERROR struct error *err = NULL;
	struct engine_options o = options(4, 64 * 1024);
	int pair[2];

	done.n = 0;
	*w = (struct world){ .kernel = -1 };
	begin(&w->f, n, blocks, &o, 0, true);
	must(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0, NULL);
	w->kernel = pair[1];
	w->transport = cachefiles_new(pair[0], NULL, DOMAIN, &test_ops);
	for (unsigned i = 0; i < n; i++) {
		w->blobs[i] = (struct shared_blob){ .digest = w->f.samples[i].result.digest,
			.index = w->f.samples[i].result.index_digest,
			.size = w->f.samples[i].size,
			.fd = served_blob_fd(w->f.blobs[i]),
			.path = "cache",
			.served = w->f.blobs[i] };
		attach_blob(w, i);
	}
	must(w->transport->start(w->transport, &err) == 0, err);
}

static inline void world_close(struct world *w)
{
	if (w->transport)
		w->transport->close(w->transport);
	w->transport = NULL;
}

static inline void world_end(struct world *w)
{
	world_close(w);
	end(&w->f);
	close(w->kernel);
	for (unsigned i = 0; i < MAX_BLOBS; i++)
		free(w->cookies[i]);
}
#define WORLD CLEANUP(world_end) struct world

/* ---- what the kernel says ---- */

static inline void say(const struct world *w, const void *bytes, size_t len)
{
	CHECK(send(w->kernel, bytes, len, MSG_NOSIGNAL) == (ssize_t)len);
}

enum { PAYLOAD_MAX = 1700 };

/* Its number. */
static inline uint32_t say_message(
	struct world *w, uint32_t opcode, uint32_t object, const void *payload, size_t len)
{
	const struct cachefiles_msg head = { .msg_id = ++w->message,
		.opcode = opcode,
		.len = (uint32_t)(sizeof(head) + len),
		.object_id = object };
	uint8_t bytes[sizeof(head) + PAYLOAD_MAX];

	memcpy(bytes, &head, sizeof(head));
	if (len)
		memcpy(bytes + sizeof(head), payload, len);
	say(w, bytes, sizeof(head) + len);
	return w->message;
}

static inline uint32_t say_read(struct world *w, uint32_t object, uint64_t offset, uint64_t len)
{
	const struct cachefiles_read read = { .off = offset, .len = len };

	return say_message(w, CACHEFILES_OP_READ, object, &read, sizeof(read));
}

static inline void say_close(struct world *w, uint32_t object)
{
	say_message(w, CACHEFILES_OP_CLOSE, object, NULL, 0);
}

/* `fd` becomes the transport's. Returns the object; the message's number is w->message. */
static inline uint32_t say_open(struct world *w, const char *volume, const char *cookie, int fd)
{
	size_t n = strlen(volume) + 1, len = strlen(cookie);
	const struct cachefiles_open open = {
		.volume_key_size = (uint32_t)n, .cookie_key_size = (uint32_t)len, .fd = (uint32_t)fd
	};
	uint8_t payload[PAYLOAD_MAX];

	memcpy(payload, &open, sizeof(open));
	memcpy(payload + sizeof(open), volume, n);
	memcpy(payload + sizeof(open) + n, cookie, len);
	say_message(w, CACHEFILES_OP_OPEN, ++w->object, payload, sizeof(open) + n + len);
	return w->object;
}

/* What the transport writes; "" after a minute. */
static inline const char *hear(const struct world *w)
{
	static char text[CACHEFILES_COMMAND_MAX + 1];
	struct pollfd p = { .fd = w->kernel, .events = POLLIN };
	ssize_t n = 0;

	if (poll(&p, 1, PATIENCE_MS) > 0)
		n = recv(w->kernel, text, sizeof(text) - 1, MSG_DONTWAIT);
	text[n > 0 ? n : 0] = '\0';
	return text;
}

/* An OPEN's answer: the size, or a negative errno. */
static inline bool hears(const struct world *w, uint32_t id, int64_t answer)
{
	CLEANUP_FREE char *want = xasprintf("copen %" PRIu32 ",%" PRId64, id, answer);
	const char *heard = hear(w);
	bool same = strcmp(heard, want) == 0;

	if (!same)
		printf("# heard \"%s\"\n", heard);
	return same;
}

/* ---- objects ---- */

struct object {
	uint32_t id;
	int fd; /* the test's own */
};

static inline int new_file(int *copy)
{
	int fd = memfd_create("object", MFD_CLOEXEC);

	*copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	return fd;
}

static inline struct object open_cookie(struct world *w, const char *cookie, uint64_t size)
{
	struct object o;

	o.id = say_open(w, "erofs," DOMAIN, cookie, new_file(&o.fd));
	CHECK(hears(w, w->message, (int64_t)size));
	return o;
}

static inline struct object open_blob(struct world *w, unsigned i)
{
	return open_cookie(w, w->cookies[i], w->f.samples[i].size);
}

static inline bool has(
	const struct world *w, const struct object *o, unsigned blob, uint64_t offset, size_t len)
{
	CLEANUP_FREE uint8_t *got = xmalloc(len);

	return pread(o->fd, got, len, (off_t)offset) == (ssize_t)len &&
	       memcmp(got, w->f.samples[blob].content + offset, len) == 0;
}

static inline uint64_t size_of(const struct object *o)
{
	struct stat st;

	return fstat(o->fd, &st) == 0 ? (uint64_t)st.st_size : UINT64_MAX;
}

/* Open descriptors of this process that are the object's file. */
static inline unsigned n_open(const struct object *o)
{
	struct stat mine, other;
	unsigned n = 0;

	fstat(o->fd, &mine);
	for (int fd = 0; fd < 4096; fd++)
		n += fstat(fd, &other) == 0 && other.st_dev == mine.st_dev &&
		     other.st_ino == mine.st_ino;
	return n;
}

#endif
