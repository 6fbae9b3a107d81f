// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/* The table of what is there, as the holder looks at it, whatever is written there. */
#include "config.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "lib/base/mem.h"
#include "lib/serve/holder/presence.h"
#include "tests/unit/random.h"
#include "tests/unit/tap.h"

enum { G = PRESENCE_GRANULE };

static struct presence *make(void)
{
	CLEANUP_FD int fd = presence_create();
	struct presence *p = presence_map(fd);

	if (!p)
		exit(99);
	return p;
}

static void drop(struct presence *p)
{
	munmap(p, sizeof(*p));
}

static const struct presence_id one = { .dev = 2049, .ino = 77, .born = 1 };

static uint32_t add_one(struct presence *p, uint64_t size, uint32_t first)
{
	int slot = presence_add(p, &one, size, first);

	CHECK(slot >= 0 && presence_is_valid(p, (uint32_t)slot));
	return (uint32_t)slot;
}

static bool look(const struct presence *p, uint64_t offset, uint64_t len)
{
	return presence_look(p, &one, offset, len) >= 0;
}

static void only_what_is_there_with_all_its_bytes_is_there(void)
{
	struct presence *p = make();
	uint64_t size = 200 * G + 5;
	uint32_t slot = add_one(p, size, 3);

	CHECK(!look(p, 0, 1) && !look(p, 0, size));
	presence_set(p, slot, 64, true);
	CHECK(look(p, 64 * G, G) && look(p, 64 * G, 1) && look(p, 65 * G - 1, 1));
	CHECK(!look(p, 64 * G - 1, 1) && !look(p, 64 * G - 1, 2));
	CHECK(!look(p, 64 * G, G + 1) && !look(p, 65 * G, 1));
	presence_set(p, slot, 63, true);
	CHECK(look(p, 63 * G, 2 * G) && !look(p, 62 * G, 3 * G));
	for (uint64_t i = 0; i <= 200; i++)
		presence_set(p, slot, i, true);
	CHECK(look(p, 0, size) && look(p, 0, UINT64_MAX) && look(p, size - 1, 1));
	presence_set(p, slot, 130, false);
	CHECK(!look(p, 0, size) && look(p, 131 * G, size) && look(p, 0, 130 * G));
	presence_clear(p, slot);
	for (uint64_t i = 0; i <= 200; i++)
		CHECK(!look(p, i * G, 1));
	drop(p);
}

static void nothing_and_what_lies_behind_the_end_is_not_there(void)
{
	struct presence *p = make();
	uint32_t slot = add_one(p, 2 * G, 0);

	presence_set(p, slot, 0, true);
	presence_set(p, slot, 1, true);
	CHECK(look(p, 0, 2 * G) && look(p, G, UINT64_MAX));
	CHECK(!look(p, 0, 0) && !look(p, G, 0));
	CHECK(!look(p, 2 * G, 1) && !look(p, UINT64_MAX, 1) && !look(p, UINT64_MAX, UINT64_MAX));
	presence_set(p, slot, 64, true); /* not its word */
	CHECK_U64(p->words[1], 0);
	drop(p);
}

static void another_file_of_the_number_is_another_file(void)
{
	const struct presence_id others[] = { { 2049, 77, 2 }, { 2050, 77, 1 }, { 2049, 78, 1 },
		{ 2049, 77, 0 } };
	struct presence *p = make();

	presence_set(p, add_one(p, G, 0), 0, true);
	CHECK(look(p, 0, 1));
	for (size_t i = 0; i < sizeof(others) / sizeof(*others); i++)
		CHECK(presence_look(p, &others[i], 0, 1) < 0);
	CHECK(presence_add(p, &others[3], G, 1) < 0); /* nobody could tell it from the next */
	drop(p);
}

static void an_entry_that_is_removed_leaves_no_bits(void)
{
	struct presence *p = make();
	uint32_t slot = add_one(p, 100 * G, 5);

	presence_set(p, slot, 99, true);
	presence_remove(p, slot);
	presence_remove(p, slot); /* nothing */
	CHECK(!look(p, 99 * G, 1));
	CHECK_U64(p->words[6], 0);
	p->words[6] = UINT64_MAX;
	CHECK_U64(add_one(p, 100 * G, 5), slot);
	CHECK(!look(p, 99 * G, 1));
	drop(p);
}

static void files_of_one_hash_have_places_until_there_are_no_more(void)
{
	struct presence *p = make();
	unsigned n = 0, per_set[PRESENCE_SETS] = { 0 };
	uint8_t known[4 * PRESENCE_FILES] = { 0 };

	for (uint64_t ino = 0; ino < 4 * PRESENCE_FILES; ino++) {
		const struct presence_id id = { 1, ino, 1 };
		int slot = presence_add(p, &id, G, (uint32_t)ino);

		if (slot < 0)
			continue;
		CHECK(slot < PRESENCE_FILES);
		presence_set(p, (uint32_t)slot, 0, true);
		per_set[slot / PRESENCE_WAYS]++;
		known[ino] = 1;
		n++;
	}
	CHECK(n > PRESENCE_FILES * 9 / 10 && n <= PRESENCE_FILES);
	for (unsigned i = 0; i < PRESENCE_SETS; i++)
		CHECK(per_set[i] <= PRESENCE_WAYS);
	for (uint64_t ino = 0; ino < 4 * PRESENCE_FILES; ino++) {
		const struct presence_id id = { 1, ino, 1 };

		if ((presence_look(p, &id, 0, 1) >= 0) != known[ino])
			CHECK(!"a file that has a place is found, no other");
	}
	drop(p);
}

static void a_file_may_take_all_words_and_none_more(void)
{
	const uint64_t all = (uint64_t)PRESENCE_WORDS * 64 * G;
	struct presence *p = make();
	uint32_t slot;

	CHECK_U64(presence_words(0), 0);
	CHECK_U64(presence_words(64 * G), 1);
	CHECK_U64(presence_words(64 * G + 1), 2);
	CHECK_U64(presence_words(all), PRESENCE_WORDS);
	CHECK(presence_words(all + 1) > PRESENCE_WORDS);
	CHECK(presence_words(UINT64_MAX) > PRESENCE_WORDS);
	CHECK(presence_add(p, &one, all + 1, 0) < 0);
	CHECK(presence_add(p, &one, UINT64_MAX, 0) < 0);
	CHECK(presence_add(p, &one, all, 1) < 0);
	CHECK(presence_add(p, &one, G, PRESENCE_WORDS) < 0);
	slot = add_one(p, all, 0);
	presence_set(p, slot, all / G - 1, true);
	CHECK(look(p, all - 1, 1) && look(p, all - G, UINT64_MAX) && !look(p, 0, all));
	drop(p);
}

/* The other end may write anything. A look that leaves the table is a fault (or ASan's). */
static void no_nonsense_leads_out_of_the_table(void)
{
	struct presence *p = make();
	uint64_t seed = 5;

	memset((void *)p->words, 0xff, sizeof(p->words));
	for (unsigned i = 0; i < 50000; i++) {
		const struct presence_id id = { 1, i % 1000, 1 };
		int slot = presence_add(p, &id, G, 0); /* where it is looked for */
		struct presence_file *f = &p->files[slot];

		f->size = random_u64(&seed) >> random_u64(&seed) % 64;
		f->first = (uint32_t)(random_u64(&seed) >> random_u64(&seed) % 64);
		presence_look(p, &id, random_u64(&seed) >> random_u64(&seed) % 64,
			random_u64(&seed) >> random_u64(&seed) % 64);
		presence_is_valid(p, (uint32_t)slot);
		presence_set(p, (uint32_t)slot, random_u64(&seed), i % 2);
		presence_remove(p, (uint32_t)slot);
		if (i % 1000 == 0)
			memset((void *)p->words, 0xff, sizeof(p->words));
	}
	drop(p);
}

static void only_a_sealed_table_of_this_layout_is_mapped(void)
{
	CLEANUP_FD int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	CLEANUP_FD int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	struct presence *p;

	CHECK(!presence_map(null));
	CHECK(ftruncate(fd, sizeof(struct presence)) == 0);
	CHECK(!presence_map(fd));
	CHECK(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK) == 0);
	CHECK(!presence_map(fd)); /* no magic */
	CHECK(pwrite(fd, &(uint64_t){ PRESENCE_MAGIC }, 8, 0) == 8);
	p = presence_map(fd);
	CHECK(p != NULL);
	if (p)
		drop(p);
	CHECK(ftruncate(fd, sizeof(struct presence) + 4096) == 0);
	CHECK(!presence_map(fd));
}

static void a_file_is_known_by_what_the_kernel_says_of_it(void)
{
	CLEANUP_FD int fd = memfd_create("test", MFD_CLOEXEC);
	struct presence_id id = { 0 };
	uint64_t size = 0;
	struct stat st;

	CHECK(ftruncate(fd, 12345) == 0 && fstat(fd, &st) == 0);
	CHECK(presence_identify(fd, &id, &size) == 0);
	CHECK_U64(size, 12345);
	CHECK_U64(id.dev, st.st_dev);
	CHECK_U64(id.ino, st.st_ino);
	CHECK(presence_identify(-1, &id, &size) < 0);
}

int main(void)
{
	RUN(only_what_is_there_with_all_its_bytes_is_there);
	RUN(nothing_and_what_lies_behind_the_end_is_not_there);
	RUN(another_file_of_the_number_is_another_file);
	RUN(an_entry_that_is_removed_leaves_no_bits);
	RUN(files_of_one_hash_have_places_until_there_are_no_more);
	RUN(a_file_may_take_all_words_and_none_more);
	RUN(no_nonsense_leads_out_of_the_table);
	RUN(only_a_sealed_table_of_this_layout_is_mapped);
	RUN(a_file_is_known_by_what_the_kernel_says_of_it);
	return tap_done();
}
