// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/*
 * Where blobs come from: which mirror is asked when (registry_read_blob() and the clock are the
 * test's, by --wrap), and layouts.
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

static char names[PLACES]; /* a registry is its place in here */
static bool fails[PLACES];
static char asked[64]; /* 'a', 'b', 'c' for each request */
static time_t seconds; /* now */

int __wrap_registry_read_blob(struct registry *r, const struct digest *digest, uint64_t offset,
	void *buf, size_t len, struct error **err);
int __wrap_clock_gettime(clockid_t clock, struct timespec *t);
int __real_clock_gettime(clockid_t clock, struct timespec *t);

int __wrap_registry_read_blob(struct registry *r, const struct digest *digest, uint64_t offset,
	void *buf, size_t len, struct error **err)
{
	size_t i = (size_t)((char *)r - names), n = strlen(asked);

	asked[n] = (char)('a' + i);
	if (fails[i])
		return error_set(err, EIO, "place %zu", i);
	memset(buf, 'a' + (int)i, len);
	return 0;
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
	struct registry *places[PLACES];

	seconds = 1000;
	memset(asked, 0, sizeof(asked));
	memset(fails, 0, sizeof(fails));
	for (size_t i = 0; i < n; i++)
		places[i] = (struct registry *)&names[i];
	return source_registry_new(places, n);
}

/* Who answers; '-': nobody. What was asked is in `asked`. */
static char read_one(struct blob_source *s)
{
	CLEANUP_ERROR struct error *err = NULL;
	struct digest d = { 0 };
	char c = '-';

	memset(asked, 0, sizeof(asked));
	if (s->read(s, &d, 5, &c, 1, &err) < 0)
		CHECK(err != NULL);
	return c;
}

static void mirrors_are_asked_in_their_order(void)
{
	struct blob_source *s = open_mirrors(3);

	CHECK(read_one(s) == 'a');
	CHECK_STR(asked, "a");
	fails[0] = true;
	CHECK(read_one(s) == 'b');
	CHECK_STR(asked, "ab");
	s->close(s);
}

static void a_mirror_that_failed_is_asked_last_for_a_while(void)
{
	struct blob_source *s = open_mirrors(3);

	fails[0] = true;
	CHECK(read_one(s) == 'b');
	fails[0] = false;
	seconds += 29;
	CHECK(read_one(s) == 'b');
	CHECK_STR(asked, "b");
	fails[1] = fails[2] = true;
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

	fails[0] = true;
	for (size_t i = 0; i < sizeof(want) / sizeof(*want); i++) {
		CHECK(read_one(s) == 'b');
		CHECK_STR(asked, "ab");
		seconds += want[i] - 1;
		CHECK(read_one(s) == 'b');
		CHECK_STR(asked, "b");
		seconds += 1;
	}
	fails[0] = false;
	CHECK(read_one(s) == 'a'); /* all is forgiven */
	fails[0] = true;
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
	s->blame(s);
	CHECK(read_one(s) == 'a'); /* nobody is better */
	s->close(s);
}

static void when_nobody_answers_all_were_asked(void)
{
	struct blob_source *s = open_mirrors(3);

	memset(fails, true, sizeof(fails));
	CHECK(read_one(s) == '-');
	CHECK_STR(asked, "abc");
	CHECK(read_one(s) == '-');
	CHECK_STR(asked, "abc");
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
	RUN(the_while_doubles_up_to_ten_minutes);
	RUN(a_mirror_that_gives_wrong_bytes_is_asked_last);
	RUN(when_nobody_answers_all_were_asked);
	RUN(a_layout_gives_ranges_of_its_blobs);
	return tap_done();
}
