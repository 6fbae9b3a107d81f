// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/image/ref.h"

#include <ctype.h>
#include <string.h>

#include "fmt/reference.h"
#include "lib/base/digest.h"
#include "lib/base/mem.h"
#include "lib/base/text.h"

#define KNOWN                                                                               \
	"docker://[HOST[:PORT]/]NAME[:TAG] (a registry), oci:DIR[:TAG] (an image layout), " \
	"oci-archive:FILE[:TAG], docker-archive:FILE[:NAME:TAG] or tar:FILE[,FILE...] "     \
	"(layer tars, lowest first)"

static const struct {
	const char *prefix;
	const char *file; /* what follows the prefix */
	const char *form;
} transports[] = {
	[TRANSPORT_OCI] = { "oci:", "directory", "oci:DIR[:TAG]" },
	[TRANSPORT_OCI_ARCHIVE] = { "oci-archive:", "file", "oci-archive:FILE[:TAG]" },
	[TRANSPORT_DOCKER_ARCHIVE] = { "docker-archive:", "file",
		"docker-archive:FILE[:NAME:TAG]" },
	[TRANSPORT_TAR] = { "tar:", "file", "tar:FILE[,FILE...], lowest layer first" },
	[TRANSPORT_DOCKER] = { "docker://", "name", "docker://[HOST[:PORT]/]NAME[:TAG][@DIGEST]" },
};

const char *transport_prefix(enum transport t)
{
	return transports[t].prefix;
}

/* Transports of skopeo's that are known by name, and how to do without them. */
static const struct {
	const char *prefix;
	const char *sentence;
	const char *pipe; /* writes a docker archive to standard output */
} elsewhere[] = {
	{ "docker-daemon:", "the Docker daemon's store is not read directly", "docker save" },
	{ "containers-storage:", "the store of podman and buildah is not read directly",
		"podman save --format docker-archive" },
	{ "dir:", "skopeo's dir: is not supported", NULL },
};

/* "containers-storage:[driver@root]name" may name a store, too. */
static const char *image_name(const char *rest)
{
	const char *end = *rest == '[' ? strchr(rest, ']') : NULL;

	return end ? end + 1 : rest;
}

static int fail_elsewhere(size_t i, const char *spec, struct error **err)
{
	const char *name = image_name(spec + strlen(elsewhere[i].prefix));

	error_set(err, 0, "%s: %s", spec, elsewhere[i].sentence);
	if (elsewhere[i].pipe)
		return error_hint(err, "%s %s | erofs-convert convert docker-archive:- DEST",
			elsewhere[i].pipe, *name ? name : "NAME");
	return error_hint(err,
		"as a source: skopeo copy %s oci:DIR:TAG, then use oci:DIR:TAG; "
		"as a destination: write oci:DIR:TAG, then skopeo copy oci:DIR:TAG %s",
		spec, spec);
}

/* "a:b" names a transport if a is a word; "./a:b" and "a/b:c" are paths and image names. */
static int fail_unknown(const char *spec, struct error **err)
{
	size_t n = strcspn(spec, ":");
	size_t word = strspn(spec, "abcdefghijklmnopqrstuvwxyz-");

	if (!*spec) {
		error_set(err, 0, "the image reference is empty");
		return error_hint(err, "write " KNOWN);
	}
	if (spec[n] == ':' && word == n && n > 0)
		error_set(err, 0, "%s: unknown transport \"%.*s:\"", spec, (int)n, spec);
	else
		error_set(err, 0, "%s: the transport is missing", spec);
	return error_hint(err, "write " KNOWN);
}

static int fail_missing(const struct image_ref *ref, struct error **err)
{
	error_set(err, 0, "%s: the %s is missing", ref->spec, transports[ref->transport].file);
	return error_hint(err, "write %s", transports[ref->transport].form);
}

/* At the first colon, as containers/image does: the path cannot contain one. */
static int parse_path(struct image_ref *ref, const char *rest, struct error **err)
{
	size_t n = strcspn(rest, ":");

	if (n == 0)
		return fail_missing(ref, err);
	ref->path = xstrndup(rest, n);
	if (rest[n] == ':' && rest[n + 1])
		ref->tag = xstrdup(rest + n + 1);
	return 0;
}

static int parse_tar(struct image_ref *ref, const char *rest, struct error **err)
{
	size_t cap = 0, pipes = 0;

	for (const char *p = rest;; p++) {
		size_t n = strcspn(p, ",");

		if (n == 0) {
			error_set(err, 0, "%s: a file name is missing", ref->spec);
			return error_hint(err, "write tar:FILE[,FILE...], lowest layer first");
		}
		ref->files = xgrow(ref->files, ref->n_files, &cap, sizeof(*ref->files));
		ref->files[ref->n_files++] = xstrndup(p, n);
		pipes += n == 1 && *p == '-';
		p += n;
		if (!*p)
			break;
	}
	if (pipes > 1)
		return error_set(err, 0, "%s: standard input (-) can be only one layer", ref->spec);
	return 0;
}

static char *part_dup(struct reference_part p)
{
	return p.ptr ? xstrndup(p.ptr, p.len) : NULL;
}

/* The grammar knows sha384, too, which no registry uses. */
static int take_digest(struct image_ref *ref, struct reference_part digest, struct error **err)
{
	struct digest unused;

	ref->digest = part_dup(digest);
	if (!ref->digest || digest_parse(&unused, ref->digest, err) == 0)
		return 0;
	return error_wrap(err, "%s", ref->spec);
}

static int parse_docker(struct image_ref *ref, const char *rest, struct error **err)
{
	struct reference r;
	struct fault fault;

	if (!*rest)
		return fail_missing(ref, err);
	if (reference_parse(&r, rest, &fault) < 0) {
		CLEANUP_FREE char *spec = text_shown(ref->spec);

		error_set(err, 0, "%s: %s", spec, fault.what);
		return error_hint(err, "write %s", transports[TRANSPORT_DOCKER].form);
	}
	ref->host = part_dup(r.host);
	ref->repository = xasprintf("%.*s%.*s", (int)r.prefix.len, r.prefix.ptr ? r.prefix.ptr : "",
		(int)r.path.len, r.path.ptr);
	ref->tag = r.tag.ptr || r.digest.ptr ? part_dup(r.tag) : xstrdup("latest");
	return take_digest(ref, r.digest, err);
}

static int parse_rest(struct image_ref *ref, const char *rest, struct error **err)
{
	switch (ref->transport) {
	case TRANSPORT_OCI:
	case TRANSPORT_OCI_ARCHIVE:
	case TRANSPORT_DOCKER_ARCHIVE:
		return parse_path(ref, rest, err);
	case TRANSPORT_TAR:
		return parse_tar(ref, rest, err);
	case TRANSPORT_DOCKER:
		return parse_docker(ref, rest, err);
	}
	__builtin_unreachable();
}

static int parse(struct image_ref *ref, const char *spec, struct error **err)
{
	for (size_t i = 0; i < sizeof(transports) / sizeof(*transports); i++) {
		size_t n = strlen(transports[i].prefix);

		if (strncmp(spec, transports[i].prefix, n) != 0)
			continue;
		ref->transport = (enum transport)i;
		return parse_rest(ref, spec + n, err);
	}
	for (size_t i = 0; i < sizeof(elsewhere) / sizeof(*elsewhere); i++)
		if (strncmp(spec, elsewhere[i].prefix, strlen(elsewhere[i].prefix)) == 0)
			return fail_elsewhere(i, spec, err);
	return fail_unknown(spec, err);
}

int image_ref_parse(struct image_ref *ref, const char *spec, struct error **err)
{
	*ref = (struct image_ref){ .spec = xstrdup(spec) };
	if (parse(ref, spec, err) == 0)
		return 0;
	image_ref_free(ref);
	return -1;
}

static char *dup_or_null(const char *s)
{
	return s ? xstrdup(s) : NULL;
}

void image_ref_copy(struct image_ref *to, const struct image_ref *from)
{
	*to = (struct image_ref){ .transport = from->transport, .n_files = from->n_files };
	to->spec = xstrdup(from->spec);
	to->path = dup_or_null(from->path);
	to->tag = dup_or_null(from->tag);
	to->host = dup_or_null(from->host);
	to->repository = dup_or_null(from->repository);
	to->digest = dup_or_null(from->digest);
	to->registry = from->registry;
	to->files = from->files ? xcalloc(from->n_files, sizeof(*to->files)) : NULL;
	for (size_t i = 0; i < from->n_files; i++)
		to->files[i] = xstrdup(from->files[i]);
}

void image_ref_free(struct image_ref *ref)
{
	free(ref->spec);
	free(ref->path);
	free(ref->tag);
	free(ref->host);
	free(ref->repository);
	free(ref->digest);
	for (size_t i = 0; i < ref->n_files; i++)
		free(ref->files[i]);
	free(ref->files);
	*ref = (struct image_ref){ 0 };
}

static size_t alphanumeric(const char *s)
{
	size_t n = 0;

	while (isascii((unsigned char)s[n]) && isalnum((unsigned char)s[n]))
		n++;
	return n;
}

/*
 * ref       ::= component ("/" component)*
 * component ::= alphanum (separator alphanum)*
 * separator ::= [-._:@+] | "--"		(image-spec, annotations.md)
 */
bool image_ref_tag_is_valid(const char *tag)
{
	for (;;) {
		size_t n = alphanumeric(tag);

		if (n == 0)
			return false;
		tag += n;
		if (!*tag)
			return true;
		if (!strchr("-._:@+/", *tag))
			return false;
		tag += strncmp(tag, "--", 2) == 0 ? 2 : 1;
	}
}
