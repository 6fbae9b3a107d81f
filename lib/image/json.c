// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/image/json.h"

#include <stdbool.h>
#include <string.h>

#include "lib/base/mem.h"

/* JSON_ALLOW_NUL: Go takes \u0000 in a string, and most strings only pass through. */
static json_t *parse(const char *bytes, size_t len, struct error **err)
{
	json_error_t e;
	json_t *v = json_loadb(bytes, len, JSON_ALLOW_NUL, &e);

	if (!v) {
		for (char *c = e.text; *c; c++) /* it may quote the input */
			if ((unsigned char)*c < ' ' || *c == 0x7f)
				*c = '?';
		error_set(err, 0, "not valid JSON: %s (line %d, column %d)", e.text, e.line,
			e.column);
	}
	return v;
}

json_t *object_parse(const char *bytes, size_t len, struct error **err)
{
	json_t *v = parse(bytes, len, err);

	if (!v || json_is_object(v))
		return v;
	json_decref(v);
	error_set(err, 0, "not a JSON object");
	return NULL;
}

json_t *array_parse(const char *bytes, size_t len, struct error **err)
{
	json_t *v = parse(bytes, len, err);

	if (!v || json_is_array(v))
		return v;
	json_decref(v);
	error_set(err, 0, "not a JSON array");
	return NULL;
}

char *object_format(const json_t *object, size_t *len)
{
	char *s = json_dumps(object, JSON_COMPACT);

	if (!s)
		s = xstrdup("{}"); /* cannot be: json_dumps() fails on cycles and lack of memory */
	*len = strlen(s);
	return s;
}

static json_t *member(const json_t *object, const char *key)
{
	json_t *v = json_object_get(object, key);

	return json_is_null(v) ? NULL : v;
}

static bool is_c_string(const json_t *v)
{
	return json_is_string(v) && strlen(json_string_value(v)) == json_string_length(v);
}

int member_string(const json_t *object, const char *key, const char **out, struct error **err)
{
	json_t *v = member(object, key);

	*out = NULL;
	if (v && !is_c_string(v))
		return error_set(err, 0, "\"%s\" is not a string", key);
	if (v)
		*out = json_string_value(v);
	return 0;
}

int member_object(const json_t *object, const char *key, json_t **out, struct error **err)
{
	*out = member(object, key);
	if (*out && !json_is_object(*out))
		return error_set(err, 0, "\"%s\" is not an object", key);
	return 0;
}

int member_array(const json_t *object, const char *key, json_t **out, struct error **err)
{
	*out = member(object, key);
	if (*out && !json_is_array(*out))
		return error_set(err, 0, "\"%s\" is not an array", key);
	return 0;
}

int member_string_map(const json_t *object, const char *key, json_t **out, struct error **err)
{
	const char *name;
	json_t *v;

	if (member_object(object, key, out, err) < 0)
		return -1;
	json_object_foreach(*out, name, v) if (!is_c_string(v)) return error_set(
		err, 0, "\"%s\" holds something that is not a string", key);
	return 0;
}

int member_size(const json_t *object, const char *key, uint64_t *out, struct error **err)
{
	json_t *v = member(object, key);

	if (!v)
		return error_set(err, 0, "\"%s\" is missing", key);
	if (!json_is_integer(v) || json_integer_value(v) < 0)
		return error_set(err, 0, "\"%s\" is not a size in bytes", key);
	*out = (uint64_t)json_integer_value(v);
	return 0;
}
