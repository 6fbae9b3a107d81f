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
	int fails; /* with this code */
	unsigned blamed, cancelled, closed;
};

static struct place places[PLACES];
static char asked[64]; /* 'a', 'b', 'c' for each request */
static time_t seconds; /* now */

int __wrap_clock_gettime(clockid_t clock, struct timespec *t);
int __real_clock_gettime(clockid_t clock, struct timespec *t);

static int place_read(struct blob_source *s, const struct digest *digest, uint64_t offset,
	void *buf, size_t len, struct error **err)
{
	const struct place *p = (const struct place *)s;
	size_t i = (size_t)(p - places), n = strlen(asked);

	asked[n] = (char)('a' + i);
	if (p->fails)
		return error_set(err, p->fails, "place %zu", i);
	memset(buf, 'a' + (int)i, len);
	return 0;
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
	RUN(the_while_doubles_up_to_ten_minutes);
	RUN(a_mirror_that_gives_wrong_bytes_is_asked_last);
	RUN(when_nobody_answers_all_were_asked);
	RUN(what_is_given_up_is_nobodys_fault);
	RUN(all_are_cancelled_and_closed_together);
	RUN(a_layout_gives_ranges_of_its_blobs);
	return tap_done();
}
