// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/image/tar_scan.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fmt/tar.h"
#include "lib/base/mem.h"

#define MAX_META (1u << 20) /* a PAX header or long name, as Go's archive/tar has it */

/* What meta entries said of the member that follows them. */
struct meta {
	char *long_name, *long_link;
	char *pax; /* the body that `values` point into */
	struct tar_span values[PAX_VALUES];
	bool sparse;
};

struct scan {
	struct tar_index *index;
	int fd;
	uint64_t size, at, header_at;
	struct tar_header header;
	struct meta meta;
};

static void meta_reset(struct meta *m)
{
	free(m->long_name);
	free(m->long_link);
	free(m->pax);
	*m = (struct meta){ 0 };
}

static int header_error(const struct scan *s, const char *what, struct error **err)
{
	return error_set(err, 0, "tar header at byte %" PRIu64 ": %s", s->header_at, what);
}

static int read_at(const struct scan *s, void *buf, size_t len, struct error **err)
{
	char *p = buf;

	for (uint64_t at = s->at; len;) {
		ssize_t n = pread(s->fd, p, len, (off_t)at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return error_set(err, errno, "cannot read at byte %" PRIu64, at);
		if (n == 0)
			return error_set(err, 0, "the file became shorter while it was read");
		p += n;
		at += (uint64_t)n;
		len -= (size_t)n;
	}
	return 0;
}

/* The next block; false in *more when the file ends before it. */
static int read_block(struct scan *s, uint8_t *block, bool *more, struct error **err)
{
	*more = s->size > s->at;
	if (!*more)
		return 0;
	if (s->size - s->at < TAR_BLOCK)
		return error_set(
			err, 0, "the tar ends at byte %" PRIu64 ", within a header", s->size);
	if (read_at(s, block, TAR_BLOCK, err) < 0)
		return -1;
	s->at += TAR_BLOCK;
	return 0;
}

/* Meta entries: their body is read whole, and ends in a NUL. */
static char *read_body(struct scan *s, struct error **err)
{
	CLEANUP_FREE char *body = NULL;
	size_t len = (size_t)s->header.size;

	if (s->header.size > MAX_META) {
		header_error(s, "a PAX header or long name of more than 1 MiB", err);
		return NULL;
	}
	if (s->size - s->at < len) {
		error_set(err, 0, "the tar ends at byte %" PRIu64 ", within a PAX header", s->size);
		return NULL;
	}
	body = xmalloc(len + 1);
	if (read_at(s, body, len, err) < 0)
		return NULL;
	body[len] = '\0';
	return take_ptr(body);
}

static int read_pax(struct scan *s, struct error **err)
{
	struct tar_span body;
	struct pax_record r;
	struct fault fault;
	size_t pos = 0;
	int got;

	free(s->meta.pax);
	memset(s->meta.values, 0, sizeof(s->meta.values));
	s->meta.sparse = false;
	s->meta.pax = read_body(s, err);
	if (!s->meta.pax)
		return -1;
	body = (struct tar_span){ s->meta.pax, (size_t)s->header.size };
	while ((got = pax_next(body, &pos, &r, &fault)) > 0) {
		if (r.key < PAX_VALUES) {
			s->meta.values[r.key] = r.value;
			s->meta.pax[r.value.p - body.p + (ptrdiff_t)r.value.len] = '\0';
		}
		s->meta.sparse |= r.key >= PAX_SPARSE_MAJOR && r.key <= PAX_SPARSE_NUMBYTES;
	}
	return got < 0 ? header_error(s, fault.what, err) : 0;
}

static int read_meta(struct scan *s, struct error **err)
{
	char **text = s->header.type == TAR_GNU_LONG_NAME ? &s->meta.long_name : &s->meta.long_link;
	int rc;

	if (s->header.type == TAR_PAX || s->header.type == TAR_PAX_GLOBAL) {
		rc = read_pax(s, err);
		if (s->header.type == TAR_PAX_GLOBAL)
			meta_reset(&s->meta); /* without effect, as in Go's archive/tar */
		return rc;
	}
	free(*text);
	*text = read_body(s, err);
	return *text ? 0 : -1;
}

static const char *pick(const char *long_text, struct tar_span pax, const char *field)
{
	if (long_text && *long_text)
		return long_text;
	return pax.len ? pax.p : field;
}

static const char *name_of(const struct scan *s)
{
	const struct tar_span *values = s->meta.values;

	return pick(s->meta.long_name,
		values[PAX_SPARSE_NAME].len ? values[PAX_SPARSE_NAME] : values[PAX_PATH],
		s->header.name);
}

static enum tar_member_kind kind_of(const struct scan *s, const char *name)
{
	size_t len = strlen(name);

	switch (s->header.type) {
	case TAR_OLD_FILE:
		if (len && name[len - 1] == '/')
			return MEMBER_OTHER;
		return s->meta.sparse ? MEMBER_SPARSE : MEMBER_FILE;
	case TAR_FILE:
	case TAR_CONTIGUOUS:
		return s->meta.sparse ? MEMBER_SPARSE : MEMBER_FILE;
	case TAR_GNU_SPARSE:
		return MEMBER_SPARSE;
	case TAR_HARDLINK:
		return MEMBER_HARDLINK;
	case TAR_SYMLINK:
		return MEMBER_SYMLINK;
	}
	return MEMBER_OTHER;
}

static int add(struct scan *s, const char *name, uint64_t size, struct error **err)
{
	struct tar_member m = { .offset = s->at, .size = size, .kind = kind_of(s, name) };
	const char *link = pick(s->meta.long_link, s->meta.values[PAX_LINKPATH], s->header.link);
	struct tar_index *x = s->index;

	if (m.kind != MEMBER_HARDLINK && m.kind != MEMBER_SYMLINK)
		link = "";
	if (strlen(name) >= PATH_MAX || strlen(link) >= PATH_MAX)
		return header_error(s, "a name of more than 4095 bytes", err);
	x->text += strlen(name) + strlen(link);
	if (x->n == TAR_INDEX_MAX_MEMBERS || x->text > TAR_INDEX_MAX_TEXT)
		return error_set(err, 0, "it has more members than any archive of images");
	m.name = tar_name_clean(name);
	if (!m.name)
		return tar_member_error(name, "the name leads out of the archive", err);
	m.link = *link ? xstrdup(link) : NULL;
	x->v = xgrow(x->v, x->n, &x->cap, sizeof(*x->v));
	x->v[x->n++] = m;
	return 0;
}

/* Blocks with the rest of an old GNU sparse map stand between header and data. */
static int skip_sparse_map(struct scan *s, const uint8_t *header, struct error **err)
{
	bool continues = s->header.type == TAR_GNU_SPARSE && tar_sparse_continues(header);
	uint8_t block[TAR_BLOCK];

	while (continues) {
		bool more;

		if (read_block(s, block, &more, err) < 0)
			return -1;
		if (!more)
			return header_error(s, "the tar ends within its sparse map", err);
		continues = tar_sparse_ext_continues(block);
	}
	return 0;
}

static int read_member(struct scan *s, const uint8_t *header, struct error **err)
{
	struct tar_span pax_size = s->meta.values[PAX_SIZE];
	const char *name = name_of(s);
	int64_t size = s->header.size;

	if (pax_size.len && tar_decimal(pax_size, &size) < 0)
		return tar_member_error(name, "PAX size is not a number", err);
	if (tar_type_has_no_body(s->header.type))
		size = 0;
	if (size < 0)
		return tar_member_error(name, "its size is negative", err);
	if (skip_sparse_map(s, header, err) < 0)
		return -1;
	if ((uint64_t)size > s->size - s->at) {
		tar_member_error(name, "the tar ends within its data", err);
		return error_hint(err, "the archive is cut short: copy or save it again");
	}
	if (add(s, name, (uint64_t)size, err) < 0)
		return -1;
	meta_reset(&s->meta);
	s->at += (uint64_t)size;
	return 0;
}

/* Padding after the last member may be missing. */
static void skip_padding(struct scan *s)
{
	uint64_t pad = -s->at & (TAR_BLOCK - 1);

	s->at += pad < s->size - s->at ? pad : s->size - s->at;
}

static bool is_meta(uint8_t type)
{
	return type == TAR_PAX || type == TAR_PAX_GLOBAL || type == TAR_GNU_LONG_NAME ||
	       type == TAR_GNU_LONG_LINK;
}

static int read_entry(struct scan *s, const uint8_t *block, struct error **err)
{
	struct fault fault;

	s->header_at = s->at - TAR_BLOCK;
	if (tar_header_decode(&s->header, block, &fault) < 0) {
		header_error(s, fault.what, err);
		if (s->header_at == 0)
			error_wrap(err, "the file is not a tar");
		return -1;
	}
	if (!is_meta(s->header.type)) {
		if (read_member(s, block, err) < 0)
			return -1;
	} else {
		if (s->header.size < 0)
			return header_error(s, "its size is negative", err);
		if (read_meta(s, err) < 0)
			return -1;
		s->at += (uint64_t)s->header.size;
	}
	skip_padding(s);
	return 0;
}

/* Two zero blocks end it; so does the end of the file. */
static int scan_all(struct scan *s, struct error **err)
{
	uint8_t block[TAR_BLOCK];
	bool more = true, zero = false;

	for (;;) {
		if (read_block(s, block, &more, err) < 0)
			return -1;
		if (!more || (zero && tar_block_is_zero(block)))
			return 0;
		if (zero)
			return error_set(err, 0,
				"tar block at byte %" PRIu64
				": something follows a single zero block",
				s->at - TAR_BLOCK);
		zero = tar_block_is_zero(block);
		if (!zero && read_entry(s, block, err) < 0)
			return -1;
	}
}

int tar_scan(struct tar_index *x, int fd, uint64_t size, struct error **err)
{
	struct scan s = { .index = x, .fd = fd, .size = size };
	int rc = scan_all(&s, err);

	meta_reset(&s.meta);
	return rc;
}
