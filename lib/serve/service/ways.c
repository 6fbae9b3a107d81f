// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include <string.h>

#include "lib/base/log.h"
#include "lib/base/mem.h"
#include "lib/image/parts.h"
#include "lib/serve/engine/sources.h"
#include "lib/serve/service/part.h"

enum { OTHERS_RETRIES = 3 }; /* of who is not root: each holds a fetcher */

/* ---- options ---- */

static void own_options(struct ways *w, const struct asked *a)
{
	const struct config_registry *c = w->config;

	w->options = a->registry;
	w->options.credentials.caller = &a->caller;
	w->options.hurry = true;
	if (!caller_is_trusted(&a->caller) && w->options.retries > OTHERS_RETRIES)
		w->options.retries = OTHERS_RETRIES;
	if (!c)
		return;
	if (c->tls_verify >= 0)
		w->options.tls_verify = c->tls_verify;
	if (c->plain_http >= 0)
		w->options.plain_http = c->plain_http;
	if (c->cert_dir && !w->options.cert_dir)
		w->options.cert_dir = c->cert_dir;
	/* its own file is read with the daemon's rights, for those who may do what it may */
	if (c->authfile && !w->options.credentials.authfile && !w->options.credentials.creds &&
		caller_is_trusted(&a->caller)) {
		w->options.credentials.authfile = c->authfile;
		w->options.credentials.caller = NULL;
	}
}

/* What was given for the registry alone is not shown to others. */
static void mirror_options(struct ways *w)
{
	size_t n = w->config ? w->config->n_mirrors : 0;

	w->mirrors = xcalloc(n + 1, sizeof(*w->mirrors));
	for (size_t i = 0; i < n; i++) {
		const struct config_mirror *m = &w->config->mirrors[i];
		struct registry_options *o = &w->mirrors[i];

		*o = w->options;
		o->credentials.creds = o->credentials.registry_token = NULL;
		o->tls_verify = m->tls_verify;
		o->plain_http = m->plain_http;
		o->cert_dir = m->cert_dir;
		o->retries = 0; /* there is another place to ask */
		o->others = true;
	}
}

int ways_begin(struct ways *w, const struct asked *a, const struct service *s, struct error **err)
{
	*w = (struct ways){ 0 };
	if (image_ref_parse(&w->ref, a->image, err) < 0)
		return -1;
	if (s->config && w->ref.transport == TRANSPORT_DOCKER)
		w->config = serve_config_find(s->config, w->ref.host);
	own_options(w, a);
	w->options.patience = source_patience(s->deadline);
	mirror_options(w);
	return 0;
}

/* ---- the image ---- */

static char *mirror_spec(const struct config_mirror *m, const struct image_ref *ref)
{
	return xasprintf("docker://%s/%s%s%s%s%s%s", m->host, m->prefix, ref->repository,
		ref->tag ? ":" : "", ref->tag ? ref->tag : "", ref->digest ? "@" : "",
		ref->digest ? ref->digest : "");
}

static struct image_source *open_at_mirror(
	struct ways *w, size_t i, const struct platform *platform)
{
	CLEANUP_FREE char *spec = mirror_spec(&w->config->mirrors[i], &w->ref);
	CLEANUP_ERROR struct error *err = NULL;
	struct image_source *image = parts_open_image(spec, &w->mirrors[i], platform, &err);

	if (!image)
		log_info("the mirror %s does not help: %s", w->config->mirrors[i].host, err->msg);
	return image;
}

struct image_source *ways_open_image(struct ways *w, const struct asked *a, struct error **err)
{
	struct image_source *image = NULL;
	struct platform parsed, *platform = a->platform ? &parsed : NULL;

	if (platform && platform_parse(platform, a->platform, err) < 0)
		return NULL;
	for (size_t i = 0; w->config && i < w->config->n_mirrors && !image; i++)
		image = open_at_mirror(w, i, platform);
	return image ? image : parts_open_image(a->image, &w->options, platform, err);
}

/* ---- the source ---- */

static int add_registry(struct ways *w, const char *host, const char *repository,
	const struct registry_options *o, struct blob_source **sources, size_t *n,
	struct error **err)
{
	struct registry *r = registry_open(host, repository, REGISTRY_PULL, o, err);

	if (!r)
		return -1;
	w->registries[w->n_registries++] = r;
	sources[(*n)++] = source_registry_new(r);
	return 0;
}

static int add_mirrors(struct ways *w, struct blob_source **sources, size_t *n, struct error **err)
{
	struct registry_options others = w->options;

	others.retries = 0;
	others.others = true;
	for (size_t i = 0; i < w->config->n_mirrors; i++) {
		const struct config_mirror *m = &w->config->mirrors[i];
		CLEANUP_FREE char *repository = xasprintf("%s%s", m->prefix, w->ref.repository);

		if (add_registry(w, m->host, repository, &w->mirrors[i], sources, n, err) < 0)
			return -1;
	}
	for (size_t i = 0; i < w->config->n_blob_servers; i++) {
		sources[*n] = source_http_new(w->config->blob_servers[i], &others, err);
		if (!sources[*n])
			return -1;
		++*n;
	}
	return 0;
}

static int add_all(struct ways *w, struct blob_source **sources, size_t *n, struct error **err)
{
	if (w->config && add_mirrors(w, sources, n, err) < 0)
		return -1;
	return add_registry(w, w->ref.host, w->ref.repository, &w->options, sources, n, err);
}

/*
 * What a user asks for, from however many servers that never answer, is not to hold all fetchers,
 * nor others' reads of a blob that they can get from elsewhere.
 */
static void keep_in_bounds(struct ways *w)
{
	const struct caller *c = w->options.credentials.caller;

	if (!c || caller_is_trusted(c))
		return;
	w->source->place = UINT64_MAX - c->uid;
	w->source->last = true;
}

int ways_open_source(struct ways *w, struct image_source *image, struct error **err)
{
	CLEANUP_FREE struct blob_source **sources = NULL;
	size_t most = 1, n = 0;

	if (w->ref.transport != TRANSPORT_DOCKER) {
		w->source = source_file_new(image);
		return 0;
	}
	if (w->config)
		most += w->config->n_mirrors + w->config->n_blob_servers;
	sources = xcalloc(most, sizeof(*sources));
	w->registries = xcalloc(most, sizeof(struct registry *));
	if (add_all(w, sources, &n, err) == 0) {
		w->source = source_chain_new(sources, n);
		keep_in_bounds(w);
		return 0;
	}
	while (n--)
		sources[n]->close(sources[n]);
	return -1;
}

void ways_cancel(struct ways *w)
{
	for (size_t i = 0; i < w->n_registries; i++)
		registry_cancel(w->registries[i]);
}

void ways_close(struct ways *w)
{
	if (w->source)
		w->source->close(w->source);
	for (size_t i = 0; i < w->n_registries; i++)
		registry_close(w->registries[i]);
	free(w->registries);
	free(w->mirrors);
	image_ref_free(&w->ref);
	*w = (struct ways){ 0 };
}
