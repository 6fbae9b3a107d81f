// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/*
 * The smallest server of cachefiles on demand: an object is the plain file in DATA that has its
 * cookie's name. One request at a time, one thread, nothing kept. It shows that the kernel of
 * tests/vm/ works, and what a mount must look like when a better server is tried.
 *
 *	cachefiles-server CACHE TAG DATA
 *
 * "ready" on stdout when the cache is bound; then a line for each message. SIGTERM ends it.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/cachefiles.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fmt/cachefiles.h"
#include "lib/base/cleanup.h"

enum { OBJECTS_MAX = 1024, BLOCK = 4096, PIECE = 1 << 20 };

struct object {
	uint32_t id; /* 0: free */
	int to, from; /* the kernel's fd, the plain file */
};

static struct object objects[OBJECTS_MAX];
static volatile sig_atomic_t stopped;

static void stop(int signal)
{
	(void)signal;
	stopped = 1;
}

static void __attribute__((format(printf, 1, 2), noreturn)) die(const char *fmt, ...)
{
	int code = errno;
	va_list ap;

	fputs("cachefiles-server: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, ": %s\n", strerror(code));
	exit(1);
}

static void command(int dev, const struct cachefiles_command *c)
{
	if (write(dev, c->text, c->len) < 0)
		die("%s", c->text);
}

static struct object *find(uint32_t id)
{
	for (size_t i = 0; i < OBJECTS_MAX; i++)
		if (objects[i].id == id)
			return &objects[i];
	return NULL;
}

static uint64_t whole_blocks(uint64_t size)
{
	return (size + BLOCK - 1) / BLOCK * BLOCK;
}

static int open_plain(int data, const struct cachefiles_message *m)
{
	char name[CACHEFILES_KEY_MAX + 1];

	memcpy(name, m->open.cookie, m->open.cookie_len);
	name[m->open.cookie_len] = 0;
	if (strlen(name) != m->open.cookie_len || strchr(name, '/') || name[0] == '.') {
		errno = EINVAL;
		return -1;
	}
	return openat(data, name, O_RDONLY | O_CLOEXEC);
}

static void answer_open(int dev, int data, const struct cachefiles_message *m)
{
	struct object *o = find(0);
	struct cachefiles_command c;
	struct stat st;
	int from = open_plain(data, m);

	if (!o || from < 0 || fstat(from, &st) < 0) {
		cachefiles_put_copen_error(&c, m->id, o ? errno : ENFILE);
		close(m->open.fd);
	} else {
		*o = (struct object){ m->object, m->open.fd, from };
		cachefiles_put_copen(&c, m->id, whole_blocks((uint64_t)st.st_size));
	}
	printf("open %s %.*s: %s\n", m->open.volume, (int)m->open.cookie_len,
		(const char *)m->open.cookie, c.text);
	command(dev, &c);
}

/* False: what is missing stays a hole, and the reader gets EIO. */
static bool copy(const struct object *o, uint64_t offset, uint64_t len)
{
	static uint8_t *buffer;

	if (!buffer && posix_memalign((void **)&buffer, BLOCK, PIECE) != 0)
		die("memory");
	for (uint64_t done = 0; done < len;) {
		size_t n = len - done < PIECE ? len - done : PIECE;
		off_t at = (off_t)(offset + done);

		memset(buffer, 0, n); /* the last block's rest */
		if (pread(o->from, buffer, n, at) < 0 || pwrite(o->to, buffer, n, at) != (ssize_t)n)
			return false;
		done += n;
	}
	return true;
}

static void answer_read(const struct cachefiles_message *m)
{
	const struct object *o = find(m->object);
	bool ok = o && copy(o, m->read.offset, m->read.len);

	printf("read %" PRIu32 " %" PRIu64 "+%" PRIu64 ": %s\n", m->object, m->read.offset,
		m->read.len, ok ? "done" : "failed");
	/* A reader that was killed takes its request with it. */
	if (o && ioctl(o->to, CACHEFILES_IOC_READ_COMPLETE, m->id) < 0 && errno != EINVAL)
		die("READ_COMPLETE");
}

static void forget(struct object *o)
{
	close(o->to);
	close(o->from);
	o->id = 0;
}

static void answer(int dev, int data, const uint8_t *bytes, size_t len)
{
	struct cachefiles_message m;
	struct fault fault;

	if (cachefiles_parse(&m, bytes, len, &fault) < 0) {
		errno = EBADMSG;
		die("%s at %" PRIu64, fault.what, fault.offset);
	}
	if (m.opcode == CACHEFILES_OP_OPEN) {
		answer_open(dev, data, &m);
	} else if (m.opcode == CACHEFILES_OP_READ) {
		answer_read(&m);
	} else {
		printf("close %" PRIu32 "\n", m.object);
		if (find(m.object))
			forget(find(m.object));
	}
}

static void serve(int dev, int data)
{
	uint8_t bytes[CACHEFILES_MSG_MAX_SIZE];
	struct pollfd p = { .fd = dev, .events = POLLIN };

	while (!stopped) {
		ssize_t n;

		if (poll(&p, 1, 500) <= 0) /* a signal just before it is noticed in time */
			continue;
		n = read(dev, bytes, sizeof(bytes));
		if (n < 0 && errno != EINTR && errno != EAGAIN)
			die("read");
		if (n > 0)
			answer(dev, data, bytes, (size_t)n);
	}
}

static void set_up(int dev, const char *cache, const char *tag)
{
	struct cachefiles_command c;
	struct fault fault;

	errno = EINVAL;
	if (cachefiles_put_dir(&c, cache, &fault) < 0)
		die("%s: %s", cache, fault.what);
	command(dev, &c);
	errno = EINVAL;
	if (cachefiles_put_tag(&c, tag, &fault) < 0)
		die("%s: %s", tag, fault.what);
	command(dev, &c);
	cachefiles_put_bind(&c);
	command(dev, &c);
}

int main(int argc, char **argv)
{
	struct sigaction action = { .sa_handler = stop };
	CLEANUP_FD int dev = -1, data = -1;

	if (argc != 4) {
		fputs("usage: cachefiles-server CACHE TAG DATA\n", stderr);
		return 2;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	sigaction(SIGTERM, &action, NULL);
	dev = open("/dev/cachefiles", O_RDWR | O_CLOEXEC);
	if (dev < 0)
		die("/dev/cachefiles");
	data = open(argv[3], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (data < 0)
		die("%s", argv[3]);
	set_up(dev, argv[1], argv[2]);
	puts("ready");
	serve(dev, data);
	for (size_t i = 0; i < OBJECTS_MAX; i++)
		if (objects[i].id)
			forget(&objects[i]);
	return 0;
}
