// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/serve/serve_config.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/mem.h"
#include "lib/base/text.h"
#include "lib/serve/serve_config_value.h"

enum { FILE_MAX = 1024 * 1024, PLACES_MAX = 16, REGISTRIES_MAX = 256 };

/* ---- freeing ---- */

static void free_mirror(struct config_mirror *m)
{
	free(m->host);
	free(m->prefix);
	free(m->cert_dir);
}

static void free_registry(struct config_registry *r)
{
	for (size_t i = 0; i < r->n_mirrors; i++)
		free_mirror(&r->mirrors[i]);
	for (size_t i = 0; i < r->n_blob_servers; i++)
		free(r->blob_servers[i]);
	free(r->mirrors);
	free(r->blob_servers);
	free(r->host);
	free(r->authfile);
	free(r->cert_dir);
}

void serve_config_free(struct serve_config *c)
{
	for (size_t i = 0; i < c->n_registries; i++)
		free_registry(&c->registries[i]);
	free(c->registries);
	free(c->cachefiles.tag);
	free(c->store);
	free(c->socket);
	free(c->transport);
	free(c->metrics);
	*c = (struct serve_config){ 0 };
}

/* ---- objects ---- */

struct member {
	const char *name;
	config_take *take;
	size_t offset; /* of what it is taken to */
};

/* Members have to be known; that none comes twice was seen when the text was parsed. */
static int take_object(
	const json_t *object, const struct member *members, size_t n, void *out, struct error **err)
{
	const char *name;
	json_t *v;

	if (!json_is_object(object))
		return error_set(err, 0, "not an object");
	json_object_foreach((json_t *)object, name, v)
	{
		CLEANUP_FREE char *shown = text_shown(name);
		size_t i = 0;

		while (i < n && strcmp(members[i].name, name) != 0)
			i++;
		if (i == n)
			return error_set(err, 0, "there is no member \"%s\"", shown);
		if (members[i].take(v, (char *)out + members[i].offset, err) < 0)
			return error_wrap(err, "\"%s\"", shown);
	}
	return 0;
}

/* An array with room, all zero, for what is in it; NULL with an error. */
static void *room_for(const json_t *array, size_t size, struct error **err)
{
	if (json_is_array(array) && json_array_size(array) <= PLACES_MAX)
		return xcalloc(json_array_size(array) + 1, size);
	error_set(err, 0, json_is_array(array) ? "there are more than %d in it" : "not an array",
		PLACES_MAX);
	return NULL;
}

#define MEMBER(type, field, name, take)                  \
	{                                                \
		name, take, offsetof(struct type, field) \
	}
#define COUNT(array) (sizeof(array) / sizeof(*(array)))

/* ---- registries ---- */

static const struct member mirror_members[] = {
	MEMBER(config_mirror, host, "host", config_take_host),
	MEMBER(config_mirror, prefix, "prefix", config_take_prefix),
	MEMBER(config_mirror, tls_verify, "tlsVerify", config_take_bool),
	MEMBER(config_mirror, plain_http, "plainHttp", config_take_bool),
	MEMBER(config_mirror, cert_dir, "certDir", config_take_path),
};

static int take_mirror(struct config_mirror *m, const json_t *v, struct error **err)
{
	m->tls_verify = true;
	if (take_object(v, mirror_members, COUNT(mirror_members), m, err) < 0)
		return -1;
	if (!m->host)
		return error_set(err, 0, "\"host\" is missing");
	if (!m->prefix)
		m->prefix = xstrdup("");
	return 0;
}

static int take_mirrors(const json_t *v, void *out, struct error **err)
{
	struct config_registry *r = out;

	r->mirrors = room_for(v, sizeof(*r->mirrors), err);
	if (!r->mirrors)
		return -1;
	while (r->n_mirrors < json_array_size(v)) {
		size_t i = r->n_mirrors++;

		if (take_mirror(&r->mirrors[i], json_array_get(v, i), err) < 0)
			return error_wrap(err, "%zu", i + 1);
	}
	return 0;
}

static int take_blob_servers(const json_t *v, void *out, struct error **err)
{
	struct config_registry *r = out;

	r->blob_servers = room_for(v, sizeof(*r->blob_servers), err);
	if (!r->blob_servers)
		return -1;
	while (r->n_blob_servers < json_array_size(v)) {
		size_t i = r->n_blob_servers++;

		if (config_take_url(json_array_get(v, i), &r->blob_servers[i], err) < 0)
			return error_wrap(err, "%zu", i + 1);
	}
	return 0;
}

static const struct member registry_members[] = {
	{ "mirrors", take_mirrors, 0 },
	{ "blobServers", take_blob_servers, 0 },
	MEMBER(config_registry, authfile, "authfile", config_take_path),
	MEMBER(config_registry, tls_verify, "tlsVerify", config_take_choice),
	MEMBER(config_registry, plain_http, "plainHttp", config_take_choice),
	MEMBER(config_registry, cert_dir, "certDir", config_take_path),
};

/* Of c->registries, which is counted while it is filled. */
static int take_registry(
	struct serve_config *c, const char *name, const json_t *v, struct error **err)
{
	struct config_registry *r = &c->registries[c->n_registries];
	CLEANUP_FREE char *host = config_registry_host(name, err);

	if (!host)
		return -1;
	if (serve_config_find(c, host))
		return error_set(err, 0, "%s is there already", host);
	*r = (struct config_registry){ .host = take_ptr(host), .tls_verify = -1, .plain_http = -1 };
	c->n_registries++;
	return take_object(v, registry_members, COUNT(registry_members), r, err);
}

static int take_registries(const json_t *v, void *out, struct error **err)
{
	struct serve_config *c = out;
	const char *name;
	json_t *registry;

	if (!json_is_object(v))
		return error_set(err, 0, "not an object");
	if (json_object_size(v) > REGISTRIES_MAX)
		return error_set(err, 0, "there are more than %d in it", REGISTRIES_MAX);
	c->registries = xcalloc(json_object_size(v) + 1, sizeof(*c->registries));
	json_object_foreach((json_t *)v, name, registry)
	{
		CLEANUP_FREE char *shown = text_shown(name);

		if (take_registry(c, name, registry, err) < 0)
			return error_wrap(err, "\"%s\"", shown);
	}
	return 0;
}

const struct config_registry *serve_config_find(const struct serve_config *c, const char *host)
{
	for (size_t i = 0; i < c->n_registries; i++)
		if (strcmp(c->registries[i].host, host) == 0)
			return &c->registries[i];
	return NULL;
}

/* ---- the kernel's cache ---- */

static const struct member cachefiles_members[] = {
	MEMBER(config_cachefiles, tag, "tag", config_take_tag),
	MEMBER(config_cachefiles, blocks.run, "brun", config_take_percent),
	MEMBER(config_cachefiles, blocks.cull, "bcull", config_take_percent),
	MEMBER(config_cachefiles, blocks.stop, "bstop", config_take_percent),
	MEMBER(config_cachefiles, files.run, "frun", config_take_percent),
	MEMBER(config_cachefiles, files.cull, "fcull", config_take_percent),
	MEMBER(config_cachefiles, files.stop, "fstop", config_take_percent),
};

static int check_order(const struct cachefiles_limits *l, char of, struct error **err)
{
	struct fault fault;

	if (cachefiles_check_limits(l, &fault) == 0)
		return 0;
	error_set(err, 0, "%cstop < %ccull < %crun does not hold: %u, %u, %u", of, of, of, l->stop,
		l->cull, l->run);
	return error_hint(err,
		"all three of them; the kernel has %d, %d and %d for what is left out",
		CACHEFILES_STOP, CACHEFILES_CULL, CACHEFILES_RUN);
}

static int take_cachefiles(const json_t *v, void *out, struct error **err)
{
	struct config_cachefiles *c = out;

	c->blocks = c->files = (struct cachefiles_limits){
		.run = CACHEFILES_RUN, .cull = CACHEFILES_CULL, .stop = CACHEFILES_STOP
	};
	if (take_object(v, cachefiles_members, COUNT(cachefiles_members), c, err) < 0 ||
		check_order(&c->blocks, 'b', err) < 0)
		return -1;
	return check_order(&c->files, 'f', err);
}

/* ---- the whole ---- */

static const struct member members[] = {
	MEMBER(serve_config, store, "store", config_take_path),
	MEMBER(serve_config, store_limit, "storeLimit", config_take_size),
	MEMBER(serve_config, socket, "socket", config_take_path),
	MEMBER(serve_config, transport, "transport", config_take_transport),
	MEMBER(serve_config, strict, "strict", config_take_bool),
	MEMBER(serve_config, metrics, "metrics", config_take_address),
	MEMBER(serve_config, cachefiles, "cachefiles", take_cachefiles),
	{ "registries", take_registries, 0 },
};

static int parse(struct serve_config *c, const char *bytes, size_t len, struct error **err)
{
	json_error_t e;
	json_auto_t *v = json_loadb(bytes, len, JSON_REJECT_DUPLICATES, &e);
	CLEANUP_FREE char *why = v ? NULL : text_shown(e.text); /* it may quote the input */

	if (!v)
		return error_set(err, 0, "line %d, column %d: %s", e.line, e.column, why);
	return take_object(v, members, COUNT(members), c, err);
}

int serve_config_parse(struct serve_config *c, const char *bytes, size_t len, struct error **err)
{
	*c = (struct serve_config){ 0 };
	if (parse(c, bytes, len, err) == 0)
		return 0;
	serve_config_free(c);
	return -1;
}

/* Whoever may write to it decides where root's bytes come from. */
static int check_file(int fd, struct error **err)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return error_set(err, errno, "fstat");
	if (!S_ISREG(st.st_mode))
		return error_set(err, 0, "not a regular file");
	if (geteuid() == 0 && (st.st_uid != 0 || st.st_mode & (S_IWGRP | S_IWOTH))) {
		error_set(err, 0, "others than root may write to it");
		return error_hint(err, "chown root, and chmod go-w");
	}
	return 0;
}

/* The bytes, the caller's to free. */
static char *read_all(int fd, size_t *len, struct error **err)
{
	CLEANUP_FREE char *bytes = xmalloc(FILE_MAX + 1);

	for (*len = 0; *len <= FILE_MAX;) {
		ssize_t n = read(fd, bytes + *len, FILE_MAX + 1 - *len);

		if (n == 0)
			return take_ptr(bytes);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			error_set(err, errno, "reading");
			return NULL;
		}
		*len += (size_t)n;
	}
	error_set(err, 0, "larger than %d bytes", FILE_MAX);
	return NULL;
}

static int read_file(struct serve_config *c, int fd, struct error **err)
{
	CLEANUP_FREE char *bytes = NULL;
	size_t len;

	if (check_file(fd, err) < 0 || !(bytes = read_all(fd, &len, err)))
		return -1;
	return serve_config_parse(c, bytes, len, err);
}

int serve_config_read(struct serve_config *c, const char *path, struct error **err)
{
	const char *name = path ? path : SERVE_CONFIG_PATH;
	CLEANUP_FREE char *shown = text_shown(name);
	/* a pipe is not waited for: it is refused */
	CLEANUP_FD int fd = open(name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

	*c = (struct serve_config){ 0 };
	if (fd < 0 && !path && errno == ENOENT)
		return 0;
	if (fd < 0)
		return error_set(err, errno, "%s", shown);
	return read_file(c, fd, err) < 0 ? error_wrap(err, "%s", shown) : 0;
}
