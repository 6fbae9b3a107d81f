// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/mount/mountinfo.h"

#include <string.h>

static bool is_octal(char c)
{
	return c >= '0' && c <= '7';
}

void mountinfo_unescape(char *s)
{
	char *out = s;

	while (*s) {
		if (s[0] == '\\' && s[1] >= '0' && s[1] <= '3' && is_octal(s[2]) &&
			is_octal(s[3])) {
			*out++ = (char)((s[1] - '0') << 6 | (s[2] - '0') << 3 | (s[3] - '0'));
			s += 4;
		} else {
			*out++ = *s++;
		}
	}
	*out = '\0';
}

/* 36 35 98:0 /root /mountpoint options [optional ...] - fstype source super-options */
bool mountinfo_parse(char *line, struct mountinfo *out)
{
	char *fields[6], *field;

	line[strcspn(line, "\n")] = '\0';
	for (int i = 0; i < 6; i++)
		if (!(fields[i] = strsep(&line, " ")))
			return false;
	do
		field = strsep(&line, " ");
	while (field && strcmp(field, "-") != 0);
	*out = (struct mountinfo){ .root = fields[3],
		.mountpoint = fields[4],
		.fstype = strsep(&line, " "),
		.source = strsep(&line, " ") };
	if (!out->fstype || !out->source)
		return false;
	mountinfo_unescape(out->root);
	mountinfo_unescape(out->mountpoint);
	mountinfo_unescape(out->fstype);
	mountinfo_unescape(out->source);
	return true;
}
