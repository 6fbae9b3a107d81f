// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/serve/control/places.h"

#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/base/mem.h"

#define SYSTEM_RUNTIME "/run/erofs-convert"
#define PRIVATE	       "private-"

char *places_runtime(void)
{
	const char *said = getenv("EROFS_CONVERT_RUNTIME"), *user = getenv("XDG_RUNTIME_DIR");

	if (said && *said == '/')
		return xstrdup(said);
	if (geteuid() == 0)
		return xstrdup(SYSTEM_RUNTIME);
	return user && *user == '/' ? xasprintf("%s/erofs-convert", user) : NULL;
}

char *places_socket(void)
{
	CLEANUP_FREE char *dir = places_runtime();

	return dir ? xasprintf("%s/socket", dir) : NULL;
}

int places_make(const char *dir, unsigned mode, struct error **err)
{
	struct stat st;

	if (mkdir(dir, mode) < 0 && errno != EEXIST)
		return error_set(err, errno, "cannot make %s", dir);
	if (lstat(dir, &st) < 0)
		return error_set(err, errno, "cannot look at %s", dir);
	if (!S_ISDIR(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & 022))
		return error_set(
			err, 0, "%s is not a directory that only this user can write to", dir);
	if (mode & ~st.st_mode && chmod(dir, (st.st_mode & 0777) | mode) < 0)
		return error_set(err, errno, "cannot set the mode of %s", dir);
	return 0;
}

char *places_make_private(struct error **err)
{
	CLEANUP_FREE char *base = places_runtime(), *dir = NULL;

	if (!base) {
		error_set(err, 0, "XDG_RUNTIME_DIR is not set: there is no place for a socket");
		return NULL;
	}
	if (places_make(base, 0700, err) < 0)
		return NULL;
	dir = xasprintf("%s/" PRIVATE "XXXXXX", base);
	if (mkdtemp(dir))
		return take_ptr(dir);
	error_set(err, errno, "cannot make a directory in %s", base);
	return NULL;
}

void places_list(struct places *p)
{
	CLEANUP_FREE char *base = places_runtime();
	DIR *d = base ? opendir(base) : NULL;
	const struct dirent *e;

	*p = (struct places){ 0 };
	while (d && (e = readdir(d))) {
		if (strncmp(e->d_name, PRIVATE, strlen(PRIVATE)) != 0)
			continue;
		p->dirs = xgrow(p->dirs, p->n, &p->cap, sizeof(*p->dirs));
		p->dirs[p->n++] = xasprintf("%s/%s", base, e->d_name);
	}
	if (d)
		closedir(d);
}

void places_free(struct places *p)
{
	for (size_t i = 0; i < p->n; i++)
		free(p->dirs[i]);
	free(p->dirs);
	*p = (struct places){ 0 };
}
