/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* A filesystem context of the kernel, fsopen(2): a mount in the making, and its messages. */
#ifndef MOUNT_CONTEXT_H
#define MOUNT_CONTEXT_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/base/error.h"

#define CONTEXT_VALUE_MAX 255 /* bytes: fsconfig(2), SET_STRING */

struct context {
	int fs; /* fsopen()'s */
	int *fds; /* files whose paths cannot be told to the kernel */
	size_t n_fds, cap_fds;
};

/* What a filesystem is called: by the kernel, by people, and its option in the kernel's config. */
struct context_type {
	const char *name, *title, *config;
};

int context_begin(struct context *c, const struct context_type *type, struct error **err);
void context_end(struct context *c);

#define CLEANUP_CONTEXT CLEANUP(context_end)
#define CONTEXT_NONE	((struct context){ .fs = -1 })

int context_flag(struct context *c, const char *key, struct error **err);
int context_string(struct context *c, const char *key, const char *value, struct error **err);

/* A path of any length: too long a one goes through /proc/self/fd. */
int context_path(struct context *c, const char *key, const char *path, struct error **err);

/* What is open at `fd` (not O_PATH), whose path for a kernel before 6.13 is `path`. */
int context_fd(struct context *c, const char *key, int fd, const char *path, struct error **err);

/* Make the error, with what the kernel left to read in the context. Returns -1. */
int context_refused(const struct context *c, int code, const char *what, struct error **err);

/* fsmount(2): a descriptor of the mount, which is nowhere yet; -1 with *err. */
int context_mount(const struct context *c, unsigned attributes, struct error **err);

/* move_mount(2) to the directory open at `where`; `mountpoint` is for the message. */
int mount_attach(int mount, int where, const char *mountpoint, struct error **err);

/* The hint that root is needed. Returns -1. */
int mount_need_root(struct error **err);

/* Is the running kernel older than this? An unreadable release counts as new. */
bool kernel_before(unsigned major, unsigned minor);

#define KERNEL_RELEASE_MAX 66
const char *kernel_release(char buf[static KERNEL_RELEASE_MAX]);

#endif
