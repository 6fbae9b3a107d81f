// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/*
 * Streams of bytes: decompression of whole, joined, cut and damaged input, and the check of
 * digest and size. The input comes in pieces of random sizes.
 */
#include "config.h"

#include "lib/base/mem.h"
#include "lib/stream/decompress.h"
#include "lib/stream/verify.h"
#include "tests/unit/random.h"
#include "tests/unit/tap.h"
#include "tests/unit/tmpdir.h"

#include <errno.h>
#include <isa-l/igzip_lib.h>
#include <zstd.h>

/* --- bytes in memory as a stream --- */

struct bytes {
	uint8_t *p;
	size_t len;
};

struct memory_stream {
	struct stream stream;
	uint8_t *copy; /* exact, so that a read past it is seen */
	size_t len, at;
	uint64_t seed; /* of the sizes of pieces; 0: all at once */
	bool fails; /* at the end */
};

static unsigned closed;

static ssize_t memory_read(struct stream *s, void *buf, size_t len, struct error **err)
{
	struct memory_stream *m = (struct memory_stream *)s;
	size_t n = m->len - m->at;

	if (!n && m->fails)
		return error_set(err, EIO, "the source fails");
	n = n < len ? n : len;
	if (m->seed && n)
		n = 1 + random_below(&m->seed, n > 40 ? 40 : (uint32_t)n);
	if (n)
		memcpy(buf, m->copy + m->at, n);
	m->at += n;
	return (ssize_t)n;
}

static void memory_close(struct stream *s)
{
	struct memory_stream *m = (struct memory_stream *)s;

	closed++;
	free(m->copy);
	free(m);
}

static struct stream *memory_stream(const uint8_t *p, size_t len, uint64_t seed)
{
	struct memory_stream *m = xzalloc(sizeof(*m));

	*m = (struct memory_stream){ .stream = { .read = memory_read, .close = memory_close },
		.copy = xmemdup(p, len),
		.len = len,
		.seed = seed };
	return &m->stream;
}

static void add(struct bytes *b, const void *p, size_t len)
{
	b->p = xrealloc_array(b->p, b->len + len + 1, 1);
	memcpy(b->p + b->len, p, len);
	b->len += len;
}

static void add_gzip(struct bytes *b, const void *p, size_t len)
{
	size_t room = len + len / 8 + 4096;
	uint8_t *out = xmalloc(room);
	struct isal_zstream z;

	isal_deflate_stateless_init(&z);
	z.gzip_flag = IGZIP_GZIP;
	z.end_of_stream = 1;
	z.flush = NO_FLUSH;
	z.next_in = (uint8_t *)(uintptr_t)p;
	z.avail_in = (uint32_t)len;
	z.next_out = out;
	z.avail_out = (uint32_t)room;
	CHECK(isal_deflate_stateless(&z) == COMP_OK);
	add(b, out, room - z.avail_out);
	free(out);
}

static void add_zstd(struct bytes *b, const void *p, size_t len, bool checksum)
{
	size_t room = ZSTD_compressBound(len), n;
	uint8_t *out = xmalloc(room);
	ZSTD_CCtx *c = ZSTD_createCCtx();

	ZSTD_CCtx_setParameter(c, ZSTD_c_checksumFlag, checksum);
	n = ZSTD_compress2(c, out, room, p, len);
	CHECK(!ZSTD_isError(n));
	add(b, out, n);
	ZSTD_freeCCtx(c);
	free(out);
}

static struct bytes text_of(size_t len, uint64_t seed)
{
	struct bytes b = { xmalloc(len + 1), len };

	for (size_t i = 0; i < len; i++)
		b.p[i] = random_below(&seed, 9) ? (uint8_t)('a' + i % 13)
						: (uint8_t)random_u64(&seed);
	return b;
}

/*
 * Read to the end in pieces of random sizes. NULL: an error. It is also checked that a short
 * answer means the end.
 */
static bool read_all(struct stream *s, struct bytes *out, uint64_t seed, struct error **err)
{
	uint8_t buf[3000];

	*out = (struct bytes){ xmalloc(1), 0 };
	for (;;) {
		size_t want = 1 + random_below(&seed, sizeof(buf));
		ssize_t n = s->read(s, buf, want, err);

		if (n < 0)
			return false;
		add(out, buf, (size_t)n);
		if ((size_t)n == want)
			continue;
		n = s->read(s, buf, 1, err);
		CHECK(n == 0);
		return n == 0;
	}
}

static bool decompress(
	const uint8_t *p, size_t len, struct bytes *out, uint64_t seed, struct error **err)
{
	CLEANUP_STREAM struct stream *s = stream_decompress(memory_stream(p, len, seed));

	return read_all(s, out, seed + 1, err);
}

static void gives(const struct bytes *in, const struct bytes *want)
{
	uint64_t seeds = in->len < 100 ? 40 : 6; /* short ones are cut at every byte */

	for (uint64_t seed = 0; seed < seeds; seed++) {
		CLEANUP_ERROR struct error *err = NULL;
		struct bytes out;

		if (!CHECK(decompress(in->p, in->len, &out, seed, &err)))
			printf("# %s\n", err ? err->msg : "?");
		else
			CHECK(out.len == want->len && !memcmp(out.p, want->p, want->len));
		free(out.p);
	}
}

static void refuses(const struct bytes *in, const char *part)
{
	for (uint64_t seed = 0; seed < 4; seed++) {
		CLEANUP_ERROR struct error *err = NULL;
		struct bytes out;

		CHECK(!decompress(in->p, in->len, &out, seed, &err));
		if (!CHECK(err && strstr(err->msg, part)))
			printf("# no \"%s\" in: %s\n", part, err ? err->msg : "?");
		free(out.p);
	}
}

/* --- decompression --- */

static void plain_bytes_pass(void)
{
	static const char *const texts[] = { "", "x", "\x1f", "\x1f\x8b", "\x1f\x8b\x07xyz",
		"(\xb5/", "\xfd\x37zX", "BZ", "a longer text than any magic number" };

	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
		struct bytes b = { (uint8_t *)(uintptr_t)texts[i], strlen(texts[i]) };

		gives(&b, &b);
	}
	{
		struct bytes big = text_of(400000, 1);

		gives(&big, &big);
		free(big.p);
	}
}

static void gzip_of_one_and_of_many_members(void)
{
	struct bytes text = text_of(300000, 2), in = { 0 };

	add_gzip(&in, text.p, text.len);
	gives(&in, &text);
	in.len = 0;
	add_gzip(&in, text.p, 1);
	add_gzip(&in, "", 0);
	add_gzip(&in, text.p + 1, 70000);
	add_gzip(&in, text.p + 70001, text.len - 70001);
	add_gzip(&in, "", 0);
	gives(&in, &text);
	free(in.p);
	free(text.p);
}

/* By RFC 1952, with a stored block "hi". */
#define HI_BLOCK 1, 2, 0, 0xfd, 0xff, 'h', 'i', 0xac, 0x2a, 0x93, 0xd8, 2, 0, 0, 0

static void gzip_headers_with_extra_name_and_comment(void)
{
	static const uint8_t whole[] = { 0x1f, 0x8b, 8, 0x1c, 1, 2, 3, 4, 0, 255, 3, 0, 'x', 'y',
		'z', 'n', 0, 'c', 'm', 0, HI_BLOCK };
	struct bytes in = { (uint8_t *)(uintptr_t)whole, sizeof(whole) };
	struct bytes want = { (uint8_t *)(uintptr_t) "hi", 2 };

	gives(&in, &want);
}

static void gzip_headers_with_a_checksum_of_their_own(void)
{
	static const uint8_t whole[] = { 0x1f, 0x8b, 8, 0x1e, 1, 2, 3, 4, 0, 255, 3, 0, 'x', 'y',
		'z', 'n', 0, 'c', 'm', 0, 0x33, 0x13, HI_BLOCK };
	struct bytes in = { (uint8_t *)(uintptr_t)whole, sizeof(whole) };
	struct bytes want = { (uint8_t *)(uintptr_t) "hi", 2 };

	gives(&in, &want);
}

static void zeros_behind_gzip_are_padding_and_garbage_is_an_error(void)
{
	struct bytes text = text_of(5000, 3), in = { 0 };
	static const uint8_t zeros[600];

	add_gzip(&in, text.p, text.len);
	add(&in, zeros, sizeof(zeros));
	gives(&in, &text);
	add(&in, "x", 1);
	refuses(&in, "garbage");
	free(in.p);
	free(text.p);
}

static void zstd_of_one_and_of_many_frames(void)
{
	struct bytes text = text_of(300000, 4), in = { 0 };

	add_zstd(&in, text.p, text.len, true);
	gives(&in, &text);
	in.len = 0;
	add_zstd(&in, text.p, 1, false);
	add_zstd(&in, "", 0, true);
	add(&in, "\x5a\x2a\x4d\x18\3\0\0\0abc", 11); /* a skippable frame */
	add_zstd(&in, text.p + 1, 140000, true);
	add_zstd(&in, text.p + 140001, text.len - 140001, false);
	add(&in, "\x50\x2a\x4d\x18\0\0\0\0", 8);
	gives(&in, &text);
	in.len = 0;
	add(&in, "\x5f\x2a\x4d\x18\3\0\0\0abc", 11); /* the first frame may be one too */
	add_zstd(&in, text.p, text.len, true);
	gives(&in, &text);
	free(in.p);
	free(text.p);
}

static void garbage_behind_zstd_is_an_error(void)
{
	struct bytes text = text_of(5000, 5), in = { 0 };

	add_zstd(&in, text.p, text.len, true);
	add(&in, "garbage", 7);
	refuses(&in, "zstd");
	free(in.p);
	free(text.p);
}

static void other_compressions_are_named(void)
{
	struct bytes xz = { (uint8_t *)(uintptr_t) "\xfd"
						   "7zXZ\0\0\4",
		8 };
	struct bytes bz = { (uint8_t *)(uintptr_t) "BZh91AY&SY", 10 };

	refuses(&xz, "xz");
	refuses(&bz, "bzip2");
}

/* Cut anywhere but between members, the input is an error and not just shorter. */
static void check_cuts(const struct bytes *in, const size_t *whole, size_t n_whole, size_t magic)
{
	for (size_t cut = magic; cut < in->len; cut++) {
		bool between = false, ok;
		CLEANUP_ERROR struct error *err = NULL;
		struct bytes out;

		for (size_t i = 0; i < n_whole; i++)
			between = between || cut == whole[i];
		ok = decompress(in->p, cut, &out, cut % 3, &err);
		if (!CHECK(ok == between))
			printf("# cut at byte %zu of %zu\n", cut, in->len);
		free(out.p);
	}
}

static void gzip_cut_at_any_byte_is_an_error(void)
{
	struct bytes text = text_of(300, 6), in = { 0 };
	size_t first;

	add_gzip(&in, text.p, 200);
	first = in.len;
	add_gzip(&in, text.p + 200, 100);
	check_cuts(&in, &first, 1, 3);
	free(in.p);
	free(text.p);
}

static void zstd_cut_at_any_byte_is_an_error(void)
{
	struct bytes text = text_of(300, 7), in = { 0 };
	size_t whole[2];

	add_zstd(&in, text.p, 200, true);
	whole[0] = in.len;
	add(&in, "\x5a\x2a\x4d\x18\3\0\0\0abc", 11);
	whole[1] = in.len;
	add_zstd(&in, text.p + 200, 100, false);
	check_cuts(&in, whole, 2, 4);
	free(in.p);
	free(text.p);
}

/* With a byte changed there must be an error, or (in fields without meaning) the same bytes. */
static void check_damage(struct bytes *in, const struct bytes *text, size_t magic)
{
	static const uint8_t changes[] = { 0x01, 0xff, 0x1f };

	for (size_t at = magic; at < in->len; at++)
		for (size_t i = 0; i < sizeof(changes); i++) {
			CLEANUP_ERROR struct error *err = NULL;
			struct bytes out;

			in->p[at] ^= changes[i];
			if (decompress(in->p, in->len, &out, at % 3, &err) &&
				!CHECK(out.len == text->len && !memcmp(out.p, text->p, out.len)))
				printf("# byte %zu ^ 0x%x\n", at, changes[i]);
			in->p[at] ^= changes[i];
			free(out.p);
		}
}

static void damaged_gzip_never_gives_other_bytes(void)
{
	struct bytes text = text_of(150, 8), in = { 0 };

	add_gzip(&in, text.p, 100);
	add_gzip(&in, text.p + 100, 50);
	check_damage(&in, &text, 3);
	free(in.p);
	free(text.p);
}

static void damaged_zstd_never_gives_other_bytes(void)
{
	struct bytes text = text_of(150, 9), in = { 0 };

	add_zstd(&in, text.p, text.len, true);
	check_damage(&in, &text, 4);
	free(in.p);
	free(text.p);
}

static void a_failing_source_is_passed_on_and_closed(void)
{
	struct bytes text = text_of(5000, 10), in = { 0 };

	add_gzip(&in, text.p, text.len);
	for (int kind = 0; kind < 2; kind++) {
		CLEANUP_ERROR struct error *err = NULL;
		struct stream *m =
			memory_stream(kind ? in.p : text.p, kind ? in.len / 2 : text.len, 1);
		struct stream *s = stream_decompress(m);
		struct bytes out;
		unsigned before = closed;

		((struct memory_stream *)m)->fails = true;
		CHECK(!read_all(s, &out, 1, &err));
		CHECK(err && strstr(err->msg, "the source fails"));
		s->close(s);
		CHECK_U64(closed, before + 1);
		free(out.p);
	}
	free(in.p);
	free(text.p);
}

/* --- verification --- */

static bool verified(
	const struct bytes *in, const struct digest *d, uint64_t size, struct error **err)
{
	bool good = true;

	for (uint64_t seed = 0; seed < 3 && good; seed++) {
		uint8_t buf[1000];
		struct stream *s = stream_verify(memory_stream(in->p, in->len, seed), d, size);
		ssize_t n;
		size_t got = 0;

		while ((n = s->read(s, buf, sizeof(buf), err)) > 0)
			got += (size_t)n;
		good = n == 0;
		CHECK(got <= size);
		if (good) {
			CHECK_U64(got, in->len);
			CHECK(s->read(s, buf, 1, err) == 0);
		}
		s->close(s);
	}
	return good;
}

static void what_is_as_its_descriptor_says_passes(void)
{
	struct bytes text = text_of(20000, 11);
	CLEANUP_ERROR struct error *err = NULL;
	struct digest d;

	for (int algo = DIGEST_SHA256; algo <= DIGEST_SHA512; algo++) {
		digest_of(&d, (enum digest_algo)algo, text.p, text.len);
		CHECK(verified(&text, &d, text.len, &err));
	}
	text.len = 0;
	digest_of(&d, DIGEST_SHA256, "", 0);
	CHECK(verified(&text, &d, 0, &err));
	CHECK(!err);
	free(text.p);
}

static void other_bytes_or_sizes_fail(void)
{
	struct bytes text = text_of(20000, 12);
	struct digest d;
	CLEANUP_ERROR struct error *a = NULL, *b = NULL, *c = NULL;

	digest_of(&d, DIGEST_SHA256, text.p, text.len);
	CHECK(!verified(&text, &d, text.len - 1, &a) && a && strstr(a->msg, "19999"));
	CHECK(!verified(&text, &d, text.len + 1, &b) && b && strstr(b->msg, "20001"));
	text.p[19999] ^= 1;
	CHECK(!verified(&text, &d, text.len, &c) && c && strstr(c->msg, "sha256:"));
	free(text.p);
}

/* --- files --- */

static void a_file_is_read_to_its_end(void)
{
	CLEANUP_TMPDIR char *dir = tmpdir_make();
	CLEANUP_FREE char *path = xasprintf("%s/f", dir);
	struct bytes text = text_of(10000, 13), out;
	CLEANUP_ERROR struct error *err = NULL;
	struct stream *s;

	write_file(path, text.p, text.len);
	s = stream_from_fd(open(path, O_RDONLY), path);
	CHECK(read_all(s, &out, 1, &err));
	CHECK(out.len == text.len && !memcmp(out.p, text.p, text.len));
	s->close(s);
	free(out.p);
	free(text.p);
}

static void a_file_that_cannot_be_read_is_named(void)
{
	CLEANUP_TMPDIR char *dir = tmpdir_make();
	struct stream *s = stream_from_fd(open(dir, O_RDONLY | O_DIRECTORY), "the/name");
	CLEANUP_ERROR struct error *err = NULL;
	char buf[10];

	CHECK(s->read(s, buf, sizeof(buf), &err) == -1);
	CHECK(err && strstr(err->msg, "the/name") && err->code == EISDIR);
	s->close(s);
}

int main(void)
{
	RUN(plain_bytes_pass);
	RUN(gzip_of_one_and_of_many_members);
	RUN(gzip_headers_with_extra_name_and_comment);
	RUN(gzip_headers_with_a_checksum_of_their_own);
	RUN(zeros_behind_gzip_are_padding_and_garbage_is_an_error);
	RUN(zstd_of_one_and_of_many_frames);
	RUN(garbage_behind_zstd_is_an_error);
	RUN(other_compressions_are_named);
	RUN(gzip_cut_at_any_byte_is_an_error);
	RUN(zstd_cut_at_any_byte_is_an_error);
	RUN(damaged_gzip_never_gives_other_bytes);
	RUN(damaged_zstd_never_gives_other_bytes);
	RUN(a_failing_source_is_passed_on_and_closed);
	RUN(what_is_as_its_descriptor_says_passes);
	RUN(other_bytes_or_sizes_fail);
	RUN(a_file_is_read_to_its_end);
	RUN(a_file_that_cannot_be_read_is_named);
	return tap_done();
}
