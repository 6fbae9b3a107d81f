// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/* What somebody may have who is neither root nor the daemon's own user. */
#include "config.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>

#include "lib/base/mem.h"
#include "lib/bootstrap/walk.h"
#include "lib/serve/service/part.h"

enum { SAMPLE = 64 * 1024 }; /* bytes of a blob that has no frames, for a proof */

/* ---- the tree ---- */

/* 0:0 is a whiteout's number, and opens nothing. */
static int check_entry(void *arg, const struct bootstrap_entry *entry, struct error **err)
{
	const struct erofs_inode *i = &entry->inode->inode;

	(void)arg;
	if (entry->again || !(S_ISBLK(i->mode) || (S_ISCHR(i->mode) && i->u)))
		return 0;
	return error_set(err, 0, "others than root may not mount an image that has a device");
}

/*
 * That a mount honours no devices is no promise to keep them from whoever has its descriptor: as
 * root of a user namespace of his own he takes nosuid and nodev away (mount_setattr(2)). There a
 * set-user-ID of somebody else's means nothing, but a device is a device.
 */
static int check_tree(const struct mounted *m, struct error **err)
{
	struct bootstrap_walker walker = { .each = check_entry };

	if (bootstrap_walk(m->session->tree, &walker, err) == 0)
		return 0;
	return error_wrap(err, "%s", m->asked.image);
}

/* ---- the blobs ---- */

/* Some bytes, anywhere: who can get them from where he says can get the rest, too. */
static int prove_whole(const struct mounted *m, const struct session_device *d, struct error **err)
{
	size_t len = d->size < SAMPLE ? (size_t)d->size : SAMPLE;
	CLEANUP_FREE char *theirs = xmalloc(len + 1), *ours = xmalloc(len + 1);
	struct blob_source *source = m->ways.source;
	uint64_t at;
	int code;

	if (getrandom(&at, sizeof(at), 0) != sizeof(at))
		return error_set(err, errno, "no random numbers");
	at %= d->size - len + 1;
	if (source->read(source, &d->layer->digest, at, theirs, len, err) < 0)
		return -1;
	code = session_read(d, at, ours, len);
	if (code)
		return error_set(err, code, "cannot read %s", store_blob_path(d->whole));
	return memcmp(ours, theirs, len) == 0
		       ? 0
		       : error_set(err, 0, "its registry gives other bytes than the blob has");
}

static int prove(const struct mounted *m, const struct session_device *d, struct error **err)
{
	if (d->blob)
		return shared_blob_prove(d->blob, m->ways.source, err);
	return d->whole ? prove_whole(m, d, err) : 0;
}

int rights_check(const struct mounted *m, struct error **err)
{
	if (caller_is_trusted(&m->asked.caller))
		return 0;
	if (check_tree(m, err) < 0)
		return -1;
	for (size_t i = 0; i < m->session->found.n_devices; i++) {
		const struct session_device *d = &m->session->devices[i];

		if (prove(m, d, err) < 0)
			return error_wrap(err, "%s: its access to %s is not proved", m->asked.image,
				d->layer->name);
	}
	return 0;
}
