// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/* Frames made to end where they should, against RFC 8878's bytes, libzstd and zstd(1). */
#include "config.h"

#include "fmt/zstd_frame.h"

#include <zstd.h>

#include "lib/base/mem.h"
#include "tests/unit/random.h"
#include "tests/unit/tap.h"
#include "tests/unit/tmpdir.h"

#define ROOM(len) ((len) + ZSTD_FRAME_ALIGN_MAX)

struct bytes {
	const char *p;
	size_t len;
};

#define BYTES(literal) ((struct bytes){ literal, sizeof(literal) - 1 })

static void aligned_is(struct bytes in, uint64_t offset, struct bytes want)
{
	uint8_t *frame = xzalloc(ROOM(in.len) + 1);
	struct fault fault = { "none", 0 };

	memcpy(frame, in.p, in.len);
	frame[ROOM(in.len)] = 0xee;
	CHECK_U64(zstd_frame_align(frame, in.len, offset, &fault), want.len);
	CHECK_STR(fault.what, "none");
	CHECK(memcmp(frame, want.p, want.len) == 0);
	CHECK_U64(frame[ROOM(in.len)], 0xee);
	free(frame);
}

/* One segment of 1 byte; one raw block, last, of 1 byte. */
#define HEAD "\x28\xb5\x2f\xfd\x20\x01"
#define OPEN "\x08\0\0x"

static void a_frame_gets_as_many_empty_blocks_as_it_needs(void)
{
	struct bytes in = BYTES(HEAD "\x09\0\0x"); /* 10 bytes */

	aligned_is(in, 2, in);
	aligned_is(in, 3, BYTES(HEAD OPEN "\1\0\0"));
	aligned_is(in, 0, BYTES(HEAD OPEN "\0\0\0\1\0\0"));
	aligned_is(in, 1, BYTES(HEAD OPEN "\0\0\0\0\0\0\1\0\0"));
}

static void the_frame_s_place_counts_only_by_its_last_two_bits(void)
{
	struct bytes in = BYTES(HEAD "\x09\0\0x");

	aligned_is(in, 6, in);
	aligned_is(in, UINT64_MAX - 1, in);
	aligned_is(in, UINT64_MAX, BYTES(HEAD OPEN "\1\0\0"));
	aligned_is(in, (UINT64_C(1) << 32) + 3, BYTES(HEAD OPEN "\1\0\0"));
}

static void a_block_of_one_repeated_byte_stores_one(void)
{
	/* last, RLE, 200 bytes: 1 + 2 + 200 * 8 = 0x643 */
	aligned_is(BYTES("\x28\xb5\x2f\xfd\x20\xc8\x43\x06\0y"), 3,
		BYTES("\x28\xb5\x2f\xfd\x20\xc8\x42\x06\0y\1\0\0"));
}

static void a_checksum_stays_at_the_end(void)
{
	aligned_is(BYTES("\x28\xb5\x2f\xfd\x24\x01\x09\0\0x\xaa\xbb\xcc\xdd"), 3,
		BYTES("\x28\xb5\x2f\xfd\x24\x01\x08\0\0x\1\0\0\xaa\xbb\xcc\xdd"));
}

static void only_the_last_block_is_changed(void)
{
	/* 2 raw bytes, then RLE of 3 */
	aligned_is(BYTES("\x28\xb5\x2f\xfd\x20\x05\x10\0\0\x01\x01\x1b\0\0\x01"), 2,
		BYTES("\x28\xb5\x2f\xfd\x20\x05\x10\0\0\x01\x01\x1a\0\0\x01\1\0\0"));
}

static void headers_have_the_lengths_that_the_rfc_gives_them(void)
{
	static const uint8_t ids[4] = { 0, 1, 2, 4 }, sizes[4] = { 0, 2, 4, 8 };

	for (unsigned d = 0; d < 256; d++) {
		bool single = d & 0x20, checksum = d & 4;
		size_t head = 5 + !single + ids[d & 3] + (d >> 6 ? sizes[d >> 6] : single);
		size_t len = head + 3 + (checksum ? 4 : 0);
		uint8_t frame[5 + 1 + 4 + 8 + 3 + 4 + ZSTD_FRAME_ALIGN_MAX];
		struct fault fault;

		memset(frame, 0xff, sizeof(frame)); /* as a block's header: reserved */
		memcpy(frame, "\x28\xb5\x2f\xfd", 4);
		frame[4] = (uint8_t)d;
		memcpy(frame + head, "\1\0\0", 3);
		if (d & 8)
			CHECK_U64(zstd_frame_align(frame, len, 1 - len, &fault), 0);
		else if (CHECK_U64(zstd_frame_align(frame, len, 1 - len, &fault), len + 3))
			CHECK(memcmp(frame + head, "\0\0\0\1\0\0", 6) == 0);
	}
}

static void refused(struct bytes in, const char *what, uint64_t at)
{
	for (uint64_t offset = 0; offset < 4; offset++) {
		/* room is not needed: nothing is written */
		CLEANUP_FREE uint8_t *frame = xmemdup(in.p, in.len);
		struct fault fault = { "none", 0 };

		CHECK_U64(zstd_frame_align(frame, in.len, offset, &fault), 0);
		CHECK_STR(fault.what, what);
		CHECK_U64(fault.offset, at);
		CHECK(memcmp(frame, in.p, in.len) == 0);
	}
}

static void what_is_no_frame_is_refused(void)
{
	refused(BYTES("\x29\xb5\x2f\xfd\x20\x01\x09\0\0x"), "zstd frame has a wrong magic number",
		0);
	refused(BYTES("\x28\xb5\x2f\xfc\x20\x01\x09\0\0x"), "zstd frame has a wrong magic number",
		0);
	refused(BYTES("\x50\x2a\x4d\x18\2\0\0\0xx"), "zstd frame has a wrong magic number", 0);
	refused(BYTES("\x28\xb5\x2f\xfd\x28\x01\x09\0\0x"), "zstd frame has a reserved bit", 4);
	refused(BYTES("\x28\xb5\x2f\xfd\x20\x01\x0f\0\0x"),
		"zstd frame has a block of a reserved type", 6);
	refused(BYTES(HEAD OPEN "\7\0\0"), "zstd frame has a block of a reserved type", 10);
}

static void bytes_behind_the_frame_are_refused(void)
{
	refused(BYTES(HEAD "\x09\0\0x\0"), "zstd frame has bytes behind it", 10);
	refused(BYTES(HEAD "\x09\0\0x" HEAD "\x09\0\0x"), "zstd frame has bytes behind it", 10);
	refused(BYTES("\x28\xb5\x2f\xfd\x24\x01\x09\0\0x\xaa\xbb\xcc\xdd\xee"),
		"zstd frame has bytes behind it", 10);
}

static void a_frame_that_is_cut_anywhere_is_refused(void)
{
	static const char with_checksum[] =
		"\x28\xb5\x2f\xfd\x24\x06\x10\0\0ab\x1a\0\0c\x09\0\0d....";
	static const char without[] = "\x28\xb5\x2f\xfd\xa0\6\0\0\0\x10\0\0ab\x1a\0\0c\x09\0\0d";

	aligned_is(BYTES(with_checksum), 1, BYTES(with_checksum));
	aligned_is(BYTES(without), 2, BYTES(without));
	for (size_t len = 0; len < sizeof(with_checksum) - 1; len++) {
		CLEANUP_FREE uint8_t *p = xmemdup(with_checksum, len);
		struct fault fault;

		CHECK_U64(zstd_frame_align(p, len, 0, &fault), 0);
		CHECK_STR(fault.what, "zstd frame is cut off");
	}
	for (size_t len = 0; len < sizeof(without) - 1; len++) {
		CLEANUP_FREE uint8_t *p = xmemdup(without, len);
		struct fault fault;

		CHECK_U64(zstd_frame_align(p, len, 0, &fault), 0);
		CHECK_STR(fault.what, "zstd frame is cut off");
	}
}

/* What libzstd makes of all kinds of content. */
struct sample {
	size_t size;
	enum { ZEROS, NOISE, TEXT, N_KINDS } kind;
	int level;
	bool checksum, pledged;
};

static uint8_t *content(const struct sample *s)
{
	uint8_t *p = xzalloc(s->size + 1);
	uint64_t state = s->size;

	for (size_t i = 0; s->kind == NOISE && i < s->size; i++)
		p[i] = (uint8_t)random_u64(&state);
	for (size_t i = 0; s->kind == TEXT && i < s->size; i++)
		p[i] = (uint8_t) "etaoin shrdlu"[random_below(&state, 13)];
	return p;
}

static uint8_t *compressed(const struct sample *s, const uint8_t *in, size_t *len)
{
	size_t cap = ZSTD_compressBound(s->size);
	uint8_t *out = xmalloc(cap);
	ZSTD_CCtx *c = ZSTD_createCCtx();

	ZSTD_CCtx_setParameter(c, ZSTD_c_compressionLevel, s->level);
	ZSTD_CCtx_setParameter(c, ZSTD_c_checksumFlag, s->checksum);
	ZSTD_CCtx_setParameter(c, ZSTD_c_contentSizeFlag, s->pledged);
	*len = ZSTD_compress2(c, out, cap, in, s->size);
	CHECK(!ZSTD_isError(*len));
	ZSTD_freeCCtx(c);
	return out;
}

static void check_aligned(
	const struct sample *s, const uint8_t *in, const uint8_t *frame, size_t len)
{
	CLEANUP_FREE uint8_t *out = xmalloc(s->size + 1);

	CHECK_U64(ZSTD_findFrameCompressedSize(frame, len), len);
	CHECK_U64(ZSTD_getFrameContentSize(frame, len),
		s->pledged ? s->size : ZSTD_CONTENTSIZE_UNKNOWN);
	CHECK_U64(ZSTD_decompress(out, s->size, frame, len), s->size);
	CHECK(memcmp(out, in, s->size) == 0);
}

static void append(FILE *all, const uint8_t *p, size_t len)
{
	if (fwrite(p, 1, len, all) != len)
		CHECK(!"a file written");
}

static void check_sample(const struct sample *s, FILE *all, FILE *plain)
{
	CLEANUP_FREE uint8_t *in = content(s);
	size_t len, aligned;
	CLEANUP_FREE uint8_t *original = compressed(s, in, &len);

	for (uint64_t offset = 0; offset < 4; offset++) {
		struct fault fault = { "none", 0 };
		CLEANUP_FREE uint8_t *frame = xmalloc(ROOM(len));

		memcpy(frame, original, len);
		aligned = zstd_frame_align(frame, len, offset, &fault);
		if (!CHECK(aligned >= len && aligned <= ROOM(len)) ||
			!CHECK_U64((offset + aligned) % 4, 0))
			printf("# %s: size %zu kind %d level %d\n", fault.what, s->size, s->kind,
				s->level);
		check_aligned(s, in, frame, aligned);
		CHECK_U64(zstd_frame_align(frame, aligned, offset, &fault), aligned);
		append(all, frame, aligned);
		append(plain, in, s->size);
	}
}

static void check_samples(size_t size, FILE *all, FILE *plain)
{
	static const int levels[] = { -5, 1, 3, 19 };

	for (unsigned i = 0; i < N_KINDS * 4 * 2 * 2; i++) {
		struct sample s = {
			.size = size,
			.kind = i / 16,
			.level = levels[i / 4 % 4],
			.checksum = i & 2,
			.pledged = i & 1,
		};

		check_sample(&s, all, plain);
	}
}

/* zstd(1) reads them all as one file: frames may follow each other. */
static void check_by_program(const char *dir)
{
	CLEANUP_FREE char *command = xasprintf("cd '%s' && zstd -q -t all.zst && "
					       "zstd -q -dc all.zst | cmp - plain",
		dir);

	if (system("zstd -V >/dev/null 2>&1") != 0) {
		printf("# no zstd(1) here: libzstd's word alone\n");
		return;
	}
	CHECK(system(command) == 0); // NOLINT(cert-env33-c)
}

static void all_that_libzstd_makes_stays_the_same_content(void)
{
	static const size_t sizes[] = { 0, 1, 255, 256, 257, 4096, 65535, 65536, 65792, 131072,
		131073, 300000, 1 << 20 };
	CLEANUP_TMPDIR char *dir = tmpdir_make();
	CLEANUP_FREE char *all_path = xasprintf("%s/all.zst", dir);
	CLEANUP_FREE char *plain_path = xasprintf("%s/plain", dir);
	FILE *all = fopen(all_path, "w"), *plain = fopen(plain_path, "w");

	for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++)
		check_samples(sizes[i], all, plain);
	CHECK(fclose(all) == 0 && fclose(plain) == 0);
	check_by_program(dir);
}

int main(void)
{
	RUN(a_frame_gets_as_many_empty_blocks_as_it_needs);
	RUN(the_frame_s_place_counts_only_by_its_last_two_bits);
	RUN(a_block_of_one_repeated_byte_stores_one);
	RUN(a_checksum_stays_at_the_end);
	RUN(only_the_last_block_is_changed);
	RUN(headers_have_the_lengths_that_the_rfc_gives_them);
	RUN(what_is_no_frame_is_refused);
	RUN(bytes_behind_the_frame_are_refused);
	RUN(a_frame_that_is_cut_anywhere_is_refused);
	RUN(all_that_libzstd_makes_stays_the_same_content);
	return tap_done();
}
