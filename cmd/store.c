// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/* store: what the node holds of images, and making room. */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "cmd/cmd.h"
#include "lib/base/mem.h"
#include "lib/base/text.h"
#include "lib/store/store.h"

enum { TIME_MAX = 32 };

static const char *where;
static uint64_t keep = UINT64_MAX; /* not given */

static const struct cmd_option options[] = {
	{ .name = "store",
		.arg = "DIR",
		.string = &where,
		.help = "the store (default: /var/lib/erofs-convert, or the user's own)" },
	{ .name = "keep",
		.arg = "BYTES",
		.number = &keep,
		.max = INT64_MAX,
		.help = "prune: stop once the store takes no more than this (default: 0)" },
	{ 0 },
};

/* A path may hold any bytes; JSON may not. */
static json_t *json_path(const char *path)
{
	CLEANUP_FREE char *printable = NULL;
	json_t *json = json_string(path);

	if (json)
		return json;
	printable = text_printable(path, strlen(path));
	return json_string(printable);
}

/* A store that was never used is an empty one, and need not be made to say so. */
static bool is_missing(const char *dir)
{
	struct stat st;

	return stat(dir, &st) < 0 && errno == ENOENT;
}

/* --- ls --- */

static bool is_damaged(const struct store_entry *e)
{
	return !e->n_frames && e->cached;
}

static json_t *entry_as_json(const struct store_entry *e)
{
	char digest[DIGEST_MAX_STR], used[TIME_MAX];
	struct tm tm;

	strftime(used, sizeof(used), "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&e->used.tv_sec, &tm));
	return json_pack("{s:s, s:I, s:I, s:i, s:i, s:b, s:b, s:b, s:s}", "digest",
		digest_format(&e->digest, digest), "size", (json_int_t)e->size, "cachedBytes",
		(json_int_t)e->cached, "frames", (int)e->n_frames, "presentFrames", (int)e->present,
		"complete", !is_damaged(e) && e->present == e->n_frames, "damaged", is_damaged(e),
		"inUse", e->in_use, "used", used);
}

static json_t *list_as_json(
	const char *dir, const struct store_entry *list, size_t n, uint64_t cached)
{
	json_t *blobs = json_array();

	for (size_t i = 0; i < n; i++)
		json_array_append_new(blobs, entry_as_json(&list[i]));
	return json_pack("{s:o, s:I, s:o}", "store", json_path(dir), "cachedBytes",
		(json_int_t)cached, "blobs", blobs);
}

static const char *how_full(const struct store_entry *e, char buf[static TEXT_NUMBER_MAX])
{
	if (is_damaged(e))
		return "damaged";
	if (e->present == e->n_frames)
		return "100 %";
	/* less than 100 as long as a frame is missing */
	snprintf(buf, TEXT_NUMBER_MAX, "%u %%",
		(unsigned)((uint64_t)e->present * 100 / e->n_frames));
	return buf;
}

static void print_entry(const struct store_entry *e)
{
	char digest[DIGEST_MAX_STR], size[TEXT_NUMBER_MAX], cached[TEXT_NUMBER_MAX];
	char full[TEXT_NUMBER_MAX], used[TIME_MAX];
	struct tm tm;

	strftime(used, sizeof(used), "%Y-%m-%d %H:%M", localtime_r(&e->used.tv_sec, &tm));
	printf("%-71s  %8s  %8s  %7s  %s%s\n", digest_format(&e->digest, digest),
		text_bytes(e->size, size), text_bytes(e->cached, cached), how_full(e, full), used,
		e->in_use ? "  in use" : "");
}

static void print_table(const struct store_entry *list, size_t n, uint64_t cached)
{
	char count[TEXT_NUMBER_MAX], bytes[TEXT_NUMBER_MAX];

	if (n)
		printf("%-71s  %8s  %8s  %7s  %s\n", "BLOB", "SIZE", "ON DISK", "PRESENT",
			"LAST USED");
	for (size_t i = 0; i < n; i++)
		print_entry(&list[i]);
	printf("%s blob%s, %s on disk\n", text_count(n, count), n == 1 ? "" : "s",
		text_bytes(cached, bytes));
}

static int list_store(const char *dir, struct error **err)
{
	CLEANUP_FREE struct store_entry *list = NULL;
	CLEANUP_STORE struct store *s = NULL;
	uint64_t cached = 0;
	size_t n = 0;

	if (!is_missing(dir)) {
		s = store_open(dir, 0, err);
		if (!s || store_list(s, &list, &n, err) < 0)
			return -1;
	}
	for (size_t i = 0; i < n; i++)
		cached += list[i].cached;
	if (cmd_common.json)
		return cmd_print_json(list_as_json(dir, list, n, cached));
	print_table(list, n, cached);
	return cmd_flush();
}

/* --- prune --- */

static int prune_store(const char *dir, struct error **err)
{
	char count[TEXT_NUMBER_MAX], bytes[TEXT_NUMBER_MAX];
	CLEANUP_STORE struct store *s = NULL;
	uint64_t freed = 0;
	size_t n = 0;

	if (!is_missing(dir)) {
		s = store_open(dir, 0, err);
		if (!s || store_prune(s, keep == UINT64_MAX ? 0 : keep, &freed, &n, err) < 0)
			return -1;
	}
	if (cmd_common.json)
		return cmd_print_json(json_pack("{s:I, s:I}", "evictedBlobs", (json_int_t)n,
			"freedBytes", (json_int_t)freed));
	printf("%s blob%s evicted, %s freed\n", text_count(n, count), n == 1 ? "" : "s",
		text_bytes(freed, bytes));
	return cmd_flush();
}

static int run(int argc, char **argv)
{
	bool prune = strcmp(argv[0], "prune") == 0;
	CLEANUP_FREE char *dir = NULL;
	struct error *err = NULL;
	int status;

	if (!prune && strcmp(argv[0], "ls") != 0)
		return cmd_usage(
			&verb_store, "what to do with the store: ls or prune, not \"%s\"", argv[0]);
	if (!prune && keep != UINT64_MAX)
		return cmd_usage(&verb_store, "--keep is for prune");
	dir = where ? xstrdup(where) : store_default_dir(&err);
	if (!dir)
		return cmd_fail(err);
	status = prune ? prune_store(dir, &err) : list_store(dir, &err);
	return err ? cmd_fail(err) : status;
}

const struct verb verb_store = {
	.name = "store",
	.synopsis = "ls|prune [options]",
	.summary = "List what the node's store holds, or make room in it.",
	.options = options,
	.min_args = 1,
	.max_args = 1,
	.run = run,
};
