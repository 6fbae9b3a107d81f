// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/*
 * Into a registry. Blobs go up while the conversion is at work (uploader.c). Manifests follow when
 * all blobs are there, what an index names before the index, and the tag is set by the last
 * request: until then nobody who asks by a tag sees anything new.
 */
#include "config.h"

#include "lib/image/dest_registry.h"

#include <string.h>

#include "lib/base/interrupt.h"
#include "lib/base/mem.h"
#include "lib/image/referrers.h"
#include "lib/registry/registry.h"
#include "lib/stream/spool.h"

struct pending {
	void *bytes;
	size_t size;
	char *media_type;
	struct digest digest;
};

struct dest_registry {
	struct registry *registry;
	struct uploader *uploader;
	char *tag;
	struct pending *manifests;
	size_t n, cap;
	size_t bytes; /* of all of them */
};

/* Documents wait in memory: real ones have some kilobytes. */
#define PENDING_MAX_BYTES (64u << 20)

/*
 * Any blob's HEAD tells whether the registry is there and knows us: better now than after an
 * hour of work.
 */
static int knock(struct dest_registry *dest, struct error **err)
{
	struct digest empty;
	uint64_t size;

	digest_of(&empty, DIGEST_SHA256, "", 0);
	return registry_has_blob(dest->registry, &empty, &size, err) < 0 ? -1 : 0;
}

struct dest_registry *dest_registry_open(const struct image_ref *ref, struct error **err)
{
	const struct registry_options defaults = REGISTRY_OPTIONS_DEFAULT;
	CLEANUP_DEST_REGISTRY struct dest_registry *dest = xzalloc(sizeof(*dest));

	if (ref->digest) {
		error_set(
			err, 0, "an image cannot be written under a digest: that follows from it");
		error_hint(err, "name a tag, or leave it out for \"latest\"");
		return NULL;
	}
	dest->tag = xstrdup(ref->tag ? ref->tag : "latest");
	dest->registry = registry_open(ref->host, ref->repository, REGISTRY_PUSH,
		ref->registry ? ref->registry : &defaults, err);
	if (!dest->registry || knock(dest, err) < 0)
		return NULL;
	dest->uploader = uploader_new(dest->registry);
	outfile_sweep(dest_registry_blob_dir());
	return take_ptr(dest);
}

const char *dest_registry_blob_dir(void)
{
	return spool_dir();
}

struct uploader *dest_registry_uploader(struct dest_registry *dest)
{
	return dest->uploader;
}

int dest_registry_add_manifest(struct dest_registry *dest, const void *bytes, size_t size,
	const char *media_type, const struct digest *digest, struct error **err)
{
	if (size > PENDING_MAX_BYTES - dest->bytes)
		return error_set(
			err, 0, "the image's manifests have more than %u bytes", PENDING_MAX_BYTES);
	dest->bytes += size;
	dest->manifests = xgrow(dest->manifests, dest->n, &dest->cap, sizeof(*dest->manifests));
	dest->manifests[dest->n++] = (struct pending){
		.bytes = xmemdup(bytes, size),
		.size = size,
		.media_type = xstrdup(media_type),
		.digest = *digest,
	};
	return 0;
}

static uint64_t bytes_done(void *arg)
{
	struct upload_amount amount;

	uploader_amount(arg, &amount);
	return amount.done;
}

static int wait_for_blobs(struct dest_registry *dest, enum progress_mode mode, struct error **err)
{
	CLEANUP_PROGRESS struct progress *progress = NULL;
	struct upload_amount amount;

	uploader_amount(dest->uploader, &amount);
	if (amount.done < amount.total)
		progress =
			progress_start(mode, "uploading", amount.total, bytes_done, dest->uploader);
	return uploader_wait(dest->uploader, err);
}

static int put(
	struct dest_registry *dest, const struct pending *m, const char *tag, struct error **err)
{
	char digest[DIGEST_MAX_STR];
	bool linked = false;

	if (interrupt_pending())
		return error_set(err, 0, "interrupted; nothing has been tagged");
	if (registry_put_manifest(dest->registry, tag, m->bytes, m->size, m->media_type, &m->digest,
		    &linked, err) < 0)
		return error_wrap(err, "manifest %s", digest_format(&m->digest, digest));
	if (linked || tag)
		return 0;
	return referrers_add(dest->registry, m->bytes, m->size, m->media_type, &m->digest, err);
}

/* A manifest with a subject goes there without the tag first: its subject is linked before. */
static int put_last(struct dest_registry *dest, const struct pending *m, struct error **err)
{
	if (referrers_has_subject(m->bytes, m->size) && put(dest, m, NULL, err) < 0)
		return -1;
	return put(dest, m, dest->tag, err);
}

int dest_registry_commit(
	struct dest_registry *dest, enum progress_mode progress, struct error **err)
{
	if (wait_for_blobs(dest, progress, err) < 0)
		return -1;
	for (size_t i = 0; i + 1 < dest->n; i++)
		if (put(dest, &dest->manifests[i], NULL, err) < 0)
			return -1;
	return put_last(dest, &dest->manifests[dest->n - 1], err);
}

void dest_registry_free(struct dest_registry *dest)
{
	if (!dest)
		return;
	uploader_free(dest->uploader);
	registry_close(dest->registry);
	for (size_t i = 0; i < dest->n; i++) {
		free(dest->manifests[i].bytes);
		free(dest->manifests[i].media_type);
	}
	free(dest->manifests);
	free(dest->tag);
	free(dest);
}
