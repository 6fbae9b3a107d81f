/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* Inside of the fuse transport: the tree's requests, the data's, and the mount. */
#ifndef SERVE_FUSE_PART_H
#define SERVE_FUSE_PART_H

#include "lib/serve/transport/fuse.h"
#include "lib/serve/transport/fuse_connection.h"

struct fuse_mount {
	struct session *session;
	const struct bootstrap *tree;
	struct fuse_connection *connection; /* of a daemon's mount; else ... */
	struct fuse_session *fuse; /* ... libfuse's, which has mounted it */
	struct fuse_pendings *pendings;
	bool privileged; /* as root of the whole system */
	bool mounted;
	bool no_open, no_opendir; /* the kernel need not ask */
};

/* Seconds for which the kernel may remember: an image never changes. */
#define FUSE_FOREVER 1e9

static inline struct fuse_mount *mount_of(fuse_req_t req)
{
	return fuse_req_userdata(req);
}

/*
 * A node is an inode, whose number in the image is its NID, as st_ino says. FUSE's own number of
 * the root is fixed, and 0 means none.
 */
static inline uint64_t nid_of(const struct fuse_mount *m, fuse_ino_t node)
{
	return node == FUSE_ROOT_ID ? bootstrap_super(m->tree)->root_nid
				    : node - (FUSE_ROOT_ID + 1);
}

static inline fuse_ino_t node_of(const struct fuse_mount *m, uint64_t nid)
{
	return nid == bootstrap_super(m->tree)->root_nid ? FUSE_ROOT_ID : nid + FUSE_ROOT_ID + 1;
}

/* 0, or -1: then the request has been answered with EIO. */
int find_inode(fuse_req_t req, fuse_ino_t node, struct bootstrap_inode *inode);

/* Answer with EIO for a fault of the bootstrap; frees the error. */
void answer_fault(fuse_req_t req, struct error *err);

/* fuse.c */
extern const struct fuse_lowlevel_ops fuse_tree_operations; /* with a struct fuse_mount */
void fuse_catch_log(void); /* libfuse's words go to our log */

/* fuse_tree.c */
void serve_lookup(fuse_req_t req, fuse_ino_t parent, const char *name);
void serve_getattr(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *fi);
void serve_readlink(fuse_req_t req, fuse_ino_t node);
void serve_readdir(
	fuse_req_t req, fuse_ino_t node, size_t size, off_t at, struct fuse_file_info *fi);
void serve_readdirplus(
	fuse_req_t req, fuse_ino_t node, size_t size, off_t at, struct fuse_file_info *fi);
void serve_statfs(fuse_req_t req, fuse_ino_t node);

/* fuse_xattr.c */
void serve_getxattr(fuse_req_t req, fuse_ino_t node, const char *name, size_t size);
void serve_listxattr(fuse_req_t req, fuse_ino_t node, size_t size);

/* fuse_data.c */
void serve_read(
	fuse_req_t req, fuse_ino_t node, size_t size, off_t offset, struct fuse_file_info *fi);
void serve_lseek(
	fuse_req_t req, fuse_ino_t node, off_t offset, int whence, struct fuse_file_info *fi);

#endif
