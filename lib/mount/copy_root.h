/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* What overlayfs takes of the top of the tree from the upper directory alone. */
#ifndef MOUNT_COPY_ROOT_H
#define MOUNT_COPY_ROOT_H

#include "lib/base/error.h"

/* Give directory `to` the owner, mode, xattrs (with ACLs) and mtime of directory `from`. */
int copy_root(int from, int to, struct error **err);

#endif
