// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/* Any name: its parts make a name that has the same parts; none of them can break a URL. */
#include "config.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "fmt/reference.h"
#include "lib/base/cleanup.h"
#include "lib/base/mem.h"
#include "lib/image/docker_name.h"
#include "lib/image/ref.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MUST(cond)               \
	do {                     \
		if (!(cond))     \
			abort(); \
	} while (0)

static bool same(struct reference_part a, struct reference_part b)
{
	return a.len == b.len && !a.ptr == !b.ptr && (!a.len || !memcmp(a.ptr, b.ptr, a.len));
}

static void check_safe(struct reference_part p, const char *extra)
{
	static const char usual[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";

	for (size_t i = 0; i < p.len; i++)
		MUST(p.ptr[i] && (strchr(usual, p.ptr[i]) || strchr(extra, p.ptr[i])));
}

static char *whole(const struct reference *r)
{
	return xasprintf("%.*s/%.*s%.*s%s%.*s%s%.*s", (int)r->host.len, r->host.ptr,
		(int)r->prefix.len, r->prefix.ptr ? r->prefix.ptr : "", (int)r->path.len,
		r->path.ptr, r->tag.ptr ? ":" : "", (int)r->tag.len, r->tag.ptr ? r->tag.ptr : "",
		r->digest.ptr ? "@" : "", (int)r->digest.len, r->digest.ptr ? r->digest.ptr : "");
}

static void check_parts(const struct reference *r)
{
	CLEANUP_FREE char *name = whole(r);
	struct reference again;
	struct fault fault;

	MUST(r->host.len && r->path.len && r->host.len + r->path.len < 255);
	MUST(r->path.ptr[0] != '/' && r->path.ptr[r->path.len - 1] != '/');
	check_safe(r->host, ":[]");
	check_safe(r->path, "/");
	check_safe(r->tag, "");
	check_safe(r->digest, ":+");
	MUST(reference_parse(&again, name, &fault) == 0);
	MUST(same(r->host, again.host) && same(r->tag, again.tag) && same(r->digest, again.digest));
	MUST(r->prefix.len + r->path.len == again.prefix.len + again.path.len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	CLEANUP_FREE char *text = xstrndup((const char *)data, size), *full = NULL, *spec = NULL;
	CLEANUP_ERROR struct error *err = NULL;
	struct image_ref ref;
	struct reference r;
	struct fault fault = { 0 };
	bool good = reference_parse(&r, text, &fault) == 0;

	MUST(good == !fault.what && fault.offset <= strlen(text));
	if (good)
		check_parts(&r);
	full = docker_name_complete(text);
	spec = xasprintf("docker://%s", text);
	if (image_ref_parse(&ref, spec, &err) == 0) {
		MUST(good && (ref.tag || ref.digest));
		image_ref_free(&ref);
	}
	return 0;
}
