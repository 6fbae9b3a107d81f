// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cmd/cmd.h"
#include "cmd/registry_options.h"
#include "lib/base/text.h"
#include "lib/image/parts.h"
#include "lib/verify/summary.h"

#define PATH_COLUMN 48u /* what is left of 80: the end of a long path says more */

static const char *platform;
static bool raw, config;
static uint64_t n_files = 5;

static const struct cmd_option options[] = {
	{ .name = "raw", .flag = &raw, .help = "print the manifest, exactly as stored" },
	{ .name = "config", .flag = &config, .help = "print the config, exactly as stored" },
	{ .name = "files",
		.arg = "N",
		.number = &n_files,
		.max = 1000,
		.help = "how many of the largest files to list (default: 5)" },
	{ .name = "platform",
		.arg = "OS/ARCH[/VARIANT]",
		.string = &platform,
		.help = "which image of several (default: this machine's)" },
	{ 0 },
};

static json_t *layer_as_json(const struct image_layer *l)
{
	char digest[DIGEST_MAX_STR];

	return json_pack("{s:s, s:s, s:I}", "digest", digest_format(&l->digest, digest),
		"mediaType", l->media_type, "size", (json_int_t)l->size);
}

/* All blocks but the constant first one. */
static uint64_t data_bytes(const struct erofs_device_slot *slot)
{
	return slot->blocks ? (uint64_t)(slot->blocks - 1) << EROFS_BLOCK_BITS : 0;
}

static json_t *sharing_as_json(const struct summary *s, unsigned i)
{
	const struct sharing_device *d = sharing_device(s->sharing, i);

	return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I}", "files", (json_int_t)d->files,
		"mappedBytes", (json_int_t)d->mapped, "usedBytes", (json_int_t)d->used,
		"unusedBytes", (json_int_t)(data_bytes(&s->slots[i]) - d->used), "savedWithinBytes",
		(json_int_t)d->within, "savedAcrossBytes", (json_int_t)d->across);
}

static json_t *devices_as_json(const struct summary *s)
{
	json_t *devices = json_array();

	for (unsigned i = 0; i < s->found.n_devices; i++) {
		const struct image_layer *l = s->found.devices[i];
		json_t *d = json_pack("{s:i}", "id", (int)i + 1);

		json_object_update_new(d, layer_as_json(l));
		/* raw: the bytes are the image */
		json_object_set_new(d, "uncompressedSize",
			json_integer(
				(json_int_t)((uint64_t)s->slots[i].blocks << EROFS_BLOCK_BITS)));
		json_object_set_new(d, "blocks", json_integer(s->slots[i].blocks));
		json_object_update_new(d, sharing_as_json(s, i));
		json_array_append_new(devices, d);
	}
	return devices;
}

static json_t *runs_as_json(const struct summary *s)
{
	json_t *classes = json_array();

	for (unsigned i = 0; i < SUMMARY_RUN_CLASSES; i++) {
		json_t *c = json_pack("{s:I, s:I}", "from", (json_int_t)summary_run_classes[i],
			"files", (json_int_t)s->files_by_runs[i]);

		if (i + 1 < SUMMARY_RUN_CLASSES)
			json_object_set_new(
				c, "to", json_integer((json_int_t)summary_run_classes[i + 1] - 1));
		json_array_append_new(classes, c);
	}
	return classes;
}

static json_t *files_as_json(const struct top_files *top)
{
	json_t *files = json_array();

	for (size_t i = 0; i < top->n; i++) {
		const struct top_file *f = &top->v[i];

		json_array_append_new(
			files, json_pack("{s:s, s:I, s:I, s:I}", "path", f->path, "size",
				       (json_int_t)f->size, "sharedBytes", (json_int_t)f->shared,
				       "runs", (json_int_t)f->runs));
	}
	return files;
}

static json_t *summary_as_json(const struct summary *s, const struct image_source *src)
{
	char digest[DIGEST_MAX_STR];
	const struct {
		const char *key;
		uint64_t value;
	} numbers[] = {
		{ "files", s->tree.files },
		{ "directories", s->tree.directories },
		{ "symlinks", s->tree.symlinks },
		{ "others", s->tree.others },
		{ "hardLinks", s->tree.hard_links },
		{ "inodes", s->tree.inodes },
		{ "compactInodes", s->tree.compact_inodes },
		{ "chunkIndexes", s->tree.chunk_indexes },
		{ "runs", s->tree.runs },
		{ "holes", s->holes },
		{ "metadataBytes", s->bootstrap_bytes },
		{ "chunkIndexBytes", s->tree.chunk_indexes * EROFS_CHUNK_INDEX_SIZE },
		{ "logicalBytes", s->tree.logical_bytes },
		{ "holeBytes", s->hole_bytes },
		{ "mappedBytes", s->tree.mapped_bytes },
		{ "usedBytes", s->data.used },
		{ "savedWithinBytes", s->data.within },
		{ "savedAcrossBytes", s->data.across },
		{ "storedBytes", s->stored_bytes },
		{ "uniqueBytes", s->unique_bytes },
	};
	json_t *json = json_pack("{s:s, s:s, s:o, s:o}", "manifest",
		digest_format(&src->manifest_digest, digest), "platform", src->platform_text,
		"bootstrap", layer_as_json(s->found.bootstrap), "devices", devices_as_json(s));

	for (size_t i = 0; i < sizeof(numbers) / sizeof(*numbers); i++)
		json_object_set_new(
			json, numbers[i].key, json_integer((json_int_t)numbers[i].value));
	json_object_set_new(json, "filesByRuns", runs_as_json(s));
	json_object_set_new(json, "largestFiles", files_as_json(&s->largest));
	json_object_set_new(json, "mostSharedFiles", files_as_json(&s->most_shared));
	return json;
}

static const char *short_digest(const struct image_layer *l, char buf[static DIGEST_MAX_STR])
{
	digest_hex(&l->digest, buf);
	buf[12] = '\0';
	return buf;
}

static double percent(uint64_t part, uint64_t whole)
{
	return whole ? 100.0 * (double)part / (double)whole : 0;
}

static void print_head(const struct summary *s, const struct image_source *src)
{
	char digest[DIGEST_MAX_STR], size[TEXT_NUMBER_MAX], exact[TEXT_NUMBER_MAX];
	const struct image_layer *l = s->found.bootstrap;

	printf("%s\n\n", src->ref.spec);
	printf("Manifest %s\n", digest_format(&src->manifest_digest, digest));
	printf("Platform %s\n\n", src->platform_text);
	printf("Bootstrap     %s  %s of metadata (%s bytes)\n", short_digest(l, digest),
		text_bytes(l->size, size), text_count(l->size, exact));
}

static void print_bytes(uint64_t n)
{
	char text[TEXT_NUMBER_MAX];

	printf(" %8s", text_bytes(n, text));
}

static void print_devices(const struct summary *s)
{
	char digest[DIGEST_MAX_STR];

	if (!s->found.n_devices)
		return;
	printf("\nData blobs                                                  saved    saved\n"
	       "device  digest         stored     size   unused referred   within   across "
	       "files\n");
	for (unsigned i = 0; i < s->found.n_devices; i++) {
		const struct sharing_device *d = sharing_device(s->sharing, i);

		printf("%6u  %-12s", i + 1, short_digest(s->found.devices[i], digest));
		print_bytes(s->found.devices[i]->size);
		print_bytes((uint64_t)s->slots[i].blocks << EROFS_BLOCK_BITS);
		print_bytes(data_bytes(&s->slots[i]) - d->used);
		print_bytes(d->mapped);
		print_bytes(d->within);
		print_bytes(d->across);
		printf(" %4.0f%%\n", percent(d->files, s->tree.files));
	}
}

static void print_count(const char *what, uint64_t n)
{
	char text[TEXT_NUMBER_MAX];

	printf("  %-13s %12s", what, text_count(n, text));
}

static void print_tree(const struct summary *s)
{
	const struct tree_sums *t = &s->tree;

	printf("\nTree\n");
	print_count("files", t->files);
	print_count("   directories", t->directories);
	printf("\n");
	print_count("symlinks", t->symlinks);
	print_count("   others", t->others);
	printf("\n");
	print_count("hard links", t->hard_links);
	print_count("   inodes", t->inodes);
	printf("  (%.0f%% compact)\n", percent(t->compact_inodes, t->inodes));
	print_count("chunk indexes", t->chunk_indexes);
	printf("  (%.0f%% of the metadata)\n",
		percent(t->chunk_indexes * EROFS_CHUNK_INDEX_SIZE, s->bootstrap_bytes));
	print_count("runs", t->runs);
	print_count("   holes", s->holes);
	printf("\n");
}

/* "3-4", or "65+" for the last. */
static const char *class_name(unsigned class, char buf[static TEXT_NUMBER_MAX])
{
	uint64_t from = summary_run_classes[class];

	if (class + 1 == SUMMARY_RUN_CLASSES)
		snprintf(buf, TEXT_NUMBER_MAX, "%" PRIu64 "+", from);
	else if (summary_run_classes[class + 1] == from + 1)
		snprintf(buf, TEXT_NUMBER_MAX, "%" PRIu64, from);
	else
		snprintf(buf, TEXT_NUMBER_MAX, "%" PRIu64 "-%" PRIu64, from,
			summary_run_classes[class + 1] - 1);
	return buf;
}

static void print_runs(const struct summary *s)
{
	char text[TEXT_NUMBER_MAX];

	printf("\nRuns in a file");
	for (unsigned i = 0; i < SUMMARY_RUN_CLASSES; i++)
		printf("%9s", class_name(i, text));
	printf("\n  files       ");
	for (unsigned i = 0; i < SUMMARY_RUN_CLASSES; i++)
		printf("%9s", text_count(s->files_by_runs[i], text));
	printf("\n");
}

static void print_amount(const char *what, uint64_t n, const char *meaning)
{
	char size[TEXT_NUMBER_MAX], exact[TEXT_NUMBER_MAX];

	printf("  %-8s %9s  %19s  %s\n", what, text_bytes(n, size), text_count(n, exact), meaning);
}

static void print_data(const struct summary *s)
{
	const struct sharing_device *d = &s->data;

	printf("\nData                           bytes\n");
	print_amount("logical", s->tree.logical_bytes, "sizes of all files");
	print_amount("holes", s->hole_bytes, "of these, zeros that lie nowhere");
	print_amount("mapped", d->mapped, "4 KiB blocks that files refer to");
	print_amount("within", d->within, "saved: again in the same data blob");
	print_amount("across", d->across, "saved: in a lower layer's data blob");
	print_amount("unique", s->unique_bytes, "4 KiB blocks in the data blobs");
	print_amount("unused", s->unique_bytes - d->used, "of these, referred to no more");
	print_amount("stored", s->stored_bytes, "data blobs and bootstrap");
	printf("\nDeduplication saves %.1f%% of the mapped data.\n",
		percent(d->within + d->across, d->mapped));
}

static void print_files(const char *title, const struct top_files *top)
{
	char runs[TEXT_NUMBER_MAX];

	if (!top->n)
		return;
	printf("\n%s\n     size   shared     runs\n", title);
	for (size_t i = 0; i < top->n; i++) {
		const char *path = top->v[i].path;
		size_t len = strlen(path);
		bool cut = len > PATH_COLUMN;

		print_bytes(top->v[i].size);
		print_bytes(top->v[i].shared);
		printf("  %7s  %s%s\n", text_count(top->v[i].runs, runs), cut ? "..." : "",
			cut ? path + len - (PATH_COLUMN - 3) : path);
	}
}

static int print_summary(const struct summary *s, const struct image_source *src)
{
	if (cmd_common.json)
		return cmd_print_json(summary_as_json(s, src));
	print_head(s, src);
	print_devices(s);
	print_tree(s);
	print_runs(s);
	print_data(s);
	print_files("Largest files", &s->largest);
	print_files("Most shared files", &s->most_shared);
	return cmd_flush();
}

/* The manifest's or the config's bytes: nothing added, not even a newline. */
static int print_stored(struct image_source *src)
{
	CLEANUP_FREE char *bytes = NULL;
	struct error *err = NULL;
	size_t size;

	bytes = raw ? parts_read_manifest(src, &size, &err) : parts_read_config(src, &size, &err);
	if (!bytes)
		return cmd_fail(err);
	fwrite(bytes, 1, size, stdout);
	return cmd_flush();
}

static int run(int argc, char **argv)
{
	CLEANUP_IMAGE_SOURCE struct image_source *src = NULL;
	CLEANUP_SUMMARY struct summary summary = { 0 };
	struct registry_options registry;
	struct platform wanted;
	struct error *err = NULL;

	if (raw && config)
		return cmd_usage(&verb_inspect, "--raw and --config exclude each other");
	if (cmd_common.json && (raw || config))
		return cmd_usage(&verb_inspect, "--json and %s exclude each other",
			raw ? "--raw" : "--config");
	if (platform && platform_parse(&wanted, platform, &err) < 0)
		return cmd_usage_error(&verb_inspect, err);
	if (registry_options_get(&verb_inspect, REGISTRY_ONLY, &registry) != CMD_DONE)
		return CMD_USAGE;
	src = parts_open_image(argv[0], &registry, platform ? &wanted : NULL, &err);
	if (!src)
		return cmd_fail(err);
	if (raw || config)
		return print_stored(src);
	if (summary_make(&summary, src, n_files, &err) < 0)
		return cmd_fail(err);
	return print_summary(&summary, src);
}

const struct verb verb_inspect = {
	.name = "inspect",
	.synopsis = "[options] IMAGE",
	.summary = "Show what is inside a converted image, and what was saved.",
	.options = options,
	.group = &registry_options_one,
	.min_args = 1,
	.max_args = 1,
	.run = run,
};
