// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/stream/decompress.h"

#include <isa-l/igzip_lib.h>
#include <stdbool.h>
#include <string.h>
#include <zstd.h>

#include "lib/base/interrupt.h"
#include "lib/base/mem.h"

enum { INPUT_SIZE = 128 * 1024 };

struct decompressor {
	struct stream stream;
	struct stream *in;
	/* Produce up to len bytes; 0 at the end. Set once the first bytes are known. */
	ssize_t (*produce)(struct decompressor *d, uint8_t *out, size_t len, struct error **err);
	size_t at, fill; /* of input */
	bool in_ended;
	bool in_frame; /* in the middle of a gzip member or zstd frame */
	bool in_header; /* of a gzip member */
	struct isal_gzip_header header;
	bool ended;
	struct inflate_state *inflate;
	ZSTD_DStream *zstd;
	uint8_t input[INPUT_SIZE];
};

/* More input behind what is left of it; at the end of `in`, in_ended. */
static int refill(struct decompressor *d, struct error **err)
{
	ssize_t n;

	/* much may be read before anything comes out */
	if (interrupt_pending())
		return error_set(err, 0, "interrupted");
	if (d->at) {
		memmove(d->input, d->input + d->at, d->fill - d->at);
		d->fill -= d->at;
		d->at = 0;
	}
	if (d->in_ended || d->fill == INPUT_SIZE)
		return 0;
	n = d->in->read(d->in, d->input + d->fill, INPUT_SIZE - d->fill, err);
	if (n < 0)
		return -1;
	d->in_ended = n == 0;
	d->fill += (size_t)n;
	return 0;
}

static int need_input(struct decompressor *d, struct error **err)
{
	return d->at < d->fill ? 0 : refill(d, err);
}

static ssize_t produce_plain(struct decompressor *d, uint8_t *out, size_t len, struct error **err)
{
	size_t n = d->fill - d->at;

	if (!n)
		return d->in->read(d->in, out, len, err);
	n = n < len ? n : len;
	memcpy(out, d->input + d->at, n);
	d->at += n;
	return (ssize_t)n;
}

static int cut_short(const char *what, struct error **err)
{
	return error_set(err, 0, "the %s data ends too early", what);
}

/*
 * After a member: another one, or the end. Padding with zeros is let pass, as by gzip(1); what
 * else follows is damage.
 */
static int next_member(struct decompressor *d, struct error **err)
{
	for (;;) {
		if (need_input(d, err) < 0)
			return -1;
		if (d->at == d->fill) {
			d->ended = true;
			return 0;
		}
		if (d->input[d->at] == 0x1f)
			break;
		if (d->input[d->at])
			return error_set(err, 0, "there is garbage behind the gzip data");
		d->at++;
	}
	isal_inflate_reset(d->inflate);
	d->inflate->crc_flag = ISAL_GZIP_NO_HDR_VER;
	isal_gzip_header_init(&d->header);
	d->in_frame = d->in_header = true;
	return 0;
}

static const char *inflate_fault(int code)
{
	switch (code) {
	case ISAL_INCORRECT_CHECKSUM:
		return "its checksum is wrong";
	case ISAL_UNSUPPORTED_METHOD:
		return "it has an unknown compression method";
	case ISAL_INVALID_WRAPPER:
		return "a member's header is invalid";
	default:
		return "it is no valid deflate stream";
	}
}

/*
 * isal_inflate() would read the header too, but forgets its flags and lengths from call to
 * call: a member whose header is cut by the end of the input at hand would look damaged.
 */
static int inflate_step(struct decompressor *d)
{
	int code;

	if (!d->in_header)
		return isal_inflate(d->inflate);
	code = isal_read_gzip_header(d->inflate, &d->header);
	d->in_header = code == ISAL_END_INPUT;
	return code < 0 ? code : ISAL_DECOMP_OK;
}

static ssize_t produce_gzip(struct decompressor *d, uint8_t *out, size_t len, struct error **err)
{
	struct inflate_state *s = d->inflate;

	for (;;) {
		uint32_t before;
		int code;

		if (!d->in_frame && next_member(d, err) < 0)
			return -1;
		if (d->ended)
			return 0;
		if (need_input(d, err) < 0)
			return -1;
		s->next_in = d->input + d->at;
		s->avail_in = before = (uint32_t)(d->fill - d->at);
		s->next_out = out;
		s->avail_out = (uint32_t)len;
		code = inflate_step(d);
		d->at += before - s->avail_in;
		if (code < 0)
			return error_set(
				err, 0, "the gzip data is damaged: %s", inflate_fault(code));
		d->in_frame = s->block_state != ISAL_BLOCK_FINISH;
		if (s->avail_out < len)
			return (ssize_t)(len - s->avail_out);
		if (d->in_frame && !before && d->in_ended)
			return cut_short("gzip", err);
	}
}

static ssize_t produce_zstd(struct decompressor *d, uint8_t *out, size_t len, struct error **err)
{
	for (;;) {
		ZSTD_inBuffer in;
		ZSTD_outBuffer o = { .dst = out, .size = len };
		size_t left;

		if (need_input(d, err) < 0)
			return -1;
		in = (ZSTD_inBuffer){ .src = d->input + d->at, .size = d->fill - d->at };
		if (!in.size && !d->in_frame)
			return 0;
		left = ZSTD_decompressStream(d->zstd, &o, &in);
		if (ZSTD_isError(left))
			return error_set(
				err, 0, "the zstd data is damaged: %s", ZSTD_getErrorName(left));
		d->at += in.pos;
		d->in_frame = left != 0;
		if (o.pos)
			return (ssize_t)o.pos;
		if (!in.size && d->in_ended)
			return cut_short("zstd", err);
	}
}

static bool is_zstd(const uint8_t *p)
{
	static const uint8_t frame[] = { 0x28, 0xb5, 0x2f, 0xfd }, rest[] = { 0x2a, 0x4d, 0x18 };

	return !memcmp(p, frame, 4) || ((p[0] & 0xf0) == 0x50 && !memcmp(p + 1, rest, 3));
}

static bool is_gzip(const uint8_t *p)
{
	return p[0] == 0x1f && p[1] == 0x8b && p[2] == 8;
}

static bool is_xz(const uint8_t *p)
{
	return !memcmp(p,
		"\xfd"
		"7zXZ",
		6);
}

static bool is_bzip2(const uint8_t *p)
{
	return !memcmp(p, "BZh", 3) && p[3] >= '1' && p[3] <= '9' &&
	       (!memcmp(p + 4, "1A", 2) || !memcmp(p + 4, "\x17r", 2));
}

bool stream_is_compressed(const uint8_t magic[static STREAM_MAGIC_SIZE])
{
	return is_gzip(magic) || is_zstd(magic) || is_xz(magic) || is_bzip2(magic);
}

static int choose(struct decompressor *d, struct error **err)
{
	uint8_t magic[STREAM_MAGIC_SIZE] = { 0 };

	while (d->fill < STREAM_MAGIC_SIZE && !d->in_ended)
		if (refill(d, err) < 0)
			return -1;
	memcpy(magic, d->input, d->fill < STREAM_MAGIC_SIZE ? d->fill : STREAM_MAGIC_SIZE);
	if (is_gzip(magic)) {
		d->inflate = xmalloc(sizeof(*d->inflate));
		isal_inflate_init(d->inflate);
		d->produce = produce_gzip;
	} else if (is_zstd(magic)) {
		d->zstd = ZSTD_createDStream();
		if (!d->zstd)
			return error_set(err, 0, "no memory to decompress zstd");
		d->produce = produce_zstd;
	} else if (is_xz(magic)) {
		return error_set(err, 0, "xz compression is not supported, only gzip and zstd");
	} else if (is_bzip2(magic)) {
		return error_set(err, 0, "bzip2 compression is not supported, only gzip and zstd");
	} else {
		d->produce = produce_plain;
	}
	return 0;
}

static ssize_t decompress_read(struct stream *s, void *buf, size_t len, struct error **err)
{
	struct decompressor *d = (struct decompressor *)s;
	size_t fill = 0;

	if (!d->produce && choose(d, err) < 0)
		return -1;
	while (fill < len) {
		ssize_t n = d->produce(d, (uint8_t *)buf + fill, len - fill, err);

		if (n < 0)
			return -1;
		if (n == 0)
			break;
		fill += (size_t)n;
	}
	return (ssize_t)fill;
}

/* What is buffered here is little: whether read() would block depends on `in`. */
static bool decompress_ready(struct stream *s, void (*wake)(void *arg), void *arg)
{
	return stream_ready(((struct decompressor *)s)->in, wake, arg);
}

static void decompress_close(struct stream *s)
{
	struct decompressor *d = (struct decompressor *)s;

	d->in->close(d->in);
	ZSTD_freeDStream(d->zstd);
	free(d->inflate);
	free(d);
}

struct stream *stream_decompress(struct stream *in)
{
	struct decompressor *d = xmalloc(sizeof(*d));

	memset(d, 0, offsetof(struct decompressor, input)); /* not the input: it is large */
	d->stream = (struct stream){ decompress_read, decompress_close, decompress_ready };
	d->in = in;
	return &d->stream;
}
