// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include <inttypes.h>
#include <stdio.h>

#include "cmd/cmd.h"
#include "lib/base/text.h"
#include "lib/verify/parts.h"
#include "lib/verify/summary.h"

static const char *platform;
static bool raw, config;

static const struct cmd_option options[] = {
	{ .name = "raw", .flag = &raw, .help = "print the manifest, exactly as stored" },
	{ .name = "config", .flag = &config, .help = "print the config, exactly as stored" },
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

static json_t *devices_as_json(const struct summary *s)
{
	json_t *devices = json_array();

	for (size_t i = 0; i < s->found.n_devices; i++) {
		const struct image_layer *l = s->found.devices[i];
		json_t *d = json_pack("{s:I}", "id", (json_int_t)i + 1);

		json_object_update_new(d, layer_as_json(l));
		/* raw: the bytes are the image */
		json_object_set_new(d, "uncompressedSize", json_integer((json_int_t)l->size));
		json_object_set_new(d, "blocks", json_integer(s->slots[i].blocks));
		json_array_append_new(devices, d);
	}
	return devices;
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
		{ "logicalBytes", s->tree.logical_bytes },
		{ "mappedBytes", s->tree.mapped_bytes },
		{ "storedBytes", s->stored_bytes },
		{ "uniqueBytes", s->unique_bytes },
	};
	json_t *json = json_pack("{s:s, s:s, s:o, s:o}", "manifest",
		digest_format(&src->manifest_digest, digest), "platform", src->platform_text,
		"bootstrap", layer_as_json(s->found.bootstrap), "devices", devices_as_json(s));

	for (size_t i = 0; i < sizeof(numbers) / sizeof(*numbers); i++)
		json_object_set_new(
			json, numbers[i].key, json_integer((json_int_t)numbers[i].value));
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
	printf("Bootstrap    %s  %s (%s bytes)\n", short_digest(l, digest),
		text_bytes(l->size, size), text_count(l->size, exact));
}

static void print_devices(const struct summary *s)
{
	char digest[DIGEST_MAX_STR], size[TEXT_NUMBER_MAX], blocks[TEXT_NUMBER_MAX];

	if (!s->found.n_devices)
		return;
	printf("\nDevice       Digest              Size         Blocks\n");
	for (size_t i = 0; i < s->found.n_devices; i++)
		printf("%6zu       %-12s  %10s  %13s\n", i + 1,
			short_digest(s->found.devices[i], digest),
			text_bytes(s->found.devices[i]->size, size),
			text_count(s->slots[i].blocks, blocks));
}

static void print_count(const char *what, uint64_t n)
{
	char text[TEXT_NUMBER_MAX];

	printf("  %-13s %12s", what, text_count(n, text));
}

static void print_tree(const struct tree_sums *t)
{
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
	print_count("   runs", t->runs);
	printf("\n");
}

static void print_amount(const char *what, uint64_t n, const char *meaning)
{
	char size[TEXT_NUMBER_MAX], exact[TEXT_NUMBER_MAX];

	printf("  %-9s %10s  %20s  %s\n", what, text_bytes(n, size), text_count(n, exact), meaning);
}

static void print_data(const struct summary *s)
{
	uint64_t mapped = s->tree.mapped_bytes;
	/* a device may hold blocks that no file of the final tree refers to */
	uint64_t saved = mapped > s->unique_bytes ? mapped - s->unique_bytes : 0;

	printf("\nData                         bytes\n");
	print_amount("logical", s->tree.logical_bytes, "sizes of all files");
	print_amount("mapped", mapped, "4 KiB blocks that files refer to");
	print_amount("unique", s->unique_bytes, "4 KiB blocks in the devices");
	print_amount("stored", s->stored_bytes, "devices and bootstrap");
	printf("\nDeduplication saves %.1f%% of the mapped data.\n", percent(saved, mapped));
}

static int print_summary(const struct summary *s, const struct image_source *src)
{
	if (cmd_common.json)
		return cmd_print_json(summary_as_json(s, src));
	print_head(s, src);
	print_devices(s);
	print_tree(&s->tree);
	print_data(s);
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
	struct platform wanted;
	struct error *err = NULL;

	if (raw && config)
		return cmd_usage(&verb_inspect, "--raw and --config exclude each other");
	if (platform && platform_parse(&wanted, platform, &err) < 0)
		return cmd_usage_error(&verb_inspect, err);
	src = parts_open_image(argv[0], platform ? &wanted : NULL, &err);
	if (!src)
		return cmd_fail(err);
	if (raw || config)
		return print_stored(src);
	if (summary_make(&summary, src, &err) < 0)
		return cmd_fail(err);
	return print_summary(&summary, src);
}

const struct verb verb_inspect = {
	.name = "inspect",
	.synopsis = "[options] IMAGE",
	.summary = "Show what is inside a converted image, and what was saved.",
	.options = options,
	.min_args = 1,
	.max_args = 1,
	.run = run,
};
