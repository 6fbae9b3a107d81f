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

static void init_locks(struct registry *r)
{
	pthread_mutex_init(&r->lock, NULL);
	pthread_mutex_init(&r->redirects.lock, NULL);
}

struct registry *registry_open(const char *host, const char *repository,
	enum registry_access access, const struct registry_options *options, struct error **err)
{
	CLEANUP_REGISTRY struct registry *r = xzalloc(sizeof(*r));

	init_locks(r);
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

/* scheme://HOST[:PORT]/path, as libcurl writes it. */
static void take_base(struct registry *r, const char *url)
{
	const char *host = strstr(url, "://") + 3;
	size_t n = strcspn(host, "/"), len = strlen(host + n);

	while (len && host[n + len - 1] == '/')
		len--;
	r->scheme = url_is_https(url) ? SCHEME_HTTPS : SCHEME_HTTP;
	r->host = xstrndup(host, n);
	r->asked = xstrdup(r->host);
	r->base = xstrndup(host + n, len);
}

struct registry *registry_open_blobs(
	const char *base_url, const struct registry_options *options, struct error **err)
{
	CLEANUP_REGISTRY struct registry *r = xzalloc(sizeof(*r));
	CLEANUP_ERROR struct error *ignored = NULL;
	CLEANUP_FREE char *url = url_resolve(NULL, base_url, &ignored);
	CLEANUP_FREE char *shown = url_shown(base_url);

	init_locks(r);
	r->o = *options;
	if (!url || strchr(url, '?')) {
		error_set(
			err, 0, "%s is no address of http or https without user and query", shown);
		return NULL;
	}
	take_base(r, url);
	r->tls = tls_load(r->host, r->o.cert_dir, r->o.tls_verify, err);
	if (!r->tls)
		return NULL;
	r->http = http_acquire(err);
	return r->http ? take_ptr(r) : NULL;
}

void registry_forget_redirects(struct registry *r)
{
	redirects_drop(&r->redirects, NULL);
}

char *registry_blob_path(const struct registry *r, const struct digest *digest)
{
	char s[DIGEST_MAX_STR];

	digest_format(digest, s);
	if (r->name)
		return xasprintf("/v2/%s/blobs/%s", r->name, s);
	*strchr(s, ':') = '/';
	return xasprintf("%s/blobs/%s", r->base, s);
}

const char *registry_host(const struct registry *r)
{
	return r->host;
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
	warm_end(r);
	if (r->http)
		http_release(r->http);
	auth_free(r->auth);
	tls_free(r->tls);
	redirects_free(&r->redirects);
	pthread_mutex_destroy(&r->lock);
	free(r->host);
	free(r->asked);
	free(r->name);
	free(r->base);
	free(r);
}
