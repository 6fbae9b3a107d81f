// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include <string.h>
#include <sys/stat.h>

#include "lib/bootstrap/validator.h"

/* An inode on its way to its place. */
struct placing {
	uint64_t offset;
	uint64_t data; /* behind inode and xattrs */
	uint8_t type;
	struct erofs_inode inode;
};

enum { DIR_SIZE_MIN = 2 * EROFS_DIRENT_SIZE + 3 }; /* "." and ".." */

static uint64_t round_up(uint64_t n, uint64_t to)
{
	return (n + to - 1) & ~(to - 1);
}

/* Bytes between which there is nothing, by the offset of the inode. */
static int check_reserved(struct validator *v, const struct placing *p)
{
	static const uint8_t compact[][2] = { { 12, 16 }, { 28, 32 } };
	static const uint8_t extended[][2] = { { 6, 8 }, { 48, 64 } };
	const uint8_t(*ranges)[2] = p->inode.extended ? extended : compact;

	for (int i = 0; i < 2; i++)
		if (!validator_zeros(v, p->offset + ranges[i][0], p->offset + ranges[i][1]))
			return validator_refuse(v, p->offset + ranges[i][0],
				"reserved bytes of an inode are not zero");
	return 0;
}

static int check_fields(struct validator *v, const struct placing *p)
{
	const struct erofs_inode *i = &p->inode;

	if (!p->type || p->type == EROFS_FT_SOCKET)
		return validator_refuse(v, p->offset + 4, "mode 0%o is of no file type", i->mode);
	if (i->uid > EROFS_ID_MAX || i->gid > EROFS_ID_MAX)
		return validator_refuse(v, p->offset + 24, "uid or gid 4294967295");
	if (i->ino != (uint32_t)(v->result.inodes + 1))
		return validator_refuse(v, p->offset + 20,
			"inode number %" PRIu32 " instead of %" PRIu64, i->ino,
			v->result.inodes + 1);
	if (i->nlink < (p->type == EROFS_FT_DIR ? 2 : 1))
		return validator_refuse(v, p->offset, "link count %" PRIu32, i->nlink);
	if (i->extended == erofs_inode_is_compact(i, v->super.epoch, v->super.epoch_nsec))
		return validator_refuse(v, p->offset,
			i->extended ? "an extended inode that fits the compact form"
				    : "a compact inode that does not fit");
	return 0;
}

static int check_size(struct validator *v, const struct placing *p)
{
	uint64_t size = p->inode.size;

	switch (p->type) {
	case EROFS_FT_FILE:
		return 0;
	case EROFS_FT_DIR:
		if (size >= DIR_SIZE_MIN)
			return 0;
		break;
	case EROFS_FT_SYMLINK:
		if (size && size <= EROFS_SYMLINK_MAX)
			return 0;
		break;
	default:
		if (!size)
			return 0;
		break;
	}
	return validator_refuse(v, p->offset + 8,
		"a size of %" PRIu64 " bytes is not that of a file of type %u", size, p->type);
}

/*
 * How far the inode moves on so that its tail begins a block; *layout becomes the one that it
 * must have. `data` is where the tail would stand without moving.
 */
static uint64_t gap_before(uint64_t data, uint64_t size, enum erofs_layout *layout)
{
	uint64_t tail = size % EROFS_BLOCK_SIZE, room = EROFS_BLOCK_SIZE - data % EROFS_BLOCK_SIZE;
	uint64_t gap = tail > room ? round_up(room, EROFS_SLOT_SIZE) : 0;

	room = EROFS_BLOCK_SIZE - (data + gap) % EROFS_BLOCK_SIZE;
	*layout = EROFS_FLAT_INLINE;
	if (tail && tail <= room && gap <= EROFS_BLOCK_SIZE - tail)
		return gap;
	*layout = EROFS_FLAT_PLAIN;
	return 0;
}

/* Where the inode must stand, and the layout of its data. */
static int check_place(struct validator *v, const struct placing *p)
{
	uint64_t offset = round_up(v->inodes_end, EROFS_SLOT_SIZE);
	enum erofs_layout layout = EROFS_CHUNKED;

	if (p->type != EROFS_FT_FILE || !p->inode.size)
		offset += gap_before(offset + p->data - p->offset, p->inode.size, &layout);
	if (p->inode.layout != layout)
		return validator_refuse(v, p->offset,
			"data layout %d instead of %d for this type, size and place",
			p->inode.layout, layout);
	if (p->offset != offset)
		return validator_refuse(v, p->offset,
			"an inode here, but the next one's place is byte %" PRIu64, offset);
	if (!validator_zeros(v, v->inodes_end, offset))
		return validator_refuse(v, v->inodes_end, "bytes between two inodes are not zero");
	return 0;
}

/* Decoded, and inode and xattrs lie within the inode area. */
static int decode(struct validator *v, struct placing *p)
{
	struct fault fault;

	if (p->offset >= v->inodes_limit)
		return validator_refuse(v, p->offset, "an inode outside of the inodes' area");
	if (erofs_inode_decode(&p->inode, v->image + p->offset, v->inodes_limit - p->offset,
		    &v->super, &fault) < 0)
		return validator_refuse(v, p->offset + fault.offset, "%s", fault.what);
	p->type = erofs_file_type(p->inode.mode);
	p->data = p->offset + erofs_inode_size(&p->inode) + erofs_xattr_size(p->inode.xattr_count);
	if (p->data > v->inodes_limit)
		return validator_refuse(v, p->offset + 2, "xattrs reach beyond the inodes' area");
	return 0;
}

/* ---- data ---- */

static int place_chunks(struct validator *v, const struct placing *p)
{
	uint64_t at = round_up(p->data, EROFS_CHUNK_INDEX_SIZE), n;

	if ((p->inode.u & ~EROFS_CHUNK_BITS_MAX) != erofs_chunk_format(0))
		return validator_refuse(
			v, p->offset + 16, "unknown chunk format 0x%" PRIx32, p->inode.u);
	n = validator_chunks(&p->inode);
	if (at > v->inodes_limit || n > (v->inodes_limit - at) / EROFS_CHUNK_INDEX_SIZE)
		return validator_refuse(v, p->offset + 8,
			"%" PRIu64 " chunk indexes reach beyond the inodes' area", n);
	if (!validator_zeros(v, p->data, at))
		return validator_refuse(v, p->data, "bytes before chunk indexes are not zero");
	v->inodes_end = at + n * EROFS_CHUNK_INDEX_SIZE;
	v->result.chunk_indexes += n;
	return validate_chunks(v, &p->inode, at);
}

/* The blocks follow those of the inode before; the first to have any says where they begin. */
static int place_blocks(struct validator *v, const struct placing *p, uint64_t n_blk)
{
	uint64_t at = (uint64_t)p->inode.u * EROFS_BLOCK_SIZE;

	if (!n_blk)
		return p->inode.u ? validator_refuse(v, p->offset + 16,
					    "a start block, but no data in blocks")
				  : 0;
	if (!v->data_start && at >= v->shared_end && at < v->size)
		v->data_start = v->data_end = at;
	if (!v->data_start || at != v->data_end)
		return validator_refuse(v, p->offset + 16,
			"data in block %" PRIu32 ", which is not the next one", p->inode.u);
	if (n_blk > (v->size - at) / EROFS_BLOCK_SIZE)
		return validator_refuse(v, p->offset + 8,
			"%" PRIu64 " bytes of data reach beyond the image's end", p->inode.size);
	v->data_end = at + n_blk * EROFS_BLOCK_SIZE;
	return 0;
}

/* Whole blocks for the plain layout: its last one is padded. */
static uint64_t blocks_of(const struct erofs_inode *i)
{
	uint64_t tail = i->layout == EROFS_FLAT_PLAIN && i->size % EROFS_BLOCK_SIZE;

	return i->size / EROFS_BLOCK_SIZE + tail;
}

struct validator_flat validator_flat(const struct erofs_inode *inode, uint64_t offset)
{
	bool is_inline = inode->layout == EROFS_FLAT_INLINE;
	uint32_t tail = is_inline ? (uint32_t)(inode->size % EROFS_BLOCK_SIZE) : 0;

	return (struct validator_flat){
		.blocks = (uint64_t)inode->u * EROFS_BLOCK_SIZE,
		.blocks_size = inode->size - tail,
		.tail = offset + erofs_inode_size(inode) + erofs_xattr_size(inode->xattr_count),
		.tail_size = tail,
	};
}

static int place_flat(struct validator *v, const struct placing *p)
{
	struct validator_flat f = validator_flat(&p->inode, p->offset);

	if (f.tail_size > v->inodes_limit - f.tail)
		return validator_refuse(
			v, p->offset, "inline data reaches beyond the inodes' area");
	if (place_blocks(v, p, blocks_of(&p->inode)) < 0)
		return -1;
	v->inodes_end = f.tail + f.tail_size;
	if (f.blocks_size % EROFS_BLOCK_SIZE &&
		!validator_zeros(v, f.blocks + f.blocks_size, v->data_end))
		return validator_refuse(
			v, f.blocks + f.blocks_size, "bytes after the data are not zero");
	return 0;
}

/* At most 4095 bytes: in one piece, wherever it is. */
static int check_target(struct validator *v, const struct placing *p)
{
	struct validator_flat f = validator_flat(&p->inode, p->offset);
	uint64_t at = f.tail_size ? f.tail : f.blocks;

	if (memchr(v->image + at, '\0', p->inode.size))
		return validator_refuse(v, at, "a symlink target with a NUL byte");
	return 0;
}

static int place_data(struct validator *v, const struct placing *p)
{
	switch (p->type) {
	case EROFS_FT_FILE:
		return p->inode.size ? place_chunks(v, p) : place_flat(v, p);
	case EROFS_FT_CHAR:
	case EROFS_FT_BLOCK: /* every i_u is some device number */
		v->inodes_end = p->data;
		return 0;
	case EROFS_FT_SYMLINK:
		return place_flat(v, p) < 0 ? -1 : check_target(v, p);
	default:
		return place_flat(v, p);
	}
}

int validate_inode(struct validator *v, uint64_t nid, struct erofs_inode *inode)
{
	struct placing p = { .offset = nid * EROFS_SLOT_SIZE };

	if (decode(v, &p) < 0 || check_reserved(v, &p) < 0 || check_fields(v, &p) < 0 ||
		check_size(v, &p) < 0 || check_place(v, &p) < 0)
		return -1;
	if (validate_xattrs(v, &p.inode, p.offset + erofs_inode_size(&p.inode)) < 0 ||
		place_data(v, &p) < 0)
		return -1;
	validator_set_bit(v->starts, nid);
	v->result.inodes++;
	if (p.type != EROFS_FT_DIR && p.inode.nlink > 1) {
		v->links[nid] = p.inode.nlink - 1;
		v->links_left += p.inode.nlink - 1;
	}
	*inode = p.inode;
	return 0;
}
