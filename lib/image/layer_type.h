/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* The media types of layers that this version reads. */
#ifndef IMAGE_LAYER_TYPE_H
#define IMAGE_LAYER_TYPE_H

#include <stdbool.h>

#include "lib/base/error.h"

/* An error names the type and says why it is not read. */
int layer_type_check(const char *media_type, struct error **err);

/* Not distributed by registries: the blob may be somewhere else than in the image. */
bool layer_type_is_foreign(const char *media_type);

/* Of cosign and sigstore, which store signatures as layers or name them as artifact types. */
bool layer_type_is_signature(const char *media_type);

/* An EROFS image, whether mountable or a device. */
bool layer_type_is_erofs(const char *media_type);

#endif
