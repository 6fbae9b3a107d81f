// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/*
 * Bootstraps written from trees and read back: every inode, name, xattr and run must be there
 * again, and the image must keep to the rules of the format that a reader may rely on.
 */
#include "config.h"

#include "fmt/le.h"
#include "lib/base/mem.h"
#include "lib/bootstrap/bootstrap.h"
#include "lib/bootstrap/read.h"
#include "tests/unit/random.h"
#include "tests/unit/tap.h"
#include "tests/unit/tmpdir.h"

#include <errno.h>
#include <signal.h>
#include <sys/resource.h>

/* --- a tree, and the image of it --- */

static struct tree tree;
static struct bootstrap_device devices[300];
static size_t n_devices;
static struct bootstrap_result result;
static struct outfile *file;
static struct bootstrap *image;
static char *dir;

static void begin(void)
{
	tree_init(&tree);
	n_devices = 0;
}

static void end(void)
{
	if (image)
		bootstrap_close(image);
	image = NULL;
	outfile_free(file);
	file = NULL;
	tree_free(&tree);
}

static void add_device(uint32_t blocks)
{
	uint64_t n = n_devices;

	digest_of(&devices[n_devices].tag, DIGEST_SHA256, &n, sizeof(n));
	devices[n_devices++].blocks = blocks;
}

static uint32_t add(uint32_t parent, const char *name, uint16_t mode)
{
	struct error *err = NULL;
	uint32_t id = tree_new_inode(&tree, mode, &err);

	tree_link(&tree, parent, name, strlen(name), id, &err);
	return id;
}

static uint32_t add_symlink(uint32_t parent, const char *name, size_t len, char fill)
{
	uint32_t id = add(parent, name, S_IFLNK | 0777);
	struct tree_inode *in = tree_inode(&tree, id);

	in->target = xmalloc(len + 1);
	memset(in->target, fill, len);
	in->target[len] = '\0';
	in->size = len;
	return id;
}

static void set_extents(uint32_t id, const struct tree_extent *of, uint32_t n)
{
	struct tree_extents *x = xmalloc(sizeof(*x) + n * sizeof(*of));

	x->n = n;
	memcpy(x->of, of, n * sizeof(*of));
	tree_inode(&tree, id)->extents = x;
}

static bool write_to(struct outfile *f, struct bootstrap_result *r, struct error **err)
{
	const struct bootstrap_input in = { .tree = &tree,
		.devices = devices,
		.n_devices = n_devices,
		.identity = "the identity" };

	return bootstrap_write(&in, f, r, err) == 0;
}

static bool open_image(void)
{
	CLEANUP_ERROR struct error *err = NULL;

	file = outfile_new(dir, &err);
	if (!CHECK(file && write_to(file, &result, &err)) ||
		!CHECK((image = bootstrap_open(outfile_fd(file), &err)))) {
		printf("# %s\n", err->msg);
		return false;
	}
	return true;
}

static uint8_t *image_bytes(struct outfile *f, uint64_t size)
{
	uint8_t *p = xmalloc(size + 1);

	CHECK_U64((uint64_t)pread(outfile_fd(f), p, size + 1, 0), size);
	return p;
}

/* --- what was read must be what is in the tree --- */

struct compare {
	uint64_t *nids; /* by inode of the tree; 0: not seen */
	uint64_t inodes, compact, indexes;
	uint32_t *queue; /* directories to read */
	size_t n, at;
	/* the directory that is being read */
	uint32_t dir, next;
	const struct tree_inode *in; /* the inode whose runs or xattrs are being read */
	uint64_t run_at;
	uint32_t run;
	uint64_t run_done;
	uint32_t n_xattrs;
};

static int failed_at(const char *what, uint32_t inode, struct error **err)
{
	return error_set(err, 0, "%s of inode %u", what, inode);
}

/* Consume n blocks of the tree's runs, which must be (device, blk) on. */
static bool take_run(struct compare *c, const struct bootstrap_run *run)
{
	const struct tree_extents *x = c->in->extents;

	for (uint64_t done = 0; done < run->n_blk;) {
		const struct tree_extent *e = x && c->run < x->n ? &x->of[c->run] : NULL;
		uint64_t n = run->n_blk - done;

		if (!e)
			return !run->device && !x; /* one hole */
		if (e->device != run->device)
			return false;
		if (e->device && e->blk + c->run_done != run->blk + done)
			return false;
		if (n > e->n_blk - c->run_done)
			n = e->n_blk - c->run_done;
		done += n;
		c->run_done += n;
		if (c->run_done == e->n_blk) {
			c->run++;
			c->run_done = 0;
		}
	}
	return true;
}

static int on_run(void *arg, const struct bootstrap_run *run, struct error **err)
{
	struct compare *c = arg;

	if (run->offset != c->run_at || !take_run(c, run))
		return error_set(err, 0, "a run at %" PRIu64, run->offset);
	c->run_at += run->n_blk * EROFS_BLOCK_SIZE;
	return 0;
}

static int on_xattr(void *arg, const struct bootstrap_xattr *x, struct error **err)
{
	struct compare *c = arg;
	const struct xattr_set *set = xattr_set(&tree.xattrs, c->in->xattrs);
	CLEANUP_FREE char *name = xasprintf("%s%.*s", x->prefix, (int)x->suffix_len, x->suffix);

	c->n_xattrs++;
	for (uint32_t i = 0; i < set->n; i++) {
		const struct xattr_pair *p = xattr_pair(&tree.xattrs, set->pairs[i]);

		if (!strcmp(p->name, name) && p->value_len == x->value_len &&
			!memcmp(p->value, x->value, x->value_len))
			return 0;
	}
	return error_set(err, 0, "an xattr %s that is not in the tree", name);
}

static bool same_fields(const struct tree_inode *in, const struct erofs_inode *got)
{
	return in->mode == got->mode && in->nlink == got->nlink && in->uid == got->uid &&
	       in->gid == got->gid && in->mtime == got->mtime &&
	       in->mtime_nsec == got->mtime_nsec && (S_ISDIR(in->mode) || in->size == got->size);
}

static int compare_content(
	struct compare *c, uint32_t id, const struct bootstrap_inode *got, struct error **err)
{
	const struct tree_inode *in = tree_inode(&tree, id);
	uint32_t major, minor;

	if (S_ISLNK(in->mode)) {
		CLEANUP_FREE char *target = bootstrap_readlink(image, got, err);

		if (!target || strcmp(target, in->target) != 0)
			return failed_at("target", id, err);
	} else if (S_ISREG(in->mode)) {
		uint64_t blocks = in->size / EROFS_BLOCK_SIZE + (in->size % EROFS_BLOCK_SIZE != 0);

		c->run_at = c->run_done = c->run = 0;
		if (bootstrap_runs(image, got, on_run, c, err))
			return error_wrap(err, "inode %u", id);
		if (c->run_at != blocks * EROFS_BLOCK_SIZE ||
			(in->extents && c->run != in->extents->n))
			return failed_at("length of runs", id, err);
		c->indexes += bootstrap_chunks(got);
	} else if (S_ISCHR(in->mode) || S_ISBLK(in->mode)) {
		erofs_decode_dev(got->inode.u, &major, &minor);
		if (major != in->dev.major || minor != in->dev.minor)
			return failed_at("device number", id, err);
	}
	return 0;
}

static int compare_inode(struct compare *c, uint32_t id, uint64_t nid, struct error **err)
{
	struct bootstrap_inode got;

	if (c->nids[id])
		return c->nids[id] == nid ? 0 : failed_at("second place", id, err);
	c->nids[id] = nid;
	if (bootstrap_inode(image, nid, &got, err) < 0)
		return -1;
	c->in = tree_inode(&tree, id);
	if (!same_fields(c->in, &got.inode))
		return failed_at("fields", id, err);
	if (got.inode.extended != !erofs_inode_is_compact(&got.inode, bootstrap_super(image)->epoch,
					  bootstrap_super(image)->epoch_nsec))
		return failed_at("form", id, err);
	c->inodes++;
	c->compact += !got.inode.extended;
	c->n_xattrs = 0;
	if (bootstrap_xattrs(image, &got, on_xattr, c, err))
		return -1;
	if (c->n_xattrs != (c->in->xattrs ? xattr_set(&tree.xattrs, c->in->xattrs)->n : 0))
		return failed_at("number of xattrs", id, err);
	if (S_ISDIR(c->in->mode))
		c->queue[c->n++] = id;
	return compare_content(c, id, &got, err);
}

/* The tree's children were put in order by the writer: names come in just that order. */
static int on_name(void *arg, const struct bootstrap_name *name, struct error **err)
{
	struct compare *c = arg;
	const struct tree_name *want = c->next ? tree_name(&tree, c->next) : NULL;

	if (!want || want->len != name->len || memcmp(want->name, name->name, name->len) != 0)
		return failed_at("names", c->dir, err);
	if (name->type != erofs_file_type(tree_inode(&tree, want->inode)->mode))
		return failed_at("type in the directory", want->inode, err);
	c->next = want->next;
	return compare_inode(c, want->inode, name->nid, err);
}

static int compare_dirs(struct compare *c, struct error **err)
{
	if (compare_inode(c, tree.root, bootstrap_super(image)->root_nid, err))
		return -1;
	for (; c->at < c->n; c->at++) {
		struct bootstrap_inode got;
		uint64_t parent;

		c->dir = c->queue[c->at];
		c->next = tree_inode(&tree, c->dir)->dir.first;
		if (bootstrap_inode(image, c->nids[c->dir], &got, err) ||
			bootstrap_readdir(image, &got, on_name, c, &parent, err))
			return -1;
		if (c->next || parent != c->nids[tree_parent(&tree, c->dir)])
			return failed_at("end or parent", c->dir, err);
	}
	return 0;
}

/* Write the tree, read it back, compare all. */
static bool round_trip(void)
{
	CLEANUP_ERROR struct error *err = NULL;
	CLEANUP_FREE uint64_t *nids = xcalloc(tree.inodes.count + 1, sizeof(*nids));
	CLEANUP_FREE uint32_t *queue = xcalloc(tree.inodes.count + 1, sizeof(*queue));
	CLEANUP_FREE uint8_t *bytes = NULL;
	struct compare c = { .nids = nids, .queue = queue };
	struct digest digest;

	if (!open_image())
		return false;
	if (!CHECK(compare_dirs(&c, &err) == 0)) {
		printf("# %s\n", err->msg);
		return false;
	}
	CHECK_U64(c.inodes, tree.n_inodes);
	CHECK_U64(result.inodes, tree.n_inodes);
	CHECK_U64(bootstrap_super(image)->inodes, tree.n_inodes);
	CHECK_U64(result.compact_inodes, c.compact);
	CHECK_U64(result.chunk_indexes, c.indexes);
	CHECK_U64(result.size, bootstrap_size(image));
	CHECK_U64(result.size % EROFS_BLOCK_SIZE, 0);
	bytes = image_bytes(file, result.size);
	digest_of(&digest, DIGEST_SHA256, bytes, result.size);
	CHECK(digest_equal(&digest, &result.digest));
	return true;
}

static void check_round_trip(void)
{
	round_trip();
	end();
}

/* The inode of a name in the root, once the image is open. */
static struct bootstrap_inode read_inode(uint32_t id)
{
	struct bootstrap_inode got = { 0 };
	CLEANUP_ERROR struct error *err = NULL;

	/* the writer leaves each inode's NID in its mark */
	CHECK(bootstrap_inode(image, tree_inode(&tree, id)->mark, &got, &err) == 0);
	return got;
}

/* --- tests --- */

static void a_lone_root(void)
{
	begin();
	if (round_trip()) {
		CHECK_U64(result.size, EROFS_BLOCK_SIZE);
		CHECK(bootstrap_super(image)->root_nid > 0);
		CHECK_U64(bootstrap_super(image)->feature_incompat, 0);
		CHECK_U64(bootstrap_super(image)->devices, 0);
		CHECK(strlen(bootstrap_super(image)->volume_name) <= 15);
	}
	end();
}

static void every_type_with_every_field(void)
{
	uint32_t d, id;

	begin();
	add_device(1000);
	d = add(tree.root, "d", S_IFDIR | 07755);
	add(d, "fifo", S_IFIFO | 0600);
	id = add(d, "char", S_IFCHR | 0600);
	tree_inode(&tree, id)->dev.major = 4095;
	tree_inode(&tree, id)->dev.minor = 1048575;
	id = add(d, "block", S_IFBLK | 0600);
	tree_inode(&tree, id)->dev.major = 8;
	tree_inode(&tree, id)->dev.minor = 300;
	add_symlink(d, "link", 10, 't');
	id = add(d, "file", S_IFREG | 06755);
	tree_inode(&tree, id)->size = 5;
	tree_inode(&tree, id)->uid = 4294967294;
	tree_inode(&tree, id)->gid = 4294967294;
	tree_inode(&tree, id)->mtime = INT64_MIN;
	tree_inode(&tree, id)->mtime_nsec = 999999999;
	set_extents(id, &(struct tree_extent){ 1, 999, 1 }, 1);
	id = add(d, "late", S_IFREG);
	tree_inode(&tree, id)->mtime = INT64_MAX;
	add(d, "empty", S_IFREG | 0644);
	check_round_trip();
}

static void the_superblock_names_the_devices_and_where_they_lie_together(void)
{
	struct erofs_device_slot slot;
	CLEANUP_ERROR struct error *err = NULL;
	uint64_t unified;

	begin();
	for (uint32_t i = 0; i < 127; i++)
		add_device(100 + i);
	for (uint32_t i = 0; i < 127; i++) {
		char name[16];
		uint32_t id;

		snprintf(name, sizeof(name), "f%u", i);
		id = add(tree.root, name, S_IFREG | 0644);
		tree_inode(&tree, id)->size = 1;
		set_extents(id, &(struct tree_extent){ 1, i, (uint16_t)(i + 1) }, 1);
	}
	if (round_trip()) {
		unified = bootstrap_super(image)->blocks;
		CHECK_U64(bootstrap_super(image)->devices, 127);
		for (unsigned i = 0; i < 127; i++) {
			char hex[DIGEST_MAX_STR];

			CHECK(bootstrap_device(image, i, &slot, &err) == 0);
			CHECK_STR(slot.tag, digest_hex(&devices[i].tag, hex));
			CHECK_U64(slot.blocks, 100 + i);
			CHECK_U64(slot.unified_blk, unified);
			unified += slot.blocks;
		}
	}
	end();
}

static void unified_addresses_past_32_bits_are_left_out(void)
{
	struct erofs_device_slot slot[3];
	CLEANUP_ERROR struct error *err = NULL;

	begin();
	add_device(0x80000000);
	add_device(0x80000000);
	add_device(5);
	if (round_trip()) {
		for (unsigned i = 0; i < 3; i++)
			CHECK(bootstrap_device(image, i, &slot[i], &err) == 0);
		CHECK_U64(slot[0].unified_blk, bootstrap_super(image)->blocks);
		CHECK_U64(slot[1].unified_blk, 0);
		CHECK_U64(slot[2].unified_blk, 0);
	}
	end();
}

static void names_are_in_the_order_of_their_bytes_with_the_dots_among_them(void)
{
	static const char *const names[] = { "!x", "+x", "-", " ", "\x01", "-x", ".a", "..a", "...",
		".-", ".!", "..-", "0", "a", "aa", "a\xff", "\xff", "\x7f", "\xc3\xa4", "B", "b" };
	struct bootstrap_inode root;
	struct bootstrap_flat flat;

	begin();
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		add(tree.root, names[i], S_IFREG);
	if (round_trip()) {
		/* the reader has seen that they ascend; see that "." is where it belongs */
		root = read_inode(tree.root);
		bootstrap_flat(image, &root, &flat);
		CHECK(!flat.head_size && flat.tail_size);
		CHECK(!memcmp(flat.tail + get_le16(flat.tail + 8),
			"\x01 !x+x--x."
			".!.-"
			".."
			"..-"
			"..."
			"..a"
			".a0",
			28));
	}
	end();
}

/* Names whose entries take `bytes` bytes of a block that "." and ".." have begun. */
static unsigned fill_dir(uint32_t at, unsigned bytes, unsigned *serial)
{
	char name[300];
	unsigned n = 0;

	while (bytes) {
		unsigned len = bytes < 12 + 255	 ? bytes - 12
			       : bytes < 2 * 267 ? bytes / 2 - 12
						 : 255;

		memset(name, 'n', sizeof(name));
		name[len] = '\0';
		name[0] = (char)('A' + *serial / 26 / 26 % 26);
		name[1] = (char)('A' + *serial / 26 % 26);
		name[2] = (char)('A' + *serial % 26);
		++*serial;
		add(at, name, S_IFREG);
		bytes -= 12 + len;
		n++;
	}
	return n;
}

static void directories_whose_blocks_are_exactly_full(void)
{
	for (unsigned extra = 0; extra < 3; extra++) {
		uint32_t one, two;
		unsigned serial = 0;

		begin();
		one = add(tree.root, "one", S_IFDIR);
		two = add(tree.root, "two", S_IFDIR);
		fill_dir(one, 4096 - 13 - 14, &serial);
		fill_dir(two, 4096 - 13 - 14, &serial);
		fill_dir(two, 4096, &serial);
		if (extra) {
			add(one, "zz", S_IFREG);
			add(two, "zz", S_IFREG);
		}
		if (extra == 2)
			for (int i = 0; i < 40; i++)
				fill_dir(two, 4096, &serial);
		if (round_trip()) {
			struct bootstrap_inode a = read_inode(one), b = read_inode(two);

			CHECK_U64(a.inode.size, extra ? 4096 + 14 : 4096);
			CHECK_U64(a.inode.layout, extra ? EROFS_FLAT_INLINE : EROFS_FLAT_PLAIN);
			if (extra < 2)
				CHECK_U64(b.inode.size, extra ? 8192 + 14 : 8192);
		}
		end();
	}
}

static void directories_of_every_size_around_a_block(void)
{
	begin();
	for (unsigned bytes = 4096 - 27 - 40; bytes <= 4096 - 27 + 40; bytes++) {
		unsigned serial = 0;
		char name[16];

		snprintf(name, sizeof(name), "%u", bytes);
		fill_dir(add(tree.root, name, S_IFDIR), bytes, &serial);
	}
	check_round_trip();
}

static void blocks_hold_as_many_one_byte_names_as_fit(void)
{
	char name[3] = { 0 };
	uint32_t d;

	begin();
	d = add(tree.root, "d", S_IFDIR);
	for (int i = 1; i < 256; i++) {
		name[0] = (char)i;
		if (i != '.' && i != '/')
			add(d, name, S_IFREG);
	}
	for (int i = 1; i < 256; i++)
		for (int j = 1; j < 12; j++) {
			name[0] = (char)i;
			name[1] = (char)(j + 'a');
			if (i != '/')
				add(d, name, S_IFREG);
		}
	check_round_trip();
}

static void a_directory_of_100000_names(void)
{
	char name[32];
	uint32_t d;
	uint64_t seed = 14;

	begin();
	d = add(tree.root, "d", S_IFDIR);
	for (int i = 0; i < 100000; i++) {
		snprintf(name, sizeof(name), "%x.%d", random_below(&seed, 1 << 20), i);
		add(d, name, S_IFREG);
	}
	check_round_trip();
}

static void symlinks_of_every_length_at_many_alignments(void)
{
	uint32_t lengths[EROFS_SYMLINK_MAX];
	uint64_t seed = 15;

	for (uint32_t i = 0; i < EROFS_SYMLINK_MAX; i++)
		lengths[i] = i + 1;
	for (int round = 0; round < 2; round++) {
		begin();
		random_shuffle(&seed, lengths, EROFS_SYMLINK_MAX);
		for (uint32_t i = 0; i < EROFS_SYMLINK_MAX; i++) {
			char name[16];
			uint32_t id;

			snprintf(name, sizeof(name), "%04u", i);
			id = add_symlink(tree.root, name, lengths[i], (char)('a' + i % 26));
			if (random_below(&seed, 3) == 0)
				tree_inode(&tree, id)->uid = 70000;
			if (random_below(&seed, 3) == 0) { /* the tail is then at an odd 4 bytes */
				uint32_t pair = xattr_intern_pair(&tree.xattrs, "user.a", "12345",
					1 + random_below(&seed, 5));

				tree_inode(&tree, id)->xattrs =
					xattr_intern_set(&tree.xattrs, &pair, 1);
			}
		}
		check_round_trip();
	}
}

static void a_tail_moves_to_the_next_block_unless_that_wastes_more_than_a_block_of_its_own(void)
{
	uint32_t a, b, c;

	begin();
	a = add_symlink(tree.root, "a", 4000, 'a'); /* the first block has less room than that */
	b = add_symlink(tree.root, "b", 2100, 'b');
	c = add_symlink(tree.root, "c", 2100, 'c');
	if (round_trip()) {
		CHECK_U64(read_inode(a).inode.layout, EROFS_FLAT_PLAIN);
		CHECK_U64(read_inode(b).inode.layout, EROFS_FLAT_INLINE);
		CHECK(read_inode(b).data_offset < EROFS_BLOCK_SIZE);
		CHECK_U64(read_inode(c).inode.layout, EROFS_FLAT_INLINE);
		CHECK_U64(read_inode(c).data_offset, EROFS_BLOCK_SIZE);
		CHECK_U64(result.size, 3 * EROFS_BLOCK_SIZE);
	}
	end();
}

static void inodes_are_compact_up_to_each_limit_and_extended_beyond(void)
{
	uint32_t ids[12];
	char name[16];

	begin();
	for (int i = 0; i < 12; i++) {
		snprintf(name, sizeof(name), "%02d", i);
		ids[i] = add(tree.root, name, S_IFREG | 0644);
		tree_inode(&tree, ids[i])->mtime = 1000;
		tree_inode(&tree, ids[i])->mtime_nsec = 7;
	}
	tree_inode(&tree, ids[0])->size = UINT32_MAX;
	tree_inode(&tree, ids[1])->size = UINT64_C(1) << 32;
	tree_inode(&tree, ids[2])->uid = 65535;
	tree_inode(&tree, ids[3])->uid = 65536;
	tree_inode(&tree, ids[4])->gid = 65535;
	tree_inode(&tree, ids[5])->gid = 65536;
	tree_inode(&tree, ids[6])->mtime = 1001;
	tree_inode(&tree, ids[7])->mtime_nsec = 8;
	tree_inode(&tree, ids[8])->mtime = 1000 + (INT64_C(1) << 32);
	if (round_trip()) {
		static const bool extended[12] = {
			[1] = true, [3] = true, [5] = true, [6] = true, [7] = true, [8] = true
		};

		for (int i = 0; i < 12; i++)
			CHECK(read_inode(ids[i]).inode.extended == extended[i]);
		CHECK_U64((uint64_t)bootstrap_super(image)->epoch, 1000);
		CHECK_U64(bootstrap_super(image)->epoch_nsec, 7);
	}
	end();
}

static void link_counts_above_65535_need_the_extended_form(void)
{
	for (uint32_t links = 65535; links <= 65536; links++) {
		struct error *err = NULL;
		char name[16];
		uint32_t id;

		begin();
		id = add(tree.root, "first", S_IFREG);
		for (uint32_t i = 1; i < links; i++) {
			int len = snprintf(name, sizeof(name), "%u", i);

			tree_link(&tree, tree.root, name, (size_t)len, id, &err);
		}
		if (round_trip()) {
			CHECK_U64(read_inode(id).inode.nlink, links);
			CHECK(read_inode(id).inode.extended == (links > 65535));
		}
		end();
	}
}

static void the_epoch_is_the_commonest_mtime_among_those_that_gain(void)
{
	uint32_t id;
	char name[16];

	begin();
	for (int i = 0; i < 9; i++) {
		snprintf(name, sizeof(name), "%d", i);
		id = add(tree.root, name, S_IFREG);
		tree_inode(&tree, id)->mtime = i < 5 ? 77 : i < 8 ? -5 : 6;
		tree_inode(&tree, id)->mtime_nsec = i < 8 ? 3 : 0;
		tree_inode(&tree, id)->uid = i < 5 ? 100000 : 0; /* extended in any case */
	}
	if (round_trip()) {
		CHECK(bootstrap_super(image)->epoch == -5);
		CHECK_U64(bootstrap_super(image)->epoch_nsec, 3);
		CHECK_U64(result.compact_inodes, 3);
	}
	end();
}

/* --- chunks --- */

static unsigned chunk_bits(uint64_t size, const struct tree_extent *of, uint32_t n)
{
	unsigned bits = 99;
	uint32_t id;

	begin();
	add_device(UINT32_MAX);
	add_device(UINT32_MAX);
	id = add(tree.root, "f", S_IFREG);
	tree_inode(&tree, id)->size = size;
	if (n)
		set_extents(id, of, n);
	if (round_trip()) {
		struct bootstrap_inode got = read_inode(id);

		CHECK_U64(got.inode.layout, EROFS_CHUNKED);
		CHECK_U64(got.inode.u & ~0x1fu, 0x20);
		CHECK_U64(got.data_offset % 8, 0);
		bits = got.inode.u & 0x1f;
		CHECK_U64(bootstrap_chunks(&got), ((size - 1) >> (12 + bits)) + 1);
	}
	end();
	return bits;
}

#define BITS(size, ...)                                               \
	chunk_bits(size, (const struct tree_extent[]){ __VA_ARGS__ }, \
		sizeof((const struct tree_extent[]){ __VA_ARGS__ }) / sizeof(struct tree_extent))

static void a_file_gets_the_largest_chunk_that_describes_it(void)
{
	CHECK_U64(BITS(1, { 1, 5, 1 }), 0);
	CHECK_U64(BITS(4096, { 1, 5, 1 }), 0);
	CHECK_U64(BITS(4097, { 2, 5, 1 }), 1);
	CHECK_U64(BITS(1000 * 4096, { 1000, 5, 1 }), 10);
	CHECK_U64(BITS(1024 * 4096, { 1024, 5, 1 }), 10);
	CHECK_U64(BITS(1024 * 4096 + 1, { 1025, 5, 1 }), 11);
	/* a change of place must be at a multiple of the chunk */
	CHECK_U64(BITS(32 * 4096, { 8, 5, 1 }, { 24, 100, 1 }), 3);
	CHECK_U64(BITS(32 * 4096, { 7, 5, 1 }, { 25, 100, 1 }), 0);
	CHECK_U64(BITS(32 * 4096, { 16, 5, 1 }, { 16, 21, 2 }), 4);
	CHECK_U64(BITS(33 * 4096, { 16, 5, 1 }, { 16, 1, 1 }, { 1, 0, 0 }), 4);
	/* runs that go on in one device are one */
	CHECK_U64(BITS(32 * 4096, { 7, 5, 1 }, { 25, 12, 1 }), 5);
	CHECK_U64(BITS(32 * 4096, { 7, 0, 0 }, { 25, 0, 0 }), 5);
}

static void holes_and_the_largest_chunks(void)
{
	CHECK_U64(chunk_bits(1, NULL, 0), 0);
	CHECK_U64(chunk_bits(UINT64_C(1) << 40, NULL, 0), 28);
	CHECK_U64(chunk_bits(UINT64_C(1) << 43, NULL, 0), 31);
	CHECK_U64(chunk_bits((UINT64_C(1) << 43) + 1, NULL, 0), 31);
	CHECK_U64(BITS(UINT64_C(16) << 40, { 1u << 31, 0, 0 }, { 1u << 31, 1, 1 }), 31);
	CHECK_U64(BITS(12 * 4096, { 4, 0, 0 }, { 4, 9, 1 }, { 4, 0, 0 }), 2);
	CHECK_U64(BITS((UINT64_C(1) << 40) - 4000, { 256, 7, 1 }, { (1u << 28) - 256, 0, 0 }), 8);
}

/* --- xattrs --- */

struct sharing {
	unsigned shared, own;
};

static int on_sharing(void *arg, const struct bootstrap_xattr *x, struct error **err)
{
	struct sharing *s = arg;

	(void)err;
	s->shared += x->shared;
	s->own += !x->shared;
	return 0;
}

static struct sharing sharing_of(uint32_t id)
{
	struct bootstrap_inode got = read_inode(id);
	struct sharing s = { 0 };
	struct error *err = NULL;

	CHECK(bootstrap_xattrs(image, &got, on_sharing, &s, &err) == 0);
	return s;
}

static void xattrs_that_many_share_stand_once(void)
{
	uint32_t many[5], lone, small[2];
	char name[16];

	begin();
	for (int i = 0; i < 5; i++) {
		uint32_t pair = xattr_intern_pair(
			&tree.xattrs, "security.capability", "01234567890123456789", 20);

		snprintf(name, sizeof(name), "m%d", i);
		many[i] = add(tree.root, name, S_IFREG);
		tree_inode(&tree, many[i])->xattrs = xattr_intern_set(&tree.xattrs, &pair, 1);
	}
	lone = add(tree.root, "lone", S_IFREG);
	{
		uint32_t pair =
			xattr_intern_pair(&tree.xattrs, "user.lone", "01234567890123456789", 20);

		tree_inode(&tree, lone)->xattrs = xattr_intern_set(&tree.xattrs, &pair, 1);
	}
	for (int i = 0; i < 2; i++) {
		uint32_t pair = xattr_intern_pair(&tree.xattrs, "user.s", "1", 1);

		snprintf(name, sizeof(name), "s%d", i);
		small[i] = add(tree.root, name, S_IFREG);
		tree_inode(&tree, small[i])->xattrs = xattr_intern_set(&tree.xattrs, &pair, 1);
	}
	if (round_trip()) {
		for (int i = 0; i < 5; i++)
			CHECK_U64(sharing_of(many[i]).shared, 1);
		CHECK_U64(sharing_of(lone).own, 1);
		CHECK_U64(sharing_of(small[1]).own, 1); /* 8 bytes twice: as cheap as shared */
		CHECK(bootstrap_super(image)->feature_compat & EROFS_COMPAT_XATTR_FILTER);
	}
	end();
}

static void an_inode_shares_255_xattrs_at_most(void)
{
	uint32_t pairs[300], a, b;
	char name[32];

	begin();
	for (int i = 0; i < 300; i++) {
		snprintf(name, sizeof(name), "trusted.number.%d", i);
		pairs[i] = xattr_intern_pair(&tree.xattrs, name, "0123456789", 10);
	}
	a = add(tree.root, "a", S_IFREG);
	b = add(tree.root, "b", S_IFREG);
	tree_inode(&tree, a)->xattrs = tree_inode(&tree, b)->xattrs =
		xattr_intern_set(&tree.xattrs, pairs, 300);
	if (round_trip()) {
		CHECK_U64(sharing_of(a).shared, 255);
		CHECK_U64(sharing_of(b).own, 45);
	}
	end();
}

static void every_prefix_and_the_largest_xattrs(void)
{
	CLEANUP_FREE char *big = xzalloc(65536);
	uint32_t pairs[9], id;

	begin();
	memset(big, 'v', 65535);
	pairs[0] = xattr_intern_pair(&tree.xattrs, "user.big1", big, 65535);
	pairs[1] = xattr_intern_pair(&tree.xattrs, "user.big2", big, 65535);
	pairs[2] = xattr_intern_pair(&tree.xattrs, "user.big3", big, 65535);
	pairs[3] = xattr_intern_pair(&tree.xattrs, "trusted.t", "", 0);
	pairs[4] = xattr_intern_pair(&tree.xattrs, "security.s", "\0", 1);
	pairs[5] = xattr_intern_pair(&tree.xattrs, "system.posix_acl_access", "12345678", 8);
	pairs[6] = xattr_intern_pair(&tree.xattrs, "system.posix_acl_default", "123", 3);
	/* 12 + 3 (4 + 4 + 65535 + 1) + 8 + 8 + 12 + 8 + rest = 262148 */
	pairs[7] = xattr_intern_pair(
		&tree.xattrs, "user.rest", big, 262148 - 12 - 3 * 65544 - 8 - 8 - 12 - 8 - 8);
	id = add(tree.root, "f", S_IFREG);
	tree_inode(&tree, id)->size = 3;
	tree_inode(&tree, id)->xattrs = xattr_intern_set(&tree.xattrs, pairs, 8);
	if (round_trip())
		CHECK_U64(read_inode(id).inode.xattr_count, 65535);
	end();
}

static void xattrs_of_removed_inodes_leave_no_trace(void)
{
	uint32_t pair, id;

	begin();
	pair = xattr_intern_pair(&tree.xattrs, "user.gone", "0123456789", 10);
	for (int i = 0; i < 3; i++) {
		id = add(tree.root, (const char[]){ (char)('a' + i), '\0' }, S_IFREG);
		tree_inode(&tree, id)->xattrs = xattr_intern_set(&tree.xattrs, &pair, 1);
	}
	tree_remove(&tree, tree_find(&tree, tree.root, "a", 1));
	tree_remove(&tree, tree_find(&tree, tree.root, "b", 1));
	if (round_trip())
		CHECK_U64(sharing_of(id).own, 1);
	end();
}

/* --- the whole --- */

static uint32_t random_xattrs(uint64_t *seed)
{
	static const char *const names[] = { "user.a", "user.bc", "trusted.x", "security.y" };
	uint32_t pairs[4], n = 0;

	if (random_below(seed, 3))
		return 0;
	for (int i = 0; i < 4; i++)
		if (random_below(seed, 2))
			pairs[n++] = xattr_intern_pair(&tree.xattrs, names[i],
				"a value that may be shared", 1 + random_below(seed, 26));
	return xattr_intern_set(&tree.xattrs, pairs, n);
}

static void random_file(uint32_t id, uint64_t *seed)
{
	uint32_t n = random_below(seed, 6), align = 1u << random_below(seed, 5);
	struct tree_extent of[6];
	uint64_t blocks = 0;

	for (uint32_t i = 0; i < n; i++) {
		of[i] = (struct tree_extent){ .n_blk = align * (1 + random_below(seed, 9)),
			.device = (uint16_t)random_below(seed, 4) };
		if (of[i].device)
			of[i].blk = random_below(seed, 100000);
		blocks += of[i].n_blk;
	}
	if (n)
		set_extents(id, of, n);
	tree_inode(&tree, id)->size =
		n ? blocks * EROFS_BLOCK_SIZE - random_below(seed, EROFS_BLOCK_SIZE)
		  : random_below(seed, 2) * 12345u;
}

static void random_metadata(uint32_t id, uint64_t *seed)
{
	struct tree_inode *in = tree_inode(&tree, id);

	in->mtime =
		random_below(seed, 4) ? 1000 : (int64_t)random_u64(seed) >> random_below(seed, 60);
	in->mtime_nsec = random_below(seed, 3) ? 0 : random_below(seed, 1000000000);
	in->uid = random_below(seed, 5) ? random_below(seed, 3) : random_below(seed, 4000000000u);
	in->xattrs = random_xattrs(seed);
}

static void random_trees_come_back(void)
{
	uint64_t seed = 16;

	for (int round = 0; round < 12 && !tap_failed_checks; round++) {
		uint32_t dirs[2000], files[2000], n_dirs = 1, n_files = 0;
		struct error *err = NULL;

		begin();
		add_device(200000);
		add_device(200000);
		add_device(200000);
		dirs[0] = tree.root;
		for (int i = 0; i < 1500; i++) {
			uint32_t at = dirs[random_below(&seed, n_dirs)], id;
			char name[256];
			int len = snprintf(name, sizeof(name), "%d", i);
			size_t more = random_below(&seed, 4) ? random_below(&seed, 20)
							     : random_below(&seed, 250);

			memset(name + len, 'x', more);
			name[(size_t)len + more] = '\0';
			if (n_files && random_below(&seed, 8) == 0) {
				tree_link(&tree, at, name, strlen(name),
					files[random_below(&seed, n_files)], &err);
				continue;
			}
			switch (random_below(&seed, 4)) {
			case 0:
				id = dirs[n_dirs++] = add(at, name, S_IFDIR | 0755);
				break;
			case 1:
				id = files[n_files++] = add_symlink(
					at, name, 1 + random_below(&seed, EROFS_SYMLINK_MAX), 't');
				break;
			default:
				id = files[n_files++] = add(at, name, S_IFREG | 0644);
				random_file(id, &seed);
			}
			random_metadata(id, &seed);
		}
		check_round_trip();
	}
}

/* The same tree, its names entered in the order of a shuffle; 0: none. */
static void shuffled_tree(uint64_t seed)
{
	uint32_t order[500], d;
	struct error *err = NULL;

	add_device(1000);
	for (uint32_t i = 0; i < 500; i++)
		order[i] = i;
	if (seed)
		random_shuffle(&seed, order, 500);
	d = add(tree.root, "d", S_IFDIR | 0755);
	for (uint32_t i = 0; i < 500; i++) {
		char name[16];
		uint32_t id;

		snprintf(name, sizeof(name), "%u", order[i]);
		id = add(order[i] % 3 ? d : tree.root, name, S_IFREG | 0644);
		tree_inode(&tree, id)->size = order[i] * 100;
		tree_inode(&tree, id)->mtime = order[i] % 7;
		strcat(name, "x");
		if (order[i] % 5 == 0)
			tree_link(
				&tree, order[i] % 2 ? d : tree.root, name, strlen(name), id, &err);
	}
}

static void two_runs_and_another_order_of_names_give_equal_bytes(void)
{
	CLEANUP_FREE uint8_t *first = NULL;
	uint64_t size = 0;

	for (uint64_t round = 0; round < 4; round++) {
		CLEANUP_FREE uint8_t *bytes = NULL;

		begin();
		shuffled_tree(round / 2 * round);
		if (round_trip()) {
			bytes = image_bytes(file, result.size);
			if (!first) {
				size = result.size;
				first = take_ptr(bytes);
			} else {
				CHECK_U64(result.size, size);
				CHECK(!memcmp(first, bytes, size));
			}
		}
		end();
	}
}

static void another_identity_is_another_uuid(void)
{
	uint8_t uuid[3][16];

	for (int i = 0; i < 3; i++) {
		struct bootstrap_input in = { .tree = &tree,
			.identity = i == 2 ? "another" : "the same" };
		struct error *err = NULL;

		begin();
		file = outfile_new(dir, &err);
		CHECK(bootstrap_write(&in, file, &result, &err) == 0);
		image = bootstrap_open(outfile_fd(file), &err);
		memcpy(uuid[i], bootstrap_super(image)->uuid, 16);
		end();
	}
	CHECK(!memcmp(uuid[0], uuid[1], 16));
	CHECK(memcmp(uuid[0], uuid[2], 16) != 0);
	CHECK_U64(uuid[0][6] >> 4, 5); /* name-based, by SHA-1 (RFC 4122) */
	CHECK_U64(uuid[0][8] >> 6, 2);
}

static void too_many_devices_are_refused(void)
{
	CLEANUP_FREE struct bootstrap_device *many = xcalloc(20000, sizeof(*many));
	const struct bootstrap_input in = {
		.tree = &tree, .devices = many, .n_devices = 20000, .identity = ""
	};
	CLEANUP_ERROR struct error *err = NULL;

	begin();
	file = outfile_new(dir, &err);
	CHECK(bootstrap_write(&in, file, &result, &err) < 0 && err);
	end();
}

static void a_file_that_cannot_grow_is_an_error(void)
{
	struct rlimit old, small;
	CLEANUP_ERROR struct error *err = NULL;

	begin();
	for (uint32_t i = 0; i < 1000; i++) {
		char name[16];

		snprintf(name, sizeof(name), "%u", i);
		add_symlink(tree.root, name, 4000, 'x');
	}
	file = outfile_new(dir, &err);
	signal(SIGXFSZ, SIG_IGN);
	getrlimit(RLIMIT_FSIZE, &old);
	small = old;
	small.rlim_cur = 600000;
	setrlimit(RLIMIT_FSIZE, &small);
	CHECK(!write_to(file, &result, &err));
	setrlimit(RLIMIT_FSIZE, &old);
	CHECK(err && err->code == EFBIG);
	end();
}

int main(void)
{
	dir = tmpdir_make();
	RUN(a_lone_root);
	RUN(every_type_with_every_field);
	RUN(the_superblock_names_the_devices_and_where_they_lie_together);
	RUN(unified_addresses_past_32_bits_are_left_out);
	RUN(names_are_in_the_order_of_their_bytes_with_the_dots_among_them);
	RUN(directories_whose_blocks_are_exactly_full);
	RUN(directories_of_every_size_around_a_block);
	RUN(blocks_hold_as_many_one_byte_names_as_fit);
	RUN(a_directory_of_100000_names);
	RUN(symlinks_of_every_length_at_many_alignments);
	RUN(a_tail_moves_to_the_next_block_unless_that_wastes_more_than_a_block_of_its_own);
	RUN(inodes_are_compact_up_to_each_limit_and_extended_beyond);
	RUN(link_counts_above_65535_need_the_extended_form);
	RUN(the_epoch_is_the_commonest_mtime_among_those_that_gain);
	RUN(a_file_gets_the_largest_chunk_that_describes_it);
	RUN(holes_and_the_largest_chunks);
	RUN(xattrs_that_many_share_stand_once);
	RUN(an_inode_shares_255_xattrs_at_most);
	RUN(every_prefix_and_the_largest_xattrs);
	RUN(xattrs_of_removed_inodes_leave_no_trace);
	RUN(random_trees_come_back);
	RUN(two_runs_and_another_order_of_names_give_equal_bytes);
	RUN(another_identity_is_another_uuid);
	RUN(too_many_devices_are_refused);
	RUN(a_file_that_cannot_grow_is_an_error);
	tmpdir_remove(dir);
	free(dir);
	return tap_done();
}
