// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/*
 * Where blocks go. The blobs are arrays here: a file's extents, read back through them, must
 * give the file's bytes, and runs may change only at the boundaries of chunks.
 */
#include "config.h"

#include "lib/base/mem.h"
#include "lib/convert/place.h"
#include "tests/unit/random.h"
#include "tests/unit/tap.h"

enum { DEVICES_MAX = 9, BLOCK = DEDUPE_BLOCK };

/* A block's bytes are its letter, over and over; '0' is a block of zeros, '.' a hole. */
struct blobs {
	struct dedupe_index *index;
	struct block_hasher *hasher;
	struct block_key zero, keys[128]; /* of whole blocks, by letter */
	struct placer *placer;
	uint8_t *letters[DEVICES_MAX]; /* of device i + 1, from block 1 on */
	size_t n[DEVICES_MAX], cap[DEVICES_MAX];
	unsigned device;
	size_t chunk_blk, min_hole;
};

static uint8_t letter_of(const uint8_t *data, size_t len)
{
	if (len > 1 && memcmp(data, data + 1, len - 1) != 0)
		return '?';
	return data[0] ? data[0] : '0';
}

static int store(void *arg, const uint8_t *data, size_t len, const struct block_key *key,
	struct block_addr *addr, struct error **err)
{
	struct blobs *b = arg;
	unsigned d = b->device - 1;
	uint32_t number = dedupe_add(b->index, key, err);

	uint8_t letter = letter_of(data, len);

	CHECK(len >= 1 && len <= BLOCK);
	if (len == BLOCK && letter < 128 && b->keys[letter].hash)
		CHECK(b->keys[letter].hash == key->hash);
	b->letters[d] = xgrow(b->letters[d], b->n[d], &b->cap[d], 1);
	b->letters[d][b->n[d]++] = letter;
	*addr = dedupe_addr(b->index, number);
	CHECK(addr->device == b->device && addr->blk == b->n[d]);
	return 0;
}

static void next_device(struct blobs *b)
{
	dedupe_begin_device(b->index, (uint16_t)++b->device, 1);
}

static void blobs_init_rules(struct blobs *b, struct place_rules rules)
{
	static const uint8_t zeros[BLOCK];
	static const struct dedupe_secret secret = { .seed = 1, .poly1305 = { 1, 2, 3, 4 } };

	*b = (struct blobs){ .index = dedupe_index_new(),
		.chunk_blk = rules.chunk_size / BLOCK,
		.min_hole = rules.min_hole / BLOCK };
	b->hasher = block_hasher_new(&secret);
	block_hasher_key(b->hasher, zeros, &b->zero);
	b->placer = placer_new(b->index, &b->zero, &rules, store, b);
	next_device(b);
}

/* Every match and hole of a chunk is taken. */
static void blobs_init(struct blobs *b, size_t chunk_size)
{
	blobs_init_rules(b, (struct place_rules){ chunk_size, chunk_size, chunk_size });
}

static void blobs_free(struct blobs *b)
{
	placer_free(b->placer);
	block_hasher_free(b->hasher);
	dedupe_index_free(b->index);
	for (int i = 0; i < DEVICES_MAX; i++)
		free(b->letters[i]);
}

static int put_block(struct blobs *b, char letter, size_t len, struct error **err)
{
	struct block_key part, *key = len == BLOCK ? &b->keys[(uint8_t)letter] : &part;
	uint8_t block[BLOCK] = { 0 };

	if (letter == '0')
		return placer_block(b->placer, NULL, 0, NULL, err);
	memset(block, letter, len);
	if (len < BLOCK || !key->hash)
		block_hasher_key(b->hasher, block, key);
	return placer_block(b->placer, block, len, key, err);
}

/* Place a file given as letters; the last block has `tail` bytes. */
static struct tree_extents *place(struct blobs *b, const char *file, size_t tail)
{
	size_t n = strlen(file);
	struct entry e = { .path = "f", .link = "", .size = n ? (n - 1) * BLOCK + tail : 0 };
	struct tree_extents *x = NULL;
	struct error *err = NULL;

	CHECK(placer_begin(b->placer, &e, &err) == 0);
	for (size_t i = 0; i < n; i++) {
		size_t holes = strspn(file + i, ".");

		if (holes) {
			CHECK(placer_holes(b->placer, holes, &err) == 0);
			i += holes - 1;
		} else {
			CHECK(put_block(b, file[i], i + 1 < n ? BLOCK : tail, &err) == 0);
		}
	}
	CHECK(placer_end(b->placer, &x, &err) == 0);
	return x;
}

/* The letters that the extents lead to, a hole as '0'. */
static char *read_back(const struct blobs *b, const struct tree_extents *x, size_t n)
{
	char *text = xmalloc(n + 1);
	size_t at = 0;

	memset(text, '0', n);
	text[n] = '\0';
	for (uint32_t i = 0; x && i < x->n; i++)
		for (uint64_t j = 0; j < x->of[i].n_blk && at < n; j++, at++) {
			const struct tree_extent *e = &x->of[i];

			if (!e->device)
				continue;
			text[at] = e->device > b->device || e->blk + j < 1 ||
						   e->blk + j > b->n[e->device - 1]
					   ? '!'
					   : (char)b->letters[e->device - 1][e->blk + j - 1];
		}
	return text;
}

static void check_boundaries(const struct blobs *b, const struct tree_extents *x, uint64_t n_blk)
{
	uint64_t at = 0;

	for (uint32_t i = 0; x && i < x->n; i++) {
		CHECK(x->of[i].n_blk > 0);
		CHECK(at % b->chunk_blk == 0);
		CHECK(x->of[i].device || x->of[i].n_blk >= b->min_hole);
		at += x->of[i].n_blk;
		if (i && !x->of[i].device)
			CHECK(x->of[i - 1].device); /* holes are merged */
	}
	if (x)
		CHECK_U64(at, n_blk);
}

/* Place it, read it back; how many blocks that has stored. */
static size_t check_file(struct blobs *b, const char *file, size_t tail)
{
	size_t before = b->n[b->device - 1], n = strlen(file);
	CLEANUP_FREE struct tree_extents *x = place(b, file, tail);
	CLEANUP_FREE char *got = read_back(b, x, n), *want = xstrdup(file);

	for (char *c = want; *c; c++)
		*c = *c == '.' ? '0' : *c;
	CHECK_STR(got, want);
	check_boundaries(b, x, n);
	return b->n[b->device - 1] - before;
}

static void new_blocks_are_stored_in_order_as_one_run(void)
{
	struct blobs b;
	CLEANUP_FREE struct tree_extents *x = NULL;

	blobs_init(&b, 4 * BLOCK);
	x = place(&b, "abcdefghi", 1);
	CHECK(x && x->n == 1 && x->of[0].device == 1 && x->of[0].blk == 1 && x->of[0].n_blk == 9);
	CHECK_U64(b.n[0], 9);
	blobs_free(&b);
}

static void empty_files_and_single_holes_have_no_extents(void)
{
	struct blobs b;

	blobs_init(&b, 4 * BLOCK);
	CHECK(!place(&b, "", 0));
	CHECK(!place(&b, "0", 1));
	CHECK(!place(&b, "0000000", 1));
	CHECK(!place(&b, ".......", BLOCK));
	CHECK(!place(&b, "0.0.0..0", BLOCK));
	CHECK_U64(b.n[0], 0);
	blobs_free(&b);
}

static void an_equal_file_stores_nothing(void)
{
	struct blobs b;

	blobs_init(&b, 4 * BLOCK);
	CHECK_U64(check_file(&b, "abcdefghij", 100), 10);
	CHECK_U64(check_file(&b, "abcdefghij", 100), 0);
	CHECK_U64(check_file(&b, "abcdefgh", BLOCK), 0);
	next_device(&b);
	CHECK_U64(check_file(&b, "abcdefghij", 100), 0);
	blobs_free(&b);
}

static void tails_match_only_blocks_that_read_the_same(void)
{
	struct blobs b;

	blobs_init(&b, BLOCK);
	CHECK_U64(check_file(&b, "a", 5), 1);
	CHECK_U64(check_file(&b, "a", 5), 0);
	CHECK_U64(check_file(&b, "a", 6), 1);
	CHECK_U64(check_file(&b, "a", BLOCK), 1);
	blobs_free(&b);
}

static void a_chunk_that_matches_only_in_part_is_stored_whole(void)
{
	struct blobs b;

	blobs_init(&b, 4 * BLOCK);
	CHECK_U64(check_file(&b, "abcdefgh", BLOCK), 8);
	CHECK_U64(check_file(&b, "abcxefgh", BLOCK), 4);
	CHECK_U64(check_file(&b, "abcdefgy", BLOCK), 4);
	blobs_free(&b);
}

static void chunks_match_at_any_block_of_the_blob(void)
{
	struct blobs b;

	blobs_init(&b, 2 * BLOCK);
	CHECK_U64(check_file(&b, "abcdefgh", BLOCK), 8);
	CHECK_U64(check_file(&b, "bcdefg", BLOCK), 0);
	CHECK_U64(check_file(&b, "efab", BLOCK), 0);
	blobs_free(&b);
}

static void a_chunk_does_not_match_over_the_end_of_a_device(void)
{
	struct blobs b;

	blobs_init(&b, 2 * BLOCK);
	CHECK_U64(check_file(&b, "ab", BLOCK), 2);
	next_device(&b);
	CHECK_U64(check_file(&b, "cd", BLOCK), 2);
	CHECK_U64(check_file(&b, "bc", BLOCK), 2);
	CHECK_U64(check_file(&b, "bc", BLOCK), 0);
	blobs_free(&b);
}

static void zeros_become_holes_by_whole_chunks(void)
{
	struct blobs b;
	CLEANUP_FREE struct tree_extents *x = NULL;

	blobs_init(&b, 4 * BLOCK);
	CHECK_U64(check_file(&b, "ab000000", BLOCK), 4); /* a lone zero block is stored */
	CHECK_U64(check_file(&b, "0000000c", BLOCK), 4);
	CHECK_U64(check_file(&b, "....000d", BLOCK), 4);
	CHECK_U64(check_file(&b, "..00..0e", BLOCK), 4);
	CHECK_U64(check_file(&b, "f.......", BLOCK), 4);
	CHECK_U64(check_file(&b, "g0.", 1), 3);
	x = place(&b, "....hijk000000000000lmno", BLOCK);
	CHECK(x && x->n == 4 && !x->of[0].device && x->of[1].n_blk == 4 && !x->of[2].device &&
		x->of[2].n_blk == 12 && x->of[3].n_blk == 4);
	blobs_free(&b);
}

static void a_chunk_that_begins_with_zeros_finds_its_match(void)
{
	struct blobs b;

	blobs_init(&b, 4 * BLOCK);
	CHECK_U64(check_file(&b, "a00b00cd", BLOCK), 8);
	CHECK_U64(check_file(&b, "00cd", BLOCK), 0);
	CHECK_U64(check_file(&b, "0b00", BLOCK), 0);
	CHECK_U64(check_file(&b, "00b0", BLOCK), 0);
	CHECK_U64(check_file(&b, "000b", BLOCK), 4);
	blobs_free(&b);
}

static void short_matches_are_not_shared_unless_they_are_the_whole_file(void)
{
	struct blobs b;

	blobs_init_rules(&b, (struct place_rules){ BLOCK, 4 * BLOCK, BLOCK });
	CHECK_U64(check_file(&b, "abcdefgh", BLOCK), 8);
	CHECK_U64(check_file(&b, "abcx", BLOCK), 4);
	CHECK_U64(check_file(&b, "yabc", BLOCK), 4);
	CHECK_U64(check_file(&b, "abc", BLOCK), 0);
	CHECK_U64(check_file(&b, "h", BLOCK), 0);
	CHECK_U64(check_file(&b, "zabcd", BLOCK), 1);
	CHECK_U64(check_file(&b, "efghw", BLOCK), 1);
	CHECK_U64(check_file(&b, "vcdefu", BLOCK), 2);
	blobs_free(&b);
}

static void short_runs_of_zeros_are_stored_unless_they_are_the_whole_file(void)
{
	struct blobs b;

	blobs_init_rules(&b, (struct place_rules){ BLOCK, 4 * BLOCK, 4 * BLOCK });
	CHECK_U64(check_file(&b, "a000b", BLOCK), 5);
	CHECK_U64(check_file(&b, "c0000d", BLOCK), 2);
	CHECK_U64(check_file(&b, "...e", BLOCK), 4);
	CHECK_U64(check_file(&b, "f..0", BLOCK), 4);
	CHECK_U64(check_file(&b, "g.0.0", BLOCK), 1);
	CHECK_U64(check_file(&b, "0.", BLOCK), 0);
	blobs_free(&b);
}

static void a_match_longer_than_what_is_held_back_goes_on(void)
{
	struct blobs b;
	CLEANUP_FREE struct tree_extents *x = NULL;
	char file[2001];
	uint64_t seed = 9;

	for (int i = 0; i < 2000; i++)
		file[i] =
			(char)(random_below(&seed, 2) ? 'a' : 'A') + (char)random_below(&seed, 26);
	file[2000] = '\0';
	blobs_init_rules(&b, (struct place_rules)PLACE_DEFAULTS);
	CHECK_U64(check_file(&b, file, 9), 2000);
	CHECK_U64(check_file(&b, file, 9), 0);
	x = place(&b, file, 9);
	CHECK(x && x->n == 1 && x->of[0].blk == 1 && x->of[0].n_blk == 2000);
	file[1000] = 'Z';
	CHECK_U64(check_file(&b, file, 9), 1);
	file[1000] = '0';
	CHECK_U64(check_file(&b, file, 9), 1);
	blobs_free(&b);
}

static void a_match_goes_on_where_the_last_one_ended(void)
{
	struct blobs b;
	CLEANUP_FREE struct tree_extents *x = NULL;
	char file[200];

	/* "aa" is stored in so many places that the candidates alone would not do */
	blobs_init(&b, 2 * BLOCK);
	for (int i = 0; i < 60; i++) {
		file[2 * i] = 'z';
		file[2 * i + 1] = (char)('A' + i);
	}
	file[120] = '\0';
	check_file(&b, file, BLOCK);
	x = place(&b, file, BLOCK);
	CHECK(x && x->n == 1 && x->of[0].blk == 1 && x->of[0].n_blk == 120);
	CHECK_U64(b.n[0], 120);
	blobs_free(&b);
}

static void a_match_may_continue_over_the_end_of_a_device(void)
{
	struct blobs b;

	blobs_init(&b, 2 * BLOCK);
	check_file(&b, "abcd", BLOCK);
	next_device(&b);
	check_file(&b, "efgh", BLOCK);
	CHECK_U64(check_file(&b, "abcdefgh", BLOCK), 0);
	blobs_free(&b);
}

static void random_files_read_back_from_blobs_of_every_chunk_size(void)
{
	uint64_t seed = 8;

	for (int round = 0; round < 40 && !tap_failed_checks; round++) {
		struct place_rules rules = { .chunk_size = (size_t)BLOCK << random_below(&seed, 7),
			.min_match = (size_t)BLOCK * (1 + random_below(&seed, 9)),
			.min_hole = (size_t)BLOCK * (1 + random_below(&seed, 9)) };
		size_t total = 0, stored = 0;
		unsigned kinds = 2 + random_below(&seed, 6);
		struct blobs b;

		blobs_init_rules(&b, rules);
		for (int f = 0; f < 30 && !tap_failed_checks; f++) {
			char file[900];
			size_t n = random_below(&seed, sizeof(file));

			if (f && f % 10 == 0 && b.device < DEVICES_MAX)
				next_device(&b);
			for (size_t i = 0; i < n; i++)
				file[i] = "0.abcdef"[random_below(&seed, kinds + 1)];
			for (size_t i = 0; n && i < 3; i++) { /* long runs too */
				size_t at = random_below(&seed, (uint32_t)n);

				memset(file + at, file[at], (n - at) / 3);
			}
			file[n] = '\0';
			stored += check_file(&b, file,
				1 + random_below(&seed, random_below(&seed, 2) ? BLOCK : 3));
			total += n;
		}
		CHECK(stored <= total);
		blobs_free(&b);
	}
}

static void large_files_take_larger_chunks(void)
{
	struct blobs b;
	struct error *err = NULL;
	struct entry e = { .path = "f", .link = "", .size = UINT64_C(1) << 30 };
	CLEANUP_FREE struct tree_extents *x = NULL;
	uint64_t at = 0;

	/* alternately a new block and zeros: with chunks of one block each would be a run */
	blobs_init(&b, BLOCK);
	CHECK(placer_begin(b.placer, &e, &err) == 0);
	for (unsigned i = 0; i < 4096; i++) {
		put_block(&b, "ab"[i % 2], BLOCK, &err);
		placer_holes(b.placer, 63, &err);
	}
	CHECK(placer_end(b.placer, &x, &err) == 0);
	CHECK(x && x->n <= 8193);
	for (uint32_t i = 0; x && i < x->n; i++, at += x->of[i - 1].n_blk)
		CHECK(at % 32 == 0);
	CHECK_U64(at, 4096 * 64);
	blobs_free(&b);
}

/* --- sparse files --- */

struct sparse {
	struct entry e;
	struct entry_region *regions;
};

/* Regions of `len` bytes every `step` bytes. */
static struct sparse scattered(uint64_t size, uint64_t step, uint64_t len)
{
	struct sparse s = { { .path = "f", .link = "", .size = size, .sparse = true }, NULL };
	size_t n = (size_t)(size / step);

	s.regions = xcalloc(n, sizeof(*s.regions));
	for (size_t i = 0; i < n; i++)
		s.regions[i] = (struct entry_region){ i * step, len };
	s.e.regions = s.regions;
	s.e.n_regions = n;
	return s;
}

/*
 * What a sparse file comes to: places its regions' blocks (all different letters do not matter
 * here), and says how many blocks are stored and how many runs there are. False: refused.
 */
static bool place_sparse(const struct entry *e, size_t chunk_size, uint64_t *stored, uint32_t *runs)
{
	struct place_rules rules = PLACE_DEFAULTS;
	struct blobs b;
	CLEANUP_ERROR struct error *err = NULL;
	CLEANUP_FREE struct tree_extents *x = NULL;
	uint64_t at = 0, total = 0;
	bool ok;

	rules.chunk_size = chunk_size;
	blobs_init_rules(&b, rules);
	ok = placer_begin(b.placer, e, &err) == 0;
	for (size_t i = 0; ok && i < e->n_regions; i++) {
		const struct entry_region *r = &e->regions[i];

		ok = placer_holes(b.placer, r->offset / BLOCK - at, &err) == 0;
		at = r->offset / BLOCK;
		for (uint64_t n = 0; ok && n < r->length / BLOCK; n++, at++) {
			uint8_t block[BLOCK] = { 1 };
			struct block_key key = { .hash = at };

			memcpy(block, &at, sizeof(at));
			block[9] = 1;
			block_hasher_key(b.hasher, block, &key);
			ok = placer_block(b.placer, block, BLOCK, &key, &err) == 0;
		}
	}
	ok = ok && placer_holes(b.placer, (e->size + BLOCK - 1) / BLOCK - at, &err) == 0;
	ok = ok && placer_end(b.placer, &x, &err) == 0;
	for (uint32_t i = 0; x && i < x->n; i++)
		total += x->of[i].n_blk;
	if (ok && x)
		CHECK_U64(total, (e->size + BLOCK - 1) / BLOCK);
	if (!ok)
		printf("# %s\n", err->msg);
	*stored = b.n[0];
	*runs = x ? x->n : 0;
	blobs_free(&b);
	return ok;
}

static void a_terabyte_with_two_pieces_costs_little(void)
{
	const struct entry_region two[] = { { 0, BLOCK }, { (UINT64_C(1) << 40) - BLOCK, BLOCK } };
	struct entry e = { .path = "f",
		.link = "",
		.size = UINT64_C(1) << 40,
		.sparse = true,
		.regions = two,
		.n_regions = 2 };
	uint64_t stored;
	uint32_t runs;

	CHECK(place_sparse(&e, BLOCK, &stored, &runs));
	/* chunks of 2 MiB: 4 MiB of index and as much of padding; near the least there is */
	CHECK(stored <= 16 * 256);
	CHECK(runs <= 3);
}

static void a_hole_of_8_exbibytes_costs_nothing(void)
{
	struct entry e = { .path = "f", .link = "", .size = INT64_MAX, .sparse = true };
	uint64_t stored;
	uint32_t runs;

	CHECK(place_sparse(&e, BLOCK, &stored, &runs));
	CHECK_U64(stored, 0);
	CHECK_U64(runs, 0);
	e.size = 0;
	CHECK(place_sparse(&e, BLOCK, &stored, &runs));
}

static void scattered_small_pieces_keep_small_chunks(void)
{
	/* 4 KiB in each MiB of a GiB: chunks of 32 KiB store 32 MiB, of 1 MiB all of it */
	struct sparse s = scattered(UINT64_C(1) << 30, 1 << 20, BLOCK);
	uint64_t stored;
	uint32_t runs;

	CHECK(place_sparse(&s.e, 32768, &stored, &runs));
	CHECK_U64(stored, 1024 * 8);
	CHECK(place_sparse(&s.e, BLOCK, &stored, &runs));
	CHECK(stored <= 1024 * 2);
	free(s.regions);
}

static void what_would_take_over_4_gib_is_refused_with_a_sentence(void)
{
	/* 4 KiB in each 32 MiB of 32 TiB: a million pieces; 64 GiB of index with 4 KiB chunks */
	struct sparse s = scattered(UINT64_C(1) << 45, 1 << 25, BLOCK);
	CLEANUP_ERROR struct error *err = NULL;
	struct blobs b;

	blobs_init_rules(&b, (struct place_rules)PLACE_DEFAULTS);
	CHECK(placer_begin(b.placer, &s.e, &err) < 0);
	CHECK(err && strstr(err->msg, "sparse"));
	blobs_free(&b);
	free(s.regions);
}

static void data_itself_is_no_cost_of_being_sparse(void)
{
	/* 200 GB of data in two pieces with one hole between them */
	const struct entry_region two[] = { { 0, UINT64_C(100) << 30 },
		{ UINT64_C(101) << 30, UINT64_C(100) << 30 } };
	struct entry e = { .path = "f",
		.link = "",
		.size = UINT64_C(201) << 30,
		.sparse = true,
		.regions = two,
		.n_regions = 2 };
	CLEANUP_ERROR struct error *err = NULL;
	struct blobs b;

	blobs_init_rules(&b, (struct place_rules)PLACE_DEFAULTS);
	CHECK(placer_begin(b.placer, &e, &err) == 0);
	blobs_free(&b);
}

static void two_hundred_gigabytes_of_scattered_blocks_are_taken(void)
{
	/* 4 KiB in each MiB: 0.8 GB of data; with 4 KiB chunks 0.4 GB of index */
	struct sparse s = scattered(UINT64_C(200) << 30, 1 << 20, BLOCK);
	CLEANUP_ERROR struct error *err = NULL;
	struct blobs b;

	blobs_init_rules(&b, (struct place_rules)PLACE_DEFAULTS);
	if (!CHECK(placer_begin(b.placer, &s.e, &err) == 0))
		printf("# %s\n", err->msg);
	blobs_free(&b);
	free(s.regions);
}

static int refuse_to_store(void *arg, const uint8_t *data, size_t len, const struct block_key *key,
	struct block_addr *addr, struct error **err)
{
	(void)arg;
	(void)data;
	(void)len;
	(void)key;
	(void)addr;
	return error_set(err, 0, "full");
}

static void a_failure_to_store_is_passed_on(void)
{
	struct dedupe_index *index = dedupe_index_new();
	struct block_key key = { .hash = 1 }, zero = { .hash = 2 };
	const struct place_rules rules = { BLOCK, BLOCK, BLOCK };
	struct placer *p = placer_new(index, &zero, &rules, refuse_to_store, NULL);
	struct entry e = { .path = "f", .link = "", .size = 3 * BLOCK };
	CLEANUP_ERROR struct error *err = NULL;
	static const uint8_t block[BLOCK] = { 1 };

	CHECK(placer_begin(p, &e, &err) == 0);
	CHECK(placer_block(p, NULL, 0, NULL, &err) == 0);
	CHECK(placer_block(p, block, BLOCK, &key, &err) < 0);
	CHECK_STR(err->msg, "full");
	placer_free(p);
	placer_free(NULL);
	dedupe_index_free(index);
}

int main(void)
{
	RUN(new_blocks_are_stored_in_order_as_one_run);
	RUN(empty_files_and_single_holes_have_no_extents);
	RUN(an_equal_file_stores_nothing);
	RUN(tails_match_only_blocks_that_read_the_same);
	RUN(a_chunk_that_matches_only_in_part_is_stored_whole);
	RUN(chunks_match_at_any_block_of_the_blob);
	RUN(a_chunk_does_not_match_over_the_end_of_a_device);
	RUN(zeros_become_holes_by_whole_chunks);
	RUN(a_chunk_that_begins_with_zeros_finds_its_match);
	RUN(short_matches_are_not_shared_unless_they_are_the_whole_file);
	RUN(short_runs_of_zeros_are_stored_unless_they_are_the_whole_file);
	RUN(a_match_longer_than_what_is_held_back_goes_on);
	RUN(a_match_goes_on_where_the_last_one_ended);
	RUN(a_match_may_continue_over_the_end_of_a_device);
	RUN(random_files_read_back_from_blobs_of_every_chunk_size);
	RUN(large_files_take_larger_chunks);
	RUN(a_terabyte_with_two_pieces_costs_little);
	RUN(a_hole_of_8_exbibytes_costs_nothing);
	RUN(scattered_small_pieces_keep_small_chunks);
	RUN(what_would_take_over_4_gib_is_refused_with_a_sentence);
	RUN(data_itself_is_no_cost_of_being_sparse);
	RUN(two_hundred_gigabytes_of_scattered_blocks_are_taken);
	RUN(a_failure_to_store_is_passed_on);
	return tap_done();
}
