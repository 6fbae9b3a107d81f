// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/* Archives of images: the index of the outer tar, names in it, and images read from it. */
#include "config.h"

#include "lib/image/archive.h"

#include <errno.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "fmt/tar.h"
#include "fmt/tar_write.h"
#include "lib/image/dest.h"
#include "lib/image/docker_name.h"
#include "lib/image/source.h"
#include "lib/image/tar_scan.h"
#include "lib/stream/spool.h"
#include "tests/unit/layout_fixture.h"
#include "tests/unit/tap.h"

/* A tar in memory. */
struct tar {
	int fd;
	uint64_t size;
};

static void cleanup_tar(struct tar *t)
{
	close(t->fd);
}

#define CLEANUP_TAR CLEANUP(cleanup_tar)

static struct tar tar_new(void)
{
	return (struct tar){ memfd_create("tar", MFD_CLOEXEC), 0 };
}

static void put(struct tar *t, const void *p, size_t len)
{
	if (pwrite(t->fd, p, len, (off_t)t->size) != (ssize_t)len)
		exit(99);
	t->size += len;
}

static void put_entry(
	struct tar *t, enum entry_type type, const char *path, const char *link, const char *data)
{
	static const uint8_t zeros[TAR_BLOCK];
	const struct entry e = { .type = type, .path = path, .link = link, .size = strlen(data) };
	struct tar_head head = tar_head_measure(&e);
	CLEANUP_FREE uint8_t *bytes = xmalloc(head.size);

	tar_head_encode(bytes, &e);
	put(t, bytes, head.size);
	put(t, data, strlen(data));
	put(t, zeros, tar_padding(strlen(data)));
}

static void put_file(struct tar *t, const char *path, const char *data)
{
	put_entry(t, ENTRY_FILE, path, "", data);
}

/* The content of a member as it is found, or NULL. */
static char *content(const struct tar *t, const struct tar_index *x, const char *name)
{
	CLEANUP_ERROR struct error *err = NULL;
	const struct tar_member *m = tar_index_find(x, name, &err);
	char *text;

	if (!m)
		return NULL;
	text = xzalloc(m->size + 1);
	if (pread(t->fd, text, m->size, (off_t)m->offset) != (ssize_t)m->size)
		exit(99);
	return text;
}

static bool holds(const struct tar *t, const char *name, const char *want)
{
	CLEANUP_ERROR struct error *err = NULL;
	CLEANUP(tar_index_free) struct tar_index x = { 0 };
	CLEANUP_FREE char *got = NULL;

	if (tar_index_read(&x, t->fd, t->size, &err) < 0) {
		printf("# %s\n", err->msg);
		return false;
	}
	got = content(t, &x, name);
	if (!want || !got)
		return !want && !got;
	return strcmp(got, want) == 0;
}

static bool refused(const struct tar *t, const char *sentence)
{
	CLEANUP_ERROR struct error *err = NULL;
	struct tar_index x;

	if (tar_index_read(&x, t->fd, t->size, &err) == 0)
		tar_index_free(&x);
	else if (strstr(err->msg, sentence))
		return true;
	printf("# wanted \"%s\", saw \"%s\"\n", sentence, err ? err->msg : "no error");
	return false;
}

static bool cleans(const char *name, const char *want)
{
	CLEANUP_FREE char *got = tar_name_clean(name);

	return want ? got && strcmp(got, want) == 0 : !got;
}

static void names_are_cleaned_by_the_letter(void)
{
	CHECK(cleans("a", "a") && cleans("./a/./b//c/", "a/b/c") && cleans("/a", "a"));
	CHECK(cleans("", "") && cleans(".", "") && cleans("a/..", "") && cleans("a/../b", "b"));
	CHECK(cleans("a/b/../../c", "c") && cleans("..a/b..", "..a/b.."));
	CHECK(cleans("..", NULL) && cleans("../a", NULL) && cleans("a/../../b", NULL));
	CHECK(cleans("/..", NULL));
}

static void members_are_found_by_any_form_of_their_name(void)
{
	CLEANUP_TAR struct tar t = tar_new();
	CLEANUP_FREE char *longer = xzalloc(301);

	memset(longer, 'n', 300);
	put_file(&t, "./index.json", "one");
	put_entry(&t, ENTRY_DIR, "blobs/", "", "");
	put_file(&t, "blobs/x", "two");
	put_file(&t, longer, "three");
	CHECK(holds(&t, "index.json", "one") && holds(&t, "./index.json", "one"));
	CHECK(holds(&t, "blobs//x", "two") && holds(&t, "blobs/y/../x", "two"));
	CHECK(holds(&t, longer, "three"));
	CHECK(holds(&t, "blobs", NULL) && holds(&t, "none", NULL) &&
		holds(&t, "../index.json", NULL));
}

static void of_two_members_of_one_name_the_last_counts(void)
{
	CLEANUP_TAR struct tar t = tar_new();

	put_file(&t, "a", "first");
	put_file(&t, "b", "");
	put_file(&t, "./a", "second");
	put_file(&t, "b", "");
	CHECK(holds(&t, "a", "second") && holds(&t, "b", ""));
	put_entry(&t, ENTRY_DIR, "a/", "", "");
	CHECK(holds(&t, "a", NULL));
}

static void links_are_followed_within_the_archive(void)
{
	CLEANUP_TAR struct tar t = tar_new();

	put_file(&t, "1/layer.tar", "data");
	put_entry(&t, ENTRY_SYMLINK, "2/layer.tar", "../1/layer.tar", "");
	put_entry(&t, ENTRY_SYMLINK, "3/layer.tar", "../2/layer.tar", "");
	put_entry(&t, ENTRY_HARDLINK, "4/layer.tar", "3/layer.tar", "");
	put_entry(&t, ENTRY_SYMLINK, "abs", "/1/layer.tar", "");
	put_entry(&t, ENTRY_SYMLINK, "out", "../1/layer.tar", "");
	put_entry(&t, ENTRY_SYMLINK, "loop", "loop", "");
	CHECK(holds(&t, "2/layer.tar", "data") && holds(&t, "3/layer.tar", "data"));
	CHECK(holds(&t, "4/layer.tar", "data") && holds(&t, "abs", "data"));
	CHECK(holds(&t, "out", NULL) && holds(&t, "loop", NULL));
}

static void the_end_may_be_marked_or_not(void)
{
	static const uint8_t zeros[4 * TAR_BLOCK];
	CLEANUP_TAR struct tar t = tar_new();

	put_file(&t, "a", "x");
	t.size -= 511; /* the padding is missing, too */
	CHECK(holds(&t, "a", "x"));
	t.size += 511;
	put(&t, zeros, 2 * TAR_BLOCK);
	put(&t, "garbage", 7);
	CHECK(holds(&t, "a", "x"));
}

static void something_behind_a_single_zero_block_is_refused(void)
{
	static const uint8_t zeros[TAR_BLOCK];
	CLEANUP_TAR struct tar t = tar_new();

	put(&t, zeros, TAR_BLOCK);
	CHECK(holds(&t, "a", NULL));
	put_file(&t, "a", "x");
	CHECK(refused(&t, "something follows a single zero block"));
}

static void every_cut_within_a_tar_is_an_error_or_harmless(void)
{
	CLEANUP_TAR struct tar t = tar_new();
	CLEANUP_FREE char *longer = xzalloc(301);
	uint64_t whole;

	memset(longer, 'n', 300);
	put_file(&t, "a", "some data");
	put_file(&t, longer, "more data");
	whole = t.size;
	for (t.size = 0; t.size < whole; t.size++) {
		CLEANUP_ERROR struct error *err = NULL;
		struct tar_index x;

		if (tar_index_read(&x, t.fd, t.size, &err) == 0) {
			CHECK(x.n <= 2);
			tar_index_free(&x);
		} else {
			CHECK(strstr(err->msg, "ends"));
		}
	}
}

static void more_members_than_any_image_archive_has_are_refused(void)
{
	CLEANUP_TAR struct tar t = tar_new();
	const struct entry e = { .path = "a", .link = "" };
	CLEANUP_FREE uint8_t *many = xmalloc((size_t)TAR_BLOCK * 1000);

	for (size_t i = 0; i < 1000; i++)
		tar_head_encode(many + i * TAR_BLOCK, &e);
	for (size_t i = 0; i < TAR_INDEX_MAX_MEMBERS / 1000; i++)
		put(&t, many, (size_t)TAR_BLOCK * 1000);
	CHECK(holds(&t, "a", ""));
	put(&t, many, TAR_BLOCK);
	CHECK(refused(&t, "more members than any archive of images"));
}

static void longer_names_than_paths_are_refused(void)
{
	CLEANUP_TAR struct tar t = tar_new();
	CLEANUP_FREE char *name = xzalloc(5001);

	memset(name, 'n', 5000);
	put_file(&t, name, "");
	CHECK(refused(&t, "more than 4095 bytes"));
}

static bool completes(const char *name, const char *want)
{
	CLEANUP_FREE char *got = docker_name_complete(name);

	if (strcmp(got, want) != 0)
		printf("# %s: %s\n", name, got);
	return strcmp(got, want) == 0;
}

static void docker_names_have_one_complete_form(void)
{
	static const char *const alpine[] = { "alpine", "alpine:latest", "library/alpine",
		"docker.io/alpine", "docker.io/library/alpine:latest",
		"index.docker.io/library/alpine" };

	for (size_t i = 0; i < sizeof(alpine) / sizeof(*alpine); i++)
		CHECK(completes(alpine[i], "docker.io/library/alpine:latest"));
	CHECK(completes("team/app:1", "docker.io/team/app:1"));
	CHECK(completes("host:5000/app", "host:5000/app:latest"));
	CHECK(completes("localhost/app:1", "localhost/app:1"));
	CHECK(completes("a.example/b/c:1", "a.example/b/c:1"));
	CHECK(completes("", "docker.io/library/:latest"));
}

static struct stream *stream_of(const char *bytes)
{
	int fd = memfd_create("stream", MFD_CLOEXEC);

	if (pwrite(fd, bytes, strlen(bytes), 0) != (ssize_t)strlen(bytes))
		exit(99);
	return stream_from_fd(fd, "test");
}

static void a_spooled_stream_can_be_read_anywhere_and_has_no_name(void)
{
	CLEANUP_TMPDIR char *dir = tmpdir_make();
	CLEANUP_STREAM struct stream *s = stream_of("0123456789");
	CLEANUP_ERROR struct error *err = NULL;
	char buf[4] = "";
	uint64_t size;
	CLEANUP_FD int fd = -1;

	setenv("TMPDIR", dir, 1);
	fd = stream_spool(s, &size, &err);
	unsetenv("TMPDIR");
	CHECK(fd >= 0);
	CHECK_U64(size, 10);
	CHECK(pread(fd, buf, 3, 5) == 3);
	CHECK_STR(buf, "567");
	CHECK_U64(count_entries(dir), 0);
}

static void a_spool_without_a_place_says_what_to_set(void)
{
	CLEANUP_STREAM struct stream *s = stream_of("x");
	CLEANUP_ERROR struct error *err = NULL;
	uint64_t size;

	setenv("TMPDIR", "/nonexistent", 1);
	CHECK(stream_spool(s, &size, &err) < 0);
	unsetenv("TMPDIR");
	CHECK(err && strstr(err->msg, "/nonexistent") && strstr(err->hint, "TMPDIR"));
}

static struct image_source *open_spec(const char *spec, struct error **err)
{
	CLEANUP_IMAGE_REF struct image_ref ref = { 0 };

	return image_ref_parse(&ref, spec, err) < 0 ? NULL : image_source_open(&ref, NULL, err);
}

/* The bytes of a blob through its range. */
static bool has_blob(struct image_source *src, const struct digest *d, const char *want)
{
	CLEANUP_FILE_RANGE struct file_range r = FILE_RANGE_NONE;
	CLEANUP_ERROR struct error *err = NULL;
	CLEANUP_FREE char *bytes = NULL;

	if (image_source_open_blob(src, d, &r, &err) < 0)
		return false;
	bytes = xzalloc(r.size + 1);
	return file_range_read(&r, bytes, "blob", &err) == 0 && strcmp(bytes, want) == 0;
}

static json_t *add_blob(struct image_dest *dest, const char *type, const char *bytes)
{
	CLEANUP_ERROR struct error *err = NULL;
	struct outfile *o = image_dest_new_blob(dest, &err);
	char text[DIGEST_MAX_STR];
	struct digest d;

	digest_of(&d, DIGEST_SHA256, bytes, strlen(bytes));
	if (!o || outfile_pwrite(o, bytes, strlen(bytes), 0, &err) < 0 ||
		image_dest_add_blob(dest, o, &d, strlen(bytes), &err) < 0)
		exit(99);
	return json_pack("{s:s, s:s, s:I}", "mediaType", type, "digest", digest_format(&d, text),
		"size", (json_int_t)strlen(bytes));
}

/* An image of one layer into any destination. */
static int put_image(const char *spec, const char *data, struct error **err)
{
	CLEANUP_IMAGE_REF struct image_ref ref = { 0 };
	CLEANUP_IMAGE_DEST struct image_dest *dest = NULL;
	json_auto_t *layers = NULL, *config = NULL, *manifest = NULL;
	CLEANUP_FREE char *config_text = NULL, *text = NULL;
	struct digest digest;

	if (image_ref_parse(&ref, spec, err) < 0 || !(dest = image_dest_open(&ref, err)))
		return -1;
	layers = json_pack("[o]", add_blob(dest, TAR_TYPE, data));
	config = fixture_config("amd64", layers);
	config_text = json_dumps(config, JSON_COMPACT);
	manifest = json_pack("{s:i, s:o, s:O}", "schemaVersion", 2, "config",
		add_blob(dest, MEDIA_TYPE_OCI_CONFIG, config_text), "layers", layers);
	text = json_dumps(manifest, JSON_COMPACT);
	return image_dest_commit(
		dest, text, strlen(text), MEDIA_TYPE_OCI_MANIFEST, NULL, &digest, err);
}

static void an_archive_is_written_whole_and_read_back(void)
{
	CLEANUP_TMPDIR char *dir = tmpdir_make();
	CLEANUP_FREE char *spec = xasprintf("oci-archive:%s/a.tar:t", dir);
	CLEANUP_ERROR struct error *err = NULL;
	CLEANUP_IMAGE_SOURCE struct image_source *src = NULL;
	struct digest none = { 0 };

	CHECK(put_image(spec, "old", &err) == 0 && put_image(spec, "data", &err) == 0);
	CHECK_U64(count_entries(dir), 1);
	src = open_spec(spec, &err);
	if (!CHECK(src != NULL))
		return;
	CHECK(has_blob(src, &src->layers[0].digest, "data"));
	CHECK(!has_blob(src, &none, ""));
	CHECK(image_source_blob_path(src, &none, &err) == NULL && strstr(err->msg, "oci:"));
}

static void a_layout_gives_its_blobs_the_same_way(void)
{
	CLEANUP_TMPDIR char *dir = tmpdir_make();
	CLEANUP_FREE char *spec = xasprintf("oci:%s:t", dir);
	CLEANUP_ERROR struct error *err = NULL;
	CLEANUP_IMAGE_SOURCE struct image_source *src = NULL;

	CHECK(put_image(spec, "data", &err) == 0);
	src = open_spec(spec, &err);
	CHECK(src && has_blob(src, &src->layers[0].digest, "data"));
}

static void an_archive_that_fails_leaves_the_old_one(void)
{
	CLEANUP_TMPDIR char *dir = tmpdir_make();
	CLEANUP_FREE char *spec = xasprintf("oci-archive:%s/a.tar:t", dir);
	CLEANUP_ERROR struct error *err = NULL, *second = NULL;
	CLEANUP_IMAGE_SOURCE struct image_source *src = NULL;
	struct rlimit old, small = { 4096, 0 };

	CHECK(put_image(spec, "old", &err) == 0);
	signal(SIGXFSZ, SIG_IGN);
	getrlimit(RLIMIT_FSIZE, &old);
	small.rlim_max = old.rlim_max;
	setrlimit(RLIMIT_FSIZE, &small);
	CHECK(put_image(spec, "new", &second) < 0);
	setrlimit(RLIMIT_FSIZE, &old);
	CHECK(second && second->code == EFBIG);
	CHECK_U64(count_entries(dir), 1);
	src = open_spec(spec, &err);
	CHECK(src && has_blob(src, &src->layers[0].digest, "old"));
}

int main(void)
{
	RUN(names_are_cleaned_by_the_letter);
	RUN(members_are_found_by_any_form_of_their_name);
	RUN(of_two_members_of_one_name_the_last_counts);
	RUN(links_are_followed_within_the_archive);
	RUN(the_end_may_be_marked_or_not);
	RUN(something_behind_a_single_zero_block_is_refused);
	RUN(every_cut_within_a_tar_is_an_error_or_harmless);
	RUN(more_members_than_any_image_archive_has_are_refused);
	RUN(longer_names_than_paths_are_refused);
	RUN(docker_names_have_one_complete_form);
	RUN(a_spooled_stream_can_be_read_anywhere_and_has_no_name);
	RUN(a_spool_without_a_place_says_what_to_set);
	RUN(an_archive_is_written_whole_and_read_back);
	RUN(a_layout_gives_its_blobs_the_same_way);
	RUN(an_archive_that_fails_leaves_the_old_one);
	return tap_done();
}
