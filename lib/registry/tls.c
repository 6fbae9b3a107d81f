// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/registry/tls.h"

#include <curl/curl.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/base/mem.h"

enum { FILE_MAX = 4 * 1024 * 1024, FILES_MAX = 256 };

struct tls {
	bool verify;
	char *authorities; /* PEM, one after the other; NULL: the system's only */
	size_t size;
	char *cert, *key; /* paths */
};

static bool ends_with(const char *name, const char *end)
{
	size_t n = strlen(name), m = strlen(end);

	return n > m && strcmp(name + n - m, end) == 0;
}

/* Regular files only: a fifo would hang. */
static int append_file(struct tls *t, const char *path, struct error **err)
{
	CLEANUP_FD int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat st;
	size_t size;
	ssize_t n;

	if (fd < 0 || fstat(fd, &st) < 0)
		return error_set(err, errno, "cannot read %s", path);
	if (!S_ISREG(st.st_mode) || st.st_size > FILE_MAX)
		return error_set(err, 0, "%s is no file of certificates", path);
	size = (size_t)st.st_size;
	t->authorities = xrealloc_array(t->authorities, t->size + size + 1, 1);
	while (size && (n = read(fd, t->authorities + t->size, size)) != 0) {
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return error_set(err, errno, "cannot read %s", path);
		t->size += (size_t)n;
		size -= (size_t)n;
	}
	t->authorities[t->size++] = '\n';
	return 0;
}

/* NAME.cert and NAME.key come together. */
static int check_pair(const char *path, const char *end, const char *other, struct error **err)
{
	size_t stem = strlen(path) - strlen(end);
	CLEANUP_FREE char *pair = xasprintf("%.*s%s", (int)stem, path, other);

	if (access(pair, R_OK) == 0)
		return 0;
	return error_set(err, errno, "%s needs %s beside it", path, pair);
}

static int take_file(struct tls *t, const char *path, struct error **err)
{
	if (ends_with(path, ".crt"))
		return append_file(t, path, err);
	if (ends_with(path, ".key"))
		return check_pair(path, ".key", ".cert", err);
	if (!ends_with(path, ".cert"))
		return 0;
	if (check_pair(path, ".cert", ".key", err) < 0)
		return -1;
	if (!t->cert) {
		t->cert = xstrdup(path);
		t->key = xasprintf("%.*s.key", (int)(strlen(path) - strlen(".cert")), path);
	}
	return 0;
}

static int take_dir(struct tls *t, const char *dir, struct error **err)
{
	struct dirent **names;
	int n = scandir(dir, &names, NULL, alphasort), rc = 0;

	if (n < 0)
		return error_set(err, errno, "cannot read the certificates in %s", dir);
	for (int i = 0; i < n; i++) {
		CLEANUP_FREE char *path = xasprintf("%s/%s", dir, names[i]->d_name);

		if (rc == 0 && i < FILES_MAX)
			rc = take_file(t, path, err);
		free(names[i]);
	}
	free(names);
	return rc;
}

/* The first directory counts, alone. One that others keep to themselves is passed over. */
static int take_usual(struct tls *t, const char *host, struct error **err)
{
	const char *home = getenv("HOME");
	CLEANUP_FREE char *own = xasprintf("%s/.config/containers/certs.d", home ? home : "");
	const char *const bases[] = { own, "/etc/containers/certs.d", "/etc/docker/certs.d" };

	for (size_t i = home && *home ? 0 : 1; i < sizeof(bases) / sizeof(*bases); i++) {
		CLEANUP_FREE char *dir = xasprintf("%s/%s", bases[i], host);

		if (access(dir, R_OK | X_OK) == 0)
			return take_dir(t, dir, err);
	}
	return 0;
}

/*
 * The system's store stays in force beside ours: OpenSSL looks into libcurl's directory of
 * certificates anyway; where libcurl was built with a file only, that is added.
 */
static void add_system(struct tls *t)
{
	const curl_version_info_data *info = curl_version_info(CURLVERSION_NOW);
	CLEANUP_ERROR struct error *ignored = NULL;
	const char *file = getenv("SSL_CERT_FILE");

	if (!t->authorities)
		return;
	if (file && *file)
		append_file(t, file, &ignored);
	else if (!info->capath && info->cainfo)
		append_file(t, info->cainfo, &ignored);
}

struct tls *tls_load(const char *host, const char *cert_dir, bool verify, struct error **err)
{
	struct tls *t = xzalloc(sizeof(*t));

	t->verify = verify;
	if ((cert_dir ? take_dir(t, cert_dir, err) : take_usual(t, host, err)) < 0) {
		tls_free(t);
		return NULL;
	}
	add_system(t);
	return t;
}

void tls_free(struct tls *t)
{
	if (!t)
		return;
	free(t->authorities);
	free(t->cert);
	free(t->key);
	free(t);
}

/* SSL_CERT_FILE and SSL_CERT_DIR are OpenSSL's, and Go's: other tools for images follow them. */
static void apply_environment(CURL *easy)
{
	const char *file = getenv("SSL_CERT_FILE"), *dir = getenv("SSL_CERT_DIR");

	if (file && *file)
		curl_easy_setopt(easy, CURLOPT_CAINFO, file);
	if (dir && *dir)
		curl_easy_setopt(easy, CURLOPT_CAPATH, dir);
}

void tls_apply(const struct tls *t, void *easy, bool ours)
{
	apply_environment(easy);
	if (!t->verify) {
		curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 0L);
		curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 0L);
	}
	if (t->authorities) {
		struct curl_blob blob = { t->authorities, t->size, CURL_BLOB_NOCOPY };

		curl_easy_setopt(easy, CURLOPT_CAINFO_BLOB, &blob);
	}
	if (ours && t->cert) {
		curl_easy_setopt(easy, CURLOPT_SSLCERT, t->cert);
		curl_easy_setopt(easy, CURLOPT_SSLKEY, t->key);
	}
}
