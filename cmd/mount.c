// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include <stdio.h>
#include <string.h>

#include "cmd/cmd.h"
#include "cmd/mount_lazily.h"
#include "cmd/mount_served.h"
#include "cmd/registry_options.h"
#include "cmd/work.h"
#include "lib/base/interrupt.h"
#include "lib/base/log.h"
#include "lib/base/privilege.h"
#include "lib/base/text.h"
#include "lib/image/parts.h"
#include "lib/mount/context.h"
#include "lib/mount/erofs_mount.h"
#include "lib/mount/mount.h"
#include "lib/mount/mountable.h"
#include "lib/mount/writable.h"
#include "lib/serve/transport/device_transport.h"

static const char *platform, *upper, *store, *transport = "auto", *prefetch, *socket_path;
static struct registry_options registry;
static uint64_t jobs, store_limit;
static bool rw, foreground, strict;

static const struct cmd_option options[] = {
	{ .name = "rw", .flag = &rw, .help = "a writable tree; umount drops what was changed" },
	{ .name = "upper",
		.arg = "DIR",
		.string = &upper,
		.help = "with --rw: keep what is changed in DIR" },
	{ .name = "transport",
		.arg = "NAME",
		.string = &transport,
		.help = "auto, fanotify, fuse-device, cachefiles or fuse (default: auto)" },
	{ .name = "strict",
		.flag = &strict,
		.help = "only what fails closed if all processes that serve it die" },
	{ .name = "socket",
		.arg = "PATH",
		.string = &socket_path,
		.help = "the daemon to ask (default: the system's if it runs, else one of its "
			"own)" },
	{ .name = "prefetch",
		.arg = "none|background|all",
		.string = &prefetch,
		.help = "what is fetched unasked (default: background)" },
	{ .name = "foreground", .flag = &foreground, .help = "with fuse: stay, and serve" },
	{ .name = "store",
		.arg = "DIR",
		.string = &store,
		.help = "the store (default: /var/lib/erofs-convert, or the user's own)" },
	{ .name = "store-limit",
		.arg = "BYTES",
		.number = &store_limit,
		.max = INT64_MAX,
		.help = "what the store may take; evicts for it what nobody uses (default: the "
			"disk)" },
	{ .name = "jobs",
		.letter = 'j',
		.arg = "N",
		.number = &jobs,
		.min = 1,
		.max = WORK_JOBS_MAX,
		.help = "threads to inflate with (default: one for each processor)" },
	{ .name = "platform",
		.arg = "OS/ARCH[/VARIANT]",
		.string = &platform,
		.help = "which image of several (default: this machine's)" },
	{ 0 },
};

/* A path may hold any bytes; a line and JSON may not. */
static json_t *json_path(const char *path)
{
	CLEANUP_FREE char *printable = NULL;
	json_t *json = json_string(path);

	if (json)
		return json;
	printable = text_printable(path, strlen(path));
	return json_string(printable);
}

static json_t *list_as_json(const struct mount_info *list, size_t n)
{
	json_t *mounts = json_array();

	for (size_t i = 0; i < n; i++)
		json_array_append_new(mounts,
			json_pack("{s:o, s:o, s:b}", "mountpoint", json_path(list[i].mountpoint),
				"source", json_path(list[i].source), "writable", list[i].writable));
	return mounts;
}

static int list_mounts(void)
{
	struct mount_info *list = NULL;
	struct error *err = NULL;
	json_t *json = NULL;
	size_t n = 0;

	if (mount_list(&list, &n, &err) < 0)
		return cmd_fail(err);
	if (cmd_common.json)
		json = list_as_json(list, n);
	else if (!n)
		log_info("no EROFS image is mounted");
	for (size_t i = 0; !json && i < n; i++) {
		CLEANUP_FREE char *where =
			text_printable(list[i].mountpoint, strlen(list[i].mountpoint));
		CLEANUP_FREE char *source = text_printable(list[i].source, strlen(list[i].source));

		printf("%s\t%s%s\n", where, source, list[i].writable ? "\twritable" : "");
	}
	mount_list_free(list, n);
	return json ? cmd_print_json(json) : cmd_flush();
}

static int print_mounted(const struct image_source *src, const char *mountpoint)
{
	char digest[DIGEST_MAX_STR];

	if (!cmd_common.json)
		return CMD_DONE;
	return cmd_print_json(json_pack("{s:s, s:o, s:b}", "manifest",
		digest_format(&src->manifest_digest, digest), "mountpoint", json_path(mountpoint),
		"writable", rw));
}

static const char *served_mountpoint;

static int print_served(const struct service_answer *a)
{
	char digest[DIGEST_MAX_STR];

	if (!cmd_common.json)
		return CMD_DONE;
	return cmd_print_json(json_pack("{s:s, s:o, s:b, s:s}", "manifest",
		digest_format(&a->manifest, digest), "mountpoint", json_path(served_mountpoint),
		"writable", rw, "transport", service_transport_name(a->transport)));
}

static int mount_files(const struct mountable *files, const char *mountpoint, struct error **err)
{
	const struct mount_request request = { .bootstrap = files->bootstrap,
		.devices = files->devices,
		.n_devices = files->n_devices,
		.mountpoint = mountpoint,
		.writable = rw,
		.upper = upper,
		.digest = &files->digest,
		.opened = mountable_check,
		.arg = files };

	if (!rw)
		return mount_image(&request, err);
	if (writable_check(files->tree, err) < 0)
		return -1;
	return mount_image(&request, err);
}

static int fail(struct error *err)
{
	int status = cmd_fail(err);

	interrupt_die();
	return status;
}

static int mount_by_kernel(const char *image, const struct platform *wanted, const char *mountpoint)
{
	CLEANUP_IMAGE_SOURCE struct image_source *src = NULL;
	CLEANUP_MOUNTABLE struct mountable files = { 0 };
	const struct mountable_options how = { .store = store,
		.store_limit = store_limit,
		.inflate = { .jobs = work_jobs(jobs), .progress = work_progress() } };
	struct error *err = NULL;

	src = parts_open_image(image, NULL, wanted, &err);
	if (!src)
		return fail(err);
	if (mount_check(mountpoint, &err) < 0) {
		error_wrap(&err, "%s", image);
		return fail(err);
	}
	if (mountable_find(&files, src, &how, &err) < 0)
		return fail(err);
	if (mount_files(&files, mountpoint, &err) < 0) {
		error_wrap(&err, "%s", image);
		return fail(err);
	}
	return print_mounted(src, mountpoint);
}

/* CMD_DONE, with what the options ask for, or CMD_USAGE. */
static int read_prefetch(enum prefetch *how)
{
	*how = PREFETCH_BACKGROUND;
	if (!prefetch || !strcmp(prefetch, "background"))
		return CMD_DONE;
	*how = PREFETCH_NONE;
	if (!strcmp(prefetch, "none"))
		return CMD_DONE;
	*how = PREFETCH_ALL;
	if (!strcmp(prefetch, "all"))
		return CMD_DONE;
	return cmd_usage(&verb_mount, "--prefetch is none, background or all, not %s", prefetch);
}

enum way {
	WAY_FILES, /* the kernel reads local files at full speed, once all is there */
	WAY_DAEMON, /* the kernel's EROFS, and a daemon that brings what is read */
	WAY_FUSE, /* a process of ours is the filesystem */
};

/* May this process make mounts that a daemon serves? */
static bool kernel_can(void)
{
	CLEANUP_FREE char *why = NULL;
	CLEANUP_ERROR struct error *err = NULL;

	if (!privilege_is_full_root())
		return false;
	if (kernel_before(6, 12) && !cachefiles_transport_supported(&why)) {
		log_debug("no mount by the kernel: it is older than 6.12, and no cachefiles: %s",
			why);
		return false;
	}
	if (erofs_mount_check(&err) == 0)
		return true;
	log_debug("no mount by the kernel: %s", err->msg);
	return false;
}

/* CMD_DONE, with what the transport is for the daemon, or CMD_USAGE. */
static int read_transport(enum service_transport *t)
{
	if (service_transport_parse(transport, t) < 0)
		return cmd_usage(&verb_mount,
			"--transport is auto, fanotify, fuse-device, cachefiles or fuse, not %s",
			transport);
	if (socket_path && foreground)
		return cmd_usage(&verb_mount, "--foreground serves here, --socket elsewhere");
	if (*t != SERVICE_AUTO && *t != SERVICE_FUSE && foreground)
		return cmd_usage(&verb_mount, "--foreground is for mounts by fuse");
	return CMD_DONE;
}

/*
 * By a daemon what is far away, and for who wants to begin before all is there; by fuse where the
 * kernel cannot, and for who is not root.
 */
static enum way choose_way(const char *image, enum prefetch how, enum service_transport t)
{
	bool lazy = !strncmp(image, "docker:", 7) || (prefetch && how != PREFETCH_ALL);

	if ((t == SERVICE_FUSE && !socket_path) || foreground)
		return WAY_FUSE;
	if (t != SERVICE_AUTO || socket_path)
		return WAY_DAEMON;
	if (lazy)
		return kernel_can() ? WAY_DAEMON : WAY_FUSE;
	return rw || privilege_is_full_root() ? WAY_FILES : WAY_FUSE;
}

static int mount_by_daemon(
	const char *image, const char *mountpoint, enum prefetch how, enum service_transport t)
{
	static const enum service_prefetch names[] = { [PREFETCH_NONE] = SERVICE_PREFETCH_NONE,
		[PREFETCH_BACKGROUND] = SERVICE_PREFETCH_BACKGROUND,
		[PREFETCH_ALL] = SERVICE_PREFETCH_ALL };
	const struct served_mount m = { .image = image,
		.mountpoint = mountpoint,
		.platform = platform,
		.socket = socket_path,
		.store = store,
		.store_limit = store_limit,
		.registry = &registry,
		.transport = t,
		.prefetch = names[how],
		.strict = strict,
		.writable = rw,
		.upper = upper,
		.mounted = print_served };

	served_mountpoint = mountpoint;
	return mount_served(&m);
}

static int mount_by_fuse(
	const char *image, const char *mountpoint, enum prefetch how, const struct platform *wanted)
{
	const struct lazy_mount lazy = { .image = image,
		.mountpoint = mountpoint,
		.store = store,
		.store_limit = store_limit,
		.platform = wanted,
		.registry = &registry,
		.prefetch = how,
		.foreground = foreground,
		.mounted = print_mounted };

	return mount_lazily(&lazy);
}

static int mount_it(const char *image, const char *mountpoint)
{
	enum service_transport t;
	enum prefetch how;
	struct platform parsed, *wanted = platform ? &parsed : NULL;
	struct error *err = NULL;
	enum way way;

	if (wanted && platform_parse(wanted, platform, &err) < 0)
		return cmd_usage_error(&verb_mount, err);
	if (read_prefetch(&how) != CMD_DONE || read_transport(&t) != CMD_DONE)
		return CMD_USAGE;
	way = choose_way(image, how, t);
	if (rw && way == WAY_FUSE)
		return cmd_usage(&verb_mount, "--rw needs the kernel's EROFS, and root: a mount by "
					      "fuse is read-only");
	if (registry_options_get(&verb_mount, REGISTRY_ONLY, &registry) != CMD_DONE)
		return CMD_USAGE;
	work_raise_file_limit(); /* each blob of the store is held open */
	interrupt_catch(); /* what is made on disk does not stay because of Ctrl-C */
	if (way == WAY_DAEMON)
		return mount_by_daemon(image, mountpoint, how, t);
	log_debug("%s is mounted %s", image, way == WAY_FUSE ? "by fuse" : "by the kernel's EROFS");
	return way == WAY_FUSE ? mount_by_fuse(image, mountpoint, how, wanted)
			       : mount_by_kernel(image, wanted, mountpoint);
}

static int run(int argc, char **argv)
{
	if (upper && !rw)
		return cmd_usage(&verb_mount, "--upper is for writable mounts: add --rw");
	if (rw && !argc)
		return cmd_usage(&verb_mount, "--rw needs an image and a mount point");
	if (argc == 1)
		return cmd_usage(&verb_mount, "no mount point given for %s", argv[0]);
	return argc ? mount_it(argv[0], argv[1]) : list_mounts();
}

const struct verb verb_mount = {
	.name = "mount",
	.synopsis = "[options] IMAGE MOUNTPOINT",
	.summary = "Mount a converted image, or list what is mounted.",
	.options = options,
	.group = &registry_options_one,
	.min_args = 0,
	.max_args = 2,
	.run = run,
};
