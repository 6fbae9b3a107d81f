// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/* Who answers, and who does so meanwhile. The kernel's side of /dev/fuse is a socket here. */
#include "config.h"

#include <linux/fuse.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "lib/serve/transport/fuse_servers.h"
#include "tests/unit/tap.h"

enum { QUICK = 2, SLOW, CROWD }; /* nodes */
enum { THREADS = 3, LIMIT = 60 /* seconds */, CROWD_ALONE = 40 };

static struct fuse_session *session;
static struct fuse_servers *servers;
static int kernel = -1;
static uint64_t last_unique;

static sem_t slow_began, slow_may_end;
static pthread_mutex_t seen_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t seen_changed = PTHREAD_COND_INITIALIZER;
static pthread_t seen[THREADS];
static unsigned n_seen, n_crowd;

/* ---- the filesystem ---- */

static void see_me(void)
{
	unsigned i = 0;

	pthread_mutex_lock(&seen_lock);
	while (i < n_seen && !pthread_equal(seen[i], pthread_self()))
		i++;
	if (i == n_seen && n_seen < THREADS)
		seen[n_seen++] = pthread_self();
	pthread_cond_broadcast(&seen_changed);
	pthread_mutex_unlock(&seen_lock);
}

/* Many, and one waits until somebody else has come. */
static void be_crowded(void)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += LIMIT;
	pthread_mutex_lock(&seen_lock);
	n_crowd++;
	while (n_crowd >= CROWD_ALONE && n_seen < 2)
		if (pthread_cond_timedwait(&seen_changed, &seen_lock, &until))
			break;
	pthread_mutex_unlock(&seen_lock);
}

static void getattr(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *fi)
{
	struct stat st = { .st_ino = node, .st_mode = S_IFREG | 0400 };

	(void)fi;
	see_me();
	if (node == SLOW) {
		fuse_servers_step_aside();
		sem_post(&slow_began);
		while (sem_wait(&slow_may_end) < 0)
			;
	} else if (node == CROWD) {
		be_crowded();
	}
	fuse_reply_attr(req, &st, 1);
}

static const struct fuse_lowlevel_ops operations = { .getattr = getattr };

/* ---- the kernel ---- */

static uint64_t ask(uint32_t opcode, uint64_t node, const void *more, size_t size)
{
	struct fuse_in_header header = { .len = (uint32_t)(sizeof(header) + size),
		.opcode = opcode,
		.unique = ++last_unique,
		.nodeid = node };
	struct iovec iov[2] = { { &header, sizeof(header) }, { (void *)more, size } };
	struct msghdr message = { .msg_iov = iov, .msg_iovlen = 2 };

	CHECK_U64((uint64_t)sendmsg(kernel, &message, MSG_NOSIGNAL), header.len);
	return last_unique;
}

static uint64_t ask_for(uint64_t node)
{
	const struct fuse_getattr_in in = { 0 };

	return ask(FUSE_GETATTR, node, &in, sizeof(in));
}

/* Which request the next answer is to; 0: none came. */
static uint64_t answer(void)
{
	struct {
		struct fuse_out_header header;
		char more[512];
	} out;
	ssize_t n = recv(kernel, &out, sizeof(out), 0);

	if (!CHECK(n >= (ssize_t)sizeof(out.header)))
		return 0;
	CHECK_U64((uint64_t)out.header.error, 0);
	return out.header.unique;
}

static void ask_and_hear(uint64_t node)
{
	uint64_t asked = ask_for(node);

	CHECK_U64(answer(), asked);
}

/* A session's beginning, with the answer to FUSE_INIT. */
static void begin(void)
{
	const struct fuse_init_in init = { .major = 7, .minor = 31, .max_readahead = 131072 };
	char *argv[] = { "test", NULL }, path[32];
	struct fuse_args args = FUSE_ARGS_INIT(1, argv);
	struct timeval limit = { .tv_sec = LIMIT };
	struct error *err = NULL;
	int pair[2];

	n_seen = n_crowd = 0;
	sem_init(&slow_began, 0, 0);
	sem_init(&slow_may_end, 0, 0);
	if (!CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0))
		exit(1);
	kernel = pair[0];
	setsockopt(kernel, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	session = fuse_session_new(&args, &operations, sizeof(operations), NULL);
	fuse_opt_free_args(&args);
	snprintf(path, sizeof(path), "/dev/fd/%d", pair[1]);
	CHECK(session && fuse_session_mount(session, path) == 0);
	servers = fuse_servers_start(session, "test", THREADS, &err);
	if (!CHECK(servers))
		exit(1);
	ask(FUSE_INIT, 0, &init, sizeof(init));
	CHECK_U64(answer(), last_unique);
}

static void finish(void)
{
	fuse_servers_stop(servers);
	fuse_session_destroy(session); /* closes its end */
	close(kernel);
	sem_destroy(&slow_began);
	sem_destroy(&slow_may_end);
}

/* ---- tests ---- */

static void one_request_after_the_other_is_for_one_thread(void)
{
	begin();
	for (unsigned i = 0; i < 2000; i++)
		ask_and_hear(QUICK);
	CHECK_U64(n_seen, 1);
	finish();
}

static void who_steps_aside_is_replaced(void)
{
	uint64_t slow;

	begin();
	slow = ask_for(SLOW);
	while (sem_wait(&slow_began) < 0)
		;
	for (unsigned i = 0; i < 50; i++)
		ask_and_hear(QUICK);
	CHECK_U64(n_seen, 2);
	sem_post(&slow_may_end);
	CHECK_U64(answer(), slow);
	for (unsigned i = 0; i < 50; i++)
		ask_and_hear(QUICK);
	finish();
}

static void when_all_have_stepped_aside_the_first_who_is_back_goes_on(void)
{
	uint64_t last;

	begin();
	for (unsigned round = 0; round < 20; round++) {
		for (unsigned i = 0; i < THREADS; i++)
			ask_for(SLOW);
		for (unsigned i = 0; i < THREADS; i++)
			while (sem_wait(&slow_began) < 0)
				;
		last = ask_for(QUICK);
		sem_post(&slow_may_end);
		CHECK(answer() < last);
		CHECK_U64(answer(), last);
		for (unsigned i = 1; i < THREADS; i++)
			sem_post(&slow_may_end);
		for (unsigned i = 1; i < THREADS; i++)
			CHECK(answer() < last);
	}
	CHECK_U64(n_seen, THREADS);
	finish();
}

static void many_requests_at_once_are_shared(void)
{
	begin();
	for (unsigned i = 0; i < 2 * CROWD_ALONE; i++)
		ask_for(CROWD);
	for (unsigned i = 0; i < 2 * CROWD_ALONE; i++)
		answer();
	CHECK(n_seen >= 2 || sysconf(_SC_NPROCESSORS_ONLN) < 2);
	finish();
}

static void who_is_not_asked_takes_no_time(void)
{
	struct timespec pause = { .tv_nsec = 300000000 }, before, after;
	int64_t used;

	begin();
	for (unsigned i = 0; i < 100; i++)
		ask_and_hear(QUICK);
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &before);
	nanosleep(&pause, NULL);
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &after);
	used = (int64_t)(after.tv_sec - before.tv_sec) * 1000000000 + after.tv_nsec -
	       before.tv_nsec;
	CHECK(used < pause.tv_nsec / 4);
	finish();
}

static void it_ends_in_the_middle_of_nothing(void)
{
	struct error *err = NULL;

	begin();
	CHECK(!fuse_servers_are_gone(servers));
	fuse_session_exit(session);
	CHECK(fuse_servers_wait(servers, &err) == 0);
	finish();
}

static void the_kernels_end_is_noticed(void)
{
	struct error *err = NULL;

	begin();
	shutdown(kernel, SHUT_RDWR);
	CHECK(fuse_servers_wait(servers, &err) < 0); /* an unmount would be no error */
	CHECK(fuse_servers_are_gone(servers));
	error_free(err);
	finish();
}

int main(void)
{
	signal(SIGPIPE, SIG_IGN);
	RUN(one_request_after_the_other_is_for_one_thread);
	RUN(who_steps_aside_is_replaced);
	RUN(when_all_have_stepped_aside_the_first_who_is_back_goes_on);
	RUN(many_requests_at_once_are_shared);
	RUN(who_is_not_asked_takes_no_time);
	RUN(it_ends_in_the_middle_of_nothing);
	RUN(the_kernels_end_is_noticed);
	return tap_done();
}
