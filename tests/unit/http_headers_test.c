// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "fmt/http_headers.h"

#include "tests/unit/tap.h"

static void numbers_are_decimal_and_bounded(void)
{
	static const char *const bad[] = { "", " ", "-1", "+1", "1.5", "0x1", "1 2", "1a",
		"9223372036854775808", "99999999999999999999999" };
	uint64_t n;

	CHECK(http_decimal(" 0\t", &n) && n == 0);
	CHECK(http_decimal("9223372036854775807", &n) && n == INT64_MAX);
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		CHECK(!http_decimal(bad[i], &n));
}

static void a_content_range_lies_within_its_total(void)
{
	static const char *const bad[] = { "", "bytes", "bytes */100", "bytes 5-4/100",
		"bytes 0-100/100", "bytes 0-9/", "bytes 0-9", "bytes -9/100", "bytes 0-/100",
		"items 0-9/100", "bytes=0-9/100", "bytes 0-9/100 x", "bytes 0-9/*x",
		"bytes 0-9223372036854775808/*" };
	struct http_content_range r;

	CHECK(http_content_range("bytes 0-9/100", &r));
	CHECK(r.first == 0 && r.last == 9 && r.total_known && r.total == 100);
	CHECK(http_content_range(" Bytes  99-99/100 ", &r));
	CHECK(r.first == 99 && r.last == 99);
	CHECK(http_content_range("bytes 7-8/*", &r));
	CHECK(r.first == 7 && r.last == 8 && !r.total_known);
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		CHECK(!http_content_range(bad[i], &r));
}

static void an_upload_range_begins_at_0(void)
{
	static const char *const bad[] = { "", "0", "0-", "1-5", "-5", "0-5-6", "bytes 0-5",
		"0-9223372036854775808" };
	uint64_t n;

	CHECK(http_upload_range("0-99", &n) && n == 100);
	CHECK(http_upload_range("bytes=0-0", &n) && n == 1);
	CHECK(http_upload_range("0-9223372036854775807", &n) && n == (uint64_t)INT64_MAX + 1);
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		CHECK(!http_upload_range(bad[i], &n));
}

static void a_media_type_stands_before_its_parameters(void)
{
	static const char *const bad[] = { "", "text", "/plain", "text/", "text/ plain",
		"text/plain x", "te xt/plain", "text/pl\"ain", ";a=b" };
	char longer[300];
	const char *start;

	CHECK_U64(http_media_type(" text/plain ; charset=x", &start), 10);
	CHECK(strncmp(start, "text/plain", 10) == 0);
	CHECK_U64(http_media_type("a/b;", &start), 3);
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		CHECK_U64(http_media_type(bad[i], &start), 0);
	memset(longer, 'a', sizeof(longer));
	longer[5] = '/';
	longer[256] = '\0';
	CHECK_U64(http_media_type(longer, &start), 0);
	longer[255] = '\0';
	CHECK_U64(http_media_type(longer, &start), 255);
}

int main(void)
{
	RUN(numbers_are_decimal_and_bounded);
	RUN(a_content_range_lies_within_its_total);
	RUN(an_upload_range_begins_at_0);
	RUN(a_media_type_stands_before_its_parameters);
	return tap_done();
}
