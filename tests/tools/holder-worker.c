// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/*
 * A worker to be killed: what a holder is tested with.
 *
 *	holder-worker probe FILE   can pre-content events be had for it? 0: yes, 77: no
 *	holder-worker keep DIR     makes files in DIR, and keeps them
 *	holder-worker fill FILE    each block that is read gets its number plus one, as 512 words,
 *	                           with all of its granule, which the holder then knows (presence.h)
 *	holder-worker end STATUS   ends so, before it is ready
 *	holder-worker crash LOG    writes a line to LOG and is killed
 *
 * `keep` and `fill` write DIR/state or FILE.state: the processes' numbers and what they saw.
 * `fill` dies at once while the file FILE.barred exists.
 * $HOLDER_WORKER_BREAK: "early" answers before the bytes are there, "twice" answers twice, the
 * second time late, "never" does not answer while the file FILE.never exists, "known" says that a
 * granule is there before it is.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/fanotify.h>
#include <sys/stat.h>

#include "lib/base/mem.h"
#include "lib/serve/holder/keep.h"
#include "lib/serve/holder/presence.h"
#include "lib/serve/holder/requests.h"

#define BLOCK	   4096
#define FILES	   32
#define THREADS	   4
#define PRE_ACCESS UINT64_C(0x00100000)

static volatile sig_atomic_t ended;
static struct keep *keep;
static const char *broken;

static void on_signal(int number)
{
	ended = 1;
}

__attribute__((noreturn)) static void die(const char *what)
{
	fprintf(stderr, "holder-worker: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void write_state(const char *at, unsigned good, unsigned bad, unsigned failed)
{
	struct requests *r = keep_requests(keep);
	CLEANUP_FREE char *temp = xasprintf("%s.%d", at, getpid());
	FILE *f = fopen(temp, "w");

	if (!f)
		die(temp);
	fprintf(f, "%d %u %u %u %u\n", getpid(), atomic_load(&r->holder_pid), good, bad, failed);
	fclose(f);
	if (rename(temp, at) < 0)
		die(at);
}

/* --- keep ----------------------------------------------------------------------------- */

static void make_files(const char *dir)
{
	for (int i = 0; i < FILES; i++) {
		CLEANUP_FREE char *path = xasprintf("%s/%d", dir, i);
		CLEANUP_FD int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
		CLEANUP_FREE char *name = NULL;
		CLEANUP_ERROR struct error *err = NULL;
		struct stat st;

		if (fd < 0 || fstat(fd, &st) < 0)
			die(path);
		name = xasprintf("file-%llu", (unsigned long long)st.st_ino);
		if (keep_put(keep, name, fd, &err) < 0)
			fprintf(stderr, "holder-worker: %s\n", err->msg);
	}
}

/* Is each the file that its name says? They are put again, one a time. */
static void look(const char *state, unsigned round, unsigned *failed)
{
	unsigned good = 0, bad = 0;
	const char *name;

	for (unsigned i = 0; (name = keep_name(keep, "file-", i)); i++) {
		CLEANUP_FD int fd = keep_find(keep, name);
		CLEANUP_ERROR struct error *err = NULL;
		struct stat st;

		if (fd < 0 || fstat(fd, &st) < 0 || st.st_ino != strtoull(name + 5, NULL, 10))
			bad++;
		else
			good++;
		if (fd >= 0 && i == round % FILES && keep_put(keep, name, fd, &err) < 0)
			fprintf(stderr, "holder-worker: %u: %s\n", ++*failed, err->msg);
	}
	write_state(state, good, bad, *failed);
}

static void run_keep(const char *dir)
{
	CLEANUP_FREE char *state = xasprintf("%s/state", dir);
	unsigned failed = 0;

	if (!keep_name(keep, "file-", 0))
		make_files(dir);
	keep_ready(keep);
	for (unsigned round = 0; !ended; round++) {
		look(state, round, &failed);
		poll(NULL, 0, 5);
	}
}

/* --- fill ----------------------------------------------------------------------------- */

static int group, data;
static const char *data_path;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static uint32_t tail;
static struct presence *known;
static uint32_t known_slot;

static void know(uint64_t from, uint64_t to)
{
	for (uint64_t i = from; i < to; i++)
		presence_set(known, known_slot, i, true);
}

static void fill(uint64_t offset, uint64_t len)
{
	uint64_t from = offset / PRESENCE_GRANULE;
	uint64_t to = (offset + len + PRESENCE_GRANULE - 1) / PRESENCE_GRANULE;
	bool too_early = broken && strcmp(broken, "known") == 0;

	if (too_early) {
		know(from, to);
		poll(NULL, 0, 20);
	}
	for (uint64_t block = from * (PRESENCE_GRANULE / BLOCK);
		block < to * (PRESENCE_GRANULE / BLOCK); block++) {
		uint64_t words[BLOCK / 8];

		for (size_t i = 0; i < BLOCK / 8; i++)
			words[i] = block + 1;
		if (pwrite(data, words, BLOCK, (off_t)(block * BLOCK)) != BLOCK)
			die("pwrite");
	}
	if (!too_early)
		know(from, to);
}

/* Of a former worker's, all is as good as before. */
static void open_known(void)
{
	CLEANUP_FD int kept = keep_find(keep, KEEP_PRESENCE);
	CLEANUP_FD int made = kept < 0 ? presence_create() : -1;
	CLEANUP_ERROR struct error *err = NULL;
	struct presence_id id;
	uint64_t size;
	int slot;

	known = presence_map(kept < 0 ? made : kept);
	if (!known || presence_identify(data, &id, &size) < 0)
		die("presence");
	if (made >= 0 && keep_put(keep, KEEP_PRESENCE, made, &err) < 0)
		die(err->msg);
	for (slot = PRESENCE_FILES - 1; slot >= 0; slot--)
		if (presence_is_valid(known, (uint32_t)slot))
			break;
	if (slot < 0)
		slot = presence_add(known, &id, size, 0);
	if (slot < 0)
		die("no entry");
	known_slot = (uint32_t)slot;
	atomic_store(&known->owner, (uint32_t)getpid());
}

static void allow(int number)
{
	struct fanotify_response r = { .fd = number, .response = FAN_ALLOW };

	if (write(group, &r, sizeof(r)) < 0 && errno != ENOENT)
		die("answer");
}

static bool move(struct held_request *q, uint32_t from, uint32_t to)
{
	return atomic_compare_exchange_strong(&q->state, &from, to);
}

static void serve(struct held_request *q)
{
	int number = q->fd;
	struct stat st;

	/* of one whose file nobody knows, it is this one */
	if (fstat(data, &st) < 0 || (q->ino && (st.st_ino != q->ino || st.st_dev != q->dev))) {
		fprintf(stderr, "holder-worker: a request for another file\n");
		return;
	}
	if (broken && strcmp(broken, "early") == 0)
		allow(number);
	poll(NULL, 0, (int)(q->offset / BLOCK % 4));
	while (broken && strcmp(broken, "never") == 0 && access(data_path, F_OK) == 0)
		poll(NULL, 0, 20);
	fill(q->offset, q->len);
	if (!move(q, REQUEST_TAKEN, REQUEST_ANSWERING)) {
		move(q, REQUEST_EXPIRED, REQUEST_ANSWERED);
		return;
	}
	allow(number);
	move(q, REQUEST_ANSWERING, REQUEST_ANSWERED);
	if (broken && strcmp(broken, "twice") == 0) {
		poll(NULL, 0, 1);
		allow(number);
	}
}

static bool next(uint32_t *slot)
{
	struct requests *r = keep_requests(keep);
	bool is_one;

	pthread_mutex_lock(&lock);
	is_one = tail != atomic_load(&r->head);
	if (is_one)
		*slot = atomic_load(&r->ring[tail++ % REQUESTS_MAX]);
	pthread_mutex_unlock(&lock);
	return is_one && *slot < REQUESTS_MAX;
}

static void *serve_all(void *arg)
{
	struct requests *r = keep_requests(keep);
	struct pollfd p = { .fd = keep_requests_eventfd(keep), .events = POLLIN };
	uint64_t n;
	uint32_t slot;

	while (!ended) {
		if (poll(&p, 1, 100) == 1 && read(p.fd, &n, sizeof(n)) < 0 && errno != EAGAIN)
			die("eventfd");
		while (next(&slot))
			if (move(&r->slots[slot], REQUEST_PENDING, REQUEST_TAKEN))
				serve(&r->slots[slot]);
	}
	return NULL;
}

/* What the former worker had begun. Taken at once: while these are served, others come. */
static void serve_left(void)
{
	static uint32_t left[REQUESTS_MAX];
	struct requests *r = keep_requests(keep);
	unsigned n = 0;

	tail = atomic_load(&r->head);
	for (uint32_t i = 0; i < REQUESTS_MAX; i++) {
		struct held_request *q = &r->slots[i];

		if (move(q, REQUEST_TAKEN, REQUEST_TAKEN) ||
			move(q, REQUEST_ANSWERING, REQUEST_TAKEN) ||
			move(q, REQUEST_PENDING, REQUEST_TAKEN))
			left[n++] = i;
	}
	for (unsigned i = 0; i < n; i++)
		serve(&r->slots[left[i]]);
}

static void make_group(const char *path)
{
	CLEANUP_ERROR struct error *err = NULL;

	data = open(path, O_RDWR | O_CLOEXEC);
	group = fanotify_init(FAN_CLASS_PRE_CONTENT | FAN_UNLIMITED_QUEUE | FAN_CLOEXEC,
		O_RDWR | O_LARGEFILE | O_CLOEXEC);
	if (data < 0 || group < 0)
		die(path);
	if (keep_put(keep, "data", data, &err) < 0 ||
		keep_put(keep, KEEP_FANOTIFY, group, &err) < 0)
		die(err->msg);
	if (fanotify_mark(group, FAN_MARK_ADD, PRE_ACCESS, AT_FDCWD, path) < 0)
		die("fanotify_mark");
}

static void run_fill(const char *path)
{
	CLEANUP_FREE char *state = xasprintf("%s.state", path);
	CLEANUP_FREE char *never = xasprintf("%s.never", path);
	CLEANUP_FREE char *barred = xasprintf("%s.barred", path);
	struct requests *r = keep_requests(keep);
	pthread_t threads[THREADS];

	if (access(barred, F_OK) == 0)
		kill(getpid(), SIGKILL);
	broken = getenv("HOLDER_WORKER_BREAK");
	data_path = never;
	group = keep_find(keep, KEEP_FANOTIFY);
	data = keep_find(keep, "data");
	if (group < 0 || data < 0) {
		make_group(path);
		open_known();
	} else {
		open_known();
		serve_left();
	}
	for (int i = 0; i < THREADS; i++)
		if (pthread_create(&threads[i], NULL, serve_all, NULL) != 0)
			die("pthread_create");
	keep_ready(keep);
	while (!ended) {
		write_state(state, (unsigned)atomic_load(&r->read),
			(unsigned)atomic_load(&r->expired),
			(unsigned)atomic_load(&known->files[known_slot].hits));
		poll(NULL, 0, 5);
	}
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
}

static int probe(const char *path)
{
	CLEANUP_FD int fd = fanotify_init(
		FAN_CLASS_PRE_CONTENT | FAN_UNLIMITED_QUEUE | FAN_CLOEXEC, O_RDWR | O_LARGEFILE);

	if (fd < 0 || fanotify_mark(fd, FAN_MARK_ADD, PRE_ACCESS, AT_FDCWD, path) < 0) {
		printf("no pre-content events: %s\n", strerror(errno));
		return 77;
	}
	return 0;
}

static void run_crash(const char *path)
{
	CLEANUP_FD int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);

	if (fd < 0 || write(fd, "start\n", 6) != 6)
		die(path);
	kill(getpid(), SIGKILL);
}

int main(int argc, char **argv)
{
	CLEANUP_ERROR struct error *err = NULL;

	if (argc != 3)
		return 2;
	if (strcmp(argv[1], "probe") == 0)
		return probe(argv[2]);
	if (!keep_is_worker() && keep_exec_holder(argv, &err) < 0)
		die(err->msg);
	signal(SIGTERM, on_signal);
	keep = keep_open(&err);
	if (!keep)
		die(err->msg);
	if (strcmp(argv[1], "end") == 0)
		_exit(atoi(argv[2]));
	if (strcmp(argv[1], "crash") == 0)
		run_crash(argv[2]);
	if (strcmp(argv[1], "keep") == 0)
		run_keep(argv[2]);
	else
		run_fill(argv[2]);
	keep_close(keep);
	return 0;
}
