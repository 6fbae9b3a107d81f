// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/unpack/walk.h"

#include <string.h>
#include <sys/stat.h>

#include "lib/base/interrupt.h"
#include "lib/base/mem.h"
#include "lib/base/text.h"

/* A directory: one of those that the current one lies in, or one that is still to come. */
struct frame {
	uint64_t nid;
	const char *name; /* in the image; NULL for the root */
	size_t len;
	size_t outside; /* bytes of the path of the directory that it is in */
	bool entered;
};

struct walk {
	const struct bootstrap *b;
	const struct unpack_visitor *v;
	struct frame *frames;
	size_t n, cap;
	char *path; /* with a NUL */
	size_t len, path_cap;
};

static void walk_end(struct walk *w)
{
	free(w->frames);
	free(w->path);
}

/* Go down to a name; returns where it begins in the path. */
static size_t push_name(struct walk *w, const char *name, size_t len)
{
	size_t need = w->len + len + 2, at;

	if (need > w->path_cap) {
		w->path_cap = need * 2;
		w->path = xrealloc_array(w->path, w->path_cap, 1);
	}
	if (w->len)
		w->path[w->len++] = '/';
	at = w->len;
	if (len)
		memcpy(w->path + at, name, len);
	w->len += len;
	w->path[w->len] = '\0';
	return at;
}

static void pop_name(struct walk *w, size_t outside)
{
	w->len = outside;
	w->path[outside] = '\0';
}

static int blame(const struct walk *w, struct error **err)
{
	CLEANUP_FREE char *shown = text_printable(w->path, w->len);

	return error_wrap(err, "/%s", shown);
}

/* Tell of the inode at the path as it stands. */
static int tell(struct walk *w, uint64_t nid, size_t name,
	int (*call)(void *arg, const struct unpack_entry *e, struct error **err),
	struct error **err)
{
	struct bootstrap_inode inode;
	const struct unpack_entry e = { &inode, w->path, w->path + name };

	if (interrupt_pending())
		return error_set(err, 0, "interrupted");
	if (bootstrap_inode(w->b, nid, &inode, err) < 0 || call(w->v->arg, &e, err))
		return blame(w, err);
	return 0;
}

static void push_frame(struct walk *w, uint64_t nid, const char *name, size_t len)
{
	w->frames = xgrow(w->frames, w->n, &w->cap, sizeof(*w->frames));
	w->frames[w->n++] = (struct frame){ .nid = nid, .name = name, .len = len };
}

static int visit(void *arg, const struct bootstrap_name *name, struct error **err)
{
	struct walk *w = arg;
	size_t outside = w->len;
	int ret;

	if (name->type == EROFS_FT_DIR) {
		push_frame(w, name->nid, name->name, name->len);
		return 0;
	}
	ret = tell(w, name->nid, push_name(w, name->name, name->len), w->v->entry, err);
	pop_name(w, outside);
	return ret;
}

/* The last one pushed comes first, so they change places. */
static void reverse(struct frame *f, size_t n)
{
	for (size_t i = 0; i < n / 2; i++) {
		struct frame t = f[i];

		f[i] = f[n - 1 - i];
		f[n - 1 - i] = t;
	}
}

static int enter(struct walk *w, struct frame *f, struct error **err)
{
	size_t name, first = w->n;
	struct bootstrap_inode dir;

	f->entered = true;
	f->outside = w->len;
	name = push_name(w, f->name, f->len);
	if (tell(w, f->nid, name, w->v->enter, err) < 0 ||
		bootstrap_inode(w->b, f->nid, &dir, err) < 0 ||
		bootstrap_readdir(w->b, &dir, visit, w, NULL, err) < 0)
		return -1;
	reverse(w->frames + first, w->n - first); /* f may have moved */
	return 0;
}

static int leave(struct walk *w, const struct frame *f, struct error **err)
{
	if (tell(w, f->nid, w->len - f->len, w->v->leave, err) < 0)
		return -1;
	pop_name(w, f->outside);
	w->n--;
	return 0;
}

int unpack_walk(const struct bootstrap *b, const struct unpack_visitor *visitor, struct error **err)
{
	CLEANUP(walk_end) struct walk w = { .b = b, .v = visitor };

	push_frame(&w, bootstrap_super(b)->root_nid, NULL, 0);
	while (w.n) {
		struct frame *f = &w.frames[w.n - 1];

		if ((f->entered ? leave(&w, f, err) : enter(&w, f, err)) < 0)
			return -1;
	}
	return 0;
}
