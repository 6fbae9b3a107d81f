// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/mount/context.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mount.h> /* glibc 2.36; never beside <linux/mount.h>, which clashes with it */
#include <sys/utsname.h>

#include "lib/base/mem.h"

bool kernel_before(unsigned major, unsigned minor)
{
	struct utsname u;
	unsigned have[2];

	if (uname(&u) < 0 || sscanf(u.release, "%u.%u", &have[0], &have[1]) != 2)
		return false;
	return have[0] < major || (have[0] == major && have[1] < minor);
}

const char *kernel_release(char buf[static KERNEL_RELEASE_MAX])
{
	struct utsname u;

	snprintf(buf, KERNEL_RELEASE_MAX, "%s", uname(&u) < 0 ? "an unknown kernel" : u.release);
	return buf;
}

/*
 * What the kernel left to read in the context: lines such as "e erofs: text", one a read().
 * The caller frees it; NULL when there is nothing.
 */
static char *kernel_messages(int fs)
{
	char *all = NULL, line[1024];
	ssize_t n;

	while ((n = read(fs, line, sizeof(line) - 1)) > 0) {
		char *text = line, *longer;

		line[n] = '\0';
		line[strcspn(line, "\n")] = '\0';
		if (text[0] && text[1] == ' ') /* severity: e, w or i */
			text += 2;
		longer = xasprintf("%s%s%s", all ? all : "", all ? "; " : "", text);
		free(all);
		all = longer;
	}
	return all;
}

int context_refused(const struct context *c, int code, const char *what, struct error **err)
{
	CLEANUP_FREE char *said = kernel_messages(c->fs);

	if (said)
		return error_set(err, code, "%s (kernel: %s)", what, said);
	return error_set(err, code, "%s", what);
}

int mount_need_root(struct error **err)
{
	return error_hint(err, "run it as root: mounting EROFS needs CAP_SYS_ADMIN");
}

int context_begin(struct context *c, const struct context_type *type, struct error **err)
{
	char release[KERNEL_RELEASE_MAX];
	int code;

	*c = CONTEXT_NONE;
	c->fs = fsopen(type->name, FSOPEN_CLOEXEC);
	if (c->fs >= 0)
		return 0;
	code = errno;
	if (code == ENODEV) {
		error_set(err, 0, "the running kernel (%s) has no %s", kernel_release(release),
			type->title);
		return error_hint(
			err, "modprobe %s, or a kernel with %s", type->name, type->config);
	}
	error_set(err, code, "cannot ask the kernel for an %s mount", type->title);
	if (code == EPERM)
		return mount_need_root(err);
	if (code == ENOSYS)
		return error_hint(err, "Linux 6.12 or later, with fsopen(2) allowed by the sandbox "
				       "if there is one");
	return -1;
}

void context_end(struct context *c)
{
	for (size_t i = 0; i < c->n_fds; i++)
		close(c->fds[i]);
	free(c->fds);
	if (c->fs >= 0)
		close(c->fs);
	*c = CONTEXT_NONE;
}

/* The kernel's answer to one option; `value` is for the message. */
static int answer(
	const struct context *c, int ret, const char *key, const char *value, struct error **err)
{
	if (ret == 0)
		return 0;
	context_refused(c, errno, "the kernel does not take it", err);
	return error_wrap(err, "%s%s%s", key, *value ? " " : "", value);
}

int context_flag(struct context *c, const char *key, struct error **err)
{
	return answer(c, fsconfig(c->fs, FSCONFIG_SET_FLAG, key, NULL, 0), key, "", err);
}

int context_string(struct context *c, const char *key, const char *value, struct error **err)
{
	return answer(c, fsconfig(c->fs, FSCONFIG_SET_STRING, key, value, 0), key, value, err);
}

static int tell_by_proc(
	struct context *c, const char *key, int fd, const char *path, struct error **err)
{
	char proc[64];

	snprintf(proc, sizeof(proc), "/proc/self/fd/%d", fd);
	return answer(c, fsconfig(c->fs, FSCONFIG_SET_STRING, key, proc, 0), key, path, err);
}

int context_path(struct context *c, const char *key, const char *path, struct error **err)
{
	int fd;

	if (strlen(path) <= CONTEXT_VALUE_MAX)
		return context_string(c, key, path, err);
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (fd < 0)
		return error_set(err, errno, "cannot open %s", path);
	c->fds = xgrow(c->fds, c->n_fds, &c->cap_fds, sizeof(*c->fds));
	c->fds[c->n_fds++] = fd;
	return tell_by_proc(c, key, fd, path, err);
}

int context_fd(struct context *c, const char *key, int fd, const char *path, struct error **err)
{
	if (!kernel_before(6, 13))
		return answer(c, fsconfig(c->fs, FSCONFIG_SET_FD, key, NULL, fd), key, path, err);
	/* as a string it is unescaped by overlayfs, and shown as it was told in mountinfo */
	if (*path && strlen(path) <= CONTEXT_VALUE_MAX && !strchr(path, '\\'))
		return context_string(c, key, path, err);
	return tell_by_proc(c, key, fd, path, err);
}

int context_mount(const struct context *c, unsigned attributes, struct error **err)
{
	int mount = fsmount(c->fs, FSMOUNT_CLOEXEC, attributes);

	if (mount < 0)
		context_refused(c, errno, "the kernel does not make a mount of the image", err);
	return mount;
}

int mount_attach(int mount, int where, const char *mountpoint, struct error **err)
{
	int code;

	if (move_mount(mount, "", where, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) ==
		0)
		return 0;
	code = errno;
	error_set(err, code, "cannot mount at %s", mountpoint);
	return code == EPERM ? mount_need_root(err) : -1;
}
