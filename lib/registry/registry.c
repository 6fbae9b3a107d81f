// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/registry/registry.h"

#include <string.h>

#include "lib/base/mem.h"
#include "lib/registry/part.h"
#include "lib/registry/url.h"

#define DOCKER_HOST  "docker.io"
#define DOCKER_ASKED "registry-1.docker.io"

/* It becomes a part of paths; what is a good name is the reference parser's to say. */
static bool is_path(const char *name)
{
	return *name && *name != '/' && strlen(name) <= 255 && !strstr(name, "..") &&
	       name[strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789._-/")] == '\0';
}

struct registry *registry_open(const char *host, const char *repository,
	enum registry_access access, const struct registry_options *options, struct error **err)
{
	CLEANUP_REGISTRY struct registry *r = xzalloc(sizeof(*r));

	pthread_mutex_init(&r->lock, NULL);
	r->host = xstrdup(host);
	r->asked = xstrdup(strcmp(host, DOCKER_HOST) == 0 ? DOCKER_ASKED : host);
	r->name = xstrdup(repository);
	r->access = access;
	r->o = *options;
	r->auth = auth_new(r);
	if (!url_is_host(host)) {
		error_set(err, 0, "\"%s\" is no name of a registry's host", host);
		return NULL;
	}
	if (!is_path(repository)) {
		error_set(err, 0, "\"%s\" is no name of a repository", repository);
		return NULL;
	}
	r->tls = tls_load(host, r->o.cert_dir, r->o.tls_verify, err);
	if (!r->tls)
		return NULL;
	r->http = http_acquire(err);
	return r->http ? take_ptr(r) : NULL;
}

void registry_cancel(struct registry *r)
{
	r->control.cancel = true;
}

void registry_close(struct registry *r)
{
	if (!r)
		return;
	while (r->begun) {
		struct begun_upload *b = r->begun;

		r->begun = b->next;
		free(b->url);
		free(b);
	}
	if (r->http)
		http_release(r->http);
	auth_free(r->auth);
	tls_free(r->tls);
	pthread_mutex_destroy(&r->lock);
	free(r->host);
	free(r->asked);
	free(r->name);
	free(r);
}
