/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* A conversion from end to end: tar layers in, data blobs and a bootstrap out. */
#ifndef CONVERT_CONVERT_H
#define CONVERT_CONVERT_H

#include <stdint.h>

#include "lib/base/digest.h"
#include "lib/base/progress.h"
#include "lib/blob/writer.h"
#include "lib/convert/place.h"
#include "lib/image/dest.h"
#include "lib/image/source.h"

struct convert_options {
	struct place_rules rules; /* chunk_size from PLACE_CHUNK_MIN to PLACE_CHUNK_MAX */
	struct blob_format format;
	unsigned jobs; /* threads; 1 and up */
	bool keep_original; /* an index that has the source's manifest, too */
	bool subject; /* the manifest refers to the source's */
	enum progress_mode progress;
};

struct convert_result {
	struct digest manifest; /* or index, of several images; the numbers are their sums */
	size_t devices;
	uint64_t inodes, compact_inodes, chunk_indexes;
	uint64_t layer_bytes; /* of the uncompressed layers */
	uint64_t unique_bytes; /* of the data devices, uncompressed */
	uint64_t data_bytes; /* of the data blobs, as stored */
	uint64_t bootstrap_bytes; /* as stored */
};

/*
 * Convert src into dest, which gets everything or nothing. The result does not depend on jobs,
 * time, place or process. Interruptible (lib/base/interrupt.h).
 */
int convert_image(struct image_source *src, struct image_dest *dest,
	const struct convert_options *options, struct convert_result *result, struct error **err);

/* The same for several, which get an index in their order. */
int convert_all(const struct image_list *list, struct image_dest *dest,
	const struct convert_options *options, struct convert_result *result, struct error **err);

#endif
