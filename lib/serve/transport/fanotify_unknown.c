// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/serve/transport/fanotify_unknown.h"

#include <errno.h>
#include <stdatomic.h>
#include <sys/stat.h>

#include "lib/base/mem.h"
#include "lib/serve/transport/fanotify_group.h"

/* ---- the range, of all of them ---- */

struct search {
	struct want *asked; /* until it is told */
	const atomic_uint *losses; /* as long as `asked` */
	unsigned losses_before;
	uint64_t offset, len;
	atomic_uint left; /* parts, and who starts them */
	atomic_bool told;
};

struct part {
	struct want want; /* first */
	struct search *search;
};

/* Once. */
static void tell(struct search *s, int error)
{
	if (!atomic_exchange(&s->told, true))
		s->asked->done(s->asked, error);
}

/* What came first may be lost again by now. */
static void end_one(struct search *s)
{
	if (atomic_fetch_sub(&s->left, 1) > 1)
		return;
	if (!atomic_exchange(&s->told, true))
		s->asked->done(s->asked, atomic_load(s->losses) == s->losses_before ? 0 : EAGAIN);
	free(s);
}

static void part_done(struct want *w, int error)
{
	CLEANUP_FREE struct part *p = (struct part *)w;

	if (error)
		tell(p->search, EAGAIN);
	end_one(p->search);
}

static void want_part(void *arg, struct served_blob *b)
{
	struct search *s = arg;
	struct part *p = xzalloc(sizeof(*p));

	*p = (struct part){ .want = { .done = part_done, .aside = true }, .search = s };
	atomic_fetch_add(&s->left, 1);
	engine_want(b, s->offset, s->len, &p->want);
}

/* ---- which they are ---- */

struct check {
	struct fanotify_files *files;
	bool all;
};

static void check_mark(void *arg, int fd)
{
	struct check *c = arg;
	struct stat st;

	if (fstat(fd, &st) < 0 || !fanotify_files_has(c->files, st.st_dev, st.st_ino))
		c->all = false;
}

/* A mark that a former process has left may be of a file in which nobody here could fill a hole. */
static bool are_all_known(const struct fanotify_marked *m)
{
	struct check c = { .files = m->files, .all = true };

	return fanotify_group_each_mark(m->group, m->dir, check_mark, &c) == 0 && c.all;
}

void fanotify_unknown_want(const struct fanotify_marked *m, uint64_t offset, uint64_t len,
	const atomic_uint *losses, struct want *w)
{
	struct search *s;

	if (!are_all_known(m)) {
		w->done(w, EAGAIN);
		return;
	}
	s = xzalloc(sizeof(*s));
	*s = (struct search){ .asked = w,
		.losses = losses,
		.losses_before = atomic_load(losses),
		.offset = offset,
		.len = len };
	atomic_init(&s->left, 1);
	if (!fanotify_files_each(m->files, want_part, s))
		tell(s, EAGAIN);
	end_one(s);
}
