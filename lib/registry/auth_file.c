// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/registry/auth_file.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <openssl/evp.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/interrupt.h"
#include "lib/base/mem.h"
#include "lib/base/text.h"
#include "lib/registry/secret.h"

#define BASE64 "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

/* ---- keys ---- */

/* All of these mean Docker's registry. */
static const char *canonical_host(const char *host, size_t len)
{
	static const char *const names[] = { "docker.io", "index.docker.io",
		"registry-1.docker.io" };

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		if (strlen(names[i]) == len && memcmp(names[i], host, len) == 0)
			return names[0];
	return NULL;
}

static bool same_host(const char *a, size_t a_len, const char *b)
{
	const char *canonical = canonical_host(a, a_len);

	if (canonical && canonical == canonical_host(b, strlen(b)))
		return true;
	return strlen(b) == a_len && memcmp(a, b, a_len) == 0;
}

static const char *skip_prefix(const char *s, const char *prefix)
{
	size_t n = strlen(prefix);

	return strncmp(s, prefix, n) == 0 ? s + n : s;
}

/*
 * How well a key is meant: 0 not at all; a longer namespace goes before a shorter one, and a plain
 * name before a URL. A URL means its host, whatever its path is (such as "/v1/").
 */
static size_t match(const char *key, const char *host, const char *repository)
{
	const char *name = skip_prefix(skip_prefix(key, "https://"), "http://");
	size_t host_len = strcspn(name, "/"), len;
	const char *space = name + host_len;
	bool exact = name == key && strlen(host) == host_len && !memcmp(name, host, host_len);

	if (!same_host(name, host_len, host))
		return 0;
	if (name != key || !strcmp(space, "/v1/") || !strcmp(space, "/v2/") || !*space)
		return 1 + (exact && !*space);
	len = strlen(++space);
	if (len && space[len - 1] == '/')
		len--;
	if (len == 0)
		return 1;
	if (strncmp(repository, space, len) != 0 || (repository[len] && repository[len] != '/'))
		return 0;
	return 2 * len + 1 + exact;
}

static json_t *best_match(json_t *object, const char *host, const char *repository,
	bool (*counts)(const json_t *), const char **key)
{
	size_t best = 0;
	json_t *found = NULL, *v;
	const char *name;

	json_object_foreach(object, name, v)
	{
		size_t n = match(name, host, repository);

		if (n <= best || !counts(v))
			continue;
		best = n;
		found = v;
		*key = name;
	}
	return found;
}

/* ---- values ---- */

static int take_string(
	const json_t *object, const char *name, const char **value, struct error **err)
{
	json_t *v = json_object_get(object, name);

	*value = NULL;
	if (!v || json_is_null(v))
		return 0;
	if (!json_is_string(v))
		return error_set(err, 0, "\"%s\" is not a string", name);
	if (json_string_length(v))
		*value = json_string_value(v);
	return 0;
}

/* Without line ends, which Go's decoder skips, too. */
static void without_line_ends(struct secret_buffer *b, const char *text)
{
	b->bytes = xmalloc(strlen(text) + 1);
	for (const char *p = text; *p; p++)
		if (*p != '\n' && *p != '\r')
			b->bytes[b->len++] = *p;
	b->bytes[b->len] = '\0';
}

/*
 * EVP_DecodeBlock() takes blanks around the text, lets padding stand anywhere, and counts it as
 * bytes: hence the checks before it.
 */
static int decode(struct secret_buffer *out, const char *text, struct error **err)
{
	CLEANUP_SECRET_BUFFER struct secret_buffer in = { 0 };
	size_t digits, pad;
	int n;

	without_line_ends(&in, text);
	digits = strspn(in.bytes, BASE64);
	pad = strspn(in.bytes + digits, "=");
	if (in.len == 0 || in.len % 4 || pad > 2 || digits + pad != in.len ||
		in.len > AUTH_FILE_MAX)
		return error_set(err, 0, "\"auth\" is not base64");
	out->bytes = xzalloc(in.len + 1);
	out->len = in.len;
	n = EVP_DecodeBlock((unsigned char *)out->bytes, (unsigned char *)in.bytes, (int)in.len);
	if (n < 3 || (size_t)n >= in.len)
		return error_set(err, 0, "\"auth\" is not base64");
	out->len = (size_t)n - pad;
	out->bytes[out->len] = '\0';
	return 0;
}

/* "USER:PASSWORD" in base64; Docker pads with NUL. */
static int take_auth(struct credentials *c, const char *text, struct error **err)
{
	CLEANUP_SECRET_BUFFER struct secret_buffer plain = { 0 };
	size_t len;
	char *colon;

	if (decode(&plain, text, err) < 0)
		return -1;
	for (len = plain.len; len && !plain.bytes[len - 1];)
		len--;
	colon = memchr(plain.bytes, ':', len);
	if (!colon)
		return error_set(err, 0, "\"auth\" is not USER:PASSWORD in base64: no colon");
	if (colon == plain.bytes)
		return error_set(err, 0, "\"auth\" is not USER:PASSWORD in base64: no user");
	if (memchr(plain.bytes, '\0', len))
		return error_set(err, 0, "\"auth\" holds a NUL byte");
	c->user = xstrndup(plain.bytes, (size_t)(colon - plain.bytes));
	c->password = xstrndup(colon + 1, (size_t)(plain.bytes + len - colon - 1));
	return 0;
}

/* With a token the user and password beside it are placeholders. */
static int take_entry(struct credentials *c, const json_t *entry, struct error **err)
{
	const char *registry, *identity, *auth, *user, *password;

	if (take_string(entry, "registrytoken", &registry, err) < 0 ||
		take_string(entry, "identitytoken", &identity, err) < 0 ||
		take_string(entry, "auth", &auth, err) < 0 ||
		take_string(entry, "username", &user, err) < 0 ||
		take_string(entry, "password", &password, err) < 0)
		return -1;
	if (registry) {
		c->registry_token = xstrdup(registry);
	} else if (identity) {
		c->identity_token = xstrdup(identity);
	} else if (auth) {
		return take_auth(c, auth, err);
	} else if (user) {
		c->user = xstrdup(user);
		c->password = xstrdup(password ? password : "");
	}
	return 0;
}

/* ---- the file ---- */

static int member(const json_t *root, const char *name, json_t **object, struct error **err)
{
	*object = json_object_get(root, name);
	if (json_is_null(*object))
		*object = NULL;
	if (*object && !json_is_object(*object))
		return error_set(err, 0, "\"%s\" is not an object", name);
	return 0;
}

/* Docker leaves {} for what it keeps in a store. */
static bool is_filled(const json_t *v)
{
	return !json_is_null(v) && !(json_is_object(v) && json_object_size(v) == 0);
}

static bool is_any(const json_t *v)
{
	return !json_is_null(v);
}

static int take_auths(struct auth_file *a, const json_t *root, const char *host,
	const char *repository, struct error **err)
{
	CLEANUP_FREE char *shown = NULL;
	const char *key = NULL;
	json_t *auths, *entry;
	int rc;

	if (member(root, "auths", &auths, err) < 0)
		return -1;
	entry = best_match(auths, host, repository, is_filled, &key);
	if (!entry)
		return 0;
	rc = json_is_object(entry) ? take_entry(&a->found, entry, err)
				   : error_set(err, 0, "not an object");
	if (rc == 0)
		return 0;
	shown = text_shown(key);
	return error_wrap(err, "\"auths\": \"%s\"", shown);
}

/* Helpers are for whole registries. */
static int take_helpers(
	struct auth_file *a, const json_t *root, const char *host, struct error **err)
{
	const char *key = NULL, *store;
	json_t *helpers, *helper;

	if (take_string(root, "credsStore", &store, err) < 0 ||
		member(root, "credHelpers", &helpers, err) < 0)
		return -1;
	a->store = store ? xstrdup(store) : NULL;
	helper = best_match(helpers, host, "", is_any, &key);
	if (!helper)
		return 0;
	if (!json_is_string(helper))
		return error_set(err, 0, "\"credHelpers\" holds something that is not a string");
	a->helper = xstrdup(json_string_value(helper));
	return 0;
}

static void wipe_strings(json_t *object)
{
	const char *name;
	json_t *v;

	json_object_foreach(object, name, v) if (json_is_string(v))
		explicit_bzero((char *)json_string_value(v), json_string_length(v));
}

static void cleanup_json_(json_t **root)
{
	json_t *auths = json_object_get(*root, "auths"), *v;
	const char *name;

	wipe_strings(auths);
	json_object_foreach(auths, name, v) wipe_strings(v);
	json_decref(*root);
}

int auth_file_parse(struct auth_file *a, const char *bytes, size_t len, const char *host,
	const char *repository, struct error **err)
{
	CLEANUP(cleanup_json_) json_t *root = NULL;
	json_error_t e;

	*a = (struct auth_file){ 0 };
	if (len == 0)
		return 0;
	root = json_loadb(bytes, len, 0, &e);
	if (!root) /* e.text quotes the input */
		return error_set(err, 0, "not valid JSON (line %d, column %d)", e.line, e.column);
	if (!json_is_object(root))
		return error_set(err, 0, "not a JSON object");
	if (take_helpers(a, root, host, err) == 0 &&
		take_auths(a, root, host, repository, err) == 0)
		return 0;
	auth_file_free(a);
	return -1;
}

/* What a caller names may be something that blocks who opens it. */
static int open_as(const char *path, const struct caller *caller, struct error **err)
{
	int fd, code;

	if (caller && caller_enter(caller, err) < 0)
		return -1;
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | (caller ? O_NONBLOCK : 0));
	code = errno;
	if (caller)
		caller_leave(caller);
	return fd < 0 ? error_set(err, code, "cannot open it") : fd;
}

/* One buffer of the full size: a growing one would leave copies behind. */
static int read_all(struct secret_buffer *b, int fd, struct error **err)
{
	b->bytes = xmalloc(AUTH_FILE_MAX + 1);
	for (;;) {
		ssize_t n = read(fd, b->bytes + b->len, AUTH_FILE_MAX + 1 - b->len);

		if (n < 0 && errno == EINTR && !interrupt_pending())
			continue;
		if (n < 0)
			return error_set(err, errno, "cannot read it");
		if (n == 0)
			return 0;
		b->len += (size_t)n;
		if (b->len > AUTH_FILE_MAX)
			return error_set(err, 0, "more than 1 MiB is too much for credentials");
	}
}

static int read_whole(struct secret_buffer *b, const char *path, const struct caller *caller,
	bool *once, struct error **err)
{
	CLEANUP_FD int fd = open_as(path, caller, err);
	struct stat st;

	if (fd < 0)
		return -1;
	if (fstat(fd, &st) < 0)
		return error_set(err, errno, "cannot look at it");
	*once = !S_ISREG(st.st_mode);
	if (caller && *once)
		return error_set(err, 0, "not a regular file");
	return read_all(b, fd, err);
}

static bool is_set(const struct credentials *c)
{
	return c->user || c->identity_token || c->registry_token;
}

int auth_file_read(struct auth_file *a, const char *path, const struct caller *caller,
	const char *host, const char *repository, struct error **err)
{
	CLEANUP_SECRET_BUFFER struct secret_buffer b = { 0 };
	bool once = false;

	*a = (struct auth_file){ 0 };
	if (read_whole(&b, path, caller, &once, err) == 0 &&
		auth_file_parse(a, b.bytes, b.len, host, repository, err) == 0) {
		a->once = once;
		if (is_set(&a->found))
			a->found.from = xstrdup(path);
		return 0;
	}
	return error_wrap(err, "%s", path);
}

void auth_file_free(struct auth_file *a)
{
	credentials_free(&a->found);
	free(a->helper);
	free(a->store);
	*a = (struct auth_file){ 0 };
}
