// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/* Reading images from a registry: what is chosen, what is asked, what is verified. */
#include "config.h"

#include "lib/image/source.h"

#include "lib/image/listed.h"
#include "tests/unit/fake_registry.h"
#include "tests/unit/layout_fixture.h"
#include "tests/unit/tap.h"

#define REPOSITORY "library/app"

static struct image_ref reference(const char *tag, const char *digest)
{
	return (struct image_ref){
		.transport = TRANSPORT_DOCKER,
		.spec = xasprintf(
			"docker://host/app%s%s", digest ? "@" : ":", digest ? digest : tag),
		.host = xstrdup("host"),
		.repository = xstrdup(REPOSITORY),
		.tag = tag ? xstrdup(tag) : NULL,
		.digest = digest ? xstrdup(digest) : NULL,
	};
}

static struct image_source *open_image(
	const char *tag, const char *digest, const char *platform, struct error **err)
{
	CLEANUP_IMAGE_REF struct image_ref ref = reference(tag, digest);
	struct platform wanted;

	if (platform && platform_parse(&wanted, platform, err) < 0)
		return NULL;
	return image_source_open(&ref, platform ? &wanted : NULL, err);
}

/* A descriptor of bytes that the registry then has as a blob. */
static json_t *blob(const char *media_type, const char *bytes)
{
	char text[DIGEST_MAX_STR];
	struct digest d;

	digest_of(&d, DIGEST_SHA256, bytes, strlen(bytes));
	fake_blob(REPOSITORY, &d, bytes);
	return json_pack("{s:s, s:s, s:I}", "mediaType", media_type, "digest",
		digest_format(&d, text), "size", (json_int_t)strlen(bytes));
}

/* The same of a document, which is taken over; a manifest or index under `tag`, or without. */
static json_t *document(const char *media_type, const char *tag, json_t *value)
{
	CLEANUP_FREE char *bytes = json_dumps(value, JSON_COMPACT);
	char text[DIGEST_MAX_STR];
	struct digest d;

	json_decref(value);
	if (!media_type_is_manifest(media_type) && !media_type_is_index(media_type))
		return blob(media_type, bytes);
	fake_manifest(REPOSITORY, tag, media_type, bytes, &d);
	return json_pack("{s:s, s:s, s:I}", "mediaType", media_type, "digest",
		digest_format(&d, text), "size", (json_int_t)strlen(bytes));
}

static json_t *image_of(const char *tag, const char *arch, json_t *layers)
{
	json_t *config = document(MEDIA_TYPE_OCI_CONFIG, NULL, fixture_config(arch, layers));

	return document(MEDIA_TYPE_OCI_MANIFEST, tag,
		json_pack(
			"{s:i, s:o, s:o}", "schemaVersion", 2, "config", config, "layers", layers));
}

static json_t *image(const char *tag, const char *arch, const char *content)
{
	return image_of(tag, arch, json_pack("[o]", blob(TAR_TYPE, content)));
}

static const char *digest_in(const json_t *descriptor)
{
	return json_string_value(json_object_get(descriptor, "digest"));
}

static void a_tag_is_read(void)
{
	CLEANUP_ERROR struct error *err = NULL;
	CLEANUP_IMAGE_SOURCE struct image_source *src = NULL;
	CLEANUP_STREAM struct stream *s = NULL;
	json_auto_t *descriptor = NULL;
	char digest[DIGEST_MAX_STR], buf[16] = "";

	fake_reset();
	descriptor = image("v1", "amd64", "data");
	src = open_image("v1", NULL, NULL, &err);
	if (!CHECK(src != NULL))
		return;
	CHECK_STR(digest_format(&src->manifest_digest, digest), digest_in(descriptor));
	CHECK_U64(src->n_layers, 1);
	CHECK_STR(src->platform_text, "linux/amd64");
	CHECK_U64(fake_calls("get", NULL), 1); /* the tag, and not its digest again */
	CHECK_U64(fake_calls("fetch", NULL), 1); /* the config */
	s = image_source_open_layer(src, 0, &err);
	CHECK(s && s->read(s, buf, sizeof(buf), &err) == 4);
	CHECK_STR(buf, "data");
}

static void a_digest_is_read(void)
{
	CLEANUP_ERROR struct error *err = NULL;
	CLEANUP_IMAGE_SOURCE struct image_source *src = NULL;
	json_auto_t *descriptor = NULL;

	fake_reset();
	descriptor = image(NULL, "amd64", "data");
	src = open_image(NULL, digest_in(descriptor), NULL, &err);
	CHECK(src != NULL);
}

static void an_index_is_descended_by_platform(void)
{
	CLEANUP_ERROR struct error *err = NULL;
	CLEANUP_IMAGE_SOURCE struct image_source *src = NULL;
	json_auto_t *index = NULL;

	fake_reset();
	index = document(MEDIA_TYPE_OCI_INDEX, "v1",
		json_pack("{s:i, s:[o, o]}", "schemaVersion", 2, "manifests",
			fixture_for(image(NULL, "amd64", "a"), "linux", "amd64"),
			fixture_for(image(NULL, "arm64", "b"), "linux", "arm64")));
	src = open_image("v1", NULL, "linux/arm64", &err);
	CHECK(src && strcmp(src->platform_text, "linux/arm64") == 0);
	CHECK_U64(fake_calls("get", NULL), 2); /* the index and one image */
}

static void all_images_of_an_index_are_listed(void)
{
	CLEANUP_IMAGE_REF struct image_ref ref = reference("v1", NULL);
	CLEANUP_ERROR struct error *err = NULL;
	CLEANUP_IMAGE_LIST struct image_list list = { 0 };
	json_auto_t *index = NULL;

	fake_reset();
	index = document(MEDIA_TYPE_OCI_INDEX, "v1",
		json_pack("{s:i, s:[o, o, o]}", "schemaVersion", 2, "manifests",
			fixture_for(image(NULL, "amd64", "a"), "linux", "amd64"),
			fixture_for(image(NULL, "amd64", "w"), "windows", "amd64"),
			fixture_for(image(NULL, "arm64", "b"), "linux", "arm64")));
	CHECK(image_list_open(&list, &ref, &err) == 0);
	CHECK_U64(list.n, 2);
}

static void attestations_are_remembered(void)
{
	CLEANUP_ERROR struct error *err = NULL;
	CLEANUP_IMAGE_SOURCE struct image_source *src = NULL;
	json_auto_t *index = NULL;
	json_t *own, *of_own, *of_other;

	fake_reset();
	own = fixture_for(image(NULL, "amd64", "a"), "linux", "amd64");
	of_own = fixture_for(image(NULL, "amd64", "s"), "unknown", "unknown");
	json_object_set_new(of_own, "annotations",
		json_pack("{s:s, s:s}", "vnd.docker.reference.type", "attestation-manifest",
			"vnd.docker.reference.digest", digest_in(own)));
	of_other = json_deep_copy(of_own);
	json_object_set_new(json_object_get(of_other, "annotations"), "vnd.docker.reference.digest",
		json_string("sha256:other"));
	index = document(MEDIA_TYPE_OCI_INDEX, "v1",
		json_pack("{s:i, s:[o, o, o]}", "schemaVersion", 2, "manifests", own, of_other,
			of_own));
	src = open_image("v1", NULL, "linux/amd64", &err);
	if (!CHECK(src != NULL))
		return;
	CHECK_U64(json_array_size(src->attestations), 1);
	CHECK_U64(listed_kind(json_array_get(src->attestations, 0)), LISTED_ATTESTATION);
}

static void what_is_not_there_is_said(void)
{
	CLEANUP_ERROR struct error *err = NULL;

	fake_reset();
	CHECK(open_image("v1", NULL, NULL, &err) == NULL);
	CHECK(err && err->code == ENOENT && strncmp(err->msg, "docker://host/app:v1: ", 22) == 0);
}

static void a_config_that_is_another_is_refused(void)
{
	CLEANUP_ERROR struct error *err = NULL;
	json_auto_t *descriptor = NULL;
	const char *key;
	json_t *value;

	fake_reset();
	descriptor = image("v1", "amd64", "data");
	json_object_foreach(fake.blobs, key, value)
	{
		CLEANUP_FREE char *bytes = xstrdup(json_string_value(value));

		if (*bytes == '{')
			bytes[strlen(bytes) - 2] ^= 1;
		json_string_set(value, bytes);
	}
	CHECK(open_image("v1", NULL, NULL, &err) == NULL);
	CHECK(err && strstr(err->msg, "have the digest"));
}

static void a_type_that_the_registry_does_not_know_is_the_documents_own(void)
{
	CLEANUP_ERROR struct error *err = NULL;
	CLEANUP_IMAGE_SOURCE struct image_source *src = NULL;
	json_auto_t *descriptor = NULL;
	const char *key;
	json_t *entry;

	fake_reset();
	descriptor = image("v1", "amd64", "data");
	json_object_foreach(fake.manifests, key, entry)
		json_array_set_new(entry, 0, json_string("text/plain"));
	src = open_image("v1", NULL, NULL, &err);
	CHECK(src && strcmp(src->manifest_media_type, MEDIA_TYPE_OCI_MANIFEST) == 0);
}

static void docker_s_schema_1_is_named(void)
{
	CLEANUP_ERROR struct error *err = NULL;
	struct digest d;

	fake_reset();
	fake_manifest(REPOSITORY, "v1", "application/vnd.docker.distribution.manifest.v1+prettyjws",
		"{\"fsLayers\":[]}", &d);
	CHECK(open_image("v1", NULL, NULL, &err) == NULL);
	CHECK(err && strstr(err->msg, "schema 1") && err->hint);
}

static void a_foreign_layer_that_is_not_there_is_refused_at_once(void)
{
	CLEANUP_ERROR struct error *err = NULL;
	json_auto_t *descriptor = NULL;

	fake_reset();
	descriptor = image_of("v1", "amd64",
		json_pack("[{s:s, s:s, s:i}]", "mediaType",
			"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", "digest",
			"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
			"size", 5));
	CHECK(open_image("v1", NULL, NULL, &err) == NULL);
	CHECK(err && strstr(err->msg, "do not distribute") && strstr(err->msg, "layer 1"));
}

static void a_blob_at_random_access_is_fetched_once(void)
{
	CLEANUP_ERROR struct error *err = NULL;
	CLEANUP_IMAGE_SOURCE struct image_source *src = NULL;
	json_auto_t *descriptor = NULL;
	char buf[8] = "";

	fake_reset();
	descriptor = image("v1", "amd64", "data");
	src = open_image("v1", NULL, NULL, &err);
	if (!CHECK(src != NULL))
		return;
	fake.opened_blobs = 0;
	for (int i = 0; i < 3; i++) {
		CLEANUP_FILE_RANGE struct file_range r = FILE_RANGE_NONE;

		if (!CHECK(image_source_open_blob(src, &src->layers[0].digest, &r, &err) == 0))
			return;
		CHECK_U64(r.size, 4);
		CHECK(file_range_read(&r, buf, "blob", &err) == 0);
		CHECK_STR(buf, "data");
	}
	CHECK_U64(fake.opened_blobs, 1);
}

static void a_blob_at_random_access_is_verified(void)
{
	CLEANUP_ERROR struct error *err = NULL;
	CLEANUP_IMAGE_SOURCE struct image_source *src = NULL;
	CLEANUP_FILE_RANGE struct file_range r = FILE_RANGE_NONE;
	json_auto_t *descriptor = NULL;

	fake_reset();
	descriptor = image("v1", "amd64", "data");
	src = open_image("v1", NULL, NULL, &err);
	if (!CHECK(src != NULL))
		return;
	fake_blob(REPOSITORY, &src->layers[0].digest, "lies");
	CHECK(image_source_open_blob(src, &src->layers[0].digest, &r, &err) < 0);
	CHECK(err && strstr(err->msg, "have the digest"));
	error_free(take_ptr(err));
	fake_blob(REPOSITORY, &src->layers[0].digest, "data"); /* it may be tried again */
	CHECK(image_source_open_blob(src, &src->layers[0].digest, &r, &err) == 0);
}

static void manifest_and_config_can_be_opened_like_blobs(void)
{
	CLEANUP_ERROR struct error *err = NULL;
	CLEANUP_IMAGE_SOURCE struct image_source *src = NULL;
	CLEANUP_FILE_RANGE struct file_range manifest = FILE_RANGE_NONE;
	CLEANUP_FILE_RANGE struct file_range config = FILE_RANGE_NONE, none = FILE_RANGE_NONE;
	json_auto_t *descriptor = NULL;
	struct digest d;

	fake_reset();
	descriptor = image("v1", "amd64", "data");
	src = open_image("v1", NULL, NULL, &err);
	if (!CHECK(src != NULL))
		return;
	CHECK(image_source_open_blob(src, &src->manifest_digest, &manifest, &err) == 0);
	CHECK_U64(manifest.size, src->manifest_size);
	CHECK(digest_parse(&d, digest_in(json_object_get(src->manifest, "config")), &err) == 0);
	CHECK(image_source_open_blob(src, &d, &config, &err) == 0);
	digest_of(&d, DIGEST_SHA256, "other", 5);
	CHECK(image_source_open_blob(src, &d, &none, &err) < 0 && err);
}

int main(void)
{
	RUN(a_tag_is_read);
	RUN(a_digest_is_read);
	RUN(an_index_is_descended_by_platform);
	RUN(all_images_of_an_index_are_listed);
	RUN(attestations_are_remembered);
	RUN(what_is_not_there_is_said);
	RUN(a_config_that_is_another_is_refused);
	RUN(a_type_that_the_registry_does_not_know_is_the_documents_own);
	RUN(docker_s_schema_1_is_named);
	RUN(a_foreign_layer_that_is_not_there_is_refused_at_once);
	RUN(a_blob_at_random_access_is_fetched_once);
	RUN(a_blob_at_random_access_is_verified);
	RUN(manifest_and_config_can_be_opened_like_blobs);
	return tap_done();
}
