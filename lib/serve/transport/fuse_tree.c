// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/* Names and attributes, out of the bootstrap: nothing here waits. */
#include "config.h"

#include <errno.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "lib/base/log.h"
#include "lib/base/mem.h"
#include "lib/bootstrap/lookup.h"
#include "lib/serve/transport/fuse_part.h"

void answer_fault(fuse_req_t req, struct error *err)
{
	log_warn("the bootstrap: %s", err->msg);
	error_free(err);
	fuse_reply_err(req, EIO);
}

int find_inode(fuse_req_t req, fuse_ino_t node, struct bootstrap_inode *inode)
{
	const struct fuse_mount *m = mount_of(req);
	struct error *err = NULL;

	if (bootstrap_inode(m->tree, nid_of(m, node), inode, &err) == 0)
		return 0;
	answer_fault(req, err);
	return -1;
}

/* As Linux' erofs_read_inode() does it: one time for all, blocks by the size, holes or not. */
static struct stat stat_of(const struct bootstrap_inode *i)
{
	const struct timespec mtime = { .tv_sec = i->inode.mtime, .tv_nsec = i->inode.mtime_nsec };
	struct stat st = { .st_ino = i->nid,
		.st_mode = i->inode.mode,
		.st_nlink = i->inode.nlink,
		.st_uid = i->inode.uid,
		.st_gid = i->inode.gid,
		.st_size = (off_t)i->inode.size,
		.st_blksize = EROFS_BLOCK_SIZE,
		.st_atim = mtime,
		.st_mtim = mtime,
		.st_ctim = mtime };
	uint32_t major_number, minor_number;

	st.st_blocks =
		(st.st_size + EROFS_BLOCK_SIZE - 1) / EROFS_BLOCK_SIZE * (EROFS_BLOCK_SIZE / 512);
	if (S_ISCHR(st.st_mode) || S_ISBLK(st.st_mode)) {
		erofs_decode_dev(i->inode.u, &major_number, &minor_number);
		st.st_rdev = makedev(major_number, minor_number);
	}
	return st;
}

static struct fuse_entry_param entry_of(const struct fuse_mount *m, const struct bootstrap_inode *i)
{
	return (struct fuse_entry_param){ .ino = node_of(m, i->nid),
		.attr = stat_of(i),
		.attr_timeout = FUSE_FOREVER,
		.entry_timeout = FUSE_FOREVER };
}

void serve_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	const struct fuse_mount *m = mount_of(req);
	/* what is not there never will be, either */
	struct fuse_entry_param entry = { .entry_timeout = FUSE_FOREVER };
	struct bootstrap_inode dir, inode;
	struct bootstrap_name found;
	struct error *err = NULL;
	int r;

	if (find_inode(req, parent, &dir) < 0)
		return;
	r = bootstrap_lookup(m->tree, &dir, name, strlen(name), &found, &err);
	if (r > 0 && bootstrap_inode(m->tree, found.nid, &inode, &err) < 0)
		r = -1;
	if (r < 0)
		return answer_fault(req, err);
	if (r > 0)
		entry = entry_of(m, &inode);
	fuse_reply_entry(req, &entry);
}

void serve_getattr(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *fi)
{
	struct bootstrap_inode inode;
	struct stat st;

	(void)fi;
	if (find_inode(req, node, &inode) < 0)
		return;
	st = stat_of(&inode);
	fuse_reply_attr(req, &st, FUSE_FOREVER);
}

void serve_readlink(fuse_req_t req, fuse_ino_t node)
{
	CLEANUP_FREE char *target = NULL;
	struct bootstrap_inode inode;
	struct error *err = NULL;

	if (find_inode(req, node, &inode) < 0)
		return;
	target = bootstrap_readlink(mount_of(req)->tree, &inode, &err);
	if (!target)
		return answer_fault(req, err);
	fuse_reply_readlink(req, target);
}

/* An answer to readdir while it grows. */
struct listing {
	fuse_req_t req;
	bool plus; /* with the inodes' attributes */
	char *buf;
	size_t size, used;
	struct error *err;
};

static size_t add_plain(
	const struct listing *l, const char *name, const struct bootstrap_name *n, uint64_t next)
{
	static const mode_t modes[] = { [EROFS_FT_FILE] = S_IFREG,
		[EROFS_FT_DIR] = S_IFDIR,
		[EROFS_FT_CHAR] = S_IFCHR,
		[EROFS_FT_BLOCK] = S_IFBLK,
		[EROFS_FT_FIFO] = S_IFIFO,
		[EROFS_FT_SOCKET] = S_IFSOCK,
		[EROFS_FT_SYMLINK] = S_IFLNK };
	struct stat st = { .st_ino = n->nid };

	if (n->type < sizeof(modes) / sizeof(*modes))
		st.st_mode = modes[n->type];
	return fuse_add_direntry(
		l->req, l->buf + l->used, l->size - l->used, name, &st, (off_t)next);
}

static size_t add_plus(
	struct listing *l, const char *name, const struct bootstrap_name *n, uint64_t next)
{
	const struct fuse_mount *m = mount_of(l->req);
	struct fuse_entry_param entry;
	struct bootstrap_inode inode;

	if (bootstrap_inode(m->tree, n->nid, &inode, &l->err) < 0)
		return SIZE_MAX;
	entry = entry_of(m, &inode);
	return fuse_add_direntry_plus(
		l->req, l->buf + l->used, l->size - l->used, name, &entry, (off_t)next);
}

static int add_name(void *arg, const struct bootstrap_name *n, uint64_t next)
{
	char name[EROFS_NAME_MAX + 1];
	struct listing *l = arg;
	size_t len;

	memcpy(name, n->name, n->len);
	name[n->len] = '\0';
	len = l->plus ? add_plus(l, name, n, next) : add_plain(l, name, n, next);
	if (len > l->size - l->used)
		return 1;
	l->used += len;
	return 0;
}

static void list(fuse_req_t req, fuse_ino_t node, size_t size, off_t at, bool plus)
{
	CLEANUP_FREE char *buf = xmalloc(size + 1);
	struct listing l = { .req = req, .plus = plus, .buf = buf, .size = size };
	struct bootstrap_inode dir;

	if (find_inode(req, node, &dir) < 0)
		return;
	if (bootstrap_names_from(mount_of(req)->tree, &dir, (uint64_t)at, add_name, &l, &l.err) <
			0 ||
		l.err)
		return answer_fault(req, l.err);
	fuse_reply_buf(req, buf, l.used);
}

void serve_readdir(
	fuse_req_t req, fuse_ino_t node, size_t size, off_t at, struct fuse_file_info *fi)
{
	(void)fi;
	list(req, node, size, at, false);
}

void serve_readdirplus(
	fuse_req_t req, fuse_ino_t node, size_t size, off_t at, struct fuse_file_info *fi)
{
	(void)fi;
	list(req, node, size, at, true);
}

/* As Linux' erofs_statfs(). */
void serve_statfs(fuse_req_t req, fuse_ino_t node)
{
	const struct fuse_mount *m = mount_of(req);
	const struct erofs_super *super = bootstrap_super(m->tree);
	struct statvfs s = { .f_bsize = EROFS_BLOCK_SIZE,
		.f_frsize = EROFS_BLOCK_SIZE,
		.f_blocks = super->blocks,
		.f_files = UINT64_MAX,
		.f_ffree = UINT64_MAX - super->inodes,
		.f_namemax = EROFS_NAME_MAX };

	(void)node;
	for (size_t i = 0; i < m->session->found.n_devices; i++)
		s.f_blocks += m->session->devices[i].size / EROFS_BLOCK_SIZE;
	fuse_reply_statfs(req, &s);
}
