// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/* Where credentials come from, in which order. What is in a file: auth_file.c. */
#include "config.h"

#include "lib/registry/credentials.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/log.h"
#include "lib/base/mem.h"
#include "lib/registry/ask_password.h"
#include "lib/registry/auth_file.h"
#include "lib/registry/helper_program.h"
#include "lib/registry/secret.h"

void credentials_free(struct credentials *c)
{
	wipe_free(c->user);
	wipe_free(c->password);
	wipe_free(c->identity_token);
	wipe_free(c->registry_token);
	free(c->from);
	free(c->file);
	*c = (struct credentials){ 0 };
}

bool credentials_may_change(const struct credentials *c, const struct credentials_options *o)
{
	return !o->no_creds && !o->registry_token && !o->creds && !c->once;
}

static bool same(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

bool credentials_equal(const struct credentials *a, const struct credentials *b)
{
	return same(a->user, b->user) && same(a->password, b->password) &&
	       same(a->identity_token, b->identity_token) &&
	       same(a->registry_token, b->registry_token);
}

/* ---- options ---- */

static int from_creds(struct credentials *c, const char *creds, struct error **err)
{
	size_t n = strcspn(creds, ":");

	if (n == 0)
		return error_set(err, 0, "--creds has no user: it takes USER[:PASS]");
	c->user = xstrndup(creds, n);
	c->password = creds[n] ? xstrdup(creds + n + 1) : ask_password(c->user, err);
	if (!c->password) {
		credentials_free(c);
		return -1;
	}
	c->from = xstrdup("--creds");
	return 0;
}

/* ---- files and their helpers ---- */

struct wanted {
	const char *host, *repository;
	const char *path; /* of the file at hand */
	const struct caller *caller;
};

/* `docker login` and `podman login` store Docker's own registry under different names. */
static int ask_helper(
	struct credentials *c, const char *name, const struct wanted *w, struct error **err)
{
	static const char *const hub[] = { "https://index.docker.io/v1/", "docker.io" };
	bool is_hub = strcmp(w->host, hub[1]) == 0;

	for (size_t i = 0; i < (is_hub ? 2 : 1); i++) {
		const struct helper_query q = { .name = name,
			.server = is_hub ? hub[i] : w->host,
			.seconds = HELPER_SECONDS,
			.caller = w->caller };
		int rc = helper_program_get(c, &q, err);

		if (rc < 0)
			return error_wrap(err, "%s", w->path);
		if (rc > 0)
			return 1;
	}
	return 0;
}

/* 1 when the file has some. */
static int choose(
	struct credentials *c, struct auth_file *file, const struct wanted *w, struct error **err)
{
	int rc = file->helper && *file->helper ? ask_helper(c, file->helper, w, err) : 0;

	if (rc)
		return rc;
	if (file->found.from) {
		*c = file->found;
		file->found = (struct credentials){ 0 };
		return 1;
	}
	return !file->helper && file->store ? ask_helper(c, file->store, w, err) : 0;
}

static int from_answer(
	struct credentials *c, struct auth_file *file, const struct wanted *w, struct error **err)
{
	int rc = choose(c, file, w, err);

	if (rc <= 0)
		return rc;
	c->file = xstrdup(w->path);
	c->once = file->once;
	return 1;
}

static int from_named(struct credentials *c, const struct wanted *w, struct error **err)
{
	CLEANUP_AUTH_FILE struct auth_file file = { 0 };

	if (auth_file_read(&file, w->path, w->caller, w->host, w->repository, err) == 0)
		return from_answer(c, &file, w, err);
	if ((*err)->code)
		error_hint(err, "see --authfile and REGISTRY_AUTH_FILE; --no-creds reads no file");
	return -1;
}

/* Where nobody has said that it is there, it may be missing, or be somebody else's. */
static int from_usual(struct credentials *c, const struct wanted *w, struct error **err)
{
	CLEANUP_AUTH_FILE struct auth_file file = { 0 };
	CLEANUP_ERROR struct error *own = NULL;

	if (auth_file_read(&file, w->path, w->caller, w->host, w->repository, &own) == 0)
		return from_answer(c, &file, w, err);
	if (own->code == ENOENT || own->code == ENOTDIR)
		return 0;
	if (own->code) {
		log_warn("credentials: %s; passed over", own->msg);
		return 0;
	}
	*err = take_ptr(own);
	return -1;
}

/* The variable, or NULL when it is empty: that is how variables are unset for one command. */
static const char *variable(const char *name)
{
	const char *v = getenv(name);

	return v && *v ? v : NULL;
}

/* NAME in the variable's directory, or below another one, which may be NULL. */
static char *place(const char *var, const char *name, const char *base, const char *below)
{
	const char *dir = variable(var);

	if (dir)
		return xasprintf("%s/%s", dir, name);
	return base ? xasprintf("%s/%s", base, below) : NULL;
}

static int from_usual_places(struct credentials *c, struct wanted *w, struct error **err)
{
	const char *home = variable("HOME");
	CLEANUP_FREE char *user = xasprintf("%u/auth.json", (unsigned)getuid());
	CLEANUP_FREE char *runtime =
		place("XDG_RUNTIME_DIR", "containers/auth.json", "/run/containers", user);
	CLEANUP_FREE char *config = place(
		"XDG_CONFIG_HOME", "containers/auth.json", home, ".config/containers/auth.json");
	CLEANUP_FREE char *docker =
		place("DOCKER_CONFIG", "config.json", home, ".docker/config.json");
	const char *const places[] = { runtime, config, docker };
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < sizeof(places) / sizeof(*places); i++) {
		w->path = places[i];
		if (w->path)
			rc = from_usual(c, w, err);
	}
	return rc;
}

static int from_files(struct credentials *c, const struct credentials_options *o, const char *host,
	const char *repository, struct error **err)
{
	struct wanted w = { host, repository, o->authfile, o->caller };

	if (!w.path && w.caller)
		return 0;
	if (!w.path)
		w.path = variable("REGISTRY_AUTH_FILE");
	return w.path ? from_named(c, &w, err) : from_usual_places(c, &w, err);
}

int credentials_find(struct credentials *c, const struct credentials_options *o, const char *host,
	const char *repository, struct error **err)
{
	*c = (struct credentials){ 0 };
	if (o->no_creds)
		return 0;
	if (o->registry_token) {
		c->registry_token = xstrdup(o->registry_token);
		c->from = xstrdup("--registry-token");
		return 0;
	}
	if (o->creds)
		return from_creds(c, o->creds, err);
	if (from_files(c, o, host, repository, err) < 0)
		return error_wrap(err, "credentials for %s", host);
	return 0;
}
