// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/* Any bytes as the value of each header that is read. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "fmt/http_headers.h"
#include "lib/base/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MUST(cond)               \
	do {                     \
		if (!(cond))     \
			abort(); \
	} while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *value = xstrndup((const char *)data, size);
	struct http_content_range r;
	const char *start;
	size_t len;
	uint64_t n;

	if (http_decimal(value, &n))
		MUST(n <= INT64_MAX);
	if (http_content_range(value, &r))
		MUST(r.first <= r.last && (!r.total_known || r.last < r.total));
	if (http_upload_range(value, &n))
		MUST(n >= 1 && n - 1 <= INT64_MAX);
	len = http_media_type(value, &start);
	MUST(len <= 255 && start >= value && start + len <= value + strlen(value));
	MUST(!len || memchr(start, '/', len));
	free(value);
	return 0;
}
