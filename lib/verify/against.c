// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/verify/against.h"

#include <inttypes.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/base/interrupt.h"
#include "lib/base/text.h"
#include "lib/bootstrap/layout.h"
#include "lib/verify/against_file.h"

/* A directory of both trees whose names are still to be compared. */
struct pair {
	uint64_t nid;
	uint32_t name; /* the source's, 0 for the root */
};

/* A name with several in one of the trees: names of one file there must be so here. */
struct link {
	uint64_t nid;
	uint32_t name, inode; /* the source's */
};

/* A regular file whose data is to be compared. */
struct file {
	uint64_t nid;
	uint32_t name;
	bool differs;
	struct error *fault; /* in reading it */
};

struct comparison {
	const struct against *a;
	const struct tree *tree;
	struct faults *out;
	struct pair *dirs; /* a queue: those before `current` are done */
	size_t n_dirs, cap_dirs, current;
	struct link *links;
	size_t n_links, cap_links;
	struct file *files;
	size_t n_files, cap_files;
	_Atomic size_t next_file;
	uint32_t next; /* the source's next name in the current directory */
};

static void comparison_free(struct comparison *c)
{
	for (size_t i = 0; i < c->n_files; i++)
		error_free(c->files[i].fault);
	free(c->dirs);
	free(c->links);
	free(c->files);
}

/* ---- saying it ---- */

/* "/usr/bin/x" of the source's tree, printable. */
static char *source_path(const struct comparison *c, uint32_t name)
{
	CLEANUP_FREE char *path = name ? tree_path(c->tree, name) : xstrdup("");
	CLEANUP_FREE char *whole = xasprintf("/%s", path);

	return text_printable(whole, strlen(whole));
}

__attribute__((format(printf, 3, 4))) static void differs(
	struct comparison *c, uint32_t name, const char *fmt, ...)
{
	CLEANUP_FREE char *path = source_path(c, name), *text = NULL;
	va_list ap;

	va_start(ap, fmt);
	text = xvasprintf(fmt, ap);
	va_end(ap);
	faults_add(c->out, "%s: %s", path, text);
}

static const char *type_name(uint16_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFREG:
		return "a regular file";
	case S_IFDIR:
		return "a directory";
	case S_IFLNK:
		return "a symlink";
	case S_IFCHR:
		return "a character device";
	case S_IFBLK:
		return "a block device";
	case S_IFIFO:
		return "a fifo";
	default:
		return "a socket";
	}
}

/* ---- attributes ---- */

static void compare_number(
	struct comparison *c, uint32_t name, const char *what, uint64_t image, uint64_t source)
{
	if (image != source)
		differs(c, name, "its %s is %" PRIu64 ", in the source %" PRIu64, what, image,
			source);
}

static void compare_common(struct comparison *c, uint32_t name, const struct erofs_inode *i,
	const struct tree_inode *s)
{
	if ((i->mode & 07777) != (s->mode & 07777))
		differs(c, name, "its mode is %04o, in the source %04o", i->mode & 07777,
			s->mode & 07777);
	compare_number(c, name, "uid", i->uid, s->uid);
	compare_number(c, name, "gid", i->gid, s->gid);
	if (i->mtime != s->mtime || i->mtime_nsec != s->mtime_nsec)
		differs(c, name,
			"its mtime is %" PRId64 ".%09" PRIu32 ", in the source %" PRId64
			".%09" PRIu32,
			i->mtime, i->mtime_nsec, s->mtime, s->mtime_nsec);
	compare_number(c, name, "link count", i->nlink, s->nlink);
}

static void compare_target(struct comparison *c, uint32_t name, const struct bootstrap_inode *i,
	const struct tree_inode *s)
{
	CLEANUP_ERROR struct error *err = NULL;
	CLEANUP_FREE char *have = bootstrap_readlink(c->a->b, i, &err);
	CLEANUP_FREE char *image = NULL, *source = NULL;

	if (!have || !strcmp(have, s->target))
		return;
	image = text_printable(have, strlen(have));
	source = text_printable(s->target, strlen(s->target));
	differs(c, name, "it points to %s, in the source to %s", image, source);
}

static void compare_device(
	struct comparison *c, uint32_t name, uint32_t dev, const struct tree_inode *s)
{
	uint32_t major, minor;

	erofs_decode_dev(dev, &major, &minor);
	if (major != s->dev.major || minor != s->dev.minor)
		differs(c, name, "it is device %u:%u, in the source %u:%u", major, minor,
			s->dev.major, s->dev.minor);
}

static void compare_size(struct comparison *c, uint32_t name, const struct bootstrap_inode *i,
	const struct tree_inode *s)
{
	compare_number(c, name, "size", i->inode.size, s->size);
	if (i->inode.size != s->size)
		return;
	c->files = xgrow(c->files, c->n_files, &c->cap_files, sizeof(*c->files));
	c->files[c->n_files++] = (struct file){ .nid = i->nid, .name = name };
}

/* ---- xattrs ---- */

struct xattr_comparison {
	struct comparison *c;
	uint32_t name;
	const struct xattr_set *set; /* the source's, or NULL */
	bool *seen; /* of the set */
};

static bool same_name(const struct xattr_pair *p, const struct bootstrap_xattr *x)
{
	size_t len = strlen(x->prefix);

	return strlen(p->name) == len + x->suffix_len && !memcmp(p->name, x->prefix, len) &&
	       !memcmp(p->name + len, x->suffix, x->suffix_len);
}

static int compare_xattr(void *arg, const struct bootstrap_xattr *x, struct error **err)
{
	struct xattr_comparison *xc = arg;
	CLEANUP_FREE char *suffix = text_printable(x->suffix, x->suffix_len);

	for (uint32_t i = 0; xc->set && i < xc->set->n; i++) {
		const struct xattr_pair *p = xattr_pair(&xc->c->tree->xattrs, xc->set->pairs[i]);

		if (!same_name(p, x))
			continue;
		if (xc->seen[i])
			differs(xc->c, xc->name, "it has the xattr %s%s twice", x->prefix, suffix);
		else if (p->value_len != x->value_len ||
			 memcmp(p->value, x->value, p->value_len) != 0)
			differs(xc->c, xc->name, "its xattr %s%s has another value in the source",
				x->prefix, suffix);
		xc->seen[i] = true;
		return 0;
	}
	differs(xc->c, xc->name, "its xattr %s%s is not in the source", x->prefix, suffix);
	return 0;
}

static void compare_xattrs(struct comparison *c, uint32_t name, const struct bootstrap_inode *i,
	const struct tree_inode *s)
{
	const struct xattr_set *set = s->xattrs ? xattr_set(&c->tree->xattrs, s->xattrs) : NULL;
	CLEANUP_FREE bool *seen = xcalloc(set ? set->n : 1, sizeof(*seen));
	struct xattr_comparison xc = { c, name, set, seen };
	CLEANUP_ERROR struct error *err = NULL;

	if (bootstrap_xattrs(c->a->b, i, compare_xattr, &xc, &err) < 0)
		return;
	for (uint32_t k = 0; set && k < set->n; k++) {
		const char *missing = xattr_pair(&c->tree->xattrs, set->pairs[k])->name;
		CLEANUP_FREE char *text = text_printable(missing, strlen(missing));

		if (!seen[k])
			differs(c, name, "the source's xattr %s is missing", text);
	}
}

/* ---- names ---- */

static void add_dir(struct comparison *c, uint64_t nid, uint32_t name)
{
	c->dirs = xgrow(c->dirs, c->n_dirs, &c->cap_dirs, sizeof(*c->dirs));
	c->dirs[c->n_dirs++] = (struct pair){ nid, name };
}

static void compare_inode(struct comparison *c, uint32_t name, const struct bootstrap_inode *i,
	const struct tree_inode *s)
{
	if ((i->inode.mode & S_IFMT) != (s->mode & S_IFMT)) {
		differs(c, name, "it is %s, in the source %s", type_name(i->inode.mode),
			type_name(s->mode));
		return;
	}
	compare_common(c, name, &i->inode, s);
	compare_xattrs(c, name, i, s);
	switch (s->mode & S_IFMT) {
	case S_IFDIR:
		add_dir(c, i->nid, name);
		return;
	case S_IFREG:
		compare_size(c, name, i, s);
		return;
	case S_IFLNK:
		compare_target(c, name, i, s);
		return;
	case S_IFCHR:
	case S_IFBLK:
		compare_device(c, name, i->inode.u, s);
		return;
	default:
		return;
	}
}

/*
 * A name that both have. Inodes are compared once, under their first name: the source's
 * remembers which of the image's it was compared with.
 */
static void compare_name(struct comparison *c, uint32_t name, uint64_t nid)
{
	uint32_t id = tree_name(c->tree, name)->inode;
	struct tree_inode *s = tree_inode(c->tree, id);
	CLEANUP_ERROR struct error *err = NULL;
	struct bootstrap_inode i;
	bool again;

	if (bootstrap_inode(c->a->b, nid, &i, &err) < 0)
		return;
	again = s->mark == (uint32_t)(nid + 1);
	s->mark = (uint32_t)(nid + 1);
	if (!S_ISDIR(s->mode) && (s->nlink > 1 || i.inode.nlink > 1)) {
		c->links = xgrow(c->links, c->n_links, &c->cap_links, sizeof(*c->links));
		c->links[c->n_links++] = (struct link){ nid, name, id };
	}
	if (!again)
		compare_inode(c, name, &i, s);
}

static uint64_t names_below(const struct comparison *c, uint32_t name)
{
	uint32_t dir = tree_name(c->tree, name)->inode;
	uint64_t n = 0;

	if (tree_is_dir(c->tree, dir))
		for (uint32_t at = 0; (at = tree_walk(c->tree, dir, at, false));)
			n++;
	return n;
}

static void missing(struct comparison *c, uint32_t name)
{
	uint64_t below = names_below(c, name);
	char text[TEXT_NUMBER_MAX];

	if (below)
		differs(c, name, "it is not in the image, nor are the %s names below it",
			text_count(below, text));
	else
		differs(c, name, "it is not in the image");
}

static void unexpected(struct comparison *c, const struct bootstrap_name *n)
{
	CLEANUP_FREE char *dir = source_path(c, c->dirs[c->current].name);
	CLEANUP_FREE char *name = text_printable(n->name, n->len);

	faults_add(c->out, "%s%s%s: it is not in the source", dir, dir[1] ? "/" : "", name);
}

/* memcmp() of the source's name and the image's; a shorter one comes first. */
static int compare_names(const struct tree_name *s, const struct bootstrap_name *n)
{
	int order = memcmp(s->name, n->name, s->len < n->len ? s->len : n->len);

	return order ? order : (s->len > n->len) - (s->len < n->len);
}

/* Names of both come in the order of their bytes. */
static int take_name(void *arg, const struct bootstrap_name *n, struct error **err)
{
	struct comparison *c = arg;
	int order = 1;

	if (interrupt_pending())
		return error_set(err, 0, "interrupted");
	while (c->next && (order = compare_names(tree_name(c->tree, c->next), n)) < 0) {
		missing(c, c->next);
		c->next = tree_name(c->tree, c->next)->next;
	}
	if (!c->next || order > 0) {
		unexpected(c, n);
		return 0;
	}
	compare_name(c, c->next, n->nid);
	c->next = tree_name(c->tree, c->next)->next;
	return 0;
}

static uint32_t inode_of(const struct comparison *c, uint32_t name)
{
	return name ? tree_name(c->tree, name)->inode : c->tree->root;
}

static void compare_dir(struct comparison *c, const struct pair *p)
{
	CLEANUP_ERROR struct error *err = NULL;
	struct bootstrap_inode dir;

	c->next = tree_inode(c->tree, inode_of(c, p->name))->dir.first;
	if (bootstrap_inode(c->a->b, p->nid, &dir, &err) < 0 ||
		bootstrap_readdir(c->a->b, &dir, take_name, c, NULL, &err) < 0)
		return;
	for (; c->next; c->next = tree_name(c->tree, c->next)->next)
		missing(c, c->next);
}

static void compare_tree(struct comparison *c)
{
	const struct tree_inode *root = tree_inode(c->tree, c->tree->root);
	CLEANUP_ERROR struct error *err = NULL;
	struct bootstrap_inode i;

	if (bootstrap_inode(c->a->b, bootstrap_super(c->a->b)->root_nid, &i, &err) < 0)
		return; /* there is no bootstrap without a root */
	compare_inode(c, 0, &i, root);
	for (; c->current < c->n_dirs && !interrupt_pending(); c->current++)
		compare_dir(c, &c->dirs[c->current]);
}

/* ---- hard links ---- */

static int by_inode(const void *a, const void *b)
{
	const struct link *x = a, *y = b;

	if (x->inode != y->inode)
		return x->inode < y->inode ? -1 : 1;
	return (x->name > y->name) - (x->name < y->name);
}

static int by_nid(const void *a, const void *b)
{
	const struct link *x = a, *y = b;

	if (x->nid != y->nid)
		return x->nid < y->nid ? -1 : 1;
	return by_inode(a, b);
}

/* What is one file in one of the trees must be one in the other. */
static void compare_links(struct comparison *c)
{
	if (!c->n_links)
		return;
	qsort(c->links, c->n_links, sizeof(*c->links), by_inode);
	for (size_t i = 1; i < c->n_links; i++) {
		const struct link *l = &c->links[i];
		CLEANUP_FREE char *first = NULL;

		if (l->inode != l[-1].inode || l->nid == l[-1].nid)
			continue;
		first = source_path(c, l[-1].name);
		differs(c, l->name, "it is no hard link to %s, as in the source", first);
	}
	qsort(c->links, c->n_links, sizeof(*c->links), by_nid);
	for (size_t i = 1; i < c->n_links; i++) {
		const struct link *l = &c->links[i];
		CLEANUP_FREE char *first = NULL;

		if (l->nid != l[-1].nid || l->inode == l[-1].inode)
			continue;
		first = source_path(c, l[-1].name);
		differs(c, l->name, "it is a hard link to %s, but not in the source", first);
	}
}

/* ---- data ---- */

struct file_job {
	struct job job;
	struct comparison *c;
};

static void compare_file(struct comparison *c, struct file *f)
{
	const uint8_t *want = source_tree_digest(c->a->source, inode_of(c, f->name));
	uint8_t have[FINGERPRINT_SIZE];
	struct bootstrap_inode i;

	if (bootstrap_inode(c->a->b, f->nid, &i, &f->fault) == 0 &&
		against_digest(c->a, &i, have, &f->fault) == 0)
		f->differs = memcmp(have, want, sizeof(have)) != 0;
}

/* Take files until there are none left. */
static void run_files(struct job *job)
{
	/* the job comes first */
	struct comparison *c = ((struct file_job *)job)->c;
	size_t i;

	while (!interrupt_pending() && (i = c->next_file++) < c->n_files)
		compare_file(c, &c->files[i]);
}

static void compare_files(struct comparison *c)
{
	struct file_job jobs[16];

	for (size_t i = 0; i < sizeof(jobs) / sizeof(*jobs); i++) {
		jobs[i] = (struct file_job){ { .run = run_files }, c };
		workers_post(c->a->workers, 0, &jobs[i].job);
	}
	workers_wait(c->a->workers);
	for (size_t i = 0; i < c->n_files; i++) {
		const struct file *f = &c->files[i];

		if (f->fault)
			differs(c, f->name, "its data cannot be read: %s", f->fault->msg);
		else if (f->differs)
			differs(c, f->name, "its content is not the source's");
	}
}

int against_compare(const struct against *a, struct faults *differences, struct error **err)
{
	CLEANUP(comparison_free)
	struct comparison c = {
		.a = a,
		.tree = &a->source->tree,
		.out = differences,
	};

	layout_sort(&a->source->tree);
	for (uint32_t i = 1; i <= c.tree->inodes.count; i++)
		if (tree_inode(c.tree, i)->mode)
			tree_inode(c.tree, i)->mark = 0;
	compare_tree(&c);
	compare_links(&c);
	if (!interrupt_pending())
		compare_files(&c);
	return interrupt_pending() ? error_set(err, 0, "interrupted") : 0;
}
