// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/image/ref.h"

#include "tests/unit/tap.h"

static bool fails(const char *spec, const char *sentence, const char *hint)
{
	CLEANUP_ERROR struct error *err = NULL;
	struct image_ref ref;

	if (image_ref_parse(&ref, spec, &err) == 0) {
		image_ref_free(&ref);
		return false;
	}
	if (strstr(err->msg, sentence) && err->hint && strstr(err->hint, hint))
		return true;
	printf("# %s: \"%s\", hint \"%s\"\n", spec, err->msg, err->hint ? err->hint : "(none)");
	return false;
}

static bool is_layout(const char *spec, const char *path, const char *tag)
{
	CLEANUP_ERROR struct error *err = NULL;
	CLEANUP_IMAGE_REF struct image_ref ref = { 0 };

	return image_ref_parse(&ref, spec, &err) == 0 && ref.transport == TRANSPORT_OCI &&
	       strcmp(ref.spec, spec) == 0 && strcmp(ref.path, path) == 0 &&
	       (tag ? ref.tag && strcmp(ref.tag, tag) == 0 : !ref.tag);
}

static void a_layout_is_split_at_the_first_colon(void)
{
	CHECK(is_layout("oci:dir", "dir", NULL));
	CHECK(is_layout("oci:dir:", "dir", NULL));
	CHECK(is_layout("oci:a/b:tag", "a/b", "tag"));
	CHECK(is_layout("oci:/d:host:5000/app:1", "/d", "host:5000/app:1"));
}

static void a_layout_without_directory_is_refused(void)
{
	CHECK(fails("oci:", "directory is missing", "oci:DIR[:TAG]"));
	CHECK(fails("oci::tag", "directory is missing", "oci:DIR[:TAG]"));
}

static void tar_files_are_a_list(void)
{
	CLEANUP_ERROR struct error *err = NULL;
	CLEANUP_IMAGE_REF struct image_ref ref = { 0 };

	CHECK(image_ref_parse(&ref, "tar:base.tar,-,a:b.tar.gz", &err) == 0);
	CHECK(ref.transport == TRANSPORT_TAR);
	CHECK_U64(ref.n_files, 3);
	CHECK_STR(ref.files[0], "base.tar");
	CHECK_STR(ref.files[1], "-");
	CHECK_STR(ref.files[2], "a:b.tar.gz");
	CHECK(!ref.path && !ref.tag);
}

static void an_empty_tar_file_name_is_refused(void)
{
	CHECK(fails("tar:", "file name is missing", "lowest layer first"));
	CHECK(fails("tar:a,,b", "file name is missing", "lowest layer first"));
	CHECK(fails("tar:a,", "file name is missing", "lowest layer first"));
}

static void standard_input_can_be_one_layer_only(void)
{
	CLEANUP_ERROR struct error *err = NULL;
	struct image_ref ref;

	CHECK(image_ref_parse(&ref, "tar:-,-", &err) < 0);
	CHECK(err && strstr(err->msg, "standard input"));
}

static bool is_archive(
	const char *spec, enum transport transport, const char *path, const char *tag)
{
	CLEANUP_ERROR struct error *err = NULL;
	CLEANUP_IMAGE_REF struct image_ref ref = { 0 };

	return image_ref_parse(&ref, spec, &err) == 0 && ref.transport == transport &&
	       strcmp(ref.path, path) == 0 &&
	       (tag ? ref.tag && strcmp(ref.tag, tag) == 0 : !ref.tag);
}

static void archives_are_split_at_the_first_colon(void)
{
	CHECK(is_archive("oci-archive:a.tar", TRANSPORT_OCI_ARCHIVE, "a.tar", NULL));
	CHECK(is_archive("oci-archive:d/a.tar:1", TRANSPORT_OCI_ARCHIVE, "d/a.tar", "1"));
	CHECK(is_archive("docker-archive:-", TRANSPORT_DOCKER_ARCHIVE, "-", NULL));
	CHECK(is_archive("docker-archive:-:app:1", TRANSPORT_DOCKER_ARCHIVE, "-", "app:1"));
	CHECK(is_archive("docker-archive:a:@3", TRANSPORT_DOCKER_ARCHIVE, "a", "@3"));
	CHECK(fails("oci-archive:", "file is missing", "oci-archive:FILE[:TAG]"));
	CHECK(fails("docker-archive::x", "file is missing", "docker-archive:FILE[:NAME:TAG]"));
}

static bool is_docker(const char *spec, const char *host, const char *repository, const char *tag,
	const char *digest)
{
	CLEANUP_ERROR struct error *err = NULL;
	CLEANUP_IMAGE_REF struct image_ref ref = { 0 };

	if (image_ref_parse(&ref, spec, &err) < 0)
		return false;
	return ref.transport == TRANSPORT_DOCKER && !ref.path && strcmp(ref.host, host) == 0 &&
	       strcmp(ref.repository, repository) == 0 &&
	       (tag ? ref.tag && strcmp(ref.tag, tag) == 0 : !ref.tag) &&
	       (digest ? ref.digest && strcmp(ref.digest, digest) == 0 : !ref.digest);
}

#define DIGEST "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static void names_in_registries_are_read_as_docker_does(void)
{
	CHECK(is_docker("docker://debian", "docker.io", "library/debian", "latest", NULL));
	CHECK(is_docker("docker://team/app:1", "docker.io", "team/app", "1", NULL));
	CHECK(is_docker(
		"docker://index.docker.io/debian", "docker.io", "library/debian", "latest", NULL));
	CHECK(is_docker("docker://localhost:5000/app", "localhost:5000", "app", "latest", NULL));
	CHECK(is_docker("docker://h.example/a/b:v1", "h.example", "a/b", "v1", NULL));
	CHECK(is_docker("docker://[::1]:5000/app", "[::1]:5000", "app", "latest", NULL));
}

static void a_digest_stands_alone_or_behind_a_tag(void)
{
	CHECK(is_docker("docker://h.example/a@" DIGEST, "h.example", "a", NULL, DIGEST));
	CHECK(is_docker("docker://h.example/a:1@" DIGEST, "h.example", "a", "1", DIGEST));
}

static void malformed_names_are_refused_in_dockers_words(void)
{
	static const char form[] = "docker://[HOST[:PORT]/]NAME[:TAG][@DIGEST]";

	CHECK(fails("docker://", "docker://: the name is missing", form));
	CHECK(fails("docker://h.example/", "docker://h.example/: invalid reference format", form));
	CHECK(fails("docker://App",
		"docker://App: invalid reference format: repository name must be lowercase", form));
	CHECK(fails("docker://a@sha256:00", "invalid reference format", form));
	CHECK(fails("docker://a@md5:0123456789abcdef0123456789abcdef",
		"unsupported digest algorithm", form));
	CHECK(fails("docker://a\x1b[2J", "docker://a\\033[2J: invalid reference format", form));
}

static void a_digest_that_no_registry_uses_is_refused(void)
{
	CLEANUP_ERROR struct error *err = NULL;
	struct image_ref ref;

	CHECK(image_ref_parse(&ref,
		      "docker://a@sha384:0123456789abcdef0123456789abcdef0123456789abcdef"
		      "0123456789abcdef0123456789abcdef0123456789abcdef",
		      &err) < 0);
	CHECK(err && strstr(err->msg, "sha384"));
}

static void unsupported_transports_are_named_with_a_way_round(void)
{
	CHECK(fails("dir:x", "not supported", "skopeo copy dir:x"));
}

static void local_stores_are_answered_with_the_pipe_that_does_it(void)
{
	CHECK(fails("docker-daemon:app:1", "daemon",
		"docker save app:1 | erofs-convert convert docker-archive:- DEST"));
	CHECK(fails("containers-storage:app", "podman",
		"podman save --format docker-archive app | erofs-convert convert "
		"docker-archive:- DEST"));
	CHECK(fails("containers-storage:[overlay@/var/lib]app", "podman", "docker-archive app |"));
	CHECK(fails("docker-daemon:", "daemon", "docker save NAME |"));
}

static void a_missing_or_unknown_transport_shows_the_known_ones(void)
{
	CHECK(fails("", "empty", "oci:DIR[:TAG]"));
	CHECK(fails("alpine", "transport is missing", "tar:FILE"));
	CHECK(fails("./dir:x", "transport is missing", "oci:DIR[:TAG]"));
	CHECK(fails("host.example/app:1", "transport is missing", "docker://"));
	CHECK(fails("alpine:3.19", "unknown transport \"alpine:\"", "docker://"));
	CHECK(fails("docker:x", "unknown transport \"docker:\"", "oci:DIR"));
}

static void tags_follow_the_grammar_of_image_spec(void)
{
	CHECK(image_ref_tag_is_valid("1"));
	CHECK(image_ref_tag_is_valid("v1.2.3-rc_1+x@y"));
	CHECK(image_ref_tag_is_valid("host:5000/a/b:c"));
	CHECK(image_ref_tag_is_valid("a--b"));
	CHECK(!image_ref_tag_is_valid(""));
	CHECK(!image_ref_tag_is_valid("-a"));
	CHECK(!image_ref_tag_is_valid("a-"));
	CHECK(!image_ref_tag_is_valid("a---b"));
	CHECK(!image_ref_tag_is_valid("a..b"));
	CHECK(!image_ref_tag_is_valid("a//b"));
	CHECK(!image_ref_tag_is_valid("a b"));
	CHECK(!image_ref_tag_is_valid("\xc3\xa4"));
}

static void a_copy_stands_alone(void)
{
	CLEANUP_ERROR struct error *err = NULL;
	CLEANUP_IMAGE_REF struct image_ref copy = { 0 };
	struct image_ref ref;

	CHECK(image_ref_parse(&ref, "tar:a,b", &err) == 0);
	image_ref_copy(&copy, &ref);
	image_ref_free(&ref);
	CHECK_U64(copy.n_files, 2);
	CHECK_STR(copy.files[1], "b");
	CHECK_STR(copy.spec, "tar:a,b");
}

static void a_copy_has_a_registrys_parts(void)
{
	CLEANUP_ERROR struct error *err = NULL;
	CLEANUP_IMAGE_REF struct image_ref copy = { 0 };
	struct image_ref ref;

	CHECK(image_ref_parse(&ref, "docker://h.example/a:1@" DIGEST, &err) == 0);
	image_ref_copy(&copy, &ref);
	image_ref_free(&ref);
	CHECK_STR(copy.host, "h.example");
	CHECK_STR(copy.repository, "a");
	CHECK_STR(copy.tag, "1");
	CHECK_STR(copy.digest, DIGEST);
}

int main(void)
{
	RUN(a_layout_is_split_at_the_first_colon);
	RUN(a_layout_without_directory_is_refused);
	RUN(tar_files_are_a_list);
	RUN(an_empty_tar_file_name_is_refused);
	RUN(standard_input_can_be_one_layer_only);
	RUN(archives_are_split_at_the_first_colon);
	RUN(names_in_registries_are_read_as_docker_does);
	RUN(a_digest_stands_alone_or_behind_a_tag);
	RUN(malformed_names_are_refused_in_dockers_words);
	RUN(a_digest_that_no_registry_uses_is_refused);
	RUN(unsupported_transports_are_named_with_a_way_round);
	RUN(local_stores_are_answered_with_the_pipe_that_does_it);
	RUN(a_missing_or_unknown_transport_shows_the_known_ones);
	RUN(tags_follow_the_grammar_of_image_spec);
	RUN(a_copy_stands_alone);
	RUN(a_copy_has_a_registrys_parts);
	return tap_done();
}
