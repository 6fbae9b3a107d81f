/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* Which image manifest of a layout is meant by a tag and a platform. */
#ifndef IMAGE_CHOOSE_H
#define IMAGE_CHOOSE_H

#include <jansson.h>
#include <stdbool.h>

#include "lib/base/error.h"
#include "lib/image/layout.h"
#include "lib/image/platform.h"

/*
 * *d is the descriptor of an image manifest; it lives as long as *holder, which the caller
 * releases. *by_platform says whether an index's platform led there.
 */
int choose_manifest(struct descriptor *d, json_t **holder, bool *by_platform, const char *dir,
	const char *tag, const struct platform *wanted, struct error **err);

#endif
