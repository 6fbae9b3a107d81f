// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/* Several images' sources of one blob: who is asked, and what happens to the others when one goes.
 */
#include "config.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "lib/base/thread.h"
#include "lib/serve/blob_ways.h"
#include "tests/unit/tap.h"

struct place {
	struct blob_source source; /* first: found from it */
	char byte; /* what it gives */
	bool broken, away, hangs;
	_Atomic unsigned reads, blamed, cancelled, inside;
	pthread_mutex_t mutex;
	pthread_cond_t woken;
	unsigned wake;
};

static int read_place(struct blob_source *s, const struct digest *blob, uint64_t offset, void *buf,
	size_t len, struct error **err)
{
	struct place *p = (struct place *)s;

	(void)blob, (void)offset;
	p->reads++;
	if (p->hangs) {
		pthread_mutex_lock(&p->mutex);
		p->inside++;
		for (unsigned seen = p->wake; p->wake == seen;)
			pthread_cond_wait(&p->woken, &p->mutex);
		pthread_mutex_unlock(&p->mutex);
		return error_set(err, ECANCELED, "cancelled");
	}
	if (p->broken || p->away)
		return error_set(err, p->away ? EAGAIN : EIO, "broken");
	memset(buf, p->byte, len);
	return 0;
}

struct bytes {
	struct stream stream;
	struct blob_source *source;
};

static ssize_t give_byte(struct stream *stream, void *buf, size_t len, struct error **err)
{
	struct bytes *b = (struct bytes *)stream;
	struct digest none = { 0 };

	return read_place(b->source, &none, 0, buf, 1, err) < 0 ? -1 : 1;
}

static int stream_place(struct blob_source *s, const struct digest *blob, uint64_t offset,
	uint64_t len, const struct stream_user *user, struct error **err)
{
	struct bytes b = { .stream.read = give_byte, .source = s };

	CHECK(offset == 7 && len == 9);
	return user->use(user->arg, &b.stream, err);
}

static void blame_place(struct blob_source *s)
{
	((struct place *)s)->blamed++;
}

static void cancel_place(struct blob_source *s, const struct digest *blob)
{
	struct place *p = (struct place *)s;

	(void)blob;
	pthread_mutex_lock(&p->mutex);
	p->cancelled++;
	p->wake++;
	pthread_cond_broadcast(&p->woken);
	pthread_mutex_unlock(&p->mutex);
}

#define PLACE(b)                                                                                   \
	{                                                                                          \
		.source = { .read = read_place,                                                    \
			.stream = stream_place,                                                    \
			.blame = blame_place,                                                      \
			.cancel = cancel_place },                                                  \
		.byte = (b), .mutex = PTHREAD_MUTEX_INITIALIZER, .woken = PTHREAD_COND_INITIALIZER \
	}

struct fixture {
	struct blob_ways ways;
	struct place a, b;
};

static struct fixture *begin(void)
{
	static struct fixture f;
	struct digest digest;

	f = (struct fixture){ .a = PLACE('a'), .b = PLACE('b') };
	digest_of(&digest, DIGEST_SHA256, "blob", 4);
	blob_ways_init(&f.ways, &digest);
	blob_ways_add(&f.ways, &f.a.source);
	blob_ways_add(&f.ways, &f.b.source);
	return &f;
}

/* What it gives, or 0 and the error's code. */
static char ask(struct fixture *f, int *rc, int *code)
{
	CLEANUP_ERROR struct error *err = NULL;
	char byte = 0;

	*rc = f->ways.source.read(&f->ways.source, &f->ways.digest, 0, &byte, 1, &err);
	*code = err ? err->code : 0;
	return byte;
}

struct use {
	struct fixture *f;
	bool blames;
	char byte;
};

static int use_byte(void *arg, struct stream *stream, struct error **err)
{
	struct use *u = arg;

	if (stream->read(stream, &u->byte, 1, err) != 1)
		return -1;
	if (u->blames)
		u->f->ways.source.blame(&u->f->ways.source);
	return 0;
}

/* The same, of a stream. */
static char ask_stream(struct fixture *f, bool blames, int *rc, int *code)
{
	CLEANUP_ERROR struct error *err = NULL;
	struct use u = { .f = f, .blames = blames };
	const struct stream_user user = { use_byte, &u };

	*rc = f->ways.source.stream(&f->ways.source, &f->ways.digest, 7, 9, &user, &err);
	*code = err ? err->code : 0;
	return u.byte;
}

static void the_one_that_works_is_asked_first(void)
{
	struct fixture *f = begin();
	int rc, code;

	f->a.broken = true;
	CHECK(ask(f, &rc, &code) == 'b' && rc == 1);
	CHECK(ask(f, &rc, &code) == 'b' && rc == 0);
	CHECK_U64(f->a.reads, 1);
	blob_ways_end(&f->ways);
}

static void all_that_fail_are_an_error(void)
{
	struct fixture *f = begin();
	int rc, code;

	f->a.broken = f->b.broken = true;
	ask(f, &rc, &code);
	CHECK(rc == -1 && code == EIO);
	CHECK_U64(f->a.reads + f->b.reads, 2);
	blob_ways_end(&f->ways);
}

static void one_that_is_only_away_may_be_waited_for(void)
{
	for (int first = 0; first < 2; first++) {
		struct fixture *f = begin();
		int rc, code;

		f->a.broken = f->b.broken = true;
		*(first ? &f->a.away : &f->b.away) = true;
		ask(f, &rc, &code);
		CHECK(rc == -1 && code == EAGAIN);
		CHECK_U64(f->a.reads + f->b.reads, 2);
		blob_ways_end(&f->ways);
	}
}

static void who_gave_wrong_bytes_is_blamed_and_asked_later(void)
{
	struct fixture *f = begin();
	int rc, code;

	CHECK(ask(f, &rc, &code) == 'a');
	f->ways.source.blame(&f->ways.source);
	CHECK_U64(f->a.blamed, 1);
	CHECK_U64(f->b.blamed, 0);
	CHECK(ask(f, &rc, &code) == 'b');
	blob_ways_end(&f->ways);
}

static void a_source_that_is_the_last_resort_is_asked_last(void)
{
	struct fixture *f = begin();
	int rc, code;

	f->a.source.last = true;
	CHECK(ask(f, &rc, &code) == 'b');
	f->b.broken = true;
	CHECK(ask(f, &rc, &code) == 'a');
	blob_ways_end(&f->ways);
}

static void a_stream_comes_from_one_alone(void)
{
	struct fixture *f = begin();
	int rc, code;

	CHECK(ask_stream(f, false, &rc, &code) == 'a' && rc == 0);
	f->a.broken = true;
	CHECK(ask_stream(f, false, &rc, &code) == 0 && rc == -1 && code == EIO);
	CHECK_U64(f->b.reads, 0);
	CHECK(ask(f, &rc, &code) == 'b');
	CHECK(ask_stream(f, false, &rc, &code) == 'b' && rc == 0);
	blob_ways_remove(&f->ways, &f->a.source);
	blob_ways_remove(&f->ways, &f->b.source);
	ask_stream(f, false, &rc, &code);
	CHECK(rc == -1 && code == ECANCELED);
	blob_ways_end(&f->ways);
}

static void who_gives_a_stream_is_blamed_for_it_and_asked_later(void)
{
	struct fixture *f = begin();
	int rc, code;

	CHECK(ask(f, &rc, &code) == 'a');
	f->ways.source.blame(&f->ways.source);
	CHECK(ask_stream(f, true, &rc, &code) == 'b' && rc == 0);
	CHECK_U64(f->a.blamed, 1);
	CHECK_U64(f->b.blamed, 1);
	CHECK(ask_stream(f, false, &rc, &code) == 'a'); /* a good end forgives nothing */
	blob_ways_end(&f->ways);
}

struct asker {
	struct fixture *f;
	bool streams;
	char byte;
	int rc, code;
};

static void *ask_on_thread(void *arg)
{
	struct asker *a = arg;

	a->byte = a->streams ? ask_stream(a->f, false, &a->rc, &a->code)
			     : ask(a->f, &a->rc, &a->code);
	return NULL;
}

static void begin_asking(struct asker *a, pthread_t *thread)
{
	CLEANUP_ERROR struct error *err = NULL;

	a->f->a.hangs = true;
	if (!CHECK(thread_start(thread, ask_on_thread, a, &err) == 0))
		exit(99);
	while (!a->f->a.inside)
		sched_yield();
}

static void when_one_image_goes_the_others_readers_go_on(void)
{
	struct asker a = { .f = begin() };
	pthread_t thread;

	begin_asking(&a, &thread);
	blob_ways_remove(&a.f->ways, &a.f->a.source);
	pthread_join(thread, NULL);
	CHECK(a.rc >= 0 && a.byte == 'b');
	CHECK(a.f->a.cancelled >= 1);
	CHECK(ask(a.f, &a.rc, &a.code) == 'b');
	CHECK_U64(a.f->a.reads, 1);
	blob_ways_end(&a.f->ways);
}

static void when_one_image_goes_its_stream_ends(void)
{
	struct asker a = { .f = begin(), .streams = true };
	pthread_t thread;

	begin_asking(&a, &thread);
	blob_ways_remove(&a.f->ways, &a.f->a.source);
	CHECK(a.f->a.cancelled >= 1);
	pthread_join(thread, NULL);
	CHECK(a.rc == -1 && a.code == ECANCELED);
	CHECK_U64(a.f->b.reads, 0);
	CHECK(ask_stream(a.f, false, &a.rc, &a.code) == 'b');
	CHECK_U64(a.f->a.reads, 1);
	blob_ways_end(&a.f->ways);
}

static void what_the_engine_cancels_asks_nobody_else(void)
{
	struct asker a = { .f = begin() };
	pthread_t thread;

	begin_asking(&a, &thread);
	a.f->ways.source.cancel(&a.f->ways.source, &a.f->ways.digest);
	pthread_join(thread, NULL);
	CHECK(a.rc == -1 && a.code == ECANCELED);
	CHECK_U64(a.f->b.reads, 0);
	blob_ways_end(&a.f->ways);
}

static void one_that_several_images_bring_stays_until_the_last(void)
{
	struct fixture *f = begin();
	int rc, code;

	blob_ways_add(&f->ways, &f->a.source);
	blob_ways_remove(&f->ways, &f->b.source);
	blob_ways_remove(&f->ways, &f->a.source);
	CHECK(ask(f, &rc, &code) == 'a');
	blob_ways_remove(&f->ways, &f->a.source);
	ask(f, &rc, &code);
	CHECK(rc == -1 && code == ECANCELED);
	blob_ways_end(&f->ways);
}

int main(void)
{
	RUN(the_one_that_works_is_asked_first);
	RUN(all_that_fail_are_an_error);
	RUN(one_that_is_only_away_may_be_waited_for);
	RUN(who_gave_wrong_bytes_is_blamed_and_asked_later);
	RUN(a_source_that_is_the_last_resort_is_asked_last);
	RUN(a_stream_comes_from_one_alone);
	RUN(who_gives_a_stream_is_blamed_for_it_and_asked_later);
	RUN(when_one_image_goes_its_stream_ends);
	RUN(when_one_image_goes_the_others_readers_go_on);
	RUN(what_the_engine_cancels_asks_nobody_else);
	RUN(one_that_several_images_bring_stays_until_the_last);
	return tap_done();
}
