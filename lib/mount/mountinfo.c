// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/mount/mountinfo.h"

#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "lib/base/mem.h"

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
	unsigned major_number, minor_number;
	char *fields[6], *field;
	bool is_copy = false;

	line[strcspn(line, "\n")] = '\0';
	for (int i = 0; i < 6; i++)
		if (!(fields[i] = strsep(&line, " ")))
			return false;
	if (sscanf(fields[2], "%u:%u", &major_number, &minor_number) != 2)
		return false;
	while ((field = strsep(&line, " ")) && strcmp(field, "-") != 0)
		is_copy |= strncmp(field, "master:", strlen("master:")) == 0;
	*out = (struct mountinfo){ .dev = makedev(major_number, minor_number),
		.root = fields[3],
		.mountpoint = fields[4],
		.fstype = strsep(&line, " "),
		.source = strsep(&line, " "),
		.options = line,
		.is_copy = is_copy };
	if (!out->fstype || !out->source)
		return false;
	mountinfo_unescape(out->root);
	mountinfo_unescape(out->mountpoint);
	mountinfo_unescape(out->fstype);
	mountinfo_unescape(out->source);
	return true;
}

char *mountinfo_option(const struct mountinfo *m, const char *key)
{
	size_t len = strlen(key);

	/* a comma within a value is escaped */
	for (const char *at = m->options; at && *at; at += strspn(at, ",")) {
		size_t n = strcspn(at, ",");

		if (n > len && at[len] == '=' && !memcmp(at, key, len)) {
			char *value = xstrndup(at + len + 1, n - len - 1);

			mountinfo_unescape(value);
			return value;
		}
		at += n;
	}
	return NULL;
}
