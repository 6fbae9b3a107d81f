/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * Values of the HTTP headers that registries answer with. All functions take a NUL-terminated
 * value as it came, of any bytes.
 */
#ifndef FMT_HTTP_HEADERS_H
#define FMT_HTTP_HEADERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A number of decimal digits alone, perhaps in blanks. false: it is none, or over 2^63 - 1. */
bool http_decimal(const char *value, uint64_t *n);

struct http_content_range {
	uint64_t first, last; /* both within; first <= last < total, if that is known */
	bool total_known;
	uint64_t total;
};

/* Content-Range (RFC 9110, 14.4): "bytes 0-9/100", or an asterisk for 100. false: all else. */
bool http_content_range(const char *value, struct http_content_range *r);

/*
 * Range as an upload's answers have it (distribution-spec 1.1, "Pushing a blob in chunks"):
 * "0-99", from some registries "bytes=0-99". *received is the number of bytes that the server
 * has, 100. "0-0" is 1 byte here, and 0 in the reference implementation: see lib/registry/upload.c.
 */
bool http_upload_range(const char *value, uint64_t *received);

/*
 * The media type of a Content-Type (RFC 9110, 8.3.1), without parameters: its length, with *start
 * where it begins. 0: there is none that is well-formed, or it is over 255 bytes.
 */
size_t http_media_type(const char *value, const char **start);

#endif
