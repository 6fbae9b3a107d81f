// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/dedupe/index.h"

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <string.h>
#include <sys/random.h>
#include <xxhash.h>

#include "lib/base/lhash.h"
#include "lib/base/mem.h"
#include "lib/base/segarray.h"

struct block_hasher {
	EVP_MAC_CTX *mac; /* keyed anew for each block */
	uint8_t key[32];
	uint64_t seed;
};

int dedupe_secret_new(struct dedupe_secret *secret, struct error **err)
{
	if (getrandom(secret, sizeof(*secret), 0) != sizeof(*secret))
		return error_set(err, 0, "the system gives no random bytes");
	return 0;
}

struct block_hasher *block_hasher_new(const struct dedupe_secret *secret)
{
	struct block_hasher *h = xzalloc(sizeof(*h));
	EVP_MAC *mac = EVP_MAC_fetch(NULL, "POLY1305", NULL);

	h->mac = mac ? EVP_MAC_CTX_new(mac) : NULL;
	EVP_MAC_free(mac);
	if (!h->mac)
		abort(); /* libcrypto's default provider always has it; only memory can lack */
	memcpy(h->key, secret->poly1305, sizeof(h->key));
	h->seed = secret->seed;
	return h;
}

void block_hasher_free(struct block_hasher *h)
{
	if (!h)
		return;
	EVP_MAC_CTX_free(h->mac);
	OPENSSL_cleanse(h->key, sizeof(h->key));
	free(h);
}

void block_hasher_key(
	struct block_hasher *h, const uint8_t block[static DEDUPE_BLOCK], struct block_key *key)
{
	size_t len;

	key->hash = XXH3_64bits_withSeed(block, DEDUPE_BLOCK, h->seed);
	if (!EVP_MAC_init(h->mac, h->key, sizeof(h->key), NULL) ||
		!EVP_MAC_update(h->mac, block, DEDUPE_BLOCK) ||
		!EVP_MAC_final(h->mac, key->tag, &len, sizeof(key->tag)))
		abort(); /* no input makes these fail */
}

/* There is one for each block of the image: halves keep it at 28 bytes, without padding. */
struct record {
	uint8_t tag[DEDUPE_TAG];
	uint32_t hash_low, hash_high;
	uint32_t chain;
};

struct device_start {
	uint32_t number; /* of its first block */
	uint32_t blk;
	uint16_t device;
};

struct dedupe_index {
	struct segarray records;
	struct lhash table;
	struct device_start *devices;
	size_t n_devices, cap;
};

static struct record *record_at(const struct dedupe_index *index, uint32_t number)
{
	return segarray_at(&index->records, number);
}

static uint32_t *record_link(void *arg, uint32_t id)
{
	return &record_at(arg, id)->chain;
}

static uint64_t record_hash(void *arg, uint32_t id)
{
	return record_at(arg, id)->hash_low; /* lhash looks at no more */
}

struct dedupe_index *dedupe_index_new(void)
{
	struct dedupe_index *index = xzalloc(sizeof(*index));

	segarray_init(&index->records, sizeof(struct record));
	lhash_init(&index->table, (struct lhash_owner){ record_link, record_hash, index });
	return index;
}

void dedupe_index_free(struct dedupe_index *index)
{
	if (!index)
		return;
	segarray_free(&index->records);
	lhash_free(&index->table);
	free(index->devices);
	free(index);
}

void dedupe_begin_device(struct dedupe_index *index, uint16_t device, uint32_t first_blk)
{
	index->devices =
		xgrow(index->devices, index->n_devices, &index->cap, sizeof(*index->devices));
	index->devices[index->n_devices++] = (struct device_start){
		.number = index->records.count + 1,
		.device = device,
		.blk = first_blk,
	};
}

static bool has_key(const struct record *r, const struct block_key *key)
{
	return r->hash_low == (uint32_t)key->hash && r->hash_high == key->hash >> 32 &&
	       !memcmp(r->tag, key->tag, DEDUPE_TAG);
}

unsigned dedupe_find(const struct dedupe_index *index, const struct block_key *key,
	uint32_t numbers[static DEDUPE_CANDIDATES])
{
	unsigned n = 0;
	const struct record *r;

	for (uint32_t id = lhash_first(&index->table, key->hash); id; id = r->chain) {
		r = record_at(index, id);
		if (!has_key(r, key))
			continue;
		numbers[n++] = id;
		if (n == DEDUPE_CANDIDATES)
			break;
	}
	return n;
}

/*
 * A block that is stored many times over (it was part of runs that differ) stays in the table
 * DEDUPE_CANDIDATES times only: chains stay short, whatever the input.
 */
uint32_t dedupe_add(struct dedupe_index *index, const struct block_key *key, struct error **err)
{
	uint32_t same[DEDUPE_CANDIDATES];
	bool enter = dedupe_find(index, key, same) < DEDUPE_CANDIDATES;
	uint32_t number = segarray_add(&index->records);
	struct record *r;

	if (!number) {
		error_set(err, 0, "the image has more than 16 TiB of distinct data");
		return 0;
	}
	r = record_at(index, number);
	memcpy(r->tag, key->tag, sizeof(r->tag));
	r->hash_low = (uint32_t)key->hash;
	r->hash_high = (uint32_t)(key->hash >> 32);
	if (enter)
		lhash_insert(&index->table, key->hash, number);
	return number;
}

static const struct device_start *device_of(const struct dedupe_index *index, uint32_t number)
{
	size_t low = 0, high = index->n_devices;

	while (high - low > 1) {
		size_t mid = low + (high - low) / 2;

		if (index->devices[mid].number <= number)
			low = mid;
		else
			high = mid;
	}
	return &index->devices[low];
}

bool dedupe_matches(const struct dedupe_index *index, uint32_t number, uint32_t same_device_as,
	const struct block_key *key)
{
	return number <= index->records.count && has_key(record_at(index, number), key) &&
	       device_of(index, number) == device_of(index, same_device_as);
}

struct block_addr dedupe_addr(const struct dedupe_index *index, uint32_t number)
{
	const struct device_start *d = device_of(index, number);

	return (struct block_addr){ .device = d->device, .blk = d->blk + (number - d->number) };
}
