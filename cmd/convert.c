// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/* convert: an image in, an EROFS image out. */
#include "config.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cmd/cmd.h"
#include "cmd/work.h"
#include "lib/base/interrupt.h"
#include "lib/base/log.h"
#include "lib/convert/convert.h"
#include "lib/convert/place.h"

static const char *platform, *compression = "none";
static bool all;
static uint64_t chunk_size, min_match, min_hole, jobs;

static const struct cmd_option options[] = {
	{ .name = "platform",
		.arg = "OS/ARCH[/VARIANT]",
		.string = &platform,
		.help = "which image of an index (default: this machine's)" },
	{ .name = "all", .flag = &all, .help = "convert every platform of an index" },
	{ .name = "all-platforms", .flag = &all, .help = "the same as --all" },
	{ .name = "compression",
		.arg = "none",
		.string = &compression,
		.help = "how data blobs are stored (default: none)" },
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
	{ .name = "jobs",
		.letter = 'j',
		.arg = "N",
		.number = &jobs,
		.min = 1,
		.max = WORK_JOBS_MAX,
		.help = "threads to use (default: one for each processor)" },
	{ 0 },
};

static int print_result(const struct convert_result *r)
{
	char manifest[DIGEST_MAX_STR];

	digest_format(&r->manifest, manifest);
	log_debug("%" PRIu64 " inodes (%" PRIu64 " compact), %" PRIu64 " chunk indexes", r->inodes,
		r->compact_inodes, r->chunk_indexes);
	if (cmd_common.json)
		return cmd_print_json(json_pack("{s:s, s:I, s:I, s:I, s:I, s:I}", "manifest",
			manifest, "devices", (json_int_t)r->devices, "inodes",
			(json_int_t)r->inodes, "layerBytes", (json_int_t)r->layer_bytes,
			"dataBytes", (json_int_t)r->data_bytes, "bootstrapBytes",
			(json_int_t)r->bootstrap_bytes));
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

static int convert(const char *source, const char *destination, const struct platform *wanted,
	struct convert_result *result, struct error **err)
{
	const struct convert_options o = {
		.rules = rules(),
		.jobs = work_jobs(jobs),
		.progress = work_progress(),
	};
	CLEANUP_IMAGE_REF struct image_ref src_ref = { 0 }, dest_ref = { 0 };
	CLEANUP_IMAGE_DEST struct image_dest *dest = NULL;

	if (image_ref_parse(&src_ref, source, err) < 0 ||
		image_ref_parse(&dest_ref, destination, err) < 0)
		return -1;
	dest = image_dest_open(&dest_ref, err);
	if (!dest)
		return -1;
	return all ? convert_every(&src_ref, dest, &o, result, err)
		   : convert_chosen(&src_ref, dest, wanted, &o, result, err);
}

static int run(int argc, char **argv)
{
	struct convert_result result;
	struct platform wanted;
	struct error *e = NULL;

	if (strcmp(compression, "none") != 0)
		return cmd_usage(&verb_convert,
			"--compression %s: this version writes raw blobs only, --compression none",
			compression);
	if (chunk_size & (chunk_size - 1))
		return cmd_usage(&verb_convert, "--chunk-size %" PRIu64 " is not a power of two",
			chunk_size);
	if (min_match % 4096 || min_hole % 4096)
		return cmd_usage(&verb_convert, "--min-match and --min-hole are multiples of 4096");
	if (platform && platform_parse(&wanted, platform, &e) < 0)
		return cmd_usage_error(&verb_convert, e);
	if (platform && all)
		return cmd_usage(&verb_convert, "--platform and --all exclude each other");
	work_raise_file_limit(); /* each blob is an open file until all of them get their names */
	interrupt_catch();
	if (convert(argv[0], argv[1], platform ? &wanted : NULL, &result, &e) < 0) {
		int status = cmd_fail(e);

		interrupt_die();
		return status;
	}
	return print_result(&result);
}

const struct verb verb_convert = {
	.name = "convert",
	.synopsis = "[options] SOURCE DEST",
	.summary = "Convert an image of tar layers to EROFS.",
	.options = options,
	.min_args = 2,
	.max_args = 2,
	.run = run,
};
