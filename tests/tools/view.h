/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * What a bootstrap shows: a record for each inode, as the kernel tells it and as lib/bootstrap
 * reads it. Two views of one image must be the same.
 */
#ifndef TESTS_TOOLS_VIEW_H
#define TESTS_TOOLS_VIEW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/error.h"

struct view_inode {
	uint64_t nid;
	uint64_t stat; /* a hash: mode, links, owner, size, device number */
	uint64_t mtime; /* a hash */
	uint64_t content; /* a hash: data, target, or the names with inodes and types */
	uint64_t xattrs; /* a hash: names and values, whatever their order */
	uint64_t data, data_end; /* bytes of the image that it has in blocks (reader only) */
	uint64_t end; /* of its own bytes behind the inode (reader only) */
};

struct view {
	struct view_inode *of; /* by NID, each once */
	size_t n, cap;
};

void view_free(struct view *v);
struct view_inode *view_add(struct view *v); /* zeroed */
void view_sort(struct view *v); /* and each once */

/* ---- the hashes, made the same way by both ---- */

uint64_t view_hash(uint64_t seed, const void *p, size_t len);

struct view_stat {
	uint32_t mode, nlink, uid, gid, major, minor;
	uint64_t size;
};
uint64_t view_hash_stat(const struct view_stat *st);
uint64_t view_hash_time(int64_t sec, uint32_t nsec);

/* Of one xattr; an inode's are added up. Values of ACLs are left out: the kernel makes them anew.
 */
uint64_t view_hash_xattr(const char *name, size_t name_len, const void *value, size_t value_len);

/* Large files are looked at in places: piece i, or false when there is no more. */
bool view_piece(uint64_t size, unsigned i, uint64_t *offset, uint64_t *len);
enum { VIEW_PIECES_MAX = 64 };

/* ---- the two ---- */

/* Devices are their files' bytes. A fault of the reader is an error. */
struct view_device {
	const uint8_t *bytes;
	uint64_t size;
};
int view_by_reader(struct view *v, int fd, const struct view_device *devices, struct error **err);

/* Mounts the files (nowhere in the tree of mounts) and walks. */
int view_by_kernel(struct view *v, const char *image, char *const *devices, size_t n_devices,
	struct error **err);

#endif
