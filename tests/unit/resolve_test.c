// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/* Paths resolved inside the tree: what filepath-securejoin would say, and never outside. */
#include "config.h"

#include "lib/tree/resolve.h"
#include "tests/unit/tap.h"
#include "tests/unit/tree_fixture.h"

static void fill(struct tree *t, const struct entry *e, size_t n)
{
	CLEANUP_APPLY struct apply *a = apply_new(t);
	struct error *err = NULL;
	uint32_t file;

	apply_begin_layer(a, &err);
	for (size_t i = 0; i < n; i++)
		if (!CHECK(apply_entry(a, &e[i], &file, &err) == 0))
			return;
	CHECK(apply_end_layer(a, &err) == 0);
}

/* "a/b" of an existing directory, then "| c d" for the parts that are missing. */
static char *where(const struct tree *t, const char *path, struct error **err)
{
	struct path_parts parts = { 0 };
	struct resolved at = { 0 };
	struct text text = { 0 };

	path_split(&parts, path);
	if (resolve_dir(t, &parts, parts.n, &at, err) == 0) {
		CLEANUP_FREE char *dir = tree_path(t, tree_inode(t, at.dir)->dir.self);

		say(&text, "%s", dir);
		for (size_t i = 0; i < at.missing.n; i++)
			say(&text, "%s%.*s", i ? " " : " | ", (int)at.missing.of[i].len,
				at.missing.of[i].name);
	}
	path_parts_free(&parts);
	path_parts_free(&at.missing);
	return text.p;
}

static void splits_to(const char *path, const char *want)
{
	struct path_parts parts = { 0 };
	struct text text = { 0 };

	say(&text, "%s", "");
	path_split(&parts, path);
	for (size_t i = 0; i < parts.n; i++)
		say(&text, "/%.*s", (int)parts.of[i].len, parts.of[i].name);
	CHECK_STR(text.p, want);
	free(text.p);
	path_parts_free(&parts);
}

static void paths_are_cleaned_by_their_words(void)
{
	splits_to("", "");
	splits_to("/", "");
	splits_to(".", "");
	splits_to("..", "");
	splits_to("../../..", "");
	splits_to("a", "/a");
	splits_to("./a/", "/a");
	splits_to("//a//b//", "/a/b");
	splits_to("a/./b/.", "/a/b");
	splits_to("a/../b", "/b");
	splits_to("a/b/../../../c", "/c");
	splits_to("/../a", "/a");
	splits_to("a/...", "/a/...");
	splits_to(".a/..b", "/.a/..b");
	splits_to(" / ", "/ / ");
}

static const struct entry scene[] = {
	DIR_("usr/lib/deep", 0755),
	DIR_("etc", 0755),
	FILE_("etc/file", 1),
	SYMLINK("lib", "usr/lib"),
	SYMLINK("abs", "/usr/lib"),
	SYMLINK("usr/up", "../etc"),
	SYMLINK("usr/out", "../../../../etc"),
	SYMLINK("usr/abs", "/etc"),
	SYMLINK("absout", "/../../etc"),
	SYMLINK("self", "self"),
	SYMLINK("ping", "pong"),
	SYMLINK("pong", "/ping"),
	SYMLINK("gone", "no/where"),
	SYMLINK("absgone", "/no"),
	SYMLINK("gonedot", "no/../usr/lib"),
	SYMLINK("chain", "chain2/deep"),
	SYMLINK("chain2", "abs"),
	SYMLINK("root", "/"),
	SYMLINK("dot", "."),
	SYMLINK("usr/lib/parent", ".."),
	SYMLINK("tofile", "etc/file"),
	SYMLINK("slashes", "//usr///lib//"),
};

static void resolution_follows_symlinks_inside_the_root(void)
{
	static const struct {
		const char *path, *want;
	} table[] = {
		{ "", "." },
		{ "usr/lib", "usr/lib" },
		{ "lib", "usr/lib" },
		{ "lib/deep", "usr/lib/deep" },
		{ "abs/deep", "usr/lib/deep" },
		{ "usr/up", "etc" },
		{ "usr/out", "etc" },
		{ "usr/abs", "etc" },
		{ "usr/abs/x", "etc | x" },
		{ "absout", "etc" },
		{ "chain", "usr/lib/deep" },
		{ "root", "." },
		{ "root/root/dot/lib", "usr/lib" },
		{ "lib/parent", "usr" },
		{ "lib/parent/up", "etc" },
		{ "slashes/deep", "usr/lib/deep" },
		/* by the words first: ".." takes away the link's name, not its target's parent */
		{ "lib/..", "." },
		{ "lib/../etc", "etc" },
		/* what is not there goes on by name */
		{ "no", ". | no" },
		{ "usr/no/where", "usr | no where" },
		{ "lib/new", "usr/lib | new" },
		{ "gone", ". | no where" },
		{ "gone/x", ". | no where x" },
		{ "absgone/x", ". | no x" },
		{ "gonedot", "usr/lib" },
		{ "gonedot/x", "usr/lib | x" },
		/* a file in the way is no directory */
		{ "etc/file", "etc | file" },
		{ "etc/file/x", "etc | file x" },
		{ "tofile/x", "etc | file x" },
	};
	CLEANUP_TREE struct tree t;

	tree_init(&t);
	fill(&t, scene, sizeof(scene) / sizeof(*scene));
	for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++) {
		CLEANUP_ERROR struct error *err = NULL;
		CLEANUP_FREE char *got = where(&t, table[i].path, &err);

		if (!CHECK_STR(got, table[i].want))
			printf("# for %s\n", table[i].path);
	}
}

static void loops_are_errors(void)
{
	static const char *const loops[] = { "self", "ping", "pong/x", "self/../ping/x" };
	CLEANUP_TREE struct tree t;

	tree_init(&t);
	fill(&t, scene, sizeof(scene) / sizeof(*scene));
	for (size_t i = 0; i < 4; i++) {
		CLEANUP_ERROR struct error *err = NULL;
		CLEANUP_FREE char *got = where(&t, loops[i], &err);

		CHECK(!got && err && strstr(err->msg, "symlinks"));
	}
}

static void exactly_255_symlinks_are_followed(void)
{
	CLEANUP_TREE struct tree t;
	char names[257][16];
	struct entry e[257] = { DIR_("end", 0755) };
	CLEANUP_ERROR struct error *err = NULL;
	CLEANUP_FREE char *got = NULL, *more = NULL;

	tree_init(&t);
	for (int i = 0; i < 257; i++)
		snprintf(names[i], sizeof(names[i]), "l%d", i);
	for (int i = 0; i < 256; i++)
		e[i + 1] = SYMLINK(names[i], i ? names[i - 1] : "end");
	fill(&t, e, 257);
	got = where(&t, "l254", &err);
	CHECK_STR(got, "end");
	more = where(&t, "l255", &err);
	CHECK(!more && err);
}

int main(void)
{
	RUN(paths_are_cleaned_by_their_words);
	RUN(resolution_follows_symlinks_inside_the_root);
	RUN(loops_are_errors);
	RUN(exactly_255_symlinks_are_followed);
	return tap_done();
}
