// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/serve/transport/fuse_connection.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/mem.h"
#include "lib/mount/context.h"
#include "lib/mount/server.h"
#include "lib/serve/transport/fuse_part.h"
#include "lib/serve/transport/fuse_servers.h"

enum {
	NOTIFY_RESEND = 7, /* FUSE_NOTIFY_RESEND: uapi fuse.h, 7.40, Linux 6.9 */
	INIT_MAX = 4096, /* bytes; struct fuse_in_header and struct fuse_init_in have 104 */
};

struct fuse_connection {
	struct keep *keep;
	char *name;
	struct fuse_session *fuse;
	struct fuse_pendings *pendings;
	struct fuse_servers *servers; /* NULL before the start */
	unsigned threads;
	int mount, init; /* copies of what is to be kept once somebody answers; else -1 */
};

/* ---- the names of what is kept ---- */

static char *part_name(const char *name, const char *part)
{
	return xasprintf("%s.%s", name, part);
}

static int keep_part(
	struct keep *keep, const char *name, const char *part, int fd, struct error **err)
{
	CLEANUP_FREE char *whole = part_name(name, part);

	return keep_put(keep, whole, fd, err);
}

static int find_part(const struct keep *keep, const char *name, const char *part)
{
	CLEANUP_FREE char *whole = part_name(name, part);

	return keep_find(keep, whole);
}

void fuse_connection_forget(struct keep *keep, const char *name)
{
	CLEANUP_FREE char *init = part_name(name, "init"), *mount = part_name(name, "mount");

	keep_drop(keep, name);
	keep_drop(keep, init);
	keep_drop(keep, mount);
}

/* ---- the session of libfuse ---- */

/* `device` is libfuse's after that. */
static int begin_session(struct fuse_connection *c, const struct fuse_connection_spec *spec,
	int *device, struct error **err)
{
	char *argv[] = { "erofs-convert", NULL }, as_path[32];
	struct fuse_args args = FUSE_ARGS_INIT(1, argv);

	fuse_catch_log();
	c->fuse = fuse_session_new(
		&args, spec->operations, sizeof(*spec->operations), spec->userdata);
	fuse_opt_free_args(&args);
	snprintf(as_path, sizeof(as_path), "/dev/fd/%d", *device);
	/* a path of that form: it is mounted already */
	if (!c->fuse || fuse_session_mount(c->fuse, as_path) < 0)
		return error_set(err, 0, "libfuse takes no session");
	take_fd(device);
	return 0;
}

/*
 * libfuse learns the protocol's version and what the kernel can do from FUSE_INIT, which the kernel
 * sends only once. Given to it again, its answer is to a request that is there no more (ENOENT), or
 * that a process which died has not answered: both are right.
 */
static int learn_init(struct fuse_connection *c, int kept, struct error **err)
{
	_Alignas(struct fuse_in_header) char request[INIT_MAX] = { 0 };
	struct fuse_buf buf = { .mem = request };
	ssize_t n = pread(kept, request, sizeof(request), 0);
	struct fuse_in_header header;

	if (n < 0)
		return error_set(err, errno, "cannot read what the kernel said to FUSE");
	if ((size_t)n < sizeof(header) + offsetof(struct fuse_init_in, flags2))
		return error_set(err, 0, "what was kept of FUSE is cut short");
	memcpy(&header, request, sizeof(header));
	if (header.opcode != FUSE_INIT)
		return error_set(err, 0, "what was kept of FUSE is something else");
	buf.size = (size_t)n;
	fuse_session_process_buf(c->fuse, &buf);
	if (fuse_session_exited(c->fuse))
		return error_set(err, 0, "libfuse does not go on with FUSE");
	return 0;
}

/* Into a file in memory, for the processes to come, and to libfuse. */
static int answer_init(struct fuse_connection *c, int *kept, struct error **err)
{
	CLEANUP_FD int fd = memfd_create("fuse-init", MFD_CLOEXEC);
	struct fuse_buf buf = { 0 };
	int r = fuse_session_receive_buf(c->fuse, &buf);
	CLEANUP_FREE void *request = buf.mem;

	if (r <= 0)
		return error_set(err, -r, "the kernel does not begin to speak FUSE");
	if (fd < 0 || r > INIT_MAX || pwrite(fd, request, (size_t)r, 0) != r)
		return error_set(err, errno, "cannot make a file in memory");
	if (learn_init(c, fd, err) < 0)
		return -1;
	*kept = take_fd(&fd);
	return 0;
}

/* ---- beginning ---- */

static int create_filesystem(
	const struct fuse_connection_spec *spec, int device, int *mount, struct error **err)
{
	static const struct context_type type = { "fuse", "FUSE", "CONFIG_FUSE_FS" };
	CLEANUP_CONTEXT struct context c = CONTEXT_NONE;
	char fd[16], source[CONTEXT_VALUE_MAX + 1];

	snprintf(fd, sizeof(fd), "%d", device);
	snprintf(source, sizeof(source), "%s", spec->source);
	if (context_begin(&c, &type, err) < 0 || context_string(&c, "fd", fd, err) < 0 ||
		context_string(&c, "rootmode", "40000", err) < 0 ||
		context_string(&c, "user_id", "0", err) < 0 ||
		context_string(&c, "group_id", "0", err) < 0 ||
		context_string(&c, "source", source, err) < 0 ||
		context_string(&c, "subtype", MOUNT_FUSE_SUBTYPE, err) < 0 ||
		context_flag(&c, "allow_other", err) < 0 ||
		context_flag(&c, "default_permissions", err) < 0 || context_flag(&c, "ro", err) < 0)
		return -1;
	if (fsconfig(c.fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return context_refused(&c, errno, "the kernel makes no filesystem", err);
	*mount = context_mount(&c, MOUNT_ATTR_RDONLY | spec->attributes, err);
	return *mount < 0 ? -1 : 0;
}

/* /dev/fuse is kept last: where it is, all is. */
static int keep_all(const struct fuse_connection *c, struct error **err)
{
	if (c->mount >= 0 && keep_part(c->keep, c->name, "mount", c->mount, err) < 0)
		return -1;
	if (keep_part(c->keep, c->name, "init", c->init, err) < 0)
		return -1;
	return keep_put(c->keep, c->name, fuse_session_fd(c->fuse), err);
}

/*
 * Whoever keeps a descriptor of the mount may fstat(2) it (systemd does), also while nobody lives
 * who would answer. We have asked by then, and the kernel remembers the root's attributes for ever;
 * also that there is no time of birth to be asked for (FUSE_STATX: ENOSYS, Linux 6.6).
 */
static int keep_after_start(struct fuse_connection *c, struct error **err)
{
	struct statx st;

	if (c->mount < 0)
		return 0;
	if (statx(c->mount, "", AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_BTIME, &st) < 0)
		return error_set(err, errno, "%s: FUSE does not tell of its root", c->name);
	if (keep_all(c, err) < 0)
		return -1;
	cleanup_fd_(&c->mount);
	cleanup_fd_(&c->init);
	return 0;
}

static int begin_anew(struct fuse_connection *c, const struct fuse_connection_spec *spec,
	int *mount, struct error **err)
{
	CLEANUP_FD int device = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	CLEANUP_FD int made = -1;

	if (device < 0)
		return error_set(err, errno, "cannot open /dev/fuse");
	if (create_filesystem(spec, device, &made, err) < 0 ||
		begin_session(c, spec, &device, err) < 0 || answer_init(c, &c->init, err) < 0)
		return -1;
	if (spec->keep_mount) {
		c->mount = fcntl(made, F_DUPFD_CLOEXEC, 3);
		if (c->mount < 0)
			return error_set(err, errno, "cannot copy a descriptor");
	} else if (keep_all(c, err) < 0) {
		return -1;
	}
	*mount = take_fd(&made);
	return 0;
}

static int go_on(struct fuse_connection *c, const struct fuse_connection_spec *spec, int kept,
	int *mount, struct error **err)
{
	CLEANUP_FD int device = kept;
	CLEANUP_FD int init = find_part(c->keep, c->name, "init");
	CLEANUP_FD int found = spec->keep_mount ? find_part(c->keep, c->name, "mount") : -1;

	if (init < 0 || (spec->keep_mount && found < 0))
		return error_set(err, 0, "not all that was kept of FUSE is there");
	if (begin_session(c, spec, &device, err) < 0 || learn_init(c, init, err) < 0)
		return -1;
	*mount = take_fd(&found);
	return 0;
}

struct fuse_connection *fuse_connection_open(
	struct keep *keep, const struct fuse_connection_spec *spec, int *mount, struct error **err)
{
	struct fuse_connection *c = xzalloc(sizeof(*c));
	int kept = keep_find(keep, spec->name), r;

	c->mount = c->init = -1;
	c->keep = keep;
	c->name = xstrdup(spec->name);
	c->threads = spec->threads;
	c->pendings = fuse_pendings_new();
	*mount = -1;
	r = kept >= 0 ? go_on(c, spec, kept, mount, err) : begin_anew(c, spec, mount, err);
	if (r == 0)
		return c;
	fuse_connection_close(c);
	return NULL;
}

struct fuse_pendings *fuse_connection_pendings(const struct fuse_connection *c)
{
	return c->pendings;
}

/* ---- answering ---- */

void fuse_connection_drop_data(struct fuse_connection *c, fuse_ino_t node)
{
	if (c->servers) /* ENOENT: the kernel does not know the node */
		fuse_lowlevel_notify_inval_inode(c->fuse, node, 0, 0);
}

/* Where nothing is left unanswered, it does nothing. */
static int ask_again(const struct fuse_connection *c, struct error **err)
{
	const struct fuse_out_header notify = { .len = sizeof(notify), .error = NOTIFY_RESEND };

	if (write(fuse_session_fd(c->fuse), &notify, sizeof(notify)) == sizeof(notify))
		return 0;
	if (errno == ENODEV) /* it is unmounted */
		return 0;
	error_set(err, errno, "%s: FUSE does not ask again what was not answered", c->name);
	return error_hint(err, "Linux 6.9 or later");
}

int fuse_connection_start(struct fuse_connection *c, struct error **err)
{
	if (ask_again(c, err) < 0)
		return -1;
	c->servers = fuse_servers_start(c->fuse, c->name, c->threads, err);
	if (!c->servers)
		return -1;
	return keep_after_start(c, err);
}

bool fuse_connection_is_gone(const struct fuse_connection *c)
{
	return c->servers && fuse_servers_are_gone(c->servers);
}

void fuse_connection_close(struct fuse_connection *c)
{
	bool gone;

	if (!c)
		return;
	gone = fuse_connection_is_gone(c);
	fuse_servers_stop(c->servers);
	fuse_pendings_drop(c->pendings);
	if (c->fuse)
		fuse_session_destroy(c->fuse);
	if (gone)
		fuse_connection_forget(c->keep, c->name);
	cleanup_fd_(&c->mount);
	cleanup_fd_(&c->init);
	free(c->name);
	free(c);
}
