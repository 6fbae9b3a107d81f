/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* Platforms as OCI names them: GOOS, GOARCH and a variant. */
#ifndef IMAGE_PLATFORM_H
#define IMAGE_PLATFORM_H

#include <jansson.h>
#include <stdbool.h>

#include "lib/base/error.h"

struct platform {
	char os[32];
	char architecture[32];
	char variant[32]; /* "" when none */
};

/* "OS/ARCH[/VARIANT]"; x86_64 and aarch64 are taken as amd64 and arm64, as containerd does. */
int platform_parse(struct platform *p, const char *s, struct error **err);

/* This machine's: linux and uname's machine in Go's words. */
void platform_host(struct platform *p);

/* From a descriptor's or config's object; members that are absent or odd become "". */
void platform_from_json(struct platform *p, const json_t *object);

/* "linux/arm/v7", with "unknown" for empty members; returns buf. */
#define PLATFORM_MAX_STR 100
const char *platform_format(const struct platform *p, char buf[static PLATFORM_MAX_STR]);

/*
 * How well a descriptor's (or config's) platform object fits what was asked for: 0 not at all,
 * else more is better. A lower variant fits too (arm/v6 where arm/v7 was asked for), as in
 * containerd.
 */
unsigned platform_fit(const struct platform *wanted, const json_t *object);
bool platform_matches(const struct platform *wanted, const json_t *object);

#endif
