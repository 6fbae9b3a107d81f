// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/blob/decoder.h"

#include <inttypes.h>
#include <string.h>
#include <zstd.h>

#include "fmt/chunk_index.h"
#include "fmt/le.h"
#include "lib/base/mem.h"

struct decoder {
	ZSTD_DCtx *zstd;
};

struct decoder *decoder_new(void)
{
	struct decoder *d = xmalloc(sizeof(*d));

	d->zstd = ZSTD_createDCtx();
	if (!d->zstd)
		mem_exhausted();
	return d;
}

void decoder_free(struct decoder *d)
{
	if (!d)
		return;
	ZSTD_freeDCtx(d->zstd);
	free(d);
}

int frame_verify(const struct frame *f, const uint8_t *stored, struct error **err)
{
	struct digest have;

	digest_of(&have, DIGEST_SHA256, stored, f->stored_size);
	if (memcmp(have.bytes, f->sha256, CHUNK_INDEX_HASH) == 0)
		return 0;
	return error_set(err, 0, "its bytes do not have the SHA-256 that the chunk index states");
}

/*
 * The buffer has room for all of the content, so libzstd needs no window of its own. Some builds of
 * it also decode what zstd wrote before RFC 8878, by code that is as old: such frames are refused
 * on all of them.
 */
int decoder_decode(struct decoder *d, const struct frame *f, const uint8_t *stored, uint8_t *out,
	struct error **err)
{
	unsigned long long pledged = ZSTD_getFrameContentSize(stored, f->stored_size);
	size_t n;

	if (f->stored_size < sizeof(uint32_t) || get_le32(stored) != ZSTD_MAGICNUMBER)
		return error_set(err, 0, "it is no zstd frame");
	if (pledged != f->size)
		return error_set(err, 0,
			"its zstd frame does not state the %" PRIu32
			" bytes that the chunk index does",
			f->size);
	if (ZSTD_findFrameCompressedSize(stored, f->stored_size) != f->stored_size)
		return error_set(err, 0, "it is not exactly one zstd frame");
	n = ZSTD_decompressDCtx(d->zstd, out, f->size, stored, f->stored_size);
	if (ZSTD_isError(n))
		return error_set(err, 0, "it cannot be decompressed: %s", ZSTD_getErrorName(n));
	if (n != f->size)
		return error_set(err, 0, "it has %zu bytes instead of %" PRIu32, n, f->size);
	return 0;
}
