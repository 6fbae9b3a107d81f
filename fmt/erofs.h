/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * EROFS on disk: the part of the format that this project writes and reads, as values in host
 * order and as bytes. Source: the kernel's fs/erofs/erofs_fs.h (Linux 5.16 to 6.18) and the
 * public EROFS documentation; docs/format/bootstrap.md says which subset is used and why.
 */
#ifndef FMT_EROFS_H
#define FMT_EROFS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fmt/fault.h"

#define EROFS_BLOCK_BITS       12u
#define EROFS_BLOCK_SIZE       (1u << EROFS_BLOCK_BITS)
#define EROFS_SLOT_SIZE	       32u /* NIDs count these */
#define EROFS_SUPER_OFFSET     1024u
#define EROFS_SUPER_SIZE       128u
#define EROFS_DEVICE_SLOT_SIZE 128u
#define EROFS_DIRENT_SIZE      12u
#define EROFS_NAME_MAX	       255u
#define EROFS_CHUNK_INDEX_SIZE 8u
#define EROFS_CHUNK_BITS_MAX   31u
#define EROFS_HOLE	       UINT32_MAX
#define EROFS_COMPACT_SIZE     32u
#define EROFS_EXTENDED_SIZE    64u
#define EROFS_SYMLINK_MAX      4095u /* the kernel cuts longer targets */
#define EROFS_DEV_MAJOR_MAX    4095u
#define EROFS_DEV_MINOR_MAX    1048575u
#define EROFS_ID_MAX	       (UINT32_MAX - 1) /* the kernel shows 2^32-1 as the overflow id */

#define EROFS_COMPAT_CHECKSUM	  0x1u
#define EROFS_COMPAT_MTIME	  0x2u
#define EROFS_COMPAT_XATTR_FILTER 0x4u
#define EROFS_INCOMPAT_CHUNKED	  0x4u
#define EROFS_INCOMPAT_DEVICES	  0x8u

struct erofs_super {
	uint32_t feature_compat;
	uint32_t feature_incompat;
	uint16_t root_nid;
	uint64_t inodes;
	int64_t epoch; /* seconds; the mtime of every compact inode */
	uint32_t epoch_nsec;
	uint32_t blocks; /* of the primary device */
	uint32_t meta_blk;
	uint32_t xattr_blk;
	uint8_t uuid[16];
	char volume_name[16]; /* NUL-terminated */
	uint16_t devices;
	uint16_t device_table_slot; /* byte offset / 128 */
};

/* Write the superblock at `p` (128 bytes); the checksum field stays 0. */
void erofs_super_encode(uint8_t *p, const struct erofs_super *sb);

/* The CRC of the first block, which it is then stored in: call when the block is complete. */
void erofs_super_seal(uint8_t block[static EROFS_BLOCK_SIZE]);

/*
 * Decode the superblock in the first block of an image; verifies magic, checksum, block size
 * and that no feature outside of the ones above is in use. 0, or -1 with *fault.
 */
int erofs_super_decode(
	struct erofs_super *sb, const uint8_t block[static EROFS_BLOCK_SIZE], struct fault *fault);

/*
 * A complete EROFS image of one block, an empty root directory: what each data blob begins
 * with, so that its media type is honest. Constant, so that equal blobs stay equal.
 */
void erofs_empty_image(uint8_t block[static EROFS_BLOCK_SIZE]);

struct erofs_device_slot {
	char tag[65]; /* 64 bytes on disk, here NUL-terminated */
	uint32_t blocks;
	uint32_t unified_blk; /* where the device starts when all are concatenated */
};

void erofs_device_slot_encode(uint8_t *p, const struct erofs_device_slot *slot);
int erofs_device_slot_decode(struct erofs_device_slot *slot, const uint8_t *p, struct fault *fault);

enum erofs_layout { EROFS_FLAT_PLAIN = 0, EROFS_FLAT_INLINE = 2, EROFS_CHUNKED = 4 };

struct erofs_inode {
	bool extended;
	enum erofs_layout layout;
	uint16_t xattr_count; /* i_xattr_icount */
	uint16_t mode; /* with the S_IFMT bits */
	uint32_t nlink;
	uint64_t size;
	uint32_t u; /* start block, device number or chunk format */
	uint32_t ino;
	uint32_t uid, gid;
	int64_t mtime;
	uint32_t mtime_nsec;
};

/* Does it fit the compact form, given the superblock's epoch? `extended` is not looked at. */
bool erofs_inode_is_compact(const struct erofs_inode *inode, int64_t epoch, uint32_t epoch_nsec);

/* Bytes that the inode itself takes: 32 or 64. */
static inline uint32_t erofs_inode_size(const struct erofs_inode *inode)
{
	return inode->extended ? EROFS_EXTENDED_SIZE : EROFS_COMPACT_SIZE;
}

/* Bytes of xattrs after an inode whose i_xattr_icount is `count`. */
static inline uint32_t erofs_xattr_size(uint16_t count)
{
	return count ? 12 + 4u * (count - 1u) : 0;
}

void erofs_inode_encode(uint8_t *p, const struct erofs_inode *inode);

/*
 * Decode the inode at p, of which len bytes can be read; a compact one gets its mtime from
 * the superblock.
 */
int erofs_inode_decode(struct erofs_inode *inode, const uint8_t *p, size_t len,
	const struct erofs_super *sb, struct fault *fault);

/* Device numbers as the kernel's new_encode_dev() packs them: 12 bits major, 20 bits minor. */
uint32_t erofs_encode_dev(uint32_t major, uint32_t minor);
void erofs_decode_dev(uint32_t dev, uint32_t *major, uint32_t *minor);

/* i_u of a chunked inode with 8-byte indexes; bits = log2(chunk size / block size). */
uint32_t erofs_chunk_format(unsigned bits);

struct erofs_chunk_index {
	uint16_t device; /* 1 and up; 0 for a hole */
	uint32_t blk; /* EROFS_HOLE for a hole */
};

void erofs_chunk_index_encode(uint8_t *p, struct erofs_chunk_index index);
struct erofs_chunk_index erofs_chunk_index_decode(const uint8_t *p);

enum erofs_file_type {
	EROFS_FT_FILE = 1,
	EROFS_FT_DIR,
	EROFS_FT_CHAR,
	EROFS_FT_BLOCK,
	EROFS_FT_FIFO,
	EROFS_FT_SOCKET,
	EROFS_FT_SYMLINK,
};

/* The dirent type of an inode's mode; 0 for a mode that is none of these. */
uint8_t erofs_file_type(uint16_t mode);

struct erofs_dirent {
	uint64_t nid;
	uint16_t name_offset; /* bytes from the start of the directory block */
	uint8_t type;
};

void erofs_dirent_encode(uint8_t *p, const struct erofs_dirent *d);
void erofs_dirent_decode(struct erofs_dirent *d, const uint8_t *p);

enum erofs_xattr_index {
	EROFS_XATTR_USER = 1,
	EROFS_XATTR_ACL_ACCESS = 2,
	EROFS_XATTR_ACL_DEFAULT = 3,
	EROFS_XATTR_TRUSTED = 4,
	EROFS_XATTR_SECURITY = 6,
};

/* An xattr's name as the format splits it. */
struct erofs_xattr_name {
	uint8_t index; /* which prefix: enum erofs_xattr_index */
	uint8_t suffix_len; /* the rest */
	const char *suffix; /* points into the name that was split; not NUL-terminated */
};

#define EROFS_XATTR_HEADER_SIZE 12u
#define EROFS_XATTR_ENTRY_SIZE	4u
#define EROFS_XATTR_VALUE_MAX	65535u
#define EROFS_XATTR_TOTAL_MAX	262148u /* an inode's xattrs in all: i_xattr_icount is 16 bits */

/* False when EROFS has no prefix for it, or the rest is empty or too long. */
bool erofs_xattr_split(struct erofs_xattr_name *out, const char *name, size_t len);

/* The prefix of an index ("user."), or NULL for one that is not known. */
const char *erofs_xattr_prefix(uint8_t index);

/* The bit of the name filter which says, when clear, that an xattr of this name may be there. */
uint32_t erofs_xattr_filter_bit(const struct erofs_xattr_name *name);

/* Bytes of one entry, padded to 4. */
static inline uint32_t erofs_xattr_entry_size(uint32_t name_len, uint32_t value_len)
{
	return (EROFS_XATTR_ENTRY_SIZE + name_len + value_len + 3u) & ~3u;
}

/* Write one entry with its padding; returns its size. */
uint32_t erofs_xattr_entry_encode(
	uint8_t *p, const struct erofs_xattr_name *name, const void *value, uint32_t value_len);

#endif
