// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/* The pool that bounds what is read ahead, and the copies of entries in it. */
#include "config.h"

#include "lib/base/mem.h"
#include "lib/convert/batch.h"
#include "tests/unit/tap.h"

static void give_back(struct batch_pool *pool, struct batch *b)
{
	batch_release(pool, b);
	batch_release(pool, b);
}

/* A reader that waits: its job counts how often it was posted. */
struct reader_job {
	struct job job;
	atomic_uint posted;
};

static void run_reader(struct job *job)
{
	((struct reader_job *)job)->posted++;
}

struct scene {
	struct workers *workers;
	struct strand strand;
	struct batch_pool *pool;
	struct reader_job a, b;
	struct batch *taken[64];
	unsigned n;
};

static void scene_start(struct scene *s, unsigned batches)
{
	struct error *err = NULL;

	*s = (struct scene){ .workers = workers_start(2, &err), .pool = batch_pool_new(batches) };
	s->a.job.run = s->b.job.run = run_reader;
	strand_init(&s->strand, s->workers, 0);
}

static void scene_end(struct scene *s)
{
	while (s->n)
		give_back(s->pool, s->taken[--s->n]);
	workers_stop(s->workers);
	batch_pool_free(s->pool);
}

static unsigned take_all(struct scene *s, bool urgent, struct reader_job *job)
{
	struct batch *b;
	unsigned before = s->n;

	while ((b = batch_take(s->pool, urgent, &s->strand, &job->job)))
		s->taken[s->n++] = b;
	return s->n - before;
}

static void there_are_as_many_batches_as_were_asked_for(void)
{
	struct scene s;

	scene_start(&s, 8);
	CHECK_U64(take_all(&s, true, &s.a), 8);
	for (unsigned i = 0; i < 8; i++)
		for (unsigned j = 0; j < i; j++)
			CHECK(s.taken[i] != s.taken[j]);
	scene_end(&s);
	batch_pool_free(NULL);
}

static void the_last_quarter_is_for_the_urgent(void)
{
	struct scene s;

	scene_start(&s, 8);
	CHECK_U64(take_all(&s, false, &s.a), 6);
	CHECK_U64(take_all(&s, true, &s.b), 2);
	scene_end(&s);
}

static void a_single_batch_serves_the_urgent_and_others(void)
{
	struct scene s;

	scene_start(&s, 1);
	CHECK_U64(take_all(&s, false, &s.a), 1);
	CHECK_U64(take_all(&s, true, &s.b), 0);
	scene_end(&s);
}

static void who_found_none_is_posted_when_one_comes_back(void)
{
	struct scene s;

	scene_start(&s, 4);
	take_all(&s, false, &s.a);
	take_all(&s, true, &s.b);
	workers_wait(s.workers);
	CHECK_U64(s.a.posted, 0);
	CHECK_U64(s.b.posted, 0);
	give_back(s.pool, s.taken[--s.n]);
	workers_wait(s.workers);
	CHECK_U64(s.a.posted, 1);
	CHECK_U64(s.b.posted, 1);
	give_back(s.pool, s.taken[--s.n]); /* nobody waits any more */
	workers_wait(s.workers);
	CHECK_U64(s.a.posted, 1);
	CHECK_U64(s.b.posted, 1);
	scene_end(&s);
}

static void a_nudge_posts_those_who_wait_once(void)
{
	struct scene s;

	scene_start(&s, 4);
	batch_pool_nudge(s.pool);
	take_all(&s, false, &s.a);
	batch_pool_nudge(s.pool);
	batch_pool_nudge(s.pool);
	workers_wait(s.workers);
	CHECK_U64(s.a.posted, 1);
	CHECK_U64(take_all(&s, true, &s.a), 1);
	scene_end(&s);
}

static void a_batch_has_two_users_and_the_last_gives_it_back(void)
{
	struct scene s;
	struct batch *b;

	scene_start(&s, 1);
	b = batch_take(s.pool, true, &s.strand, &s.a.job);
	CHECK(b && !batch_take(s.pool, true, &s.strand, &s.a.job));
	batch_release(s.pool, b);
	CHECK(!batch_take(s.pool, true, &s.strand, &s.b.job));
	workers_wait(s.workers);
	CHECK_U64(s.a.posted, 0);
	batch_release(s.pool, b);
	workers_wait(s.workers);
	CHECK_U64(s.a.posted, 1);
	CHECK_U64(s.b.posted, 1);
	scene_end(&s);
}

static void a_batch_comes_back_empty(void)
{
	struct entry e = { .path = "x", .link = "" };
	struct scene s;
	struct batch *b;

	scene_start(&s, 1);
	for (int round = 0; round < 3; round++) {
		b = batch_take(s.pool, true, &s.strand, &s.a.job);
		CHECK(b && !b->last && !b->fill && !b->n_events && !b->n_pages);
		b->last = true;
		b->fill = 17;
		for (int i = 0; i < 100; i++) {
			batch_add_event(b, EVENT_ENTRY)->entry = entry_copy(&e);
			batch_add_event(b, EVENT_HOLES)->n_blk = 9;
			memset(batch_add_page(b), i, DEDUPE_BLOCK);
		}
		/* whoever takes an event's entry leaves NULL */
		free(b->events[0].entry);
		b->events[0].entry = NULL;
		give_back(s.pool, b);
	}
	scene_end(&s);
}

static void pages_stay_where_they_are(void)
{
	struct scene s;
	struct batch *b;
	uint8_t *pages[50];
	unsigned wrong = 0;

	scene_start(&s, 1);
	for (int round = 0; round < 2; round++) {
		b = batch_take(s.pool, true, &s.strand, &s.a.job);
		for (int i = 0; i < 50; i++) {
			pages[i] = batch_add_page(b);
			memset(pages[i], i + 1, DEDUPE_BLOCK);
			batch_add_event(b, EVENT_BLOCK)->data = pages[i];
		}
		for (int i = 0; i < 50; i++)
			wrong += b->events[i].data[0] != i + 1 ||
				 b->events[i].data[DEDUPE_BLOCK - 1] != i + 1;
		give_back(s.pool, b);
	}
	CHECK_U64(wrong, 0);
	scene_end(&s);
}

static void events_that_nobody_took_are_freed(void)
{
	struct entry e = { .path = "some/path", .link = "" };
	struct scene s;
	struct batch *b;

	scene_start(&s, 2);
	b = batch_take(s.pool, true, &s.strand, &s.a.job);
	batch_add_event(b, EVENT_ENTRY)->entry = entry_copy(&e);
	give_back(s.pool, b);
	scene_end(&s); /* what leaks is seen by the sanitizer */
	CHECK(true);
}

static void a_copied_entry_is_its_own(void)
{
	char path[] = "usr/lib/x", link[] = "../y", name1[] = "user.a", name2[] = "user.bcd";
	char value1[] = "12345", value2[] = "\0\xff";
	struct entry_xattr xattrs[] = { { name1, value1, 5 }, { name2, value2, 2 } };
	struct entry_region regions[] = { { 0, 5 }, { 4096, 1 }, { UINT64_MAX - 9, 9 } };
	struct entry e = { .type = ENTRY_FILE,
		.path = path,
		.link = link,
		.size = 12345678901,
		.mode = 04755,
		.uid = 4294967294,
		.gid = 3,
		.major = 4,
		.minor = 5,
		.mtime = -6,
		.mtime_nsec = 7,
		.xattrs = xattrs,
		.n_xattrs = 2,
		.regions = regions,
		.n_regions = 3,
		.sparse = true,
		.header_offset = 8 };
	struct entry *c = entry_copy(&e);

	memset(path, '!', sizeof(path) - 1);
	memset(link, '!', sizeof(link) - 1);
	memset(name1, '!', sizeof(name1) - 1);
	memset(name2, '!', sizeof(name2) - 1);
	memset(value1, '!', sizeof(value1));
	memset(value2, '!', sizeof(value2));
	memset(xattrs, 0, sizeof(xattrs));
	memset(regions, 0, sizeof(regions));
	CHECK_STR(c->path, "usr/lib/x");
	CHECK_STR(c->link, "../y");
	CHECK(c->type == ENTRY_FILE && c->size == 12345678901 && c->mode == 04755);
	CHECK(c->uid == 4294967294 && c->gid == 3 && c->major == 4 && c->minor == 5);
	CHECK(c->mtime == -6 && c->mtime_nsec == 7 && c->sparse && c->header_offset == 8);
	CHECK_U64(c->n_xattrs, 2);
	CHECK_STR(c->xattrs[0].name, "user.a");
	CHECK_STR(c->xattrs[1].name, "user.bcd");
	CHECK(c->xattrs[0].value_len == 5 && !memcmp(c->xattrs[0].value, "12345", 5));
	CHECK(c->xattrs[1].value_len == 2 && !memcmp(c->xattrs[1].value, "\0\xff", 2));
	CHECK_U64(c->n_regions, 3);
	CHECK(c->regions[1].offset == 4096 && c->regions[1].length == 1);
	CHECK(c->regions[2].offset == UINT64_MAX - 9 && c->regions[2].length == 9);
	free(c);
}

int main(void)
{
	alarm(300);
	RUN(there_are_as_many_batches_as_were_asked_for);
	RUN(the_last_quarter_is_for_the_urgent);
	RUN(a_single_batch_serves_the_urgent_and_others);
	RUN(who_found_none_is_posted_when_one_comes_back);
	RUN(a_nudge_posts_those_who_wait_once);
	RUN(a_batch_has_two_users_and_the_last_gives_it_back);
	RUN(a_batch_comes_back_empty);
	RUN(pages_stay_where_they_are);
	RUN(events_that_nobody_took_are_freed);
	RUN(a_copied_entry_is_its_own);
	return tap_done();
}
