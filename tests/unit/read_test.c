// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/*
 * lib/bootstrap/read.c and walk.c: an image made by hand is read as it was meant, and each kind
 * of damage is an error that says so. `make check` runs this with sanitizers too.
 */
#include "config.h"

#include <sys/mman.h>
#include <sys/stat.h>

#include "fmt/le.h"
#include "lib/base/mem.h"
#include "lib/bootstrap/walk.h"
#include "tests/unit/tap.h"

/*
 * The image: four blocks. Block 0 has the superblock, two device slots and the root with its
 * entries inline. Block 1 has one other inode in each 512 bytes. Block 2 is the data of "plain"
 * and, in its second half, the shared xattrs. Block 3 is the first block of directory "many".
 */
enum {
	BLOCKS = 4,
	SIZE = BLOCKS * EROFS_BLOCK_SIZE,
	TABLE = 1152,
	ROOT = 48,
	BIG = 128,
	SUB = 144,
	LINK = 160,
	INLINE = 176,
	FIFO = 192,
	SPARSE = 208,
	PLAIN = 224,
	MANY = 240,
	XATTR_BLOCK = 2,
	SHARED_AT = 2 * EROFS_BLOCK_SIZE + 2048,
	MANY_IN_BLOCK = 200,
	MANY_TAIL = 3,
};

static uint8_t image[SIZE];

static uint8_t *at_nid(uint64_t nid)
{
	return image + nid * EROFS_SLOT_SIZE;
}

static void put_super(void)
{
	const struct erofs_super sb = {
		.feature_compat =
			EROFS_COMPAT_CHECKSUM | EROFS_COMPAT_MTIME | EROFS_COMPAT_XATTR_FILTER,
		.feature_incompat = EROFS_INCOMPAT_CHUNKED | EROFS_INCOMPAT_DEVICES,
		.root_nid = ROOT,
		.inodes = 9,
		.epoch = 1700000000,
		.blocks = BLOCKS,
		.xattr_blk = XATTR_BLOCK,
		.devices = 2,
		.device_table_slot = TABLE / EROFS_DEVICE_SLOT_SIZE,
	};
	struct erofs_device_slot slot = { .tag = "one", .blocks = 100 };

	erofs_super_encode(image + EROFS_SUPER_OFFSET, &sb);
	erofs_device_slot_encode(image + TABLE, &slot);
	slot = (struct erofs_device_slot){ .tag = "two", .blocks = 1 << 20 };
	erofs_device_slot_encode(image + TABLE + EROFS_DEVICE_SLOT_SIZE, &slot);
}

/* Returns where xattrs, tail or chunk indexes go. */
static uint8_t *put_inode(uint64_t nid, struct erofs_inode inode)
{
	inode.ino = (uint32_t)nid;
	if (!inode.nlink)
		inode.nlink = 1;
	erofs_inode_encode(at_nid(nid), &inode);
	return at_nid(nid) + erofs_inode_size(&inode);
}

struct entry {
	const char *name;
	uint64_t nid;
	uint8_t type;
};

/* One directory block or inline tail; returns its size. */
static uint32_t put_entries(uint8_t *p, const struct entry *e, size_t n)
{
	uint32_t name_at = (uint32_t)n * EROFS_DIRENT_SIZE;

	for (size_t i = 0; i < n; i++) {
		const struct erofs_dirent d = {
			.nid = e[i].nid, .name_offset = (uint16_t)name_at, .type = e[i].type
		};

		erofs_dirent_encode(p + i * EROFS_DIRENT_SIZE, &d);
		memcpy(p + name_at, e[i].name, strlen(e[i].name));
		name_at += (uint32_t)strlen(e[i].name);
	}
	return name_at;
}

static void put_dir(uint64_t nid, uint32_t nlink, const struct entry *e, size_t n)
{
	uint8_t scratch[EROFS_BLOCK_SIZE];
	uint8_t *p = put_inode(nid, (struct erofs_inode){ .layout = EROFS_FLAT_INLINE,
					    .mode = S_IFDIR | 0755,
					    .nlink = nlink,
					    .size = put_entries(scratch, e, n) });

	put_entries(p, e, n);
}

static const struct entry root_entries[] = {
	{ ".", ROOT, EROFS_FT_DIR },
	{ "..", ROOT, EROFS_FT_DIR },
	{ "big", BIG, EROFS_FT_FILE },
	{ "fifo", FIFO, EROFS_FT_FIFO },
	{ "hard", BIG, EROFS_FT_FILE },
	{ "inline", INLINE, EROFS_FT_FILE },
	{ "link", LINK, EROFS_FT_SYMLINK },
	{ "many", MANY, EROFS_FT_DIR },
	{ "plain", PLAIN, EROFS_FT_FILE },
	{ "sparse", SPARSE, EROFS_FT_FILE },
	{ "sub", SUB, EROFS_FT_DIR },
};
enum { N_ROOT = sizeof(root_entries) / sizeof(*root_entries), ROOT_BIG = 2, ROOT_SUB = 10 };

static void put_root(void)
{
	put_dir(ROOT, 4, root_entries, N_ROOT);
}

static void put_sub(void)
{
	const struct entry e[] = { { "!first", FIFO, EROFS_FT_FIFO }, { ".", SUB, EROFS_FT_DIR },
		{ "..", ROOT, EROFS_FT_DIR } };

	put_dir(SUB, 2, e, 3);
}

/* Extended: chunks of two blocks, five blocks and a bit. The second continues the first. */
static void put_big(void)
{
	uint8_t *p = put_inode(BIG, (struct erofs_inode){ .extended = true,
					    .layout = EROFS_CHUNKED,
					    .mode = S_IFREG | 0644,
					    .nlink = 2,
					    .size = 5 * EROFS_BLOCK_SIZE + 7,
					    .u = erofs_chunk_format(1) });

	erofs_chunk_index_encode(p, (struct erofs_chunk_index){ 1, 10 });
	erofs_chunk_index_encode(p + 8, (struct erofs_chunk_index){ 1, 12 });
	erofs_chunk_index_encode(p + 16, (struct erofs_chunk_index){ 2, 14 });
}

/* The largest file and the largest chunk there are: all but the first is a hole. */
static void put_sparse(void)
{
	uint8_t *p = put_inode(SPARSE, (struct erofs_inode){ .extended = true,
					       .layout = EROFS_CHUNKED,
					       .mode = S_IFREG | 0644,
					       .size = UINT64_C(17) << 43,
					       .u = erofs_chunk_format(31) });

	for (int i = 0; i < 17; i++)
		erofs_chunk_index_encode(p + 8 * i, (struct erofs_chunk_index){ 0, EROFS_HOLE });
}

/* Inline data after an inline and a shared xattr. */
static void put_inline(void)
{
	static const char name[] = "user.comment", shared[] = "trusted.overlay.opaque";
	struct erofs_xattr_name n;
	uint32_t size;
	uint8_t *p;

	erofs_xattr_split(&n, name, strlen(name));
	size = EROFS_XATTR_HEADER_SIZE + 4 + erofs_xattr_entry_size(n.suffix_len, 5);
	p = put_inode(INLINE, (struct erofs_inode){ .layout = EROFS_FLAT_INLINE,
				      .xattr_count = (uint16_t)((size - 12) / 4 + 1),
				      .mode = S_IFREG | 0600,
				      .size = 5 });
	put_le32(p, ~((1u << 19) | (1u << 20)));
	p[4] = 1;
	put_le32(p + 12, (SHARED_AT - XATTR_BLOCK * EROFS_BLOCK_SIZE) / 4);
	erofs_xattr_entry_encode(p + 16, &n, "value", 5);
	memcpy(p + size, "hello", 5);
	erofs_xattr_split(&n, shared, strlen(shared));
	erofs_xattr_entry_encode(image + SHARED_AT, &n, "y", 1);
}

static void put_many(void)
{
	enum { N = 2 + MANY_IN_BLOCK + MANY_TAIL };
	static char names[N][16];
	struct entry e[N] = { { ".", MANY, EROFS_FT_DIR }, { "..", ROOT, EROFS_FT_DIR } };
	uint8_t *p = at_nid(MANY) + EROFS_COMPACT_SIZE;
	uint32_t tail;

	for (int i = 2; i < N; i++) {
		snprintf(names[i], sizeof(names[i]), "n%03d", i);
		e[i] = (struct entry){ names[i], FIFO, EROFS_FT_FIFO };
	}
	put_entries(image + 3 * EROFS_BLOCK_SIZE, e, 2 + MANY_IN_BLOCK);
	tail = put_entries(p, e + 2 + MANY_IN_BLOCK, MANY_TAIL);
	put_inode(MANY, (struct erofs_inode){ .layout = EROFS_FLAT_INLINE,
				.mode = S_IFDIR | 0755,
				.nlink = 2,
				.size = EROFS_BLOCK_SIZE + tail,
				.u = 3 });
}

static void put_image(void)
{
	uint8_t *p;

	memset(image, 0, sizeof(image));
	put_super();
	put_root();
	put_sub();
	put_big();
	put_sparse();
	put_inline();
	put_many();
	p = put_inode(
		LINK, (struct erofs_inode){
			      .layout = EROFS_FLAT_INLINE, .mode = S_IFLNK | 0777, .size = 6 });
	memcpy(p, "target", 6);
	put_inode(FIFO, (struct erofs_inode){ .mode = S_IFIFO | 0644 });
	put_inode(PLAIN, (struct erofs_inode){ .mode = S_IFREG | 0644, .size = 2000, .u = 2 });
	memset(image + 2 * EROFS_BLOCK_SIZE, 'p', 2000);
}

/* The image as it stands, sealed, as a file of `size` bytes; NULL with *err. */
static struct bootstrap *open_image(size_t size, struct error **err)
{
	CLEANUP_FD int fd = memfd_create("image", MFD_CLOEXEC);

	erofs_super_seal(image);
	if (fd < 0 || write(fd, image, size) != (ssize_t)size) {
		perror("memfd");
		exit(99);
	}
	return bootstrap_open(fd, err);
}

/* What a walk that reads everything has seen. */
struct seen {
	const struct bootstrap *b;
	char names[8192]; /* of the root, each with a space */
	size_t n, again, faults;
	uint64_t flat; /* a sum, so that every byte is touched */
	char last_fault[512];
};

static int touch_run(void *arg, const struct bootstrap_run *run, struct error **err)
{
	struct seen *s = arg;

	s->flat += run->n_blk;
	return 0;
}

static int touch_xattr(void *arg, const struct bootstrap_xattr *x, struct error **err)
{
	struct seen *s = arg;

	for (size_t i = 0; i < x->suffix_len; i++)
		s->flat += (uint8_t)x->suffix[i];
	for (size_t i = 0; i < x->value_len; i++)
		s->flat += x->value[i];
	return 0;
}

static int see(void *arg, const struct bootstrap_entry *e, struct error **err)
{
	struct seen *s = arg;
	struct bootstrap_flat f;

	s->n++;
	s->again += e->again;
	if (e->name && strlen(s->names) + e->name->len + 2 < sizeof(s->names)) {
		strncat(s->names, e->name->name, e->name->len);
		strcat(s->names, " ");
	}
	bootstrap_flat(s->b, e->inode, &f);
	for (uint64_t i = 0; i < f.head_size; i++)
		s->flat += f.head[i];
	for (uint32_t i = 0; i < f.tail_size; i++)
		s->flat += f.tail[i];
	if (S_ISLNK(e->inode->inode.mode)) {
		CLEANUP_FREE char *target = bootstrap_readlink(s->b, e->inode, err);

		if (!target)
			return -1;
	}
	if (bootstrap_runs(s->b, e->inode, touch_run, s, err) < 0)
		return -1;
	return bootstrap_xattrs(s->b, e->inode, touch_xattr, s, err);
}

static int note_fault(void *arg, struct error **err)
{
	struct seen *s = arg;

	s->faults++;
	snprintf(s->last_fault, sizeof(s->last_fault), "%s", (*err)->msg);
	error_free(take_ptr(*err));
	return 0;
}

static int walk(struct seen *s, const struct bootstrap *b, bool go_on, struct error **err)
{
	const struct bootstrap_walker walker = { see, go_on ? note_fault : NULL, s };

	*s = (struct seen){ .b = b };
	return bootstrap_walk(b, &walker, err);
}

/* The image must give an error in which `want` stands, whether the walk stops there or not. */
static void check_fault(const char *want, int line)
{
	static struct seen s;
	CLEANUP_ERROR struct error *err = NULL, *end = NULL;
	CLEANUP_BOOTSTRAP struct bootstrap *b = open_image(SIZE, &err);

	if (b && walk(&s, b, false, &err) == 0)
		printf("# line %d: no error at all\n", line);
	/* a path, when there is one, comes first and once */
	if (!CHECK(err && (*want == '/' ? !strncmp(err->msg, want, strlen(want))
					: strstr(err->msg, want) != NULL)))
		printf("# line %d: wanted \"%s\", saw \"%s\"\n", line, want, err ? err->msg : "");
	if (b && walk(&s, b, true, &end) == 0)
		CHECK(s.faults > 0);
	put_image();
}

#define FAULT(want) check_fault(want, __LINE__)

static void an_image_is_read_as_it_was_made(void)
{
	static struct seen s;
	CLEANUP_ERROR struct error *err = NULL;
	CLEANUP_BOOTSTRAP struct bootstrap *b = open_image(SIZE, &err);

	if (!CHECK(b) || !CHECK(walk(&s, b, false, &err) == 0)) {
		printf("# %s\n", err->msg);
		return;
	}
	/* the root, its 9 names, one in sub, and those of "many"; fifo and big come again */
	CHECK_U64(s.n, 1 + 9 + 1 + MANY_IN_BLOCK + MANY_TAIL);
	CHECK_U64(s.again, 1 + 1 + MANY_IN_BLOCK + MANY_TAIL);
	CHECK(!strncmp(s.names, "big fifo hard inline link many plain sparse sub n002 ", 53));
	CHECK(strstr(s.names, " n204 !first "));
	CHECK_U64(bootstrap_size(b), SIZE);
	CHECK_U64(bootstrap_nids(b), SIZE / EROFS_SLOT_SIZE);
}

static void the_device_table_is_read(void)
{
	CLEANUP_ERROR struct error *err = NULL;
	CLEANUP_BOOTSTRAP struct bootstrap *b = open_image(SIZE, &err);
	struct erofs_device_slot slot;

	CHECK(bootstrap_device(b, 1, &slot, &err) == 0);
	CHECK_STR(slot.tag, "two");
	CHECK_U64(slot.blocks, 1 << 20);
	CHECK(bootstrap_device(b, 2, &slot, &err) == -1);
}

struct runs {
	struct bootstrap_run run[8];
	size_t n;
};

static int take_run(void *arg, const struct bootstrap_run *run, struct error **err)
{
	struct runs *r = arg;

	if (r->n < 8)
		r->run[r->n++] = *run;
	return 0;
}

static void chunks_that_continue_each_other_are_one_run(void)
{
	CLEANUP_ERROR struct error *err = NULL;
	CLEANUP_BOOTSTRAP struct bootstrap *b = open_image(SIZE, &err);
	struct bootstrap_inode inode;
	struct runs r = { .n = 0 };

	CHECK(bootstrap_inode(b, BIG, &inode, &err) == 0);
	CHECK_U64(bootstrap_chunks(&inode), 3);
	CHECK(bootstrap_runs(b, &inode, take_run, &r, &err) == 0);
	CHECK_U64(r.n, 2);
	CHECK(r.run[0].offset == 0 && r.run[0].n_blk == 4);
	CHECK(r.run[0].blk == 10 && r.run[0].device == 1);
	/* adjoining blocks of another device continue nothing; the last chunk ends with the file */
	CHECK(r.run[1].offset == 4 * EROFS_BLOCK_SIZE && r.run[1].n_blk == 2);
	CHECK(r.run[1].blk == 14 && r.run[1].device == 2);
}

static void a_hole_of_many_terabytes_is_one_run(void)
{
	CLEANUP_ERROR struct error *err = NULL;
	CLEANUP_BOOTSTRAP struct bootstrap *b = open_image(SIZE, &err);
	struct bootstrap_inode inode;
	struct runs r = { .n = 0 };

	CHECK(bootstrap_inode(b, SPARSE, &inode, &err) == 0);
	CHECK(bootstrap_runs(b, &inode, take_run, &r, &err) == 0);
	CHECK_U64(r.n, 1);
	CHECK_U64(r.run[0].n_blk, UINT64_C(17) << 31);
	CHECK_U64(r.run[0].device, 0);
}

struct xattrs {
	char text[128];
};

static int take_xattr(void *arg, const struct bootstrap_xattr *x, struct error **err)
{
	struct xattrs *all = arg;
	size_t n = strlen(all->text);

	snprintf(all->text + n, sizeof(all->text) - n, "%s%.*s=%.*s%s ", x->prefix,
		(int)x->suffix_len, x->suffix, (int)x->value_len, (const char *)x->value,
		x->shared ? " shared" : "");
	return 0;
}

static void shared_and_inline_xattrs_and_inline_data_are_read(void)
{
	CLEANUP_ERROR struct error *err = NULL;
	CLEANUP_BOOTSTRAP struct bootstrap *b = open_image(SIZE, &err);
	struct bootstrap_inode inode;
	struct bootstrap_flat f;
	struct xattrs all = { "" };

	CHECK(bootstrap_inode(b, INLINE, &inode, &err) == 0);
	CHECK(bootstrap_xattrs(b, &inode, take_xattr, &all, &err) == 0);
	CHECK_STR(all.text, "trusted.overlay.opaque=y shared user.comment=value ");
	bootstrap_flat(b, &inode, &f);
	CHECK(f.head_size == 0 && f.tail_size == 5 && !memcmp(f.tail, "hello", 5));
	CHECK(bootstrap_inode(b, PLAIN, &inode, &err) == 0);
	bootstrap_flat(b, &inode, &f);
	CHECK(f.head_size == 2000 && f.tail_size == 0 && f.head[1999] == 'p');
}

static void a_symlink_is_read(void)
{
	CLEANUP_ERROR struct error *err = NULL;
	CLEANUP_BOOTSTRAP struct bootstrap *b = open_image(SIZE, &err);
	CLEANUP_FREE char *target = NULL;
	struct bootstrap_inode inode;

	CHECK(bootstrap_inode(b, LINK, &inode, &err) == 0);
	target = bootstrap_readlink(b, &inode, &err);
	CHECK_STR(target, "target");
}

static void an_image_cut_short_is_refused_at_every_length(void)
{
	for (size_t size = 0; size < SIZE; size += 512) {
		CLEANUP_ERROR struct error *err = NULL;
		CLEANUP_BOOTSTRAP struct bootstrap *b = open_image(size, &err);

		CHECK(!b && err);
	}
}

static void a_longer_file_than_the_image_is_fine(void)
{
	static struct seen s;
	CLEANUP_ERROR struct error *err = NULL;
	CLEANUP_FD int fd = memfd_create("image", MFD_CLOEXEC);
	CLEANUP_BOOTSTRAP struct bootstrap *b = NULL;

	erofs_super_seal(image);
	CHECK(write(fd, image, SIZE) == SIZE && write(fd, image, 100) == 100);
	b = bootstrap_open(fd, &err);
	CHECK(b && walk(&s, b, false, &err) == 0);
}

static void superblock_offsets_beyond_the_end_are_refused(void)
{
	uint8_t *sb = image + EROFS_SUPER_OFFSET;

	put_le32(sb + 0x24, BLOCKS + 1);
	FAULT("the superblock counts 5 blocks");
	put_le32(sb + 0x24, 0);
	FAULT("the superblock counts 0 blocks");
	put_le32(sb + 0x24, UINT32_MAX);
	FAULT("the superblock counts");
	put_le32(sb + 0x28, BLOCKS);
	FAULT("the inodes begin at block 4 of 4");
	put_le16(sb + 0x58, UINT16_MAX);
	FAULT("the device table reaches beyond");
	put_le16(sb + 0x56, UINT16_MAX);
	FAULT("the device table reaches beyond");
	sb[0x50] = EROFS_INCOMPAT_CHUNKED;
	FAULT("without the device table feature");
	sb[0x50] = EROFS_INCOMPAT_DEVICES;
	FAULT("without the chunked-file feature");
	put_le16(sb + 0x0e, UINT16_MAX);
	FAULT("the root: inode 65535 lies beyond the image's end");
	put_le16(sb + 0x0e, FIFO);
	FAULT("the root is not a directory");
}

/* Point the root's entry `i` somewhere else. */
static void point(int i, uint64_t nid, uint8_t type)
{
	uint8_t *p = at_nid(ROOT) + EROFS_COMPACT_SIZE + i * EROFS_DIRENT_SIZE;
	struct erofs_dirent d;

	erofs_dirent_decode(&d, p);
	d.nid = nid;
	d.type = type;
	erofs_dirent_encode(p, &d);
}

static void inodes_beyond_the_end_are_refused(void)
{
	static const uint64_t nids[] = { SIZE / EROFS_SLOT_SIZE, UINT32_MAX, UINT64_MAX,
		UINT64_MAX / 32, UINT64_MAX / 32 + ROOT, INT64_MAX };

	for (size_t i = 0; i < sizeof(nids) / sizeof(*nids); i++) {
		point(ROOT_BIG, nids[i], EROFS_FT_FILE);
		FAULT("lies beyond the image's end");
	}
	/* the last slot of the image has room for a compact inode only */
	image[SIZE - EROFS_SLOT_SIZE] = 1;
	point(ROOT_BIG, SIZE / EROFS_SLOT_SIZE - 1, EROFS_FT_FILE);
	FAULT("/big: inode is cut short");
}

static void damaged_inodes_are_refused(void)
{
	put_le16(at_nid(BIG), 0x40);
	FAULT("/big: unknown inode format");
	put_le16(at_nid(BIG) + 4, 0644);
	FAULT("/big: inode 128: mode 0644 is of no file type");
	put_le16(at_nid(SPARSE) + 2, UINT16_MAX);
	FAULT("/sparse: inode 208: its xattrs reach beyond");
	put_le32(at_nid(FIFO) + 8, 1);
	FAULT("/fifo: inode 192: a device, fifo or socket with data");
	point(ROOT_BIG, BIG, EROFS_FT_SYMLINK);
	FAULT("/big: the entry's type is 7, its inode's 1");
}

static void flat_data_beyond_the_end_is_refused(void)
{
	put_le32(at_nid(PLAIN) + 16, BLOCKS);
	FAULT("/plain: inode 224: its data, 2000 bytes from block 4 on, reaches beyond");
	put_le32(at_nid(PLAIN) + 16, UINT32_MAX);
	FAULT("reaches beyond the image's end");
	put_le32(at_nid(PLAIN) + 8, UINT32_MAX);
	FAULT("reaches beyond the image's end");
	put_le32(at_nid(MANY) + 16, BLOCKS);
	FAULT("/many: inode 240: its data");
}

static void inline_tails_that_cross_a_block_or_are_empty_are_refused(void)
{
	put_le32(at_nid(INLINE) + 8, EROFS_BLOCK_SIZE - 1);
	FAULT("/inline: inode 176: its inline data crosses a block boundary");
	put_le32(at_nid(INLINE) + 8, EROFS_BLOCK_SIZE);
	FAULT("/inline: inode 176: inline layout, but no bytes");
	put_le32(at_nid(INLINE) + 8, 0);
	FAULT("/inline: inode 176: inline layout, but no bytes");
}

static void chunk_arrays_beyond_the_end_are_refused(void)
{
	put_le64(at_nid(BIG) + 8, INT64_MAX);
	FAULT("/big: inode 128: its 1125899906842624 chunk indexes reach beyond");
	put_le32(at_nid(BIG) + 16, 0x20);
	put_le64(at_nid(BIG) + 8, 4 * SIZE / 8 * (uint64_t)EROFS_BLOCK_SIZE);
	FAULT("chunk indexes reach beyond");
	put_le32(at_nid(BIG) + 16, 0x61);
	FAULT("/big: inode 128: unknown chunk format 0x61");
	put_le32(at_nid(BIG) + 16, 0x01);
	FAULT("/big: inode 128: a block map of 4-byte entries");
	put_le16(at_nid(LINK), EROFS_CHUNKED << 1);
	FAULT("/link: inode 160: chunks in what is no regular file");
}

static void put_chunk(int i, struct erofs_chunk_index index)
{
	erofs_chunk_index_encode(at_nid(BIG) + EROFS_EXTENDED_SIZE + 8 * i, index);
}

static void chunks_outside_of_their_device_are_refused(void)
{
	put_chunk(0, (struct erofs_chunk_index){ 3, 0 });
	FAULT("/big: chunk 0: no device 3: the image has 2");
	put_chunk(1, (struct erofs_chunk_index){ 0, 5 });
	FAULT("/big: chunk 1: no device 0");
	put_chunk(1, (struct erofs_chunk_index){ 1, 99 });
	FAULT("/big: chunk 1: blocks 99 to 101 reach beyond the end of device 1");
	put_chunk(2, (struct erofs_chunk_index){ 2, UINT32_MAX - 1 });
	FAULT("/big: chunk 2: blocks 4294967294");
	put_le16(at_nid(BIG) + EROFS_EXTENDED_SIZE + 8, 1);
	FAULT("/big: chunk 1: its block address has high bits");
}

static void the_last_chunk_may_end_with_its_device(void)
{
	static struct seen s;
	CLEANUP_ERROR struct error *err = NULL;
	CLEANUP_BOOTSTRAP struct bootstrap *b = NULL;

	/* five blocks and a bit are six: shorten to five, so that the last chunk has one */
	put_le64(at_nid(BIG) + 8, 4 * EROFS_BLOCK_SIZE + 1);
	put_chunk(2, (struct erofs_chunk_index){ 1, 99 });
	b = open_image(SIZE, &err);
	CHECK(b && walk(&s, b, false, &err) == 0);
	put_image();
}

static uint8_t *root_dirent(int i)
{
	return at_nid(ROOT) + EROFS_COMPACT_SIZE + i * EROFS_DIRENT_SIZE;
}

static void nonsense_in_name_offsets_is_refused(void)
{
	static const uint16_t firsts[] = { 0, 1, 11, 13, 4095, 4096, 65535, 65532 };

	for (size_t i = 0; i < sizeof(firsts) / sizeof(*firsts); i++) {
		put_le16(root_dirent(0) + 8, firsts[i]);
		FAULT("/: directory block 0: ");
	}
	put_le16(root_dirent(3) + 8, 4000); /* beyond the tail */
	FAULT("/: directory block 0: a name lies outside of its block");
	put_le16(root_dirent(N_ROOT - 1) + 8, 65535);
	FAULT("/: directory block 0: ");
	put_le16(root_dirent(4) + 8, get_le16(root_dirent(3) + 8) - 1); /* ends before it begins */
	FAULT("/: directory block 0: ");
	put_le16(root_dirent(4) + 8, get_le16(root_dirent(3) + 8)); /* empty */
	FAULT("/: directory block 0: a name of 0 bytes");
}

static uint8_t *root_name(int i)
{
	return at_nid(ROOT) + EROFS_COMPACT_SIZE + get_le16(root_dirent(i) + 8);
}

static void impossible_names_are_refused(void)
{
	memcpy(root_name(ROOT_BIG), "b/g", 3);
	FAULT("/: directory block 0: a name with a slash or a NUL byte");
	memcpy(root_name(ROOT_BIG), "b\0g", 3);
	FAULT("/: directory block 0: a name with a slash or a NUL byte");
	memcpy(root_name(ROOT_BIG), "zzz", 3);
	FAULT("/: directory block 0: names are not in ascending order");
	memcpy(root_name(4), "fifo", 4); /* twice */
	FAULT("/: directory block 0: names are not in ascending order");
	root_name(ROOT_SUB)[1] = '\0'; /* "s\0b": the name ends there, what follows is no zero */
	FAULT("/: directory block 0: bytes after the last name are not zero");
}

static void order_is_kept_across_blocks(void)
{
	memcpy(at_nid(MANY) + EROFS_COMPACT_SIZE + MANY_TAIL * EROFS_DIRENT_SIZE, "a", 1);
	FAULT("/many: directory block 1: names are not in ascending order");
}

static void a_name_of_more_than_255_bytes_is_refused(void)
{
	/* two entries only: the second has what is left of the block */
	uint8_t *p = image + 3 * EROFS_BLOCK_SIZE;

	memset(p, 'x', EROFS_BLOCK_SIZE);
	put_entries(p, (const struct entry[]){ { ".", MANY, EROFS_FT_DIR }, { "..", ROOT, 2 } }, 2);
	FAULT("/many: directory block 0: a name of 4071 bytes");
}

static void dot_and_dotdot_must_be_there_and_right(void)
{
	point(0, SUB, EROFS_FT_DIR);
	FAULT("/: directory block 0: \".\" is another inode");
	point(1, SUB, EROFS_FT_DIR);
	FAULT("/: \"..\" is inode 144 instead of 48");
	put_dir(SUB, 2, (const struct entry[]){ { ".", SUB, EROFS_FT_DIR } }, 1);
	FAULT("/sub: a directory without \".\" or \"..\"");
	put_dir(SUB, 2,
		(const struct entry[]){ { ".", SUB, EROFS_FT_DIR }, { "..", MANY, EROFS_FT_DIR } },
		2);
	FAULT("/sub: \"..\" is inode 240 instead of 48");
	put_inode(SUB, (struct erofs_inode){ .mode = S_IFDIR | 0755, .nlink = 2 });
	FAULT("/sub: a directory without \".\" or \"..\"");
}

static void cycles_and_directory_hard_links_are_refused(void)
{
	const struct entry up[] = { { ".", SUB, EROFS_FT_DIR }, { "..", ROOT, EROFS_FT_DIR },
		{ "up", ROOT, EROFS_FT_DIR } };
	const struct entry self[] = { { ".", SUB, EROFS_FT_DIR }, { "..", ROOT, EROFS_FT_DIR },
		{ "self", SUB, EROFS_FT_DIR } };

	put_dir(SUB, 3, up, 3);
	FAULT("/sub/up: a directory that is already part of the tree");
	put_dir(SUB, 3, self, 3);
	FAULT("/sub/self: a directory that is already part of the tree");
	point(ROOT_BIG, SUB, EROFS_FT_DIR);
	FAULT("/sub: a directory that is already part of the tree");
}

static void subdirectories_are_counted(void)
{
	put_le16(at_nid(ROOT) + 6, 5);
	FAULT("/: link count 5, but 2 subdirectories");
	put_le16(at_nid(SUB) + 6, 3);
	FAULT("/sub: link count 3, but 0 subdirectories");
}

static void damaged_symlinks_are_refused(void)
{
	at_nid(LINK)[EROFS_COMPACT_SIZE + 2] = '\0';
	FAULT("/link: a symlink target with a NUL byte");
	put_inode(LINK, (struct erofs_inode){ .mode = S_IFLNK | 0777 });
	FAULT("/link: a symlink target of 0 bytes");
	put_inode(LINK, (struct erofs_inode){ .mode = S_IFLNK | 0777, .size = 4096, .u = 2 });
	FAULT("/link: a symlink target of 4096 bytes");
}

static void damaged_xattrs_are_refused(void)
{
	uint8_t *header = at_nid(INLINE) + EROFS_COMPACT_SIZE;
	uint8_t *entry = header + EROFS_XATTR_HEADER_SIZE + 4;

	put_le16(at_nid(INLINE) + 2, 1);
	FAULT("/inline: an xattr header without xattrs");
	header[4] = 255;
	FAULT("/inline: 255 shared xattrs do not fit");
	put_le32(header + 12, UINT32_MAX);
	FAULT("/inline: shared xattr 4294967295 lies beyond");
	put_le32(header + 12, 2 * EROFS_BLOCK_SIZE / 4);
	FAULT("/inline: shared xattr 2048 lies beyond");
	entry[0] = 200;
	FAULT("/inline: an xattr entry is cut short");
	put_le16(entry + 2, UINT16_MAX);
	FAULT("/inline: an xattr entry is cut short");
	entry[1] = 5;
	FAULT("/inline: an xattr with the unknown prefix 5");
	entry[1] = 2; /* an ACL's name is whole */
	FAULT("/inline: an xattr with an impossible name");
	entry[4] = '\0';
	FAULT("/inline: an xattr with an impossible name");
	put_le32(header, UINT32_MAX);
	FAULT("/inline: the name filter hides the xattr trusted.overlay.opaque");
	put_le32(header, 1u << 19);
	FAULT("/inline: the name filter hides the xattr user.comment");
	/* half an entry left over */
	put_le16(at_nid(INLINE) + 2, get_le16(at_nid(INLINE) + 2) - 1);
	FAULT("/inline: an xattr entry is cut short");
}

/* Small images must not keep a reader busy: what cannot be shared is counted. */
static void inodes_that_overlap_end_the_walk(void)
{
	enum { N = 40 };
	static struct seen s;
	CLEANUP_ERROR struct error *err = NULL;
	CLEANUP_BOOTSTRAP struct bootstrap *b = NULL;
	struct entry e[N + 2] = { { ".", MANY, EROFS_FT_DIR }, { "..", ROOT, EROFS_FT_DIR } };
	char names[N][16];

	/* each of 40 files claims the rest of the image as chunk indexes */
	for (int i = 0; i < N; i++) {
		snprintf(names[i], sizeof(names[i]), "n%02d", i);
		e[i + 2] = (struct entry){ names[i], 256 + 2 * (unsigned)i, EROFS_FT_FILE };
		put_inode(256 + 2 * (unsigned)i, (struct erofs_inode){ .extended = true,
							 .layout = EROFS_CHUNKED,
							 .mode = S_IFREG | 0644,
							 .size = 600 * EROFS_BLOCK_SIZE,
							 .u = erofs_chunk_format(0) });
	}
	memset(image + 3 * EROFS_BLOCK_SIZE, 0, EROFS_BLOCK_SIZE);
	put_inode(MANY, (struct erofs_inode){ .mode = S_IFDIR | 0755,
				.nlink = 2,
				.size = put_entries(image + 3 * EROFS_BLOCK_SIZE, e, N + 2),
				.u = 3 });
	b = open_image(SIZE, &err);
	CHECK(b && walk(&s, b, true, &err) == -1);
	CHECK(err && strstr(err->msg, "inodes or directories overlap"));
	put_image();
}

static void a_walk_that_goes_on_finds_every_fault(void)
{
	static struct seen s;
	CLEANUP_ERROR struct error *err = NULL;
	CLEANUP_BOOTSTRAP struct bootstrap *b = NULL;

	put_chunk(0, (struct erofs_chunk_index){ 3, 0 });
	at_nid(LINK)[EROFS_COMPACT_SIZE + 2] = '\0';
	put_le16(at_nid(SUB) + 6, 3);
	b = open_image(SIZE, &err);
	CHECK(b && walk(&s, b, true, &err) == 0);
	CHECK_U64(s.faults, 4); /* big has two names */
	CHECK_STR(s.last_fault, "/sub: link count 3, but 0 subdirectories");
	CHECK(strstr(s.names, "sub "));
	put_image();
}

static void paths_in_faults_are_printable(void)
{
	memcpy(root_name(ROOT_BIG), "b\n\xff", 3);
	put_chunk(0, (struct erofs_chunk_index){ 3, 0 });
	FAULT("/b\\012\\377: chunk 0");
}

/* xorshift64*: the same damage on every machine */
static uint64_t next_random(uint64_t *state)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * UINT64_C(0x2545F4914F6CDD1D);
}

static void no_damage_crashes_the_reader(void)
{
	static struct seen s;
	uint64_t state = 1, refused = 0;

	for (int round = 0; round < 20000; round++) {
		CLEANUP_ERROR struct error *err = NULL, *end = NULL;
		CLEANUP_BOOTSTRAP struct bootstrap *b = NULL;

		for (uint64_t n = 1 + next_random(&state) % 4; n; n--) {
			uint64_t r = next_random(&state);
			/* where structures are: the holes between them tell nothing */
			size_t at = r % 8 ? 1024 + (r >> 8) % 1024
					  : 4096 + (r >> 8) % 8 * 512 + (r >> 16) % 128;

			image[r % 16 < 8 ? 4096 + (r >> 8) % 4096 : at] = (uint8_t)(r >> 40);
		}
		b = open_image(SIZE, &err);
		if (b && walk(&s, b, true, &end) == 0 && !s.faults)
			refused--;
		refused++;
		put_image();
	}
	CHECK(refused > 5000);
}

int main(void)
{
	put_image();
	RUN(an_image_is_read_as_it_was_made);
	RUN(the_device_table_is_read);
	RUN(chunks_that_continue_each_other_are_one_run);
	RUN(a_hole_of_many_terabytes_is_one_run);
	RUN(shared_and_inline_xattrs_and_inline_data_are_read);
	RUN(a_symlink_is_read);
	RUN(an_image_cut_short_is_refused_at_every_length);
	RUN(a_longer_file_than_the_image_is_fine);
	RUN(superblock_offsets_beyond_the_end_are_refused);
	RUN(inodes_beyond_the_end_are_refused);
	RUN(damaged_inodes_are_refused);
	RUN(flat_data_beyond_the_end_is_refused);
	RUN(inline_tails_that_cross_a_block_or_are_empty_are_refused);
	RUN(chunk_arrays_beyond_the_end_are_refused);
	RUN(chunks_outside_of_their_device_are_refused);
	RUN(the_last_chunk_may_end_with_its_device);
	RUN(nonsense_in_name_offsets_is_refused);
	RUN(impossible_names_are_refused);
	RUN(order_is_kept_across_blocks);
	RUN(a_name_of_more_than_255_bytes_is_refused);
	RUN(dot_and_dotdot_must_be_there_and_right);
	RUN(cycles_and_directory_hard_links_are_refused);
	RUN(subdirectories_are_counted);
	RUN(damaged_symlinks_are_refused);
	RUN(damaged_xattrs_are_refused);
	RUN(inodes_that_overlap_end_the_walk);
	RUN(a_walk_that_goes_on_finds_every_fault);
	RUN(paths_in_faults_are_printable);
	RUN(no_damage_crashes_the_reader);
	return tap_done();
}
