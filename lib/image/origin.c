// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/image/origin.h"

#include <errno.h>

#include "lib/base/mem.h"
#include "lib/image/json.h"

json_t *origin_read_index(const struct origin *c, struct error **err)
{
	if (c->remote)
		return remote_read_index(c->remote, err);
	return layout_check(&c->layout, err) < 0 ? NULL : layout_read_index(&c->layout, err);
}

char *origin_read_bytes(
	const struct origin *c, const struct descriptor *d, const char *what, struct error **err)
{
	char *bytes = c->remote ? remote_read_bytes(c->remote, d, err)
				: layout_read_bytes(&c->layout, d, err);
	char digest[DIGEST_MAX_STR];

	if (!bytes)
		error_wrap(err, "%s %s", what, digest_format(&d->digest, digest));
	return bytes;
}

json_t *origin_read_object(
	const struct origin *c, const struct descriptor *d, const char *what, struct error **err)
{
	CLEANUP_FREE char *bytes = origin_read_bytes(c, d, what, err);
	json_t *object = bytes ? object_parse(bytes, d->size, err) : NULL;
	char digest[DIGEST_MAX_STR];

	if (bytes && !object)
		error_wrap(err, "%s %s", what, digest_format(&d->digest, digest));
	return object;
}

struct stream *origin_open_stream(const struct origin *c, const struct digest *digest,
	uint64_t size, const char *name, struct error **err)
{
	struct file_range r;

	if (c->remote)
		return remote_open_stream(c->remote, digest, size, err);
	if (layout_open_blob(&c->layout, digest, size, &r, err) < 0)
		return NULL;
	return stream_from_range(r.fd, r.offset, r.size, name);
}

int origin_has_blob(
	const struct origin *c, const struct digest *digest, uint64_t size, struct error **err)
{
	CLEANUP_FILE_RANGE struct file_range r = FILE_RANGE_NONE;
	uint64_t has;
	int rc;

	if (c->remote) {
		rc = remote_has_blob(c->remote, digest, &has, err);
		return rc < 1 ? rc : has == size || has == UINT64_MAX; /* not stated */
	}
	if (layout_open_blob(&c->layout, digest, size, &r, err) == 0)
		return 1;
	if ((*err)->code != ENOENT)
		return -1;
	error_free(take_ptr(*err));
	return 0;
}
