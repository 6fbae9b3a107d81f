// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include <string.h>

#include "fmt/le.h"
#include "lib/base/digest.h"
#include "lib/bootstrap/validator.h"

enum {
	DEVICE_TABLE = EROFS_SUPER_OFFSET + EROFS_SUPER_SIZE,
	SLOT_BLOCKS = 64, /* fields of a device slot */
	SLOT_UNIFIED = 68,
	TAG_SIZE = 64,
};

static const char volume_name[16] = "erofs-convert";

static int refuse_field(struct validator *v, unsigned field, const char *what)
{
	return validator_refuse(v, EROFS_SUPER_OFFSET + field, "%s", what);
}

/* Sizes first: from here on, every offset below `size` is in the file. */
static int check_size(struct validator *v)
{
	struct fault fault;

	if (v->size < EROFS_BLOCK_SIZE || v->size % EROFS_BLOCK_SIZE)
		return validator_refuse(
			v, v->size, "%" PRIu64 " bytes are not whole blocks", v->size);
	if (!validator_zeros(v, 0, EROFS_SUPER_OFFSET))
		return validator_refuse(v, 0, "bytes before the superblock are not zero");
	if (erofs_super_decode(&v->super, v->image, &fault) < 0)
		return validator_refuse(v, fault.offset, "%s", fault.what);
	if (v->super.blocks != v->size / EROFS_BLOCK_SIZE)
		return validator_refuse(v, EROFS_SUPER_OFFSET + 0x24,
			"the superblock counts %" PRIu32 " blocks, the file has %" PRIu64,
			v->super.blocks, v->size / EROFS_BLOCK_SIZE);
	return 0;
}

int validate_super(struct validator *v)
{
	const struct erofs_super *sb = &v->super;
	bool table;

	if (check_size(v) < 0)
		return -1;
	table = sb->feature_incompat & EROFS_INCOMPAT_DEVICES;
	if (table != (sb->devices > 0))
		return refuse_field(
			v, 0x50, "devices without the device table feature, or it without them");
	if (sb->device_table_slot != (table ? DEVICE_TABLE / EROFS_DEVICE_SLOT_SIZE : 0))
		return refuse_field(v, 0x58, "the device table is not behind the superblock");
	if (sb->meta_blk)
		return refuse_field(v, 0x28, "NIDs do not count from block 0");
	if (memcmp(sb->volume_name, volume_name, sizeof(volume_name)) != 0)
		return refuse_field(v, 0x40, "the volume name is another program's");
	if (sb->uuid[6] >> 4 != 5 || sb->uuid[8] >> 6 != 2)
		return refuse_field(v, 0x30, "the UUID is not of version 5");
	v->inodes_limit = (uint64_t)sb->xattr_blk * EROFS_BLOCK_SIZE;
	v->shared_end = v->inodes_limit;
	v->inodes_end = DEVICE_TABLE + (uint64_t)sb->devices * EROFS_DEVICE_SLOT_SIZE;
	if (v->inodes_limit > v->size || v->inodes_limit <= v->inodes_end)
		return refuse_field(v, 0x2c, "the shared xattrs begin outside of the image");
	return 0;
}

uint32_t validator_device_blocks(const struct validator *v, uint16_t id)
{
	return get_le32(v->slots + (size_t)(id - 1) * EROFS_DEVICE_SLOT_SIZE + SLOT_BLOCKS);
}

static bool is_hex(const char tag[static TAG_SIZE])
{
	for (size_t i = 0; i < TAG_SIZE; i++)
		if (!((tag[i] >= '0' && tag[i] <= '9') || (tag[i] >= 'a' && tag[i] <= 'f')))
			return false;
	return true;
}

static int check_expected(struct validator *v, unsigned i, const struct erofs_device_slot *slot,
	const struct bootstrap_device *want)
{
	uint64_t offset = DEVICE_TABLE + (uint64_t)i * EROFS_DEVICE_SLOT_SIZE;
	char hex[DIGEST_MAX_STR];

	if (strncmp(slot->tag, digest_hex(&want->tag, hex), TAG_SIZE) != 0)
		return validator_refuse(v, offset, "device %u has another blob's digest", i + 1);
	if (slot->blocks != want->blocks)
		return validator_refuse(v, offset + SLOT_BLOCKS,
			"device %u has %" PRIu32 " blocks, its blob %" PRIu32, i + 1, slot->blocks,
			want->blocks);
	return 0;
}

/* *unified is where the device begins when all are concatenated; then where the next one does. */
static int check_device(
	struct validator *v, unsigned i, uint64_t *unified, const struct bootstrap_device *want)
{
	uint64_t offset = DEVICE_TABLE + (uint64_t)i * EROFS_DEVICE_SLOT_SIZE;
	struct erofs_device_slot slot;
	struct fault fault;

	if (erofs_device_slot_decode(&slot, v->image + offset, &fault) < 0)
		return validator_refuse(v, offset + fault.offset, "%s", fault.what);
	if (!is_hex(slot.tag))
		return validator_refuse(v, offset, "the tag of device %u is no digest", i + 1);
	if (!slot.blocks)
		return validator_refuse(v, offset + SLOT_BLOCKS, "device %u has no blocks", i + 1);
	if (slot.unified_blk != (*unified + slot.blocks <= UINT32_MAX ? *unified : 0))
		return validator_refuse(v, offset + SLOT_UNIFIED,
			"the unified address of device %u does not follow the one before it",
			i + 1);
	*unified += slot.blocks;
	return want ? check_expected(v, i, &slot, want) : 0;
}

int validate_devices(struct validator *v, const struct bootstrap_devices *expected)
{
	uint64_t unified = v->super.blocks;

	v->slots = v->image + DEVICE_TABLE;
	if (expected && expected->n != v->super.devices)
		return validator_refuse(v, EROFS_SUPER_OFFSET + 0x56,
			"the device table has %u devices instead of %zu", v->super.devices,
			expected->n);
	for (unsigned i = 0; i < v->super.devices; i++)
		if (check_device(v, i, &unified, expected ? &expected->of[i] : NULL) < 0)
			return -1;
	return 0;
}
