// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/bootstrap/read.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "fmt/le.h"
#include "lib/base/mem.h"

#define CHUNK_BITS_MASK 0x1fu
#define CHUNK_INDEXES	0x20u
#define XATTR_SHARED_ID 4u

struct bootstrap {
	const uint8_t *map;
	uint64_t map_size;
	uint64_t size; /* of the blocks in the superblock: no offset reaches further */
	uint64_t meta; /* where NID 0 lies */
	struct erofs_super super;
	struct erofs_device_slot *slots;
};

static bool inside(const struct bootstrap *b, uint64_t offset, uint64_t len)
{
	return offset <= b->size && len <= b->size - offset;
}

/* For a size up to INT64_MAX. */
static uint64_t blocks_of(uint64_t size)
{
	return (size + EROFS_BLOCK_SIZE - 1) >> EROFS_BLOCK_BITS;
}

/* What fmt/ says, as a sentence; `base` is where the bytes it looked at begin. */
static int refuse(struct error **err, const struct fault *fault, uint64_t base)
{
	return error_set(err, 0, "%s (at byte %" PRIu64 ")", fault->what, base + fault->offset);
}

static int map_file(struct bootstrap *b, int fd, struct error **err)
{
	struct stat st;
	void *map;

	if (fstat(fd, &st) < 0)
		return error_set(err, errno, "cannot look at the EROFS image");
	if (!S_ISREG(st.st_mode))
		return error_set(err, 0, "the EROFS image is not a regular file");
	if (st.st_size < EROFS_BLOCK_SIZE)
		return error_set(
			err, 0, "%jd bytes are too few for an EROFS image", (intmax_t)st.st_size);
	map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (map == MAP_FAILED)
		return error_set(err, errno, "cannot map the EROFS image");
	b->map = map;
	b->map_size = (uint64_t)st.st_size;
	return 0;
}

static int read_super(struct bootstrap *b, struct error **err)
{
	struct fault fault;

	if (erofs_super_decode(&b->super, b->map, &fault) < 0)
		return refuse(err, &fault, 0);
	b->size = (uint64_t)b->super.blocks << EROFS_BLOCK_BITS;
	b->meta = (uint64_t)b->super.meta_blk << EROFS_BLOCK_BITS;
	if (!b->size || b->size > b->map_size)
		return error_set(err, 0,
			"the superblock counts %" PRIu32 " blocks, the file has %" PRIu64 " bytes",
			b->super.blocks, b->map_size);
	if (b->meta >= b->size)
		return error_set(err, 0, "the inodes begin at block %" PRIu32 " of %" PRIu32,
			b->super.meta_blk, b->super.blocks);
	return 0;
}

static int read_device_table(struct bootstrap *b, struct error **err)
{
	uint64_t offset = (uint64_t)b->super.device_table_slot * EROFS_DEVICE_SLOT_SIZE;
	struct fault fault;

	if (!b->super.devices)
		return 0;
	if (!(b->super.feature_incompat & EROFS_INCOMPAT_DEVICES))
		return error_set(
			err, 0, "%u devices without the device table feature", b->super.devices);
	if (!inside(b, offset, (uint64_t)b->super.devices * EROFS_DEVICE_SLOT_SIZE))
		return error_set(err, 0, "the device table reaches beyond the image's end");
	b->slots = xcalloc(b->super.devices, sizeof(*b->slots));
	for (unsigned i = 0; i < b->super.devices; i++, offset += EROFS_DEVICE_SLOT_SIZE)
		if (erofs_device_slot_decode(&b->slots[i], b->map + offset, &fault) < 0)
			return refuse(err, &fault, offset);
	return 0;
}

static int check_root(const struct bootstrap *b, struct error **err)
{
	struct bootstrap_inode root;

	if (bootstrap_inode(b, b->super.root_nid, &root, err) < 0)
		return error_wrap(err, "the root");
	return S_ISDIR(root.inode.mode) ? 0 : error_set(err, 0, "the root is not a directory");
}

struct bootstrap *bootstrap_open(int fd, struct error **err)
{
	CLEANUP_BOOTSTRAP struct bootstrap *b = xzalloc(sizeof(*b));

	if (map_file(b, fd, err) < 0 || read_super(b, err) < 0 || read_device_table(b, err) < 0 ||
		check_root(b, err) < 0)
		return NULL;
	return take_ptr(b);
}

void bootstrap_close(struct bootstrap *b)
{
	if (b->map)
		munmap((void *)b->map, b->map_size);
	free(b->slots);
	free(b);
}

const struct erofs_super *bootstrap_super(const struct bootstrap *b)
{
	return &b->super;
}

uint64_t bootstrap_size(const struct bootstrap *b)
{
	return b->size;
}

uint64_t bootstrap_nids(const struct bootstrap *b)
{
	return (b->size - b->meta) / EROFS_SLOT_SIZE;
}

int bootstrap_device(
	const struct bootstrap *b, unsigned i, struct erofs_device_slot *slot, struct error **err)
{
	if (i >= b->super.devices)
		return error_set(
			err, 0, "no device %u: the device table has %u", i + 1, b->super.devices);
	*slot = b->slots[i];
	return 0;
}

/* Where flat data lies: whole blocks, then the tail of the inline layout. */
struct flat {
	uint64_t head, head_size;
	uint64_t tail;
	uint32_t tail_size;
};

static struct flat flat_of(const struct bootstrap_inode *i)
{
	struct flat f = { 0 };

	if (i->inode.layout == EROFS_CHUNKED)
		return f;
	if (i->inode.layout == EROFS_FLAT_INLINE)
		f.tail_size = (uint32_t)(i->inode.size % EROFS_BLOCK_SIZE);
	f.tail = i->data_offset;
	f.head_size = i->inode.size - f.tail_size;
	f.head = f.head_size ? (uint64_t)i->inode.u << EROFS_BLOCK_BITS : 0;
	return f;
}

uint64_t bootstrap_chunks(const struct bootstrap_inode *inode)
{
	unsigned shift = EROFS_BLOCK_BITS + (inode->inode.u & CHUNK_BITS_MASK);

	if (inode->inode.layout != EROFS_CHUNKED || !inode->inode.size)
		return 0;
	return ((inode->inode.size - 1) >> shift) + 1;
}

static int check_flat(
	const struct bootstrap *b, const struct bootstrap_inode *i, struct error **err)
{
	struct flat f = flat_of(i);

	if (!inside(b, f.head, blocks_of(f.head_size) << EROFS_BLOCK_BITS))
		return error_set(err, 0,
			"its data, %" PRIu64 " bytes from block %" PRIu32
			" on, reaches beyond the image's end",
			f.head_size, i->inode.u);
	if (i->inode.layout != EROFS_FLAT_INLINE)
		return 0;
	if (!f.tail_size) /* the kernel answers EUCLEAN */
		return error_set(err, 0, "inline layout, but no bytes past the last whole block");
	if (f.tail % EROFS_BLOCK_SIZE + f.tail_size > EROFS_BLOCK_SIZE)
		return error_set(err, 0, "its inline data crosses a block boundary");
	if (!inside(b, f.tail, f.tail_size))
		return error_set(err, 0, "its inline data reaches beyond the image's end");
	return 0;
}

static int check_chunked(
	const struct bootstrap *b, const struct bootstrap_inode *i, struct error **err)
{
	if (!S_ISREG(i->inode.mode))
		return error_set(err, 0, "chunks in what is no regular file");
	if (!(b->super.feature_incompat & EROFS_INCOMPAT_CHUNKED))
		return error_set(err, 0, "chunks without the chunked-file feature");
	if (i->inode.u & ~(CHUNK_BITS_MASK | CHUNK_INDEXES))
		return error_set(err, 0, "unknown chunk format 0x%" PRIx32, i->inode.u);
	if (!(i->inode.u & CHUNK_INDEXES))
		return error_set(err, 0,
			"a block map of 4-byte entries, which this program does "
			"not read");
	/* at most 2^51 indexes: no overflow */
	if (!inside(b, i->data_offset, bootstrap_chunks(i) * EROFS_CHUNK_INDEX_SIZE))
		return error_set(err, 0,
			"its %" PRIu64 " chunk indexes reach beyond the image's end",
			bootstrap_chunks(i));
	return 0;
}

static int check_inode(
	const struct bootstrap *b, const struct bootstrap_inode *i, struct error **err)
{
	uint8_t type = erofs_file_type(i->inode.mode);

	if (!type)
		return error_set(err, 0, "mode 0%o is of no file type", i->inode.mode);
	if (!inside(b, i->xattr_offset, erofs_xattr_size(i->inode.xattr_count)))
		return error_set(err, 0, "its xattrs reach beyond the image's end");
	if (i->inode.layout == EROFS_CHUNKED)
		return check_chunked(b, i, err);
	if (type == EROFS_FT_FILE || type == EROFS_FT_DIR || type == EROFS_FT_SYMLINK)
		return check_flat(b, i, err);
	if (i->inode.layout != EROFS_FLAT_PLAIN || i->inode.size)
		return error_set(err, 0, "a device, fifo or socket with data");
	return 0;
}

int bootstrap_inode(
	const struct bootstrap *b, uint64_t nid, struct bootstrap_inode *out, struct error **err)
{
	struct fault fault;
	uint64_t offset;

	if (nid >= bootstrap_nids(b))
		return error_set(err, 0, "inode %" PRIu64 " lies beyond the image's end", nid);
	offset = b->meta + nid * EROFS_SLOT_SIZE;
	*out = (struct bootstrap_inode){ .nid = nid };
	if (erofs_inode_decode(&out->inode, b->map + offset, b->size - offset, &b->super, &fault) <
		0)
		return refuse(err, &fault, offset);
	out->xattr_offset = offset + erofs_inode_size(&out->inode);
	out->data_offset = out->xattr_offset + erofs_xattr_size(out->inode.xattr_count);
	if (out->inode.layout == EROFS_CHUNKED)
		out->data_offset = (out->data_offset + 7) & ~UINT64_C(7);
	if (check_inode(b, out, err) < 0)
		return error_wrap(err, "inode %" PRIu64, nid);
	return 0;
}

uint64_t bootstrap_inode_bytes(const struct bootstrap_inode *inode)
{
	return erofs_inode_size(&inode->inode) + erofs_xattr_size(inode->inode.xattr_count) +
	       flat_of(inode).tail_size + bootstrap_chunks(inode) * EROFS_CHUNK_INDEX_SIZE;
}

void bootstrap_flat(
	const struct bootstrap *b, const struct bootstrap_inode *inode, struct bootstrap_flat *out)
{
	struct flat f = flat_of(inode);

	*out = (struct bootstrap_flat){ .head = b->map + f.head,
		.head_size = f.head_size,
		.tail = b->map + (f.tail_size ? f.tail : 0),
		.tail_size = f.tail_size };
}

/* A directory while it is read. */
struct scan {
	int (*each)(void *arg, const struct bootstrap_name *name, struct error **err);
	void *arg;
	uint64_t self, parent;
	bool dot, dotdot;
	bool stopped; /* by each(), whose error is its own */
	struct bootstrap_name last;
};

/* Names ascend by bytes over the whole directory: the kernel's lookup is a binary search. */
static bool ascends(const struct bootstrap_name *a, const struct bootstrap_name *b)
{
	int order = memcmp(a->name, b->name, a->len < b->len ? a->len : b->len);

	return order < 0 || (!order && a->len < b->len);
}

static int take_name(struct scan *s, const struct bootstrap_name *n, struct error **err)
{
	if (!n->len || n->len > EROFS_NAME_MAX)
		return error_set(err, 0, "a name of %zu bytes", n->len);
	if (memchr(n->name, '/', n->len) || memchr(n->name, '\0', n->len))
		return error_set(err, 0, "a name with a slash or a NUL byte");
	if (s->last.name && !ascends(&s->last, n))
		return error_set(err, 0, "names are not in ascending order");
	s->last = *n;
	if (n->len == 1 && n->name[0] == '.') {
		s->dot = true;
		return n->nid == s->self ? 0 : error_set(err, 0, "\".\" is another inode");
	}
	if (n->len == 2 && n->name[0] == '.' && n->name[1] == '.') {
		s->dotdot = true;
		s->parent = n->nid;
		return 0;
	}
	s->stopped = s->each(s->arg, n, err) != 0;
	return s->stopped ? -1 : 0;
}

/*
 * Where the name that begins at `start` ends: where the next one begins; in the last entry, at
 * the first NUL or the block's end, and only zeros may follow (EUCLEAN in the kernel).
 */
static int name_end(const uint8_t *p, uint32_t len, uint32_t i, uint32_t n, uint32_t start,
	uint32_t *end, struct error **err)
{
	struct erofs_dirent next;

	if (i + 1 < n) {
		erofs_dirent_decode(&next, p + (i + 1) * EROFS_DIRENT_SIZE);
		*end = next.name_offset;
	} else {
		*end = start < len ? start + (uint32_t)strnlen((const char *)p + start, len - start)
				   : len;
		for (uint32_t k = *end; k < len; k++)
			if (p[k])
				return error_set(err, 0, "bytes after the last name are not zero");
	}
	if (start > len || *end > len || *end < start)
		return error_set(err, 0, "a name lies outside of its block");
	return 0;
}

static int scan_block(struct scan *s, const uint8_t *p, uint32_t len, struct error **err)
{
	struct erofs_dirent d;
	uint32_t n, end;

	if (len < EROFS_DIRENT_SIZE)
		return error_set(err, 0, "too short for an entry");
	erofs_dirent_decode(&d, p);
	n = d.name_offset / EROFS_DIRENT_SIZE;
	if (!n || d.name_offset % EROFS_DIRENT_SIZE || d.name_offset >= len)
		return error_set(err, 0, "names cannot begin at byte %u", d.name_offset);
	for (uint32_t i = 0; i < n; i++) {
		struct bootstrap_name name;

		erofs_dirent_decode(&d, p + i * EROFS_DIRENT_SIZE);
		if (name_end(p, len, i, n, d.name_offset, &end, err) < 0)
			return -1;
		name = (struct bootstrap_name){ .name = (const char *)p + d.name_offset,
			.len = end - d.name_offset,
			.nid = d.nid,
			.type = d.type };
		if (take_name(s, &name, err))
			return -1;
	}
	return 0;
}

/* The `len` bytes of directory block `k`. */
static int scan_numbered_block(
	struct scan *s, const uint8_t *p, uint32_t len, uint64_t k, struct error **err)
{
	if (scan_block(s, p, len, err) == 0)
		return 0;
	return s->stopped ? -1 : error_wrap(err, "directory block %" PRIu64, k);
}

static int scan_dir(struct scan *s, const struct bootstrap_flat *f, struct error **err)
{
	uint64_t k = 0;

	for (uint64_t at = 0; at < f->head_size; at += EROFS_BLOCK_SIZE, k++) {
		uint64_t left = f->head_size - at;
		uint32_t len = left < EROFS_BLOCK_SIZE ? (uint32_t)left : EROFS_BLOCK_SIZE;

		if (scan_numbered_block(s, f->head + at, len, k, err) < 0)
			return -1;
	}
	if (f->tail_size && scan_numbered_block(s, f->tail, f->tail_size, k, err) < 0)
		return -1;
	if (!s->dot || !s->dotdot)
		return error_set(err, 0, "a directory without \".\" or \"..\"");
	return 0;
}

int bootstrap_readdir(const struct bootstrap *b, const struct bootstrap_inode *dir,
	int (*each)(void *arg, const struct bootstrap_name *name, struct error **err), void *arg,
	uint64_t *parent, struct error **err)
{
	struct scan s = { .each = each, .arg = arg, .self = dir->nid };
	struct bootstrap_flat flat;

	if (!S_ISDIR(dir->inode.mode))
		return error_set(err, 0, "inode %" PRIu64 " is not a directory", dir->nid);
	bootstrap_flat(b, dir, &flat);
	if (scan_dir(&s, &flat, err) < 0)
		return -1;
	if (parent)
		*parent = s.parent;
	return 0;
}

char *bootstrap_readlink(
	const struct bootstrap *b, const struct bootstrap_inode *link, struct error **err)
{
	CLEANUP_FREE char *target = NULL;
	struct bootstrap_flat f;

	if (!S_ISLNK(link->inode.mode)) {
		error_set(err, 0, "inode %" PRIu64 " is not a symlink", link->nid);
		return NULL;
	}
	if (!link->inode.size || link->inode.size > EROFS_SYMLINK_MAX) {
		error_set(err, 0, "a symlink target of %" PRIu64 " bytes", link->inode.size);
		return NULL;
	}
	bootstrap_flat(b, link, &f);
	target = xzalloc(link->inode.size + 1);
	memcpy(target, f.head, f.head_size);
	memcpy(target + f.head_size, f.tail, f.tail_size);
	if (memchr(target, '\0', link->inode.size)) {
		error_set(err, 0, "a symlink target with a NUL byte");
		return NULL;
	}
	return take_ptr(target);
}

/* Chunk i of a file of n_blk blocks, once its index is known to be sound. */
static int take_chunk(const struct bootstrap *b, const struct bootstrap_inode *file, uint64_t i,
	struct bootstrap_run *run, struct error **err)
{
	const uint8_t *p = b->map + file->data_offset + i * EROFS_CHUNK_INDEX_SIZE;
	struct erofs_chunk_index index = erofs_chunk_index_decode(p);
	unsigned bits = file->inode.u & CHUNK_BITS_MASK;
	uint64_t left = blocks_of(file->inode.size) - (i << bits);
	uint64_t n = UINT64_C(1) << bits;

	*run = (struct bootstrap_run){ .offset = i << bits << EROFS_BLOCK_BITS,
		.n_blk = n < left ? n : left };
	if (index.blk == EROFS_HOLE)
		return 0;
	if (get_le16(p)) /* block addresses of 48 bits: a feature of its own, Linux 6.15 */
		return error_set(err, 0, "chunk %" PRIu64 ": its block address has high bits", i);
	/* The kernel masks the number, so that one too large can silently mean another device. */
	if (!index.device || index.device > b->super.devices)
		return error_set(err, 0, "chunk %" PRIu64 ": no device %u: the image has %u", i,
			index.device, b->super.devices);
	run->device = index.device;
	run->blk = index.blk;
	if (run->blk + run->n_blk > b->slots[index.device - 1].blocks)
		return error_set(err, 0,
			"chunk %" PRIu64 ": blocks %" PRIu32 " to %" PRIu64
			" reach beyond the end of device %u",
			i, run->blk, run->blk + run->n_blk, index.device);
	return 0;
}

static bool continues(const struct bootstrap_run *a, const struct bootstrap_run *b)
{
	return a->device == b->device && (!a->device || a->blk + a->n_blk == b->blk);
}

static int run_chunks(const struct bootstrap *b, const struct bootstrap_inode *file, uint64_t first,
	uint64_t end, int (*each)(void *arg, const struct bootstrap_run *run, struct error **err),
	void *arg, struct error **err)
{
	struct bootstrap_run run = { 0 }, next;

	for (uint64_t i = first; i < end; i++) {
		if (take_chunk(b, file, i, &next, err) < 0)
			return -1;
		if (run.n_blk && continues(&run, &next)) {
			run.n_blk += next.n_blk;
			continue;
		}
		if (run.n_blk && each(arg, &run, err))
			return -1;
		run = next;
	}
	if (run.n_blk && each(arg, &run, err))
		return -1;
	return 0;
}

int bootstrap_runs(const struct bootstrap *b, const struct bootstrap_inode *file,
	int (*each)(void *arg, const struct bootstrap_run *run, struct error **err), void *arg,
	struct error **err)
{
	return run_chunks(b, file, 0, bootstrap_chunks(file), each, arg, err);
}

int bootstrap_runs_between(const struct bootstrap *b, const struct bootstrap_inode *file,
	uint64_t from, uint64_t to,
	int (*each)(void *arg, const struct bootstrap_run *run, struct error **err), void *arg,
	struct error **err)
{
	unsigned shift = EROFS_BLOCK_BITS + (file->inode.u & CHUNK_BITS_MASK);
	uint64_t n = bootstrap_chunks(file), end;

	if (from >= to || from >= file->inode.size)
		return 0;
	end = ((to - 1) >> shift) + 1;
	return run_chunks(b, file, from >> shift, end < n ? end : n, each, arg, err);
}

/* An inode's xattrs while they are read. */
struct xattr_scan {
	const struct bootstrap *b;
	int (*each)(void *arg, const struct bootstrap_xattr *xattr, struct error **err);
	void *arg;
	uint32_t filter;
};

/* The entry at `offset`, which ends before `end`; *size becomes what it takes. */
static int take_xattr(const struct xattr_scan *s, uint64_t offset, uint64_t end, bool shared,
	uint32_t *size, struct error **err)
{
	const uint8_t *p = s->b->map + offset;
	struct erofs_xattr_name name;
	struct bootstrap_xattr x;

	if (end - offset < EROFS_XATTR_ENTRY_SIZE)
		return error_set(err, 0, "an xattr entry is cut short");
	x = (struct bootstrap_xattr){ .prefix = erofs_xattr_prefix(p[1]),
		.suffix = (const char *)p + EROFS_XATTR_ENTRY_SIZE,
		.suffix_len = p[0],
		.value = p + EROFS_XATTR_ENTRY_SIZE + p[0],
		.value_len = get_le16(p + 2),
		.shared = shared };
	*size = erofs_xattr_entry_size(p[0], get_le16(p + 2));
	if (end - offset < *size)
		return error_set(err, 0, "an xattr entry is cut short");
	if (!x.prefix)
		return error_set(err, 0, "an xattr with the unknown prefix %u", p[1]);
	/* ACL names are whole: every other prefix ends with a dot and wants more */
	if ((x.prefix[strlen(x.prefix) - 1] == '.') != (x.suffix_len > 0) ||
		memchr(x.suffix, '\0', x.suffix_len))
		return error_set(err, 0, "an xattr with an impossible name");
	name = (struct erofs_xattr_name){ .index = p[1], .suffix_len = p[0], .suffix = x.suffix };
	if (s->b->super.feature_compat & EROFS_COMPAT_XATTR_FILTER &&
		s->filter & erofs_xattr_filter_bit(&name))
		return error_set(err, 0, "the name filter hides the xattr %s%.*s", x.prefix,
			(int)x.suffix_len, x.suffix);
	return s->each ? s->each(s->arg, &x, err) : 0;
}

/* Shared ids count 4-byte units from the start of the shared area. */
static int take_shared_xattr(const struct xattr_scan *s, uint32_t id, struct error **err)
{
	uint64_t offset = ((uint64_t)s->b->super.xattr_blk << EROFS_BLOCK_BITS) +
			  (uint64_t)id * XATTR_SHARED_ID;
	uint32_t size;

	if (!inside(s->b, offset, EROFS_XATTR_ENTRY_SIZE))
		return error_set(
			err, 0, "shared xattr %" PRIu32 " lies beyond the image's end", id);
	return take_xattr(s, offset, s->b->size, true, &size, err);
}

int bootstrap_xattrs(const struct bootstrap *b, const struct bootstrap_inode *inode,
	int (*each)(void *arg, const struct bootstrap_xattr *xattr, struct error **err), void *arg,
	struct error **err)
{
	uint64_t at = inode->xattr_offset;
	uint64_t end = at + erofs_xattr_size(inode->inode.xattr_count);
	const uint8_t *header = b->map + at;
	struct xattr_scan s = { .b = b, .each = each, .arg = arg };
	uint32_t size;

	if (at == end)
		return 0;
	s.filter = get_le32(header);
	at += EROFS_XATTR_HEADER_SIZE;
	if (at == end) /* listxattr fails on these */
		return error_set(err, 0, "an xattr header without xattrs");
	if (header[4] * XATTR_SHARED_ID > end - at)
		return error_set(err, 0, "%u shared xattrs do not fit", header[4]);
	for (unsigned i = 0; i < header[4]; i++, at += XATTR_SHARED_ID)
		if (take_shared_xattr(&s, get_le32(b->map + at), err))
			return -1;
	for (; at < end; at += size)
		if (take_xattr(&s, at, end, false, &size, err))
			return -1;
	return 0;
}
