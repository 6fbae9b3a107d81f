/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* Where a blob's bytes come from, as stored: a registry, its mirrors, a layout on disk. */
#ifndef SERVE_SOURCE_H
#define SERVE_SOURCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/digest.h"
#include "lib/base/error.h"
#include "lib/stream/stream.h"

/* Who takes a range as a stream. */
struct stream_user {
	int (*use)(void *arg, struct stream *stream, struct error **err);
	void *arg;
};

/*
 * One kind of source; embedded in its own structure. Functions may be called on any thread, and
 * block.
 */
struct blob_source {
	/*
	 * All of [offset, offset + len) of the blob: 0, or 1 when somebody else had to be asked
	 * first; -1, with the code EAGAIN where another time may be better: a server that is away.
	 * The bytes are not trusted.
	 */
	int (*read)(struct blob_source *s, const struct digest *blob, uint64_t offset, void *buf,
		size_t len, struct error **err);
	/*
	 * The same range as it comes, for a long one: use() is called once, on this thread, with a
	 * stream of it that need not be read to its end. Nobody else is asked when it fails; what
	 * use() returns (0, or -1 when the stream has failed) is returned. NULL: only read(); see
	 * source_stream().
	 */
	int (*stream)(struct blob_source *s, const struct digest *blob, uint64_t offset,
		uint64_t len, const struct stream_user *user, struct error **err);
	/* What read() or stream() last gave on this thread was not the blob: do not ask there next.
	 * May be NULL. */
	void (*blame)(struct blob_source *s);
	/*
	 * Give up the reads of this blob that are under way, on any thread: they fail within half a
	 * second, with the code ECANCELED. Those of other blobs, and those that come later, are not
	 * concerned. Does not block, and calls nobody. NULL: nothing here takes long.
	 */
	void (*cancel)(struct blob_source *s, const struct digest *blob);
	void (*close)(struct blob_source *s); /* frees s too */
	/* Bytes that are worth fetching though nobody asked, when that spares a request of its own.
	 */
	size_t gap;
	/*
	 * Which server is asked first, as a number: sources with the same one share its fate, and
	 * together they never hold all fetchers. 0: nobody who could be slow.
	 */
	uint64_t place;
	/* Of several images' sources for one blob, asked after those that are not so: somebody's,
	 * whom others need not trust to answer at all. */
	bool last;
};

/* stream() of any source: where it has none, by read(), piece by piece as they are asked for. */
int source_stream(struct blob_source *s, const struct digest *blob, uint64_t offset, uint64_t len,
	const struct stream_user *user, struct error **err);

#endif
