// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/store/name.h"

#include <stdio.h>
#include <string.h>

const char *store_stem(
	const struct digest *d, const struct presence_map *m, char buf[static STORE_STEM_MAX])
{
	char blob[DIGEST_MAX_STR], all[DIGEST_MAX_STR];
	uint8_t header[PRESENCE_MAP_HEADER];
	struct digest of_header;

	presence_map_put(header, m);
	digest_of(&of_header, DIGEST_SHA256, header, sizeof(header));
	digest_format(d, blob);
	*strchr(blob, ':') = '-';
	snprintf(
		buf, STORE_STEM_MAX, "%s.%.*s", blob, STORE_STEM_TAIL, digest_hex(&of_header, all));
	return buf;
}

const char *store_name(const char *stem, const char *suffix, char buf[static STORE_NAME_MAX])
{
	snprintf(buf, STORE_NAME_MAX, "%s%s", stem, suffix);
	return buf;
}

/* Without a tail, as these files were called once: nobody opens them, and space is made of them. */
static bool is_tail(const char *s)
{
	return !*s || (strlen(s) == 1 + STORE_STEM_TAIL &&
			      strspn(s + 1, "0123456789abcdef") == STORE_STEM_TAIL);
}

bool store_name_parse(
	const char *name, const char *suffix, struct digest *d, char stem[static STORE_STEM_MAX])
{
	CLEANUP_ERROR struct error *no = NULL;
	size_t len = strlen(name), end = strlen(suffix), blob;
	char text[DIGEST_MAX_STR], *dash;

	if (len <= end || len - end >= STORE_STEM_MAX || strcmp(name + len - end, suffix) != 0)
		return false;
	memcpy(stem, name, len - end);
	stem[len - end] = '\0';
	blob = strcspn(stem, ".");
	if (blob >= sizeof(text) || !is_tail(stem + blob))
		return false;
	memcpy(text, stem, blob);
	text[blob] = '\0';
	dash = strchr(text, '-');
	if (!dash)
		return false;
	*dash = ':';
	return digest_parse(d, text, &no) == 0;
}
