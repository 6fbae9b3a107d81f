// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/* An index that is there at the first read, not before. */
#include "config.h"

#include "tests/unit/engine_fixture.h"

#include <stdatomic.h>

#include "lib/serve/engine/part.h"

static atomic_uint index_opened;
static unsigned index_fails; /* so many times, ... */
static int index_error; /* ... with this */

/* As the source has it: who cannot read it there has none. */
static struct range_map *open_index(void *arg, struct blob_source *source, struct error **err)
{
	const struct fixture *f = arg;
	const struct blob_result *r = &f->samples[0].result;
	size_t len = r->index_end - r->index_offset;
	CLEANUP_FREE uint8_t *p = xmalloc(len);

	index_opened++;
	if (source->read(source, &r->digest, r->index_offset, p, len, err) < 0)
		return NULL;
	len -= CHUNK_INDEX_SKIPPABLE;
	if (index_opened > index_fails)
		return range_map_new(xmemdup(p + CHUNK_INDEX_SKIPPABLE, len), len, r->index_offset,
			f->samples[0].size, &r->index_digest, err);
	error_set(err, index_error, "no index");
	return NULL;
}

static void begin_lazy(struct fixture *f, unsigned fails)
{
	struct engine_options o = options(3, 150000);

	index_opened = 0;
	index_fails = fails;
	index_error = EHOSTUNREACH;
	begin(f, 1, BLOCKS, &o, 0, false);
	add_blob(f, 0, open_index);
}

static void an_index_is_opened_once_by_the_first_who_wants(void)
{
	struct fixture f;
	struct ask a[3];

	begin_lazy(&f, 0);
	fake_gate(&f.fake, true);
	for (unsigned i = 0; i < 3; i++)
		ask_frame(&a[i], &f, 0, 30 + i * 50);
	fake_wait(&f.fake, 1);
	CHECK(!ask_is_done(&a[0]));
	fake_gate(&f.fake, false);
	for (unsigned i = 0; i < 3; i++)
		CHECK_U64((uint64_t)ask_wait(&a[i]), 0);
	CHECK_U64(index_opened, 1);
	CHECK(is_right(&f, 0, frame_of(&f, 0, 80).offset, 1));
	end(&f);
}

/* What goes to stderr. */
struct capture {
	FILE *file;
	int before;
};

static struct capture capture_begin(void)
{
	struct capture c = { tmpfile(), dup(STDERR_FILENO) };

	must(c.file && dup2(fileno(c.file), STDERR_FILENO) >= 0, NULL);
	return c;
}

static bool capture_has(struct capture c, const char *word)
{
	char said[8192];
	ssize_t n = pread(fileno(c.file), said, sizeof(said) - 1, 0);

	dup2(c.before, STDERR_FILENO);
	close(c.before);
	fclose(c.file);
	said[n > 0 ? n : 0] = '\0';
	return strstr(said, word) != NULL;
}

static void an_index_that_fails_is_an_error_and_tried_by_the_next(void)
{
	struct fixture f;
	struct ask a[3];
	struct capture said;

	begin_lazy(&f, 1);
	fake_gate(&f.fake, true);
	for (unsigned i = 0; i < 3; i++)
		ask_frame(&a[i], &f, 0, 30 + i * 50);
	fake_gate(&f.fake, false);
	for (unsigned i = 0; i < 3; i++)
		CHECK_U64((uint64_t)ask_wait(&a[i]), EIO);
	said = capture_begin();
	CHECK_U64((uint64_t)need_frame(&f, 0, 30), 0);
	CHECK(capture_has(said, "event=recovery"));
	CHECK_U64(index_opened, 2);
	engine_prefetch(f.blobs[0]);
	EVENTUALLY(served_blob_is_complete(f.blobs[0]));
	end(&f);
}

static void who_waits_for_an_index_whose_source_is_away_goes_on_waiting(void)
{
	struct fixture f;
	struct ask a[2];

	log_set_level(LOG_QUIET);
	begin_lazy(&f, 3);
	index_error = EAGAIN;
	engine_prefetch(f.blobs[0]);
	for (unsigned i = 0; i < 2; i++)
		ask_frame(&a[i], &f, 0, 30 + i * 50);
	for (unsigned i = 0; i < 2; i++)
		CHECK_U64((uint64_t)ask_wait(&a[i]), 0);
	CHECK(stats(&f).waited_us >= 300000);
	CHECK(is_right(&f, 0, frame_of(&f, 0, 30).offset, 1));
	EVENTUALLY(served_blob_is_complete(f.blobs[0]));
	CHECK_U64(index_opened, 4);
	end(&f);
	log_set_level(LOG_NORMAL);
}

static void prefetching_alone_opens_the_index(void)
{
	struct fixture f;

	begin_lazy(&f, 1);
	engine_prefetch(f.blobs[0]);
	EVENTUALLY(served_blob_is_complete(f.blobs[0]));
	CHECK_U64(index_opened, 2);
	CHECK(all_right(&f, 0));
	end(&f);
}

/* --- and not when all is there --- */

static void an_index_is_given_back_when_all_is_there(void)
{
	struct fixture f;

	begin_lazy(&f, 0);
	CHECK_U64((uint64_t)need_frame(&f, 0, 30), 0);
	CHECK(blob_map(f.blobs[0]) != NULL);
	CHECK_U64((uint64_t)engine_need(f.blobs[0], 0, UINT64_MAX), 0);
	EVENTUALLY(blob_map(f.blobs[0]) == NULL);
	CHECK(f.blobs[0]->retired == NULL);
	CHECK(served_blob_is_complete(f.blobs[0]));
	engine_prefetch(f.blobs[0]);
	CHECK_U64((uint64_t)engine_need(f.blobs[0], 5, UINT64_MAX), 0);
	CHECK_U64(index_opened, 1);
	CHECK(all_right(&f, 0));
	end(&f);
}

struct looker {
	pthread_t thread;
	const struct fixture *f;
	unsigned errors;
};

static void *look_until_complete(void *arg)
{
	struct looker *l = arg;
	uint32_t n = range_map_n_frames(l->f->samples[0].map), i = 0;

	while (!served_blob_is_complete(l->f->blobs[0]))
		l->errors += need_frame(l->f, 0, i++ % n) != 0;
	return NULL;
}

/* For the sanitizers: nobody looks at what is gone. */
static void it_goes_while_others_look_at_it(void)
{
	struct looker l[4];
	struct fixture f;

	for (unsigned round = 0; round < 10; round++) {
		begin_lazy(&f, 0);
		for (unsigned i = 0; i < 4; i++) {
			l[i] = (struct looker){ .f = &f };
			pthread_create(&l[i].thread, NULL, look_until_complete, &l[i]);
		}
		for (unsigned i = 0; i < 4; i++) {
			pthread_join(l[i].thread, NULL);
			CHECK_U64(l[i].errors, 0);
		}
		EVENTUALLY(blob_map(f.blobs[0]) == NULL);
		end(&f);
	}
}

/* --- proofs --- */

static int prove(struct fixture *f, struct fake *other)
{
	CLEANUP_ERROR struct error *err = NULL;
	int rc = engine_prove(f->blobs[0], &other->source, &err);

	CHECK((rc < 0) == (err != NULL));
	return rc;
}

static bool lies_in_a_frame(const struct fixture *f, const struct request *r)
{
	for (uint32_t i = 0; i < range_map_n_frames(f->samples[0].map); i++)
		if (frame_of(f, 0, i).stored_offset == r->offset)
			return frame_of(f, 0, i).stored_size == r->len;
	return false;
}

static void who_can_read_a_frame_may_read_the_blob(void)
{
	struct fixture f;
	struct fake other;

	begin_lazy(&f, 0);
	fake_init(&other, f.samples, 1);
	CHECK_U64((uint64_t)need_frame(&f, 0, 30), 0);
	for (unsigned i = 0; i < 20; i++) {
		CHECK(prove(&f, &other) == 0);
		CHECK(lies_in_a_frame(&f, &other.log[i]));
	}
	CHECK_U64(other.n, 20);
	CHECK(memcmp(&other.log[0], &other.log[1], sizeof(other.log[0])) != 0 ||
		memcmp(&other.log[1], &other.log[2], sizeof(other.log[0])) != 0 ||
		memcmp(&other.log[2], &other.log[3], sizeof(other.log[0])) != 0);
	CHECK_U64(index_opened, 1);
	CHECK_U64(fake_requests(&f.fake), 2); /* not for the proofs */
	end(&f);
}

static void who_cannot_may_not(void)
{
	struct fixture f;
	struct fake other;

	begin_lazy(&f, 0);
	CHECK_U64((uint64_t)need_frame(&f, 0, 30), 0);
	fake_init(&other, f.samples, 1);
	other.fail = 1;
	CHECK(prove(&f, &other) < 0);
	fake_init(&other, f.samples, 0); /* has no such blob */
	CHECK(prove(&f, &other) < 0);
	end(&f);
}

static void who_has_other_bytes_may_not(void)
{
	struct sample forged;
	struct fixture f;
	struct fake other;

	begin_lazy(&f, 0);
	CHECK_U64((uint64_t)need_frame(&f, 0, 30), 0);
	forged = f.samples[0];
	forged.stored = xzalloc(forged.result.size);
	fake_init(&other, &forged, 1);
	CHECK(prove(&f, &other) < 0);
	CHECK_U64(other.blamed, 1);
	CHECK_U64(stats(&f).bad_frames, 1);
	free(forged.stored);
	end(&f);
}

static void a_proof_loads_the_index_for_all(void)
{
	struct fixture f;
	struct fake other;

	begin_lazy(&f, 0);
	fake_init(&other, f.samples, 1);
	other.fail = 1;
	CHECK(prove(&f, &other) < 0);
	CHECK_U64(other.n, 1);
	CHECK(prove(&f, &other) == 0);
	CHECK_U64(other.n, 3);
	CHECK_U64(fake_requests(&f.fake), 0);
	CHECK_U64((uint64_t)need_frame(&f, 0, 30), 0);
	CHECK_U64(fake_requests(&f.fake), 1);
	CHECK_U64(index_opened, 2);
	end(&f);
}

static void who_waits_for_the_index_is_served_by_a_proof(void)
{
	struct fixture f;
	struct fake other;
	struct ask a;

	begin_lazy(&f, 0);
	fake_init(&other, f.samples, 1);
	fake_gate(&f.fake, true);
	ask_frame(&a, &f, 0, 30);
	fake_wait(&f.fake, 1); /* the index, which does not come */
	CHECK(prove(&f, &other) == 0);
	fake_permit(&f.fake, 1);
	fake_wait_requests(&f.fake, 2);
	fake_gate(&f.fake, false);
	CHECK_U64((uint64_t)ask_wait(&a), 0);
	CHECK(is_right(&f, 0, frame_of(&f, 0, 30).offset, 1));
	end(&f);
}

static void a_proof_of_a_complete_blob_loads_the_index_for_itself(void)
{
	struct fixture f;
	struct fake other;

	begin_lazy(&f, 0);
	fake_init(&other, f.samples, 1);
	CHECK_U64((uint64_t)engine_need(f.blobs[0], 0, UINT64_MAX), 0);
	EVENTUALLY(blob_map(f.blobs[0]) == NULL);
	CHECK(prove(&f, &other) == 0);
	CHECK_U64(other.n, 2);
	CHECK(blob_map(f.blobs[0]) == NULL);
	other.fail = 1;
	CHECK(prove(&f, &other) < 0);
	end(&f);
}

struct prover_thread {
	pthread_t thread;
	struct fixture *f;
	struct fake *other;
	int rc;
};

static void *prove_in_thread(void *arg)
{
	struct prover_thread *p = arg;

	p->rc = prove(p->f, p->other);
	return NULL;
}

static void a_blob_that_goes_ends_its_proofs(void)
{
	struct prover_thread p;
	struct fixture f;
	struct fake other;

	begin_lazy(&f, 0);
	fake_init(&other, f.samples, 1);
	fake_gate(&other, true);
	p = (struct prover_thread){ .f = &f, .other = &other };
	pthread_create(&p.thread, NULL, prove_in_thread, &p);
	fake_wait(&other, 1);
	remove_blob(&f, 0); /* or hang here */
	pthread_join(p.thread, NULL);
	CHECK(p.rc < 0);
	end(&f);
}

int main(void)
{
	alarm(300); /* who is never answered hangs */
	RUN(an_index_is_opened_once_by_the_first_who_wants);
	RUN(an_index_that_fails_is_an_error_and_tried_by_the_next);
	RUN(who_waits_for_an_index_whose_source_is_away_goes_on_waiting);
	RUN(prefetching_alone_opens_the_index);
	RUN(an_index_is_given_back_when_all_is_there);
	RUN(it_goes_while_others_look_at_it);
	RUN(who_can_read_a_frame_may_read_the_blob);
	RUN(who_cannot_may_not);
	RUN(who_has_other_bytes_may_not);
	RUN(a_proof_loads_the_index_for_all);
	RUN(who_waits_for_the_index_is_served_by_a_proof);
	RUN(a_proof_of_a_complete_blob_loads_the_index_for_itself);
	RUN(a_blob_that_goes_ends_its_proofs);
	return tap_done();
}
