// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/*
 * What a later process needs to go on with a mount, which is at most as old as the machine's last
 * start: so nothing here is synced.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "lib/base/log.h"
#include "lib/base/mem.h"
#include "lib/base/remove_tree.h"
#include "lib/image/layout.h"
#include "lib/image/parts.h"
#include "lib/serve/service/part.h"
#include "lib/store/store.h"

#define STATE_ASKED  "mount.json"
#define STATE_MAX    (1 << 20) /* bytes of a JSON file */
#define BOOT_ID_FILE "/proc/sys/kernel/random/boot_id"

char *state_path(const struct service *s, const char *id, const char *name)
{
	return xasprintf("%s/mounts/%s/%s", store_dir(blob_set_store(s->blobs)), id, name);
}

static char *secret_path(const struct service *s, const char *id)
{
	return xasprintf("%s/%s.secret", s->runtime, id);
}

/* Several daemons may have one store: whoever has the mount owns its directory. */
int state_open_dir(const struct service *s, const char *id, bool make, struct error **err)
{
	CLEANUP_FD int fd = -1;

	if (make && mkdirat(s->mounts_fd, id, 0700) < 0)
		return error_set(err, errno, "cannot make the directory of mount %s", id);
	fd = openat(s->mounts_fd, id, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return error_set(err, errno, "cannot open the directory of mount %s", id);
	if (store_own(blob_set_store(s->blobs), fd) < 0)
		return error_set(err, errno, "cannot own the directory of mount %s", id);
	return take_fd(&fd);
}

void state_close_dir(const struct service *s, int *dir)
{
	if (*dir >= 0)
		store_disown(blob_set_store(s->blobs), *dir);
	cleanup_fd_(dir);
}

/* ---- files ---- */

static int write_file(int dir, const char *name, const void *bytes, size_t n, struct error **err)
{
	CLEANUP_FD int fd =
		openat(dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);

	if (fd < 0)
		return error_set(err, errno, "cannot make the mount's file %s", name);
	for (size_t at = 0; at < n;) {
		ssize_t done = write(fd, (const char *)bytes + at, n - at);

		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0)
			return error_set(err, errno, "cannot write the mount's file %s", name);
		at += (size_t)done;
	}
	return 0;
}

static int write_json(int dir, const char *name, const json_t *json, struct error **err)
{
	CLEANUP_FREE char *text = json_dumps(json, JSON_INDENT(1));
	int rc = write_file(dir, name, text, strlen(text), err);

	explicit_bzero(text, strlen(text));
	return rc;
}

static json_t *read_json(int dir, const char *path)
{
	CLEANUP_FD int fd = openat(dir, path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size > STATE_MAX)
		return NULL;
	return json_loadfd(fd, 0, NULL);
}

/* From one filesystem to another: not by copy_file_range(2). */
int state_copy_bootstrap(int to, int from, struct error **err)
{
	off_t at = 0;
	struct stat st;

	if (fstat(from, &st) < 0)
		return error_set(err, errno, "cannot look at the bootstrap");
	while (at < st.st_size) {
		ssize_t n = sendfile(to, from, &at, (size_t)(st.st_size - at));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return error_set(err, n < 0 ? errno : EIO, "cannot copy the bootstrap");
	}
	return 0;
}

int state_save_bootstrap(int dir, int from, struct error **err)
{
	CLEANUP_FD int to = openat(dir, STATE_BOOTSTRAP ".new",
		O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);

	if (to < 0)
		return error_set(err, errno, "cannot make the mount's bootstrap");
	if (state_copy_bootstrap(to, from, err) < 0)
		return -1;
	if (renameat(dir, STATE_BOOTSTRAP ".new", dir, STATE_BOOTSTRAP) < 0)
		return error_set(err, errno, "cannot make the mount's bootstrap");
	return 0;
}

/* ---- the image, as a layout of its manifest and config ---- */

static int save_document(
	int blobs, const char *bytes, size_t size, const struct digest *d, struct error **err)
{
	char name[DIGEST_MAX_STR];

	digest_format(d, name);
	if (d->algo != DIGEST_SHA256)
		return error_set(err, 0, "the digest %s is none of SHA-256", name);
	return write_file(blobs, strchr(name, ':') + 1, bytes, size, err);
}

static int open_blobs(int dir, struct error **err)
{
	if (mkdirat(dir, "image", 0700) < 0 || mkdirat(dir, "image/blobs", 0700) < 0 ||
		mkdirat(dir, "image/blobs/sha256", 0700) < 0)
		return error_set(err, errno, "cannot make the mount's image");
	return openat(dir, "image/blobs/sha256", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static int save_index(int dir, const struct image_source *image, struct error **err)
{
	char digest[DIGEST_MAX_STR];
	json_auto_t *index = json_pack("{s:i, s:[{s:s, s:s, s:I}]}", "schemaVersion", 2,
		"manifests", "mediaType", image->manifest_media_type, "digest",
		digest_format(&image->manifest_digest, digest), "size",
		(json_int_t)image->manifest_size);

	if (write_file(dir, "image/" LAYOUT_FILE, LAYOUT_VERSION, strlen(LAYOUT_VERSION), err) < 0)
		return -1;
	return write_json(dir, "image/" INDEX_FILE, index, err);
}

static int config_digest(const struct image_source *image, struct digest *d, struct error **err)
{
	struct descriptor config;

	if (descriptor_parse(&config, json_object_get(image->manifest, "config"), err) < 0)
		return -1;
	*d = config.digest;
	return 0;
}

int state_save_image(int dir, struct image_source *image, struct error **err)
{
	CLEANUP_FREE char *manifest = NULL, *config = NULL;
	CLEANUP_FD int blobs = open_blobs(dir, err);
	size_t manifest_size, config_size;
	struct digest digest;

	if (blobs < 0 || config_digest(image, &digest, err) < 0)
		return -1;
	manifest = parts_read_manifest(image, &manifest_size, err);
	config = manifest ? parts_read_config(image, &config_size, err) : NULL;
	if (!config ||
		save_document(blobs, manifest, manifest_size, &image->manifest_digest, err) < 0)
		return -1;
	if (save_document(blobs, config, config_size, &digest, err) < 0)
		return -1;
	return save_index(dir, image, err);
}

/* ---- what was asked for ---- */

static json_t *boot_id(void)
{
	CLEANUP_FCLOSE FILE *f = fopen(BOOT_ID_FILE, "re");
	char id[64] = "";

	if (f && fgets(id, sizeof(id), f))
		id[strcspn(id, "\n")] = '\0';
	return json_string(id);
}

static void devs_to_json(json_t *json, const struct mount_devs *d)
{
	json_t *before = json_array();

	json_object_set_new(json, "device", json_integer((json_int_t)d->now));
	for (size_t i = 0; i < sizeof(d->before) / sizeof(*d->before); i++)
		if (d->before[i])
			json_array_append_new(before, json_integer((json_int_t)d->before[i]));
	json_object_set_new(json, "devicesBefore", before);
}

static void devs_from_json(const json_t *json, struct mount_devs *d)
{
	const json_t *before = json_object_get(json, "devicesBefore");

	*d = (struct mount_devs){ .now = (dev_t)json_integer_value(
					  json_object_get(json, "device")) };
	for (size_t i = 0; i < sizeof(d->before) / sizeof(*d->before); i++)
		d->before[i] = (dev_t)json_integer_value(json_array_get(before, i));
}

int state_save_asked(const struct service *s, int dir, const char *id, const struct asked *a,
	const struct mount_devs *devs, struct error **err)
{
	json_auto_t *json = asked_to_json(a), *secrets = asked_secrets(a);
	CLEANUP_FREE char *path = secret_path(s, id);

	if (!json)
		return error_set(err, 0, "what was asked for is no UTF-8");
	json_object_set_new(json, "boot", boot_id());
	json_object_set_new(json, "runtime", json_string(s->runtime));
	devs_to_json(json, devs);
	/* written once, before there is a mount: they do not change, and must not be lost by a
	 * crash */
	if (secrets && !devs->now && write_json(AT_FDCWD, path, secrets, err) < 0)
		return -1;
	if (write_json(dir, STATE_ASKED ".new", json, err) < 0)
		return -1;
	if (renameat(dir, STATE_ASKED ".new", dir, STATE_ASKED) < 0)
		return error_set(err, errno, "cannot write the mount's file " STATE_ASKED);
	return 0;
}

int state_load_asked(const struct service *s, int dir, const char *id, struct asked *a,
	struct mount_devs *devs, struct error **err)
{
	CLEANUP_FREE char *path = secret_path(s, id);
	json_auto_t *json = read_json(dir, STATE_ASKED), *secrets = read_json(AT_FDCWD, path);
	json_auto_t *boot = boot_id();
	const char *runtime;

	*a = (struct asked){ 0 };
	if (!json || !json_equal(boot, json_object_get(json, "boot")))
		return 0;
	devs_from_json(json, devs);
	if (asked_from_json(a, json, secrets, err) < 0)
		return -1;
	runtime = json_string_value(json_object_get(json, "runtime"));
	return runtime && strcmp(runtime, s->runtime) == 0 ? 1 : STATE_FOREIGN;
}

bool state_in_use(int dir)
{
	return store_file_in_use(dir, STATE_BOOTSTRAP);
}

void state_remove(const struct service *s, const char *id)
{
	CLEANUP_FREE char *path = secret_path(s, id);
	CLEANUP_FD int dir =
		openat(s->mounts_fd, id, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	unlink(path);
	if (dir < 0)
		return;
	remove_tree_below(dir);
	if (unlinkat(s->mounts_fd, id, AT_REMOVEDIR) < 0)
		log_debug("%s/mounts/%s stays: %s", store_dir(blob_set_store(s->blobs)), id,
			strerror(errno));
}
