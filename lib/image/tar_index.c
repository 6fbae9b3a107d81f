// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/image/tar_index.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/mem.h"
#include "lib/base/text.h"
#include "lib/image/tar_scan.h"

#define MAX_LINKS 8

static char *shown(const char *name)
{
	return text_printable(name, strnlen(name, 255));
}

int tar_member_error(const char *name, const char *what, struct error **err)
{
	CLEANUP_FREE char *text = shown(name);

	return error_set(err, 0, "member %s: %s", text, what);
}

char *tar_name_clean(const char *name)
{
	char *out = xmalloc(strlen(name) + 1);
	size_t len = 0;

	for (size_t n; *name; name += n) {
		n = strcspn(name, "/");
		if (n == 0) {
			n = 1;
		} else if (n == 2 && name[0] == '.' && name[1] == '.') {
			if (len == 0) {
				free(out);
				return NULL;
			}
			while (len && out[--len] != '/')
				;
		} else if (n > 1 || *name != '.') {
			if (len)
				out[len++] = '/';
			memcpy(out + len, name, n);
			len += n;
		}
	}
	out[len] = '\0';
	return out;
}

/* By name, and of one name by place: the data of a later member lies behind. */
static int compare(const void *a, const void *b)
{
	const struct tar_member *x = a, *y = b;
	int c = strcmp(x->name, y->name);

	return c ? c : (x->offset > y->offset) - (x->offset < y->offset);
}

static void settle(struct tar_index *x)
{
	size_t n = 0;

	if (x->n)
		qsort(x->v, x->n, sizeof(*x->v), compare);
	for (size_t i = 0; i < x->n; i++) {
		if (i + 1 == x->n || strcmp(x->v[i].name, x->v[i + 1].name) != 0) {
			x->v[n++] = x->v[i];
			continue;
		}
		free(x->v[i].name);
		free(x->v[i].link);
	}
	x->n = n;
}

int tar_index_read(struct tar_index *x, int fd, uint64_t size, struct error **err)
{
	int rc;

	*x = (struct tar_index){ 0 };
	rc = tar_scan(x, fd, size, err);
	settle(x);
	if (rc < 0)
		tar_index_free(x);
	return rc;
}

void tar_index_free(struct tar_index *x)
{
	for (size_t i = 0; i < x->n; i++) {
		free(x->v[i].name);
		free(x->v[i].link);
	}
	free(x->v);
	*x = (struct tar_index){ 0 };
}

static int compare_to(const void *key, const void *member)
{
	return strcmp(key, ((const struct tar_member *)member)->name);
}

/* Where a link leads: a hard link from the root, a symbolic one from its own directory. */
static char *target_of(const struct tar_member *m)
{
	const char *link = m->link ? m->link : "";
	const char *slash = strrchr(m->name, '/');
	CLEANUP_FREE char *joined = NULL;

	if (m->kind == MEMBER_HARDLINK || *link == '/' || !slash)
		return tar_name_clean(link);
	joined = xasprintf("%.*s/%s", (int)(slash - m->name), m->name, link);
	return tar_name_clean(joined);
}

static const struct tar_member *check_kind(const struct tar_member *m, struct error **err)
{
	if (m->kind == MEMBER_FILE)
		return m;
	if (m->kind == MEMBER_SPARSE) {
		tar_member_error(m->name, "it is stored as a sparse file", err);
		error_hint(err, "pack the archive without --sparse");
	} else {
		tar_member_error(m->name, "it is not a regular file", err);
	}
	return NULL;
}

const struct tar_member *tar_index_find(
	const struct tar_index *x, const char *name, struct error **err)
{
	CLEANUP_FREE char *wanted = tar_name_clean(name);

	for (int links = 0; wanted && links <= MAX_LINKS; links++) {
		const struct tar_member *m =
			x->n ? bsearch(wanted, x->v, x->n, sizeof(*x->v), compare_to) : NULL;

		if (!m) {
			CLEANUP_FREE char *text = shown(wanted);

			error_set(err, 0, "there is no %s in the archive", text);
			(*err)->code = ENOENT;
			return NULL;
		}
		if (m->kind != MEMBER_HARDLINK && m->kind != MEMBER_SYMLINK)
			return check_kind(m, err);
		free(wanted);
		wanted = target_of(m);
	}
	tar_member_error(name, wanted ? "too many links" : "it leads out of the archive", err);
	return NULL;
}
