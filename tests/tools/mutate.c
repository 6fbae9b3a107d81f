// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "tests/tools/mutate.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "fmt/le.h"
#include "lib/base/mem.h"
#include "lib/bootstrap/walk.h"
#include "tests/unit/random.h"

/* ---- what there is to change ---- */

struct field {
	uint8_t offset, width;
};

enum kind {
	SUPER,
	SLOT,
	COMPACT,
	EXTENDED,
	DIRENT,
	CHUNK,
	XATTR_HEADER,
	XATTR_ID,
	XATTR_ENTRY,
	NAME,
	TARGET,
	XATTR_BYTES,
	SHARED_BYTES,
	ANY,
	KINDS
};

#define FIELDS_MAX 20

/* Kinds without fields are runs of bytes, one of which is changed. */
static const struct {
	const char *name;
	struct field of[FIELDS_MAX];
} kinds[KINDS] = {
	[SUPER] = { "superblock",
		{ { 0x00, 4 }, { 0x08, 4 }, { 0x0c, 1 }, { 0x0d, 1 }, { 0x0e, 2 }, { 0x10, 8 },
			{ 0x18, 8 }, { 0x20, 4 }, { 0x24, 4 }, { 0x28, 4 }, { 0x2c, 4 },
			{ 0x30, 8 }, { 0x38, 8 }, { 0x40, 8 }, { 0x48, 8 }, { 0x50, 4 },
			{ 0x54, 2 }, { 0x56, 2 }, { 0x58, 2 }, { 0x60, 8 } } },
	[SLOT] = { "device slot", { { 0, 8 }, { 56, 8 }, { 64, 4 }, { 68, 4 }, { 72, 4 } } },
	[COMPACT] = { "compact inode",
		{ { 0, 2 }, { 2, 2 }, { 4, 2 }, { 6, 2 }, { 8, 4 }, { 12, 4 }, { 16, 4 }, { 20, 4 },
			{ 24, 2 }, { 26, 2 }, { 28, 4 } } },
	[EXTENDED] = { "extended inode",
		{ { 0, 2 }, { 2, 2 }, { 4, 2 }, { 6, 2 }, { 8, 8 }, { 16, 4 }, { 20, 4 }, { 24, 4 },
			{ 28, 4 }, { 32, 8 }, { 40, 4 }, { 44, 4 }, { 48, 8 } } },
	[DIRENT] = { "entry", { { 0, 8 }, { 0, 2 }, { 8, 2 }, { 10, 1 }, { 11, 1 } } },
	[CHUNK] = { "chunk index", { { 0, 2 }, { 2, 2 }, { 4, 4 }, { 4, 4 }, { 4, 4 } } },
	[XATTR_HEADER] = { "xattr header", { { 0, 4 }, { 4, 1 }, { 5, 1 }, { 8, 4 } } },
	[XATTR_ID] = { "shared xattr id", { { 0, 4 } } },
	[XATTR_ENTRY] = { "xattr", { { 0, 1 }, { 1, 1 }, { 2, 2 } } },
	[NAME] = { .name = "name" },
	[TARGET] = { .name = "symlink target" },
	[XATTR_BYTES] = { .name = "xattr bytes" },
	[SHARED_BYTES] = { .name = "shared xattrs" },
	[ANY] = { .name = "byte" },
};

struct place {
	uint64_t offset, len;
	uint64_t xattrs; /* the header of those that it belongs to, or 0 */
};

struct places {
	struct place *of;
	size_t n, cap;
};

struct mutator {
	struct places kinds[KINDS];
	uint64_t size, shared; /* of the image; where its shared xattrs begin */
	const struct bootstrap *b;
};

static void add(struct mutator *m, enum kind kind, uint64_t offset, uint64_t len, uint64_t xattrs)
{
	struct places *p = &m->kinds[kind];

	p->of = xgrow(p->of, p->n, &p->cap, sizeof(*p->of));
	p->of[p->n++] = (struct place){ offset, len, xattrs };
}

/* ---- finding it ---- */

/* A block of entries whose bytes are at `p` and stand at `offset` of the image. */
static void add_entries(struct mutator *m, const uint8_t *p, uint64_t offset, uint32_t len)
{
	uint32_t n = get_le16(p + 8) / EROFS_DIRENT_SIZE;

	for (uint32_t i = 0; i < n; i++) {
		uint32_t at = i * EROFS_DIRENT_SIZE, from = get_le16(p + at + 8);
		uint32_t to = i + 1 < n ? get_le16(p + at + EROFS_DIRENT_SIZE + 8) : len;

		add(m, DIRENT, offset + at, EROFS_DIRENT_SIZE, 0);
		add(m, NAME, offset + from, to - from, 0);
	}
}

static void add_dir(struct mutator *m, const struct bootstrap_inode *dir)
{
	struct bootstrap_flat f;

	bootstrap_flat(m->b, dir, &f);
	for (uint64_t at = 0; at < f.head_size; at += EROFS_BLOCK_SIZE) {
		uint64_t left = f.head_size - at;

		add_entries(m, f.head + at, (uint64_t)dir->inode.u * EROFS_BLOCK_SIZE + at,
			left < EROFS_BLOCK_SIZE ? (uint32_t)left : EROFS_BLOCK_SIZE);
	}
	if (f.tail_size)
		add_entries(m, f.tail, dir->data_offset, f.tail_size);
}

static void add_link(struct mutator *m, const struct bootstrap_inode *link)
{
	bool tail = link->inode.layout == EROFS_FLAT_INLINE;

	add(m, TARGET, tail ? link->data_offset : (uint64_t)link->inode.u * EROFS_BLOCK_SIZE,
		link->inode.size, 0);
}

struct xattr_places {
	struct mutator *m;
	uint64_t header, entry, id;
};

static int add_xattr(void *arg, const struct bootstrap_xattr *x, struct error **err)
{
	struct xattr_places *p = arg;
	uint32_t size = erofs_xattr_entry_size((uint32_t)x->suffix_len, (uint32_t)x->value_len);

	if (x->shared) {
		add(p->m, XATTR_ID, p->id, 4, p->header);
		p->id += 4;
		p->entry = p->id;
		return 0;
	}
	add(p->m, XATTR_ENTRY, p->entry, EROFS_XATTR_ENTRY_SIZE, p->header);
	add(p->m, XATTR_BYTES, p->entry + EROFS_XATTR_ENTRY_SIZE, size - EROFS_XATTR_ENTRY_SIZE,
		p->header);
	p->entry += size;
	return 0;
}

static int add_inode(void *arg, const struct bootstrap_entry *entry, struct error **err)
{
	struct mutator *m = arg;
	const struct bootstrap_inode *i = entry->inode;
	struct xattr_places p = { .m = m, .header = i->xattr_offset };

	if (entry->again)
		return 0;
	add(m, i->inode.extended ? EXTENDED : COMPACT, i->nid * EROFS_SLOT_SIZE,
		erofs_inode_size(&i->inode), 0);
	if (i->inode.xattr_count)
		add(m, XATTR_HEADER, p.header, EROFS_XATTR_HEADER_SIZE, 0);
	p.id = p.entry = p.header + EROFS_XATTR_HEADER_SIZE;
	if (S_ISDIR(i->inode.mode))
		add_dir(m, i);
	else if (S_ISLNK(i->inode.mode))
		add_link(m, i);
	for (uint64_t k = 0; k < bootstrap_chunks(i); k++)
		add(m, CHUNK, i->data_offset + k * EROFS_CHUNK_INDEX_SIZE, EROFS_CHUNK_INDEX_SIZE,
			0);
	return bootstrap_xattrs(m->b, i, add_xattr, &p, err);
}

struct mutator *mutator_new(const struct bootstrap *b, struct error **err)
{
	struct mutator *m = xzalloc(sizeof(*m));
	const struct erofs_super *sb = bootstrap_super(b);
	const struct bootstrap_walker walker = { add_inode, NULL, m };

	m->b = b;
	m->size = bootstrap_size(b);
	m->shared = (uint64_t)sb->xattr_blk * EROFS_BLOCK_SIZE;
	if (bootstrap_walk(b, &walker, err) < 0) {
		mutator_free(m);
		return NULL;
	}
	add(m, SUPER, EROFS_SUPER_OFFSET, EROFS_SUPER_SIZE, 0);
	for (unsigned i = 0; i < sb->devices; i++)
		add(m, SLOT, 1152 + (uint64_t)i * EROFS_DEVICE_SLOT_SIZE, EROFS_DEVICE_SLOT_SIZE,
			0);
	if (m->kinds[XATTR_ID].n)
		add(m, SHARED_BYTES, m->shared, 256, 0);
	add(m, ANY, 0, m->size, 0);
	return m;
}

void mutator_free(struct mutator *m)
{
	for (int i = 0; i < KINDS; i++)
		free(m->kinds[i].of);
	free(m);
}

/* ---- values ---- */

static uint64_t get(const uint8_t *p, uint8_t width)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < width; i++)
		v |= (uint64_t)p[i] << 8 * i;
	return v;
}

static void put(uint8_t *p, uint8_t width, uint64_t v)
{
	for (unsigned i = 0; i < width; i++)
		p[i] = (uint8_t)(v >> 8 * i);
}

static uint64_t boundary(uint64_t *random)
{
	static const uint64_t values[] = { 0, 1, 2, 3, 5, 6, 8, 12, 31, 32, 63, 64, 127, 128, 255,
		256, 4095, 4096, 4097, 32767, 32768, 65535, 65536, INT32_MAX, UINT64_C(1) << 31,
		UINT32_MAX, UINT64_C(1) << 32, UINT64_C(1) << 44, UINT64_C(1) << 60, INT64_MAX,
		UINT64_C(1) << 63, UINT64_MAX, 999999999, 1000000000 };

	return values[random_below(random, sizeof(values) / sizeof(*values))];
}

static uint64_t new_value(uint64_t was, uint64_t other, uint8_t width, uint64_t *random)
{
	switch (random_below(random, 7)) {
	case 0:
	case 1:
		return boundary(random);
	case 2:
		return was + 1 + random_below(random, 8);
	case 3:
		return was - 1 - random_below(random, 8);
	case 4:
		return was ^ UINT64_C(1) << random_below(random, 8u * width);
	case 5:
		return other;
	default:
		return random_u64(random);
	}
}

/* ---- changes ---- */

static void __attribute__((format(printf, 2, 3))) tell(struct mutation *out, const char *fmt, ...)
{
	size_t len = strlen(out->text);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(out->text + len, sizeof(out->text) - len, fmt, ap);
	va_end(ap);
}

static struct field choose_field(enum kind kind, uint64_t *random)
{
	unsigned n = 0;

	while (n < FIELDS_MAX && kinds[kind].of[n].width)
		n++;
	return kinds[kind].of[random_below(random, n)];
}

static void change_byte_run(const struct place *p, uint64_t *offset, uint64_t *random)
{
	*offset = p->offset + random_u64(random) % p->len;
}

static const struct place *change_one(
	const struct mutator *m, uint8_t *image, uint64_t *random, struct mutation *out)
{
	enum kind kind;
	const struct place *p, *other;
	struct field f = { 0, 1 };
	uint64_t offset, was, value;

	do
		kind = (enum kind)random_below(random, KINDS);
	while (!m->kinds[kind].n);
	p = &m->kinds[kind].of[random_below(random, (uint32_t)m->kinds[kind].n)];
	other = &m->kinds[kind].of[random_below(random, (uint32_t)m->kinds[kind].n)];
	if (kinds[kind].of[0].width)
		f = choose_field(kind, random);
	offset = p->offset + f.offset;
	if (!kinds[kind].of[0].width)
		change_byte_run(p, &offset, random);
	was = get(image + offset, f.width);
	do {
		value = get(image + other->offset + f.offset, f.width);
		value = new_value(was, value, f.width, random);
		put(image + offset, f.width, value);
	} while (get(image + offset, f.width) == was);
	out->of[out->n++] = (struct mutation_part){ offset, f.width };
	tell(out, "%s%s at %" PRIu64 ", byte %" PRIu64 ": %" PRIx64 " is %" PRIx64,
		out->n > 1 ? "; " : "", kinds[kind].name, p->offset, offset - p->offset, was,
		get(image + offset, f.width));
	return p;
}

/* ---- keeping the name filter right, so that names may be others ---- */

static bool add_to_filter(
	const struct mutator *m, const uint8_t *image, uint64_t at, uint32_t *filter)
{
	struct erofs_xattr_name name;

	if (at > m->size - 4 || image[at] > m->size - at - 4)
		return false;
	name = (struct erofs_xattr_name){ .index = image[at + 1],
		.suffix_len = image[at],
		.suffix = (const char *)image + at + 4 };
	*filter &= ~erofs_xattr_filter_bit(&name);
	return true;
}

static void repair_filter(const struct mutator *m, uint8_t *image, uint64_t header)
{
	const struct places *own = &m->kinds[XATTR_ENTRY], *ids = &m->kinds[XATTR_ID];
	uint32_t filter = UINT32_MAX;

	for (size_t i = 0; i < own->n; i++)
		if (own->of[i].xattrs == header &&
			!add_to_filter(m, image, own->of[i].offset, &filter))
			return;
	for (size_t i = 0; i < ids->n; i++)
		if (ids->of[i].xattrs == header &&
			!add_to_filter(m, image,
				m->shared + (uint64_t)get_le32(image + ids->of[i].offset) * 4,
				&filter))
			return;
	put_le32(image + header, filter);
}

void mutate(const struct mutator *m, uint8_t *image, uint64_t *random, struct mutation *out)
{
	static const uint8_t counts[] = { 1, 1, 1, 1, 1, 1, 2, 2, 3, 4 };
	uint8_t n = counts[random_below(random, sizeof(counts))];

	*out = (struct mutation){ 0 };
	for (uint8_t i = 0; i < n; i++) {
		const struct place *p = change_one(m, image, random, out);

		if (p->xattrs && random_below(random, 4)) {
			repair_filter(m, image, p->xattrs);
			out->of[out->n++] = (struct mutation_part){ p->xattrs, 4 };
		}
	}
	erofs_super_seal(image);
}
