// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/* The tree of inodes and names against a naive model, and the sets of xattrs. */
#include "config.h"

#include "lib/tree/tree.h"
#include "tests/unit/random.h"
#include "tests/unit/tap.h"
#include "tests/unit/tree_fixture.h"

static uint32_t add(struct tree *t, uint32_t dir, const char *name, uint16_t mode)
{
	struct error *err = NULL;
	uint32_t inode = tree_new_inode(t, mode, &err);

	tree_link(t, dir, name, strlen(name), inode, &err);
	return inode;
}

static void a_new_tree_is_a_root_that_is_its_own_parent(void)
{
	CLEANUP_TREE struct tree t;

	tree_init(&t);
	CHECK_U64(t.n_inodes, 1);
	CHECK_U64(tree_inode(&t, t.root)->mode, S_IFDIR | 0755);
	CHECK_U64(tree_inode(&t, t.root)->nlink, 2);
	CHECK_U64(tree_parent(&t, t.root), t.root);
	CHECK_U64(tree_walk(&t, t.root, 0, false), 0);
	CHECK(!tree_find(&t, t.root, "x", 1));
}

static void names_are_found_by_their_bytes_and_directory_alone(void)
{
	CLEANUP_TREE struct tree t;
	uint32_t dir, name;
	CLEANUP_FREE char *path = NULL;

	tree_init(&t);
	dir = add(&t, t.root, "d", S_IFDIR | 0755);
	add(&t, dir, "x\xff\n", S_IFREG);
	name = tree_find(&t, dir, "x\xff\n", 3);
	CHECK(name);
	CHECK(!tree_find(&t, t.root, "x\xff\n", 3));
	CHECK(!tree_find(&t, dir, "x\xff\n", 2));
	CHECK(!tree_find(&t, dir, "X\xff\n", 3));
	path = tree_path(&t, name);
	CHECK_STR(path, "d/x\xff\n");
	CHECK_U64(tree_parent(&t, dir), t.root);
}

static void names_of_255_bytes_fit(void)
{
	CLEANUP_TREE struct tree t;
	char name[300];

	tree_init(&t);
	memset(name, 'n', 255);
	for (int i = 0; i < 2000; i++) { /* over several chunks of the arena */
		snprintf(name + 250, 12, "%05d", i);
		add(&t, t.root, name, S_IFREG);
	}
	for (int i = 0; i < 2000; i++) {
		uint32_t id;

		snprintf(name + 250, 12, "%05d", i);
		id = tree_find(&t, t.root, name, 255);
		if (!CHECK(id) || !CHECK_STR(tree_name(&t, id)->name, name))
			break;
		CHECK_U64(tree_name(&t, id)->len, 255);
	}
}

static void links_are_counted_and_the_last_one_frees(void)
{
	CLEANUP_TREE struct tree t;
	struct error *err = NULL;
	uint32_t file;

	tree_init(&t);
	file = add(&t, t.root, "a", S_IFREG);
	tree_inode(&t, file)->extents = xzalloc(sizeof(struct tree_extents));
	tree_link(&t, t.root, "b", 1, file, &err);
	CHECK_U64(tree_inode(&t, file)->nlink, 2);
	tree_remove(&t, tree_find(&t, t.root, "a", 1));
	CHECK_U64(tree_inode(&t, file)->nlink, 1);
	CHECK(tree_find(&t, t.root, "b", 1));
	tree_remove(&t, tree_find(&t, t.root, "b", 1));
	CHECK_U64(t.n_inodes, 1);
	CHECK_U64(tree_inode(&t, file)->mode, 0);
}

static void directories_count_their_subdirectories(void)
{
	CLEANUP_TREE struct tree t;
	uint32_t a;

	tree_init(&t);
	a = add(&t, t.root, "a", S_IFDIR);
	add(&t, a, "b", S_IFDIR);
	add(&t, a, "c", S_IFDIR);
	add(&t, a, "f", S_IFREG);
	CHECK_U64(tree_inode(&t, a)->nlink, 4);
	CHECK_U64(tree_inode(&t, t.root)->nlink, 3);
	tree_remove(&t, tree_find(&t, a, "b", 1));
	CHECK_U64(tree_inode(&t, a)->nlink, 3);
	tree_remove(&t, tree_find(&t, t.root, "a", 1));
	CHECK_U64(tree_inode(&t, t.root)->nlink, 2);
	CHECK_U64(t.n_inodes, 1);
}

static void a_path_of_100000_levels_is_made_walked_named_and_removed(void)
{
	enum { LEVELS = 100000 };
	CLEANUP_TREE struct tree t;
	CLEANUP_FREE char *path = NULL;
	uint32_t dir, last = 0, n = 0;

	tree_init(&t);
	dir = t.root;
	for (int i = 0; i < LEVELS; i++)
		dir = add(&t, dir, "d", S_IFDIR);
	for (uint32_t id = tree_walk(&t, t.root, 0, false); id;
		id = tree_walk(&t, t.root, id, false), n++)
		last = id;
	CHECK_U64(n, LEVELS);
	path = tree_path(&t, last);
	CHECK_U64(strlen(path), 2 * LEVELS - 1);
	tree_remove(&t, tree_find(&t, t.root, "d", 1));
	CHECK_U64(t.n_inodes, 1);
}

static void a_walk_may_pass_over_and_stays_below_its_top(void)
{
	CLEANUP_TREE struct tree t;
	uint32_t a, b, n = 0, skipped = 0;

	tree_init(&t);
	add(&t, t.root, "z", S_IFREG);
	a = add(&t, t.root, "a", S_IFDIR);
	add(&t, t.root, "0", S_IFREG);
	b = add(&t, a, "b", S_IFDIR);
	add(&t, a, "e", S_IFDIR);
	add(&t, b, "c", S_IFREG);
	add(&t, b, "d", S_IFREG);
	for (uint32_t id = tree_walk(&t, a, 0, false); id; id = tree_walk(&t, a, id, false))
		n++;
	CHECK_U64(n, 4);
	for (uint32_t id = tree_walk(&t, a, 0, false); id; id = tree_walk(&t, a, id, true))
		skipped++;
	CHECK_U64(skipped, 2);
	CHECK_U64(tree_walk(&t, tree_name(&t, tree_find(&t, a, "e", 1))->inode, 0, false), 0);
}

/* --- the model: names in a plain array --- */

enum { MODEL_MAX = 400 };

struct model_name {
	bool used;
	int dir; /* index of a directory's name, -1: the root */
	char name[8];
	int inode;
	bool is_dir;
};

struct model {
	struct model_name names[MODEL_MAX];
	uint32_t inode_of[MODEL_MAX * 100]; /* model's inode number to the tree's */
	int n_inodes;
};

static uint32_t dir_inode(const struct model *m, int dir, const struct tree *t)
{
	return dir < 0 ? t->root : m->inode_of[m->names[dir].inode];
}

static int model_find(const struct model *m, int dir, const char *name)
{
	for (int i = 0; i < MODEL_MAX; i++)
		if (m->names[i].used && m->names[i].dir == dir && !strcmp(m->names[i].name, name))
			return i;
	return -1;
}

static void model_remove(struct model *m, int at)
{
	m->names[at].used = false;
	for (int i = 0; m->names[at].is_dir && i < MODEL_MAX; i++)
		if (m->names[i].used && m->names[i].dir == at)
			model_remove(m, i);
}

static int pick(const struct model *m, uint64_t *seed, bool dir)
{
	for (int tries = 0; tries < 50; tries++) {
		int i = (int)random_below(seed, MODEL_MAX);

		if (m->names[i].used && m->names[i].is_dir == dir)
			return i;
	}
	return -1;
}

static void check_model(const struct model *m, const struct tree *t)
{
	uint32_t wrong = 0, names = 0, walked = 0, inodes = 1;

	for (int i = 0; i < MODEL_MAX; i++) {
		const struct model_name *n = &m->names[i];
		uint32_t id, links = 0, subdirs = 0;
		bool first = true;

		if (!n->used)
			continue;
		names++;
		id = tree_find(t, dir_inode(m, n->dir, t), n->name, strlen(n->name));
		if (!id || tree_name(t, id)->inode != m->inode_of[n->inode]) {
			wrong++;
			continue;
		}
		for (int j = 0; j < MODEL_MAX; j++) {
			const struct model_name *o = &m->names[j];

			links += o->used && o->inode == n->inode;
			subdirs += o->used && o->dir == i && o->is_dir;
			first = first && !(j < i && o->used && o->inode == n->inode);
		}
		inodes += first;
		wrong += tree_inode(t, m->inode_of[n->inode])->nlink !=
			 (n->is_dir ? 2 + subdirs : links);
		wrong += n->is_dir &&
			 tree_parent(t, m->inode_of[n->inode]) != dir_inode(m, n->dir, t);
	}
	for (uint32_t id = tree_walk(t, t->root, 0, false); id;
		id = tree_walk(t, t->root, id, false))
		walked++;
	CHECK_U64(wrong, 0);
	CHECK_U64(walked, names);
	CHECK_U64(t->n_inodes, inodes);
}

static void model_step(struct model *m, struct tree *t, uint64_t *seed)
{
	int dir = random_below(seed, 4) ? pick(m, seed, true) : -1, slot = 0, at, old;
	struct error *err = NULL;
	char name[8];
	uint32_t id;

	snprintf(name, sizeof(name), "%c%c", 'a' + (int)random_below(seed, 4),
		"\0bc"[random_below(seed, 3)]);
	at = model_find(m, dir, name);
	if (at >= 0) {
		id = tree_find(t, dir_inode(m, dir, t), name, strlen(name));
		if (!CHECK(id))
			return;
		tree_remove(t, id);
		model_remove(m, at);
		return;
	}
	CHECK(!tree_find(t, dir_inode(m, dir, t), name, strlen(name)));
	while (slot < MODEL_MAX && m->names[slot].used)
		slot++;
	if (slot == MODEL_MAX)
		return;
	old = random_below(seed, 3) ? -1 : pick(m, seed, false);
	m->names[slot] = (struct model_name){ .used = true, .dir = dir };
	strcpy(m->names[slot].name, name);
	if (old >= 0) {
		m->names[slot].inode = m->names[old].inode;
	} else {
		m->names[slot].is_dir = random_below(seed, 2);
		m->names[slot].inode = m->n_inodes;
		m->inode_of[m->n_inodes++] =
			tree_new_inode(t, m->names[slot].is_dir ? S_IFDIR : S_IFREG, &err);
	}
	CHECK(tree_link(t, dir_inode(m, dir, t), name, strlen(name),
		m->inode_of[m->names[slot].inode], &err));
}

static void random_links_and_removals_agree_with_a_naive_model(void)
{
	CLEANUP_FREE struct model *m = xzalloc(sizeof(*m));
	CLEANUP_TREE struct tree t;
	uint64_t seed = 5;

	tree_init(&t);
	for (int i = 0; i < 20000 && !tap_failed_checks; i++) {
		model_step(m, &t, &seed);
		if (i % 200 == 0)
			check_model(m, &t);
	}
	check_model(m, &t);
	/* numbers are used again */
	CHECK(t.names.count <= MODEL_MAX && t.inodes.count <= MODEL_MAX + 1);
}

/* --- xattrs --- */

static void equal_pairs_and_sets_are_kept_once(void)
{
	struct xattr_table t;
	uint32_t a, b, c;

	xattr_table_init(&t, 1);
	a = xattr_intern_pair(&t, "user.a", "xy", 2);
	b = xattr_intern_pair(&t, "user.a", "xyz", 3);
	c = xattr_intern_pair(&t, "user.b", "xy", 2);
	CHECK(a && b && c && a != b && a != c && b != c);
	CHECK_U64(xattr_intern_pair(&t, "user.a", "xy", 2), a);
	CHECK_U64(xattr_intern_pair(&t, "user.b", "xy", 2), c);
	CHECK_STR(xattr_pair(&t, b)->name, "user.a");
	CHECK_U64(xattr_pair(&t, b)->value_len, 3);
	CHECK(!memcmp(xattr_pair(&t, b)->value, "xyz", 3));
	CHECK_U64(xattr_intern_set(&t, NULL, 0), 0);
	CHECK_U64(xattr_intern_set(&t, (uint32_t[]){ a, b }, 2), 1);
	CHECK_U64(xattr_intern_set(&t, (uint32_t[]){ a }, 1), 2);
	CHECK_U64(xattr_intern_set(&t, (uint32_t[]){ a, b }, 2), 1);
	CHECK_U64(xattr_set(&t, 1)->n, 2);
	CHECK_U64(xattr_set(&t, 1)->pairs[1], b);
	xattr_table_free(&t);
}

static void values_may_be_empty_and_hold_any_bytes(void)
{
	struct xattr_table t;
	uint32_t empty, zero;

	xattr_table_init(&t, 1);
	empty = xattr_intern_pair(&t, "user.a", "", 0);
	zero = xattr_intern_pair(&t, "user.a", "\0", 1);
	CHECK(empty != zero);
	CHECK_U64(xattr_intern_pair(&t, "user.a", "\0", 1), zero);
	CHECK_U64(xattr_intern_pair(&t, "user.a", "", 0), empty);
	xattr_table_free(&t);
}

static void many_pairs_stay_apart(void)
{
	struct xattr_table t;
	unsigned wrong = 0;
	char name[32];

	xattr_table_init(&t, 1);
	for (unsigned round = 0; round < 2; round++)
		for (unsigned i = 0; i < 20000; i++) {
			uint32_t id;

			snprintf(name, sizeof(name), "user.%u", i / 3);
			id = xattr_intern_pair(&t, name, &i, sizeof(i));
			wrong += id != i + 1;
			wrong += xattr_intern_set(&t, &id, 1) != i + 1;
		}
	CHECK_U64(wrong, 0);
	xattr_table_free(&t);
}

int main(void)
{
	RUN(a_new_tree_is_a_root_that_is_its_own_parent);
	RUN(names_are_found_by_their_bytes_and_directory_alone);
	RUN(names_of_255_bytes_fit);
	RUN(links_are_counted_and_the_last_one_frees);
	RUN(directories_count_their_subdirectories);
	RUN(a_path_of_100000_levels_is_made_walked_named_and_removed);
	RUN(a_walk_may_pass_over_and_stays_below_its_top);
	RUN(random_links_and_removals_agree_with_a_naive_model);
	RUN(equal_pairs_and_sets_are_kept_once);
	RUN(values_may_be_empty_and_hold_any_bytes);
	RUN(many_pairs_stay_apart);
	return tap_done();
}
