/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * A server of the fuse-device transport that is a process of its own, and killed; a holder that
 * keeps its descriptors and starts it; and the kernel's EROFS over the blob. The test has no copy
 * of /dev/fuse: when all goes wrong, the holder ends, and with it every waiting read.
 */
#ifndef TESTS_UNIT_FUSE_DEVICE_FIXTURE_H
#define TESTS_UNIT_FUSE_DEVICE_FIXTURE_H

#include "tests/unit/engine_fixture.h"

#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>

#include "lib/base/outfile.h"
#include "lib/bootstrap/bootstrap.h"
#include "lib/mount/erofs_mount.h"
#include "lib/serve/holder/keep.h"
#include "lib/serve/transport/device_transport.h"

enum { KEPT_MAX = 8, HOLDER_LIFE = 300 /* seconds */ };

/* ---- settings ---- */

struct setting {
	unsigned blocks, deadline, delay_us; /* of the blob; seconds; of each request */
	size_t slice; /* bytes as stored */
};
#define SETTING_DEFAULT \
	((struct setting){ .blocks = BLOCKS, .deadline = 100, .delay_us = 1000, .slice = 100000 })

/* ---- what is kept ---- */

struct keep {
	int socket; /* to who keeps */
	struct {
		char name[KEEP_NAME_MAX + 1];
		int fd;
	} kept[KEPT_MAX];
	unsigned n;
};

/* A name with a descriptor: keep it; without: drop it; "": the server is ready. */
static inline void tell(int socket, const char *name, int fd)
{
	struct iovec text = { (void *)name, strlen(name) + 1 };
	_Alignas(struct cmsghdr) char space[CMSG_SPACE(sizeof(fd))] = { 0 };
	struct msghdr m = { .msg_iov = &text, .msg_iovlen = 1 };
	char done;

	if (fd >= 0) {
		m.msg_control = space;
		m.msg_controllen = sizeof(space);
		*CMSG_FIRSTHDR(&m) =
			(struct cmsghdr){ CMSG_LEN(sizeof(fd)), SOL_SOCKET, SCM_RIGHTS };
		memcpy(CMSG_DATA(CMSG_FIRSTHDR(&m)), &fd, sizeof(fd));
	}
	if (sendmsg(socket, &m, MSG_NOSIGNAL) < 0 || recv(socket, &done, 1, 0) != 1)
		_exit(98);
}

static inline void keep_here(struct keep *k, const char *name, int fd)
{
	snprintf(k->kept[k->n].name, sizeof(k->kept[0].name), "%s", name);
	k->kept[k->n++].fd = fd;
}

static inline void drop_here(struct keep *k, const char *name)
{
	for (unsigned i = 0; i < k->n; i++)
		if (strcmp(k->kept[i].name, name) == 0) {
			close(k->kept[i].fd);
			k->kept[i--] = k->kept[--k->n];
		}
}

/* One message of the server's; false: it has ended, or is ready. */
static inline bool hear(struct keep *k, bool *ready)
{
	char name[KEEP_NAME_MAX + 1];
	struct iovec text = { name, sizeof(name) };
	_Alignas(struct cmsghdr) char space[CMSG_SPACE(sizeof(int))];
	struct msghdr m = { .msg_iov = &text,
		.msg_iovlen = 1,
		.msg_control = space,
		.msg_controllen = sizeof(space) };
	int fd = -1;

	*ready = false;
	if (recvmsg(k->socket, &m, MSG_CMSG_CLOEXEC) <= 0)
		return false;
	if (CMSG_FIRSTHDR(&m))
		memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof(fd));
	*ready = !name[0];
	if (name[0])
		drop_here(k, name);
	if (fd >= 0)
		keep_here(k, name, fd);
	CHECK(send(k->socket, "", 1, MSG_NOSIGNAL) == 1);
	return !*ready;
}

int keep_find(const struct keep *k, const char *name)
{
	for (unsigned i = 0; i < k->n; i++)
		if (strcmp(k->kept[i].name, name) == 0)
			return fcntl(k->kept[i].fd, F_DUPFD_CLOEXEC, 3);
	return -1;
}

int keep_put(struct keep *k, const char *name, int fd, struct error **err)
{
	(void)err;
	keep_drop(k, name);
	if (k->socket >= 0)
		tell(k->socket, name, fd);
	keep_here(k, name, fcntl(fd, F_DUPFD_CLOEXEC, 3));
	return 0;
}

void keep_drop(struct keep *k, const char *name)
{
	drop_here(k, name);
}

/* ---- the server ---- */

/* What the processes share. */
struct board {
	atomic_bool fails; /* the source */
	atomic_bool waits; /* the same, for ever */
	atomic_bool closed; /* the transport, in good order */
	atomic_uint asked; /* of the source */
	atomic_uint stop, reads, wrong, errors; /* of readers */
};

static struct board *board;

static inline int read_as_told(struct blob_source *s, const struct digest *blob, uint64_t offset,
	void *buf, size_t len, struct error **err)
{
	atomic_fetch_add(&board->asked, 1);
	while (atomic_load(&board->waits))
		usleep(2000);
	if (atomic_load(&board->fails))
		return error_set(err, EHOSTUNREACH, "the source fails");
	return fake_read(s, blob, offset, buf, len, err);
}

struct server {
	struct fixture f;
	struct shared_blob blob, twin; /* another one; both digests begin with the same 64 bits */
	struct device_transport *transport;
	char *path;
};

static inline void server_begin(struct server *s, struct keep *keep, const struct setting *setting)
{
	CLEANUP_ERROR struct error *err = NULL;
	struct engine_options o = options(4, setting->slice);

	o.deadline = setting->deadline;
	*s = (struct server){ .path = NULL };
	begin(&s->f, 2, setting->blocks, &o, 0, true);
	s->f.fake.source.read = read_as_told;
	s->f.fake.delay_us = setting->delay_us;
	s->blob = (struct shared_blob){ .digest = s->f.samples[0].result.digest,
		.size = s->f.samples[0].size,
		.fd = served_blob_fd(s->f.blobs[0]),
		.path = "cache",
		.served = s->f.blobs[0] };
	s->twin = s->blob;
	s->twin.digest.bytes[8] ^= 1;
	s->twin.fd = served_blob_fd(s->f.blobs[1]);
	s->twin.served = s->f.blobs[1];
	s->transport = fuse_device_transport_open(keep, &err);
	must(s->transport != NULL, err);
	must(s->transport->attach(s->transport, &s->blob, &s->path, &err) == 0, err);
	must(s->transport->start(s->transport, &err) == 0, err);
}

static inline void exchange(struct server *s)
{
	CLEANUP_ERROR struct error *err = NULL;
	CLEANUP_FREE char *path = NULL;

	s->transport->detach(s->transport, &s->blob);
	must(s->transport->attach(s->transport, &s->twin, &path, &err) == 0, err);
}

/* Numbers that are free: who closes what he has closed already closes one of them. */
enum { NUMBERS = 64 };

static inline void take_numbers(int numbers[static NUMBERS])
{
	for (unsigned i = 0; i < NUMBERS; i++)
		numbers[i] = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
}

static inline bool are_there(const int numbers[static NUMBERS])
{
	for (unsigned i = 0; i < NUMBERS; i++)
		if (fcntl(numbers[i], F_GETFD) < 0)
			return false;
	return true;
}

/* Until it is killed, or asked to end. */
static inline void serve(struct keep *keep, const struct setting *setting)
{
	int numbers[NUMBERS];
	struct server s;
	sigset_t set;
	int sig;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	server_begin(&s, keep, setting);
	tell(keep->socket, "", -1);
	while (sigwait(&set, &sig) == 0 && sig == SIGUSR1)
		exchange(&s);
	take_numbers(numbers);
	s.transport->close(s.transport);
	atomic_store(&board->closed, true);
	end(&s.f);
	free(s.path);
	_exit(s.blob.attached[DEVICE_FUSE] || !are_there(numbers) ? 1 : 0);
}

static inline pid_t start_process(void)
{
	pid_t parent = getpid(), pid;

	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(97);
	}
	return pid;
}

/* ---- the holder ---- */

static inline pid_t start_server(struct keep *keep, const struct setting *setting)
{
	bool ready;
	int pair[2];
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		_exit(99);
	pid = start_process();
	if (pid == 0) {
		close(pair[0]);
		keep->socket = pair[1];
		serve(keep, setting);
	}
	close(pair[1]);
	keep->socket = pair[0];
	while (hear(keep, &ready))
		;
	close(pair[0]);
	keep->socket = -1;
	if (!ready)
		_exit(96);
	return pid;
}

/* The mount, in the holder. */
static inline int mount_number(const struct keep *k)
{
	for (unsigned i = 0; i < k->n; i++)
		if (strcmp(k->kept[i].name, "fuse-device.mount") == 0)
			return k->kept[i].fd;
	return -1;
}

/* A byte is an order: (s)tart a server, (k)ill it, ask it to (e)nd, or to e(x)change. */
static inline void hold(int orders, const struct setting *setting)
{
	struct keep keep = { .socket = -1 };
	pid_t server = 0;
	int answer, status = 0;
	char order;

	alarm(HOLDER_LIFE);
	while (recv(orders, &order, 1, 0) == 1) {
		if (order == 's') {
			server = start_server(&keep, setting);
		} else if (order == 'x') {
			kill(server, SIGUSR1);
		} else if (server > 0) {
			kill(server, order == 'k' ? SIGKILL : SIGTERM);
			waitpid(server, &status, 0);
			server = 0;
		}
		answer = order == 's' ? mount_number(&keep) : status;
		if (send(orders, &answer, sizeof(answer), MSG_NOSIGNAL) < 0)
			break;
	}
	_exit(0);
}

struct world {
	char *dir; /* for all temporary files */
	struct setting setting;
	struct sample sample;
	pid_t holder, reader;
	int orders;
	char *device, *twin; /* the blobs' paths */
	int erofs; /* a mount of one file, "data", which is the blob */
};

/* What came back; -1: there is no holder any more. */
static inline int order(const struct world *w, char what)
{
	int answer;

	if (send(w->orders, &what, 1, MSG_NOSIGNAL) != 1 ||
		recv(w->orders, &answer, sizeof(answer), 0) != sizeof(answer))
		return -1;
	return answer;
}

static inline void kill_process(pid_t *pid)
{
	if (*pid > 0) {
		kill(*pid, SIGKILL);
		waitpid(*pid, NULL, 0);
	}
	*pid = 0;
}

static inline void start_holder(struct world *w)
{
	struct digest twin = w->sample.result.digest;
	char hex[DIGEST_MAX_STR];
	int pair[2], mount;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		exit(99);
	w->orders = pair[0];
	w->holder = start_process();
	if (w->holder == 0) {
		close(pair[0]);
		hold(pair[1], &w->setting);
	}
	close(pair[1]);
	mount = order(w, 's');
	CHECK(mount >= 0);
	w->device = xasprintf("/proc/%d/fd/%d/%s", (int)w->holder, mount, digest_hex(&twin, hex));
	twin.bytes[8] ^= 1;
	w->twin = xasprintf("/proc/%d/fd/%d/%s", (int)w->holder, mount, digest_hex(&twin, hex));
}

/* ---- a bootstrap whose one file is the blob ---- */

static inline void write_bootstrap(const struct world *w)
{
	CLEANUP_ERROR struct error *err = NULL;
	CLEANUP_OUTFILE struct outfile *file = outfile_new(w->dir, &err);
	struct bootstrap_device device = { .tag = w->sample.result.digest,
		.blocks = (uint32_t)(w->sample.size / BLOCK) };
	struct bootstrap_result result;
	struct tree tree;
	struct bootstrap_input in = { &tree, &device, 1, "test" };
	struct tree_inode *inode;
	uint32_t id;

	must(file != NULL, err);
	tree_init(&tree);
	id = tree_new_inode(&tree, S_IFREG | 0644, &err);
	must(tree_link(&tree, tree.root, "data", 4, id, &err) != 0, err);
	inode = tree_inode(&tree, id);
	inode->extents = xzalloc(sizeof(*inode->extents) + sizeof(*inode->extents->of));
	inode->extents->n = 1;
	inode->extents->of[0] = (struct tree_extent){ .device = 1, .n_blk = device.blocks };
	inode->size = w->sample.size;
	must(bootstrap_write(&in, file, &result, &err) == 0, err);
	must(outfile_publish(file, w->dir, "bootstrap", false, &err) == 0, err);
	tree_free(&tree);
}

static inline void mount_erofs(struct world *w)
{
	CLEANUP_ERROR struct error *err = NULL;
	CLEANUP_FREE char *path = xasprintf("%s/bootstrap", w->dir);
	struct mount_request r = { .bootstrap = path, .devices = &w->device, .n_devices = 1 };

	write_bootstrap(w);
	w->erofs = erofs_mount(&r, &err);
	must(w->erofs >= 0, err);
}

static inline void world_begin(struct world *w, struct setting setting)
{
	*w = (struct world){ .dir = tmpdir_make(), .setting = setting, .erofs = -1 };
	setenv("TMPDIR", w->dir, 1);
	memset(board, 0, sizeof(*board));
	w->sample = sample_make(w->dir, setting.blocks, 1);
	start_holder(w);
	mount_erofs(w);
}

static inline void world_end(struct world *w)
{
	atomic_store(&board->waits, false);
	kill_process(&w->reader);
	order(w, 'k'); /* so that it does not write to the directory while it is removed */
	kill_process(&w->holder);
	close(w->orders);
	if (w->erofs >= 0)
		close(w->erofs);
	free(w->device);
	free(w->twin);
	sample_free(&w->sample);
	cleanup_tmpdir_(&w->dir);
	unsetenv("TMPDIR");
}
#define WORLD CLEANUP(world_end) struct world

static inline int open_data(const struct world *w)
{
	CLEANUP_FREE char *path = xasprintf("/proc/self/fd/%d/data", w->erofs);
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	CHECK(fd >= 0);
	return fd;
}

static inline int open_device(const struct world *w, int flags)
{
	int fd = open(w->device, O_RDONLY | O_CLOEXEC | flags);

	CHECK(fd >= 0);
	return fd;
}

#endif
