// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/*
 * What the holder is told of a large file: in parts, between which others get in (linked with
 * --wrap for what the engine says).
 */
#include "config.h"

#include "lib/serve/transport/fanotify_files.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>

#include "lib/base/mem.h"
#include "lib/serve/holder/presence.h"
#include "lib/serve/transport/fanotify_presence.h"
#include "tests/unit/random.h"
#include "tests/unit/tap.h"
#include "tests/unit/tmpdir.h"

enum {
	G = PRESENCE_GRANULE,
	GRANULES = 1 << 19, /* 16 GiB, sparse */
	MOST = 2048, /* looks that somebody may have to wait for */
	SOME = 997, /* one in so many is there */
};

/* --- what keeps descriptors --- */

struct keep {
	int presence;
};

int keep_find(const struct keep *k, const char *name)
{
	(void)name;
	return k->presence < 0 ? -1 : fcntl(k->presence, F_DUPFD_CLOEXEC, 3);
}

int keep_put(struct keep *k, const char *name, int fd, struct error **err)
{
	(void)name;
	(void)err;
	k->presence = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	return k->presence < 0 ? -1 : 0;
}

/* --- the engine --- */

struct served_blob {
	atomic_bool there[GRANULES];
	atomic_bool some; /* of it is there */
	atomic_uint looks;
};

bool __wrap_served_blob_has(struct served_blob *b, uint64_t offset, uint64_t len);
bool __wrap_served_blob_is_empty(const struct served_blob *b);
void __wrap_engine_count_also(struct served_blob *b, const _Atomic uint64_t *hits);

bool __wrap_served_blob_has(struct served_blob *b, uint64_t offset, uint64_t len)
{
	atomic_fetch_add(&b->looks, 1);
	return len == G && b->there[offset / G];
}

bool __wrap_served_blob_is_empty(const struct served_blob *b)
{
	return !b->some;
}

void __wrap_engine_count_also(struct served_blob *b, const _Atomic uint64_t *hits)
{
	(void)b;
	(void)hits;
}

/* In the place of shared_blob.c. */
bool shared_blob_is_complete(const struct shared_blob *b)
{
	(void)b;
	return false;
}

/* --- all of it --- */

struct fixture {
	char *dir;
	struct keep keep;
	struct presence *table; /* mapped once more */
	struct fanotify_presence *presence;
	struct fanotify_files *files;
	struct shared_blob blobs[2];
};

static void end(struct fixture *f)
{
	fanotify_files_free(f->files);
	fanotify_presence_close(f->presence);
	munmap(f->table, sizeof(*f->table));
	close(f->keep.presence);
	for (unsigned i = 0; i < 2; i++) {
		free(f->blobs[i].served);
		close(f->blobs[i].fd);
	}
	tmpdir_remove(f->dir);
	free(f->dir);
}
#define FIXTURE CLEANUP(end) struct fixture

static struct fixture begin(void)
{
	struct fixture f = { .dir = tmpdir_make(), .keep.presence = -1 };
	CLEANUP_ERROR struct error *err = NULL;

	f.presence = fanotify_presence_open(&f.keep, &err);
	f.table = presence_map(f.keep.presence);
	f.files = fanotify_files_new(f.presence);
	CHECK(f.presence && f.table);
	for (unsigned i = 0; i < 2; i++) {
		int fd = open(f.dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

		CHECK(fd >= 0 && ftruncate(fd, (off_t)GRANULES * G) == 0);
		f.blobs[i] = (struct shared_blob){ .fd = fd,
			.path = "a blob",
			.size = (uint64_t)GRANULES * G,
			.served = xzalloc(sizeof(struct served_blob)) };
	}
	return f;
}

/* Is there a place in the table for such a file here? */
static bool has_table(void)
{
	FIXTURE f = begin();
	struct presence_id id;
	uint64_t size;

	return presence_identify(f.blobs[0].fd, &id, &size) == 0 && id.born &&
	       size == (uint64_t)GRANULES * G;
}

static void add(struct fixture *f, unsigned i)
{
	CLEANUP_ERROR struct error *err = NULL;

	CHECK(fanotify_files_add(f->files, &f->blobs[i], &err) == 0);
}

static void fetch_some(struct fixture *f, unsigned i)
{
	struct served_blob *b = f->blobs[i].served;

	for (unsigned g = i; g < GRANULES; g += SOME)
		b->there[g] = true;
	b->there[GRANULES - 1] = true;
	b->some = true;
}

static void changed(struct fixture *f, unsigned i)
{
	fanotify_files_changed(f->files, &f->blobs[i], 0, UINT64_MAX);
}

/* As the engine does it: first the bytes, then it says so. */
static void fetch(struct fixture *f, unsigned i, unsigned granule)
{
	f->blobs[i].served->there[granule] = true;
	fanotify_files_changed(f->files, &f->blobs[i], (uint64_t)granule * G, G);
}

static bool knows(const struct fixture *f, unsigned i, unsigned granule)
{
	struct presence_id id;
	uint64_t size;

	CHECK(presence_identify(f->blobs[i].fd, &id, &size) == 0);
	return presence_look(f->table, &id, (uint64_t)granule * G, G) >= 0;
}

/* How many granules are known that are not there, and how many are there and not known. */
static void compare(const struct fixture *f, unsigned i, unsigned *wrong, unsigned *missing)
{
	struct presence_id id;
	uint64_t size;

	*wrong = *missing = 0;
	CHECK(presence_identify(f->blobs[i].fd, &id, &size) == 0);
	for (unsigned g = 0; g < GRANULES; g++) {
		bool known = presence_look(f->table, &id, (uint64_t)g * G, G) >= 0;
		bool is_there = f->blobs[i].served->there[g];

		*wrong += known && !is_there;
		*missing += !known && is_there;
	}
}

static void check_all_known(const struct fixture *f, unsigned i)
{
	unsigned wrong, missing;

	compare(f, i, &wrong, &missing);
	CHECK_U64(wrong, 0);
	CHECK_U64(missing, 0);
}

static void check_none_known(const struct fixture *f, unsigned i)
{
	for (unsigned g = 0; g < GRANULES; g++)
		if (knows(f, i, g)) {
			CHECK(!knows(f, i, g));
			return;
		}
}

static bool is_called(const struct fixture *f)
{
	struct pollfd p = { .fd = fanotify_files_more(f->files), .events = POLLIN };

	return poll(&p, 1, 0) == 1;
}

static unsigned take_looks(struct fixture *f, unsigned i)
{
	return atomic_exchange(&f->blobs[i].served->looks, 0);
}

static void look_at_the_rest(struct fixture *f)
{
	while (fanotify_files_look_on(f->files))
		;
	CHECK(!is_called(f));
}

/* --- what is proved --- */

/* Each time the locks have been let go of: what somebody else brings is told at once. */
static void nobody_waits_for_all_of_a_large_file(void)
{
	FIXTURE f = begin();
	unsigned n, parts = 0, sum;

	add(&f, 0);
	CHECK_U64(take_looks(&f, 0), 0); /* nothing is there */
	fetch_some(&f, 0);
	changed(&f, 0);
	sum = take_looks(&f, 0);
	CHECK(sum <= MOST && sum > 0);
	CHECK(is_called(&f));
	while (fanotify_files_look_on(f.files)) {
		n = take_looks(&f, 0);
		CHECK(n <= MOST);
		sum += n;
		fetch(&f, 0, GRANULES - 2 - parts);
		CHECK(knows(&f, 0, GRANULES - 2 - parts));
		CHECK_U64(take_looks(&f, 0), 1);
		parts++;
	}
	CHECK(parts >= GRANULES / MOST);
	CHECK_U64(sum, GRANULES);
	CHECK(!is_called(&f));
	check_all_known(&f, 0);
}

static void nor_is_it_looked_at_as_a_whole_when_it_is_attached(void)
{
	FIXTURE f = begin();

	fetch_some(&f, 0);
	add(&f, 0);
	CHECK(take_looks(&f, 0) <= MOST);
	CHECK(knows(&f, 0, 0) && !knows(&f, 0, GRANULES - 1));
	CHECK(is_called(&f));
	look_at_the_rest(&f);
	check_all_known(&f, 0);
}

static void of_several_files_each_has_its_turn(void)
{
	FIXTURE f = begin();

	for (unsigned i = 0; i < 2; i++) {
		fetch_some(&f, i);
		add(&f, i);
		take_looks(&f, i);
	}
	for (unsigned n = 0; n < 10; n++)
		CHECK(fanotify_files_look_on(f.files));
	CHECK_U64(take_looks(&f, 0), take_looks(&f, 1));
	look_at_the_rest(&f);
	check_all_known(&f, 0);
	check_all_known(&f, 1);
}

static void what_is_lost_meanwhile_is_not_known(void)
{
	FIXTURE f = begin();
	struct served_blob *b = f.blobs[0].served;

	fetch_some(&f, 0);
	add(&f, 0);
	for (unsigned n = 0; n < 10; n++)
		CHECK(fanotify_files_look_on(f.files));
	fanotify_files_lost(f.files, &f.blobs[0]);
	fetch(&f, 0, 5); /* by who does not know of it yet */
	look_at_the_rest(&f);
	check_none_known(&f, 0);
	for (unsigned g = 0; g < GRANULES / 2; g++)
		b->there[g] = false;
	changed(&f, 0);
	look_at_the_rest(&f);
	check_all_known(&f, 0);
	CHECK(knows(&f, 0, GRANULES - 1));
}

/* It was told to nobody, for nobody was attached: those that went are not known any more at once.
 */
static void what_was_lost_before_it_was_attached_goes_when_that_is_told(void)
{
	FIXTURE f = begin();
	struct served_blob *b = f.blobs[0].served;

	fetch_some(&f, 0);
	add(&f, 0);
	look_at_the_rest(&f);
	b->there[GRANULES - 1] = false;
	changed(&f, 0);
	CHECK(!knows(&f, 0, GRANULES - 1));
	look_at_the_rest(&f);
	check_all_known(&f, 0);
}

static void what_is_detached_meanwhile_is_not_looked_at(void)
{
	FIXTURE f = begin();

	fetch_some(&f, 0);
	add(&f, 0);
	CHECK(fanotify_files_look_on(f.files));
	fanotify_files_remove(f.files, &f.blobs[0]);
	take_looks(&f, 0);
	look_at_the_rest(&f);
	CHECK_U64(take_looks(&f, 0), 0);
}

struct fetcher {
	struct fixture *f;
	uint64_t seed;
	atomic_bool *stop;
	pthread_t thread;
};

static void *fetch_at_random(void *arg)
{
	struct fetcher *o = arg;

	while (!*o->stop)
		fetch(o->f, 0, random_below(&o->seed, GRANULES));
	return NULL;
}

static void what_others_bring_meanwhile_is_known(void)
{
	FIXTURE f = begin();
	struct fetcher fetchers[2];
	atomic_bool stop = false;
	unsigned wrong, missing;

	fetch_some(&f, 0);
	add(&f, 0);
	for (unsigned i = 0; i < 2; i++) {
		fetchers[i] = (struct fetcher){ .f = &f, .seed = i + 1, .stop = &stop };
		CHECK(pthread_create(&fetchers[i].thread, NULL, fetch_at_random, &fetchers[i]) ==
			0);
	}
	for (unsigned round = 0; round < 3; round++) {
		look_at_the_rest(&f);
		compare(&f, 0, &wrong, &missing);
		CHECK_U64(wrong, 0);
		fanotify_files_lost(f.files, &f.blobs[0]);
		changed(&f, 0);
	}
	stop = true;
	for (unsigned i = 0; i < 2; i++)
		pthread_join(fetchers[i].thread, NULL);
	look_at_the_rest(&f);
	check_all_known(&f, 0);
}

/* --- each of them --- */

struct seen {
	const struct fixture *f;
	unsigned n[2];
};

static void see(void *arg, struct served_blob *b)
{
	struct seen *s = arg;

	for (unsigned i = 0; i < 2; i++)
		s->n[i] += b == s->f->blobs[i].served;
}

static void check_each(const struct fixture *f, bool all, unsigned first, unsigned second)
{
	struct seen s = { .f = f };

	CHECK(fanotify_files_each(f->files, see, &s) == all);
	CHECK_U64(s.n[0], first);
	CHECK_U64(s.n[1], second);
}

static void each_file_is_told_once_and_one_that_is_not_served_is_missed(void)
{
	FIXTURE f = begin();
	struct served_blob *served = f.blobs[1].served;

	check_each(&f, true, 0, 0);
	add(&f, 0);
	check_each(&f, true, 1, 0);
	f.blobs[1].served = NULL;
	add(&f, 1);
	check_each(&f, false, 1, 0);
	f.blobs[1].served = served;
	check_each(&f, true, 1, 1);
	fanotify_files_complete(f.files, &f.blobs[0]); /* reads of it may be on their way */
	check_each(&f, true, 1, 1);
	fanotify_files_remove(f.files, &f.blobs[0]);
	check_each(&f, true, 0, 1);
}

int main(void)
{
	alarm(600);
	if (!has_table()) {
		printf("1..0 # SKIP the filesystem does not say when a file was made\n");
		return 0;
	}
	RUN(nobody_waits_for_all_of_a_large_file);
	RUN(nor_is_it_looked_at_as_a_whole_when_it_is_attached);
	RUN(of_several_files_each_has_its_turn);
	RUN(what_is_lost_meanwhile_is_not_known);
	RUN(what_was_lost_before_it_was_attached_goes_when_that_is_told);
	RUN(what_is_detached_meanwhile_is_not_looked_at);
	RUN(what_others_bring_meanwhile_is_known);
	RUN(each_file_is_told_once_and_one_that_is_not_served_is_missed);
	return tap_done();
}
