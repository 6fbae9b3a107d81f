// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/* Holes with data behind them become chunks of zeros; nothing else changes. */
#include "config.h"

#include <sys/mman.h>

#include "lib/bootstrap/zero_holes.h"
#include "tests/unit/sample_image.h"
#include "tests/unit/tap.h"

static const uint32_t between[][3] = { { 1, 100, 4 }, { 0, 0, 8 }, { 2, 7, 4 }, { 0, 0, 4 } };
static const uint32_t in_front[][3] = { { 0, 0, 64 }, { 1, 10, 64 } };
static const uint32_t behind[][3] = { { 1, 100, 4 }, { 0, 0, 100 } };

struct made {
	struct sample sample;
	struct bootstrap *b;
	uint8_t *copy;
	struct zero_holes zeros;
	struct error *err;
	int rc;
};

static void make_end(struct made *m)
{
	if (m->b)
		bootstrap_close(m->b);
	error_free(m->err);
	sample_free(&m->sample);
	free(m->copy);
}
#define MADE CLEANUP(make_end) struct made

static void make_begin(struct made *m)
{
	*m = (struct made){ 0 };
	for (uint32_t i = 0; i < SAMPLE_DEVICES; i++) {
		digest_of(&m->sample.devices[i].tag, DIGEST_SHA256, &i, sizeof(i));
		m->sample.devices[i].blocks = SAMPLE_BLOCKS;
	}
	tree_init(&m->sample.tree);
}

static void make(struct made *m)
{
	CLEANUP_FD int fd = memfd_create("image", MFD_CLOEXEC);
	struct error *err = NULL;

	sample_write(&m->sample);
	if (fd < 0 || write(fd, m->sample.image, m->sample.size) != (ssize_t)m->sample.size)
		sample_die(NULL, "memfd");
	m->b = bootstrap_open(fd, &err);
	if (!m->b)
		sample_die(err, "open");
	m->copy = xmemdup(m->sample.image, m->sample.size);
	m->rc = bootstrap_zero_holes(m->b, m->copy, &m->zeros, &m->err);
}

/* Chunk i of a file, after. */
static struct erofs_chunk_index chunk(const struct made *m, const char *path, unsigned i)
{
	size_t at = (size_t)(sample_tail(&m->sample, path) - m->sample.image);

	at = (at + 7) / 8 * 8;
	return erofs_chunk_index_decode(m->copy + at + (size_t)i * 8);
}

static bool is(struct erofs_chunk_index c, uint16_t device, uint64_t blk)
{
	return c.device == device && c.blk == blk;
}

/* The end of the last device. */
static uint64_t past_all(const struct made *m)
{
	CLEANUP_ERROR struct error *err = NULL;
	struct erofs_device_slot slot;

	CHECK(bootstrap_device(m->b, SAMPLE_DEVICES - 1, &slot, &err) == 0);
	return (uint64_t)slot.unified_blk + slot.blocks;
}

static void holes_before_data_point_behind_all_devices(void)
{
	MADE m;

	make_begin(&m);
	sample_file(&m.sample, "between", 4, between);
	make(&m);
	CHECK(m.rc == 0);
	CHECK_U64(m.zeros.block, past_all(&m));
	CHECK(m.zeros.block > bootstrap_super(m.b)->blocks);
	CHECK_U64(m.zeros.n, 4);
	CHECK(is(chunk(&m, "between", 0), 1, 100));
	CHECK(is(chunk(&m, "between", 1), 0, m.zeros.block));
	CHECK(is(chunk(&m, "between", 2), 0, m.zeros.block));
	CHECK(is(chunk(&m, "between", 3), 2, 7));
	CHECK(chunk(&m, "between", 4).blk == EROFS_HOLE);
}

static void the_zeros_are_as_many_as_the_largest_chunk_has(void)
{
	MADE m;

	make_begin(&m);
	sample_file(&m.sample, "between", 4, between);
	sample_file(&m.sample, "front", 2, in_front);
	make(&m);
	CHECK(m.rc == 0);
	CHECK_U64(m.zeros.n, 64);
	CHECK(is(chunk(&m, "front", 0), 0, m.zeros.block));
	CHECK(is(chunk(&m, "front", 1), 1, 10));
}

static void holes_at_the_end_stay(void)
{
	MADE m;

	make_begin(&m);
	sample_file(&m.sample, "behind", 2, behind);
	make(&m);
	CHECK(m.rc == 0);
	CHECK_U64(m.zeros.n, 0);
	CHECK(memcmp(m.copy, m.sample.image, m.sample.size) == 0);
}

static void what_comes_out_is_a_good_superblock_and_nothing_else_changes(void)
{
	struct erofs_super super;
	struct fault fault;
	size_t differ = 0;
	MADE m;

	make_begin(&m);
	sample_file(&m.sample, "between", 4, between);
	sample_link(&m.sample, "again", sample_inode(&m.sample, "between"));
	make(&m);
	CHECK(m.rc == 0);
	CHECK(erofs_super_decode(&super, m.copy, &fault) == 0);
	for (size_t i = 0; i < m.sample.size; i += 8)
		differ += memcmp(m.copy + i, m.sample.image + i, 8) != 0;
	/* two chunks, and perhaps the checksum, when they lie in the first block */
	CHECK(differ == 2 || differ == 3);
}

static void a_hole_in_too_large_chunks_is_refused(void)
{
	static const uint32_t large[][3] = { { 0, 0, ZERO_HOLES_MAX * 2 }, { 1, 10, 1 } };
	MADE m;

	make_begin(&m);
	sample_file(&m.sample, "large", 2, large);
	make(&m);
	CHECK(m.rc < 0);
	CHECK(m.err && strstr(m.err->msg, "/large") && strstr(m.err->msg, "2048 MiB"));
}

int main(void)
{
	RUN(holes_before_data_point_behind_all_devices);
	RUN(the_zeros_are_as_many_as_the_largest_chunk_has);
	RUN(holes_at_the_end_stay);
	RUN(what_comes_out_is_a_good_superblock_and_nothing_else_changes);
	RUN(a_hole_in_too_large_chunks_is_refused);
	return tap_done();
}
