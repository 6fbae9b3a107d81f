// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/* The mounts of a daemon: many in one process, which may be replaced by another. */
#include "config.h"

#include "lib/base/mem.h"
#include "lib/base/privilege.h"
#include "lib/serve/transport/fuse_part.h"

enum { THREADS = 4 }; /* at most; no request waits for data on one of them */

struct fuse_mount *fuse_mount_begin_detached(struct session *s, struct keep *keep, const char *name,
	const char *source, unsigned attributes, int *mount, struct error **err)
{
	CLEANUP_FUSE_MOUNT struct fuse_mount *m = xzalloc(sizeof(*m));
	const struct fuse_connection_spec spec = { .name = name,
		.source = source,
		.attributes = attributes,
		.operations = &fuse_tree_operations,
		.userdata = m,
		.threads = THREADS };

	*mount = -1;
	m->session = s;
	m->tree = s->tree;
	m->privileged = privilege_is_full_root();
	if (fuse_check(err) < 0)
		return NULL;
	m->connection = fuse_connection_open(keep, &spec, mount, err);
	if (!m->connection)
		return NULL;
	m->pendings = fuse_connection_pendings(m->connection);
	return take_ptr(m);
}

int fuse_mount_run(struct fuse_mount *m, struct error **err)
{
	return fuse_connection_start(m->connection, err);
}

bool fuse_mount_is_gone(const struct fuse_mount *m)
{
	return fuse_connection_is_gone(m->connection);
}

void fuse_mount_forget(struct keep *keep, const char *name)
{
	fuse_connection_forget(keep, name);
}
