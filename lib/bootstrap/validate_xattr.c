// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include <string.h>
#include <sys/stat.h>

#include "fmt/acl.h"
#include "fmt/capability.h"
#include "fmt/le.h"
#include "lib/bootstrap/validator.h"

enum { SHARED_ID = 4, HEADER_COUNT = 4, HEADER_RESERVED = 5 };

struct xattr {
	struct erofs_xattr_name name;
	uint64_t offset; /* of the entry */
	uint32_t size; /* with its padding */
};

/* ---- one entry, wherever it stands ---- */

static int check_name(struct validator *v, const struct xattr *x)
{
	const char *prefix = erofs_xattr_prefix(x->name.index);
	size_t prefix_len;

	if (!prefix)
		return validator_refuse(
			v, x->offset + 1, "an xattr with the unknown prefix %u", x->name.index);
	prefix_len = strlen(prefix);
	/* those of ACLs are whole names; all others end with a dot and want more */
	if ((prefix[prefix_len - 1] == '.') != (x->name.suffix_len > 0) ||
		prefix_len + x->name.suffix_len > EROFS_NAME_MAX ||
		memchr(x->name.suffix, '\0', x->name.suffix_len))
		return validator_refuse(v, x->offset, "an xattr with an impossible name");
	return 0;
}

static bool is_capability(const struct erofs_xattr_name *name)
{
	static const char suffix[] = "capability";

	return name->index == EROFS_XATTR_SECURITY && name->suffix_len == sizeof(suffix) - 1 &&
	       !memcmp(name->suffix, suffix, sizeof(suffix) - 1);
}

/*
 * Two kinds of values the kernel parses itself, and fails with an error where they are
 * malformed: also in permission checks, and when a program is started.
 */
static int check_value(struct validator *v, const struct xattr *x)
{
	uint64_t at = x->offset + EROFS_XATTR_ENTRY_SIZE + x->name.suffix_len;
	uint32_t len = get_le16(v->image + x->offset + 2);
	struct fault fault;
	struct acl acl;

	if (x->name.index == EROFS_XATTR_ACL_ACCESS || x->name.index == EROFS_XATTR_ACL_DEFAULT)
		if (acl_decode(&acl, v->image + at, len, &fault) < 0)
			return validator_refuse(v, at + fault.offset, "%s", fault.what);
	if (is_capability(&x->name) && !capability_is_valid(v->image + at, len))
		return validator_refuse(v, at, "no capabilities that Linux knows");
	if (!validator_zeros(v, at + len, x->offset + x->size))
		return validator_refuse(v, at + len, "bytes after an xattr are not zero");
	return 0;
}

/* The entry at `offset`, which must not reach beyond `end`. */
static int read_entry(struct validator *v, uint64_t offset, uint64_t end, struct xattr *x)
{
	const uint8_t *p = v->image + offset;

	if (end - offset < EROFS_XATTR_ENTRY_SIZE ||
		end - offset < erofs_xattr_entry_size(p[0], get_le16(p + 2)))
		return validator_refuse(v, offset, "an xattr is cut short");
	*x = (struct xattr){
		.offset = offset,
		.size = erofs_xattr_entry_size(p[0], get_le16(p + 2)),
		.name = { .index = p[1],
			.suffix_len = p[0],
			.suffix = (const char *)p + EROFS_XATTR_ENTRY_SIZE },
	};
	return check_name(v, x);
}

/* ---- the shared area ---- */

static uint64_t shared_limit(const struct validator *v)
{
	return v->data_start ? v->data_start : v->size;
}

static uint64_t shared_unit(const struct validator *v, uint64_t offset)
{
	return (offset - v->inodes_limit) / SHARED_ID;
}

/*
 * Entries stand one behind the other; where the last one ends is known when the data area's
 * first block is. So they are read as far as inodes point, and the rest at the end.
 */
static int read_shared(struct validator *v)
{
	struct xattr x;

	if (read_entry(v, v->shared_end, shared_limit(v), &x) < 0 || check_value(v, &x) < 0)
		return -1;
	validator_set_bit(v->shared_starts, shared_unit(v, x.offset));
	v->shared_end += x.size;
	return 0;
}

static int find_shared(struct validator *v, uint32_t id, struct xattr *x)
{
	uint64_t offset = v->inodes_limit + (uint64_t)id * SHARED_ID;

	while (v->shared_end <= offset)
		if (read_shared(v) < 0)
			return error_wrap(v->err, "shared xattr %" PRIu32, id);
	if (!validator_bit(v->shared_starts, id))
		return validator_refuse(
			v, offset, "shared xattr %" PRIu32 " is not where an entry begins", id);
	return read_entry(v, offset, v->shared_end, x);
}

int validate_shared_area(struct validator *v)
{
	while (v->shared_end < v->data_start && get_le32(v->image + v->shared_end))
		if (read_shared(v) < 0)
			return -1;
	if (v->data_start - v->shared_end >= EROFS_BLOCK_SIZE ||
		!validator_zeros(v, v->shared_end, v->data_start))
		return validator_refuse(
			v, v->shared_end, "bytes after the shared xattrs that belong to nothing");
	return 0;
}

/* ---- behind an inode ---- */

/* Both lists of an inode, each in the order of names: what comes next of either. */
struct xattr_scan {
	uint64_t ids, ids_end; /* those of shared ones */
	uint64_t entries, entries_end;
	struct xattr shared, own; /* next in line; size 0: to be read */
	struct xattr last;
	uint32_t filter;
};

static int compare_names(const struct erofs_xattr_name *a, const struct erofs_xattr_name *b)
{
	uint8_t len = a->suffix_len < b->suffix_len ? a->suffix_len : b->suffix_len;
	int order;

	/* no prefix begins another one */
	if (a->index != b->index)
		return strcmp(erofs_xattr_prefix(a->index), erofs_xattr_prefix(b->index));
	order = memcmp(a->suffix, b->suffix, len);
	return order ? order : a->suffix_len - b->suffix_len;
}

static int fill(struct validator *v, struct xattr_scan *s)
{
	if (!s->shared.size && s->ids < s->ids_end) {
		if (find_shared(v, get_le32(v->image + s->ids), &s->shared) < 0)
			return -1;
		s->ids += SHARED_ID;
	}
	if (!s->own.size && s->entries < s->entries_end) {
		if (read_entry(v, s->entries, s->entries_end, &s->own) < 0 ||
			check_value(v, &s->own) < 0)
			return -1;
		s->entries += s->own.size;
	}
	return 0;
}

/* The next one by name; false when there is none left. */
static bool take_next(struct xattr_scan *s, struct xattr *x)
{
	bool shared = s->shared.size &&
		      (!s->own.size || compare_names(&s->shared.name, &s->own.name) < 0);
	struct xattr *from = shared ? &s->shared : &s->own;

	*x = *from;
	from->size = 0;
	return x->size;
}

/* The kernel lists xattrs of other types, but does not show their values. */
static const char *wrong_type(uint8_t index, uint16_t mode)
{
	if (index == EROFS_XATTR_USER && !S_ISREG(mode) && !S_ISDIR(mode))
		return "a user's xattr on what is neither file nor directory";
	if (index == EROFS_XATTR_ACL_ACCESS && S_ISLNK(mode))
		return "a symlink with an ACL";
	if (index == EROFS_XATTR_ACL_DEFAULT && !S_ISDIR(mode))
		return "a default ACL on what is not a directory";
	return NULL;
}

static int check_next(struct validator *v, struct xattr_scan *s, const struct xattr *x,
	const struct erofs_inode *inode)
{
	const char *wrong = wrong_type(x->name.index, inode->mode);

	if (s->last.size && compare_names(&s->last.name, &x->name) >= 0)
		return validator_refuse(
			v, x->offset, "an xattr twice, or not in the order of names");
	if (wrong)
		return validator_refuse(v, x->offset, "%s", wrong);
	s->filter &= ~erofs_xattr_filter_bit(&x->name);
	s->last = *x;
	return 0;
}

static int scan(struct validator *v, struct xattr_scan *s, const struct erofs_inode *inode)
{
	struct xattr x;

	for (;;) {
		if (fill(v, s) < 0)
			return -1;
		if (!take_next(s, &x))
			return 0;
		if (check_next(v, s, &x, inode) < 0)
			return -1;
	}
}

int validate_xattrs(struct validator *v, const struct erofs_inode *inode, uint64_t offset)
{
	uint64_t end = offset + erofs_xattr_size(inode->xattr_count);
	uint64_t ids = offset + EROFS_XATTR_HEADER_SIZE;
	const uint8_t *header = v->image + offset;
	struct xattr_scan s = { .filter = UINT32_MAX, .ids = ids, .entries_end = end };

	if (!inode->xattr_count)
		return 0;
	if (!validator_zeros(v, offset + HEADER_RESERVED, ids))
		return validator_refuse(v, offset + HEADER_RESERVED,
			"reserved bytes of an xattr header are not zero");
	if (ids == end) /* listxattr(2) fails on these */
		return validator_refuse(v, offset, "an xattr header without xattrs");
	if (header[HEADER_COUNT] * (uint64_t)SHARED_ID > end - ids)
		return validator_refuse(v, offset + HEADER_COUNT, "%u shared xattrs do not fit",
			header[HEADER_COUNT]);
	s.entries = s.ids_end = ids + header[HEADER_COUNT] * (uint64_t)SHARED_ID;
	if (scan(v, &s, inode) < 0)
		return -1;
	if (s.filter != get_le32(header))
		return validator_refuse(v, offset,
			"the name filter is 0x%08" PRIx32 " instead of 0x%08" PRIx32,
			get_le32(header), s.filter);
	v->has_xattrs = true;
	return 0;
}
