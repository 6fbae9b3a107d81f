// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/*
 * What layers make of the tree, rule by rule. A test lists the entries of each layer and shows
 * the tree that must come out of them (see tree_fixture.h for its lines).
 */
#include "config.h"

#include "lib/base/log.h"
#include "lib/tree/apply.h"
#include "tests/unit/random.h"
#include "tests/unit/tap.h"
#include "tests/unit/tmpdir.h"
#include "tests/unit/tree_fixture.h"

/* Ends a layer in a list of entries. */
#define NEXT ((struct entry){ .path = NULL })

static int apply_all(struct tree *t, const struct entry *e, size_t n, struct error **err)
{
	CLEANUP_APPLY struct apply *a = apply_new(t);
	uint32_t file;
	int r = apply_begin_layer(a, err);

	for (size_t i = 0; i < n && r == 0; i++) {
		if (e[i].path) {
			r = apply_entry(a, &e[i], &file, err);
			if (r == 0)
				CHECK(!file || e[i].type == ENTRY_FILE);
		} else if ((r = apply_end_layer(a, err)) == 0) {
			r = apply_begin_layer(a, err);
		}
	}
	return r ? r : apply_end_layer(a, err);
}

/* The tree as text, or the error. */
static char *outcome(const struct entry *e, size_t n, bool all)
{
	CLEANUP_TREE struct tree t;
	CLEANUP_ERROR struct error *err = NULL;

	tree_init(&t);
	if (apply_all(&t, e, n, &err) < 0)
		return xasprintf("error: %s", err->msg);
	return show_tree(&t, all);
}

static void check_outcome(const struct entry *e, size_t n, bool all, const char *want)
{
	CLEANUP_FREE char *got = outcome(e, n, all);

	if (!CHECK(!strcmp(got, want)))
		printf("# saw:\n%s# instead of:\n%s", got, want);
}

#define LIST(...)                              \
	(const struct entry[]){ __VA_ARGS__ }, \
		sizeof((const struct entry[]){ __VA_ARGS__ }) / sizeof(struct entry)
#define GIVES(want, ...)     check_outcome(LIST(__VA_ARGS__), false, want)
#define GIVES_ALL(want, ...) check_outcome(LIST(__VA_ARGS__), true, want)

static void check_error(const struct entry *e, size_t n, const char *part)
{
	CLEANUP_FREE char *got = outcome(e, n, false);

	if (!CHECK(!strncmp(got, "error: ", 7) && strstr(got, part)))
		printf("# no \"%s\" in: %s\n", part, got);
}

#define REFUSED(part, ...) check_error(LIST(__VA_ARGS__), part)

/*
 * The first `fixed` entries stay in front; the others come in every order (at most 6 of them:
 * 720), and all must give the same.
 */
static void check_orders(const struct entry *e, size_t n, size_t fixed, const char *want)
{
	CLEANUP_FREE struct entry *v = xmemdup(e, n * sizeof(*e));
	size_t c[8] = { 0 }, m = n - fixed, i = 0;
	struct entry *p = v + fixed;

	check_outcome(v, n, false, want);
	while (i < m && !tap_failed_checks) { /* Heap's algorithm */
		if (c[i] < i) {
			size_t j = i % 2 ? c[i] : 0;
			struct entry swap = p[j];

			p[j] = p[i];
			p[i] = swap;
			check_outcome(v, n, false, want);
			c[i]++;
			i = 0;
		} else {
			c[i++] = 0;
		}
	}
	for (size_t k = 0; tap_failed_checks && k < n; k++)
		printf("# %s\n", v[k].path ? v[k].path : "--");
}

#define GIVES_IN_ANY_ORDER(fixed, want, ...) check_orders(LIST(__VA_ARGS__), fixed, want)

/* --- one layer --- */

static void entries_of_every_type_arrive_with_all_they_say(void)
{
	struct entry f = FILE_("f", 12345678901), d = DIR_("d", 07755), r = DIR_("/", 0700);

	f.uid = 4294967294;
	f.gid = 70000;
	f.mode = 06755;
	f.mtime = -5;
	f.mtime_nsec = 999999999;
	d.mtime = 8589934592;
	r.mtime = 7;
	r.gid = 3;
	GIVES_ALL("./ 700 n3 0:3 @7.0\n"
		  "b block 4095:1048575\n"
		  "c char 5:1\n"
		  "d/ 7755 n2 @8589934592.0\n"
		  "f 12345678901 4294967294:70000 @-5.999999999\n"
		  "l -> ../x\n"
		  "p fifo\n",
		f, d, r, DEVICE("b", ENTRY_BLOCK, 4095, 1048575), DEVICE("c", ENTRY_CHAR, 5, 1),
		SYMLINK("l", "../x"), FIFO("p"));
}

static void parents_that_no_entry_names_are_plain_and_of_1970(void)
{
	struct entry f = FILE_("a/b/f", 1), late = DIR_("a", 0711);

	f.mtime = 99;
	late.mtime = 5;
	late.uid = 8;
	GIVES("a/ 755 n3\na/b/ 755 n2\na/b/f 1 @99.0\n", f);
	GIVES("a/ 711 n3 8:0 @5.0\na/b/ 755 n2\na/b/f 1 @99.0\n", f, late);
	GIVES("a/ 711 n3 8:0 @5.0\na/b/ 755 n2\na/b/f 1 @99.0\n", late, f);
}

static void children_never_change_their_parents_mtime(void)
{
	struct entry d = DIR_("d", 0755), f = FILE_("d/f", 1);

	d.mtime = 5;
	f.mtime = 9;
	GIVES("d/ 755 n2 @5.0\nd/f 1 @9.0\n", d, f);
	GIVES("d/ 755 n2 @5.0\n", d, FILE_("d/x", 2), NEXT, WHITEOUT("d/.wh.x"));
	GIVES("d/ 755 n2 @5.0\nd/f 1 @9.0\n", d, NEXT, f);
}

static void names_never_leave_the_root(void)
{
	GIVES("x 1\n", FILE_("../x", 1));
	GIVES("x 1\n", FILE_("/../../x", 1));
	GIVES("a/ 755 n2\nx 1\n", DIR_("a/", 0755), FILE_("a/../../x", 1));
	GIVES("etc/ 755 n2\netc/x 1\nl -> ../../../etc\n", SYMLINK("l", "../../../etc"),
		FILE_("l/x", 1));
	GIVES("etc/ 755 n2\netc/x 1\nl -> /../etc\n", SYMLINK("l", "/../etc"), FILE_("l/x", 1));
}

static void the_last_of_several_entries_of_one_name_wins(void)
{
	GIVES("x 2\n", FILE_("x", 1), FILE_("./x", 2));
	GIVES("x -> y\n", FILE_("x", 1), SYMLINK("/x", "y"));
	GIVES("x/ 711 n2\n", FILE_("x", 1), DIR_("x", 0711));
	GIVES("x 3\n", DIR_("x", 0711), FILE_("x/y/z", 1), FILE_("x", 3));
	GIVES("x/ 700 n2\nx/y 1\n", DIR_("x", 0711), FILE_("x/y", 1), DIR_("x", 0700));
	GIVES("x fifo\n", SYMLINK("x", "y"), FIFO("x"));
}

static void a_file_in_the_way_of_a_directory_gives_way(void)
{
	GIVES("a/ 755 n2\na/b 2\n", FILE_("a", 1), FILE_("a/b", 2));
	GIVES("a/ 755 n3\na/b/ 755 n2\na/b/c 2\n", FIFO("a"), NEXT, FILE_("a/b/c", 2));
}

static void what_the_format_cannot_hold_is_an_error_that_names_the_path(void)
{
	char target[4097], name[512], path[600];

	memset(target, 't', sizeof(target));
	target[4096] = '\0';
	REFUSED("some/link: symlink target of 4096 bytes", SYMLINK("some/link", target));
	target[4095] = '\0';
	{
		CLEANUP_FREE char *want = xasprintf("link -> %s\n", target);

		GIVES(want, SYMLINK("link", target));
	}
	REFUSED("dev/x: device number 4096:0", DEVICE("dev/x", ENTRY_CHAR, 4096, 0));
	REFUSED("dev/x: device number 0:1048576", DEVICE("dev/x", ENTRY_BLOCK, 0, 1048576));
	memset(name, 'n', 256);
	name[256] = '\0';
	REFUSED("256 bytes", FILE_(name, 1));
	snprintf(path, sizeof(path), "%s/x", name);
	REFUSED("256 bytes", FILE_(path, 1));
	REFUSED("a: symlink", SYMLINK("a", ""));
	REFUSED("root", FILE_("/", 1));
	REFUSED("root", SYMLINK("a/..", "x"));
}

/* --- layers over each other --- */

static void a_directory_over_a_directory_keeps_its_children(void)
{
	GIVES("d/ 700 n2\nd/f 1\n", DIR_("d", 0755), FILE_("d/f", 1), NEXT, DIR_("d", 0700));
}

static void other_type_changes_replace_what_was_there(void)
{
	GIVES("d 5\n", FILE_("d/e/f", 1), NEXT, FILE_("d", 5));
	GIVES("d -> x\n", FILE_("d/e/f", 1), NEXT, SYMLINK("d", "x"));
	GIVES("f/ 711 n2\n", FILE_("f", 1), NEXT, DIR_("f", 0711));
	GIVES("a/ 755 n2\na/f 1\nl/ 711 n2\n", FILE_("a/f", 1), SYMLINK("l", "a"), NEXT,
		DIR_("l", 0711));
	GIVES("a/ 755 n2\na/f 1\nl char 1:3\n", FILE_("a/f", 1), SYMLINK("l", "a"), NEXT,
		DEVICE("l", ENTRY_CHAR, 1, 3));
	GIVES("a/ 755 n2\na/f 1\nl 7\n", FILE_("a/f", 1), SYMLINK("l", "a/f"), NEXT, FILE_("l", 7));
}

static void symlinks_on_the_way_are_followed_at_the_end_they_are_not(void)
{
	GIVES("lib -> usr/lib\nusr/ 755 n3\nusr/lib/ 755 n2\nusr/lib/x 1\n",
		SYMLINK("lib", "usr/lib"), DIR_("usr/lib", 0755), NEXT, FILE_("lib/x", 1));
	GIVES("lib -> /usr/lib\nusr/ 755 n3\nusr/lib/ 755 n2\nusr/lib/x 1\n",
		SYMLINK("lib", "/usr/lib"), NEXT, FILE_("lib/x", 1));
	REFUSED("a/x", SYMLINK("a", "b"), SYMLINK("b", "a"), FILE_("a/x", 1));
}

static void a_directory_replaced_by_a_file_and_again_a_directory_is_new(void)
{
	GIVES("d/ 755 n2\nd/new 2\n", FILE_("d/old", 1), NEXT, FILE_("d", 9), FILE_("d/new", 2));
	GIVES("d/ 755 n2\nd/new 2\n", FILE_("d/old", 1), NEXT, FILE_("d", 9), NEXT,
		FILE_("d/new", 2));
}

/* --- whiteouts --- */

static void a_whiteout_removes_a_lower_layers_name_with_all_below(void)
{
	GIVES("b 2\n", FILE_("a", 1), FILE_("b", 2), NEXT, WHITEOUT(".wh.a"));
	GIVES("d/ 755 n2\n", FILE_("d/e/f/g", 1), FILE_("d/e/h", 1), NEXT, WHITEOUT("d/.wh.e"));
	GIVES("", FILE_("a", 1), NEXT, FILE_("b", 1), NEXT, WHITEOUT(".wh.a"), WHITEOUT(".wh.b"));
}

static void a_whiteout_of_nothing_does_nothing(void)
{
	GIVES("a 1\n", FILE_("a", 1), NEXT, WHITEOUT(".wh.b"), WHITEOUT("no/where/.wh.x"),
		WHITEOUT("a/.wh.x"), WHITEOUT("no/.wh..wh..opq"));
}

static void a_whiteout_hides_lower_layers_only_wherever_it_stands(void)
{
	GIVES_IN_ANY_ORDER(2, "a 2\n", FILE_("a", 1), NEXT, WHITEOUT(".wh.a"), FILE_("a", 2));
	GIVES_IN_ANY_ORDER(5, "d/ 700 n2\nd/new 2\n", DIR_("d", 0711), FILE_("d/old", 1),
		FILE_("d/sub/x", 1), FILE_("d/new", 1), NEXT, WHITEOUT(".wh.d"), DIR_("d", 0700),
		FILE_("d/new", 2));
	GIVES_IN_ANY_ORDER(1, "a 2\n", NEXT, WHITEOUT(".wh.a"), FILE_("a", 2));
}

static void a_whiteout_of_a_directory_takes_its_metadata_too(void)
{
	struct entry d = DIR_("d", 0700), f = FILE_("d/sub/new", 2), sub = DIR_("d/sub", 0711);

	d.mtime = 5;
	sub.mtime = 6;
	GIVES_IN_ANY_ORDER(4, "d/ 755 n3\nd/sub/ 755 n2\nd/sub/new 2\n", d, sub, FILE_("d/x", 1),
		NEXT, WHITEOUT(".wh.d"), f);
	GIVES_IN_ANY_ORDER(4, "d/ 755 n3\nd/sub/ 711 n2 @6.0\nd/sub/new 2\n", d,
		DIR_("d/sub", 0701), FILE_("d/sub/old", 1), NEXT, WHITEOUT(".wh.d"), f, sub);
}

static void an_opaque_directory_hides_lower_children_and_keeps_itself(void)
{
	GIVES_IN_ANY_ORDER(5, "d/ 711 n3\nd/new 2\nd/sub/ 755 n2\nd/sub/y 3\n", DIR_("d", 0711),
		FILE_("d/old", 1), DIR_("d/sub", 0700), FILE_("d/sub/x", 1), NEXT,
		WHITEOUT("d/.wh..wh..opq"), FILE_("d/new", 2), FILE_("d/sub/y", 3));
	GIVES_IN_ANY_ORDER(3, "d/ 700 n2\n", DIR_("d", 0711), FILE_("d/old", 1), NEXT,
		WHITEOUT("d/.wh..wh..opq"), DIR_("d", 0700));
	GIVES_IN_ANY_ORDER(3, "new 2\n", FILE_("old", 1), FILE_("d/x", 1), NEXT,
		WHITEOUT(".wh..wh..opq"), FILE_("new", 2));
}

static void opaque_and_whiteouts_at_several_levels_in_any_order(void)
{
	GIVES_IN_ANY_ORDER(5, "d/ 755 n3\nd/s/ 755 n3\nd/s/n 2\nd/s/t/ 755 n2\nd/s/t/n 3\n",
		DIR_("d", 0711), FILE_("d/s/t/old", 1), FILE_("d/s/old", 1), FILE_("d/old", 1),
		NEXT, WHITEOUT(".wh.d"), WHITEOUT("d/.wh.s"), WHITEOUT("d/s/.wh..wh..opq"),
		FILE_("d/s/n", 2), FILE_("d/s/t/n", 3));
	GIVES_IN_ANY_ORDER(4, "d/ 711 n3\nd/keep 1\nd/s/ 755 n2\nd/s/n 2\n", DIR_("d", 0711),
		FILE_("d/s/t/old", 1), FILE_("d/keep", 1), NEXT, WHITEOUT("d/.wh.s"),
		WHITEOUT("d/s/.wh.t"), WHITEOUT("d/s/t/.wh.old"), FILE_("d/s/n", 2));
}

static void the_next_layer_hides_what_this_one_protected(void)
{
	GIVES("", FILE_("a", 1), NEXT, FILE_("a", 2), WHITEOUT(".wh.a"), NEXT, WHITEOUT(".wh.a"));
	GIVES("d/ 711 n2\n", FILE_("d/a", 1), NEXT, DIR_("d", 0711), FILE_("d/b", 2), NEXT,
		WHITEOUT("d/.wh..wh..opq"));
	GIVES("d/ 755 n2\nd/c 3\n", FILE_("d/a", 1), NEXT, WHITEOUT("d/.wh..wh..opq"),
		FILE_("d/b", 2), NEXT, WHITEOUT("d/.wh..wh..opq"), FILE_("d/c", 3));
}

static void names_with_the_whiteout_prefix_never_survive(void)
{
	GIVES("a 1\n", FILE_("a", 1), FILE_(".wh..wh.plnk", 1), DIR_(".wh..wh.orph", 0700),
		FILE_(".wh..wh.plnk/x", 4), FILE_(".wh..wh.aufs", 4), LINK(".wh..wh.x", "a"));
	GIVES("", FILE_("a", 1), NEXT, DIR_(".wh.a", 0755), FILE_(".wh.a/x", 2));
	GIVES("a 1\n", FILE_("a", 1), NEXT, FILE_(".wh.b/c/d", 2));
	GIVES("b 1\n", FILE_("a", 1), FILE_("b", 1), NEXT, LINK(".wh.a", "nothing"));
	GIVES(".wh 1\n.whx 1\nx.wh. 1\n", FILE_(".wh", 1), FILE_(".whx", 1), FILE_("x.wh.", 1));
	REFUSED(".wh.", WHITEOUT(".wh."));
	REFUSED("d/.wh..", FILE_("a", 1), NEXT, WHITEOUT("d/.wh.."));
	REFUSED("d/.wh...", FILE_("a", 1), NEXT, WHITEOUT("d/.wh..."));
}

static void whiteouts_follow_symlinked_parents(void)
{
	GIVES("lib -> usr/lib\nusr/ 755 n3\nusr/lib/ 755 n2\n", SYMLINK("lib", "usr/lib"),
		FILE_("usr/lib/x", 1), NEXT, WHITEOUT("lib/.wh.x"));
	GIVES("usr/ 755 n3\nusr/lib/ 755 n2\nusr/lib/x 1\n", SYMLINK("lib", "usr/lib"),
		FILE_("usr/lib/x", 1), NEXT, WHITEOUT(".wh.lib"));
}

static void one_name_of_a_hard_link_hidden_leaves_the_others(void)
{
	GIVES("b 1\n", FILE_("a", 1), LINK("b", "a"), NEXT, WHITEOUT(".wh.a"));
	GIVES("b 1\nd/ 755 n2\n", FILE_("b", 1), LINK("d/a", "b"), NEXT,
		WHITEOUT("d/.wh..wh..opq"));
}

/* --- hard links --- */

static void hard_links_share_one_inode(void)
{
	GIVES("a 1 n3\nb = a\nd/ 755 n2\nd/c = a\n", FILE_("a", 1), LINK("b", "a"),
		LINK("d/c", "/b"));
	GIVES("l -> t n2\nm = l\n", SYMLINK("l", "t"), LINK("m", "l"));
	GIVES("c char 1:3 n2\nd = c\np fifo n2\nq = p\n", DEVICE("c", ENTRY_CHAR, 1, 3),
		LINK("d", "c"), FIFO("p"), LINK("q", "p"));
}

static void hard_links_may_come_before_their_targets(void)
{
	GIVES_IN_ANY_ORDER(
		0, "a 1 n3\nb = a\nc = a\n", FILE_("a", 1), LINK("b", "a"), LINK("c", "a"));
	GIVES_IN_ANY_ORDER(0, "d/ 755 n2\nd/e 1 n2\nf = d/e\n", LINK("f", "d/e"), DIR_("d", 0755),
		FILE_("d/e", 1));
}

static void chains_of_hard_links_settle_in_any_order(void)
{
	GIVES_IN_ANY_ORDER(0, "a 1 n5\nb = a\nc = a\nd = a\ne = a\n", FILE_("a", 1), LINK("b", "a"),
		LINK("c", "b"), LINK("d", "c"), LINK("e", "d"));
	GIVES_IN_ANY_ORDER(0, "a -> t n4\nb = a\nc = a\nd = a\n", SYMLINK("a", "t"), LINK("b", "a"),
		LINK("c", "b"), LINK("d", "a"));
}

static void a_chain_of_10000_forward_links_settles(void)
{
	enum { N = 10000 };
	CLEANUP_TREE struct tree t;
	CLEANUP_APPLY struct apply *a = apply_new(&t);
	CLEANUP_ERROR struct error *err = NULL;
	char path[16], target[16];
	uint32_t file, inode, bad = 0;
	struct entry e;

	tree_init(&t);
	apply_begin_layer(a, &err);
	for (int i = N; i > 0; i--) {
		snprintf(path, sizeof(path), "%d", i);
		snprintf(target, sizeof(target), "%d", i - 1);
		e = LINK(path, target);
		bad += apply_entry(a, &e, &file, &err) != 0 || file;
	}
	e = FILE_("0", 3);
	CHECK(apply_entry(a, &e, &file, &err) == 0 && file);
	CHECK(apply_end_layer(a, &err) == 0);
	CHECK_U64(bad, 0);
	inode = tree_name(&t, tree_find(&t, t.root, "10000", 5))->inode;
	CHECK_U64(inode, file);
	CHECK_U64(tree_inode(&t, inode)->nlink, N + 1);
	CHECK_U64(t.n_inodes, 2);
}

static void hard_links_cross_layers(void)
{
	GIVES("a 1 n2\nb = a\n", FILE_("a", 1), NEXT, LINK("b", "a"));
	GIVES("b 1\n", FILE_("a", 1), NEXT, LINK("b", "a"), NEXT, WHITEOUT(".wh.a"));
	GIVES("a 2\nb 1\n", FILE_("a", 1), LINK("b", "a"), NEXT, FILE_("a", 2));
	GIVES("a 2 n2\nb = a\n", FILE_("a", 1), FILE_("b", 9), NEXT, FILE_("a", 2), LINK("b", "a"));
}

static void a_hard_link_takes_nothing_from_its_own_entry(void)
{
	struct entry f = FILE_("a", 1), l = LINK("b", "a");

	f.mode = 0600;
	f.uid = 5;
	f.mtime = 6;
	l.mode = 0777;
	l.uid = 7;
	l.mtime = 8;
	GIVES("a 1 5:0 @6.0 n2\nb = a\n", f, l);
	GIVES("a 1 5:0 @6.0 n2\nb = a\n", l, f);
}

static void hard_links_without_a_target_are_errors_that_name_the_path(void)
{
	REFUSED("d/b: hard link to a", LINK("d/b", "a"));
	REFUSED("b: hard link to a", FILE_("x", 1), LINK("b", "a"), NEXT, FILE_("a", 1));
	REFUSED("b: hard link to the directory a", DIR_("a", 0755), LINK("b", "a"));
	REFUSED("a", LINK("b", "a"), DIR_("a", 0755));
	REFUSED("root", LINK("b", "/"));
}

static void cycles_of_hard_links_are_errors(void)
{
	REFUSED("a: hard link to a", LINK("a", "a"));
	REFUSED("hard link to", LINK("a", "b"), LINK("b", "a"));
	REFUSED("hard link to", LINK("a", "b"), LINK("b", "c"), LINK("c", "d"), LINK("d", "b"));
}

static void a_place_holder_that_is_overwritten_is_forgotten(void)
{
	GIVES("b 2\n", LINK("b", "nowhere"), FILE_("b", 2));
	GIVES("b/ 700 n2\n", LINK("b", "nowhere"), DIR_("b", 0700));
	GIVES("d 4\n", LINK("d/b", "nowhere"), FILE_("d", 4));
	GIVES("a 1 n2\nb = a\n", LINK("b", "nowhere"), LINK("b", "a"), FILE_("a", 1));
	GIVES("a 1 n2\nb = a\n", LINK("b", "b"), LINK("b", "a"), FILE_("a", 1));
	/* numbers that are used again must not be taken for the place holder */
	GIVES("a 1\nb 2\nc 3 n2\nd = c\n", LINK("b", "x"), FILE_("b", 2), LINK("d", "c"),
		FILE_("a", 1), FILE_("c", 3));
	GIVES("b -> t\nc -> u\n", LINK("b", "x"), SYMLINK("b", "t"), LINK("c", "y"),
		SYMLINK("c", "u"));
}

static void a_forward_link_to_what_is_then_replaced_gets_the_last(void)
{
	GIVES("a 2 n2\nb = a\n", LINK("b", "a"), FILE_("a", 1), FILE_("a", 2));
}

static void a_forward_link_protects_its_name_from_its_own_layers_whiteouts(void)
{
	GIVES_IN_ANY_ORDER(3, "a 1 n2\nd/ 755 n2\nd/b = a\n", FILE_("d/b", 7), FILE_("d/o", 7),
		NEXT, LINK("d/b", "a"), FILE_("a", 1), WHITEOUT("d/.wh..wh..opq"),
		WHITEOUT("d/.wh.b"));
}

static void link_targets_follow_symlinks_but_the_last_part(void)
{
	GIVES("b 1 n2\nlib -> usr\nusr/ 755 n2\nusr/f = b\n", SYMLINK("lib", "usr"),
		FILE_("usr/f", 1), LINK("b", "lib/f"));
	GIVES("b -> usr n2\nlib = b\nusr/ 755 n2\n", SYMLINK("lib", "usr"), DIR_("usr", 0755),
		LINK("b", "./lib"));
	GIVES("b 1 n2\nlib -> usr\nusr/ 755 n2\nusr/f = b\n", LINK("b", "lib/f"),
		SYMLINK("lib", "usr"), FILE_("usr/f", 1));
}

/* --- random layers against a naive model: paths in a list --- */

enum { PATHS_MAX = 512 };

struct model_path {
	char path[32];
	bool dir;
	unsigned tag; /* mode or size */
};

struct model {
	struct model_path of[PATHS_MAX];
	size_t n;
};

static bool below(const char *path, const char *dir)
{
	size_t n = strlen(dir);

	return !n || (!strncmp(path, dir, n) && path[n] == '/');
}

static void model_hide(struct model *m, const char *path, bool itself)
{
	size_t kept = 0;

	for (size_t i = 0; i < m->n; i++)
		if (!below(m->of[i].path, path) && !(itself && !strcmp(m->of[i].path, path)))
			m->of[kept++] = m->of[i];
	m->n = kept;
}

static struct model_path *model_at(struct model *m, const char *path)
{
	for (size_t i = 0; i < m->n; i++)
		if (!strcmp(m->of[i].path, path))
			return &m->of[i];
	return NULL;
}

static void model_put(struct model *m, const char *path, bool dir, unsigned tag)
{
	char parent[32];
	struct model_path *p;

	for (const char *c = strchr(path, '/'); c; c = strchr(c + 1, '/')) {
		snprintf(parent, sizeof(parent), "%.*s", (int)(c - path), path);
		p = model_at(m, parent);
		if (!p || !p->dir) {
			model_hide(m, parent, true);
			m->of[m->n] = (struct model_path){ .dir = true, .tag = 0755 };
			strcpy(m->of[m->n++].path, parent);
		}
	}
	p = model_at(m, path);
	if (p && p->dir && dir) {
		p->tag = tag;
		return;
	}
	model_hide(m, path, true);
	m->of[m->n] = (struct model_path){ .dir = dir, .tag = tag };
	strcpy(m->of[m->n++].path, path);
}

static int compare_paths(const void *a, const void *b)
{
	return strcmp(((const struct model_path *)a)->path, ((const struct model_path *)b)->path);
}

static char *model_text(struct model *m)
{
	struct text text = { 0 };

	say(&text, "%s", "");
	qsort(m->of, m->n, sizeof(*m->of), compare_paths);
	for (size_t i = 0; i < m->n; i++) {
		unsigned subdirs = 0;

		for (size_t j = 0; j < m->n; j++)
			subdirs += m->of[j].dir && below(m->of[j].path, m->of[i].path) &&
				   !strchr(m->of[j].path + strlen(m->of[i].path) + 1, '/');
		if (m->of[i].dir)
			say(&text, "%s/ %o n%u\n", m->of[i].path, m->of[i].tag, 2 + subdirs);
		else
			say(&text, "%s %u\n", m->of[i].path, m->of[i].tag);
	}
	return text.p;
}

static void random_path(uint64_t *seed, char *path, size_t size)
{
	unsigned levels = 1 + random_below(seed, 4);
	size_t n = 0;

	for (unsigned i = 0; i < levels; i++)
		n += (size_t)snprintf(
			path + n, size - n, "%s%c", i ? "/" : "", 'a' + (int)random_below(seed, 3));
}

struct model_op {
	char path[32], entry_path[64];
	enum { OP_FILE, OP_DIR, OP_WHITEOUT, OP_OPAQUE } what;
	unsigned tag;
};

static void random_op(uint64_t *seed, struct model_op *op)
{
	static const unsigned kinds[] = { OP_FILE, OP_FILE, OP_FILE, OP_DIR, OP_DIR, OP_WHITEOUT,
		OP_WHITEOUT, OP_OPAQUE };
	const char *base;

	op->what = kinds[random_below(seed, 8)];
	op->tag = op->what == OP_DIR ? 0700 + random_below(seed, 64) : random_below(seed, 1000);
	random_path(seed, op->path, sizeof(op->path));
	strcpy(op->entry_path, op->path);
	base = strrchr(op->path, '/');
	base = base ? base + 1 : op->path;
	if (op->what == OP_WHITEOUT) {
		op->entry_path[base - op->path] = '\0';
		strcat(strcat(op->entry_path, ".wh."), base);
	}
	if (op->what == OP_OPAQUE)
		strcat(op->entry_path, "/.wh..wh..opq");
}

static struct entry op_entry(const struct model_op *op)
{
	return op->what == OP_DIR ? DIR_(op->entry_path, op->tag) : FILE_(op->entry_path, op->tag);
}

/* All that hides comes first in the model; in the layer it stands anywhere. */
static void random_layer(struct model *m, struct apply *a, uint64_t *seed, struct text *log)
{
	struct model_op ops[24];
	unsigned n = 1 + random_below(seed, 24);
	struct error *err = NULL;
	uint32_t file;

	for (unsigned i = 0; i < n; i++)
		random_op(seed, &ops[i]);
	for (unsigned i = 0; i < n; i++)
		if (ops[i].what >= OP_WHITEOUT)
			model_hide(m, ops[i].path, ops[i].what == OP_WHITEOUT);
	for (unsigned i = 0; i < n; i++)
		if (ops[i].what < OP_WHITEOUT)
			model_put(m, ops[i].path, ops[i].what == OP_DIR, ops[i].tag);
	CHECK(apply_begin_layer(a, &err) == 0);
	for (unsigned i = 0; i < n; i++) {
		struct entry e = op_entry(&ops[i]);

		CHECK(apply_entry(a, &e, &file, &err) == 0);
	}
	CHECK(apply_end_layer(a, &err) == 0);
	for (unsigned i = 0; i < n; i++)
		say(log, "# %s%s %o\n", ops[i].entry_path, ops[i].what == OP_DIR ? "/" : "",
			ops[i].tag);
	say(log, "# --\n");
}

static void random_layers_agree_with_a_naive_model(void)
{
	CLEANUP_FREE struct model *m = xzalloc(sizeof(*m));
	uint64_t seed = 6;

	for (int i = 0; i < 600 && !tap_failed_checks; i++) {
		CLEANUP_TREE struct tree t;
		CLEANUP_APPLY struct apply *a = apply_new(&t);
		struct text log = { 0 };

		tree_init(&t);
		m->n = 0;
		for (int layer = 0; layer < 5 && !tap_failed_checks; layer++) {
			CLEANUP_FREE char *want = NULL, *got = NULL;

			random_layer(m, a, &seed, &log);
			want = model_text(m);
			got = show_tree(&t, false);
			if (!CHECK(!strcmp(got, want)))
				printf("%s# saw:\n%s# instead of:\n%s", log.p, got, want);
		}
		free(log.p);
	}
}

static void layers_past_65535_are_an_error(void)
{
	CLEANUP_TREE struct tree t;
	CLEANUP_APPLY struct apply *a = apply_new(&t);
	CLEANUP_ERROR struct error *err = NULL;

	tree_init(&t);
	for (int i = 0; i < 65535; i++)
		if (!CHECK(apply_begin_layer(a, &err) == 0 && apply_end_layer(a, &err) == 0))
			return;
	CHECK(apply_begin_layer(a, &err) < 0 && err);
}

/* --- xattrs --- */

static char *set_text(const struct tree *t, const char *name)
{
	struct text text = { 0 };
	uint32_t id = tree_find(t, t->root, name, strlen(name));
	const struct tree_inode *in = tree_inode(t, id ? tree_name(t, id)->inode : t->root);

	say(&text, "%o", in->mode & 07777u);
	for (uint32_t i = 0; in->xattrs && i < xattr_set(&t->xattrs, in->xattrs)->n; i++) {
		const struct xattr_pair *p =
			xattr_pair(&t->xattrs, xattr_set(&t->xattrs, in->xattrs)->pairs[i]);

		say(&text, " %s:%u", p->name, p->value_len);
	}
	return text.p;
}

/* What is left of one entry's xattrs; what was said goes to *said, unless that is NULL. */
static char *kept_xattrs(struct entry e, const struct entry_xattr *x, size_t n, char **said)
{
	CLEANUP_TMPDIR char *dir = tmpdir_make();
	CLEANUP_FREE char *path = xasprintf("%s/stderr", dir);
	CLEANUP_TREE struct tree t;
	CLEANUP_ERROR struct error *err = NULL;
	int real = dup(STDERR_FILENO), fd = open(path, O_WRONLY | O_CREAT, 0600);
	struct entry again = e;

	dup2(fd, STDERR_FILENO);
	close(fd);
	tree_init(&t);
	e.xattrs = again.xattrs = x;
	e.n_xattrs = again.n_xattrs = n;
	again.path = "again";
	CHECK(apply_all(&t, (struct entry[]){ e, again }, 2, &err) == 0);
	fflush(stderr);
	dup2(real, STDERR_FILENO);
	close(real);
	if (said)
		*said = read_file(path);
	return set_text(&t, e.path);
}

static void xattrs_that_erofs_can_hold_are_kept(void)
{
	static const struct entry_xattr x[] = {
		{ "security.capability", "\1\0\0\2\0\4\0\0\0\0\0\0\0\0\0\0\0\0\0", 20 },
		{ "trusted.overlay.origin", "y", 1 },
		{ "user.a", "value", 5 },
		{ "user.b", "\0\xff", 2 },
	};
	CLEANUP_FREE char *said = NULL;
	CLEANUP_FREE char *got = kept_xattrs(FILE_("f", 1), x, 4, &said);

	CHECK_STR(got, "644 security.capability:20 trusted.overlay.origin:1 user.a:5 user.b:2");
	CHECK_STR(said, "");
}

static unsigned count_lines(const char *text, const char *part)
{
	unsigned n = 0;

	for (; (text = strstr(text, part)); text++)
		n++;
	return n;
}

static void xattrs_that_erofs_cannot_hold_are_named_once(void)
{
	CLEANUP_FREE char *big = xzalloc(65536);
	const struct entry_xattr x[] = {
		{ "com.apple.x", "1", 1 },
		{ "security.capability", "\1\0\0\2", 4 },
		{ "system.nfs4_acl", "1", 1 },
		{ "user.big", big, 65536 },
		{ "user.fits", big, 65535 },
	};
	CLEANUP_FREE char *said = NULL;
	CLEANUP_FREE char *got = kept_xattrs(FILE_("f", 1), x, 5, &said);

	CHECK_STR(got, "644 user.fits:65535");
	CHECK_U64(count_lines(said, "com.apple.x"), 1);
	CHECK_U64(count_lines(said, "security.capability"), 1);
	CHECK_U64(count_lines(said, "system.nfs4_acl"), 1);
	CHECK_U64(count_lines(said, "user.big"), 1);
	CHECK_U64(count_lines(said, "\n"), 4);
}

static void xattrs_of_users_are_for_files_and_directories(void)
{
	const struct entry_xattr x = { "user.a", "1", 1 };
	CLEANUP_FREE char *file = kept_xattrs(FILE_("f", 1), &x, 1, NULL);
	CLEANUP_FREE char *dir = kept_xattrs(DIR_("d", 0700), &x, 1, NULL);
	CLEANUP_FREE char *said = NULL, *fifo = kept_xattrs(FIFO("p"), &x, 1, &said);

	CHECK_STR(file, "644 user.a:1");
	CHECK_STR(dir, "700 user.a:1");
	CHECK_STR(fifo, "600");
	CHECK_U64(count_lines(said, "user.a"), 1);
}

static void an_inode_holds_262148_bytes_of_xattrs_and_no_more(void)
{
	CLEANUP_FREE char *big = xzalloc(65536);
	/* header 12; four entries of 4 + 1 + value, padded to 4 */
	struct entry_xattr x[] = {
		{ "user.a", big, 65531 },
		{ "user.b", big, 65531 },
		{ "user.c", big, 65531 },
		{ "user.d", big, 65523 },
		{ "user.e", big, 1 },
	};
	CLEANUP_FREE char *got = kept_xattrs(FILE_("f", 1), x, 4, NULL);
	CLEANUP_FREE char *over = NULL, *more = NULL;

	CHECK_STR(got, "644 user.a:65531 user.b:65531 user.c:65531 user.d:65523");
	over = kept_xattrs(FILE_("f", 1), x, 5, NULL);
	CHECK_STR(over, "644 user.a:65531 user.b:65531 user.c:65531 user.d:65523");
	x[3].value_len = 65524;
	more = kept_xattrs(FILE_("f", 1), x, 5, NULL);
	CHECK_STR(more, "644 user.a:65531 user.b:65531 user.c:65531 user.e:1");
}

#define ACL(...)  "\2\0\0\0" __VA_ARGS__
#define OBJ(t, p) t "\0" p "\0\xff\xff\xff\xff"
#define MINIMAL	  ACL(OBJ("\1", "\6") OBJ("\4", "\4") OBJ("\40", "\0"))
#define MASKED \
	ACL(OBJ("\1", "\7") "\2\0\7\0\11\0\0\0" OBJ("\4", "\1") OBJ("\20", "\6") OBJ("\40", "\4"))

static void an_access_acl_sets_the_mode_and_stays_if_it_says_more(void)
{
	struct entry f = FILE_("f", 1);
	const struct entry_xattr minimal = { "system.posix_acl_access", MINIMAL,
		sizeof(MINIMAL) - 1 };
	const struct entry_xattr masked = { "system.posix_acl_access", MASKED, sizeof(MASKED) - 1 };
	CLEANUP_FREE char *a = NULL, *b = NULL;

	f.mode = 04777;
	a = kept_xattrs(f, &minimal, 1, NULL);
	CHECK_STR(a, "4640");
	b = kept_xattrs(f, &masked, 1, NULL);
	CHECK_STR(b, "4764 system.posix_acl_access:44");
}

static void default_acls_are_for_directories_only(void)
{
	const struct entry_xattr x = { "system.posix_acl_default", MINIMAL, sizeof(MINIMAL) - 1 };
	CLEANUP_FREE char *said = NULL, *file = NULL, *dir = NULL;

	dir = kept_xattrs(DIR_("d", 0700), &x, 1, NULL);
	CHECK_STR(dir, "700 system.posix_acl_default:28");
	file = kept_xattrs(FILE_("f", 1), &x, 1, &said);
	CHECK_STR(file, "644");
	CHECK_U64(count_lines(said, "system.posix_acl_default"), 1);
}

static void acls_that_are_damaged_or_on_symlinks_are_named_and_left_out(void)
{
	const struct entry_xattr bad = { "system.posix_acl_access", "\2\0\0\0\1", 5 };
	const struct entry_xattr good = { "system.posix_acl_access", MASKED, sizeof(MASKED) - 1 };
	CLEANUP_FREE char *said = NULL, *said2 = NULL, *file = NULL, *link = NULL;

	file = kept_xattrs(FILE_("f", 1), &bad, 1, &said);
	CHECK_STR(file, "644");
	CHECK_U64(count_lines(said, "posix_acl_access"), 1);
	link = kept_xattrs(SYMLINK("l", "t"), &good, 1, &said2);
	CHECK_STR(link, "777");
	CHECK_U64(count_lines(said2, "posix_acl_access"), 1);
}

static void an_upper_directory_entry_replaces_the_xattrs(void)
{
	const struct entry_xattr x = { "user.a", "1", 1 };
	struct entry with = DIR_("d", 0755);

	with.xattrs = &x;
	with.n_xattrs = 1;
	GIVES("d/ 755 n2 xattrs\n", with);
	GIVES("d/ 700 n2\n", with, NEXT, DIR_("d", 0700));
	GIVES("d/ 755 n2 xattrs\n", DIR_("d", 0700), NEXT, with);
	GIVES("d/ 755 n2\nd/f 1\n", with, NEXT, FILE_("d/f", 1), WHITEOUT(".wh.d"));
}

static void warnings_about_strange_names_are_bounded(void)
{
	enum { N = 300 };
	static char names[N][16];
	struct entry_xattr x[N];
	CLEANUP_FREE char *said = NULL, *got = NULL;

	for (int i = 0; i < N; i++) {
		snprintf(names[i], sizeof(names[i]), "odd.%03d", i);
		x[i] = (struct entry_xattr){ names[i], "1", 1 };
	}
	got = kept_xattrs(FILE_("f", 1), x, N, &said);
	CHECK_STR(got, "644");
	CHECK_U64(count_lines(said, "odd.000"), 1);
	CHECK(count_lines(said, "\n") <= 101);
}

int main(void)
{
	RUN(entries_of_every_type_arrive_with_all_they_say);
	RUN(parents_that_no_entry_names_are_plain_and_of_1970);
	RUN(children_never_change_their_parents_mtime);
	RUN(names_never_leave_the_root);
	RUN(the_last_of_several_entries_of_one_name_wins);
	RUN(a_file_in_the_way_of_a_directory_gives_way);
	RUN(what_the_format_cannot_hold_is_an_error_that_names_the_path);
	RUN(a_directory_over_a_directory_keeps_its_children);
	RUN(other_type_changes_replace_what_was_there);
	RUN(symlinks_on_the_way_are_followed_at_the_end_they_are_not);
	RUN(a_directory_replaced_by_a_file_and_again_a_directory_is_new);
	RUN(a_whiteout_removes_a_lower_layers_name_with_all_below);
	RUN(a_whiteout_of_nothing_does_nothing);
	RUN(a_whiteout_hides_lower_layers_only_wherever_it_stands);
	RUN(a_whiteout_of_a_directory_takes_its_metadata_too);
	RUN(an_opaque_directory_hides_lower_children_and_keeps_itself);
	RUN(opaque_and_whiteouts_at_several_levels_in_any_order);
	RUN(the_next_layer_hides_what_this_one_protected);
	RUN(names_with_the_whiteout_prefix_never_survive);
	RUN(whiteouts_follow_symlinked_parents);
	RUN(one_name_of_a_hard_link_hidden_leaves_the_others);
	RUN(hard_links_share_one_inode);
	RUN(hard_links_may_come_before_their_targets);
	RUN(chains_of_hard_links_settle_in_any_order);
	RUN(a_chain_of_10000_forward_links_settles);
	RUN(hard_links_cross_layers);
	RUN(a_hard_link_takes_nothing_from_its_own_entry);
	RUN(hard_links_without_a_target_are_errors_that_name_the_path);
	RUN(cycles_of_hard_links_are_errors);
	RUN(a_place_holder_that_is_overwritten_is_forgotten);
	RUN(a_forward_link_to_what_is_then_replaced_gets_the_last);
	RUN(a_forward_link_protects_its_name_from_its_own_layers_whiteouts);
	RUN(link_targets_follow_symlinks_but_the_last_part);
	RUN(random_layers_agree_with_a_naive_model);
	RUN(layers_past_65535_are_an_error);
	RUN(xattrs_that_erofs_can_hold_are_kept);
	RUN(xattrs_that_erofs_cannot_hold_are_named_once);
	RUN(xattrs_of_users_are_for_files_and_directories);
	RUN(an_inode_holds_262148_bytes_of_xattrs_and_no_more);
	RUN(an_access_acl_sets_the_mode_and_stays_if_it_says_more);
	RUN(default_acls_are_for_directories_only);
	RUN(acls_that_are_damaged_or_on_symlinks_are_named_and_left_out);
	RUN(an_upper_directory_entry_replaces_the_xattrs);
	RUN(warnings_about_strange_names_are_bounded);
	return tap_done();
}
