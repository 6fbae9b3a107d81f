// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/*
 * lib/bootstrap/lookup.c and bootstrap_runs_between(): what they find in part is what read.c finds
 * as a whole; and no damage makes them read elsewhere (`make check` runs this with sanitizers too).
 */
#include "config.h"

#include <sys/mman.h>

#include "lib/bootstrap/lookup.h"
#include "lib/bootstrap/walk.h"
#include "tests/unit/random.h"
#include "tests/unit/sample_image.h"
#include "tests/unit/tap.h"

enum { NAMES_MAX = 1000, RUNS_MAX = 64 };

static struct sample sample;

static struct bootstrap *open_image(const uint8_t *image)
{
	CLEANUP_ERROR struct error *err = NULL;
	CLEANUP_FD int fd = memfd_create("image", MFD_CLOEXEC);

	if (fd < 0 || write(fd, image, sample.size) != (ssize_t)sample.size)
		sample_die(NULL, "memfd");
	return bootstrap_open(fd, &err);
}

static struct bootstrap_inode inode_of(const struct bootstrap *b, const char *path)
{
	struct bootstrap_inode inode = { 0 };
	struct error *err = NULL;
	uint64_t nid =
		(uint64_t)(sample_at(&sample, path) - sample.image) / EROFS_SLOT_SIZE -
		((uint64_t)bootstrap_super(b)->meta_blk << EROFS_BLOCK_BITS) / EROFS_SLOT_SIZE;

	if (bootstrap_inode(b, nid, &inode, &err) < 0)
		sample_die(err, path);
	return inode;
}

/* ---- names ---- */

struct names {
	struct bootstrap_name of[NAMES_MAX];
	uint64_t next[NAMES_MAX];
	size_t n, most;
};

static int take(void *arg, const struct bootstrap_name *name, uint64_t next)
{
	struct names *l = arg;

	l->of[l->n] = *name;
	l->next[l->n++] = next;
	return l->n == l->most;
}

static struct names names_from(
	const struct bootstrap *b, const struct bootstrap_inode *dir, uint64_t at, size_t most)
{
	CLEANUP_ERROR struct error *err = NULL;
	struct names l = { .most = most };

	CHECK(bootstrap_names_from(b, dir, at, take, &l, &err) == 0);
	return l;
}

static bool same_name(const struct bootstrap_name *a, const struct bootstrap_name *b)
{
	return a->len == b->len && !memcmp(a->name, b->name, a->len) && a->nid == b->nid &&
	       a->type == b->type;
}

struct expected {
	const struct names *names;
	size_t n;
};

/* read.c leaves out the dots. */
static int compare(void *arg, const struct bootstrap_name *name, struct error **err)
{
	struct expected *e = arg;
	const struct bootstrap_name *have;

	(void)err;
	do
		have = &e->names->of[e->n++];
	while (have->name[0] == '.' && have->len <= 2);
	CHECK(same_name(have, name));
	return 0;
}

static const char *const dirs[] = { "", "dir", "dir/sub", "dir/sub/deep", "acl", "crowd" };
enum { N_DIRS = sizeof(dirs) / sizeof(*dirs) };

static void all_names_are_read_in_stored_order(void)
{
	CLEANUP_BOOTSTRAP struct bootstrap *b = open_image(sample.image);

	for (size_t i = 0; i < N_DIRS; i++) {
		struct bootstrap_inode dir = inode_of(b, dirs[i]);
		struct names l = names_from(b, &dir, 0, NAMES_MAX);
		struct expected e = { &l, 0 };
		struct error *err = NULL;

		CHECK(bootstrap_readdir(b, &dir, compare, &e, NULL, &err) == 0);
	}
}

static void reading_goes_on_from_every_position(void)
{
	CLEANUP_BOOTSTRAP struct bootstrap *b = open_image(sample.image);
	struct bootstrap_inode dir = inode_of(b, "crowd");
	struct names all = names_from(b, &dir, 0, NAMES_MAX), some;

	CHECK_U64(all.n, SAMPLE_CROWD + 2);
	for (size_t i = 0; i < all.n; i++) {
		some = names_from(b, &dir, all.next[i], 3);
		CHECK_U64(some.n, all.n - i - 1 < 3 ? all.n - i - 1 : 3);
		for (size_t k = 0; k < some.n; k++)
			CHECK(same_name(&some.of[k], &all.of[i + 1 + k]));
	}
	some = names_from(b, &dir, UINT64_MAX / 2, 3);
	CHECK_U64(some.n, 0);
}

static void every_name_is_found_and_no_other(void)
{
	CLEANUP_BOOTSTRAP struct bootstrap *b = open_image(sample.image);

	for (size_t i = 0; i < N_DIRS; i++) {
		struct bootstrap_inode dir = inode_of(b, dirs[i]);
		struct names l = names_from(b, &dir, 0, NAMES_MAX);

		for (size_t k = 0; k < l.n; k++) {
			struct bootstrap_name found;
			struct error *err = NULL;
			char other[300];
			size_t len = l.of[k].len;

			CHECK(bootstrap_lookup(b, &dir, l.of[k].name, len, &found, &err) == 1);
			CHECK(same_name(&found, &l.of[k]));
			memcpy(other, l.of[k].name, len);
			other[len] = '\1';
			CHECK(bootstrap_lookup(b, &dir, other, len + 1, &found, &err) == 0);
			other[len - 1] ^= 0x40;
			CHECK(bootstrap_lookup(b, &dir, other, len, &found, &err) == 0);
		}
	}
}

static void what_is_no_directory_has_no_names(void)
{
	CLEANUP_BOOTSTRAP struct bootstrap *b = open_image(sample.image);
	struct bootstrap_inode file = inode_of(b, "small");
	CLEANUP_ERROR struct error *err = NULL, *again = NULL;
	struct bootstrap_name found;
	struct names l = { .most = NAMES_MAX };

	CHECK(bootstrap_lookup(b, &file, "x", 1, &found, &err) == -1);
	CHECK(bootstrap_names_from(b, &file, 0, take, &l, &again) == -1);
}

/* ---- runs ---- */

struct runs {
	struct bootstrap_run of[RUNS_MAX];
	size_t n;
};

static int take_run(void *arg, const struct bootstrap_run *run, struct error **err)
{
	struct runs *l = arg;

	(void)err;
	l->of[l->n++] = *run;
	return 0;
}

/* Device and block of a byte of the file; 0 and 0 for a hole. */
static uint64_t place(const struct runs *l, uint64_t at)
{
	for (size_t i = 0; i < l->n; i++) {
		const struct bootstrap_run *r = &l->of[i];

		if (at >= r->offset && at < r->offset + r->n_blk * EROFS_BLOCK_SIZE)
			return !r->device ? 1
					  : (uint64_t)r->device << 40 |
						    (r->blk + (at - r->offset) / EROFS_BLOCK_SIZE);
	}
	return 0;
}

static void runs_of_a_part_are_those_of_the_whole(void)
{
	CLEANUP_BOOTSTRAP struct bootstrap *b = open_image(sample.image);
	static const char *const files[] = { "small", "chunks", "sparse", "hard" };
	uint64_t chance = 1;

	for (int i = 0; i < 2000; i++) {
		struct bootstrap_inode file = inode_of(b, files[i % 4]);
		uint64_t size = file.inode.size, from = random_u64(&chance) % size;
		uint64_t to = from + 1 + random_u64(&chance) % (size - from);
		struct runs all = { 0 }, some = { 0 };
		struct error *err = NULL;

		CHECK(bootstrap_runs(b, &file, take_run, &all, &err) == 0);
		CHECK(bootstrap_runs_between(b, &file, from, to, take_run, &some, &err) == 0);
		CHECK_U64(place(&some, from), place(&all, from));
		CHECK_U64(place(&some, to - 1), place(&all, to - 1));
		CHECK_U64(
			place(&some, from + (to - from) / 2), place(&all, from + (to - from) / 2));
	}
}

static void beyond_the_end_there_are_no_runs(void)
{
	CLEANUP_BOOTSTRAP struct bootstrap *b = open_image(sample.image);
	struct bootstrap_inode file = inode_of(b, "chunks");
	struct error *err = NULL;
	struct runs l = { 0 };

	CHECK(bootstrap_runs_between(b, &file, file.inode.size, UINT64_MAX, take_run, &l, &err) ==
		0);
	CHECK(bootstrap_runs_between(b, &file, 4096, 4096, take_run, &l, &err) == 0);
	CHECK_U64(l.n, 0);
	CHECK(bootstrap_runs_between(b, &file, 0, UINT64_MAX, take_run, &l, &err) == 0);
	CHECK(l.n > 0);
}

/* ---- damage ---- */

static int look(void *arg, const struct bootstrap_name *name, uint64_t next)
{
	unsigned *sum = arg;

	for (size_t i = 0; i < name->len; i++)
		*sum += (unsigned char)name->name[i];
	return next > (UINT64_C(1) << 40);
}

static void use(const struct bootstrap *b, uint64_t *chance)
{
	struct bootstrap_inode inode;
	struct bootstrap_name found;
	struct error *err = NULL;
	unsigned sum = 0;

	if (bootstrap_inode(b, random_u64(chance) % bootstrap_nids(b), &inode, &err) == 0) {
		if (bootstrap_lookup(b, &inode, "x300", 4, &found, &err) == 1)
			sum += (unsigned char)found.name[found.len - 1];
		error_free(err);
		err = NULL;
		bootstrap_names_from(b, &inode, random_u64(chance) % 20000, look, &sum, &err);
	}
	error_free(err);
}

static void no_damage_makes_it_read_elsewhere(void)
{
	CLEANUP_FREE uint8_t *image = xmalloc(sample.size);
	uint64_t chance = 2;

	for (int i = 0; i < 300; i++) {
		struct bootstrap *b;

		memcpy(image, sample.image, sample.size);
		for (int k = 0; k < 40; k++) /* not the superblock, whose checksum would tell */
			image[4096 + random_u64(&chance) % (sample.size - 4096)] =
				(uint8_t)random_u64(&chance);
		b = open_image(image);
		for (int k = 0; b && k < 100; k++)
			use(b, &chance);
		if (b)
			bootstrap_close(b);
	}
	CHECK(true);
}

int main(void)
{
	sample_init(&sample);
	RUN(all_names_are_read_in_stored_order);
	RUN(reading_goes_on_from_every_position);
	RUN(every_name_is_found_and_no_other);
	RUN(what_is_no_directory_has_no_names);
	RUN(runs_of_a_part_are_those_of_the_whole);
	RUN(beyond_the_end_there_are_no_runs);
	RUN(no_damage_makes_it_read_elsewhere);
	sample_free(&sample);
	return tap_done();
}
