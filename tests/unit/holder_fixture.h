/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* The holder's table of requests, with a socket in the place of the fanotify group. */
#ifndef TESTS_UNIT_HOLDER_FIXTURE_H
#define TESTS_UNIT_HOLDER_FIXTURE_H

#include <errno.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/fanotify.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "lib/base/mem.h"
#include "lib/serve/holder/event.h"
#include "lib/serve/holder/holder.h"
#include "tests/unit/tap.h"

#define SECOND UINT64_C(1000000000)
#define BASE   512

struct world {
	struct holder *h;
	struct requests *r;
	int kernel; /* the other end of the group */
};

struct event_bytes {
	struct fanotify_event_metadata m;
	uint8_t type, pad;
	uint16_t len;
	uint32_t pad2;
	uint64_t offset, count;
};

static inline struct event_bytes event_of(int fd, uint64_t offset, uint64_t count)
{
	return (struct event_bytes){ .m = { .event_len = sizeof(struct event_bytes),
					     .vers = FANOTIFY_METADATA_VERSION,
					     .metadata_len = sizeof(struct fanotify_event_metadata),
					     .mask = 0x00100000,
					     .fd = fd,
					     .pid = 7 },
		.type = 6,
		.len = 24,
		.offset = offset,
		.count = count };
}

static inline void raise_event(struct world *w, int fd, uint64_t offset, uint64_t count)
{
	const struct event_bytes e = event_of(fd, offset, count);

	CHECK(sizeof(e) == EVENT_SIZE && write(w->kernel, &e, sizeof(e)) == sizeof(e));
}

static inline bool is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

/* The next answer's number and response; -1: none. */
static inline int heard(struct world *w, uint32_t *response)
{
	struct fanotify_response r;

	if (recv(w->kernel, &r, sizeof(r), MSG_DONTWAIT) != sizeof(r))
		return -1;
	*response = r.response;
	return r.fd;
}

/* Numbers below are events'. */
static inline int above_base(int fd)
{
	int raised = fcntl(fd, F_DUPFD_CLOEXEC, BASE);

	CHECK(raised >= BASE);
	close(fd);
	return raised;
}

static inline struct world begin(void)
{
	struct world w = { .h = xzalloc(sizeof(*w.h)) };
	int fd = requests_create(), ends[2];

	w.h->requests = w.r = requests_map(fd);
	close(fd);
	if (!w.r || socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) < 0)
		exit(99);
	w.h->base = BASE;
	w.h->held_max = BASE - 64;
	w.h->deadline = 10 * SECOND;
	w.h->group = above_base(ends[0]);
	w.kernel = above_base(ends[1]);
	w.h->wake = above_base(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
	w.h->null = above_base(open("/dev/null", O_RDWR | O_CLOEXEC));
	w.h->pidfd = 0; /* a worker lives */
	return w;
}

/* Adopting denies what nobody had noted: here all numbers. */
static inline void start(struct world *w)
{
	uint32_t response;

	held_adopt(w->h);
	while (heard(w, &response) >= 0)
		;
}

static inline void end(struct world *w)
{
	close(w->h->group);
	close(w->kernel);
	close(w->h->wake);
	close(w->h->null);
	munmap(w->r, sizeof(*w->r));
	free(w->h);
}

static inline struct held_request *one_request(struct world *w)
{
	int fd = dup(w->h->null);

	raise_event(w, fd, 4096, 8192);
	held_read(w->h);
	return &w->r->slots[w->r->ring[(w->r->head - 1) % REQUESTS_MAX]];
}

static inline void check_denied(struct world *w, const struct held_request *q)
{
	uint32_t response = 0;

	CHECK(heard(w, &response) == q->fd);
	CHECK_U64(response, FAN_DENY | (uint32_t)EIO << 24);
}

#endif
