// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "fmt/erofs.h"

#include <isa-l/crc.h>
#include <string.h>
#include <sys/stat.h>
#include <xxhash.h>

#include "fmt/le.h"

#define EROFS_MAGIC	     0xE0F5E1E2u
#define CHUNK_FORMAT_INDEXES 0x20u
#define XATTR_FILTER_SEED    0x25BBE08Fu
#define COMPAT_KNOWN	     (EROFS_COMPAT_CHECKSUM | EROFS_COMPAT_MTIME | EROFS_COMPAT_XATTR_FILTER)
#define INCOMPAT_KNOWN	     (EROFS_INCOMPAT_CHUNKED | EROFS_INCOMPAT_DEVICES)

void erofs_super_encode(uint8_t *p, const struct erofs_super *sb)
{
	memset(p, 0, EROFS_SUPER_SIZE);
	put_le32(p + 0x00, EROFS_MAGIC);
	put_le32(p + 0x08, sb->feature_compat);
	p[0x0c] = EROFS_BLOCK_BITS;
	put_le16(p + 0x0e, sb->root_nid);
	put_le64(p + 0x10, sb->inodes);
	put_le64(p + 0x18, (uint64_t)sb->epoch);
	put_le32(p + 0x20, sb->epoch_nsec);
	put_le32(p + 0x24, sb->blocks);
	put_le32(p + 0x28, sb->meta_blk);
	put_le32(p + 0x2c, sb->xattr_blk);
	memcpy(p + 0x30, sb->uuid, sizeof(sb->uuid));
	memcpy(p + 0x40, sb->volume_name, sizeof(sb->volume_name) - 1);
	put_le32(p + 0x50, sb->feature_incompat);
	put_le16(p + 0x56, sb->devices);
	put_le16(p + 0x58, sb->device_table_slot);
}

/* CRC32-C, seed ~0 without final inversion, over the block from the superblock on. */
static uint32_t block_checksum(const uint8_t *block)
{
	uint8_t copy[EROFS_BLOCK_SIZE - EROFS_SUPER_OFFSET];

	memcpy(copy, block + EROFS_SUPER_OFFSET, sizeof(copy));
	put_le32(copy + 4, 0);
	return crc32_iscsi(copy, sizeof(copy), UINT32_MAX);
}

void erofs_super_seal(uint8_t block[static EROFS_BLOCK_SIZE])
{
	put_le32(block + EROFS_SUPER_OFFSET + 4, block_checksum(block));
}

static int refuse(struct fault *fault, const char *what, uint64_t offset)
{
	*fault = (struct fault){ .what = what, .offset = offset };
	return -1;
}

int erofs_super_decode(
	struct erofs_super *sb, const uint8_t block[static EROFS_BLOCK_SIZE], struct fault *fault)
{
	const uint8_t *p = block + EROFS_SUPER_OFFSET;

	if (get_le32(p) != EROFS_MAGIC)
		return refuse(fault, "no EROFS magic", EROFS_SUPER_OFFSET);
	*sb = (struct erofs_super){
		.feature_compat = get_le32(p + 0x08),
		.root_nid = get_le16(p + 0x0e),
		.inodes = get_le64(p + 0x10),
		.epoch = (int64_t)get_le64(p + 0x18),
		.epoch_nsec = get_le32(p + 0x20),
		.blocks = get_le32(p + 0x24),
		.meta_blk = get_le32(p + 0x28),
		.xattr_blk = get_le32(p + 0x2c),
		.feature_incompat = get_le32(p + 0x50),
		.devices = get_le16(p + 0x56),
		.device_table_slot = get_le16(p + 0x58),
	};
	memcpy(sb->uuid, p + 0x30, sizeof(sb->uuid));
	memcpy(sb->volume_name, p + 0x40, sizeof(sb->volume_name));
	if (p[0x0c] != EROFS_BLOCK_BITS)
		return refuse(fault, "block size is not 4096", EROFS_SUPER_OFFSET + 0x0c);
	if (!(sb->feature_compat & EROFS_COMPAT_CHECKSUM) ||
		get_le32(p + 4) != block_checksum(block))
		return refuse(fault, "superblock checksum is wrong", EROFS_SUPER_OFFSET + 4);
	if (sb->feature_compat & ~COMPAT_KNOWN || !(sb->feature_compat & EROFS_COMPAT_MTIME))
		return refuse(
			fault, "compatible feature bits are not ours", EROFS_SUPER_OFFSET + 0x08);
	if (sb->feature_incompat & ~INCOMPAT_KNOWN)
		return refuse(fault, "unknown incompatible feature", EROFS_SUPER_OFFSET + 0x50);
	if (sb->volume_name[15])
		return refuse(fault, "volume name does not end", EROFS_SUPER_OFFSET + 0x40);
	if (sb->epoch_nsec >= 1000000000)
		return refuse(fault, "nanoseconds out of range", EROFS_SUPER_OFFSET + 0x20);
	if (p[0x0d] || get_le16(p + 0x54))
		return refuse(fault, "reserved bytes are not zero", EROFS_SUPER_OFFSET + 0x0d);
	for (unsigned i = 0x5a; i < EROFS_SUPER_SIZE; i++)
		if (p[i])
			return refuse(fault, "reserved bytes are not zero", EROFS_SUPER_OFFSET + i);
	return 0;
}

void erofs_device_slot_encode(uint8_t *p, const struct erofs_device_slot *slot)
{
	memset(p, 0, EROFS_DEVICE_SLOT_SIZE);
	memcpy(p, slot->tag, strnlen(slot->tag, 64));
	put_le32(p + 64, slot->blocks);
	put_le32(p + 68, slot->unified_blk);
}

int erofs_device_slot_decode(struct erofs_device_slot *slot, const uint8_t *p, struct fault *fault)
{
	memcpy(slot->tag, p, 64);
	slot->tag[64] = '\0';
	slot->blocks = get_le32(p + 64);
	slot->unified_blk = get_le32(p + 68);
	for (unsigned i = 72; i < EROFS_DEVICE_SLOT_SIZE; i++)
		if (p[i])
			return refuse(fault, "reserved bytes of a device slot are not zero", i);
	return 0;
}

bool erofs_inode_is_compact(const struct erofs_inode *inode, int64_t epoch, uint32_t epoch_nsec)
{
	return inode->size <= UINT32_MAX && inode->uid <= UINT16_MAX && inode->gid <= UINT16_MAX &&
	       inode->nlink <= UINT16_MAX && inode->mtime == epoch &&
	       inode->mtime_nsec == epoch_nsec;
}

void erofs_inode_encode(uint8_t *p, const struct erofs_inode *inode)
{
	memset(p, 0, erofs_inode_size(inode));
	put_le16(p + 0, (uint16_t)((inode->extended ? 1u : 0u) | (unsigned)inode->layout << 1));
	put_le16(p + 2, inode->xattr_count);
	put_le16(p + 4, inode->mode);
	put_le32(p + 16, inode->u);
	put_le32(p + 20, inode->ino);
	if (!inode->extended) {
		put_le16(p + 6, (uint16_t)inode->nlink);
		put_le32(p + 8, (uint32_t)inode->size);
		put_le16(p + 24, (uint16_t)inode->uid);
		put_le16(p + 26, (uint16_t)inode->gid);
		return;
	}
	put_le64(p + 8, inode->size);
	put_le32(p + 24, inode->uid);
	put_le32(p + 28, inode->gid);
	put_le64(p + 32, (uint64_t)inode->mtime);
	put_le32(p + 40, inode->mtime_nsec);
	put_le32(p + 44, inode->nlink);
}

static void decode_compact(
	struct erofs_inode *inode, const uint8_t *p, const struct erofs_super *sb)
{
	inode->nlink = get_le16(p + 6);
	inode->size = get_le32(p + 8);
	inode->uid = get_le16(p + 24);
	inode->gid = get_le16(p + 26);
	inode->mtime = sb->epoch;
	inode->mtime_nsec = sb->epoch_nsec;
}

static void decode_extended(struct erofs_inode *inode, const uint8_t *p)
{
	inode->size = get_le64(p + 8);
	inode->uid = get_le32(p + 24);
	inode->gid = get_le32(p + 28);
	inode->mtime = (int64_t)get_le64(p + 32);
	inode->mtime_nsec = get_le32(p + 40);
	inode->nlink = get_le32(p + 44);
}

int erofs_inode_decode(struct erofs_inode *inode, const uint8_t *p, size_t len,
	const struct erofs_super *sb, struct fault *fault)
{
	uint16_t format;

	if (len < EROFS_COMPACT_SIZE)
		return refuse(fault, "inode is cut short", 0);
	format = get_le16(p);
	if (format & ~0xfu)
		return refuse(fault, "unknown inode format", 0);
	*inode = (struct erofs_inode){
		.extended = format & 1,
		.layout = (enum erofs_layout)(format >> 1),
		.xattr_count = get_le16(p + 2),
		.mode = get_le16(p + 4),
		.u = get_le32(p + 16),
		.ino = get_le32(p + 20),
	};
	if (inode->layout != EROFS_FLAT_PLAIN && inode->layout != EROFS_FLAT_INLINE &&
		inode->layout != EROFS_CHUNKED)
		return refuse(fault, "unknown data layout", 0);
	if (len < erofs_inode_size(inode))
		return refuse(fault, "inode is cut short", 0);
	if (inode->extended)
		decode_extended(inode, p);
	else
		decode_compact(inode, p, sb);
	if (inode->size > INT64_MAX)
		return refuse(fault, "file size is negative", 8);
	if (inode->mtime_nsec >= 1000000000)
		return refuse(fault, "nanoseconds out of range", 40);
	return 0;
}

uint32_t erofs_encode_dev(uint32_t major, uint32_t minor)
{
	return (minor & 0xff) | major << 8 | (minor & ~0xffu) << 12;
}

void erofs_decode_dev(uint32_t dev, uint32_t *major, uint32_t *minor)
{
	*major = (dev & 0xfff00) >> 8;
	*minor = (dev & 0xff) | ((dev >> 12) & 0xfff00);
}

uint32_t erofs_chunk_format(unsigned bits)
{
	return CHUNK_FORMAT_INDEXES | bits;
}

void erofs_chunk_index_encode(uint8_t *p, struct erofs_chunk_index index)
{
	put_le16(p, 0);
	put_le16(p + 2, index.device);
	put_le32(p + 4, index.blk);
}

struct erofs_chunk_index erofs_chunk_index_decode(const uint8_t *p)
{
	return (struct erofs_chunk_index){ .device = get_le16(p + 2), .blk = get_le32(p + 4) };
}

uint8_t erofs_file_type(uint16_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFREG:
		return EROFS_FT_FILE;
	case S_IFDIR:
		return EROFS_FT_DIR;
	case S_IFCHR:
		return EROFS_FT_CHAR;
	case S_IFBLK:
		return EROFS_FT_BLOCK;
	case S_IFIFO:
		return EROFS_FT_FIFO;
	case S_IFSOCK:
		return EROFS_FT_SOCKET;
	case S_IFLNK:
		return EROFS_FT_SYMLINK;
	default:
		return 0;
	}
}

void erofs_dirent_encode(uint8_t *p, const struct erofs_dirent *d)
{
	put_le64(p, d->nid);
	put_le16(p + 8, d->name_offset);
	p[10] = d->type;
	p[11] = 0;
}

void erofs_dirent_decode(struct erofs_dirent *d, const uint8_t *p)
{
	d->nid = get_le64(p);
	d->name_offset = get_le16(p + 8);
	d->type = p[10];
}

/* Ordered so that a whole name (no suffix allowed) is tried like any prefix. */
static const struct {
	const char *prefix;
	uint8_t index;
	bool whole;
} xattr_prefixes[] = {
	{ "user.", EROFS_XATTR_USER, false },
	{ "system.posix_acl_access", EROFS_XATTR_ACL_ACCESS, true },
	{ "system.posix_acl_default", EROFS_XATTR_ACL_DEFAULT, true },
	{ "trusted.", EROFS_XATTR_TRUSTED, false },
	{ "security.", EROFS_XATTR_SECURITY, false },
};

bool erofs_xattr_split(struct erofs_xattr_name *out, const char *name, size_t len)
{
	for (size_t i = 0; i < sizeof(xattr_prefixes) / sizeof(*xattr_prefixes); i++) {
		size_t n = strlen(xattr_prefixes[i].prefix);

		if (len < n || memcmp(name, xattr_prefixes[i].prefix, n) != 0)
			continue;
		/* an empty rest belongs to the whole names, and to them only; XATTR_NAME_MAX */
		if ((len == n) != xattr_prefixes[i].whole || len > 255)
			continue;
		*out = (struct erofs_xattr_name){ .index = xattr_prefixes[i].index,
			.suffix_len = (uint8_t)(len - n),
			.suffix = name + n };
		return true;
	}
	return false;
}

const char *erofs_xattr_prefix(uint8_t index)
{
	for (size_t i = 0; i < sizeof(xattr_prefixes) / sizeof(*xattr_prefixes); i++)
		if (xattr_prefixes[i].index == index)
			return xattr_prefixes[i].prefix;
	return NULL;
}

uint32_t erofs_xattr_filter_bit(const struct erofs_xattr_name *name)
{
	return 1u << (XXH32(name->suffix, name->suffix_len, XATTR_FILTER_SEED + name->index) & 31);
}

uint32_t erofs_xattr_entry_encode(
	uint8_t *p, const struct erofs_xattr_name *name, const void *value, uint32_t value_len)
{
	uint32_t size = erofs_xattr_entry_size(name->suffix_len, value_len);

	memset(p + size - 4, 0, 4);
	p[0] = name->suffix_len;
	p[1] = name->index;
	put_le16(p + 2, (uint16_t)value_len);
	memcpy(p + EROFS_XATTR_ENTRY_SIZE, name->suffix, name->suffix_len);
	if (value_len)
		memcpy(p + EROFS_XATTR_ENTRY_SIZE + name->suffix_len, value, value_len);
	return size;
}

void erofs_empty_image(uint8_t block[static EROFS_BLOCK_SIZE])
{
	/* The root's inode follows the superblock: slot 36. Its data is "." and ".." inline. */
	enum { ROOT_NID = (EROFS_SUPER_OFFSET + EROFS_SUPER_SIZE) / EROFS_SLOT_SIZE };
	const struct erofs_super sb = {
		.feature_compat = EROFS_COMPAT_CHECKSUM | EROFS_COMPAT_MTIME,
		.root_nid = ROOT_NID,
		.inodes = 1,
		.blocks = 1,
	};
	const struct erofs_inode root = {
		.layout = EROFS_FLAT_INLINE,
		.mode = S_IFDIR | 0755,
		.nlink = 2,
		.size = 2 * EROFS_DIRENT_SIZE + 3,
		.ino = 1,
	};
	struct erofs_dirent d = { .nid = ROOT_NID, .type = EROFS_FT_DIR };
	uint8_t *p = block + ROOT_NID * EROFS_SLOT_SIZE;

	memset(block, 0, EROFS_BLOCK_SIZE);
	erofs_super_encode(block + EROFS_SUPER_OFFSET, &sb);
	erofs_inode_encode(p, &root);
	p += EROFS_COMPACT_SIZE;
	d.name_offset = 2 * EROFS_DIRENT_SIZE;
	erofs_dirent_encode(p, &d);
	d.name_offset += 1;
	erofs_dirent_encode(p + EROFS_DIRENT_SIZE, &d);
	memcpy(p + 2 * EROFS_DIRENT_SIZE, "...", 3);
	erofs_super_seal(block);
}
