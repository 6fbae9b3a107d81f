// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/* Writing images into layouts: what appears, when, and what a killed process leaves. */
#include "config.h"

#include "lib/image/dest.h"

#include <errno.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>

#include "lib/image/hidden_dir.h"
#include "lib/image/journal.h"
#include "lib/image/source.h"
#include "tests/unit/layout_fixture.h"
#include "tests/unit/tap.h"

static struct image_dest *open_dest(const char *dir, const char *tag, struct error **err)
{
	CLEANUP_FREE char *spec = xasprintf("oci:%s%s%s", dir, tag ? ":" : "", tag ? tag : "");
	CLEANUP_IMAGE_REF struct image_ref ref = { 0 };

	return image_ref_parse(&ref, spec, err) < 0 ? NULL : image_dest_open(&ref, err);
}

static json_t *add_blob(
	struct image_dest *dest, const char *type, const char *bytes, struct error **err)
{
	struct outfile *o = image_dest_new_blob(dest, err);
	char text[DIGEST_MAX_STR];
	struct digest d;

	digest_of(&d, DIGEST_SHA256, bytes, strlen(bytes));
	if (!o || outfile_pwrite(o, bytes, strlen(bytes), 0, err) < 0 ||
		image_dest_add_blob(dest, o, &d, strlen(bytes), err) < 0)
		return NULL;
	return json_pack("{s:s, s:s, s:I}", "mediaType", type, "digest", digest_format(&d, text),
		"size", (json_int_t)strlen(bytes));
}

/* An image of two layers: one that all images share, and `content`. */
static char *add_image(struct image_dest *dest, const char *content, struct error **err)
{
	json_t *shared = add_blob(dest, TAR_TYPE, "shared", err);
	json_t *own = shared ? add_blob(dest, TAR_TYPE, content, err) : NULL;
	json_auto_t *layers = own ? json_pack("[o, o]", shared, own) : NULL, *manifest = NULL;
	json_auto_t *config = NULL;
	CLEANUP_FREE char *text = NULL;
	json_t *descriptor;

	if (!layers)
		return NULL;
	config = fixture_config("amd64", layers);
	text = json_dumps(config, JSON_COMPACT);
	descriptor = add_blob(dest, MEDIA_TYPE_OCI_CONFIG, text, err);
	if (!descriptor)
		return NULL;
	manifest = json_pack(
		"{s:i, s:o, s:O}", "schemaVersion", 2, "config", descriptor, "layers", layers);
	return json_dumps(manifest, JSON_COMPACT);
}

static int commit(struct image_dest *dest, const char *manifest, struct error **err)
{
	json_auto_t *platform = json_pack("{s:s, s:s}", "architecture", "amd64", "os", "linux");
	struct digest digest;

	return image_dest_commit(
		dest, manifest, strlen(manifest), MEDIA_TYPE_OCI_MANIFEST, platform, &digest, err);
}

static int put(const char *dir, const char *tag, const char *content, struct error **err)
{
	CLEANUP_IMAGE_DEST struct image_dest *dest = open_dest(dir, tag, err);
	CLEANUP_FREE char *manifest = dest ? add_image(dest, content, err) : NULL;

	return manifest ? commit(dest, manifest, err) : -1;
}

static bool puts_image(const char *dir, const char *tag, const char *content)
{
	CLEANUP_ERROR struct error *err = NULL;

	if (put(dir, tag, content, &err) == 0)
		return true;
	printf("# %s\n", err->msg);
	return false;
}

static struct image_source *open_source(const char *dir, const char *tag, struct error **err)
{
	CLEANUP_FREE char *spec = xasprintf("oci:%s%s%s", dir, tag ? ":" : "", tag ? tag : "");
	CLEANUP_IMAGE_REF struct image_ref ref = { 0 };

	return image_ref_parse(&ref, spec, err) < 0 ? NULL : image_source_open(&ref, NULL, err);
}

/* The image is there, whole, and has this content. */
static bool has_image(const char *dir, const char *tag, const char *content)
{
	CLEANUP_ERROR struct error *err = NULL;
	CLEANUP_IMAGE_SOURCE struct image_source *src = open_source(dir, tag, &err);
	CLEANUP_STREAM struct stream *s = NULL;
	char buf[64] = "";

	if (src)
		s = image_source_open_layer(src, 1, &err);
	return s && s->read(s, buf, sizeof(buf) - 1, &err) > 0 && strcmp(buf, content) == 0;
}

static json_t *read_index(const char *dir)
{
	CLEANUP_FREE char *path = xasprintf("%s/index.json", dir);

	return json_load_file(path, 0, NULL);
}

static void note_digests(json_t *set, const json_t *v)
{
	const char *key;
	json_t *item;
	size_t i;

	json_array_foreach(v, i, item) note_digests(set, item);
	json_object_foreach((json_t *)v, key, item)
	{
		if (strcmp(key, "digest") == 0)
			json_object_set_new(set, json_string_value(item), json_true());
		note_digests(set, item);
	}
}

/* Nothing is in the layout but what index.json leads to, and all of that; nothing beside it. */
static bool is_clean(const char *parent, const char *dir)
{
	CLEANUP_FREE char *blobs = xasprintf("%s/blobs/sha256", dir);
	json_auto_t *index = read_index(dir), *set = json_object();
	json_t *entry;
	size_t i;

	note_digests(set, index);
	json_array_foreach(json_object_get(index, "manifests"), i, entry)
	{
		CLEANUP_FREE char *path = xasprintf(
			"%s/%s", blobs, json_string_value(json_object_get(entry, "digest")) + 7);
		json_auto_t *manifest = json_load_file(path, 0, NULL);

		note_digests(set, manifest);
	}
	if (count_entries(parent) == 1 && count_entries(dir) == 3 && json_object_size(set) > 0 &&
		count_entries(blobs) == json_object_size(set))
		return true;
	printf("# beside: %zu, in the layout: %zu, blobs: %zu, referenced: %zu\n",
		count_entries(parent), count_entries(dir), count_entries(blobs),
		json_object_size(set));
	return false;
}

/* A test in a parent directory of its own, with and without O_TMPFILE. */
static void both_ways(void (*test)(const char *parent, const char *dir))
{
	for (int force = 0; force < 2; force++) {
		CLEANUP_TMPDIR char *parent = tmpdir_make();
		CLEANUP_FREE char *dir = xasprintf("%s/layout", parent);

		outfile_test_force_names(force);
		test(parent, dir);
		outfile_test_force_names(false);
	}
}

static void new_layout(const char *parent, const char *dir)
{
	CLEANUP_FREE char *slash = xasprintf("%s//", dir);
	CLEANUP_ERROR struct error *err = NULL;
	CLEANUP_IMAGE_DEST struct image_dest *dest = open_dest(slash, "a", &err);
	CLEANUP_FREE char *manifest = add_image(dest, "one", &err);

	CHECK(access(dir, F_OK) < 0);
	CHECK(commit(dest, manifest, &err) == 0);
	CHECK(has_image(dir, "a", "one"));
	CHECK(is_clean(parent, dir));
}

static void a_new_layout_appears_at_commit(void)
{
	both_ways(new_layout);
}

static void abandoned(const char *parent, const char *dir)
{
	CLEANUP_ERROR struct error *err = NULL;
	struct image_dest *dest = open_dest(dir, "a", &err);
	CLEANUP_FREE char *manifest = add_image(dest, "one", &err);

	CHECK(manifest != NULL);
	image_dest_free(dest);
	CHECK_U64(count_entries(parent), 0);
}

static void without_a_commit_nothing_stays(void)
{
	both_ways(abandoned);
}

static void empty_directory(const char *parent, const char *dir)
{
	struct stat before, after;

	CHECK(mkdir(dir, 0700) == 0 && stat(dir, &before) == 0);
	CHECK(puts_image(dir, "a", "one"));
	CHECK(has_image(dir, "a", "one") && is_clean(parent, dir));
	CHECK(stat(dir, &after) == 0 && before.st_ino == after.st_ino);
}

static void an_empty_directory_is_filled(void)
{
	both_ways(empty_directory);
}

static void plain_rename(const char *parent, const char *dir)
{
	hidden_dir_test_refuse_rename(true);
	CHECK(puts_image(dir, "a", "one"));
	hidden_dir_test_refuse_rename(false);
	CHECK(has_image(dir, "a", "one") && is_clean(parent, dir));
}

static void a_filesystem_without_exclusive_rename_will_do(void)
{
	both_ways(plain_rename);
}

static void second_image(const char *parent, const char *dir)
{
	CHECK(puts_image(dir, "a", "one"));
	CHECK(puts_image(dir, "b", "two"));
	CHECK(has_image(dir, "a", "one") && has_image(dir, "b", "two") && is_clean(parent, dir));
	CHECK(puts_image(dir, "a", "three"));
	CHECK(has_image(dir, "a", "three") && has_image(dir, "b", "two"));
}

static void other_images_of_a_layout_stay(void)
{
	both_ways(second_image);
}

static void what_we_do_not_know_in_index_json_stays_in_order(void)
{
	CLEANUP_TMPDIR char *dir = fixture_make();
	CLEANUP_FREE char *path = xasprintf("%s/index.json", dir);
	json_auto_t *old = json_pack(
		"{s:i, s:[{s:s, s:s, s:i, s:{s:s}}, {s:s, s:s, s:{s:s}}], s:s}", "schemaVersion", 2,
		"manifests", "mediaType", "text/plain", "digest", "md5:0", "size", 1, "annotations",
		ANNOTATION_REF_NAME, "x", "mediaType", "t/x", "odd", "y", "annotations",
		ANNOTATION_REF_NAME, "a", "zz", "unknown");
	json_auto_t *index = NULL;
	CLEANUP_FREE char *first = NULL;

	json_dump_file(old, path, 0);
	CHECK(puts_image(dir, "a", "one"));
	index = read_index(dir);
	CHECK_STR(json_string_value(json_object_get(index, "zz")), "unknown");
	CHECK_U64(json_array_size(json_object_get(index, "manifests")), 2);
	first = json_dumps(json_array_get(json_object_get(index, "manifests"), 0), JSON_COMPACT);
	CHECK_STR(first, "{\"mediaType\":\"text/plain\",\"digest\":\"md5:0\",\"size\":1,"
			 "\"annotations\":{\"" ANNOTATION_REF_NAME "\":\"x\"}}");
	CHECK(has_image(dir, "a", "one"));
}

static size_t n_entries(const char *dir)
{
	json_auto_t *index = read_index(dir);

	return json_array_size(json_object_get(index, "manifests"));
}

static void without_a_tag_the_same_image_is_listed_once(const char *parent, const char *dir)
{
	(void)parent;
	CHECK(puts_image(dir, NULL, "one") && puts_image(dir, NULL, "one"));
	CHECK_U64(n_entries(dir), 1);
	CHECK(has_image(dir, NULL, "one"));
	CHECK(puts_image(dir, NULL, "two"));
	CHECK_U64(n_entries(dir), 2);
	CHECK(puts_image(dir, "a", "one")); /* takes over the entry without a tag */
	CHECK_U64(n_entries(dir), 2);
	CHECK(has_image(dir, "a", "one"));
}

static void images_without_a_tag_are_told_apart_by_digest(void)
{
	both_ways(without_a_tag_the_same_image_is_listed_once);
}

static void the_index_has_the_same_bytes_everywhere(void)
{
	CLEANUP_TMPDIR char *parent = tmpdir_make();
	CLEANUP_FREE char *dir = xasprintf("%s/l", parent);
	CLEANUP_FREE char *path = xasprintf("%s/index.json", dir);
	CLEANUP_FREE char *text = NULL;

	CHECK(puts_image(dir, "a", "one"));
	text = read_file(path);
	CHECK_STR(text,
		"{\"schemaVersion\":2,\"mediaType\":\"application/vnd.oci.image.index.v1+"
		"json\",\"manifests\":[{\"mediaType\":\"application/vnd.oci.image.manifest.v1+"
		"json\",\"digest\":\"sha256:"
		"31d7024b5edcf1f7f1cfc2bee9a88b617bec107e31f6a50b39ac48292b5b7e59\",\"size\":484,"
		"\"annotations\":{\"org.opencontainers.image.ref.name\":\"a\"},\"platform\":{"
		"\"architecture\":\"amd64\",\"os\":\"linux\"}}]}");
}

static bool refused(const char *dir, const char *tag, const char *sentence)
{
	CLEANUP_ERROR struct error *err = NULL;
	CLEANUP_IMAGE_DEST struct image_dest *dest = open_dest(dir, tag, &err);

	if (!dest && strstr(err->msg, sentence))
		return true;
	printf("# wanted \"%s\", saw \"%s\"\n", sentence, err ? err->msg : "no error");
	return false;
}

static void what_cannot_be_written_is_refused_before_any_work(void)
{
	CLEANUP_TMPDIR char *parent = tmpdir_make();
	CLEANUP_FREE char *file = xasprintf("%s/file", parent);
	CLEANUP_FREE char *link = xasprintf("%s/link", parent);
	CLEANUP_FREE char *deep = xasprintf("%s/none/layout", parent);
	CLEANUP_FREE char *below = xasprintf("%s/file/layout", parent);

	write_file(file, "x", 1);
	CHECK(symlink("nowhere", link) == 0);
	CHECK(refused(parent, "a", "is not empty, and no image layout"));
	CHECK(refused(parent, "not valid", "is not a valid tag"));
	CHECK(refused(file, "a", "is not a directory"));
	CHECK(refused(link, "a", "leads nowhere"));
	CHECK(refused(deep, "a", "cannot make layout in the directory"));
	CHECK(refused(below, "a", "Not a directory"));
	CHECK_U64(count_entries(parent), 2);
}

static void tar_files_are_no_destination(void)
{
	CLEANUP_ERROR struct error *err = NULL;
	CLEANUP_IMAGE_REF struct image_ref ref = { 0 };

	CHECK(image_ref_parse(&ref, "tar:x", &err) == 0);
	CHECK(image_dest_open(&ref, &err) == NULL && strstr(err->msg, "only be read"));
}

static void a_damaged_layout_is_not_added_to(void)
{
	CLEANUP_TMPDIR char *dir = fixture_make();
	CLEANUP_FREE char *path = xasprintf("%s/index.json", dir);

	CHECK(refused(dir, "a", "index.json: No such file"));
	write_file(path, "{", 1);
	CHECK(refused(dir, "a", "not valid JSON"));
}

static void a_blob_of_another_size_than_written_is_refused(void)
{
	CLEANUP_TMPDIR char *parent = tmpdir_make();
	CLEANUP_FREE char *dir = xasprintf("%s/l", parent);
	CLEANUP_ERROR struct error *err = NULL;
	CLEANUP_IMAGE_DEST struct image_dest *dest = open_dest(dir, "a", &err);
	struct digest d = { 0 };

	CHECK(image_dest_add_blob(dest, image_dest_new_blob(dest, &err), &d, 5, &err) < 0);
	CHECK(err && strstr(err->msg, "has 0 bytes where 5 were written"));
}

static char *shared_path(const char *dir)
{
	struct digest d;

	digest_of(&d, DIGEST_SHA256, "shared", 6);
	return layout_blob_path(dir, &d);
}

static int copy_blob(
	const char *from, const char *to, const struct digest *d, uint64_t size, struct error **err)
{
	const struct origin origin = { .layout.dir = from };
	CLEANUP_IMAGE_DEST struct image_dest *dest = open_dest(to, "t", err);
	struct digest manifest;

	if (!dest || image_dest_copy_blob(dest, &origin, d, size, err) < 0)
		return -1;
	return image_dest_commit(dest, "{}", 2, MEDIA_TYPE_OCI_MANIFEST, NULL, &manifest, err);
}

static void a_blob_is_copied_and_verified(void)
{
	CLEANUP_TMPDIR char *from = fixture_make(), *parent = tmpdir_make();
	CLEANUP_FREE char *to = xasprintf("%s/layout", parent);
	json_auto_t *blob = fixture_blob(from, TAR_TYPE, "bytes", 5);
	CLEANUP_FREE char *stored = NULL, *path = NULL, *copy = NULL;
	CLEANUP_ERROR struct error *err = NULL;
	struct digest d;

	CHECK(digest_parse(&d, json_string_value(json_object_get(blob, "digest")), &err) == 0);
	stored = layout_blob_path(from, &d);
	path = layout_blob_path(to, &d);
	write_file(stored, "bytez", 5);
	CHECK(copy_blob(from, to, &d, 5, &err) < 0 && strstr(err->msg, "have the digest"));
	CHECK_U64(count_entries(parent), 0);
	error_free(take_ptr(err));
	write_file(stored, "bytes", 5);
	CHECK(copy_blob(from, to, &d, 5, &err) == 0);
	copy = read_file(path);
	CHECK_STR(copy, "bytes");
}

static void existing_blobs(const char *parent, const char *dir)
{
	CLEANUP_FREE char *path = shared_path(dir);
	CLEANUP_FREE char *text = NULL;
	struct stat a, b, c;

	CHECK(puts_image(dir, "a", "one") && stat(path, &a) == 0);
	CHECK(puts_image(dir, "b", "two") && stat(path, &b) == 0);
	CHECK_U64(b.st_ino, a.st_ino);
	CHECK(truncate(path, 3) == 0);
	CHECK(puts_image(dir, "b", "two") && stat(path, &c) == 0);
	text = read_file(path);
	CHECK_STR(text, "shared");
	CHECK(is_clean(parent, dir));
}

static void existing_blobs_are_kept_and_damaged_ones_replaced(void)
{
	both_ways(existing_blobs);
}

static void failing_commit(const char *parent, const char *dir)
{
	CLEANUP_FREE char *path = xasprintf("%s/index.json", dir);
	CLEANUP_ERROR struct error *err = NULL;
	struct rlimit old, small = { 4096, 0 };
	json_auto_t *index = NULL;

	CHECK(puts_image(dir, "a", "one"));
	index = read_index(dir);
	for (int i = 0; i < 5000; i += 10)
		json_object_set_new(index, "padding",
			json_sprintf("%*s", i, "x")); /* an index too large for the limit */
	json_dump_file(index, path, 0);
	signal(SIGXFSZ, SIG_IGN);
	getrlimit(RLIMIT_FSIZE, &old);
	small.rlim_max = old.rlim_max;
	setrlimit(RLIMIT_FSIZE, &small);
	CHECK(put(dir, "b", "two", &err) < 0);
	setrlimit(RLIMIT_FSIZE, &old);
	CHECK(err && err->code == EFBIG);
	CHECK(has_image(dir, "a", "one") && !has_image(dir, "b", "two"));
	CHECK(is_clean(parent, dir));
}

static void a_commit_that_fails_takes_back_what_it_added(void)
{
	both_ways(failing_commit);
}

static void meanwhile(const char *parent, const char *dir)
{
	CLEANUP_ERROR struct error *err = NULL, *err2 = NULL;
	CLEANUP_IMAGE_DEST struct image_dest *dest = open_dest(dir, "a", &err);
	CLEANUP_FREE char *manifest = add_image(dest, "one", &err);
	CLEANUP_IMAGE_DEST struct image_dest *late = open_dest(dir, "c", &err);
	CLEANUP_FREE char *late_manifest = add_image(late, "three", &err);
	CLEANUP_FREE char *file = xasprintf("%s/file", dir);

	CHECK(puts_image(dir, "b", "two"));
	CHECK(commit(dest, manifest, &err) == 0);
	CHECK(has_image(dir, "a", "one") && has_image(dir, "b", "two"));
	CHECK_U64(count_entries(dir), 3);
	tmpdir_remove(dir);
	mkdir(dir, 0777);
	write_file(file, "", 0);
	CHECK(commit(late, late_manifest, &err2) < 0);
	CHECK(err2 && strstr(err2->msg, "no image layout"));
	CHECK_U64(count_entries(dir), 1);
}

static void a_directory_that_appeared_meanwhile_is_added_to_if_it_is_a_layout(void)
{
	both_ways(meanwhile);
}

/* Twenty processes, one layout, all at once. */
static void crowd(const char *parent, const char *dir)
{
	pid_t pids[20];
	int ready[2], status, failed = 0;
	char tag[16], byte;

	CHECK(pipe(ready) == 0);
	for (int i = 0; i < 20; i++) {
		pids[i] = fork();
		if (pids[i] == 0) {
			close(ready[1]);
			snprintf(tag, sizeof(tag), "t%d", i);
			(void)!read(ready[0], &byte, 1); /* until all are there */
			_exit(!puts_image(dir, tag, tag));
		}
	}
	close(ready[0]);
	close(ready[1]);
	for (int i = 0; i < 20; i++)
		failed += waitpid(pids[i], &status, 0) < 0 || status != 0;
	CHECK_U64(failed, 0);
	for (int i = 0; i < 20; i++) {
		snprintf(tag, sizeof(tag), "t%d", i);
		CHECK(has_image(dir, tag, tag));
	}
	CHECK(is_clean(parent, dir));
}

static void crowd_into_empty(const char *parent, const char *dir)
{
	mkdir(dir, 0777);
	crowd(parent, dir);
}

static void crowd_into_layout(const char *parent, const char *dir)
{
	CHECK(puts_image(dir, "old", "old"));
	crowd(parent, dir);
	CHECK(has_image(dir, "old", "old"));
}

static void twenty_processes_make_one_new_layout(void)
{
	both_ways(crowd);
}

static void twenty_processes_fill_one_empty_directory(void)
{
	both_ways(crowd_into_empty);
}

static void twenty_processes_add_to_one_layout(void)
{
	both_ways(crowd_into_layout);
}

/* What was there before the commit that is killed; PLAIN: nothing, and no exclusive rename. */
enum before { ABSENT, PLAIN, EMPTY, LAYOUT };

static void prepare(const char *dir, enum before before)
{
	hidden_dir_test_refuse_rename(before == PLAIN);
	tmpdir_remove(dir);
	if (before == EMPTY)
		mkdir(dir, 0777);
	if (before == LAYOUT && !puts_image(dir, "old", "old"))
		exit(99);
}

/* Old or complete. */
static bool is_whole(const char *dir, enum before before)
{
	CLEANUP_ERROR struct error *err = NULL;
	CLEANUP_IMAGE_SOURCE struct image_source *src = open_source(dir, "new", &err);
	bool complete = has_image(dir, "new", "new");

	return CHECK(complete || !src) && /* never there and not whole */
	       CHECK(before != ABSENT || complete || access(dir, F_OK) < 0) &&
	       CHECK(before != LAYOUT || has_image(dir, "old", "old")) &&
	       CHECK(before != LAYOUT || complete || strstr(err->msg, "no image with the tag"));
}

/* And all clean after the next commit. */
static bool recovers(const char *parent, const char *dir, enum before before)
{
	bool complete = has_image(dir, "new", "new");

	return is_whole(dir, before) && CHECK(puts_image(dir, "next", "next")) &&
	       CHECK(is_clean(parent, dir)) && CHECK(has_image(dir, "next", "next")) &&
	       CHECK(has_image(dir, "new", "new") == complete) &&
	       CHECK(before != LAYOUT || has_image(dir, "old", "old"));
}

/* From where on the child is stopped at system calls. */
enum phase { WHOLE_RUN, COMMIT };

/* Stopped where the phase begins; exits with 77 where tracing is forbidden. */
static void run_traced(const char *dir, enum phase phase)
{
	CLEANUP_ERROR struct error *err = NULL;
	struct image_dest *dest;
	char *manifest;

	if (ptrace(PTRACE_TRACEME, 0, 0, 0) < 0)
		_exit(77);
	if (phase == WHOLE_RUN)
		raise(SIGSTOP);
	dest = open_dest(dir, "new", &err);
	manifest = dest ? add_image(dest, "new", &err) : NULL;
	if (phase == COMMIT)
		raise(SIGSTOP);
	_exit(!manifest || commit(dest, manifest, &err) < 0);
}

enum end { KILLED, ENDED, UNTRACED };

/* Let a writer run for n stops, then kill it, unless it ended before. */
static enum end kill_after(const char *dir, enum phase phase, long n)
{
	pid_t pid = fork();
	int status;

	if (pid == 0)
		run_traced(dir, phase);
	waitpid(pid, &status, 0);
	if (!WIFSTOPPED(status)) {
		printf("# skipped: processes cannot be traced here\n");
		return UNTRACED;
	}
	while (n-- > 0) {
		ptrace(PTRACE_SYSCALL, pid, 0, 0);
		waitpid(pid, &status, 0);
		if (!WIFSTOPPED(status))
			return ENDED;
	}
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	return KILLED;
}

/* After every system call: each has two stops, and from one's end to the next nothing changes. */
static void kill_everywhere(const char *parent, const char *dir, enum before before)
{
	enum end end = KILLED;

	for (long n = 0; end == KILLED; n += 2) {
		prepare(dir, before);
		end = kill_after(dir, COMMIT, n);
		if (!recovers(parent, dir, before)) {
			printf("# killed at stop %ld\n", n);
			break;
		}
	}
	hidden_dir_test_refuse_rename(false);
}

static void kill_new(const char *parent, const char *dir)
{
	kill_everywhere(parent, dir, ABSENT);
}

static void kill_plain(const char *parent, const char *dir)
{
	kill_everywhere(parent, dir, PLAIN);
}

static void kill_empty(const char *parent, const char *dir)
{
	kill_everywhere(parent, dir, EMPTY);
}

static void kill_existing(const char *parent, const char *dir)
{
	kill_everywhere(parent, dir, LAYOUT);
}

static void a_kill_at_any_system_call_leaves_no_new_layout_or_a_whole_one(void)
{
	both_ways(kill_new);
	both_ways(kill_plain);
}

static void a_kill_while_a_directory_is_filled_is_cleaned_by_the_next_run(void)
{
	both_ways(kill_empty);
}

static void a_kill_at_any_system_call_leaves_a_layout_old_or_complete(void)
{
	both_ways(kill_existing);
}

/* Killed late in the commit, with the journal there. False when that cannot be had. */
static bool leave_journal(const char *dir, enum before before)
{
	CLEANUP_FREE char *journal = xasprintf("%s/" JOURNAL_FILE, dir);
	static long at[LAYOUT + 1];
	enum end end = KILLED;

	for (long n = at[before]; end == KILLED; n++) {
		prepare(dir, before);
		end = kill_after(dir, COMMIT, n);
		if (end == KILLED && access(journal, F_OK) == 0) {
			at[before] = n; /* found once, it is the same for the next time */
			return true;
		}
	}
	return false;
}

static void kill_twice(const char *parent, const char *dir, enum before before)
{
	enum end end = KILLED;

	for (long n = 0; end == KILLED; n += 10) {
		if (!leave_journal(dir, before))
			return;
		end = kill_after(dir, WHOLE_RUN, n);
		if (!recovers(parent, dir, before)) {
			printf("# killed again at stop %ld\n", n);
			return;
		}
	}
}

static void kill_twice_empty(const char *parent, const char *dir)
{
	kill_twice(parent, dir, EMPTY);
}

static void kill_twice_existing(const char *parent, const char *dir)
{
	kill_twice(parent, dir, LAYOUT);
}

static void a_kill_while_the_rest_of_a_killed_run_is_cleaned_does_no_harm(void)
{
	both_ways(kill_twice_empty);
	both_ways(kill_twice_existing);
}

/* Also between system calls, and without a tracer: 200 times after a random time. */
static void kill_at_random(const char *parent, const char *dir)
{
	unsigned seed = 1;

	for (int i = 0; i < 100; i++) {
		enum before before = i % 2 ? LAYOUT : i % 4 ? EMPTY : ABSENT;
		struct itimerval timer = { { 0, 0 }, { 0, 1 + rand_r(&seed) % 4000 } };
		pid_t pid;

		prepare(dir, before);
		pid = fork();
		if (pid == 0) {
			CLEANUP_ERROR struct error *err = NULL;
			struct image_dest *dest = open_dest(dir, "new", &err);
			char *manifest = add_image(dest, "new", &err);

			setitimer(ITIMER_REAL, &timer, NULL); /* SIGALRM ends it as SIGKILL does */
			_exit(commit(dest, manifest, &err) < 0);
		}
		waitpid(pid, NULL, 0);
		if (!recovers(parent, dir, before))
			return;
	}
}

static void a_kill_at_random_leaves_old_or_complete(void)
{
	both_ways(kill_at_random);
}

/* An orphan that something else refers to by now must stay. */
static void a_journal_never_takes_what_is_referred_to(void)
{
	CLEANUP_TMPDIR char *parent = tmpdir_make();
	CLEANUP_FREE char *dir = xasprintf("%s/l", parent);
	CLEANUP_FREE char *path = shared_path(dir);
	CLEANUP_FREE char *journal = xasprintf("%s/" JOURNAL_FILE, dir);
	CLEANUP_ERROR struct error *err = NULL;
	struct digest d;

	CHECK(puts_image(dir, "a", "one"));
	digest_of(&d, DIGEST_SHA256, "shared", 6);
	CHECK(journal_write(dir, false, &d, 1, &err) == 0);
	journal_recover(dir);
	CHECK(access(path, F_OK) == 0 && access(journal, F_OK) < 0);
	CHECK(has_image(dir, "a", "one"));
}

static void with_an_unreadable_manifest_only_the_journal_goes(void)
{
	CLEANUP_TMPDIR char *dir = fixture_make();
	CLEANUP_FREE char *journal = xasprintf("%s/" JOURNAL_FILE, dir);
	CLEANUP_FREE char *orphan = NULL;
	json_t *image = fixture_image(dir, "amd64", "one");
	CLEANUP_ERROR struct error *err = NULL;
	struct digest d;

	json_decref(fixture_blob(dir, TAR_TYPE, "orphan", 6));
	digest_of(&d, DIGEST_SHA256, "orphan", 6);
	orphan = layout_blob_path(dir, &d);
	json_object_set_new(image, "size", json_integer(1));
	fixture_finish(dir, json_pack("[o]", image));
	CHECK(journal_write(dir, false, &d, 1, &err) == 0);
	journal_recover(dir);
	CHECK(access(orphan, F_OK) == 0 && access(journal, F_OK) < 0);
	fixture_finish(dir, json_array());
	CHECK(journal_write(dir, false, &d, 1, &err) == 0);
	journal_recover(dir);
	CHECK(access(orphan, F_OK) < 0);
}

static void an_odd_journal_removes_nothing(void)
{
	CLEANUP_TMPDIR char *parent = tmpdir_make();
	CLEANUP_FREE char *dir = xasprintf("%s/l", parent);
	CLEANUP_FREE char *journal = xasprintf("%s/" JOURNAL_FILE, dir);
	static const char *const texts[] = { "", "x\n", "erofs-convert journal 1\n../../x\n",
		"erofs-convert journal 1\nsha256:00" };

	CHECK(puts_image(dir, "a", "one"));
	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
		write_file(journal, texts[i], strlen(texts[i]));
		journal_recover(dir);
		CHECK(access(journal, F_OK) < 0);
		CHECK(is_clean(parent, dir));
	}
}

int main(void)
{
	RUN(a_new_layout_appears_at_commit);
	RUN(without_a_commit_nothing_stays);
	RUN(an_empty_directory_is_filled);
	RUN(a_filesystem_without_exclusive_rename_will_do);
	RUN(other_images_of_a_layout_stay);
	RUN(what_we_do_not_know_in_index_json_stays_in_order);
	RUN(images_without_a_tag_are_told_apart_by_digest);
	RUN(the_index_has_the_same_bytes_everywhere);
	RUN(what_cannot_be_written_is_refused_before_any_work);
	RUN(tar_files_are_no_destination);
	RUN(a_damaged_layout_is_not_added_to);
	RUN(a_blob_of_another_size_than_written_is_refused);
	RUN(a_blob_is_copied_and_verified);
	RUN(existing_blobs_are_kept_and_damaged_ones_replaced);
	RUN(a_commit_that_fails_takes_back_what_it_added);
	RUN(a_directory_that_appeared_meanwhile_is_added_to_if_it_is_a_layout);
	RUN(twenty_processes_make_one_new_layout);
	RUN(twenty_processes_fill_one_empty_directory);
	RUN(twenty_processes_add_to_one_layout);
	RUN(a_kill_at_any_system_call_leaves_no_new_layout_or_a_whole_one);
	RUN(a_kill_while_a_directory_is_filled_is_cleaned_by_the_next_run);
	RUN(a_kill_at_any_system_call_leaves_a_layout_old_or_complete);
	RUN(a_kill_while_the_rest_of_a_killed_run_is_cleaned_does_no_harm);
	RUN(a_kill_at_random_leaves_old_or_complete);
	RUN(a_journal_never_takes_what_is_referred_to);
	RUN(with_an_unreadable_manifest_only_the_journal_goes);
	RUN(an_odd_journal_removes_nothing);
	return tap_done();
}
