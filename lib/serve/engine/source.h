/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* Where a blob's bytes come from, as stored: a registry, its mirrors, a layout on disk. */
#ifndef SERVE_SOURCE_H
#define SERVE_SOURCE_H

#include <stddef.h>
#include <stdint.h>

#include "lib/base/digest.h"
#include "lib/base/error.h"

/*
 * One kind of source; embedded in its own structure. Functions may be called on any thread, and
 * block.
 */
struct blob_source {
	/* All of [offset, offset + len) of the blob. The bytes are not trusted. */
	int (*read)(struct blob_source *s, const struct digest *blob, uint64_t offset, void *buf,
		size_t len, struct error **err);
	/* What read() last gave on this thread was not the blob: do not ask there next. May be
	 * NULL.
	 */
	void (*blame)(struct blob_source *s);
	void (*close)(struct blob_source *s); /* frees s too */
	/* Bytes that are worth fetching though nobody asked, when that spares a request of its own.
	 */
	size_t gap;
};

#endif
