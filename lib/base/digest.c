// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/base/digest.h"

#include <openssl/evp.h>
#include <string.h>

#include "lib/base/mem.h"

static const struct {
	const char *name; /* with the colon */
	size_t size;
	const EVP_MD *(*md)(void);
} algos[] = {
	[DIGEST_SHA256] = { "sha256:", 32, EVP_sha256 },
	[DIGEST_SHA512] = { "sha512:", 64, EVP_sha512 },
};

struct hasher {
	EVP_MD_CTX *ctx;
	enum digest_algo algo;
};

size_t digest_size(enum digest_algo algo)
{
	return algos[algo].size;
}

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return -1;
}

static bool parse_hex(uint8_t *out, size_t size, const char *hex)
{
	if (strlen(hex) != 2 * size)
		return false;
	for (size_t i = 0; i < size; i++) {
		int hi = hex_value(hex[2 * i]), lo = hex_value(hex[2 * i + 1]);

		if (hi < 0 || lo < 0)
			return false;
		out[i] = (uint8_t)(hi << 4 | lo);
	}
	return true;
}

int digest_parse(struct digest *d, const char *s, struct error **err)
{
	for (size_t i = 0; i < sizeof(algos) / sizeof(*algos); i++) {
		size_t n = strlen(algos[i].name);

		if (strncmp(s, algos[i].name, n) != 0)
			continue;
		*d = (struct digest){ .algo = (enum digest_algo)i };
		if (parse_hex(d->bytes, algos[i].size, s + n))
			return 0;
	}
	error_set(err, 0, "\"%.160s\" is not a sha256 or sha512 digest", s);
	return -1;
}

const char *digest_hex(const struct digest *d, char buf[static DIGEST_MAX_STR])
{
	static const char digits[] = "0123456789abcdef";
	size_t size = algos[d->algo].size;

	for (size_t i = 0; i < size; i++) {
		buf[2 * i] = digits[d->bytes[i] >> 4];
		buf[2 * i + 1] = digits[d->bytes[i] & 15];
	}
	buf[2 * size] = '\0';
	return buf;
}

const char *digest_format(const struct digest *d, char buf[static DIGEST_MAX_STR])
{
	size_t n = strlen(algos[d->algo].name);
	char hex[DIGEST_MAX_STR];

	memcpy(buf, algos[d->algo].name, n);
	strcpy(buf + n, digest_hex(d, hex));
	return buf;
}

bool digest_equal(const struct digest *a, const struct digest *b)
{
	return a->algo == b->algo && memcmp(a->bytes, b->bytes, sizeof(a->bytes)) == 0;
}

struct hasher *hasher_new(enum digest_algo algo)
{
	struct hasher *h = xzalloc(sizeof(*h));

	h->algo = algo;
	h->ctx = EVP_MD_CTX_new();
	if (!h->ctx || !EVP_DigestInit_ex(h->ctx, algos[algo].md(), NULL))
		abort(); /* libcrypto always has SHA-2; only memory can be missing */
	return h;
}

void hasher_update(struct hasher *h, const void *p, size_t len)
{
	EVP_DigestUpdate(h->ctx, p, len);
}

void hasher_final(struct hasher *h, struct digest *d)
{
	*d = (struct digest){ .algo = h->algo };
	EVP_DigestFinal_ex(h->ctx, d->bytes, NULL);
}

void hasher_free(struct hasher *h)
{
	if (!h)
		return;
	EVP_MD_CTX_free(h->ctx);
	free(h);
}

void digest_of(struct digest *d, enum digest_algo algo, const void *p, size_t len)
{
	CLEANUP_HASHER struct hasher *h = hasher_new(algo);

	hasher_update(h, p, len);
	hasher_final(h, d);
}
