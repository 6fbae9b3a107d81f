/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * JSON members with their types checked. As in Go, whose decoder is what other tools use, a
 * member that is null counts as absent, and of two members with one name the last one counts.
 */
#ifndef IMAGE_JSON_H
#define IMAGE_JSON_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/error.h"

/* Parse one object, or array; nesting is bounded by the library (2048). NULL on error. */
json_t *object_parse(const char *bytes, size_t len, struct error **err);
json_t *array_parse(const char *bytes, size_t len, struct error **err);

/* Compact, members in their order, the same bytes for the same value. The caller frees it. */
char *object_format(const json_t *object, size_t *len);

/*
 * The member `key`: *out is it, still the object's, or NULL when absent. A member of another
 * type is an error. Strings hold no NUL.
 */
int member_string(const json_t *object, const char *key, const char **out, struct error **err);
int member_object(const json_t *object, const char *key, json_t **out, struct error **err);
int member_array(const json_t *object, const char *key, json_t **out, struct error **err);

/* An object whose values are strings, as annotations are. */
int member_string_map(const json_t *object, const char *key, json_t **out, struct error **err);

/* A required integer that is not negative. */
int member_size(const json_t *object, const char *key, uint64_t *out, struct error **err);

#endif
