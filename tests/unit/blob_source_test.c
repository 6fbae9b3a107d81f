// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/*
 * Where blobs come from: which mirror is asked when (the clock is the test's, by --wrap), and
 * layouts.
 */
#include "config.h"

#include <errno.h>
#include <time.h>

#include "lib/base/mem.h"
#include "lib/serve/engine/sources.h"
#include "tests/unit/layout_fixture.h"
#include "tests/unit/tap.h"
#include "tests/unit/tmpdir.h"

/* --- mirrors --- */

enum { PLACES = 3 };

struct place {
	struct blob_source source;
	int fails; /* with this code; a stream, after its first byte */
	unsigned blamed, cancelled, closed;
};

static struct place places[PLACES];
static char asked[64]; /* 'a', 'b', 'c' for each request; streams are 'A', 'B', 'C' */
static uint64_t last_offset; /* that was read at */
static time_t seconds; /* now */

int __wrap_clock_gettime(clockid_t clock, struct timespec *t);
int __real_clock_gettime(clockid_t clock, struct timespec *t);

static int place_read(struct blob_source *s, const struct digest *digest, uint64_t offset,
	void *buf, size_t len, struct error **err)
{
	const struct place *p = (const struct place *)s;
	size_t i = (size_t)(p - places), n = strlen(asked);

	asked[n] = (char)('a' + i);
	last_offset = offset;
	if (p->fails)
		return error_set(err, p->fails, "place %zu", i);
	memset(buf, 'a' + (int)i, len);
	return 0;
}

struct place_bytes {
	struct stream stream;
	const struct place *place;
	unsigned n;
};

static ssize_t place_give(struct stream *stream, void *buf, size_t len, struct error **err)
{
	struct place_bytes *b = (struct place_bytes *)stream;

	if (b->n++ && b->place->fails)
		return error_set(err, b->place->fails, "broken");
	*(char *)buf = (char)('a' + (b->place - places));
	return 1;
}

static int place_stream(struct blob_source *s, const struct digest *digest, uint64_t offset,
	uint64_t len, const struct stream_user *user, struct error **err)
{
	struct place_bytes b = { .stream.read = place_give, .place = (const struct place *)s };

	asked[strlen(asked)] = (char)('A' + (b.place - places));
	CHECK(offset == 5 && len == 3);
	return user->use(user->arg, &b.stream, err);
}

static void place_blame(struct blob_source *s)
{
	((struct place *)s)->blamed++;
}

static void place_cancel(struct blob_source *s, const struct digest *digest)
{
	CHECK(digest->bytes[0] == 7);
	((struct place *)s)->cancelled++;
}

static void place_close(struct blob_source *s)
{
	((struct place *)s)->closed++;
}

int __wrap_clock_gettime(clockid_t clock, struct timespec *t)
{
	if (!seconds)
		return __real_clock_gettime(clock, t);
	*t = (struct timespec){ .tv_sec = seconds };
	return 0;
}

static struct blob_source *open_mirrors(size_t n)
{
	struct blob_source *sources[PLACES];

	seconds = 1000;
	memset(asked, 0, sizeof(asked));
	for (size_t i = 0; i < n; i++) {
		places[i] = (struct place){
			.source = { .read = place_read,
				.stream = i == 2 ? NULL : place_stream,
				.blame = i ? place_blame : NULL,
				.cancel = i ? place_cancel : NULL,
				.close = place_close,
				.gap = i * 10 },
		};
		sources[i] = &places[i].source;
	}
	return source_chain_new(sources, n);
}

/* Who answers; '-': nobody. What was asked is in `asked`. */
static char read_one(struct blob_source *s)
{
	CLEANUP_ERROR struct error *err = NULL;
	struct digest d = { 0 };
	char c = '-';
	int rc;

	memset(asked, 0, sizeof(asked));
	rc = s->read(s, &d, 5, &c, 1, &err);
	CHECK((rc < 0) == (err != NULL));
	CHECK(rc < 0 || rc == (strlen(asked) > 1)); /* 1: somebody else failed first */
	return c;
}

/* Two bytes of three: whoever wants no more need not read on. */
struct use {
	struct blob_source *source;
	bool blames;
	char bytes[3];
};

static int use_stream(void *arg, struct stream *stream, struct error **err)
{
	struct use *u = arg;

	for (unsigned i = 0; i < 2; i++)
		if (stream->read(stream, &u->bytes[i], 1, err) != 1)
			return -1;
	if (u->blames)
		u->source->blame(u->source);
	return 0;
}

/* What came; and -1 is the error's code. */
static struct use stream_two(struct blob_source *s, bool blames, int want)
{
	CLEANUP_ERROR struct error *err = NULL;
	struct use u = { .source = s, .blames = blames };
	const struct stream_user user = { use_stream, &u };
	struct digest d = { 0 };
	int rc;

	memset(asked, 0, sizeof(asked));
	rc = source_stream(s, &d, 5, 3, &user, &err);
	CHECK((rc < 0) == (err != NULL));
	CHECK_U64((uint64_t)(err ? err->code : 0), (uint64_t)want);
	return u;
}

static void mirrors_are_asked_in_their_order(void)
{
	struct blob_source *s = open_mirrors(3);

	CHECK(read_one(s) == 'a');
	CHECK_STR(asked, "a");
	places[0].fails = EIO;
	CHECK(read_one(s) == 'b');
	CHECK_STR(asked, "ab");
	s->close(s);
}

static void a_mirror_that_failed_is_asked_last_for_a_while(void)
{
	struct blob_source *s = open_mirrors(3);

	places[0].fails = EIO;
	CHECK(read_one(s) == 'b');
	places[0].fails = 0;
	seconds += 29;
	CHECK(read_one(s) == 'b');
	CHECK_STR(asked, "b");
	places[1].fails = places[2].fails = EIO;
	CHECK(read_one(s) == 'a');
	CHECK_STR(asked, "bca");
	seconds += 1;
	CHECK(read_one(s) == 'a');
	CHECK_STR(asked, "a");
	s->close(s);
}

static void of_those_that_failed_who_will_be_well_first_is_asked_first(void)
{
	struct blob_source *s = open_mirrors(2);

	places[0].fails = EIO;
	CHECK(read_one(s) == 'b');
	seconds += 30;
	CHECK(read_one(s) == 'b'); /* a for a minute */
	seconds += 1;
	places[1].fails = EIO;
	CHECK(read_one(s) == '-'); /* b for half of one */
	places[0].fails = places[1].fails = 0;
	CHECK(read_one(s) == 'b');
	CHECK_STR(asked, "b");
	seconds += 30;
	places[1].fails = EIO;
	CHECK(read_one(s) == 'a'); /* b for a minute, and a for the rest of his */
	CHECK(read_one(s) == 'a');
	CHECK_STR(asked, "a");
	s->close(s);
}

static void a_mirror_that_is_only_away_may_be_waited_for(void)
{
	static const int others[] = { EIO, EAGAIN };

	for (size_t i = 0; i < 2; i++) {
		struct blob_source *s = open_mirrors(2);
		CLEANUP_ERROR struct error *err = NULL;
		struct digest d = { 0 };
		char c;

		places[0].fails = others[i];
		places[1].fails = others[1 - i];
		CHECK(s->read(s, &d, 5, &c, 1, &err) == -1);
		CHECK_U64((uint64_t)err->code, EAGAIN);
		s->close(s);
	}
}

static void the_while_doubles_up_to_ten_minutes(void)
{
	static const unsigned want[] = { 30, 60, 120, 240, 480, 600, 600 };
	struct blob_source *s = open_mirrors(2);

	places[0].fails = EIO;
	for (size_t i = 0; i < sizeof(want) / sizeof(*want); i++) {
		CHECK(read_one(s) == 'b');
		CHECK_STR(asked, "ab");
		seconds += want[i] - 1;
		CHECK(read_one(s) == 'b');
		CHECK_STR(asked, "b");
		seconds += 1;
	}
	places[0].fails = 0;
	CHECK(read_one(s) == 'a'); /* all is forgiven */
	places[0].fails = EIO;
	CHECK(read_one(s) == 'b');
	seconds += 30;
	read_one(s);
	CHECK_STR(asked, "ab");
	s->close(s);
}

static void a_mirror_that_gives_wrong_bytes_is_asked_last(void)
{
	struct blob_source *s = open_mirrors(2);

	CHECK(read_one(s) == 'a');
	s->blame(s);
	CHECK(read_one(s) == 'b');
	CHECK_STR(asked, "b");
	CHECK_U64(places[1].blamed, 0);
	s->blame(s);
	CHECK_U64(places[1].blamed, 1);
	CHECK(read_one(s) == 'a'); /* nobody is better */
	s->close(s);
}

static void when_nobody_answers_all_were_asked(void)
{
	struct blob_source *s = open_mirrors(3);

	for (unsigned i = 0; i < PLACES; i++)
		places[i].fails = EIO;
	CHECK(read_one(s) == '-');
	CHECK_STR(asked, "abc");
	CHECK(read_one(s) == '-');
	CHECK_STR(asked, "abc");
	s->close(s);
	seconds = 0;
}

static void what_is_given_up_is_nobodys_fault(void)
{
	struct blob_source *s = open_mirrors(3);

	places[0].fails = ECANCELED;
	CHECK(read_one(s) == '-');
	CHECK_STR(asked, "a");
	places[0].fails = 0;
	CHECK(read_one(s) == 'a');
	s->close(s);
	seconds = 0;
}

static void all_are_cancelled_and_closed_together(void)
{
	struct blob_source *s = open_mirrors(3);
	struct digest d = { .bytes = { 7 } };

	CHECK_U64(s->gap, 20);
	s->cancel(s, &d);
	CHECK_U64(places[1].cancelled, 1);
	CHECK_U64(places[2].cancelled, 1);
	s->close(s);
	for (unsigned i = 0; i < 3; i++)
		CHECK_U64(places[i].closed, 1);
	seconds = 0;
}

/* --- streams of mirrors --- */

static void a_stream_comes_from_the_first_and_nobody_else_is_asked(void)
{
	struct blob_source *s = open_mirrors(3);

	CHECK_STR(stream_two(s, false, 0).bytes, "aa");
	CHECK_STR(asked, "A");
	places[0].fails = EIO;
	CHECK_STR(stream_two(s, false, EIO).bytes, "a");
	CHECK_STR(asked, "A");
	CHECK(read_one(s) == 'b'); /* whoever broke off is asked later, ... */
	CHECK_STR(asked, "b");
	CHECK_STR(stream_two(s, false, 0).bytes, "bb"); /* for a stream, too */
	seconds += 30;
	CHECK_STR(stream_two(s, false, EIO).bytes, "a"); /* ... for a while, ... */
	seconds += 59;
	CHECK_STR(stream_two(s, false, 0).bytes, "bb"); /* ... which doubles, ... */
	places[0].fails = 0;
	seconds += 1;
	CHECK_STR(stream_two(s, false, 0).bytes, "aa");
	places[0].fails = EIO;
	CHECK_STR(stream_two(s, false, EIO).bytes, "a");
	seconds += 30; /* ... until a stream has come well */
	CHECK_STR(stream_two(s, false, EIO).bytes, "a");
	s->close(s);
	seconds = 0;
}

static void a_stream_that_was_given_up_is_nobodys_fault(void)
{
	struct blob_source *s = open_mirrors(2);

	places[0].fails = ECANCELED;
	stream_two(s, false, ECANCELED);
	places[0].fails = 0;
	CHECK_STR(stream_two(s, false, 0).bytes, "aa");
	s->close(s);
	seconds = 0;
}

static void who_gives_a_stream_is_blamed_for_its_bytes(void)
{
	struct blob_source *s = open_mirrors(2);

	places[0].fails = EIO;
	CHECK(read_one(s) == 'b');
	seconds += 30;
	places[0].fails = 0;
	CHECK_STR(stream_two(s, true, 0).bytes, "aa"); /* and not who answered last */
	CHECK_U64(places[1].blamed, 0);
	CHECK_STR(stream_two(s, true, 0).bytes, "bb"); /* which a good end does not forgive */
	CHECK_U64(places[1].blamed, 1);
	s->close(s);
	seconds = 0;
}

static void who_has_no_streams_is_read_piece_by_piece(void)
{
	struct blob_source *s = open_mirrors(3);

	places[0].fails = places[1].fails = EIO;
	CHECK(read_one(s) == 'c');
	CHECK_STR(stream_two(s, true, 0).bytes, "cc");
	CHECK_STR(asked, "cc");
	CHECK_U64(last_offset, 6);
	CHECK_U64(places[2].blamed, 1);
	s->close(s);
	seconds = 0;
}

/* --- layouts --- */

static int read_at(
	struct blob_source *s, const struct digest *d, uint64_t offset, char *buf, size_t len)
{
	CLEANUP_ERROR struct error *err = NULL;
	int rc = s->read(s, d, offset, buf, len, &err);

	CHECK((rc < 0) == (err != NULL));
	return rc;
}

static void check_layout(struct image_source *image, const char *content)
{
	struct blob_source *s = source_file_new(image);
	struct digest d, other;
	char buf[5] = "";

	digest_of(&d, DIGEST_SHA256, content, strlen(content));
	digest_of(&other, DIGEST_SHA256, "x", 1);
	CHECK(read_at(s, &d, 3, buf, 4) == 0);
	CHECK_STR(buf, "defg");
	CHECK(read_at(s, &other, 0, buf, 1) < 0);
	CHECK(read_at(s, &d, 8, buf, 2) == 0); /* the last ones */
	CHECK(read_at(s, &d, 8, buf, 3) < 0);
	CHECK(read_at(s, &d, 11, buf, 0) < 0);
	CHECK(read_at(s, &d, UINT64_MAX, buf, 2) < 0);
	s->close(s);
}

static struct image_source *open_image(const char *transport, const char *path)
{
	CLEANUP_FREE char *spec = xasprintf("%s:%s", transport, path);
	CLEANUP_IMAGE_REF struct image_ref ref = { 0 };
	CLEANUP_ERROR struct error *err = NULL;
	struct platform amd64 = { .os = "linux", .architecture = "amd64" };
	struct image_source *src = NULL;

	if (image_ref_parse(&ref, spec, &err) == 0)
		src = image_source_open(&ref, &amd64, &err);
	if (!CHECK(src != NULL)) {
		printf("# %s\n", err->msg);
		exit(99);
	}
	return src;
}

static void a_layout_gives_ranges_of_its_blobs(void)
{
	CLEANUP_TMPDIR char *dir = fixture_make();
	CLEANUP_TMPDIR char *tmp = tmpdir_make();
	CLEANUP_FREE char *tar = xasprintf("%s/a.tar", tmp);
	CLEANUP_FREE char *command = xasprintf("tar -C %s -cf %s .", dir, tar);
	CLEANUP_IMAGE_SOURCE struct image_source *plain = NULL, *packed = NULL;

	fixture_finish(dir, json_pack("[o]", fixture_image(dir, "amd64", "abcdefghij")));
	CHECK(system(command) == 0);
	plain = open_image("oci", dir);
	check_layout(plain, "abcdefghij");
	packed = open_image("oci-archive", tar);
	check_layout(packed, "abcdefghij");
}

int main(void)
{
	RUN(mirrors_are_asked_in_their_order);
	RUN(a_mirror_that_failed_is_asked_last_for_a_while);
	RUN(of_those_that_failed_who_will_be_well_first_is_asked_first);
	RUN(a_mirror_that_is_only_away_may_be_waited_for);
	RUN(the_while_doubles_up_to_ten_minutes);
	RUN(a_mirror_that_gives_wrong_bytes_is_asked_last);
	RUN(when_nobody_answers_all_were_asked);
	RUN(what_is_given_up_is_nobodys_fault);
	RUN(all_are_cancelled_and_closed_together);
	RUN(a_stream_comes_from_the_first_and_nobody_else_is_asked);
	RUN(a_stream_that_was_given_up_is_nobodys_fault);
	RUN(who_gives_a_stream_is_blamed_for_its_bytes);
	RUN(who_has_no_streams_is_read_piece_by_piece);
	RUN(a_layout_gives_ranges_of_its_blobs);
	return tap_done();
}
