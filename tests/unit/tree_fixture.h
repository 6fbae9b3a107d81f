/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* Entries in a line each, trees as text: for tests of what layers make of a tree. */
#ifndef TESTS_UNIT_TREE_FIXTURE_H
#define TESTS_UNIT_TREE_FIXTURE_H

#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fmt/entry.h"
#include "lib/base/mem.h"
#include "lib/tree/apply.h"

#define DIR_(p, m)  ((struct entry){ .type = ENTRY_DIR, .path = (p), .link = "", .mode = (m) })
#define FILE_(p, n) ((struct entry){ .path = (p), .link = "", .mode = 0644, .size = (n) })
#define SYMLINK(p, t) \
	((struct entry){ .type = ENTRY_SYMLINK, .path = (p), .link = (t), .mode = 0777 })
#define LINK(p, t) ((struct entry){ .type = ENTRY_HARDLINK, .path = (p), .link = (t) })
#define FIFO(p)	   ((struct entry){ .type = ENTRY_FIFO, .path = (p), .link = "", .mode = 0600 })
#define DEVICE(p, t, a, i) \
	((struct entry){   \
		.type = (t), .path = (p), .link = "", .mode = 0600, .major = (a), .minor = (i) })
#define WHITEOUT(p) FILE_(p, 0)

struct text {
	char *p;
	size_t len, cap;
};

static inline void __attribute__((format(printf, 2, 3))) say(struct text *t, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	if (t->cap - t->len < 8192)
		t->p = xrealloc_array(t->p, t->cap = t->cap * 2 + 16384, 1);
	t->len += (size_t)vsnprintf(t->p + t->len, t->cap - t->len, fmt, ap);
	va_end(ap);
}

struct shown_name {
	char *path;
	uint32_t inode;
};

static inline int compare_shown(const void *a, const void *b)
{
	return strcmp(((const struct shown_name *)a)->path, ((const struct shown_name *)b)->path);
}

static inline void show_inode(struct text *t, const struct tree_inode *in)
{
	switch (in->mode & S_IFMT) {
	case S_IFDIR:
		say(t, "/ %o n%u", in->mode & 07777u, in->nlink);
		break;
	case S_IFREG:
		say(t, " %" PRIu64, in->size);
		break;
	case S_IFLNK:
		say(t, " -> %s", in->target);
		break;
	case S_IFIFO:
		say(t, " fifo");
		break;
	default:
		say(t, " %s %u:%u",
			S_ISCHR(in->mode)   ? "char"
			: S_ISBLK(in->mode) ? "block"
					    : "?",
			in->dev.major, in->dev.minor);
	}
	if (in->uid || in->gid)
		say(t, " %u:%u", in->uid, in->gid);
	if (in->mtime || in->mtime_nsec)
		say(t, " @%" PRId64 ".%u", in->mtime, in->mtime_nsec);
	if (in->xattrs)
		say(t, " xattrs");
}

/*
 * A line for each name, in the order of paths: "a/ 755 n2", "a/f 3", "a/g = a/f" for the second
 * name of one inode, "l -> a". Without `all`, the root is left out. The caller frees it.
 */
static inline char *show_tree(const struct tree *t, bool all)
{
	struct text text = { 0 };
	struct shown_name *names = NULL;
	size_t n = 0, cap = 0;

	say(&text, "%s", "");
	if (all) {
		say(&text, ".");
		show_inode(&text, tree_inode(t, t->root));
		say(&text, "\n");
	}
	for (uint32_t id = tree_walk(t, t->root, 0, false); id;
		id = tree_walk(t, t->root, id, false)) {
		names = xgrow(names, n, &cap, sizeof(*names));
		names[n++] = (struct shown_name){ tree_path(t, id), tree_name(t, id)->inode };
	}
	if (n)
		qsort(names, n, sizeof(*names), compare_shown);
	for (size_t i = 0; i < n; i++) {
		const struct tree_inode *in = tree_inode(t, names[i].inode);
		size_t first = 0;

		while (names[first].inode != names[i].inode)
			first++;
		say(&text, "%s", names[i].path);
		if (first == i)
			show_inode(&text, in);
		else
			say(&text, " = %s", names[first].path);
		if (first == i && !S_ISDIR(in->mode) && in->nlink > 1)
			say(&text, " n%u", in->nlink);
		say(&text, "\n");
	}
	for (size_t i = 0; i < n; i++)
		free(names[i].path);
	free(names);
	return text.p;
}

#endif
