// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/* Writing images into a registry, and copying them there: what is asked of it, in which order. */
#include "config.h"

#include "lib/image/dest.h"

#include "lib/image/copy.h"
#include "lib/image/referrers.h"
#include "tests/unit/fake_registry.h"
#include "tests/unit/layout_fixture.h"
#include "tests/unit/tap.h"

static struct image_ref reference(const char *repository, const char *tag)
{
	return (struct image_ref){
		.transport = TRANSPORT_DOCKER,
		.spec = xasprintf(
			"docker://host/%s%s%s", repository, tag ? ":" : "", tag ? tag : ""),
		.host = xstrdup("host"),
		.repository = xstrdup(repository),
		.tag = tag ? xstrdup(tag) : NULL,
	};
}

static struct image_dest *open_dest(const char *repository, const char *tag, struct error **err)
{
	CLEANUP_IMAGE_REF struct image_ref ref = reference(repository, tag);

	return image_dest_open(&ref, err);
}

static int add_blob(
	struct image_dest *dest, const char *bytes, struct digest *d, struct error **err)
{
	struct outfile *o = image_dest_new_blob(dest, err);

	digest_of(d, DIGEST_SHA256, bytes, strlen(bytes));
	if (!o || outfile_pwrite(o, bytes, strlen(bytes), 0, err) < 0)
		return -1;
	return image_dest_add_blob(dest, o, d, strlen(bytes), err);
}

static int commit(struct image_dest *dest, const char *manifest, struct error **err)
{
	struct digest d;

	return image_dest_commit(
		dest, manifest, strlen(manifest), MEDIA_TYPE_OCI_MANIFEST, NULL, &d, err);
}

static bool in_registry(const char *repository, const struct digest *d)
{
	CLEANUP_FREE char *key = fake_key(repository, d);

	return json_object_get(fake.blobs, key);
}

static void blobs_come_before_the_tag(void)
{
	CLEANUP_ERROR struct error *err = NULL;
	CLEANUP_IMAGE_DEST struct image_dest *dest = NULL;
	size_t tagged = 0;
	struct digest a, b;

	fake_reset();
	dest = open_dest("app", "v1", &err);
	if (!CHECK(dest && add_blob(dest, "one", &a, &err) == 0) ||
		!CHECK(add_blob(dest, "two", &b, &err) == 0))
		return;
	CHECK(fake_tag("app", "v1") == NULL);
	CHECK(commit(dest, "{}", &err) == 0);
	CHECK(in_registry("app", &a) && in_registry("app", &b));
	CHECK(fake_tag("app", "v1") != NULL);
	CHECK_U64(fake_calls("manifest", &tagged), 1);
	CHECK_U64(fake_calls("put", NULL), 2);
	CHECK_U64(tagged, json_array_size(fake.calls) - 1);
}

static void without_a_tag_it_is_latest(void)
{
	CLEANUP_ERROR struct error *err = NULL;
	CLEANUP_IMAGE_DEST struct image_dest *dest = NULL;

	fake_reset();
	dest = open_dest("app", NULL, &err);
	CHECK(dest && commit(dest, "{}", &err) == 0);
	CHECK(fake_tag("app", "latest") != NULL);
}

static void a_digest_is_no_destination(void)
{
	CLEANUP_IMAGE_REF struct image_ref ref = reference("app", NULL);
	CLEANUP_ERROR struct error *err = NULL;

	fake_reset();
	ref.digest = xstrdup("sha256:"
			     "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
	CHECK(image_dest_open(&ref, &err) == NULL && strstr(err->msg, "digest"));
	CHECK_U64(json_array_size(fake.calls), 0);
}

static void one_blob_is_sent_once(void)
{
	CLEANUP_ERROR struct error *err = NULL;
	CLEANUP_IMAGE_DEST struct image_dest *dest = NULL;
	CLEANUP_FREE char *asked = NULL, *key = NULL;
	struct upload_amount amount;
	struct digest d;

	fake_reset();
	dest = open_dest("app", "v1", &err);
	if (!CHECK(dest && add_blob(dest, "same", &d, &err) == 0) ||
		!CHECK(add_blob(dest, "same", &d, &err) == 0))
		return;
	CHECK(commit(dest, "{}", &err) == 0);
	key = fake_key("app", &d);
	asked = xasprintf("has %s", key);
	CHECK_U64(fake_calls(asked, NULL), 1);
	CHECK_U64(fake_calls("put", NULL), 1);
	image_dest_amount(dest, &amount);
	CHECK_U64(amount.uploaded, 1);
	CHECK_U64(amount.uploaded_bytes, 4);
	CHECK_U64(amount.done, amount.total);
}

static void a_blob_that_is_there_is_not_sent(void)
{
	CLEANUP_ERROR struct error *err = NULL;
	CLEANUP_IMAGE_DEST struct image_dest *dest = NULL;
	struct upload_amount amount;
	struct digest d;

	fake_reset();
	digest_of(&d, DIGEST_SHA256, "base", 4);
	fake_blob("app", &d, "base");
	dest = open_dest("app", "v1", &err);
	CHECK(dest && add_blob(dest, "base", &d, &err) == 0 && commit(dest, "{}", &err) == 0);
	CHECK_U64(fake_calls("put", NULL) + fake_calls("mount", NULL), 0);
	image_dest_amount(dest, &amount);
	CHECK_U64(amount.present, 1);
	CHECK_U64(amount.done, 4);
}

static void another_repository_is_asked_before_a_blob_is_sent(void)
{
	CLEANUP_IMAGE_REF struct image_ref source = reference("source", "v1");
	CLEANUP_ERROR struct error *err = NULL;
	CLEANUP_IMAGE_DEST struct image_dest *dest = NULL;
	struct upload_amount amount;
	struct digest base, own;

	fake_reset();
	digest_of(&base, DIGEST_SHA256, "base", 4);
	fake_blob("source", &base, "base");
	dest = open_dest("app", "v1", &err);
	if (!CHECK(dest != NULL))
		return;
	image_dest_mount_from(dest, "other");
	image_dest_mount_from_source(dest, &source);
	image_dest_mount_from(dest, "app"); /* itself: of no use */
	CHECK(add_blob(dest, "base", &base, &err) == 0 && add_blob(dest, "own", &own, &err) == 0);
	CHECK(commit(dest, "{}", &err) == 0);
	CHECK(in_registry("app", &base) && in_registry("app", &own));
	CHECK_U64(fake_calls("put", NULL), 1);
	CHECK_U64(fake_calls("mount other", NULL), 2);
	CHECK_U64(fake_calls("mount source", NULL), 2);
	CHECK_U64(fake_calls("mount app", NULL), 0);
	image_dest_amount(dest, &amount);
	CHECK_U64(amount.mounted, 1);
	CHECK_U64(amount.uploaded, 1);
}

static void who_cannot_mount_sends(void)
{
	CLEANUP_ERROR struct error *err = NULL;
	CLEANUP_IMAGE_DEST struct image_dest *dest = NULL;
	struct digest d;

	fake_reset();
	fake.broken = "mount";
	dest = open_dest("app", "v1", &err);
	if (!CHECK(dest != NULL))
		return;
	image_dest_mount_from(dest, "other");
	CHECK(add_blob(dest, "own", &d, &err) == 0 && commit(dest, "{}", &err) == 0);
	CHECK(in_registry("app", &d));
}

static void nothing_is_tagged_when_a_blob_fails(void)
{
	CLEANUP_ERROR struct error *err = NULL;
	CLEANUP_IMAGE_DEST struct image_dest *dest = NULL;
	struct digest d;

	fake_reset();
	fake.broken = "put";
	dest = open_dest("app", "v1", &err);
	CHECK(dest && add_blob(dest, "one", &d, &err) == 0);
	CHECK(commit(dest, "{}", &err) < 0);
	CHECK(err && strncmp(err->msg, "docker://host/app:v1: blob sha256:", 34) == 0 &&
		strstr(err->msg, "broken: put"));
	CHECK_U64(fake_calls("manifest", NULL), 0);
	CHECK(fake.cancelled);
}

static void after_a_failure_no_more_blobs_are_taken(void)
{
	CLEANUP_ERROR struct error *err = NULL;
	CLEANUP_IMAGE_DEST struct image_dest *dest = NULL;
	struct digest d;
	int rc = 0;

	fake_reset();
	fake.broken = "put";
	dest = open_dest("app", "v1", &err);
	for (int i = 0; dest && i < 60000 && rc == 0; i++) {
		char text[16];

		snprintf(text, sizeof(text), "%d", i);
		rc = add_blob(dest, text, &d, &err);
		usleep(1000);
	}
	CHECK(rc < 0 && err && strstr(err->msg, "broken: put"));
}

static void nothing_is_tagged_when_a_manifest_fails(void)
{
	CLEANUP_ERROR struct error *err = NULL;
	CLEANUP_IMAGE_DEST struct image_dest *dest = NULL;
	struct digest d;

	fake_reset();
	fake.broken = "manifest app by digest";
	dest = open_dest("app", "v1", &err);
	digest_of(&d, DIGEST_SHA256, "{}", 2);
	CHECK(dest &&
		image_dest_add_manifest(dest, "{}", 2, MEDIA_TYPE_OCI_MANIFEST, &d, &err) == 0);
	CHECK(commit(dest, "{\"manifests\":[]}", &err) < 0);
	CHECK(fake_tag("app", "v1") == NULL);
}

static void a_registry_that_refuses_is_known_at_once(void)
{
	CLEANUP_ERROR struct error *err = NULL;
	CLEANUP_IMAGE_DEST struct image_dest *dest = NULL;

	fake_reset();
	fake.broken = "has";
	dest = open_dest("app", "v1", &err);
	CHECK(!dest && err && strstr(err->msg, "docker://host/app:v1: broken: has"));
}

static void an_unfinished_image_leaves_no_tag(void)
{
	CLEANUP_ERROR struct error *err = NULL;
	struct image_dest *dest;
	struct digest d;

	fake_reset();
	dest = open_dest("app", "v1", &err);
	CHECK(dest && add_blob(dest, "one", &d, &err) == 0);
	image_dest_free(dest);
	CHECK(fake.cancelled);
	CHECK_U64(fake_calls("manifest", NULL), 0);
}

/* ---- referrers ---- */

#define SUBJECT_HEX "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define SUBJECT                                                                           \
	"{\"mediaType\":\"" MEDIA_TYPE_OCI_MANIFEST "\",\"digest\":\"sha256:" SUBJECT_HEX \
	"\",\"size\":3}"
#define LINKED                                                                           \
	"{\"config\":{\"mediaType\":\"" MEDIA_TYPE_OCI_CONFIG "\"},\"subject\":" SUBJECT \
	",\"annotations\":{\"a\":\"b\"}}"

static json_t *list_of_referrers(void)
{
	const char *digest = fake_tag("app", "sha256-" SUBJECT_HEX);
	CLEANUP_FREE char *key = xasprintf("app %s", digest ? digest : "");
	const json_t *entry = json_object_get(fake.manifests, key);
	const char *text = json_string_value(json_array_get(entry, 1));

	return text ? json_loads(text, 0, NULL) : NULL;
}

static void a_subject_is_linked_by_a_tag_where_the_registry_does_not(void)
{
	CLEANUP_ERROR struct error *err = NULL;
	CLEANUP_IMAGE_DEST struct image_dest *dest = NULL;
	json_auto_t *list = NULL;
	const json_t *manifests, *entry;
	struct digest other;
	size_t tagged = 0;

	fake_reset();
	fake_manifest("app", "sha256-" SUBJECT_HEX, MEDIA_TYPE_OCI_INDEX,
		"{\"schemaVersion\":2,\"manifests\":[{\"digest\":\"sha256:other\"}],\"x\":1}",
		&other);
	dest = open_dest("app", "v1", &err);
	if (!CHECK(dest && commit(dest, LINKED, &err) == 0))
		return;
	list = list_of_referrers();
	manifests = json_object_get(list, "manifests");
	CHECK_U64(json_array_size(manifests), 2); /* what others put there stays */
	CHECK(json_object_get(list, "x") != NULL);
	entry = json_array_get(manifests, 1);
	CHECK_STR(json_string_value(json_object_get(entry, "digest")), fake_tag("app", "v1"));
	CHECK_STR(json_string_value(json_object_get(entry, "artifactType")), MEDIA_TYPE_OCI_CONFIG);
	CHECK(json_object_get(json_object_get(entry, "annotations"), "a") != NULL);
	CHECK_U64(json_integer_value(json_object_get(entry, "size")), strlen(LINKED));
	CHECK_U64(fake_calls("manifest app v1", &tagged), 1);
	CHECK_U64(tagged, json_array_size(fake.calls) - 1); /* the tag is last */
}

static void pushing_it_again_lists_it_once(void)
{
	CLEANUP_ERROR struct error *err = NULL;

	fake_reset();
	for (int i = 0; i < 2; i++) {
		CLEANUP_IMAGE_DEST struct image_dest *dest = open_dest("app", "v1", &err);

		CHECK(dest && commit(dest, LINKED, &err) == 0);
	}
	{
		json_auto_t *list = list_of_referrers();

		CHECK_U64(json_array_size(json_object_get(list, "manifests")), 1);
	}
	CHECK_U64(fake_calls("manifest app sha256-", NULL), 1);
}

static void a_registry_that_keeps_referrers_is_left_to_it(void)
{
	CLEANUP_ERROR struct error *err = NULL;
	CLEANUP_IMAGE_DEST struct image_dest *dest = NULL;

	fake_reset();
	fake.keeps_referrers = true;
	dest = open_dest("app", "v1", &err);
	CHECK(dest && commit(dest, LINKED, &err) == 0);
	CHECK(fake_tag("app", "sha256-" SUBJECT_HEX) == NULL);
}

static void a_tag_with_something_else_is_not_overwritten(void)
{
	CLEANUP_ERROR struct error *err = NULL;
	CLEANUP_IMAGE_DEST struct image_dest *dest = NULL;
	struct digest other;

	fake_reset();
	fake_manifest(
		"app", "sha256-" SUBJECT_HEX, MEDIA_TYPE_OCI_MANIFEST, "{\"layers\":[]}", &other);
	dest = open_dest("app", "v1", &err);
	CHECK(dest && commit(dest, LINKED, &err) < 0);
	CHECK(err && strstr(err->msg, "not an index"));
	CHECK(fake_tag("app", "v1") == NULL);
}

static void a_long_digest_is_cut_in_the_tag(void)
{
	char tag[REFERRERS_TAG_MAX];
	struct digest d;

	digest_of(&d, DIGEST_SHA512, "", 0);
	referrers_tag(&d, tag);
	CHECK_STR(tag, "sha512-cf83e1357eefb8bdf1542850d66d8007d620e4050b5715dc83f4a921d36ce9ce");
}

/* ---- copying ---- */

static struct descriptor describe(const json_t *json)
{
	CLEANUP_ERROR struct error *err = NULL;
	struct descriptor d;

	CHECK(descriptor_parse(&d, json, &err) == 0);
	return d;
}

static void an_index_is_copied_after_what_it_lists(void)
{
	CLEANUP_TMPDIR char *dir = fixture_make();
	json_auto_t *index = fixture_index(dir,
		json_pack("[o, o]", fixture_image(dir, "amd64", "a"),
			fixture_index(dir, json_pack("[o]", fixture_image(dir, "arm64", "b")))));
	const struct origin from = { .layout.dir = dir };
	struct descriptor d = describe(index);
	CLEANUP_ERROR struct error *err = NULL;
	CLEANUP_IMAGE_DEST struct image_dest *dest = NULL;
	CLEANUP_FREE char *bytes = NULL;
	struct digest digest;

	fake_reset();
	dest = open_dest("app", "v1", &err);
	bytes = dest ? copy_parts(dest, &from, &d, &err) : NULL;
	if (!CHECK(bytes != NULL))
		return;
	CHECK(image_dest_commit(dest, bytes, d.size, d.media_type, NULL, &digest, &err) == 0);
	CHECK(digest_equal(&digest, &d.digest)); /* the same bytes */
	CHECK_U64(fake_calls("put", NULL), 4);
	CHECK_U64(fake_calls("manifest app by digest", NULL), 3);
	CHECK_U64(fake_calls("manifest app v1", NULL), 1);
}

static void what_is_on_the_same_registry_is_mounted_not_fetched(void)
{
	CLEANUP_IMAGE_REF struct image_ref ref = reference("source", "v1");
	CLEANUP_ERROR struct error *err = NULL;
	CLEANUP_REMOTE struct remote *remote = NULL;
	CLEANUP_IMAGE_DEST struct image_dest *dest = NULL;
	struct origin from = { 0 };
	struct digest here, gone;

	fake_reset();
	digest_of(&here, DIGEST_SHA256, "here", 4);
	digest_of(&gone, DIGEST_SHA256, "gone", 4);
	fake_blob("source", &here, "here");
	from.remote = remote = remote_open(&ref, &err);
	dest = open_dest("app", "v1", &err);
	if (!CHECK(remote && dest))
		return;
	image_dest_mount_from_source(dest, &ref);
	CHECK(image_dest_copy_blob(dest, &from, &here, 4, &err) == 0);
	CHECK(commit(dest, "{}", &err) == 0);
	CHECK(in_registry("app", &here));
	CHECK_U64(fake.opened_blobs, 0);
}

static void what_another_registry_lies_about_is_not_sent(void)
{
	CLEANUP_IMAGE_REF struct image_ref ref = reference("source", "v1");
	CLEANUP_ERROR struct error *err = NULL;
	CLEANUP_REMOTE struct remote *remote = NULL;
	CLEANUP_IMAGE_DEST struct image_dest *dest = NULL;
	struct origin from = { 0 };
	struct digest d;

	fake_reset();
	digest_of(&d, DIGEST_SHA256, "true", 4);
	fake_blob("source", &d, "lies");
	from.remote = remote = remote_open(&ref, &err);
	dest = open_dest("app", "v1", &err);
	CHECK(remote && dest && image_dest_copy_blob(dest, &from, &d, 4, &err) == 0);
	CHECK(commit(dest, "{}", &err) < 0);
	CHECK(err && strstr(err->msg, "have the digest"));
	CHECK_U64(fake_calls("put", NULL), 0);
}

static void a_document_of_another_kind_is_refused(void)
{
	CLEANUP_TMPDIR char *dir = fixture_make();
	json_auto_t *index = fixture_index(
		dir, json_pack("[o]", fixture_blob(dir, "application/vnd.example+json", "{}", 2)));
	const struct origin from = { .layout.dir = dir };
	struct descriptor d = describe(index);
	CLEANUP_ERROR struct error *err = NULL;
	CLEANUP_IMAGE_DEST struct image_dest *dest = NULL;

	fake_reset();
	dest = open_dest("app", "v1", &err);
	CHECK(dest && copy_parts(dest, &from, &d, &err) == NULL);
	CHECK(err && strstr(err->msg, "application/vnd.example+json"));
}

int main(void)
{
	RUN(blobs_come_before_the_tag);
	RUN(without_a_tag_it_is_latest);
	RUN(a_digest_is_no_destination);
	RUN(one_blob_is_sent_once);
	RUN(a_blob_that_is_there_is_not_sent);
	RUN(another_repository_is_asked_before_a_blob_is_sent);
	RUN(who_cannot_mount_sends);
	RUN(nothing_is_tagged_when_a_blob_fails);
	RUN(after_a_failure_no_more_blobs_are_taken);
	RUN(nothing_is_tagged_when_a_manifest_fails);
	RUN(a_registry_that_refuses_is_known_at_once);
	RUN(an_unfinished_image_leaves_no_tag);
	RUN(a_subject_is_linked_by_a_tag_where_the_registry_does_not);
	RUN(pushing_it_again_lists_it_once);
	RUN(a_registry_that_keeps_referrers_is_left_to_it);
	RUN(a_tag_with_something_else_is_not_overwritten);
	RUN(a_long_digest_is_cut_in_the_tag);
	RUN(an_index_is_copied_after_what_it_lists);
	RUN(what_is_on_the_same_registry_is_mounted_not_fetched);
	RUN(what_another_registry_lies_about_is_not_sent);
	RUN(a_document_of_another_kind_is_refused);
	return tap_done();
}
