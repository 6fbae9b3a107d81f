// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/base/text.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/mem.h"

enum { SHOWN_MAX = 4096 };

char *text_printable(const char *s, size_t len)
{
	/* four times what came in, and the NUL; no name is long enough to overflow this */
	char *out = xcalloc(len + 1, 4), *p = out;

	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)s[i];

		if (c < 0x20 || c > 0x7e || c == '\\')
			p += sprintf(p, "\\%03o", c);
		else
			*p++ = (char)c;
	}
	return out;
}

char *text_shown(const char *path)
{
	return text_printable(path, strnlen(path, SHOWN_MAX));
}

const char *text_count(uint64_t n, char buf[static TEXT_NUMBER_MAX])
{
	char digits[24];
	size_t len = (size_t)snprintf(digits, sizeof(digits), "%" PRIu64, n);
	char *p = buf;

	for (size_t i = 0; i < len; i++) {
		if (i && (len - i) % 3 == 0)
			*p++ = ',';
		*p++ = digits[i];
	}
	*p = '\0';
	return buf;
}

const char *text_bytes(uint64_t n, char buf[static TEXT_NUMBER_MAX])
{
	static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
	double v = (double)n;
	size_t unit = 0;

	/* 999.5 would be shown as "1000" */
	for (; v >= 999.5 && unit + 1 < sizeof(units) / sizeof(*units); unit++)
		v /= 1024;
	snprintf(buf, TEXT_NUMBER_MAX, "%.*f %s", unit && v < 99.95 ? 1 : 0, v, units[unit]);
	return buf;
}
