/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * Content digests as OCI writes them: "sha256:<64 hex>", "sha512:<128 hex>"
 * (image-spec, descriptor.md, "Digests"). The arithmetic is libcrypto's.
 */
#ifndef BASE_DIGEST_H
#define BASE_DIGEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/error.h"

enum digest_algo { DIGEST_SHA256, DIGEST_SHA512 };

#define DIGEST_MAX_BYTES 64
#define DIGEST_MAX_STR	 (7 + 2 * DIGEST_MAX_BYTES + 1)

struct digest {
	enum digest_algo algo;
	uint8_t bytes[DIGEST_MAX_BYTES]; /* unused bytes are zero */
};

/* 32 or 64. */
size_t digest_size(enum digest_algo algo);

/* Parse "algo:hex"; exactly the registered forms, lower-case hex only. */
int digest_parse(struct digest *d, const char *s, struct error **err);

/* Write "algo:hex" and a NUL; returns buf. */
const char *digest_format(const struct digest *d, char buf[static DIGEST_MAX_STR]);

/* The hex part alone, NUL-terminated; returns buf. */
const char *digest_hex(const struct digest *d, char buf[static DIGEST_MAX_STR]);

bool digest_equal(const struct digest *a, const struct digest *b);

/* The digest of a buffer. */
void digest_of(struct digest *d, enum digest_algo algo, const void *p, size_t len);

/* A running digest. */
struct hasher;
struct hasher *hasher_new(enum digest_algo algo);
void hasher_update(struct hasher *h, const void *p, size_t len);
void hasher_final(struct hasher *h, struct digest *d); /* then only hasher_free */
void hasher_free(struct hasher *h);

static inline void cleanup_hasher_(struct hasher **h)
{
	hasher_free(*h);
}

#define CLEANUP_HASHER CLEANUP(cleanup_hasher_)

#endif
