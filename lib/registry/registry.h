/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * The distribution API (OCI distribution-spec 1.1) of one repository. Every function may be
 * called on any thread and blocks until its answer is there, has failed after all retries, or the
 * user interrupts (lib/base/interrupt.h), which takes effect within half a second. Errors say
 * method and URL without secrets, the registry's own code and message, and what to try.
 */
#ifndef REGISTRY_REGISTRY_H
#define REGISTRY_REGISTRY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/digest.h"
#include "lib/base/error.h"
#include "lib/registry/credentials.h"
#include "lib/stream/stream.h"

struct registry_options {
	struct credentials_options credentials;
	bool tls_verify; /* false: HTTPS unverified, then HTTP */
	bool plain_http; /* HTTP only */
	const char *cert_dir; /* --cert-dir; NULL: certs.d of containers and Docker */
	unsigned retries; /* after the first try */
	bool hurry; /* whoever opens an image waits for it: registry_warm() is worth a connection */
	/* For how many milliseconds a server may be silent until it is asked again; 0: a minute.
	 * After that it is given twice the time for a while, since it may have to fetch the bytes
	 * itself. Not if there are others that can be asked instead. */
	unsigned patience;
	bool others;
};
#define REGISTRY_OPTIONS_DEFAULT ((struct registry_options){ .tls_verify = true, .retries = 3 })

enum registry_access { REGISTRY_PULL, REGISTRY_PUSH };

struct registry;

/*
 * A repository: host with its port ("docker.io" is asked at registry-1.docker.io), name without
 * tag. Nothing is sent yet. The options' strings stay the caller's and live as long.
 */
struct registry *registry_open(const char *host, const char *repository,
	enum registry_access access, const struct registry_options *options, struct error **err);
/*
 * A server that has blobs at BASE_URL/blobs/sha256/HEX, to be read only, without credentials:
 * registry_read_blob(), registry_open_blob() and what cancels them.
 */
struct registry *registry_open_blobs(
	const char *base_url, const struct registry_options *options, struct error **err);
void registry_close(struct registry *r); /* after its streams; NULL is allowed */

/*
 * Have a second connection at hand soon, in the background. Once for each registry. It is warm when
 * two blobs can be asked for at once, and neither waits for a handshake.
 */
void registry_warm(struct registry *r);
/* Is it warm, or perhaps soon? */
bool registry_warms(const struct registry *r);
/* Until it is, or registry_await_no_more(): it may never be. */
void registry_await_warm(struct registry *r);
void registry_await_no_more(struct registry *r);

const char *registry_host(const struct registry *r); /* as it was named */

/*
 * Give up what is under way on this repository, on any thread, and what would come: it fails
 * within half a second, as when the user interrupts.
 */
void registry_cancel(struct registry *r);

/* The same for the calls of registry_read_blob() for this blob that are under way and the streams
 * of registry_open_range(), and no more. */
void registry_cancel_blob(struct registry *r, const struct digest *digest);

/* ---- reading ---- */

/* A document of the API, verified; the bytes are the caller's to free, with a NUL behind. */
struct registry_document {
	char *bytes;
	size_t size;
	char *media_type; /* of Content-Type, without parameters */
	struct digest digest; /* of the bytes */
};
void registry_document_free(struct registry_document *d);
#define CLEANUP_REGISTRY_DOCUMENT CLEANUP(registry_document_free)

/*
 * A manifest or index by tag or, with `digest` not NULL, by digest, which the bytes must have. OCI
 * and Docker types are accepted; 4 MiB at most. The error has the code ENOENT when it is not there.
 */
int registry_get_manifest(struct registry *r, const char *tag, const struct digest *digest,
	struct registry_document *d, struct error **err);

/*
 * A blob's bytes as a stream, fetched ahead of the reader by up to `ahead` bytes (0: 2 MiB) without
 * a thread of the caller's: stream_ready() tells when a read would not block. A broken connection
 * is resumed where it stopped, by Range; more bytes than `size`, or fewer, are an error. The digest
 * is the reader's to verify (stream_verify).
 */
struct stream *registry_open_blob(struct registry *r, const struct digest *digest, uint64_t size,
	size_t ahead, struct error **err);

/*
 * Of a blob, [offset, offset + len) as a stream, as above, from servers that answer with the whole
 * of it, too. What crawls is asked for anew. registry_cancel_blob() ends it.
 */
struct stream *registry_open_range(struct registry *r, const struct digest *digest, uint64_t offset,
	uint64_t len, size_t ahead, struct error **err);

/*
 * Servers that blobs have been found at are asked directly for some time, up to a minute. What came
 * was not the blob: ask the registry anew.
 */
void registry_forget_redirects(struct registry *r);

/*
 * All of [offset, offset + len) of a blob; also from servers that answer with the whole of it. The
 * error has the code EAGAIN where another time may be better.
 */
int registry_read_blob(struct registry *r, const struct digest *digest, uint64_t offset, void *buf,
	size_t len, struct error **err);

/* 1 and its size when the repository has the blob, 0 when not, or -1. */
int registry_has_blob(
	struct registry *r, const struct digest *digest, uint64_t *size, struct error **err);

/* ---- writing ---- */

/* 1 when the blob has been mounted from the other repository of the same registry, 0 when the
 * registry did not, or -1. */
int registry_mount_blob(
	struct registry *r, const struct digest *digest, const char *from, struct error **err);

/*
 * Send [offset, offset + size) of a file: in one PUT, or in pieces where the server asks for them
 * or one broke; resumed where the server says that it stopped. `sent` (may be NULL) counts bytes
 * for the progress.
 */
int registry_put_blob(struct registry *r, const struct digest *digest, int fd, uint64_t offset,
	uint64_t size, _Atomic uint64_t *sent, struct error **err);

/*
 * Under the tag, or NULL for its digest only. *linked (may be NULL) is set when the registry says
 * that it has taken note of the manifest's subject (OCI-Subject).
 */
int registry_put_manifest(struct registry *r, const char *tag, const void *bytes, size_t size,
	const char *media_type, const struct digest *digest, bool *linked, struct error **err);

static inline void cleanup_registry_(struct registry **r)
{
	registry_close(*r);
}
#define CLEANUP_REGISTRY CLEANUP(cleanup_registry_)

#endif
