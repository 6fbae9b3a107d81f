// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/image/docker_name.h"

#include <string.h>

#include "fmt/reference.h"
#include "lib/base/mem.h"

/* Archives hold names that Docker would refuse, too: they are completed all the same. */
char *docker_name_complete(const char *name)
{
	struct reference r;
	const char *path = reference_split_host(&r, name);
	const char *last = strrchr(path, '/');

	return xasprintf("%.*s/%.*s%s%s", (int)r.host.len, r.host.ptr, (int)r.prefix.len,
		r.prefix.ptr ? r.prefix.ptr : "", path,
		strpbrk(last ? last : path, ":@") ? "" : ":latest");
}
