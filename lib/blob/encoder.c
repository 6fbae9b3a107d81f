// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/blob/encoder.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <zstd.h>

#include "fmt/zstd_frame.h"
#include "lib/base/interrupt.h"
#include "lib/base/mem.h"

enum {
	SLOW_LEVEL = 16, /* from here on a large frame may take a second */
	PIECE = 128 * 1024, /* a block of zstd */
};

struct context {
	struct context *next;
	ZSTD_CCtx *zstd;
};

struct encoder {
	int level;
	pthread_mutex_t lock;
	struct context *idle;
};

struct encoder *encoder_new(int level)
{
	struct encoder *e = xzalloc(sizeof(*e));

	e->level = level;
	pthread_mutex_init(&e->lock, NULL);
	return e;
}

void encoder_free(struct encoder *e)
{
	if (!e)
		return;
	while (e->idle) {
		struct context *c = e->idle;

		e->idle = c->next;
		ZSTD_freeCCtx(c->zstd);
		free(c);
	}
	pthread_mutex_destroy(&e->lock);
	free(e);
}

size_t encoder_bound(size_t len)
{
	return ZSTD_compressBound(len) + ZSTD_FRAME_ALIGN_MAX;
}

static struct context *new_context(int level)
{
	struct context *c = xzalloc(sizeof(*c));

	c->zstd = ZSTD_createCCtx();
	if (!c->zstd)
		mem_exhausted();
	ZSTD_CCtx_setParameter(c->zstd, ZSTD_c_compressionLevel, level);
	ZSTD_CCtx_setParameter(c->zstd, ZSTD_c_contentSizeFlag, 1);
	ZSTD_CCtx_setParameter(c->zstd, ZSTD_c_checksumFlag, 0);
	return c;
}

static struct context *take_context(struct encoder *e)
{
	struct context *c;

	pthread_mutex_lock(&e->lock);
	c = e->idle;
	if (c)
		e->idle = c->next;
	pthread_mutex_unlock(&e->lock);
	return c ? c : new_context(e->level);
}

static void give_context(struct encoder *e, struct context *c)
{
	pthread_mutex_lock(&e->lock);
	c->next = e->idle;
	e->idle = c;
	pthread_mutex_unlock(&e->lock);
}

/* Piece by piece where that takes long. 0 when the user had enough of it. */
static size_t encode_slowly(ZSTD_CCtx *zstd, const uint8_t *in, size_t len, uint8_t *out)
{
	ZSTD_outBuffer to = { out, ZSTD_compressBound(len), 0 };
	size_t left = 1;

	ZSTD_CCtx_setPledgedSrcSize(zstd, len);
	for (size_t at = 0; left && !interrupt_pending(); at += PIECE) {
		bool last = len - at <= PIECE;
		ZSTD_inBuffer from = { in + at, last ? len - at : PIECE, 0 };

		left = ZSTD_compressStream2(zstd, &to, &from, last ? ZSTD_e_end : ZSTD_e_flush);
		if (ZSTD_isError(left) || (last && left))
			mem_exhausted();
		left = !last;
	}
	ZSTD_CCtx_reset(zstd, ZSTD_reset_session_only);
	return left ? 0 : to.pos;
}

size_t encoder_encode(struct encoder *e, const uint8_t *in, size_t len, uint8_t *out)
{
	struct context *c = take_context(e);
	size_t n;

	if (e->level >= SLOW_LEVEL) {
		n = encode_slowly(c->zstd, in, len, out);
	} else {
		n = ZSTD_compress2(c->zstd, out, ZSTD_compressBound(len), in, len);
		/* with room for the worst case, only memory can be missing */
		if (ZSTD_isError(n))
			mem_exhausted();
	}
	give_context(e, c);
	return n;
}
