// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/image/docker_name.h"

#include <stdbool.h>
#include <string.h>

#include "lib/base/cleanup.h"
#include "lib/base/mem.h"

#define HUB	"docker.io"
#define OLD_HUB "index.docker.io"

/* What stands before the first slash is a host if it could not be a part of a name. */
static bool is_host(const char *s, size_t len)
{
	if (len == 9 && memcmp(s, "localhost", 9) == 0)
		return true;
	return memchr(s, '.', len) || memchr(s, ':', len);
}

char *docker_name_complete(const char *name)
{
	size_t first = strcspn(name, "/");
	bool has_host = name[first] == '/' && is_host(name, first);
	const char *path = has_host ? name + first + 1 : name;
	CLEANUP_FREE char *host = has_host ? xstrndup(name, first) : xstrdup(HUB);
	const char *last = strrchr(path, '/');
	bool is_hub = strcmp(host, HUB) == 0 || strcmp(host, OLD_HUB) == 0;

	return xasprintf("%s/%s%s%s", is_hub ? HUB : host, is_hub && !last ? "library/" : "", path,
		strpbrk(last ? last : path, ":@") ? "" : ":latest");
}
