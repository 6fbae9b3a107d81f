// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/verify/structure.h"

#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/base/interrupt.h"
#include "lib/base/mem.h"
#include "lib/bootstrap/walk.h"

/* The walk over the tree. */
struct tree_check {
	struct structure *s;
	struct faults *faults;
	const struct bootstrap *b;
	const char *told;
	size_t n_faults;
	uint64_t *links; /* the NID of each name whose inode claims to have several */
	size_t n_links, cap_links;
};

/* ---- one name ---- */

static int check_links(
	struct tree_check *t, const struct bootstrap_entry *entry, struct error **err)
{
	const struct erofs_inode *i = &entry->inode->inode;

	if (S_ISDIR(i->mode)) /* the walk counts subdirectories */
		return 0;
	if (!i->nlink)
		return error_set(err, 0, "link count 0");
	if (entry->again && i->nlink == 1)
		return error_set(err, 0, "link count 1, but it has several names");
	if (i->nlink == 1)
		return 0;
	t->links = xgrow(t->links, t->n_links, &t->cap_links, sizeof(*t->links));
	t->links[t->n_links++] = entry->inode->nid;
	return 0;
}

static int keep_last(void *arg, const struct bootstrap_run *run, struct error **err)
{
	*(struct bootstrap_run *)arg = *run;
	return 0;
}

static int note_tail(struct tree_check *t, const struct bootstrap_inode *file, struct error **err)
{
	uint16_t used = file->inode.size % EROFS_BLOCK_SIZE;
	struct structure *s = t->s;
	struct bootstrap_run last = { 0 };

	if (!used)
		return 0;
	if (bootstrap_runs(t->b, file, keep_last, &last, err) < 0)
		return -1;
	if (!last.device)
		return 0;
	s->tails = xgrow(s->tails, s->n_tails, &s->cap_tails, sizeof(*s->tails));
	s->tails[s->n_tails++] = (struct tail){
		.blk = (uint32_t)(last.blk + last.n_blk - 1),
		.device = last.device,
		.used = used,
	};
	return 0;
}

static int check_symlink(
	const struct tree_check *t, const struct bootstrap_inode *i, struct error **err)
{
	char *target = bootstrap_readlink(t->b, i, err);

	free(target);
	return target ? 0 : -1;
}

static int check_inode(struct tree_check *t, const struct bootstrap_inode *i, struct error **err)
{
	if (i->inode.uid > EROFS_ID_MAX || i->inode.gid > EROFS_ID_MAX)
		return error_set(err, 0, "uid or gid 4294967295");
	if (S_ISLNK(i->inode.mode) && check_symlink(t, i, err) < 0)
		return -1;
	if (S_ISREG(i->inode.mode) && note_tail(t, i, err) < 0)
		return -1;
	return bootstrap_xattrs(t->b, i, NULL, NULL, err);
}

static int check_entry(void *arg, const struct bootstrap_entry *entry, struct error **err)
{
	struct tree_check *t = arg;

	if (interrupt_pending())
		return error_set(err, 0, "interrupted");
	if (check_links(t, entry, err) < 0 || tree_sums_add(&t->s->sums, t->b, entry, err) < 0)
		return -1;
	return entry->again ? 0 : check_inode(t, entry->inode, err);
}

/* Both sentences begin with the path that they are about, and ": ". */
static bool is_told(const struct tree_check *t, const struct error *fault)
{
	const char *end = strstr(fault->msg, ": ");

	return t->told && end && !strncmp(t->told, fault->msg, (size_t)(end - fault->msg) + 2);
}

static int take_tree_fault(void *arg, struct error **err)
{
	struct tree_check *t = arg;

	if (interrupt_pending())
		return -1;
	if (++t->n_faults > FAULTS_MAX)
		return error_wrap(err, "more than %d faults, not looking further", FAULTS_MAX);
	if (is_told(t, *err))
		error_free(take_ptr(*err));
	else
		faults_take(t->faults, err);
	return 0;
}

/* ---- link counts ---- */

static int compare_nids(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static size_t count_names(const struct tree_check *t, uint64_t nid)
{
	size_t low = 0, high = t->n_links, n = 0;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (t->links[middle] < nid)
			low = middle + 1;
		else
			high = middle;
	}
	for (; low < t->n_links && t->links[low] == nid; low++)
		n++;
	return n;
}

/* A second walk, for the paths. */
static int check_link_count(void *arg, const struct bootstrap_entry *entry, struct error **err)
{
	const struct erofs_inode *i = &entry->inode->inode;
	struct tree_check *t = arg;
	size_t n;

	if (interrupt_pending())
		return error_set(err, 0, "interrupted");
	if (entry->again || S_ISDIR(i->mode) || i->nlink == 1)
		return 0;
	n = count_names(t, entry->inode->nid);
	if (n == i->nlink)
		return 0;
	return error_set(err, 0, "link count %" PRIu32 ", but %zu name%s (at byte %" PRIu64 ")",
		i->nlink, n, n == 1 ? "" : "s", entry->inode->nid * EROFS_SLOT_SIZE);
}

/* Names of one inode stand together: are there as many as it claims? */
static bool link_counts_are_right(const struct tree_check *t)
{
	struct bootstrap_inode inode;
	struct error *fault = NULL;
	size_t n;

	for (size_t i = 0; i < t->n_links; i += n) {
		for (n = 1; i + n < t->n_links && t->links[i + n] == t->links[i];)
			n++;
		if (bootstrap_inode(t->b, t->links[i], &inode, &fault) < 0) {
			error_free(fault);
			return false;
		}
		if (inode.inode.nlink != n)
			return false;
	}
	return true;
}

static void check_link_counts(struct tree_check *t)
{
	const struct bootstrap_walker walker = { check_link_count, take_tree_fault, t };
	struct error *fault = NULL;

	if (t->n_links)
		qsort(t->links, t->n_links, sizeof(*t->links), compare_nids);
	if (!link_counts_are_right(t) && bootstrap_walk(t->b, &walker, &fault) < 0)
		faults_take(t->faults, &fault);
}

/* ---- the whole ---- */

static int compare_tails(const void *a, const void *b)
{
	const struct tail *x = a, *y = b;

	if (x->device != y->device)
		return x->device < y->device ? -1 : 1;
	return (x->blk > y->blk) - (x->blk < y->blk);
}

void structure_check(
	struct structure *s, const struct bootstrap *b, const char *told, struct faults *faults)
{
	struct tree_check t = { .s = s, .faults = faults, .b = b, .told = told };
	const struct bootstrap_walker walker = { check_entry, take_tree_fault, &t };
	uint64_t claimed = bootstrap_super(b)->inodes;
	struct error *fault = NULL;

	if (bootstrap_walk(b, &walker, &fault) < 0) {
		t.n_faults++;
		faults_take(faults, &fault);
	}
	/* sums over a tree with faults would only repeat them */
	if (!t.n_faults)
		check_link_counts(&t);
	if (!t.n_faults && claimed != s->sums.inodes)
		faults_add(faults,
			"byte %u: the superblock counts %" PRIu64 " inodes, the tree has %" PRIu64,
			EROFS_SUPER_OFFSET + 0x10, claimed, s->sums.inodes);
	if (s->n_tails)
		qsort(s->tails, s->n_tails, sizeof(*s->tails), compare_tails);
	free(t.links);
}

void structure_free(struct structure *s)
{
	free(s->tails);
	*s = (struct structure){ 0 };
}

/* The first tail whose device is not below `device`. */
static size_t lower_bound(const struct structure *s, unsigned device)
{
	size_t low = 0, high = s->n_tails;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (s->tails[middle].device < device)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

size_t structure_tails(const struct structure *s, unsigned device, const struct tail **first)
{
	size_t begin = lower_bound(s, device);

	*first = s->n_tails ? s->tails + begin : NULL;
	return lower_bound(s, device + 1) - begin;
}
