// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/* convert: an image in, an EROFS image out. */
#include "config.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/cmd.h"
#include "cmd/registry_options.h"
#include "cmd/sides.h"
#include "cmd/work.h"
#include "lib/base/interrupt.h"
#include "lib/base/log.h"
#include "lib/blob/encoder.h"
#include "lib/convert/convert.h"
#include "lib/convert/place.h"

static const char *platform, *compression = "zstd", *mount_from, *digestfile;
static bool all, keep_original, subject;
static struct upload_amount amount; /* what a registry got */
static uint64_t chunk_size, min_match, min_hole, frame_size = BLOB_FRAME_DEFAULT, jobs;

static const struct cmd_option options[] = {
	{ .name = "platform",
		.arg = "OS/ARCH[/VARIANT]",
		.string = &platform,
		.help = "which image of an index (default: this machine's)" },
	{ .name = "all", .flag = &all, .help = "convert every platform of an index" },
	{ .name = "all-platforms", .flag = &all, .help = "the same as --all" },
	{ .name = "compression",
		.arg = "none|zstd[:LEVEL]",
		.string = &compression,
		.help = "how blobs are stored (default: zstd:3)" },
	{ .name = "frame-size",
		.arg = "BYTES",
		.number = &frame_size,
		.min = BLOB_FRAME_MIN,
		.max = BLOB_FRAME_MAX,
		.help = "the largest zstd frame, uncompressed; multiple of 4K (default: 512K)" },
	{ .name = "chunk-size",
		.arg = "BYTES",
		.number = &chunk_size,
		.min = PLACE_CHUNK_MIN,
		.max = PLACE_CHUNK_MAX,
		.help = "granularity of chunk indexes; a power of two (default: 4K)" },
	{ .name = "min-match",
		.arg = "BYTES",
		.number = &min_match,
		.min = 4096,
		.max = 1 << 30,
		.help = "the shortest run of blocks that files share (default: 16K)" },
	{ .name = "min-hole",
		.arg = "BYTES",
		.number = &min_hole,
		.min = 4096,
		.max = 1 << 30,
		.help = "the shortest run of zeros that becomes a hole (default: 16K)" },
	{ .name = "keep-original",
		.flag = &keep_original,
		.help = "an index of the source's image, copied as it is, and the converted one" },
	{ .name = "subject",
		.flag = &subject,
		.help = "refer to the source's manifest as the subject of the converted one" },
	SIDES_OPTION_MOUNT_FROM(mount_from),
	SIDES_OPTION_DIGESTFILE(digestfile),
	{ .name = "jobs",
		.letter = 'j',
		.arg = "N",
		.number = &jobs,
		.min = 1,
		.max = WORK_JOBS_MAX,
		.help = "threads to use (default: one for each processor)" },
	{ 0 },
};

static json_t *result_as_json(
	const struct sides *s, const struct convert_result *r, const char *manifest)
{
	json_t *json = json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:I}", "manifest", manifest,
		"devices", (json_int_t)r->devices, "inodes", (json_int_t)r->inodes, "layerBytes",
		(json_int_t)r->layer_bytes, "uniqueBytes", (json_int_t)r->unique_bytes, "dataBytes",
		(json_int_t)r->data_bytes, "bootstrapBytes", (json_int_t)r->bootstrap_bytes);
	json_t *upload = sides_upload_as_json(s, &amount);

	if (upload)
		json_object_set_new(json, "upload", upload);
	return json;
}

static int print_result(const struct sides *s, const struct convert_result *r)
{
	char manifest[DIGEST_MAX_STR];

	digest_format(&r->manifest, manifest);
	log_debug("%" PRIu64 " inodes (%" PRIu64 " compact), %" PRIu64 " chunk indexes", r->inodes,
		r->compact_inodes, r->chunk_indexes);
	if (cmd_common.json)
		return cmd_print_json(result_as_json(s, r, manifest));
	printf("%s\n", manifest);
	return cmd_flush();
}

static struct place_rules rules(void)
{
	struct place_rules r = PLACE_DEFAULTS;

	if (chunk_size)
		r.chunk_size = chunk_size;
	if (min_match)
		r.min_match = min_match;
	if (min_hole)
		r.min_hole = min_hole;
	return r;
}

static int convert_chosen(const struct image_ref *ref, struct image_dest *dest,
	const struct platform *wanted, const struct convert_options *o,
	struct convert_result *result, struct error **err)
{
	CLEANUP_IMAGE_SOURCE struct image_source *src = image_source_open(ref, wanted, err);

	if (!src)
		return -1;
	log_debug("%s: %zu layers, %s; %u threads", ref->spec, src->n_layers, src->platform_text,
		o->jobs);
	return convert_image(src, dest, o, result, err);
}

static int convert_every(const struct image_ref *ref, struct image_dest *dest,
	const struct convert_options *o, struct convert_result *result, struct error **err)
{
	CLEANUP_IMAGE_LIST struct image_list list = { 0 };

	if (image_list_open(&list, ref, err) < 0)
		return -1;
	log_debug("%s: %zu images; %u threads", ref->spec, list.n, o->jobs);
	return convert_all(&list, dest, o, result, err);
}

static int convert(const struct sides *s, const struct platform *wanted,
	const struct blob_format *format, struct convert_result *result, struct error **err)
{
	const struct convert_options o = {
		.rules = rules(),
		.format = *format,
		.jobs = work_jobs(jobs),
		.keep_original = keep_original,
		.subject = subject,
		.progress = work_progress(),
	};
	CLEANUP_IMAGE_DEST struct image_dest *dest = sides_open_dest(s, mount_from, err);

	if (!dest || (all ? convert_every(&s->source, dest, &o, result, err)
			  : convert_chosen(&s->source, dest, wanted, &o, result, err)) < 0)
		return -1;
	image_dest_amount(dest, &amount);
	return sides_write_digest(digestfile, &result->manifest, err);
}

/* "none", "zstd" or "zstd:LEVEL". */
static int parse_compression(struct blob_format *format)
{
	const char *level = compression + 4;
	char *end;

	*format = (struct blob_format){ .frame_size = frame_size };
	if (strcmp(compression, "none") == 0)
		return CMD_DONE;
	format->zstd = true;
	format->level = ZSTD_LEVEL_DEFAULT;
	if (strcmp(compression, "zstd") == 0)
		return CMD_DONE;
	if (strncmp(compression, "zstd:", 5) == 0 && level[1] >= '0' && level[1] <= '9') {
		long n = strtol(level + 1, &end, 10);

		format->level = (int)n;
		if (!*end && n >= ZSTD_LEVEL_MIN && n <= ZSTD_LEVEL_MAX)
			return CMD_DONE;
	}
	return cmd_usage(&verb_convert,
		"--compression takes none, zstd or zstd:LEVEL with a level from %d to %d, not "
		"\"%s\"",
		ZSTD_LEVEL_MIN, ZSTD_LEVEL_MAX, compression);
}

static int check_options(struct blob_format *format, struct platform *wanted)
{
	struct error *e = NULL;

	if (parse_compression(format) != CMD_DONE)
		return CMD_USAGE;
	if (chunk_size & (chunk_size - 1))
		return cmd_usage(&verb_convert, "--chunk-size %" PRIu64 " is not a power of two",
			chunk_size);
	if (min_match % 4096 || min_hole % 4096 || frame_size % 4096)
		return cmd_usage(&verb_convert,
			"--min-match, --min-hole and --frame-size are multiples of 4096");
	if (platform && platform_parse(wanted, platform, &e) < 0)
		return cmd_usage_error(&verb_convert, e);
	if (platform && all)
		return cmd_usage(&verb_convert, "--platform and --all exclude each other");
	return CMD_DONE;
}

static int run(int argc, char **argv)
{
	CLEANUP_SIDES struct sides s = { 0 };
	struct blob_format format;
	struct convert_result result;
	struct platform wanted;
	struct error *e = NULL;
	int status = check_options(&format, &wanted);

	(void)argc;
	if (status == CMD_DONE)
		status = sides_get(&s, &verb_convert, argv, mount_from);
	if (status != CMD_DONE)
		return status;
	work_raise_file_limit(); /* each blob is an open file until all of them get their names */
	interrupt_catch();
	if (convert(&s, platform ? &wanted : NULL, &format, &result, &e) < 0) {
		status = cmd_fail(e);
		interrupt_die();
		return status;
	}
	return print_result(&s, &result);
}

const struct verb verb_convert = {
	.name = "convert",
	.synopsis = "[options] SOURCE DEST",
	.summary = "Convert an image of tar layers to EROFS.",
	.options = options,
	.group = &registry_options_two,
	.min_args = 2,
	.max_args = 2,
	.run = run,
};
