// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/verify/users.h"

#include <inttypes.h>
#include <sys/stat.h>

#include "lib/base/interrupt.h"
#include "lib/base/mem.h"
#include "lib/base/text.h"
#include "lib/bootstrap/walk.h"

enum { NAMED_MAX = 3 };

struct search {
	const struct bootstrap *b;
	unsigned device;
	uint64_t first, n;
	bool found; /* in the file that is looked at */
	char *names; /* of the first few, or NULL */
	uint64_t n_files;
};

static int look_at_run(void *arg, const struct bootstrap_run *run, struct error **err)
{
	struct search *s = arg;

	if (run->device == s->device && run->blk < s->first + s->n &&
		s->first < run->blk + run->n_blk)
		s->found = true;
	return 0;
}

static int look_at_entry(void *arg, const struct bootstrap_entry *entry, struct error **err)
{
	CLEANUP_FREE char *path = NULL, *before = NULL;
	struct search *s = arg;

	if (interrupt_pending())
		return error_set(err, 0, "interrupted");
	if (entry->again || !S_ISREG(entry->inode->inode.mode))
		return 0;
	s->found = false;
	if (bootstrap_runs(s->b, entry->inode, look_at_run, s, err) < 0)
		return -1;
	if (!s->found || s->n_files++ >= NAMED_MAX)
		return 0;
	path = bootstrap_entry_path(entry);
	before = s->names;
	s->names = before ? xasprintf("%s, %s", before, path) : take_ptr(path);
	return 0;
}

/* Told elsewhere. */
static int pass_over(void *arg, struct error **err)
{
	if (interrupt_pending())
		return -1;
	error_free(take_ptr(*err));
	return 0;
}

char *users_of_blocks(const struct bootstrap *b, unsigned device, uint64_t first, uint64_t n)
{
	struct search s = { .b = b, .device = device, .first = first, .n = n };
	const struct bootstrap_walker walker = { look_at_entry, pass_over, &s };
	CLEANUP_ERROR struct error *ignored = NULL;
	char count[TEXT_NUMBER_MAX];
	uint64_t others;
	char *text;

	bootstrap_walk(b, &walker, &ignored);
	if (s.n_files <= NAMED_MAX)
		return s.names ? s.names : xstrdup("no file");
	others = s.n_files - NAMED_MAX;
	text = xasprintf("%s and %s other file%s", s.names, text_count(others, count),
		others == 1 ? "" : "s");
	free(s.names);
	return text;
}
