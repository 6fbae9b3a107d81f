// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/* Reading images, and recognising converted ones. Writing them: dest_test.c. */
#include "config.h"

#include "lib/image/erofs.h"
#include "lib/image/source.h"

#include "tests/unit/layout_fixture.h"
#include "tests/unit/tap.h"

static struct image_source *open_spec(const char *spec, const char *platform, struct error **err)
{
	CLEANUP_IMAGE_REF struct image_ref ref = { 0 };
	struct platform wanted;

	if (image_ref_parse(&ref, spec, err) < 0 ||
		(platform && platform_parse(&wanted, platform, err) < 0))
		return NULL;
	return image_source_open(&ref, platform ? &wanted : NULL, err);
}

static struct image_source *open_in(
	const char *dir, const char *tag, const char *platform, struct error **err)
{
	CLEANUP_FREE char *spec = xasprintf("oci:%s%s%s", dir, tag ? ":" : "", tag ? tag : "");

	return open_spec(spec, platform, err);
}

/* Opening fails with a message that holds `sentence` and begins with the reference. */
static bool refused(const char *dir, const char *tag, const char *platform, const char *sentence)
{
	CLEANUP_ERROR struct error *err = NULL;
	CLEANUP_IMAGE_SOURCE struct image_source *src = open_in(dir, tag, platform, &err);

	if (src)
		printf("# opened, and should not be: %s\n", sentence);
	else if (!strstr(err->msg, sentence) || strncmp(err->msg, "oci:", 4) != 0)
		printf("# wanted \"%s\", saw \"%s\"\n", sentence, err->msg);
	else
		return true;
	return false;
}

/* The content of the only layer, which says which image it is. */
static bool is_image(const char *dir, const char *tag, const char *platform, const char *content)
{
	CLEANUP_ERROR struct error *err = NULL;
	CLEANUP_IMAGE_SOURCE struct image_source *src = open_in(dir, tag, platform, &err);
	CLEANUP_STREAM struct stream *s = NULL;
	char buf[64] = "";

	if (!src || src->n_layers != 1 || !(s = image_source_open_layer(src, 0, &err)) ||
		s->read(s, buf, sizeof(buf) - 1, &err) < 0) {
		printf("# %s\n", err ? err->msg : "not one layer");
		return false;
	}
	if (strcmp(buf, content) != 0)
		printf("# wanted \"%s\", saw \"%s\"\n", content, buf);
	return strcmp(buf, content) == 0;
}

static void a_layout_with_one_image_is_read(void)
{
	CLEANUP_TMPDIR char *dir = fixture_make();
	CLEANUP_ERROR struct error *err = NULL;
	CLEANUP_IMAGE_SOURCE struct image_source *src = NULL;
	CLEANUP_FREE char *path = NULL;

	fixture_finish(dir, json_pack("[o]", fixture_image(dir, "amd64", "data")));
	src = open_in(dir, NULL, NULL, &err);
	if (!CHECK(src != NULL))
		return;
	CHECK_U64(src->n_layers, 1);
	CHECK_STR(src->layers[0].media_type, TAR_TYPE);
	CHECK_U64(src->layers[0].size, 4);
	CHECK(src->layers[0].has_digest && src->layers[0].has_diff_id);
	CHECK(digest_equal(&src->layers[0].digest, &src->layers[0].diff_id));
	CHECK(strncmp(src->layers[0].name, "layer 1 (sha256:", 16) == 0);
	CHECK_STR(src->platform_text, "linux/amd64");
	CHECK_STR(src->manifest_media_type, MEDIA_TYPE_OCI_MANIFEST);
	path = image_source_blob_path(src, &src->layers[0].digest, &err);
	CHECK(path && access(path, R_OK) == 0);
	CHECK(is_image(dir, NULL, NULL, "data"));
}

static void a_directory_that_is_no_layout_is_refused(void)
{
	CLEANUP_TMPDIR char *dir = tmpdir_make();
	CLEANUP_FREE char *layout = xasprintf("%s/oci-layout", dir);

	CHECK(refused(dir, NULL, NULL, "oci-layout: No such file"));
	CHECK(refused("/nonexistent", NULL, NULL, "oci-layout: No such file"));
	write_file(layout, "{}", 2);
	CHECK(refused(dir, NULL, NULL, "imageLayoutVersion is not 1.0.0"));
	write_file(layout, "{\"imageLayoutVersion\": 1}", 25);
	CHECK(refused(dir, NULL, NULL, "\"imageLayoutVersion\" is not a string"));
	write_file(layout, "{\"imageLayoutVersion\": \"2.0.0\"}", 31);
	CHECK(refused(dir, NULL, NULL, "imageLayoutVersion is not 1.0.0"));
	write_file(layout, "{\"imageLayoutVersion\": \"1.0.0\"}", 31);
	CHECK(refused(dir, NULL, NULL, "index.json: No such file"));
}

static void an_odd_index_json_is_refused(void)
{
	static const struct {
		const char *text, *sentence;
	} cases[] = {
		{ "", "not valid JSON" },
		{ "[]", "not a JSON object" },
		{ "{\"manifests\":[]", "not valid JSON" },
		{ "{\"manifests\":[]} x", "not valid JSON" },
		{ "{\"manifests\":{}}", "\"manifests\" is not an array" },
		{ "{\"manifests\":[1]}", "manifests[0] is not an object" },
		{ "{\"manifests\":[]}", "the layout has no image" },
		{ "{\"manifests\":null}", "the layout has no image" },
		{ "{}", "the layout has no image" },
		{ "{\"manifests\":[{}]}", "\"mediaType\" is missing" },
	};
	CLEANUP_TMPDIR char *dir = fixture_make();
	CLEANUP_FREE char *path = xasprintf("%s/index.json", dir);

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		write_file(path, cases[i].text, strlen(cases[i].text));
		CHECK(refused(dir, NULL, NULL, cases[i].sentence));
	}
}

static void deep_nesting_and_size_are_bounded(void)
{
	CLEANUP_TMPDIR char *dir = fixture_make();
	CLEANUP_FREE char *path = xasprintf("%s/index.json", dir);
	size_t n = 1 << 20;
	CLEANUP_FREE char *deep = xmalloc(n);

	memset(deep, '[', n);
	memcpy(deep, "{\"a\":", 5);
	write_file(path, deep, n);
	CHECK(refused(dir, NULL, NULL, "maximum parsing depth"));
	CHECK(truncate(path, (off_t)INDEX_MAX_BYTES + 1) == 0);
	CHECK(refused(dir, NULL, NULL, "more than the 16777216 allowed"));
}

static void files_that_are_no_regular_files_are_refused(void)
{
	CLEANUP_TMPDIR char *dir = fixture_make();
	CLEANUP_FREE char *path = xasprintf("%s/index.json", dir);

	CHECK(mkfifo(path, 0666) == 0);
	CHECK(refused(dir, NULL, NULL, "not a regular file"));
}

static void a_tag_chooses_the_first_that_has_it(void)
{
	CLEANUP_TMPDIR char *dir = fixture_make();
	json_t *other = fixture_tagged(fixture_blob(dir, "text/plain", "x", 1), "a");

	fixture_finish(dir,
		json_pack("[o, o, o, o]", other,
			fixture_tagged(fixture_image(dir, "amd64", "one"), "a"),
			fixture_tagged(fixture_image(dir, "amd64", "two"), "a"),
			fixture_tagged(fixture_image(dir, "amd64", "three"), "host:5000/b:1")));
	CHECK(is_image(dir, "a", NULL, "one"));
	CHECK(is_image(dir, "host:5000/b:1", NULL, "three"));
}

static void a_wrong_or_missing_tag_lists_the_tags(void)
{
	CLEANUP_TMPDIR char *dir = fixture_make();

	fixture_finish(
		dir, json_pack("[o, o]", fixture_tagged(fixture_image(dir, "amd64", "one"), "a"),
			     fixture_tagged(fixture_image(dir, "amd64", "two"), "b")));
	CHECK(refused(dir, "c", NULL, "no image with the tag \"c\" (it has: a, b)"));
	CHECK(refused(dir, NULL, NULL, "several images (tags: a, b)"));
}

static void an_image_that_is_listed_twice_is_one_image(void)
{
	CLEANUP_TMPDIR char *dir = fixture_make();
	json_t *image = fixture_image(dir, "amd64", "one");
	json_t *again = fixture_tagged(json_copy(image), "a");

	fixture_finish(dir, json_pack("[o, o]", image, again));
	CHECK(is_image(dir, NULL, NULL, "one"));
}

static void a_tag_on_something_else_names_its_type(void)
{
	CLEANUP_TMPDIR char *dir = fixture_make();

	fixture_finish(dir,
		json_pack("[o, o]", fixture_tagged(fixture_blob(dir, "text/plain", "x", 1), "a"),
			fixture_tagged(fixture_blob(dir,
					       "application/vnd.docker.distribution.manifest."
					       "v1+prettyjws",
					       "{}", 2),
				"old")));
	CHECK(refused(dir, "a", NULL, "text/plain is neither an image manifest nor an index"));
	CHECK(refused(dir, "old", NULL, "schema 1"));
}

static json_t *attestation(const char *dir)
{
	json_t *layers = json_array();

	return fixture_for(fixture_manifest(dir, fixture_config("unknown", layers), layers),
		"unknown", "unknown");
}

static void attestations_are_skipped_when_choosing(void)
{
	CLEANUP_TMPDIR char *dir = fixture_make();
	json_t *marked = fixture_image(dir, "amd64", "statement");

	json_object_set_new(marked, "annotations",
		json_pack("{s:s}", "vnd.docker.reference.type", "attestation-manifest"));
	fixture_finish(dir, json_pack("[o, o, o]", attestation(dir), marked,
				    fixture_image(dir, "riscv64", "image")));
	CHECK(is_image(dir, NULL, NULL, "image"));
	fixture_finish(dir,
		json_pack("[o]",
			fixture_index(dir, json_pack("[o, o]", attestation(dir),
						   fixture_for(fixture_image(dir, "sparc64", "one"),
							   "linux", "sparc64")))));
	CHECK(is_image(dir, NULL, NULL, "one"));
}

static void an_index_is_descended_by_platform(void)
{
	CLEANUP_TMPDIR char *dir = fixture_make();
	json_t *arm = fixture_index(dir,
		json_pack("[o, o]", fixture_for(fixture_image(dir, "s390x", "z"), "linux", "s390x"),
			fixture_for(fixture_image(dir, "arm64", "arm"), "linux", "arm64")));
	json_t *all = json_pack("[o, o]",
		fixture_for(fixture_image(dir, "amd64", "intel"), "linux", "amd64"),
		fixture_for(arm, "linux", "arm64"));

	fixture_finish(dir, json_pack("[o]", fixture_tagged(fixture_index(dir, all), "all")));
	CHECK(is_image(dir, "all", "linux/amd64", "intel"));
	CHECK(is_image(dir, "all", "linux/aarch64", "arm"));
	CHECK(is_image(dir, NULL, "linux/arm64/v8", "arm"));
	CHECK(refused(dir, NULL, "linux/riscv64",
		"no image for linux/riscv64 (there is: linux/amd64, linux/arm64)"));
}

static void a_docker_manifest_list_and_manifest_are_read(void)
{
	CLEANUP_TMPDIR char *dir = fixture_make();
	json_t *layers = json_pack(
		"[o]", fixture_blob(dir, "application/vnd.docker.image.rootfs.diff.tar.gzip",
			       "docker", 6));
	json_t *config =
		fixture_json(dir, MEDIA_TYPE_DOCKER_CONFIG, fixture_config("amd64", layers));
	json_t *manifest = fixture_json(dir, MEDIA_TYPE_DOCKER_MANIFEST,
		json_pack("{s:i, s:s, s:o, s:o}", "schemaVersion", 2, "mediaType",
			MEDIA_TYPE_DOCKER_MANIFEST, "config", config, "layers", layers));

	fixture_finish(
		dir, json_pack("[o]", fixture_json(dir, MEDIA_TYPE_DOCKER_LIST,
					      json_pack("{s:[o]}", "manifests",
						      fixture_for(manifest, "linux", "amd64")))));
	CHECK(is_image(dir, NULL, "linux/amd64", "docker"));
}

static void a_single_image_of_another_platform_is_refused_if_one_was_asked_for(void)
{
	CLEANUP_TMPDIR char *dir = fixture_make();

	fixture_finish(dir, json_pack("[o]", fixture_image(dir, "sparc64", "sun")));
	CHECK(is_image(dir, NULL, NULL, "sun"));
	CHECK(is_image(dir, NULL, "linux/sparc64", "sun"));
	CHECK(refused(dir, NULL, "linux/amd64", "is for linux/sparc64, not for linux/amd64"));
}

static void indexes_nested_without_end_are_refused(void)
{
	CLEANUP_TMPDIR char *dir = fixture_make();
	json_t *entry = fixture_image(dir, "amd64", "deep");

	for (int i = 0; i < 9; i++)
		entry = fixture_index(dir, json_pack("[o]", entry));
	fixture_finish(dir, json_pack("[o]", entry));
	CHECK(refused(dir, NULL, NULL, "nested more than 8 deep"));
}

static void a_document_with_two_readings_is_refused(void)
{
	CLEANUP_TMPDIR char *dir = fixture_make();

	fixture_finish(dir, json_pack("[o]", fixture_json(dir, MEDIA_TYPE_OCI_MANIFEST,
						     json_pack("{s:{}, s:[], s:[]}", "config",
							     "layers", "manifests"))));
	CHECK(refused(dir, NULL, NULL, "not an image manifest, as its descriptor says"));
	fixture_finish(
		dir, json_pack("[o]", fixture_json(dir, MEDIA_TYPE_OCI_INDEX,
					      json_pack("{s:[], s:[]}", "layers", "manifests"))));
	CHECK(refused(dir, NULL, NULL, "not an index, as its descriptor says"));
}

/* Write JSON that has ' for " and D for a digest. */
static void write_quoted(const char *path, const char *text)
{
	FILE *f = fopen(path, "w");

	for (; *text; text++) {
		if (*text == 'D')
			fprintf(f, "sha256:%064d", 0);
		else
			putc(*text == '\'' ? '"' : *text, f);
	}
	fclose(f);
}

static void descriptors_are_strict(void)
{
	static const struct {
		const char *json, *sentence;
	} cases[] = {
		{ "{'mediaType':1}", "\"mediaType\" is not a string" },
		{ "{'mediaType':'a b','digest':'x','size':1}", "not a media type" },
		{ "{'mediaType':'a\\u0000','digest':'x','size':1}",
			"\"mediaType\" is not a string" },
		{ "{'mediaType':'M','digest':'sha256:00','size':1}",
			"not a sha256 or sha512 digest" },
		{ "{'mediaType':'M','digest':'../../etc','size':1}",
			"not a sha256 or sha512 digest" },
		{ "{'mediaType':'M','size':1}", "\"digest\" is missing" },
		{ "{'mediaType':'M','digest':'D'}", "\"size\" is missing" },
		{ "{'mediaType':'M','digest':'D','size':-1}", "\"size\" is not a size" },
		{ "{'mediaType':'M','digest':'D','size':1.5}", "\"size\" is not a size" },
		{ "{'mediaType':'M','digest':'D','size':'1'}", "\"size\" is not a size" },
		{ "{'mediaType':'M','digest':'D','size':1,'annotations':{'a':1}}",
			"\"annotations\" holds something that is not a string" },
	};
	CLEANUP_TMPDIR char *dir = fixture_make();
	CLEANUP_FREE char *path = xasprintf("%s/index.json", dir);

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		CLEANUP_FREE char *text = xasprintf("{'manifests':[%s]}", cases[i].json);

		write_quoted(path, text);
		CHECK(refused(dir, NULL, NULL, cases[i].sentence));
	}
}

/* As Go does: the last of two members with one name. */
static void the_last_of_two_equal_members_counts(void)
{
	CLEANUP_TMPDIR char *dir = fixture_make();
	CLEANUP_FREE char *path = xasprintf("%s/index.json", dir);
	json_auto_t *image = fixture_image(dir, "amd64", "data");
	CLEANUP_FREE char *entry = json_dumps(image, 0);
	CLEANUP_FREE char *text = xasprintf("{\"manifests\":[],\"manifests\":[%s]}", entry);

	write_file(path, text, strlen(text));
	CHECK(is_image(dir, NULL, NULL, "data"));
}

/* Overwrite the blob of a descriptor with other bytes. */
static void damage(const char *dir, const json_t *descriptor, const char *bytes)
{
	CLEANUP_ERROR struct error *err = NULL;
	struct digest d;
	CLEANUP_FREE char *path = NULL;

	digest_parse(&d, json_string_value(json_object_get(descriptor, "digest")), &err);
	path = layout_blob_path(dir, &d);
	if (bytes)
		write_file(path, bytes, strlen(bytes));
	else
		unlink(path);
}

static void a_damaged_manifest_or_config_is_refused(void)
{
	CLEANUP_TMPDIR char *dir = fixture_make();
	json_t *layers = json_array();
	json_auto_t *config =
		fixture_json(dir, MEDIA_TYPE_OCI_CONFIG, fixture_config("amd64", layers));
	json_t *image = fixture_manifest(dir, fixture_config("amd64", layers), layers);
	CLEANUP_FREE char *same_size = xstrdup("");

	fixture_finish(dir, json_pack("[O]", image));
	damage(dir, config, "short");
	CHECK(refused(dir, NULL, NULL, "but its descriptor says"));
	damage(dir, config, NULL);
	CHECK(refused(dir, NULL, NULL, "No such file"));
	free(same_size);
	same_size = xzalloc((size_t)json_integer_value(json_object_get(image, "size")) + 1);
	memset(same_size, ' ', (size_t)json_integer_value(json_object_get(image, "size")));
	damage(dir, image, same_size);
	CHECK(refused(dir, NULL, NULL, "do not have that digest"));
	json_decref(image);
}

static void a_manifest_of_more_than_4_mib_is_refused(void)
{
	CLEANUP_TMPDIR char *dir = fixture_make();
	json_t *image = fixture_image(dir, "amd64", "x");

	json_object_set_new(image, "size", json_integer((4 << 20) + 1));
	fixture_finish(dir, json_pack("[o]", image));
	CHECK(refused(dir, NULL, NULL, "more than the 4194304 allowed"));
}

static void a_layer_that_is_missing_or_of_another_size_is_found_at_open(void)
{
	CLEANUP_TMPDIR char *dir = fixture_make();
	json_auto_t *layer = fixture_blob(dir, TAR_TYPE, "data", 4);

	fixture_finish(dir, json_pack("[o]", fixture_image(dir, "amd64", "data")));
	damage(dir, layer, "longer data");
	CHECK(refused(dir, NULL, NULL, "has 11 bytes, but its descriptor says 4"));
	damage(dir, layer, NULL);
	CHECK(refused(dir, NULL, NULL, "layer 1 (sha256:"));
}

static void diff_ids_must_be_one_valid_digest_for_each_layer(void)
{
	static const struct {
		const char *ids, *sentence;
	} cases[] = {
		{ "[]", "0 diff_ids for 1 layers" },
		{ "null", "0 diff_ids for 1 layers" },
		{ "{}", "\"diff_ids\" is not an array" },
		{ "[1]", "diff_ids[0] is not a string" },
		{ "[\"md5:00\"]", "diff_ids[0]: \"md5:00\" is not a sha256" },
	};
	CLEANUP_TMPDIR char *dir = fixture_make();

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		json_t *layers = json_pack("[o]", fixture_blob(dir, TAR_TYPE, "x", 1));
		json_t *config = fixture_config("amd64", layers);

		json_object_set_new(json_object_get(config, "rootfs"), "diff_ids",
			json_loads(cases[i].ids, JSON_DECODE_ANY, NULL));
		fixture_finish(dir, json_pack("[o]", fixture_manifest(dir, config, layers)));
		CHECK(refused(dir, NULL, NULL, cases[i].sentence));
	}
}

/* An image whose only layer has this type. */
static void make_with_type(const char *dir, const char *media_type)
{
	json_t *layers = json_pack("[o]", fixture_blob(dir, media_type, "typed", 5));

	fixture_finish(dir,
		json_pack("[o]", fixture_manifest(dir, fixture_config("amd64", layers), layers)));
}

static void all_layer_types_of_the_field_are_known(void)
{
	static const char *const types[] = {
		"application/vnd.oci.image.layer.v1.tar",
		"application/vnd.oci.image.layer.v1.tar+gzip",
		"application/vnd.oci.image.layer.v1.tar+zstd",
		"application/vnd.oci.image.layer.nondistributable.v1.tar",
		"application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
		"application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
		"application/vnd.docker.image.rootfs.diff.tar",
		"application/vnd.docker.image.rootfs.diff.tar.gzip",
		"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
		"application/vnd.erofs",
		"application/vnd.erofs+zstd",
	};
	CLEANUP_TMPDIR char *dir = fixture_make();

	for (size_t i = 0; i < sizeof(types) / sizeof(*types); i++) {
		make_with_type(dir, types[i]);
		CHECK(is_image(dir, NULL, NULL, "typed"));
	}
}

static void other_layer_types_are_named(void)
{
	CLEANUP_TMPDIR char *dir = fixture_make();

	make_with_type(dir, "application/vnd.in-toto+json");
	CHECK(refused(dir, NULL, NULL, "it is an attestation (application/vnd.in-toto+json)"));
	make_with_type(dir, "application/vnd.oci.image.layer.v1.tar+gzip+encrypted");
	CHECK(refused(dir, NULL, NULL, "it is encrypted"));
}

static void a_foreign_layer_without_its_blob_is_explained(void)
{
	static const char *const type = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
	CLEANUP_TMPDIR char *dir = fixture_make();
	json_auto_t *blob = fixture_blob(dir, type, "typed", 5);

	make_with_type(dir, type);
	damage(dir, blob, NULL);
	CHECK(refused(dir, NULL, NULL, "its data is not in the image"));
}

static void artifacts_are_no_images(void)
{
	static const struct {
		const char *type, *sentence;
	} cases[] = {
		{ "application/vnd.oci.empty.v1+json", "an artifact without a config" },
		{ "application/vnd.cncf.helm.config.v1+json", "a Helm chart" },
		{ "application/vnd.example+json", "(config type application/vnd.example+json)" },
	};
	CLEANUP_TMPDIR char *dir = fixture_make();

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		json_t *config = fixture_blob(dir, cases[i].type, "{}", 2);

		fixture_finish(dir, json_pack("[o]", fixture_json(dir, MEDIA_TYPE_OCI_MANIFEST,
							     json_pack("{s:o, s:[]}", "config",
								     config, "layers"))));
		CHECK(refused(dir, NULL, NULL, cases[i].sentence));
	}
}

static void tar_files_make_an_image(void)
{
	CLEANUP_TMPDIR char *dir = tmpdir_make();
	CLEANUP_FREE char *a = xasprintf("%s/a.tar", dir);
	CLEANUP_FREE char *spec = xasprintf("tar:%s,%s", a, a);
	CLEANUP_ERROR struct error *err = NULL;
	CLEANUP_IMAGE_SOURCE struct image_source *src = NULL;
	CLEANUP_FREE char *config = NULL;
	struct digest none = { 0 };

	write_file(a, "tar", 3);
	src = open_spec(spec, "linux/arm/v6", &err);
	if (!CHECK(src != NULL))
		return;
	CHECK_U64(src->n_layers, 2);
	CHECK_U64(src->layers[1].size, 3);
	CHECK(!src->layers[0].has_digest && !src->layers[0].has_diff_id);
	CHECK_STR(src->layers[0].name, a);
	CHECK(digest_equal(&src->manifest_digest, &none));
	config = json_dumps(src->config, JSON_COMPACT);
	CHECK_STR(config, "{\"architecture\":\"arm\",\"os\":\"linux\",\"config\":{},\"rootfs\":"
			  "{\"type\":\"layers\",\"diff_ids\":[]},\"variant\":\"v6\"}");
	CHECK(image_source_blob_path(src, &none, &err) == NULL && err);
}

static void missing_tar_files_and_directories_are_refused(void)
{
	CLEANUP_ERROR struct error *err = NULL, *err2 = NULL;

	CHECK(open_spec("tar:/nonexistent.tar", NULL, &err) == NULL);
	CHECK(err && strstr(err->msg, "/nonexistent.tar: No such file"));
	CHECK(open_spec("tar:/", NULL, &err2) == NULL);
	CHECK(err2 && strstr(err2->msg, "is a directory") && err2->hint);
}

static void standard_input_is_read_once(void)
{
	CLEANUP_ERROR struct error *err = NULL;
	CLEANUP_IMAGE_SOURCE struct image_source *src = open_spec("tar:-", NULL, &err);
	CLEANUP_STREAM struct stream *s = image_source_open_layer(src, 0, &err);

	CHECK(s != NULL);
	CHECK(image_source_open_layer(src, 0, &err) == NULL);
	CHECK(err && strstr(err->msg, "only once"));
}

/* A converted image: devices with the role, then the bootstrap; `break_it` changes one thing. */
enum broken { WHOLE, NO_FEATURE, NO_ROLE, ODD_ROLE, NO_BOOTSTRAP, ODD_DEVICE };

static json_t *device(const char *dir, const char *type, const char *content, const char *role)
{
	json_t *d = fixture_blob(dir, type, content, strlen(content));

	if (role)
		json_object_set_new(d, "annotations", json_pack("{s:s}", EROFS_ROLE, role));
	return d;
}

static void make_converted(const char *dir, enum broken broken)
{
	const char *role = broken == NO_ROLE ? NULL : broken == ODD_ROLE ? "index" : "device";
	json_t *layers = json_pack("[o, o]",
		device(dir, EROFS_MEDIA_TYPE_ZSTD, "device 0", "device"),
		device(dir, broken == ODD_DEVICE ? TAR_TYPE : EROFS_MEDIA_TYPE, "device 1", role));
	json_t *config;

	if (broken != NO_BOOTSTRAP)
		json_array_append_new(layers, device(dir, EROFS_MEDIA_TYPE, "bootstrap", NULL));
	config = fixture_config("amd64", layers);
	if (broken != NO_FEATURE)
		json_object_set_new(config, "os.features", json_pack("[s]", "erofs"));
	fixture_finish(dir, json_pack("[o]", fixture_manifest(dir, config, layers)));
}

static bool not_converted(const char *dir, const char *sentence)
{
	CLEANUP_ERROR struct error *err = NULL;
	CLEANUP_IMAGE_SOURCE struct image_source *src = open_in(dir, NULL, NULL, &err);
	struct erofs_found found;

	if (src && erofs_image_find(&found, src, &err) < 0 && strstr(err->msg, sentence))
		return true;
	printf("# wanted \"%s\", saw \"%s\"\n", sentence, err ? err->msg : "no error");
	return false;
}

static void a_converted_image_is_recognised(void)
{
	CLEANUP_TMPDIR char *dir = fixture_make();
	CLEANUP_ERROR struct error *err = NULL;
	CLEANUP_IMAGE_SOURCE struct image_source *src = NULL;
	struct erofs_found found;

	make_converted(dir, WHOLE);
	src = open_in(dir, NULL, NULL, &err);
	if (!CHECK(src && erofs_image_find(&found, src, &err) == 0))
		return;
	CHECK_U64(found.n_devices, 2);
	CHECK(found.devices[1] == &src->layers[1]);
	CHECK(found.bootstrap == &src->layers[2]);
	erofs_found_free(&found);
}

static void other_images_are_not_taken_for_converted_ones(void)
{
	CLEANUP_TMPDIR char *dir = fixture_make();

	make_converted(dir, NO_FEATURE);
	CHECK(not_converted(dir, "does not name erofs in os.features"));
	make_converted(dir, NO_ROLE);
	CHECK(not_converted(dir, "several mountable layers"));
	make_converted(dir, ODD_ROLE);
	CHECK(not_converted(dir, "unknown role"));
	make_converted(dir, NO_BOOTSTRAP);
	CHECK(not_converted(dir, "last layer is no EROFS bootstrap"));
	make_converted(dir, ODD_DEVICE);
	CHECK(not_converted(dir, "has the type " TAR_TYPE));
	make_with_type(dir, TAR_TYPE);
	CHECK(not_converted(dir, "an image of tar layers"));
}

int main(void)
{
	RUN(a_layout_with_one_image_is_read);
	RUN(a_directory_that_is_no_layout_is_refused);
	RUN(an_odd_index_json_is_refused);
	RUN(deep_nesting_and_size_are_bounded);
	RUN(files_that_are_no_regular_files_are_refused);
	RUN(a_tag_chooses_the_first_that_has_it);
	RUN(a_wrong_or_missing_tag_lists_the_tags);
	RUN(an_image_that_is_listed_twice_is_one_image);
	RUN(a_tag_on_something_else_names_its_type);
	RUN(attestations_are_skipped_when_choosing);
	RUN(an_index_is_descended_by_platform);
	RUN(a_docker_manifest_list_and_manifest_are_read);
	RUN(a_single_image_of_another_platform_is_refused_if_one_was_asked_for);
	RUN(indexes_nested_without_end_are_refused);
	RUN(a_document_with_two_readings_is_refused);
	RUN(descriptors_are_strict);
	RUN(the_last_of_two_equal_members_counts);
	RUN(a_damaged_manifest_or_config_is_refused);
	RUN(a_manifest_of_more_than_4_mib_is_refused);
	RUN(a_layer_that_is_missing_or_of_another_size_is_found_at_open);
	RUN(diff_ids_must_be_one_valid_digest_for_each_layer);
	RUN(all_layer_types_of_the_field_are_known);
	RUN(other_layer_types_are_named);
	RUN(a_foreign_layer_without_its_blob_is_explained);
	RUN(artifacts_are_no_images);
	RUN(tar_files_make_an_image);
	RUN(missing_tar_files_and_directories_are_refused);
	RUN(standard_input_is_read_once);
	RUN(a_converted_image_is_recognised);
	RUN(other_images_are_not_taken_for_converted_ones);
	return tap_done();
}
