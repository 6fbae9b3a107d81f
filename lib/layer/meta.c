// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/*
 * What precedes an entry (PAX records, GNU long names), and how it and the header make one.
 */
#include "config.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/mem.h"
#include "lib/base/text.h"
#include "lib/layer/parser.h"

void layer_meta_reset(struct layer_parser *p)
{
	p->pax.len = p->long_name.len = p->long_link.len = 0;
	memset(p->values, 0, sizeof(p->values));
	p->xattrs.n = 0;
	p->pieces.n = 0;
	p->n_piece_numbers = 0;
	p->bad_piece = p->blank_piece = false;
}

/* A record's value is followed by its newline, in a body that is ours. */
static void end_text(struct tar_span s)
{
	((char *)(uintptr_t)s.p)[s.len] = 0;
}

static void add_xattr(struct layer_parser *p, const struct pax_record *r)
{
	struct xattr_list *l = &p->xattrs;

	end_text(r->name);
	l->v = xgrow(l->v, l->n, &l->cap, sizeof(*l->v));
	l->v[l->n++] = (struct entry_xattr){ r->name.p, r->value.p, r->value.len };
}

/* A PAX header replaces one before it, whole. */
static int parse_pax(struct layer_parser *p, struct error **err)
{
	struct tar_span body = { p->pax.p, p->pax.len };
	struct fault fault = { 0 };
	struct pax_record r;
	size_t pos = 0;
	int got;

	memset(p->values, 0, sizeof(p->values));
	p->xattrs.n = p->pieces.n = p->n_piece_numbers = 0;
	p->bad_piece = p->blank_piece = false;
	while ((got = pax_next(body, &pos, &r, &fault)) > 0) {
		if (r.key < PAX_VALUES) {
			p->values[r.key] = r.value;
			end_text(r.value);
		} else if (r.key == PAX_XATTR) {
			add_xattr(p, &r);
		} else if (r.key != PAX_OTHER && layer_sparse_piece(p, &r) < 0) {
			return layer_header_error(
				p, NULL, err, "PAX records of the sparse map are out of order");
		}
	}
	if (got < 0)
		return layer_header_error(p, NULL, err, "%s (record at byte %" PRIu64 ")",
			fault.what, p->body_at + fault.offset);
	return 0;
}

int layer_meta_complete(struct layer_parser *p, struct error **err)
{
	switch (p->header.type) {
	case TAR_PAX:
		return parse_pax(p, err);
	case TAR_PAX_GLOBAL:
		/*
		 * Valid or not, but of no effect. Go hands it out as an entry of its own, so
		 * that what precedes it never meets the entry behind it.
		 */
		if (parse_pax(p, err) < 0)
			return -1;
		layer_meta_reset(p);
		p->in_group = false;
		return 0;
	case TAR_GNU_LONG_NAME:
		p->long_name.len = strlen(p->long_name.p);
		return 0;
	default:
		p->long_link.len = strlen(p->long_link.p);
		return 0;
	}
}

/* By name; of one name, by the order of the records: they lie in one body. */
static int compare_xattrs(const void *a, const void *b)
{
	const struct entry_xattr *x = a, *y = b;
	int c = strcmp(x->name, y->name);

	return c ? c : (x->name > y->name) - (x->name < y->name);
}

/*
 * Sorted, the last record of a name alone. Go takes an empty value for "no attribute", also
 * where it follows a record that has one.
 */
static void settle_xattrs(struct xattr_list *l)
{
	size_t n = 0;

	if (l->n > 1)
		qsort(l->v, l->n, sizeof(*l->v), compare_xattrs);
	for (size_t i = 0; i < l->n; i++) {
		bool replaced = i + 1 < l->n && strcmp(l->v[i].name, l->v[i + 1].name) == 0;

		if (!replaced && l->v[i].value_len)
			l->v[n++] = l->v[i];
	}
	l->n = n;
}

static int bad_value(struct layer_parser *p, enum pax_key key, const char *what, const char *not_a,
	struct error **err)
{
	CLEANUP_FREE char *shown = text_shown(p->values[key].p);

	return layer_header_error(
		p, p->entry.path, err, "PAX %s \"%s\" is not a %s", what, shown, not_a);
}

/* A record with an empty value keeps what the header says. */
static int merge_number(
	struct layer_parser *p, enum pax_key key, const char *what, int64_t *v, struct error **err)
{
	if (p->values[key].len && tar_decimal(p->values[key], v) < 0)
		return bad_value(p, key, what, "number", err);
	return 0;
}

static int merge_time(struct layer_parser *p, enum pax_key key, const char *what, int64_t *sec,
	uint32_t *nsec, struct error **err)
{
	if (p->values[key].len && pax_time(p->values[key], sec, nsec) < 0)
		return bad_value(p, key, what, "time", err);
	return 0;
}

static int merge_times(struct layer_parser *p, struct error **err)
{
	uint32_t nsec;
	int64_t sec;

	p->entry.mtime = p->header.mtime;
	p->entry.mtime_nsec = 0;
	if (merge_time(p, PAX_MTIME, "mtime", &p->entry.mtime, &p->entry.mtime_nsec, err) < 0)
		return -1;
	if (merge_time(p, PAX_ATIME, "atime", &sec, &nsec, err) < 0)
		return -1;
	return merge_time(p, PAX_CTIME, "ctime", &sec, &nsec, err);
}

/* 2^32 - 1 stands for "no owner" in the kernel, which shows it as the overflow id. */
static int merge_owner(struct layer_parser *p, enum pax_key key, const char *what, int64_t id,
	uint32_t *out, struct error **err)
{
	if (merge_number(p, key, what, &id, err) < 0)
		return -1;
	if (id < 0 || id >= UINT32_MAX)
		return layer_header_error(p, p->entry.path, err,
			"%s %" PRId64 " cannot be stored: 4294967294 is the largest", what, id);
	*out = (uint32_t)id;
	return 0;
}

static int merge_device(struct layer_parser *p, struct error **err)
{
	const struct tar_header *h = &p->header;

	p->entry.major = p->entry.minor = 0;
	if (h->type != TAR_CHAR && h->type != TAR_BLOCK_DEVICE)
		return 0;
	if (h->major < 0 || h->major > UINT32_MAX || h->minor < 0 || h->minor > UINT32_MAX)
		return layer_header_error(p, p->entry.path, err,
			"device number %" PRId64 ":%" PRId64 " is out of range", h->major,
			h->minor);
	p->entry.major = (uint32_t)h->major;
	p->entry.minor = (uint32_t)h->minor;
	return 0;
}

/* The header's, then a PAX record's, then a GNU long name's. */
static const char *merge_text(const char *header, struct tar_span pax, const struct meta_body *gnu)
{
	return gnu->len ? gnu->p : pax.len ? pax.p : header;
}

static int merge_type(struct layer_parser *p, struct error **err)
{
	struct tar_header *h = &p->header;
	const char *path = p->entry.path;
	size_t len = strlen(path);

	/* V7 knew directories by their name. */
	if (h->type == TAR_OLD_FILE)
		h->type = len && path[len - 1] == '/' ? TAR_DIR : TAR_FILE;
	switch (h->type) {
	case TAR_FILE:
	case TAR_CONTIGUOUS:
	case TAR_GNU_SPARSE:
		p->entry.type = ENTRY_FILE;
		return 0;
	case TAR_HARDLINK:
		p->entry.type = ENTRY_HARDLINK;
		return 0;
	case TAR_SYMLINK:
		p->entry.type = ENTRY_SYMLINK;
		return 0;
	case TAR_CHAR:
		p->entry.type = ENTRY_CHAR;
		return 0;
	case TAR_BLOCK_DEVICE:
		p->entry.type = ENTRY_BLOCK;
		return 0;
	case TAR_DIR:
		p->entry.type = ENTRY_DIR;
		return 0;
	case TAR_FIFO:
		p->entry.type = ENTRY_FIFO;
		return 0;
	}
	return layer_header_error(p, path, err,
		h->type > ' ' && h->type < 0x7f ? "entries of type '%c' are not supported"
						: "entries of type %d are not supported",
		h->type);
}

int layer_merge(struct layer_parser *p, struct error **err)
{
	struct tar_header *h = &p->header;
	struct entry *e = &p->entry;
	int64_t size = h->size;

	e->path = merge_text(h->name, p->values[PAX_PATH], &p->long_name);
	e->link = merge_text(h->link, p->values[PAX_LINKPATH], &p->long_link);
	e->mode = (uint32_t)(h->mode & 07777);
	if (merge_type(p, err) < 0 || merge_times(p, err) < 0 || merge_device(p, err) < 0)
		return -1;
	if (merge_owner(p, PAX_UID, "uid", h->uid, &e->uid, err) < 0 ||
		merge_owner(p, PAX_GID, "gid", h->gid, &e->gid, err) < 0)
		return -1;
	if (merge_number(p, PAX_SIZE, "size", &size, err) < 0)
		return -1;
	if (size < 0 && e->type == ENTRY_FILE)
		return layer_header_error(p, e->path, err, "size %" PRId64 " is negative", size);
	if (e->type != ENTRY_HARDLINK && e->type != ENTRY_SYMLINK)
		e->link = "";
	p->body_left = e->type == ENTRY_FILE ? (uint64_t)size : 0;
	p->pad = (unsigned)(-p->body_left & (TAR_BLOCK - 1));
	p->logical_size = size;
	settle_xattrs(&p->xattrs);
	e->xattrs = p->xattrs.v;
	e->n_xattrs = p->xattrs.n;
	return 0;
}
