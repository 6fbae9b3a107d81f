// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/tree/resolve.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/base/mem.h"

/* 255 targets of 2,000 parts each may stand in the way of every entry of a layer. */
enum { SYMLINKS_MAX = 255, STEPS_MAX = 1 << 26 };

void path_parts_free(struct path_parts *p)
{
	free(p->of);
	*p = (struct path_parts){ 0 };
}

static void push(struct path_parts *p, struct path_part part)
{
	p->of = xgrow(p->of, p->n, &p->cap, sizeof(*p->of));
	p->of[p->n++] = part;
}

static struct path_part next_part(const char **path)
{
	struct path_part part;

	*path += strspn(*path, "/");
	part.name = *path;
	part.len = strcspn(*path, "/");
	*path += part.len;
	return part;
}

static bool is_dot(struct path_part part)
{
	return part.len == 1 && part.name[0] == '.';
}

static bool is_dotdot(struct path_part part)
{
	return part.len == 2 && part.name[0] == '.' && part.name[1] == '.';
}

void path_split(struct path_parts *out, const char *path)
{
	struct path_part part;

	out->n = 0;
	while ((part = next_part(&path)).len) {
		if (is_dot(part))
			continue;
		if (!is_dotdot(part))
			push(out, part);
		else if (out->n)
			out->n--;
	}
}

/* The parts still to walk, the next one last, so that a symlink's target goes on top. */
static void push_target(struct path_parts *todo, const char *target)
{
	size_t first = todo->n;
	struct path_part part;

	while ((part = next_part(&target)).len)
		push(todo, part);
	for (size_t i = first, j = todo->n; i + 1 < j; i++) {
		part = todo->of[i];
		todo->of[i] = todo->of[--j];
		todo->of[j] = part;
	}
}

/* One step by a name that is neither "." nor "..": into it, through it, or past what exists. */
static void step(const struct tree *t, struct resolved *at, struct path_parts *todo,
	struct path_part part, unsigned *symlinks)
{
	uint32_t name = at->missing.n ? 0 : tree_find(t, at->dir, part.name, part.len);
	uint32_t inode = name ? tree_name(t, name)->inode : 0;

	if (inode && tree_is_dir(t, inode)) {
		at->dir = inode;
	} else if (inode && S_ISLNK(tree_inode(t, inode)->mode)) {
		const char *target = tree_inode(t, inode)->target;

		++*symlinks;
		if (target[0] == '/')
			at->dir = t->root;
		at->steps -= todo->n;
		push_target(todo, target);
		at->steps += todo->n;
	} else {
		push(&at->missing, part);
	}
}

int resolve_dir(const struct tree *t, const struct path_parts *parts, size_t n,
	struct resolved *out, struct error **err)
{
	CLEANUP(path_parts_free) struct path_parts todo = { 0 };
	unsigned symlinks = 0;

	out->dir = t->root;
	out->missing.n = 0;
	for (size_t i = n; i > 0; i--)
		push(&todo, parts->of[i - 1]);
	while (todo.n && symlinks <= SYMLINKS_MAX) {
		struct path_part part = todo.of[--todo.n];

		if (is_dot(part))
			continue;
		if (!is_dotdot(part))
			step(t, out, &todo, part, &symlinks);
		else if (out->missing.n)
			out->missing.n--;
		else
			out->dir = tree_parent(t, out->dir);
	}
	if (out->steps > STEPS_MAX)
		return error_set(err, 0, "the layer's paths lead through too many symlinks");
	if (symlinks > SYMLINKS_MAX)
		return error_set(
			err, 0, "more than %d symlinks on the way to its directory", SYMLINKS_MAX);
	return 0;
}
