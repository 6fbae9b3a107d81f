// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/base/caller.h"

#include <errno.h>
#include <sys/fsuid.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/base/mem.h"

enum { GROUPS_MAX = 65536 }; /* NGROUPS_MAX of Linux */

/* What the thread had before caller_enter(). */
static __thread struct {
	gid_t *groups;
	int n_groups;
} before;

static int get_groups(struct caller *c, int socket, struct error **err)
{
	socklen_t size = 0;

	/* too small a buffer is answered with the size that is wanted */
	if (getsockopt(socket, SOL_SOCKET, SO_PEERGROUPS, NULL, &size) < 0 && errno != ERANGE)
		return error_set(err, errno, "cannot tell the groups of who asks");
	if (size == 0 || size > GROUPS_MAX * sizeof(gid_t))
		return 0;
	c->groups = xmalloc(size);
	if (getsockopt(socket, SOL_SOCKET, SO_PEERGROUPS, c->groups, &size) < 0)
		return error_set(err, errno, "cannot tell the groups of who asks");
	c->n_groups = size / sizeof(gid_t);
	return 0;
}

int caller_of_socket(struct caller *c, int socket, struct error **err)
{
	struct ucred peer;
	socklen_t size = sizeof(peer);

	*c = (struct caller){ 0 };
	if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0)
		return error_set(err, errno, "cannot tell who asks");
	*c = (struct caller){ .pid = peer.pid, .uid = peer.uid, .gid = peer.gid };
	if (get_groups(c, socket, err) == 0)
		return 0;
	caller_free(c);
	return -1;
}

void caller_copy(struct caller *to, const struct caller *from)
{
	*to = *from;
	to->groups = NULL;
	if (from->n_groups)
		to->groups = xmemdup(from->groups, from->n_groups * sizeof(gid_t));
}

void caller_free(struct caller *c)
{
	free(c->groups);
	*c = (struct caller){ 0 };
}

static bool is_this_process(const struct caller *c)
{
	return c->uid == geteuid();
}

bool caller_is_trusted(const struct caller *c)
{
	return c->uid == 0 || is_this_process(c);
}

/* Of this thread alone: setgroups(3) would change all. */
static int set_groups(size_t n, const gid_t *groups)
{
	return (int)syscall(SYS_setgroups, n, groups);
}

static int remember_groups(struct error **err)
{
	int n = getgroups(0, NULL);

	if (n < 0)
		return error_set(err, errno, "cannot tell this process's groups");
	before.groups = xcalloc((size_t)n + 1, sizeof(gid_t));
	before.n_groups = getgroups(n, before.groups);
	if (before.n_groups >= 0)
		return 0;
	cleanup_free_(&before.groups);
	before.groups = NULL;
	return error_set(err, errno, "cannot tell this process's groups");
}

/* The two calls have no result of their own: what is asked for next is what is so now. */
static bool set_ids(uid_t uid, gid_t gid)
{
	setfsgid(gid);
	if ((gid_t)setfsgid((gid_t)-1) != gid)
		return false;
	setfsuid(uid);
	return (uid_t)setfsuid((uid_t)-1) == uid;
}

int caller_enter(const struct caller *c, struct error **err)
{
	if (is_this_process(c))
		return 0;
	if (remember_groups(err) < 0)
		return -1;
	if (set_groups(c->n_groups, c->groups) == 0 && set_ids(c->uid, c->gid))
		return 0;
	caller_leave(c);
	return error_set(err, EPERM, "cannot act for user %u", (unsigned)c->uid);
}

void caller_leave(const struct caller *c)
{
	if (is_this_process(c) || !before.groups)
		return;
	/* nobody may go on with another's rights who thinks that he has his own */
	if (!set_ids(geteuid(), getegid()) ||
		(set_groups((size_t)before.n_groups, before.groups) < 0 && geteuid() == 0))
		abort();
	free(before.groups);
	before.groups = NULL;
}
