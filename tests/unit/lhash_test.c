// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/* The hash table that grows bucket by bucket and the array that grows by segments. */
#include "config.h"

#include "lib/base/lhash.h"
#include "lib/base/segarray.h"
#include "tests/unit/random.h"
#include "tests/unit/tap.h"

struct element {
	uint64_t hash;
	uint32_t chain;
	bool in; /* what the naive model says: it is in the table */
};

struct elements {
	struct segarray all;
	struct lhash table;
};

static struct element *at(void *arg, uint32_t id)
{
	return segarray_at(&((struct elements *)arg)->all, id);
}

static uint32_t *element_link(void *arg, uint32_t id)
{
	return &at(arg, id)->chain;
}

static uint64_t element_hash(void *arg, uint32_t id)
{
	return at(arg, id)->hash;
}

static void elements_init(struct elements *e)
{
	segarray_init(&e->all, sizeof(struct element));
	lhash_init(&e->table, (struct lhash_owner){ element_link, element_hash, e });
}

static void elements_free(struct elements *e)
{
	lhash_free(&e->table);
	segarray_free(&e->all);
}

static uint32_t insert(struct elements *e, uint64_t hash)
{
	uint32_t id = segarray_add(&e->all);

	*at(e, id) = (struct element){ .hash = hash, .in = true };
	lhash_insert(&e->table, hash, id);
	return id;
}

static void take_out(struct elements *e, uint32_t id)
{
	lhash_remove(&e->table, at(e, id)->hash, id);
	at(e, id)->in = false;
}

/* How often the chain of this element's hash holds it; its length goes to *len. */
static unsigned times_in_chain(struct elements *e, uint32_t id, size_t *len)
{
	unsigned n = 0;

	*len = 0;
	for (uint32_t i = lhash_first(&e->table, at(e, id)->hash); i; i = at(e, i)->chain) {
		n += i == id;
		if (++*len > e->all.count)
			break;
	}
	return n;
}

static void check_model(struct elements *e)
{
	uint32_t wrong = 0, in = 0;
	size_t len, longest = 0;

	for (uint32_t id = 1; id <= e->all.count; id++) {
		wrong += times_in_chain(e, id, &len) != (at(e, id)->in ? 1u : 0u);
		in += at(e, id)->in;
		longest = len > longest ? len : longest;
	}
	CHECK_U64(wrong, 0);
	CHECK_U64(e->table.count, in);
}

static void an_empty_table_has_empty_chains(void)
{
	struct elements e;

	elements_init(&e);
	for (uint64_t hash = 0; hash < 1000; hash++)
		CHECK(!lhash_first(&e.table, hash * 0x123456789));
	elements_free(&e);
}

static void random_inserts_and_removes_agree_with_a_naive_model(void)
{
	uint64_t seed = 1;
	struct elements e;

	elements_init(&e);
	for (unsigned round = 0; round < 8; round++) {
		for (unsigned i = 0; i < 6000; i++) {
			uint32_t id = e.all.count ? 1 + random_below(&seed, e.all.count) : 0;

			if (random_below(&seed, 3) || !id)
				insert(&e, random_u64(&seed));
			else if (at(&e, id)->in)
				take_out(&e, id);
		}
		check_model(&e);
	}
	for (uint32_t id = 1; id <= e.all.count; id++)
		if (at(&e, id)->in)
			take_out(&e, id);
	check_model(&e);
	elements_free(&e);
}

static void elements_of_equal_hash_share_a_chain_and_leave_it_alone(void)
{
	uint64_t seed = 2;
	struct elements e;

	elements_init(&e);
	for (unsigned i = 0; i < 40; i++)
		insert(&e, 42);
	for (unsigned i = 0; i < 3000; i++)
		insert(&e, random_u64(&seed));
	check_model(&e);
	take_out(&e, 1);
	take_out(&e, 40);
	take_out(&e, 17);
	check_model(&e);
	elements_free(&e);
}

static void chains_stay_short_as_the_table_grows(void)
{
	uint64_t seed = 3;
	size_t len, longest = 0;
	struct elements e;

	elements_init(&e);
	for (unsigned i = 0; i < 200000; i++)
		insert(&e, random_u64(&seed));
	for (uint32_t id = 1; id <= e.all.count; id += 7) {
		times_in_chain(&e, id, &len);
		longest = len > longest ? len : longest;
	}
	CHECK(longest < 24);
	elements_free(&e);
}

static void one_insert_never_splits_more_than_one_bucket(void)
{
	uint64_t seed = 4;
	struct elements e;
	uint32_t most = 0;

	elements_init(&e);
	for (unsigned i = 0; i < 100000; i++) {
		uint32_t before = e.table.n_buckets;

		insert(&e, random_u64(&seed));
		if (e.table.n_buckets - before > most)
			most = e.table.n_buckets - before;
	}
	CHECK(most <= 1);
	CHECK(e.table.n_buckets > 50000);
	elements_free(&e);
}

static void removing_what_is_not_there_changes_nothing(void)
{
	struct elements e;
	uint32_t id;

	elements_init(&e);
	insert(&e, 7);
	id = insert(&e, 8);
	take_out(&e, id);
	take_out(&e, id);
	check_model(&e);
	elements_free(&e);
}

static void array_elements_are_zeroed_count_from_1_and_never_move(void)
{
	enum { N = 3 * (SEGARRAY_MASK + 1) + 5 };
	struct segarray a;
	uint64_t **seen = xcalloc(N + 1, sizeof(*seen));
	unsigned wrong = 0;

	segarray_init(&a, 24);
	for (uint32_t i = 1; i <= N; i++) {
		uint64_t *p;

		wrong += segarray_add(&a) != i;
		seen[i] = p = segarray_at(&a, i);
		wrong += p[0] || p[1] || p[2];
		p[0] = p[1] = p[2] = i;
	}
	for (uint32_t i = 1; i <= N; i++) {
		uint64_t *p = segarray_at(&a, i);

		wrong += p != seen[i] || p[0] != i || p[1] != i || p[2] != i;
	}
	CHECK_U64(wrong, 0);
	CHECK_U64(a.count, N);
	segarray_free(&a);
	CHECK_U64(a.count, 0);
	free(seen);
}

static void an_array_whose_numbers_are_used_up_says_so(void)
{
	struct segarray a;

	segarray_init(&a, 4);
	a.count = UINT32_MAX - 1;
	CHECK_U64(segarray_add(&a), 0);
	CHECK_U64(a.count, UINT32_MAX - 1);
}

int main(void)
{
	RUN(an_empty_table_has_empty_chains);
	RUN(random_inserts_and_removes_agree_with_a_naive_model);
	RUN(elements_of_equal_hash_share_a_chain_and_leave_it_alone);
	RUN(chains_stay_short_as_the_table_grows);
	RUN(one_insert_never_splits_more_than_one_bucket);
	RUN(removing_what_is_not_there_changes_nothing);
	RUN(array_elements_are_zeroed_count_from_1_and_never_move);
	RUN(an_array_whose_numbers_are_used_up_says_so);
	return tap_done();
}
