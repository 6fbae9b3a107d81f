// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/* The manifest and config of a converted image. */
#include "config.h"

#include "lib/image/erofs.h"

#include "lib/base/log.h"
#include "tests/unit/layout_fixture.h"
#include "tests/unit/tap.h"

/* A parent directory with the source layout in it, of three layers, and what was converted. */
struct scene {
	char *parent, *from, *to;
	struct image_source *src; /* the converted image, read back */
	struct error *err;
};

static void scene_free(struct scene *s)
{
	image_source_free(s->src);
	error_free(s->err);
	if (s->parent)
		tmpdir_remove(s->parent);
	free(s->parent);
	free(s->from);
	free(s->to);
}

#define CLEANUP_SCENE CLEANUP(scene_free)

static struct image_source *open_source(const char *dir, struct error **err)
{
	CLEANUP_FREE char *spec = xasprintf("oci:%s", dir);
	CLEANUP_IMAGE_REF struct image_ref ref = { 0 };

	return image_ref_parse(&ref, spec, err) < 0 ? NULL : image_source_open(&ref, NULL, err);
}

static struct erofs_layer add(
	struct image_dest *dest, const char *bytes, size_t source_layer, struct error **err)
{
	struct erofs_layer l = { .size = strlen(bytes), .source_layer = source_layer };
	struct outfile *o = image_dest_new_blob(dest, err);

	digest_of(&l.digest, DIGEST_SHA256, bytes, strlen(bytes));
	l.diff_id = l.digest;
	if (o && outfile_pwrite(o, bytes, strlen(bytes), 0, err) == 0)
		image_dest_add_blob(dest, o, &l.digest, l.size, err);
	return l;
}

/* Layers 0 and 2 make a device, layer 1 has no data. */
static int convert(struct scene *s)
{
	CLEANUP_FREE char *spec = xasprintf("oci:%s:app", s->to);
	CLEANUP_IMAGE_REF struct image_ref ref = { 0 };
	CLEANUP_IMAGE_SOURCE struct image_source *src = open_source(s->from, &s->err);
	CLEANUP_IMAGE_DEST struct image_dest *dest = NULL;
	struct erofs_layer devices[2];
	struct erofs_image image = { .devices = devices, .n_devices = 2 };
	struct digest digest;

	if (!src || image_ref_parse(&ref, spec, &s->err) < 0 ||
		!(dest = image_dest_open(&ref, &s->err)))
		return -1;
	devices[0] = add(dest, "device 0", 0, &s->err);
	devices[1] = add(dest, "device 1", 2, &s->err);
	image.bootstrap = add(dest, "bootstrap", 0, &s->err);
	if (erofs_image_commit(&image, src, dest, &digest, &s->err) < 0)
		return -1;
	s->src = open_source(s->to, &s->err);
	return s->src && digest_equal(&s->src->manifest_digest, &digest) ? 0 : -1;
}

/* Convert an image with this config, written with ' for "; its diff_ids are put in here. */
static bool scene_make(struct scene *s, const char *config, json_t *annotations)
{
	CLEANUP_FREE char *text = xstrdup(config);
	json_auto_t *plain = NULL;
	json_t *layers = json_array(), *c, *manifest;

	s->parent = tmpdir_make();
	s->from = fixture_make();
	s->to = xasprintf("%s/to", s->parent);
	for (char *p = text; *p; p++)
		*p = *p == '\'' ? '"' : *p;
	json_array_append_new(layers, fixture_blob(s->from, TAR_TYPE, "a", 1));
	json_array_append_new(layers, fixture_blob(s->from, TAR_TYPE, "b", 1));
	json_array_append_new(layers, fixture_blob(s->from, TAR_TYPE, "c", 1));
	c = json_loads(text, 0, NULL);
	plain = fixture_config("x", layers);
	json_object_set(c, "rootfs", json_object_get(plain, "rootfs"));
	manifest = json_pack("{s:i, s:o, s:o}", "schemaVersion", 2, "config",
		fixture_json(s->from, MEDIA_TYPE_OCI_CONFIG, c), "layers", layers);
	if (annotations)
		json_object_set_new(manifest, "annotations", annotations);
	fixture_finish(s->from,
		json_pack("[o]", fixture_json(s->from, MEDIA_TYPE_OCI_MANIFEST, manifest)));
	convert(s);
	tmpdir_remove(s->from);
	return s->src;
}

/* The member as compact JSON with ' for ". */
static void check_member(const json_t *object, const char *key, const char *want)
{
	CLEANUP_FREE char *text =
		json_dumps(json_object_get(object, key), JSON_COMPACT | JSON_ENCODE_ANY);

	for (char *p = text; p && *p; p++)
		*p = *p == '"' ? '\'' : *p;
	if (want)
		CHECK_STR(text, want);
	else
		CHECK(text == NULL);
}

static void devices_come_first_and_the_bootstrap_last(void)
{
	CLEANUP_SCENE struct scene s = { 0 };
	CLEANUP_ERROR struct error *err = NULL;
	struct erofs_found found = { 0 };

	if (!CHECK(scene_make(&s, "{'architecture':'amd64','os':'linux'}", NULL)))
		return;
	CHECK(erofs_image_find(&found, s.src, &err) == 0);
	CHECK_U64(found.n_devices, 2);
	erofs_found_free(&found);
	CHECK_U64(s.src->n_layers, 3);
	CHECK_STR(s.src->layers[0].media_type, "application/vnd.erofs");
	CHECK(digest_equal(&s.src->layers[1].digest, &s.src->layers[1].diff_id));
	check_member(s.src->manifest, "mediaType", "'application/vnd.oci.image.manifest.v1+json'");
	check_member(s.src->manifest, "annotations", NULL);
	check_member(json_array_get(json_object_get(s.src->manifest, "layers"), 1), "annotations",
		"{'org.erofs.role':'device'}");
	check_member(
		json_array_get(json_object_get(s.src->manifest, "layers"), 2), "annotations", NULL);
}

static void the_config_is_the_sources_but_for_layers_and_features(void)
{
	CLEANUP_SCENE struct scene s = { 0 };
	CLEANUP_FREE char *text = NULL;

	if (!CHECK(scene_make(&s,
		    "{'zz':[1,{'b':null,'a':2.5}],'os':'linux','architecture':'arm','variant':'v6',"
		    "'os.version':'1','config':{'Env':['A=<&>']},'created':'2020-01-01T00:00:00Z'}",
		    NULL)))
		return;
	json_object_del(s.src->config, "rootfs");
	text = json_dumps(s.src->config, JSON_COMPACT);
	CHECK_STR(text, "{\"zz\":[1,{\"b\":null,\"a\":2.5}],\"os\":\"linux\",\"architecture\":"
			"\"arm\",\"variant\":\"v6\",\"os.version\":\"1\",\"config\":{\"Env\":["
			"\"A=<&>\"]},\"created\":\"2020-01-01T00:00:00Z\",\"os.features\":["
			"\"erofs\"]}");
}

static void the_index_names_the_platform_with_erofs(void)
{
	CLEANUP_SCENE struct scene s = { 0 };
	CLEANUP_FREE char *path = NULL;
	json_auto_t *index = NULL;

	if (!CHECK(scene_make(&s,
		    "{'architecture':'arm','os':'linux','variant':'v6','os.features':['b','a']}",
		    NULL)))
		return;
	check_member(s.src->config, "os.features", "['b','a','erofs']");
	path = xasprintf("%s/index.json", s.to);
	index = json_load_file(path, 0, NULL);
	check_member(json_array_get(json_object_get(index, "manifests"), 0), "platform",
		"{'architecture':'arm','os':'linux','os.features':['b','a','erofs'],'variant':"
		"'v6'}");
}

static void a_feature_that_is_there_is_not_added_again(void)
{
	CLEANUP_SCENE struct scene s = { 0 };

	CHECK(scene_make(
		&s, "{'architecture':'amd64','os':'linux','os.features':['erofs','x']}", NULL));
	check_member(s.src->config, "os.features", "['erofs','x']");
}

static void manifest_annotations_are_kept(void)
{
	CLEANUP_SCENE struct scene s = { 0 };

	CHECK(scene_make(&s, "{'architecture':'amd64','os':'linux'}",
		json_pack("{s:s, s:s}", "z", "1", "a", "2")));
	check_member(s.src->manifest, "annotations", "{'z':'1','a':'2'}");
}

static void history_stays_in_step_with_the_layers(void)
{
	CLEANUP_SCENE struct scene s = { 0 };

	CHECK(scene_make(&s,
		"{'architecture':'amd64','os':'linux','created':'2020-01-01T00:00:00Z','history':["
		"{'created_by':'a'},{'created_by':'env','empty_layer':true},{'created_by':'b'},"
		"{'created_by':'c','empty_layer':false}]}",
		NULL));
	check_member(s.src->config, "history",
		"[{'created_by':'a'},{'created_by':'env','empty_layer':true},"
		"{'created_by':'b','empty_layer':true},{'created_by':'c','empty_layer':false},"
		"{'created':'2020-01-01T00:00:00Z','created_by':'erofs-convert',"
		"'comment':'EROFS bootstrap: the merged tree of all layers'}]");
}

static void without_history_there_is_none(void)
{
	CLEANUP_SCENE struct scene s = { 0 };

	CHECK(scene_make(&s, "{'architecture':'amd64','os':'linux'}", NULL));
	check_member(s.src->config, "history", NULL);
}

static void history_that_does_not_fit_is_left_out(void)
{
	CLEANUP_SCENE struct scene s = { 0 };

	log_set_level(LOG_QUIET); /* it says so */
	CHECK(scene_make(
		&s, "{'architecture':'amd64','os':'linux','history':[{'created_by':'a'}]}", NULL));
	log_set_level(LOG_NORMAL);
	check_member(s.src->config, "history", NULL);
}

static void a_config_with_odd_members_is_refused(void)
{
	CLEANUP_SCENE struct scene s = { 0 }, h = { 0 };

	CHECK(!scene_make(&s, "{'architecture':'amd64','os':'linux','os.features':'x'}", NULL));
	CHECK(s.err && strstr(s.err->msg, "\"os.features\" is not an array"));
	CHECK(!scene_make(&h, "{'architecture':'amd64','os':'linux','history':{}}", NULL));
	CHECK(h.err && strstr(h.err->msg, "\"history\" is not an array"));
	CHECK_U64(count_entries(s.parent), 0);
}

int main(void)
{
	RUN(devices_come_first_and_the_bootstrap_last);
	RUN(the_config_is_the_sources_but_for_layers_and_features);
	RUN(the_index_names_the_platform_with_erofs);
	RUN(a_feature_that_is_there_is_not_added_again);
	RUN(manifest_annotations_are_kept);
	RUN(history_stays_in_step_with_the_layers);
	RUN(without_history_there_is_none);
	RUN(history_that_does_not_fit_is_left_out);
	RUN(a_config_with_odd_members_is_refused);
	return tap_done();
}
