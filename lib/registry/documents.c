// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/* Manifests and indexes, and whether a blob is there. */
#include "config.h"

#include <string.h>

#include "fmt/http_headers.h"
#include "lib/base/mem.h"
#include "lib/base/text.h"
#include "lib/registry/part.h"
#include "lib/registry/retry.h"

static char *const accept_manifests[] = {
	(char *)"Accept: application/vnd.oci.image.index.v1+json, "
		"application/vnd.oci.image.manifest.v1+json, "
		"application/vnd.docker.distribution.manifest.list.v2+json, "
		"application/vnd.docker.distribution.manifest.v2+json",
	NULL,
};

void registry_document_free(struct registry_document *d)
{
	free(d->bytes);
	free(d->media_type);
	*d = (struct registry_document){ 0 };
}

static char *manifest_path(const struct registry *r, const char *tag, const struct digest *digest)
{
	char s[DIGEST_MAX_STR];

	return xasprintf("/v2/%s/manifests/%s", r->name, digest ? digest_format(digest, s) : tag);
}

static int check_tag(const char *tag, struct error **err)
{
	size_t len = strlen(tag);
	CLEANUP_FREE char *shown = NULL;

	if (len && len <= 128 && *tag != '.' && *tag != '-' &&
		tag[strspn(tag, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				"0123456789._-")] == '\0')
		return 0;
	shown = text_shown(tag);
	return error_set(err, 0, "\"%s\" is no tag", shown);
}

/* Without a digest to hold it against, the registry's own is. */
static int verify(const struct http_answer *a, const struct digest *digest,
	struct registry_document *d, struct error **err)
{
	const char *stated = http_header(a, "Docker-Content-Digest", 0);
	CLEANUP_ERROR struct error *ignored = NULL;
	char want[DIGEST_MAX_STR], got[DIGEST_MAX_STR];
	struct digest named;

	if (!digest && stated && digest_parse(&named, stated, &ignored) == 0)
		digest = &named;
	digest_of(
		&d->digest, digest ? digest->algo : DIGEST_SHA256, a->body ? a->body : "", a->size);
	if (!digest || digest_equal(&d->digest, digest))
		return 0;
	return error_set(err, 0, "the manifest's bytes have the digest %s, not %s",
		digest_format(&d->digest, got), digest_format(digest, want));
}

static void take_document(struct http_answer *a, struct registry_document *d)
{
	const char *type = http_header(a, "Content-Type", 0), *start = "";
	size_t len = type ? http_media_type(type, &start) : 0;

	d->media_type = xstrndup(start, len);
	d->bytes = a->body ? take_ptr(a->body) : xstrdup("");
	d->size = a->size;
}

int registry_get_manifest(struct registry *r, const char *tag, const struct digest *digest,
	struct registry_document *d, struct error **err)
{
	CLEANUP_FREE char *path = manifest_path(r, tag, digest);
	CLEANUP_REPLY struct reply p = { 0 };
	struct request q = {
		.method = "GET",
		.path = path,
		.headers = accept_manifests,
		.answer_max = MANIFEST_MAX,
		.follow = true,
	};

	*d = (struct registry_document){ 0 };
	if ((!digest && check_tag(tag, err) < 0) || request(r, &q, &p, err) < 0)
		return -1;
	if (p.answer.status != 200)
		return reply_error(r, q.method, p.url, &p.answer, err);
	if (verify(&p.answer, digest, d, err) < 0)
		return registry_wrap(r, q.method, p.url, err);
	take_document(&p.answer, d);
	return 0;
}

/*
 * What has the digest that it was sent with may still be called wrong: docker-registry reads files
 * that another push to the repository writes anew at this moment, and finds them empty.
 */
static bool is_disturbed(const struct http_answer *a)
{
	CLEANUP_FREE char *message = a->status == 400 ? answer_message(a) : NULL;

	return message && strncmp(message, "DIGEST_INVALID", strlen("DIGEST_INVALID")) == 0;
}

int registry_put_manifest(struct registry *r, const char *tag, const void *bytes, size_t size,
	const char *media_type, const struct digest *digest, bool *linked, struct error **err)
{
	CLEANUP_FREE char *path = manifest_path(r, tag, tag ? NULL : digest);
	CLEANUP_FREE char *type = xasprintf("Content-Type: %s", media_type);
	char *headers[] = { type, NULL };
	struct http_body body = { .bytes = bytes, .size = size };
	CLEANUP_REPLY struct reply p = { 0 };
	struct request q = { .method = "PUT", .path = path, .headers = headers, .body = &body };
	struct retry retry = { .most = r->o.retries, .control = &r->control };

	if (tag && check_tag(tag, err) < 0)
		return -1;
	do {
		if (request(r, &q, &p, err) < 0)
			return -1;
	} while (is_disturbed(&p.answer) &&
		 retry_wait(&retry, &p.answer, "the registry is disturbed by another push"));
	if (p.answer.status < 200 || p.answer.status >= 300)
		return reply_error(r, q.method, p.url, &p.answer, err);
	if (check_stated_digest(&p.answer, digest, err) < 0)
		return registry_wrap(r, q.method, p.url, err);
	if (linked)
		*linked = http_header(&p.answer, "OCI-Subject", 0) != NULL;
	return 0;
}

int registry_has_blob(
	struct registry *r, const struct digest *digest, uint64_t *size, struct error **err)
{
	CLEANUP_FREE char *path = registry_blob_path(r, digest);
	CLEANUP_REPLY struct reply p = { 0 };
	struct request q = { .method = "HEAD", .path = path, .follow = true };

	if (request(r, &q, &p, err) < 0)
		return -1;
	if (p.answer.status == 404)
		return 0;
	if (p.answer.status != 200)
		return reply_error(r, q.method, p.url, &p.answer, err);
	*size = p.answer.length < 0 ? UINT64_MAX : (uint64_t)p.answer.length;
	return 1;
}
