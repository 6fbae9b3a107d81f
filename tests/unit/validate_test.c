// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/*
 * lib/bootstrap/validate.h, rule by rule: what the writer makes is accepted, and with just one
 * rule broken it is refused for that reason.
 */
#include "config.h"

#include <sys/mman.h>

#include "fmt/erofs.h"
#include "lib/bootstrap/validate.h"
#include "tests/unit/random.h"
#include "tests/unit/sample_image.h"
#include "tests/unit/tap.h"

static struct sample sample;
static uint8_t *image; /* the sample's: what a rule breaks; made whole after each */

static int validate(struct error **err)
{
	const struct bootstrap_devices devices = { sample.devices, SAMPLE_DEVICES };
	struct bootstrap_validation r;

	if (sample.size >= EROFS_BLOCK_SIZE)
		erofs_super_seal(image);
	return bootstrap_validate(image, sample.size, &devices, &r, err);
}

/* ---- bytes of the sample, changed ---- */

static uint8_t *super(unsigned field)
{
	return image + EROFS_SUPER_OFFSET + field;
}

static uint8_t *slot(unsigned i)
{
	return image + 1152 + (size_t)i * 128;
}

static void add8(uint8_t *p, int n)
{
	*p = (uint8_t)(*p + n);
}

static void add16(uint8_t *p, int n)
{
	put_le16(p, (uint16_t)(get_le16(p) + n));
}

static void add32(uint8_t *p, int n)
{
	put_le32(p, get_le32(p) + (uint32_t)n);
}

static void add64(uint8_t *p, int n)
{
	put_le64(p, get_le64(p) + (uint64_t)(int64_t)n);
}

static uint8_t *at(const char *path)
{
	return sample_at(&sample, path);
}

static uint8_t *xattrs(const char *path)
{
	return sample_xattrs_at(&sample, path);
}

/* Chunk index i. */
static uint8_t *chunk(const char *path, unsigned i)
{
	uintptr_t offset = (uintptr_t)(sample_tail(&sample, path) - image);

	return image + ((offset + 7) & ~(uintptr_t)7) + (size_t)i * 8;
}

static uint8_t *shared(void)
{
	return image + (size_t)get_le32(super(0x2c)) * 4096;
}

/* The entry with this name in an inline directory; the last one matches by its beginning. */
static uint8_t *entry(const char *dir, const char *name)
{
	uint8_t *p = sample_tail(&sample, dir);
	unsigned n = get_le16(p + 8) / 12u;

	for (unsigned i = 0; i < n; i++, p += 12) {
		unsigned from = get_le16(p + 8);
		size_t len = i + 1 < n ? get_le16(p + 20) - from : strlen(name);

		if (len == strlen(name) && !memcmp(sample_tail(&sample, dir) + from, name, len))
			return p;
	}
	sample_die(NULL, name);
	return NULL;
}

static char *name(const char *dir, const char *of)
{
	return (char *)sample_tail(&sample, dir) + get_le16(entry(dir, of) + 8);
}

static uint8_t *crowd(unsigned block)
{
	return sample_block(&sample, "crowd") + (size_t)block * 4096;
}

static char *first_name(uint8_t *block)
{
	return (char *)block + get_le16(block + 8);
}

/* The last inode, an empty directory, 32 bytes further on. */
static void move_deep(void)
{
	uint8_t *p = at("dir/sub/deep");

	add64(sample_tail(&sample, "dir/sub/deep"), 1);
	add64(entry("dir/sub", "deep"), 1);
	memmove(p + 32, p, 96);
	memset(p, 0, 32);
}

/* The entry ".." becomes a further name of a file. */
static void hide_dots(void)
{
	uint8_t *p = entry("dir", "..");

	put_le64(p, get_le64(entry("dir", "hard")));
	p[10] = 1;
	name("dir", "..")[1] = 'h';
	add16(at("hard") + 6, 1);
}

/* The last name of a block without its end. */
static void shorten_last_name(void)
{
	uint8_t *block = crowd(0);
	unsigned n = get_le16(block + 8) / 12;
	unsigned from = get_le16(block + 12 * (n - 1) + 8) + 4;

	memset(block + from, 0, 4096 - from);
}

/* ---- superblock ---- */

static void bytes_before_the_superblock_are_zero(void)
{
	image[5] = 1;
}

static void the_magic_is_that_of_EROFS(void)
{
	add8(super(0), 1);
}

static void no_other_compatible_feature_is_set(void)
{
	add8(super(8), 8);
}

static void the_mtime_feature_is_set(void)
{
	add8(super(8), -2);
}

static void xattrs_come_with_the_name_filter(void)
{
	add8(super(8), -4);
}

static void a_block_has_4096_bytes(void)
{
	add8(super(0x0c), 1);
}

static void the_superblock_has_no_extension(void)
{
	add8(super(0x0d), 1);
}

static void the_root_stands_behind_the_device_table(void)
{
	add16(super(0x0e), 1);
}

static void the_root_is_inside_the_image(void)
{
	put_le16(super(0x0e), UINT16_MAX);
}

static void inodes_are_counted(void)
{
	add64(super(0x10), 1);
}

static void the_epoch_s_nanoseconds_are_below_a_second(void)
{
	put_le32(super(0x20), 1000000000);
}

static void blocks_are_those_of_the_file_not_more(void)
{
	add32(super(0x24), 1);
}

static void blocks_are_those_of_the_file_not_fewer(void)
{
	add32(super(0x24), -1);
}

static void NIDs_count_from_block_0(void)
{
	add32(super(0x28), 1);
}

static void the_shared_xattrs_stand_behind_the_inodes(void)
{
	add32(super(0x2c), -1);
}

static void the_shared_xattrs_are_inside_the_image(void)
{
	put_le32(super(0x2c), UINT32_MAX);
}

static void the_UUID_is_of_version_5(void)
{
	add8(super(0x36), 0x10);
}

static void the_UUID_is_of_the_RFC_s_variant(void)
{
	add8(super(0x38), 0x40);
}

static void the_volume_name_is_ours(void)
{
	add8(super(0x40), 1);
}

static void nothing_follows_the_volume_name(void)
{
	add8(super(0x4e), 1);
}

static void the_volume_name_ends(void)
{
	add8(super(0x4f), 1);
}

static void no_other_incompatible_feature_is_set(void)
{
	add8(super(0x50), 0x40);
}

static void chunk_indexes_come_with_their_feature(void)
{
	add8(super(0x50), -4);
}

static void devices_come_with_their_feature(void)
{
	add8(super(0x50), -8);
}

static void nothing_is_compressed(void)
{
	add16(super(0x54), 1);
}

static void the_device_table_has_the_devices_that_are_expected(void)
{
	add16(super(0x56), 1);
}

static void the_device_table_begins_behind_the_superblock(void)
{
	add16(super(0x58), 1);
}

static void the_superblock_s_end_is_zero(void)
{
	add8(super(0x7f), 1);
}

/* ---- devices ---- */

static void a_device_s_tag_is_a_digest(void)
{
	slot(0)[3] = 'x';
}

static void a_device_s_tag_is_the_digest_that_is_expected(void)
{
	slot(1)[3] = slot(1)[3] == 'a' ? 'b' : 'a';
}

static void a_device_has_the_blocks_that_are_expected(void)
{
	add32(slot(1) + 64, 1);
}

static void a_device_has_blocks(void)
{
	put_le32(slot(0) + 64, 0);
}

static void unified_addresses_follow_each_other(void)
{
	add32(slot(1) + 68, 1);
}

static void a_device_slot_s_end_is_zero(void)
{
	add8(slot(1) + 72, 1);
}

/* ---- inodes ---- */

static void an_inode_s_format_has_no_unknown_bits(void)
{
	add16(at("dir"), 16);
}

static void an_inode_s_layout_is_one_of_three(void)
{
	add16(at("empty"), 2);
}

static void a_compact_inode_s_reserved_bytes_are_zero(void)
{
	add8(at("empty") + 13, 1);
}

static void a_compact_inode_s_end_is_zero(void)
{
	add8(at("empty") + 31, 1);
}

static void an_extended_inode_s_reserved_bytes_are_zero(void)
{
	add8(at("dir/sub/deep") + 6, 1);
}

static void an_extended_inode_s_end_is_zero(void)
{
	add8(at("dir/sub/deep") + 63, 1);
}

static void a_mode_has_a_file_type(void)
{
	add16(at("empty") + 4, 0x1000);
}

static void there_are_no_sockets(void)
{
	put_le16(at("fifo") + 4, 0140600);
}

static void a_uid_can_be_shown(void)
{
	put_le32(at("labelled") + 24, UINT32_MAX);
}

static void a_gid_can_be_shown(void)
{
	put_le32(at("labelled") + 28, UINT32_MAX);
}

static void nanoseconds_are_below_a_second(void)
{
	put_le32(at("labelled") + 40, 1000000000);
}

static void inodes_are_numbered_in_their_order(void)
{
	add32(at("empty") + 20, 1);
}

static void a_file_has_a_name(void)
{
	add16(at("empty") + 6, -1);
}

static void a_directory_has_two_links_at_least(void)
{
	add16(at("acl") + 6, -1);
}

static void a_directory_s_subdirectories_are_counted(void)
{
	add16(at("dir") + 6, 1);
}

static void an_extended_inode_does_not_fit_the_compact_form(void)
{
	put_le64(at("dir/sub/deep") + 32, 0);
}

static void an_inode_stands_where_the_one_before_ends(void)
{
	move_deep();
}

static void what_is_between_inodes_is_zero(void)
{
	sample_tail(&sample, "link")[11] = 1;
}

static void what_is_behind_the_last_inode_is_zero(void)
{
	shared()[-1] = 1;
}

static void a_file_s_data_is_in_chunks(void)
{
	put_le16(at("small"), get_le16(at("small")) & 1u);
}

static void an_empty_file_has_no_chunks(void)
{
	add16(at("empty"), 8);
}

static void an_empty_file_has_no_start_block(void)
{
	add32(at("empty") + 16, 1);
}

static void a_fifo_has_no_device_number(void)
{
	add32(at("fifo") + 16, 1);
}

static void a_fifo_has_no_size(void)
{
	add32(at("fifo") + 8, 1);
}

static void a_device_has_no_size(void)
{
	add32(at("char") + 8, 1);
}

static void a_directory_is_not_too_small_for_its_two_dots(void)
{
	put_le32(at("dir") + 8, 26);
}

static void a_directory_is_not_larger_than_the_image(void)
{
	put_le32(at("crowd") + 8, UINT32_C(4095) << 20 | get_le32(at("crowd") + 8) % 4096);
}

static void a_tail_that_fits_is_inline(void)
{
	add16(at("link"), -4);
}

static void data_blocks_follow_each_other(void)
{
	add32(at("crowd") + 16, 1);
}

static void inline_data_has_no_start_block(void)
{
	add32(at("link") + 16, 1);
}

static void xattrs_stay_in_the_inodes_area(void)
{
	put_le16(at("small") + 2, UINT16_MAX);
}

static void hard_links_are_counted_not_more(void)
{
	add16(at("hard") + 6, 1);
}

static void hard_links_are_counted_not_fewer(void)
{
	add16(at("hard") + 6, -1);
}

/* ---- symlinks ---- */

static void a_symlink_has_a_target(void)
{
	put_le32(at("link") + 8, 0);
}

static void a_symlink_s_target_can_be_followed(void)
{
	put_le32(at("wider") + 8, 4096);
}

static void a_target_has_no_NUL_byte_inline(void)
{
	sample_tail(&sample, "link")[4] = 0;
}

static void a_target_has_no_NUL_byte_in_a_block(void)
{
	sample_block(&sample, "wider")[3999] = 0;
}

static void what_is_behind_a_target_in_its_block_is_zero(void)
{
	sample_block(&sample, "wider")[4000] = 1;
}

/* ---- chunks ---- */

static void chunk_indexes_have_8_bytes(void)
{
	add32(at("small") + 16, -0x20);
}

static void a_chunk_format_has_no_unknown_bits(void)
{
	add32(at("small") + 16, 0x40);
}

static void chunk_indexes_stay_in_the_inodes_area(void)
{
	put_le32(at("small") + 8, UINT32_MAX);
	put_le32(at("small") + 16, 0x20);
}

static void what_is_before_chunk_indexes_is_zero(void)
{
	chunk("small", 0)[-1] = 1;
}

static void a_chunk_s_block_address_has_no_high_bits(void)
{
	add16(chunk("small", 0), 1);
}

static void a_chunk_s_device_is_in_the_table(void)
{
	put_le16(chunk("small", 0) + 2, 3);
}

static void a_chunk_has_a_device(void)
{
	put_le16(chunk("small", 0) + 2, 0);
}

static void a_hole_has_no_device(void)
{
	put_le16(chunk("sparse", 0) + 2, 1);
}

static void a_chunk_s_blocks_are_in_its_device(void)
{
	put_le32(chunk("small", 0) + 4, SAMPLE_BLOCKS - 39);
}

static void a_chunk_is_as_large_as_it_can_be(void)
{
	put_le16(chunk("chunks", 3) + 2, 2);
	put_le32(chunk("chunks", 3) + 4, 1502);
}

static void a_chunk_is_not_larger_than_the_file_needs(void)
{
	add32(at("small") + 16, 1);
}

/* ---- xattrs ---- */

static void an_xattr_header_s_reserved_bytes_are_zero(void)
{
	add8(xattrs("small") + 11, 1);
}

static void an_xattr_header_has_xattrs_behind_it(void)
{
	add8(xattrs("small") + 4, 1);
}

static void an_xattr_header_is_not_alone(void)
{
	put_le16(at("small") + 2, 1);
}

static void the_name_filter_is_that_of_the_names(void)
{
	add32(xattrs("acl"), 1);
}

static void a_shared_id_is_where_an_entry_begins(void)
{
	add32(xattrs("small") + 12, 1);
}

static void a_shared_id_is_inside_the_shared_area(void)
{
	put_le32(xattrs("small") + 16, UINT32_MAX);
}

static void an_xattr_s_prefix_is_known(void)
{
	xattrs("chunks")[13] = 5;
}

static void an_xattr_of_a_prefix_that_ends_in_a_dot_has_more_of_a_name(void)
{
	xattrs("chunks")[12] = 0;
}

static void an_ACL_s_name_is_the_prefix_alone(void)
{
	xattrs("chunks")[13] = 2;
}

static void an_xattr_s_name_has_no_NUL_byte(void)
{
	xattrs("chunks")[17] = 0;
}

static void an_xattr_ends_where_its_inode_s_xattrs_end(void)
{
	add16(xattrs("chunks") + 26, 100);
}

static void what_is_behind_an_xattr_s_value_is_zero(void)
{
	xattrs("chunks")[21] = 1;
}

static void xattrs_are_in_the_order_of_their_names(void)
{
	memcpy(xattrs("chunks") + 16, "zzz", 3);
}

static void no_xattr_comes_twice(void)
{
	memcpy(xattrs("chunks") + 16, "two", 3);
}

static void no_xattr_comes_both_shared_and_of_its_own(void)
{
	memcpy(xattrs("labelled") + 16 + 4, "label", 5);
}

static void an_ACL_is_well_formed(void)
{
	add8(xattrs("acl") + 24, 1);
}

static void an_ACL_s_entries_are_in_order(void)
{
	xattrs("acl")[24 + 4] = 32;
}

static void capabilities_are_of_a_form_that_Linux_knows(void)
{
	xattrs("hard")[12 + 4 + 10 + 3] = 1;
}

static void a_shared_xattr_has_a_known_prefix(void)
{
	shared()[1] = 9;
}

static void what_is_behind_the_shared_xattrs_is_zero(void)
{
	shared()[4095] = 1;
}

/* ---- directories ---- */

static void a_directory_has_its_own_dot(void)
{
	hide_dots();
}

static void a_dot_is_the_directory_itself(void)
{
	put_le64(entry("dir", "."), get_le64(entry("dir", "..")));
}

static void two_dots_are_the_directory_above(void)
{
	put_le64(entry("dir/sub", ".."), get_le64(entry("dir", "..")));
}

static void a_dot_is_a_directory(void)
{
	entry("dir", ".")[10] = 1;
}

static void an_entry_s_type_is_its_inode_s(void)
{
	entry("dir", "hard")[10] = 7;
}

static void a_hard_link_s_type_is_its_inode_s(void)
{
	entry("dir/sub", "hard")[10] = 7;
}

static void an_entry_s_reserved_byte_is_zero(void)
{
	entry("dir", "hard")[11] = 1;
}

static void entries_are_in_order(void)
{
	name("dir", "hard")[0] = 'z';
}

static void no_name_comes_twice(void)
{
	memcpy(name("", "fifo"), "disk", 4);
}

static void names_are_in_order_across_blocks(void)
{
	first_name(crowd(1))[0] = ' ';
}

static void a_name_has_no_slash(void)
{
	name("dir", "hard")[2] = '/';
}

static void a_name_has_no_NUL_byte(void)
{
	name("dir", "hard")[2] = 0;
}

static void a_name_is_not_empty(void)
{
	put_le16(entry("dir", "hard") + 8, get_le16(entry("dir", "..") + 8));
}

static void a_name_lies_in_its_block(void)
{
	put_le16(entry("dir", "sub") + 8, 5000);
}

static void names_have_no_gap_before_them(void)
{
	add16(entry("dir", ".") + 8, 1);
}

static void names_begin_in_the_block(void)
{
	put_le16(entry("dir", ".") + 8, 12 * 300);
}

static void there_are_entries_before_names(void)
{
	put_le16(entry("dir", ".") + 8, 0);
}

static void what_is_behind_a_block_s_names_is_zero(void)
{
	crowd(0)[4095] = 1;
}

static void a_block_is_filled_as_long_as_the_next_name_fits(void)
{
	shorten_last_name();
}

static void a_directory_s_size_is_that_of_its_names(void)
{
	add32(at("dir") + 8, -1);
}

static void an_inode_is_inside_the_inodes_area(void)
{
	put_le64(entry("dir", "sub"), UINT64_C(1) << 60);
}

static void an_inode_number_is_where_an_inode_begins(void)
{
	put_le64(entry("dir", "hard"), 1);
}

static void a_directory_does_not_contain_itself(void)
{
	put_le64(entry("dir", "sub"), get_le64(entry("dir", ".")));
}

static void a_directory_has_one_name(void)
{
	put_le64(entry("dir/sub", "deep"), get_le64(entry("", "acl")));
}

static void an_inode_is_not_reached_twice_without_being_a_hard_link(void)
{
	put_le64(entry("dir", "hard"), get_le64(entry("", "empty")));
}

/* ---- what is run ---- */

static const struct rule {
	void (*breaks)(void);
	const char *sentence;
	const char *word; /* of the error */
} rules[] = {
#define RULE(fn, word)        \
	{                     \
		fn, #fn, word \
	}
	RULE(bytes_before_the_superblock_are_zero, "before the superblock"),
	RULE(the_magic_is_that_of_EROFS, "magic"),
	RULE(no_other_compatible_feature_is_set, "compatible feature"),
	RULE(the_mtime_feature_is_set, "compatible feature"),
	RULE(xattrs_come_with_the_name_filter, "name filter feature"),
	RULE(a_block_has_4096_bytes, "block size"),
	RULE(the_superblock_has_no_extension, "reserved"),
	RULE(the_root_stands_behind_the_device_table, "/: "),
	RULE(the_root_is_inside_the_image, "outside of the inodes' area"),
	RULE(inodes_are_counted, "counts"),
	RULE(the_epoch_s_nanoseconds_are_below_a_second, "nanoseconds"),
	RULE(blocks_are_those_of_the_file_not_more, "blocks, the file has"),
	RULE(blocks_are_those_of_the_file_not_fewer, "blocks, the file has"),
	RULE(NIDs_count_from_block_0, "NIDs do not count"),
	RULE(the_shared_xattrs_stand_behind_the_inodes, "shared xattr"),
	RULE(the_shared_xattrs_are_inside_the_image, "outside of the image"),
	RULE(the_UUID_is_of_version_5, "UUID"),
	RULE(the_UUID_is_of_the_RFC_s_variant, "UUID"),
	RULE(the_volume_name_is_ours, "volume name"),
	RULE(nothing_follows_the_volume_name, "volume name"),
	RULE(the_volume_name_ends, "volume name"),
	RULE(no_other_incompatible_feature_is_set, "incompatible feature"),
	RULE(chunk_indexes_come_with_their_feature, "chunked-file feature"),
	RULE(devices_come_with_their_feature, "device table feature"),
	RULE(nothing_is_compressed, "reserved"),
	RULE(the_device_table_has_the_devices_that_are_expected, "instead of 2"),
	RULE(the_device_table_begins_behind_the_superblock, "behind the superblock"),
	RULE(the_superblock_s_end_is_zero, "reserved"),
	RULE(a_device_s_tag_is_a_digest, "no digest"),
	RULE(a_device_s_tag_is_the_digest_that_is_expected, "another blob"),
	RULE(a_device_has_the_blocks_that_are_expected, "its blob"),
	RULE(a_device_has_blocks, "no blocks"),
	RULE(unified_addresses_follow_each_other, "unified address"),
	RULE(a_device_slot_s_end_is_zero, "reserved"),
	RULE(an_inode_s_format_has_no_unknown_bits, "inode format"),
	RULE(an_inode_s_layout_is_one_of_three, "layout"),
	RULE(a_compact_inode_s_reserved_bytes_are_zero, "reserved"),
	RULE(a_compact_inode_s_end_is_zero, "reserved"),
	RULE(an_extended_inode_s_reserved_bytes_are_zero, "reserved"),
	RULE(an_extended_inode_s_end_is_zero, "reserved"),
	RULE(a_mode_has_a_file_type, "no file type"),
	RULE(there_are_no_sockets, "no file type"),
	RULE(a_uid_can_be_shown, "uid or gid"),
	RULE(a_gid_can_be_shown, "uid or gid"),
	RULE(nanoseconds_are_below_a_second, "nanoseconds"),
	RULE(inodes_are_numbered_in_their_order, "inode number"),
	RULE(a_file_has_a_name, "link count 0"),
	RULE(a_directory_has_two_links_at_least, "link count 1"),
	RULE(a_directory_s_subdirectories_are_counted, "subdirectories"),
	RULE(an_extended_inode_does_not_fit_the_compact_form, "fits the compact form"),
	RULE(an_inode_stands_where_the_one_before_ends, "place is byte"),
	RULE(what_is_between_inodes_is_zero, "between two inodes"),
	RULE(what_is_behind_the_last_inode_is_zero, "after the last inode"),
	RULE(a_file_s_data_is_in_chunks, "layout 0 instead of 4"),
	RULE(an_empty_file_has_no_chunks, "layout 4 instead of 0"),
	RULE(an_empty_file_has_no_start_block, "start block"),
	RULE(a_fifo_has_no_device_number, "start block"),
	RULE(a_fifo_has_no_size, "not that of a file"),
	RULE(a_device_has_no_size, "not that of a file"),
	RULE(a_directory_is_not_too_small_for_its_two_dots, "not that of a file"),
	RULE(a_directory_is_not_larger_than_the_image, "reach beyond"),
	RULE(a_tail_that_fits_is_inline, "layout 0 instead of 2"),
	RULE(data_blocks_follow_each_other, "not the next one"),
	RULE(inline_data_has_no_start_block, "start block"),
	RULE(xattrs_stay_in_the_inodes_area, "xattrs reach beyond"),
	RULE(hard_links_are_counted_not_more, "names fewer"),
	RULE(hard_links_are_counted_not_fewer, "more names"),
	RULE(a_symlink_has_a_target, "not that of a file"),
	RULE(a_symlink_s_target_can_be_followed, "not that of a file"),
	RULE(a_target_has_no_NUL_byte_inline, "NUL byte"),
	RULE(a_target_has_no_NUL_byte_in_a_block, "NUL byte"),
	RULE(what_is_behind_a_target_in_its_block_is_zero, "after the data"),
	RULE(chunk_indexes_have_8_bytes, "chunk format"),
	RULE(a_chunk_format_has_no_unknown_bits, "chunk format"),
	RULE(chunk_indexes_stay_in_the_inodes_area, "reach beyond"),
	RULE(what_is_before_chunk_indexes_is_zero, "before chunk indexes"),
	RULE(a_chunk_s_block_address_has_no_high_bits, "reserved"),
	RULE(a_chunk_s_device_is_in_the_table, "no device 3"),
	RULE(a_chunk_has_a_device, "no device 0"),
	RULE(a_hole_has_no_device, "beyond the end of device 1"),
	RULE(a_chunk_s_blocks_are_in_its_device, "beyond the end of device 1"),
	RULE(a_chunk_is_as_large_as_it_can_be, "largest"),
	RULE(a_chunk_is_not_larger_than_the_file_needs, "largest"),
	RULE(an_xattr_header_s_reserved_bytes_are_zero, "reserved"),
	RULE(an_xattr_header_has_xattrs_behind_it, "do not fit"),
	RULE(an_xattr_header_is_not_alone, "without xattrs"),
	RULE(the_name_filter_is_that_of_the_names, "name filter is"),
	RULE(a_shared_id_is_where_an_entry_begins, "not where an entry begins"),
	RULE(a_shared_id_is_inside_the_shared_area, "shared xattr"),
	RULE(an_xattr_s_prefix_is_known, "unknown prefix"),
	RULE(an_xattr_of_a_prefix_that_ends_in_a_dot_has_more_of_a_name, "impossible name"),
	RULE(an_ACL_s_name_is_the_prefix_alone, "impossible name"),
	RULE(an_xattr_s_name_has_no_NUL_byte, "impossible name"),
	RULE(an_xattr_ends_where_its_inode_s_xattrs_end, "cut short"),
	RULE(what_is_behind_an_xattr_s_value_is_zero, "after an xattr"),
	RULE(xattrs_are_in_the_order_of_their_names, "order of names"),
	RULE(no_xattr_comes_twice, "twice"),
	RULE(no_xattr_comes_both_shared_and_of_its_own, "twice"),
	RULE(an_ACL_is_well_formed, "ACL"),
	RULE(an_ACL_s_entries_are_in_order, "out of order"),
	RULE(capabilities_are_of_a_form_that_Linux_knows, "capabilities"),
	RULE(a_shared_xattr_has_a_known_prefix, "unknown prefix"),
	RULE(what_is_behind_the_shared_xattrs_is_zero, "belong to nothing"),
	RULE(a_directory_has_its_own_dot, "without"),
	RULE(a_dot_is_the_directory_itself, "instead of"),
	RULE(two_dots_are_the_directory_above, "instead of"),
	RULE(a_dot_is_a_directory, "entry's type"),
	RULE(an_entry_s_type_is_its_inode_s, "entry's type"),
	RULE(a_hard_link_s_type_is_its_inode_s, "entry's type"),
	RULE(an_entry_s_reserved_byte_is_zero, "reserved byte"),
	RULE(entries_are_in_order, "ascending"),
	RULE(no_name_comes_twice, "ascending"),
	RULE(names_are_in_order_across_blocks, "ascending"),
	RULE(a_name_has_no_slash, "slash"),
	RULE(a_name_has_no_NUL_byte, "NUL"),
	RULE(a_name_is_not_empty, "a name that begins"),
	RULE(a_name_lies_in_its_block, "a name that begins"),
	RULE(names_have_no_gap_before_them, "names of a directory begin"),
	RULE(names_begin_in_the_block, "names of a directory begin"),
	RULE(there_are_entries_before_names, "names of a directory begin"),
	RULE(what_is_behind_a_block_s_names_is_zero, "after the last name"),
	RULE(a_block_is_filled_as_long_as_the_next_name_fits, "has room"),
	RULE(a_directory_s_size_is_that_of_its_names, "between two inodes"),
	RULE(an_inode_is_inside_the_inodes_area, "outside of the inodes' area"),
	RULE(an_inode_number_is_where_an_inode_begins, "no inode begins"),
	RULE(a_directory_does_not_contain_itself, "already part"),
	RULE(a_directory_has_one_name, "already part"),
	RULE(an_inode_is_not_reached_twice_without_being_a_hard_link, "more names"),
#undef RULE
};

static const struct rule *rule;

static void check_rule(void)
{
	CLEANUP_ERROR struct error *err = NULL;
	uint8_t *whole = xmemdup(image, sample.size);

	rule->breaks();
	if (CHECK(validate(&err) < 0) && !CHECK(strstr(err->msg, rule->word)))
		printf("# \"%s\" is not in: %s\n", rule->word, err->msg);
	if (err && getenv("TEST_SAY"))
		printf("# %s\n", err->msg);
	memcpy(image, whole, sample.size);
	free(whole);
}

static void what_the_writer_makes_is_accepted(void)
{
	const struct bootstrap_devices devices = { sample.devices, SAMPLE_DEVICES };
	CLEANUP_ERROR struct error *err = NULL;
	struct bootstrap_validation r = { 0 };

	CHECK(bootstrap_validate(image, sample.size, &devices, &r, &err) == 0);
	if (err)
		printf("# %s\n", err->msg);
	CHECK_U64(r.directories, 6);
	CHECK_U64(r.inodes, 19 + SAMPLE_CROWD - 1);
	CHECK_U64(r.names, r.inodes - 1 + 2);
	CHECK_U64(r.chunk_indexes, 1 + 1 + 5 + 1);
}

/* Through a descriptor, as callers do it; without expectations of devices. */
static void a_file_is_mapped_and_validated(void)
{
	CLEANUP_FD int fd = memfd_create("image", MFD_CLOEXEC);
	CLEANUP_ERROR struct error *err = NULL;

	CHECK(bootstrap_validate_fd(fd, NULL, NULL, &err) < 0 && strstr(err->msg, "empty"));
	error_free(take_ptr(err));
	CHECK(write(fd, image, sample.size) == (ssize_t)sample.size);
	CHECK(bootstrap_validate_fd(fd, NULL, NULL, &err) == 0);
}

static void an_image_of_any_other_length_is_refused(void)
{
	static const uint64_t sizes[] = { 1, 1024, 4095, 4096, 8192, 8193 };

	for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
		CLEANUP_ERROR struct error *err = NULL;
		CLEANUP_FREE uint8_t *copy = xmemdup(image, sizes[i]); /* for ASan */

		CHECK(bootstrap_validate(copy, sizes[i], NULL, NULL, &err) < 0 && err);
	}
}

static void faults_name_the_path_and_the_byte(void)
{
	CLEANUP_ERROR struct error *err = NULL;
	uint8_t *p = at("dir/sub/deep");
	char want[64];

	p[63] = 1;
	CHECK(validate(&err) < 0);
	p[63] = 0;
	snprintf(want, sizeof(want), "(at byte %zu)", (size_t)(p - image) + 48);
	CHECK(err && !strncmp(err->msg, "/dir/sub/deep: ", 15));
	CHECK(err && strstr(err->msg, want));
}

/* One xattr more on one inode; the whole image is written anew. */
static bool accepts_xattr(const char *path, const char *name, const char *value, size_t len)
{
	CLEANUP_ERROR struct error *err = NULL;
	struct sample other;
	uint32_t pair;
	int ret;

	sample_init(&other);
	pair = sample_pair(&other, name, value, len);
	sample_xattrs(&other, path, &pair, 1);
	sample_write(&other);
	ret = bootstrap_validate(other.image, other.size, NULL, NULL, &err);
	sample_free(&other);
	return ret == 0;
}

/* Trees that the converter never makes, but the writer would write. */
static void xattrs_are_where_the_kernel_shows_them(void)
{
	CHECK(accepts_xattr("empty", "system.posix_acl_access", SAMPLE_ACL, 44));
	CHECK(accepts_xattr("fifo", "system.posix_acl_access", SAMPLE_ACL, 44));
	CHECK(!accepts_xattr("link", "system.posix_acl_access", SAMPLE_ACL, 44));
	CHECK(accepts_xattr("dir", "system.posix_acl_default", SAMPLE_ACL, 44));
	CHECK(!accepts_xattr("empty", "system.posix_acl_default", SAMPLE_ACL, 44));
	CHECK(accepts_xattr("dir", "user.x", "1", 1));
	CHECK(!accepts_xattr("link", "user.x", "1", 1));
	CHECK(!accepts_xattr("char", "user.x", "1", 1));
	CHECK(accepts_xattr("link", "trusted.x", "1", 1));
}

/* Every byte of the image matters, or is a value that may be any other: no crash at least. */
static void no_damage_of_one_byte_crashes_it(void)
{
	uint64_t state = 1, accepted = 0;

	for (uint64_t i = 1024; i < sample.size; i += 3) {
		CLEANUP_ERROR struct error *err = NULL;
		uint8_t was = image[i];

		image[i] ^= (uint8_t)(1 + random_below(&state, 255));
		accepted += validate(&err) == 0;
		image[i] = was;
	}
	CHECK(accepted > 0);
}

/* ---- images that want to keep it busy ---- */

/* 200,000 directories, each in the one before. */
static void a_very_deep_tree_takes_linear_time(void)
{
	enum { DEPTH = 200000 };
	struct sample deep = { 0 };
	CLEANUP_ERROR struct error *err = NULL;
	struct bootstrap_validation r = { 0 };
	uint32_t dir;

	tree_init(&deep.tree);
	dir = deep.tree.root;
	for (uint32_t i = 0; i < SAMPLE_DEVICES; i++)
		deep.devices[i].blocks = 1;
	for (int i = 0; i < DEPTH; i++) {
		uint32_t id = tree_new_inode(&deep.tree, S_IFDIR | 0755, &err);

		tree_link(&deep.tree, dir, "some name", 9, id, &err);
		dir = id;
	}
	sample_write(&deep);
	CHECK(bootstrap_validate(deep.image, deep.size, NULL, &r, &err) == 0);
	CHECK_U64(r.directories, DEPTH + 1);
	/* the path of a fault at the end does not become a million bytes */
	deep.image[(size_t)tree_inode(&deep.tree, dir)->mark * 32 + 31] = 1;
	CHECK(bootstrap_validate(deep.image, deep.size, NULL, NULL, &err) < 0);
	CHECK(err && strlen(err->msg) < 8192 && !strncmp(err->msg, ".../some name/", 14));
	sample_free(&deep);
}

int main(void)
{
	sample_init(&sample);
	image = sample.image;
	RUN(what_the_writer_makes_is_accepted);
	RUN(a_file_is_mapped_and_validated);
	RUN(an_image_of_any_other_length_is_refused);
	RUN(faults_name_the_path_and_the_byte);
	for (rule = rules; rule < rules + sizeof(rules) / sizeof(*rules); rule++)
		tap_run(check_rule, rule->sentence);
	RUN(xattrs_are_where_the_kernel_shows_them);
	RUN(no_damage_of_one_byte_crashes_it);
	RUN(a_very_deep_tree_takes_linear_time);
	sample_free(&sample);
	return tap_done();
}
