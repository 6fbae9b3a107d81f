// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/serve/transport/fanotify_unknown.h"

#include <errno.h>
#include <sys/stat.h>

#include "lib/base/mem.h"
#include "lib/serve/transport/fanotify_group.h"

/* ---- the range, of all of them ---- */

struct search {
	struct want *asked;
	uint64_t offset, len;
	atomic_uint left; /* parts, and who starts them */
	atomic_bool failed;
};

struct part {
	struct want want; /* first */
	struct search *search;
};

static void end_one(struct search *s)
{
	if (atomic_fetch_sub(&s->left, 1) > 1)
		return;
	s->asked->done(s->asked, atomic_load(&s->failed) ? EAGAIN : 0);
	free(s);
}

static void part_done(struct want *w, int error)
{
	CLEANUP_FREE struct part *p = (struct part *)w;

	if (error)
		atomic_store(&p->search->failed, true);
	end_one(p->search);
}

static void want_part(void *arg, struct served_blob *b)
{
	struct search *s = arg;
	struct part *p = xzalloc(sizeof(*p));

	*p = (struct part){ .want.done = part_done, .search = s };
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
static bool are_all_known(struct fanotify_files *f, int group, int dir)
{
	struct check c = { .files = f, .all = true };

	return fanotify_group_each_mark(group, dir, check_mark, &c) == 0 && c.all;
}

void fanotify_unknown_want(
	struct fanotify_files *f, int group, int dir, uint64_t offset, uint64_t len, struct want *w)
{
	struct search *s;

	if (!are_all_known(f, group, dir)) {
		w->done(w, EAGAIN);
		return;
	}
	s = xzalloc(sizeof(*s));
	*s = (struct search){ .asked = w, .offset = offset, .len = len };
	atomic_init(&s->left, 1);
	if (!fanotify_files_each(f, want_part, s))
		atomic_store(&s->failed, true);
	end_one(s);
}
