// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/image/platform.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>

/* uname's and other words for Go's; the variant only where the word implies one. */
static const struct {
	const char *name, *architecture, *variant;
} aliases[] = {
	{ "x86_64", "amd64", "" },
	{ "x86-64", "amd64", "" },
	{ "aarch64", "arm64", "" },
	{ "armv8l", "arm", "v7" }, /* a 32-bit program on a 64-bit machine */
	{ "armv7l", "arm", "v7" },
	{ "armv6l", "arm", "v6" },
	{ "armv5tel", "arm", "v5" },
	{ "armhf", "arm", "v7" },
	{ "armel", "arm", "v6" },
	{ "i386", "386", "" },
	{ "i486", "386", "" },
	{ "i586", "386", "" },
	{ "i686", "386", "" },
	{ "loongarch64", "loong64", "" },
	{ "ppc", "ppc", "" },
	{ "mips64", "mips64", "" },
};

static int put(char *out, size_t size, const char *s, size_t n)
{
	if (n == 0 || n >= size)
		return -1;
	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)s[i];

		if (!isascii(c) || !(isalnum(c) || strchr("_.-", c)))
			return -1;
		out[i] = (char)tolower(c);
	}
	out[n] = '\0';
	return 0;
}

static void use_alias(struct platform *p)
{
	for (size_t i = 0; i < sizeof(aliases) / sizeof(*aliases); i++) {
		if (strcmp(p->architecture, aliases[i].name) != 0)
			continue;
		strcpy(p->architecture, aliases[i].architecture);
		if (!*p->variant)
			strcpy(p->variant, aliases[i].variant);
		return;
	}
}

int platform_parse(struct platform *p, const char *s, struct error **err)
{
	size_t os = strcspn(s, "/"), arch, variant;
	const char *a = s[os] ? s + os + 1 : s + os, *v;

	*p = (struct platform){ 0 };
	arch = strcspn(a, "/");
	v = a[arch] ? a + arch + 1 : NULL;
	variant = v ? strlen(v) : 0;
	if (put(p->os, sizeof(p->os), s, os) < 0 ||
		put(p->architecture, sizeof(p->architecture), a, arch) < 0 ||
		(v && put(p->variant, sizeof(p->variant), v, variant) < 0)) {
		error_set(err, 0, "\"%.100s\" is not a platform", s);
		return error_hint(err, "write OS/ARCH[/VARIANT], for example linux/amd64");
	}
	use_alias(p);
	return 0;
}

void platform_host(struct platform *p)
{
	struct utsname u;

	*p = (struct platform){ .os = "linux" };
	if (uname(&u) < 0 ||
		put(p->architecture, sizeof(p->architecture), u.machine, strlen(u.machine)) < 0)
		strcpy(p->architecture, "unknown");
	use_alias(p);
}

const char *platform_format(const struct platform *p, char buf[static PLATFORM_MAX_STR])
{
	snprintf(buf, PLATFORM_MAX_STR, "%s/%s%s%s", *p->os ? p->os : "unknown",
		*p->architecture ? p->architecture : "unknown", *p->variant ? "/" : "", p->variant);
	return buf;
}

static void take(char *out, size_t size, const json_t *object, const char *key)
{
	const char *s = json_string_value(json_object_get(object, key));

	if (!s || put(out, size, s, strlen(s)) < 0)
		*out = '\0';
}

void platform_from_json(struct platform *p, const json_t *object)
{
	*p = (struct platform){ 0 };
	take(p->os, sizeof(p->os), object, "os");
	take(p->architecture, sizeof(p->architecture), object, "architecture");
	take(p->variant, sizeof(p->variant), object, "variant");
	use_alias(p);
}

/*
 * "v8.1" as 801; 0 when it is no such version. Without a variant, containerd's defaults
 * (platforms/database.go): arm is v7, arm64 v8, amd64 v1.
 */
static unsigned variant_version(const struct platform *p)
{
	unsigned major = 0, minor = 0;
	const char *s = p->variant;
	int end = 0;

	if (!*s)
		return strcmp(p->architecture, "arm") == 0     ? 700
		       : strcmp(p->architecture, "arm64") == 0 ? 800
							       : 100;
	s += *s == 'v';
	if (!isdigit((unsigned char)*s))
		return 0;
	if (sscanf(s, "%2u%n.%2u%n", &major, &end, &minor, &end) < 1 || s[end])
		return 0;
	return major * 100 + minor;
}

static bool has_ordered_variants(const struct platform *p)
{
	return strcmp(p->architecture, "arm") == 0 || strcmp(p->architecture, "arm64") == 0 ||
	       strcmp(p->architecture, "amd64") == 0;
}

unsigned platform_fit(const struct platform *wanted, const json_t *object)
{
	struct platform have, want = *wanted;

	platform_from_json(&have, object);
	use_alias(&want);
	if (strcmp(want.os, have.os) != 0 || strcmp(want.architecture, have.architecture) != 0)
		return 0;
	if (has_ordered_variants(&want) && variant_version(&want) && variant_version(&have)) {
		unsigned w = variant_version(&want), h = variant_version(&have);

		return h <= w ? 1 + h : 0; /* a v7 machine runs v6, not the other way round */
	}
	if (strcmp(want.variant, have.variant) == 0)
		return 2;
	return !*want.variant;
}

bool platform_matches(const struct platform *wanted, const json_t *object)
{
	return platform_fit(wanted, object) > 0;
}
