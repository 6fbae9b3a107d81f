// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <uuid.h>

#include "lib/base/interrupt.h"
#include "lib/base/mem.h"
#include "lib/bootstrap/bootstrap.h"
#include "lib/bootstrap/layout.h"

/* The namespace of our name-based UUIDs (RFC 4122, version 5). */
#define UUID_NAMESPACE "6f3b1c52-8a0e-4b7d-9d35-1e6a2c4f8b90"
#define VOLUME_NAME    "erofs-convert"

enum {
	OUTPUT_BUFFER = 256 * 1024,
	DEVICE_TABLE = EROFS_SUPER_OFFSET + EROFS_SUPER_SIZE,
	/* the root's NID has 16 bits: its inode, behind the table, must stay below that */
	DEVICES_MAX = (UINT16_MAX * EROFS_SLOT_SIZE - DEVICE_TABLE) / EROFS_DEVICE_SLOT_SIZE,
};

/* ---- bytes out, in order ---- */

struct output {
	struct outfile *file;
	struct hasher *hasher;
	uint64_t at; /* bytes put so far */
	size_t fill; /* bytes of the buffer that are not written yet */
	uint8_t *buffer;
	bool sealed; /* the first block has its checksum */
	struct error **err;
	bool failed;
};

/* The buffer holds the first block whole before it is written the first time. */
static void flush(struct output *o)
{
	if (!o->sealed)
		erofs_super_seal(o->buffer);
	o->sealed = true;
	if (!o->failed && interrupt_pending())
		o->failed = error_set(o->err, 0, "interrupted; nothing has been written");
	if (!o->failed && outfile_pwrite(o->file, o->buffer, o->fill, o->at - o->fill, o->err) < 0)
		o->failed = true;
	hasher_update(o->hasher, o->buffer, o->fill);
	o->fill = 0;
}

/* A fault in writing is kept until output_status(): those who put bytes need not look. */
static void put(struct output *o, const void *p, size_t len)
{
	while (len) {
		size_t n = OUTPUT_BUFFER - o->fill;

		n = n < len ? n : len;
		memcpy(o->buffer + o->fill, p, n);
		o->fill += n;
		o->at += n;
		p = (const uint8_t *)p + n;
		len -= n;
		if (o->fill == OUTPUT_BUFFER)
			flush(o);
	}
}

static void put_zeros_to(struct output *o, uint64_t offset)
{
	static const uint8_t zeros[EROFS_BLOCK_SIZE];

	while (o->at < offset) {
		uint64_t n = offset - o->at;

		put(o, zeros, n < sizeof(zeros) ? n : sizeof(zeros));
	}
}

static int output_status(const struct output *o)
{
	return o->failed ? -1 : 0;
}

/* ---- parts of the image ---- */

struct writer {
	const struct bootstrap_input *in;
	struct layout layout;
	struct output out;
	uint64_t shared_blk, data_blk, blocks; /* where the areas begin, and the image's end */
};

static uint64_t blocks_of(uint64_t bytes)
{
	return bytes / EROFS_BLOCK_SIZE + (bytes % EROFS_BLOCK_SIZE != 0);
}

static void put_super(struct writer *w)
{
	const struct tree *tree = w->in->tree;
	struct erofs_super sb = {
		.feature_compat = EROFS_COMPAT_CHECKSUM | EROFS_COMPAT_MTIME,
		.root_nid = (uint16_t)tree_inode(tree, tree->root)->mark,
		.inodes = w->layout.inodes,
		.epoch = w->layout.epoch,
		.epoch_nsec = w->layout.epoch_nsec,
		.blocks = (uint32_t)w->blocks,
		.xattr_blk = (uint32_t)w->shared_blk,
		.volume_name = VOLUME_NAME,
		.devices = (uint16_t)w->in->n_devices,
	};
	uint8_t bytes[EROFS_SUPER_SIZE];
	uuid_t namespace;

	if (tree->xattrs.sets.count)
		sb.feature_compat |= EROFS_COMPAT_XATTR_FILTER;
	if (w->layout.chunk_indexes)
		sb.feature_incompat |= EROFS_INCOMPAT_CHUNKED;
	if (w->in->n_devices) {
		sb.feature_incompat |= EROFS_INCOMPAT_DEVICES;
		sb.device_table_slot = DEVICE_TABLE / EROFS_DEVICE_SLOT_SIZE;
	}
	uuid_parse(UUID_NAMESPACE, namespace);
	uuid_generate_sha1(sb.uuid, namespace, w->in->identity, strlen(w->in->identity));
	erofs_super_encode(bytes, &sb);
	put_zeros_to(&w->out, EROFS_SUPER_OFFSET);
	put(&w->out, bytes, sizeof(bytes));
}

/*
 * Unified addresses: the bootstrap and then each device, as if all were one (Linux 6.4 mounts
 * the concatenation). Past 2^32 blocks there are none.
 */
static void put_devices(struct writer *w)
{
	uint64_t unified = w->blocks;

	for (size_t i = 0; i < w->in->n_devices; i++) {
		const struct bootstrap_device *d = &w->in->devices[i];
		struct erofs_device_slot slot = {
			.blocks = d->blocks,
			.unified_blk = unified + d->blocks <= UINT32_MAX ? (uint32_t)unified : 0,
		};
		uint8_t bytes[EROFS_DEVICE_SLOT_SIZE];
		char hex[DIGEST_MAX_STR];

		memcpy(slot.tag, digest_hex(&d->tag, hex), sizeof(slot.tag) - 1);
		erofs_device_slot_encode(bytes, &slot);
		put(&w->out, bytes, sizeof(bytes));
		unified += d->blocks;
	}
}

static void encode_dir_block(uint8_t block[static EROFS_BLOCK_SIZE], const struct tree *tree,
	const struct dir_entry *entries, unsigned n)
{
	uint32_t name_offset = n * EROFS_DIRENT_SIZE;

	for (unsigned i = 0; i < n; i++) {
		const struct tree_inode *in = tree_inode(tree, entries[i].inode);
		struct erofs_dirent d = {
			.nid = in->mark,
			.name_offset = (uint16_t)name_offset,
			.type = erofs_file_type(in->mode),
		};

		erofs_dirent_encode(block + (size_t)i * EROFS_DIRENT_SIZE, &d);
		memcpy(block + name_offset, entries[i].name, entries[i].len);
		name_offset += entries[i].len;
	}
	memset(block + name_offset, 0, EROFS_BLOCK_SIZE - name_offset);
}

/* Blocks first to first + n of a directory; `tail` bytes of the one after them. */
static void put_dir(struct writer *w, uint32_t dir, uint64_t skip, uint64_t n, uint64_t tail)
{
	struct dir_entry entries[DIR_BLOCK_ENTRIES];
	uint8_t block[EROFS_BLOCK_SIZE];
	struct dir_iter it;
	uint32_t used;

	dir_iter_init(&it, w->in->tree, dir);
	for (uint64_t i = 0; i < skip + n + (tail ? 1 : 0); i++) {
		unsigned count = dir_iter_block(&it, entries, &used);

		if (i < skip)
			continue;
		encode_dir_block(block, w->in->tree, entries, count);
		put(&w->out, block, i < skip + n ? sizeof(block) : tail);
	}
}

/* The index of each chunk: where in the runs it begins. */
static void put_chunks(struct writer *w, const struct tree_inode *in, const struct placed *p)
{
	const struct tree_extents *x = in->extents;
	uint64_t chunk_blk = UINT64_C(1) << p->chunk_bits, into = 0;
	uint32_t run = 0;

	for (uint64_t i = 0; i < p->chunks && !w->out.failed; i++) {
		struct erofs_chunk_index index = { .blk = EROFS_HOLE };
		uint8_t bytes[EROFS_CHUNK_INDEX_SIZE];

		for (; x && run < x->n && into >= x->of[run].n_blk; run++)
			into -= x->of[run].n_blk;
		if (x && run < x->n && x->of[run].device)
			index = (struct erofs_chunk_index){ x->of[run].device,
				(uint32_t)(x->of[run].blk + into) };
		erofs_chunk_index_encode(bytes, index);
		put(&w->out, bytes, sizeof(bytes));
		into += chunk_blk;
	}
}

static int put_inode(void *arg, uint32_t id, const struct placed *p, struct error **err)
{
	struct writer *w = arg;
	const struct tree_inode *in = tree_inode(w->in->tree, id);
	const struct xattr_bytes *xattrs = &w->layout.xattrs->sets[in->xattrs];
	struct erofs_inode inode = p->inode;
	uint8_t bytes[EROFS_EXTENDED_SIZE];

	if (p->blocks)
		inode.u += (uint32_t)w->data_blk;
	erofs_inode_encode(bytes, &inode);
	put_zeros_to(&w->out, p->offset);
	put(&w->out, bytes, erofs_inode_size(&inode));
	put(&w->out, xattrs->bytes, xattrs->size);
	put_zeros_to(&w->out, p->data_offset);
	if (p->chunks)
		put_chunks(w, in, p);
	else if (p->tail && S_ISDIR(in->mode))
		put_dir(w, id, p->blocks, 0, p->tail);
	else if (p->tail)
		put(&w->out, in->target, p->tail);
	return output_status(&w->out);
}

static int put_data(void *arg, uint32_t id, const struct placed *p, struct error **err)
{
	struct writer *w = arg;
	const struct tree_inode *in = tree_inode(w->in->tree, id);

	if (!p->blocks)
		return 0;
	if (S_ISDIR(in->mode)) {
		put_dir(w, id, 0, p->blocks, 0);
	} else {
		put(&w->out, in->target, in->size);
		put_zeros_to(&w->out, blocks_of(w->out.at) * EROFS_BLOCK_SIZE);
	}
	return output_status(&w->out);
}

static int no_inode(void *arg, uint32_t id, const struct placed *p, struct error **err)
{
	return 0;
}

/* Learn all places, then where the areas behind the inodes begin. */
static int plan(struct writer *w, struct error **err)
{
	struct layout *l = &w->layout;

	layout_sort(w->in->tree);
	layout_choose_epoch(l);
	l->start = DEVICE_TABLE + w->in->n_devices * EROFS_DEVICE_SLOT_SIZE;
	if (layout_run(l, no_inode, NULL, err) < 0)
		return -1;
	w->shared_blk = blocks_of(l->meta_end);
	w->data_blk = w->shared_blk + blocks_of(l->xattrs->shared_size);
	w->blocks = w->data_blk + l->data_blocks;
	if (w->blocks > UINT32_MAX)
		return error_set(err, 0, "the image's metadata is larger than 16 TiB");
	return 0;
}

static int write_all(struct writer *w, struct error **err)
{
	const struct xattr_area *xattrs = w->layout.xattrs;

	put_super(w);
	put_devices(w);
	if (layout_run(&w->layout, put_inode, w, err) < 0)
		return -1;
	put_zeros_to(&w->out, w->shared_blk * EROFS_BLOCK_SIZE);
	put(&w->out, xattrs->shared, xattrs->shared_size);
	put_zeros_to(&w->out, w->data_blk * EROFS_BLOCK_SIZE);
	if (layout_run(&w->layout, put_data, w, err) < 0)
		return -1;
	flush(&w->out);
	return output_status(&w->out);
}

static void writer_free(struct writer *w)
{
	hasher_free(w->out.hasher);
	free(w->out.buffer);
}

int bootstrap_write(const struct bootstrap_input *in, struct outfile *file,
	struct bootstrap_result *result, struct error **err)
{
	CLEANUP_XATTR_AREA struct xattr_area xattrs = { 0 };
	CLEANUP(writer_free)
	struct writer w = {
		.in = in,
		.layout = { .tree = in->tree, .xattrs = &xattrs },
		.out = { .file = file, .err = err },
	};

	if (in->n_devices > DEVICES_MAX)
		return error_set(err, 0, "%zu data blobs; a bootstrap holds at most %d",
			in->n_devices, DEVICES_MAX);
	w.out.hasher = hasher_new(DIGEST_SHA256);
	w.out.buffer = xmalloc(OUTPUT_BUFFER);
	xattr_area_build(&xattrs, in->tree);
	if (plan(&w, err) < 0 || write_all(&w, err) < 0)
		return -1;
	*result = (struct bootstrap_result){
		.size = w.out.at,
		.inodes = w.layout.inodes,
		.compact_inodes = w.layout.compact,
		.chunk_indexes = w.layout.chunk_indexes,
	};
	hasher_final(w.out.hasher, &result->digest);
	return 0;
}
