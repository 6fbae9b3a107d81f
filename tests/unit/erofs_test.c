// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/*
 * fmt/erofs.c against bytes written by hand from the format's description, and against what
 * Linux 6.18 made of images: the checksum that it accepted, the filter bits at which it did not
 * find an xattr.
 */
#include "config.h"

#include <sys/stat.h>

#include "fmt/erofs.h"
#include "fmt/le.h"
#include "tests/unit/tap.h"

static void check_bytes(const uint8_t *got, const uint8_t *want, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (got[i] != want[i]) {
			printf("# at byte %zu of %zu\n", i, len);
			CHECK_U64(got[i], want[i]);
		}
}

static const struct erofs_super super = {
	.feature_compat = EROFS_COMPAT_CHECKSUM | EROFS_COMPAT_MTIME | EROFS_COMPAT_XATTR_FILTER,
	.feature_incompat = EROFS_INCOMPAT_CHUNKED | EROFS_INCOMPAT_DEVICES,
	.root_nid = 0x1234,
	.inodes = 0x0102030405060708,
	.epoch = -2,
	.epoch_nsec = 999999999,
	.blocks = 0x11223344,
	.meta_blk = 0x55667788,
	.xattr_blk = 0x99aabbcc,
	.uuid = { 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15 },
	.volume_name = "fifteen bytes!!",
	.devices = 0x0a0b,
	.device_table_slot = 0x0c0d,
};

static const uint8_t super_bytes[EROFS_SUPER_SIZE] = {
	/* 0x00: magic, checksum, feature_compat, blkszbits, sb_extslots, rootnid */
	0xe2, 0xe1, 0xf5, 0xe0, 0, 0, 0, 0, 7, 0, 0, 0, 12, 0, 0x34, 0x12,
	/* 0x10: inos, epoch */
	8, 7, 6, 5, 4, 3, 2, 1, 0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
	/* 0x20: fixed_nsec, blocks, meta_blkaddr, xattr_blkaddr */
	0xff, 0xc9, 0x9a, 0x3b, 0x44, 0x33, 0x22, 0x11, 0x88, 0x77, 0x66, 0x55, 0xcc, 0xbb, 0xaa,
	0x99,
	/* 0x30: uuid */
	0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15,
	/* 0x40: volume_name */
	'f', 'i', 'f', 't', 'e', 'e', 'n', ' ', 'b', 'y', 't', 'e', 's', '!', '!', 0,
	/* 0x50: feature_incompat, compression, extra_devices, devt_slotoff, zeros */
	12, 0, 0, 0, 0, 0, 0x0b, 0x0a, 0x0d, 0x0c, 0
};

static void the_superblock_is_written_byte_for_byte(void)
{
	uint8_t p[EROFS_SUPER_SIZE];

	memset(p, 0xa5, sizeof(p));
	erofs_super_encode(p, &super);
	check_bytes(p, super_bytes, sizeof(p));
}

static void the_superblock_comes_back_as_it_was(void)
{
	uint8_t block[EROFS_BLOCK_SIZE] = { 0 };
	struct erofs_super back;
	struct fault fault;

	erofs_super_encode(block + EROFS_SUPER_OFFSET, &super);
	erofs_super_seal(block);
	if (!CHECK(erofs_super_decode(&back, block, &fault) == 0))
		return;
	CHECK_U64(back.feature_compat, super.feature_compat);
	CHECK_U64(back.feature_incompat, super.feature_incompat);
	CHECK_U64(back.root_nid, super.root_nid);
	CHECK_U64(back.inodes, super.inodes);
	CHECK_U64((uint64_t)back.epoch, (uint64_t)super.epoch);
	CHECK_U64(back.epoch_nsec, super.epoch_nsec);
	CHECK_U64(back.blocks, super.blocks);
	CHECK_U64(back.meta_blk, super.meta_blk);
	CHECK_U64(back.xattr_blk, super.xattr_blk);
	CHECK(memcmp(back.uuid, super.uuid, sizeof(back.uuid)) == 0);
	CHECK_STR(back.volume_name, super.volume_name);
	CHECK_U64(back.devices, super.devices);
	CHECK_U64(back.device_table_slot, super.device_table_slot);
}

/* The empty image with one byte of its superblock changed and sealed again: the fault. */
static const char *fault_with(unsigned at, uint8_t value)
{
	static uint8_t block[EROFS_BLOCK_SIZE];
	struct fault fault = { .what = "" };
	struct erofs_super sb;

	erofs_empty_image(block);
	block[EROFS_SUPER_OFFSET + at] = value;
	erofs_super_seal(block);
	return erofs_super_decode(&sb, block, &fault) < 0 ? fault.what : NULL;
}

static void superblocks_that_are_not_ours_are_refused(void)
{
	CHECK_STR(fault_with(0x00, 0), "no EROFS magic");
	CHECK_STR(fault_with(0x0c, 9), "block size is not 4096");
	CHECK_STR(fault_with(0x08, 0x0b), "compatible feature bits are not ours");
	CHECK_STR(fault_with(0x08, 0x01), "compatible feature bits are not ours");
	CHECK_STR(fault_with(0x50, 0x01), "unknown incompatible feature");
	CHECK_STR(fault_with(0x51, 0x01), "unknown incompatible feature");
	CHECK_STR(fault_with(0x4f, 'x'), "volume name does not end");
	CHECK_STR(fault_with(0x23, 0xff), "nanoseconds out of range");
	CHECK_STR(fault_with(0x0d, 1), "reserved bytes are not zero");
	CHECK_STR(fault_with(0x54, 1), "reserved bytes are not zero");
	for (unsigned at = 0x5a; at < EROFS_SUPER_SIZE; at++)
		CHECK_STR(fault_with(at, 1), "reserved bytes are not zero");
}

static void the_checksum_covers_the_first_block_from_the_superblock_on(void)
{
	uint8_t block[EROFS_BLOCK_SIZE];
	struct erofs_super sb;
	struct fault fault;

	for (unsigned at = 0; at < EROFS_BLOCK_SIZE; at++) {
		erofs_empty_image(block);
		block[at] ^= 0x10;
		CHECK_U64(erofs_super_decode(&sb, block, &fault) < 0, at >= EROFS_SUPER_OFFSET);
	}
}

static void the_empty_image_is_the_one_that_linux_mounts(void)
{
	static const uint8_t root[] = { /* compact, inline; mode 040755, 2 links, 27 bytes */
		4, 0, 0, 0, 0xed, 0x41, 2, 0, 27, 0, 0, 0, 0, 0, 0, 0,
		/* i_u, ino, uid and gid */
		0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
		/* "." and "..": NID 36, names at 24 and 25, directories */
		36, 0, 0, 0, 0, 0, 0, 0, 24, 0, 2, 0, 36, 0, 0, 0, 0, 0, 0, 0, 25, 0, 2, 0, '.',
		'.', '.', 0
	};
	uint8_t block[EROFS_BLOCK_SIZE];

	memset(block, 0xa5, sizeof(block));
	erofs_empty_image(block);
	check_bytes(block + 36 * 32, root, sizeof(root));
	CHECK_U64(get_le32(block + EROFS_SUPER_OFFSET + 4), 0x59c7bb95);
	for (unsigned at = 0; at < EROFS_SUPER_OFFSET; at++)
		CHECK_U64(block[at], 0);
	for (unsigned at = 36 * 32 + sizeof(root); at < sizeof(block); at++)
		CHECK_U64(block[at], 0);
}

static void device_slots_hold_tag_blocks_and_unified_address(void)
{
	struct erofs_device_slot slot = { .blocks = 0x01020304, .unified_blk = 0x05060708 }, back;
	uint8_t p[EROFS_DEVICE_SLOT_SIZE], want[EROFS_DEVICE_SLOT_SIZE] = { 0 };
	struct fault fault;

	memset(slot.tag, 'f', 64); /* all of the field: no NUL on disk */
	memset(want, 'f', 64);
	memcpy(want + 64, "\x04\x03\x02\x01\x08\x07\x06\x05", 8);
	memset(p, 0xa5, sizeof(p));
	erofs_device_slot_encode(p, &slot);
	check_bytes(p, want, sizeof(p));
	CHECK(erofs_device_slot_decode(&back, p, &fault) == 0);
	CHECK_STR(back.tag, slot.tag);
	CHECK_U64(back.blocks, slot.blocks);
	CHECK_U64(back.unified_blk, slot.unified_blk);
	for (unsigned at = 72; at < EROFS_DEVICE_SLOT_SIZE; at++) {
		p[at] = 1;
		CHECK(erofs_device_slot_decode(&back, p, &fault) < 0 && fault.offset == at);
		p[at] = 0;
	}
}

static void compact_inodes_are_written_byte_for_byte(void)
{
	static const uint8_t want[EROFS_COMPACT_SIZE] = { 8, 0, 0x22, 0x11, 0xa4, 0x81, 0xff, 0xff,
		0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0x25, 0, 0, 0, 0x44, 0x33, 0x22, 0x11, 0xfe,
		0xff, 0xff, 0xff, 0, 0, 0, 0 };
	const struct erofs_inode inode = { .layout = EROFS_CHUNKED,
		.xattr_count = 0x1122,
		.mode = S_IFREG | 0644,
		.nlink = 65535,
		.size = UINT32_MAX,
		.u = erofs_chunk_format(5),
		.ino = 0x11223344,
		.uid = 65534,
		.gid = 65535 };
	const struct erofs_super sb = { .epoch = -77, .epoch_nsec = 5 };
	struct erofs_inode back;
	struct fault fault;
	uint8_t p[EROFS_COMPACT_SIZE];

	memset(p, 0xa5, sizeof(p));
	erofs_inode_encode(p, &inode);
	check_bytes(p, want, sizeof(p));
	CHECK(erofs_inode_decode(&back, p, sizeof(p), &sb, &fault) == 0);
	CHECK(!back.extended && back.layout == EROFS_CHUNKED);
	CHECK_U64(back.xattr_count, 0x1122);
	CHECK_U64(back.nlink, 65535);
	CHECK_U64(back.size, UINT32_MAX);
	CHECK_U64(back.u, 0x25);
	CHECK_U64(back.uid, 65534);
	CHECK_U64(back.gid, 65535);
	CHECK(back.mtime == -77 && back.mtime_nsec == 5); /* the superblock's */
}

static void extended_inodes_are_written_byte_for_byte(void)
{
	static const uint8_t want[EROFS_EXTENDED_SIZE] = { 5, 0, 2, 0, 0xff, 0xa1, 0, 0,
		/* size, i_u, ino */
		0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 4, 3, 2, 1, 8, 7, 6, 5,
		/* uid, gid, mtime, nanoseconds, links, zeros */
		0xfe, 0xff, 0xff, 0xff, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0x80, 0xff, 0xc9, 0x9a,
		0x3b, 0, 0, 1, 0, 0 };
	const struct erofs_inode inode = { .extended = true,
		.layout = EROFS_FLAT_INLINE,
		.xattr_count = 2,
		.mode = S_IFLNK | 0777,
		.nlink = 65536,
		.size = INT64_MAX,
		.u = 0x01020304,
		.ino = 0x05060708,
		.uid = 0xfffffffe,
		.gid = 0x10001,
		.mtime = INT64_MIN,
		.mtime_nsec = 999999999 };
	struct erofs_inode back;
	struct fault fault;
	uint8_t p[EROFS_EXTENDED_SIZE];

	memset(p, 0xa5, sizeof(p));
	erofs_inode_encode(p, &inode);
	check_bytes(p, want, sizeof(p));
	CHECK(erofs_inode_decode(&back, p, sizeof(p), &super, &fault) == 0);
	CHECK(back.extended && back.layout == EROFS_FLAT_INLINE);
	CHECK_U64(back.mode, S_IFLNK | 0777);
	CHECK_U64(back.nlink, 65536);
	CHECK_U64(back.size, INT64_MAX);
	CHECK_U64(back.uid, 0xfffffffe);
	CHECK_U64(back.gid, 0x10001);
	CHECK(back.mtime == INT64_MIN && back.mtime_nsec == 999999999);
}

static void an_inode_is_compact_only_when_everything_fits(void)
{
	const struct erofs_inode fits = { .size = UINT32_MAX,
		.uid = 65535,
		.gid = 65535,
		.nlink = 65535,
		.mtime = 7,
		.mtime_nsec = 8 };
	struct erofs_inode i = fits;

	CHECK(erofs_inode_is_compact(&i, 7, 8));
	CHECK(!erofs_inode_is_compact(&i, 6, 8));
	CHECK(!erofs_inode_is_compact(&i, 7, 9));
	i.size++;
	CHECK(!erofs_inode_is_compact(&i, 7, 8));
	i = fits, i.uid++;
	CHECK(!erofs_inode_is_compact(&i, 7, 8));
	i = fits, i.gid++;
	CHECK(!erofs_inode_is_compact(&i, 7, 8));
	i = fits, i.nlink++;
	CHECK(!erofs_inode_is_compact(&i, 7, 8));
}

static const char *inode_fault(unsigned at, uint8_t value, size_t len)
{
	const struct erofs_inode inode = { .extended = true, .mode = S_IFREG, .nlink = 1 };
	uint8_t p[EROFS_EXTENDED_SIZE];
	struct fault fault = { .what = "" };
	struct erofs_inode back;

	erofs_inode_encode(p, &inode);
	p[at] = value;
	return erofs_inode_decode(&back, p, len, &super, &fault) < 0 ? fault.what : NULL;
}

static void inodes_that_are_not_ours_are_refused(void)
{
	CHECK(!inode_fault(0, 1, 64));
	CHECK_STR(inode_fault(0, 0x11, 64), "unknown inode format");
	CHECK_STR(inode_fault(1, 1, 64), "unknown inode format");
	CHECK_STR(inode_fault(0, 3, 64), "unknown data layout"); /* compressed */
	CHECK_STR(inode_fault(0, 7, 64), "unknown data layout");
	CHECK_STR(inode_fault(0, 1, 63), "inode is cut short");
	CHECK_STR(inode_fault(0, 0, 31), "inode is cut short");
	CHECK_STR(inode_fault(15, 0x80, 64), "file size is negative");
	CHECK_STR(inode_fault(43, 0x80, 64), "nanoseconds out of range");
}

static void device_numbers_are_packed_as_the_kernel_does(void)
{
	uint32_t major, minor;

	CHECK_U64(erofs_encode_dev(1, 3), 0x103);
	CHECK_U64(erofs_encode_dev(4095, 1048575), 0xffffffff);
	CHECK_U64(erofs_encode_dev(259, 0x12345), 0x12310345);
	erofs_decode_dev(0x12310345, &major, &minor);
	CHECK_U64(major, 259);
	CHECK_U64(minor, 0x12345);
}

static void chunk_indexes_and_dirents_are_written_byte_for_byte(void)
{
	const struct erofs_dirent d = {
		.nid = 0x0102030405060708, .name_offset = 0x0ffc, .type = EROFS_FT_SYMLINK
	};
	struct erofs_dirent d_back;
	struct erofs_chunk_index index;
	uint8_t p[EROFS_DIRENT_SIZE];

	memset(p, 0xa5, sizeof(p));
	erofs_chunk_index_encode(
		p, (struct erofs_chunk_index){ .device = 0x0102, .blk = 0x03040506 });
	check_bytes(p, (const uint8_t *)"\0\0\2\1\6\5\4\3", EROFS_CHUNK_INDEX_SIZE);
	index = erofs_chunk_index_decode(p);
	CHECK(index.device == 0x0102 && index.blk == 0x03040506);
	CHECK_U64(erofs_chunk_format(0), 0x20);
	CHECK_U64(erofs_chunk_format(31), 0x3f);
	erofs_dirent_encode(p, &d);
	check_bytes(p, (const uint8_t *)"\10\7\6\5\4\3\2\1\xfc\x0f\7\0", EROFS_DIRENT_SIZE);
	erofs_dirent_decode(&d_back, p);
	CHECK(d_back.nid == d.nid && d_back.name_offset == 0x0ffc && d_back.type == 7);
}

static void every_file_type_has_its_number(void)
{
	CHECK_U64(erofs_file_type(S_IFREG | 0644), 1);
	CHECK_U64(erofs_file_type(S_IFDIR | 0755), 2);
	CHECK_U64(erofs_file_type(S_IFCHR), 3);
	CHECK_U64(erofs_file_type(S_IFBLK), 4);
	CHECK_U64(erofs_file_type(S_IFIFO), 5);
	CHECK_U64(erofs_file_type(S_IFSOCK), 6);
	CHECK_U64(erofs_file_type(S_IFLNK), 7);
	CHECK_U64(erofs_file_type(0644), 0);
	CHECK_U64(erofs_file_type(0170000), 0);
}

static void xattr_names_are_split_at_their_prefix(void)
{
	static const struct {
		const char *name;
		uint8_t index; /* 0: cannot be stored */
		const char *suffix;
	} cases[] = {
		{ "user.a", 1, "a" },
		{ "user.user.a", 1, "user.a" },
		{ "trusted.overlay.opaque", 4, "overlay.opaque" },
		{ "security.capability", 6, "capability" },
		{ "system.posix_acl_access", 2, "" },
		{ "system.posix_acl_default", 3, "" },
		{ "user.", 0, NULL },
		{ "user", 0, NULL },
		{ "", 0, NULL },
		{ "system.posix_acl_accessx", 0, NULL },
		{ "system.other", 0, NULL },
		{ "lustre.lov", 0, NULL },
		{ "User.a", 0, NULL },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct erofs_xattr_name n;
		bool ok = erofs_xattr_split(&n, cases[i].name, strlen(cases[i].name));

		if (!CHECK(ok == (cases[i].index != 0)) || !ok)
			continue;
		CHECK_U64(n.index, cases[i].index);
		CHECK_U64(n.suffix_len, strlen(cases[i].suffix));
		CHECK(memcmp(n.suffix, cases[i].suffix, n.suffix_len) == 0);
		CHECK(strncmp(erofs_xattr_prefix(n.index), cases[i].name,
			      strlen(cases[i].name) - n.suffix_len) == 0);
	}
	CHECK(!erofs_xattr_prefix(5));
}

static void the_longest_xattr_name_has_255_bytes(void)
{
	struct erofs_xattr_name n;
	char name[257];

	memset(name, 'x', sizeof(name));
	memcpy(name, "user.", 5);
	CHECK(erofs_xattr_split(&n, name, 255) && n.suffix_len == 250);
	CHECK(!erofs_xattr_split(&n, name, 256));
}

static void the_name_filter_has_the_bits_at_which_linux_looks(void)
{
	static const struct {
		const char *name;
		unsigned bit;
	} seen[] = { { "user.comment", 19 }, { "user.x", 23 }, { "trusted.overlay.opaque", 20 },
		{ "security.capability", 29 }, { "security.selinux", 11 } };

	for (size_t i = 0; i < sizeof(seen) / sizeof(*seen); i++) {
		struct erofs_xattr_name n;

		CHECK(erofs_xattr_split(&n, seen[i].name, strlen(seen[i].name)));
		CHECK_U64(erofs_xattr_filter_bit(&n), 1u << seen[i].bit);
	}
}

static void xattr_entries_are_padded_to_four_bytes(void)
{
	static const uint8_t want[] = { 2, 1, 3, 0, 'a', 'b', 'v', 'a', 'l', 0, 0, 0 };
	struct erofs_xattr_name n;
	uint8_t p[sizeof(want)];

	memset(p, 0xa5, sizeof(p));
	CHECK(erofs_xattr_split(&n, "user.ab", 7));
	CHECK_U64(erofs_xattr_entry_encode(p, &n, "val", 3), sizeof(want));
	check_bytes(p, want, sizeof(want));
	CHECK(erofs_xattr_split(&n, "system.posix_acl_access", 23));
	CHECK_U64(erofs_xattr_entry_encode(p, &n, NULL, 0), 4);
	check_bytes(p, (const uint8_t *)"\0\2\0\0", 4);
	CHECK_U64(erofs_xattr_size(0), 0);
	CHECK_U64(erofs_xattr_size(1), 12);
	CHECK_U64(erofs_xattr_size(65535), 12 + 4 * 65534);
}

int main(void)
{
	RUN(the_superblock_is_written_byte_for_byte);
	RUN(the_superblock_comes_back_as_it_was);
	RUN(superblocks_that_are_not_ours_are_refused);
	RUN(the_checksum_covers_the_first_block_from_the_superblock_on);
	RUN(the_empty_image_is_the_one_that_linux_mounts);
	RUN(device_slots_hold_tag_blocks_and_unified_address);
	RUN(compact_inodes_are_written_byte_for_byte);
	RUN(extended_inodes_are_written_byte_for_byte);
	RUN(an_inode_is_compact_only_when_everything_fits);
	RUN(inodes_that_are_not_ours_are_refused);
	RUN(device_numbers_are_packed_as_the_kernel_does);
	RUN(chunk_indexes_and_dirents_are_written_byte_for_byte);
	RUN(every_file_type_has_its_number);
	RUN(xattr_names_are_split_at_their_prefix);
	RUN(the_longest_xattr_name_has_255_bytes);
	RUN(the_name_filter_has_the_bits_at_which_linux_looks);
	RUN(xattr_entries_are_padded_to_four_bytes);
	return tap_done();
}
