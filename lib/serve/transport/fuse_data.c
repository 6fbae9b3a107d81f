// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/*
 * What is in files. A read comes as pieces, one for each run of blocks. Those that are not there
 * yet are wanted from the engine all at once, and the last one to arrive answers, on its thread.
 */
#include "config.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>

#include "lib/base/log_event.h"
#include "lib/base/mem.h"
#include "lib/serve/transport/fuse_answer.h"
#include "lib/serve/transport/fuse_part.h"

enum { FEW_PIECES = 16 };

struct piece {
	const struct session_device *device; /* NULL: a hole */
	uint64_t offset; /* in the device */
	size_t at, len; /* in what is read */
};

struct pieces {
	const struct session *session;
	uint64_t from; /* of the file */
	size_t size; /* what is read */
	struct piece few[FEW_PIECES];
	struct piece *many; /* NULL while they are few */
	size_t n, cap;
	bool lacks; /* some must be waited for */
};

static const struct piece *piece_at(const struct pieces *p, size_t i)
{
	return p->many ? &p->many[i] : &p->few[i];
}

static void pieces_free(struct pieces *p)
{
	free(p->many);
}

static void add_piece(struct pieces *p, const struct piece *one)
{
	if (!p->many && p->n < FEW_PIECES) {
		p->few[p->n++] = *one;
		return;
	}
	if (!p->many) {
		p->cap = (size_t)FEW_PIECES * 4;
		p->many = xcalloc(p->cap, sizeof(*p->many));
		memcpy(p->many, p->few, sizeof(p->few));
	}
	p->many = xgrow(p->many, p->n, &p->cap, sizeof(*p->many));
	p->many[p->n++] = *one;
}

static int add_run(void *arg, const struct bootstrap_run *run, struct error **err)
{
	struct pieces *p = arg;
	uint64_t begin = run->offset, end = begin + (run->n_blk << EROFS_BLOCK_BITS);
	struct piece one = { 0 };

	(void)err;
	begin = begin > p->from ? begin : p->from;
	end = end < p->from + p->size ? end : p->from + p->size;
	if (begin >= end)
		return 0;
	one.at = (size_t)(begin - p->from);
	one.len = (size_t)(end - begin);
	if (run->device) {
		one.device = &p->session->devices[run->device - 1];
		one.offset = ((uint64_t)run->blk << EROFS_BLOCK_BITS) + (begin - run->offset);
		p->lacks |= session_lacks(one.device);
	}
	add_piece(p, &one);
	return 0;
}

static int read_pieces(const struct pieces *p, uint8_t *buf)
{
	int code = 0;

	for (size_t i = 0; i < p->n && !code; i++) {
		const struct piece *one = piece_at(p, i);
		const struct session_device *d = one->device;

		if (d)
			code = fuse_answer_read(
				d->fd, d->offset + one->offset, buf + one->at, one->len);
		else
			memset(buf + one->at, 0, one->len);
	}
	return code;
}

static void answer_pieces(fuse_req_t req, const struct pieces *p)
{
	uint8_t *buf = fuse_answer_buffer(p->size);
	int code = read_pieces(p, buf);

	if (code) {
		log_event(EVENT_FAULT, "store", FIELD("offset", p->from),
			FIELD("length", (uint64_t)p->size), FIELD("error", strerror(code)));
		fuse_reply_err(req, code);
	} else {
		fuse_reply_buf(req, (const char *)buf, p->size);
	}
	fuse_answer_done(buf, p->size);
}

/* ---- waiting ---- */

struct waiting;

struct waited {
	struct want want; /* first */
	struct waiting *all;
};

struct waiting {
	struct fuse_pending pending;
	struct pieces pieces;
	atomic_uint left; /* pieces, and one for who asks for them */
	atomic_int error; /* the first */
	struct waited wants[];
};

static void one_is_done(struct waiting *w)
{
	int code;

	if (atomic_fetch_sub(&w->left, 1) > 1)
		return;
	if (fuse_pending_claim(&w->pending)) {
		code = atomic_load(&w->error);
		if (code)
			fuse_pending_refuse(&w->pending, code);
		else
			answer_pieces(w->pending.req, &w->pieces);
		fuse_pending_end(&w->pending);
	}
	pieces_free(&w->pieces);
	free(w);
}

static void arrived(struct want *want, int error)
{
	struct waiting *w = ((struct waited *)want)->all;
	int none = 0;

	if (error)
		atomic_compare_exchange_strong(&w->error, &none, error);
	one_is_done(w);
}

/* Takes what `p` holds over. */
static void wait_for_pieces(fuse_req_t req, fuse_ino_t node, const struct pieces *p)
{
	struct waiting *w = xzalloc(sizeof(*w) + p->n * sizeof(w->wants[0]));

	w->pieces = *p;
	atomic_init(&w->left, 1);
	fuse_pending_begin(mount_of(req)->pendings, &w->pending, req, node, p->from, p->size);
	for (size_t i = 0; i < p->n; i++) {
		const struct piece *one = piece_at(&w->pieces, i);
		struct waited *wanted = &w->wants[i];

		if (!one->device || !one->device->blob)
			continue;
		*wanted = (struct waited){ .want.done = arrived, .all = w };
		atomic_fetch_add(&w->left, 1);
		engine_want(one->device->blob->served, one->offset, one->len, &wanted->want);
	}
	fuse_pending_hurry(&w->pending);
	one_is_done(w);
}

/* ---- reading ---- */

static void read_flat(fuse_req_t req, const struct bootstrap_inode *inode, uint64_t from, size_t n)
{
	struct bootstrap_flat f;
	struct iovec parts[2] = { 0 };
	size_t head = 0;

	bootstrap_flat(mount_of(req)->tree, inode, &f);
	if (from < f.head_size)
		head = n < f.head_size - from ? n : (size_t)(f.head_size - from);
	parts[0] = (struct iovec){ (void *)(f.head + (head ? from : 0)), head };
	if (n > head)
		parts[1] =
			(struct iovec){ (void *)(f.tail + (from + head - f.head_size)), n - head };
	fuse_reply_iov(req, parts, 2);
}

void serve_read(
	fuse_req_t req, fuse_ino_t node, size_t size, off_t offset, struct fuse_file_info *fi)
{
	struct fuse_mount *m = mount_of(req);
	struct pieces p = { .session = m->session, .from = (uint64_t)offset };
	struct bootstrap_inode inode;
	struct error *err = NULL;

	(void)fi;
	if (find_inode(req, node, &inode) < 0)
		return;
	if (offset < 0 || p.from >= inode.inode.size || !size) {
		fuse_reply_buf(req, NULL, 0);
		return;
	}
	p.size = size < inode.inode.size - p.from ? size : (size_t)(inode.inode.size - p.from);
	if (inode.inode.layout != EROFS_CHUNKED)
		return read_flat(req, &inode, p.from, p.size);
	if (bootstrap_runs_between(m->tree, &inode, p.from, p.from + p.size, add_run, &p, &err) <
		0) {
		answer_fault(req, err);
	} else if (p.lacks) {
		wait_for_pieces(req, node, &p);
		return;
	} else {
		answer_pieces(req, &p);
	}
	pieces_free(&p);
}

/* ---- holes ---- */

struct seek {
	uint64_t from, found;
	bool hole; /* is wanted, else data */
};

static int look_at_run(void *arg, const struct bootstrap_run *run, struct error **err)
{
	struct seek *s = arg;

	(void)err;
	if (!run->device != s->hole)
		return 0;
	s->found = run->offset > s->from ? run->offset : s->from;
	return 1;
}

/* Files end with a hole. */
void serve_lseek(
	fuse_req_t req, fuse_ino_t node, off_t offset, int whence, struct fuse_file_info *fi)
{
	struct seek s = { .from = (uint64_t)offset, .hole = whence == SEEK_HOLE };
	struct bootstrap_inode inode;
	struct error *err = NULL;

	(void)fi;
	if (find_inode(req, node, &inode) < 0)
		return;
	if (whence != SEEK_HOLE && whence != SEEK_DATA) {
		fuse_reply_err(req, EINVAL);
		return;
	}
	if (offset < 0 || s.from >= inode.inode.size) {
		fuse_reply_err(req, ENXIO);
		return;
	}
	s.found = inode.inode.size;
	if (inode.inode.layout != EROFS_CHUNKED)
		s.found = s.hole ? inode.inode.size : s.from;
	else
		bootstrap_runs_between(mount_of(req)->tree, &inode, s.from, inode.inode.size,
			look_at_run, &s, &err);
	if (err)
		answer_fault(req, err);
	else if (!s.hole && s.found >= inode.inode.size)
		fuse_reply_err(req, ENXIO);
	else
		fuse_reply_lseek(req, (off_t)s.found);
}
