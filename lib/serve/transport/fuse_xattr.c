// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include <errno.h>
#include <string.h>

#include "lib/base/mem.h"
#include "lib/serve/transport/fuse_part.h"

static void answer(fuse_req_t req, const void *p, size_t len, size_t room)
{
	if (!room)
		fuse_reply_xattr(req, len);
	else if (len > room)
		fuse_reply_err(req, ERANGE);
	else
		fuse_reply_buf(req, p, len);
}

struct wanted {
	const char *name;
	bool found;
	struct bootstrap_xattr xattr;
};

static int compare(void *arg, const struct bootstrap_xattr *x, struct error **err)
{
	struct wanted *w = arg;
	size_t n = strlen(x->prefix);

	(void)err;
	if (strncmp(w->name, x->prefix, n) != 0 || strlen(w->name + n) != x->suffix_len ||
		memcmp(w->name + n, x->suffix, x->suffix_len) != 0)
		return 0;
	w->found = true;
	w->xattr = *x;
	return 1;
}

/* Who may ask for which, the kernel has decided before (xattr(7)). */
void serve_getxattr(fuse_req_t req, fuse_ino_t node, const char *name, size_t size)
{
	struct wanted w = { .name = name };
	struct bootstrap_inode inode;
	struct error *err = NULL;

	if (find_inode(req, node, &inode) < 0)
		return;
	if (bootstrap_xattrs(mount_of(req)->tree, &inode, compare, &w, &err) < 0 && !w.found)
		return answer_fault(req, err);
	if (w.found)
		answer(req, w.xattr.value, w.xattr.value_len, size);
	else
		fuse_reply_err(req, ENODATA);
}

struct names {
	bool trusted; /* may be seen */
	char *buf;
	size_t len, cap;
};

static void append(struct names *l, const char *p, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		l->buf = xgrow(l->buf, l->len, &l->cap, 1);
		l->buf[l->len++] = p[i];
	}
}

static int add(void *arg, const struct bootstrap_xattr *x, struct error **err)
{
	struct names *l = arg;

	(void)err;
	if (!l->trusted && !strncmp(x->prefix, "trusted.", 8))
		return 0;
	append(l, x->prefix, strlen(x->prefix));
	append(l, x->suffix, x->suffix_len);
	append(l, "", 1);
	return 0;
}

/*
 * A list of names is ours alone to filter: the kernel's EROFS shows trusted ones to who has
 * CAP_SYS_ADMIN. FUSE tells no capabilities; the nearest is root where that means something.
 */
void serve_listxattr(fuse_req_t req, fuse_ino_t node, size_t size)
{
	const struct fuse_mount *m = mount_of(req);
	struct names l = { .trusted = m->privileged && fuse_req_ctx(req)->uid == 0 };
	CLEANUP_FREE char *buf = NULL;
	struct bootstrap_inode inode;
	struct error *err = NULL;
	int r;

	if (find_inode(req, node, &inode) < 0)
		return;
	r = bootstrap_xattrs(m->tree, &inode, add, &l, &err);
	buf = l.buf;
	if (r < 0)
		return answer_fault(req, err);
	answer(req, buf, l.len, size);
}
