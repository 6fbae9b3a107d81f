// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/* The daemon's configuration file: what is taken, and what is refused with which words. */
#include "config.h"

#include "lib/base/mem.h"
#include "lib/serve/serve_config.h"
#include "tests/unit/tap.h"
#include "tests/unit/tmpdir.h"

static int parse(struct serve_config *c, const char *text, struct error **err)
{
	return serve_config_parse(c, text, strlen(text), err);
}

static void an_empty_object_says_nothing(void)
{
	CLEANUP_ERROR struct error *err = NULL;
	CLEANUP_SERVE_CONFIG struct serve_config c;

	CHECK(parse(&c, "{}", &err) == 0);
	CHECK(!c.store && !c.socket && !c.transport && !c.metrics && !c.registries);
	CHECK(!c.strict);
	CHECK_U64(c.store_limit, 0);
	CHECK_U64(c.n_registries, 0);
	CHECK(!serve_config_find(&c, "docker.io"));
}

static void every_member_of_the_daemon_is_taken(void)
{
	CLEANUP_ERROR struct error *err = NULL;
	CLEANUP_SERVE_CONFIG struct serve_config c;

	CHECK(parse(&c,
		      "{\"store\": \"/s\", \"storeLimit\": 4096, \"socket\": \"/k\","
		      "\"transport\": \"fuse-device\", \"strict\": true,"
		      "\"metrics\": \"[::1]:9100\", \"registries\": {}}",
		      &err) == 0);
	CHECK_STR(c.store, "/s");
	CHECK_U64(c.store_limit, 4096);
	CHECK_STR(c.socket, "/k");
	CHECK_STR(c.transport, "fuse-device");
	CHECK(c.strict);
	CHECK_STR(c.metrics, "[::1]:9100");
}

static bool are(const struct cachefiles_limits *l, unsigned run, unsigned cull, unsigned stop)
{
	if (l->run == run && l->cull == cull && l->stop == stop)
		return true;
	printf("# %u, %u, %u\n", l->run, l->cull, l->stop);
	return false;
}

static void limits_of_the_kernels_cache_are_taken(void)
{
	CLEANUP_ERROR struct error *err = NULL;
	CLEANUP_SERVE_CONFIG struct serve_config c;

	CHECK(parse(&c,
		      "{\"cachefiles\": {\"tag\": \"mine\", \"brun\": 99, \"bcull\": 98,"
		      "\"bstop\": 97, \"frun\": 2, \"fcull\": 1, \"fstop\": 0}}",
		      &err) == 0);
	CHECK_STR(c.cachefiles.tag, "mine");
	CHECK(are(&c.cachefiles.blocks, 99, 98, 97));
	CHECK(are(&c.cachefiles.files, 2, 1, 0));
}

static void limits_that_are_left_out_are_the_kernels_own(void)
{
	CLEANUP_ERROR struct error *err = NULL;
	CLEANUP_SERVE_CONFIG struct serve_config nothing, some;

	CHECK(parse(&nothing, "{}", &err) == 0);
	CHECK(!nothing.cachefiles.tag);
	CHECK(are(&nothing.cachefiles.blocks, 0, 0, 0) && are(&nothing.cachefiles.files, 0, 0, 0));
	CHECK(parse(&some, "{\"cachefiles\": {\"brun\": 50, \"fstop\": 4}}", &err) == 0);
	CHECK(!some.cachefiles.tag);
	CHECK(are(&some.cachefiles.blocks, 50, 5, 1));
	CHECK(are(&some.cachefiles.files, 7, 5, 4));
}

static void registries_keep_their_places_in_order(void)
{
	CLEANUP_ERROR struct error *err = NULL;
	CLEANUP_SERVE_CONFIG struct serve_config c;
	const struct config_registry *r;

	CHECK(parse(&c,
		      "{\"registries\": {\"index.docker.io\": {\"mirrors\": ["
		      "{\"host\": \"m:5000\", \"prefix\": \"proxy/docker.io/\"},"
		      "{\"host\": \"cache\", \"tlsVerify\": false, \"plainHttp\": true,"
		      " \"certDir\": \"/c\"}],"
		      "\"blobServers\": [\"http://h:8080/a\", \"https://h\"],"
		      "\"authfile\": \"/a\", \"tlsVerify\": false, \"plainHttp\": true,"
		      "\"certDir\": \"/d\"}, \"r.example:5000\": {}}}",
		      &err) == 0);
	CHECK(!err);
	CHECK_U64(c.n_registries, 2);
	r = serve_config_find(&c, "docker.io");
	if (!CHECK(r && r->n_mirrors == 2 && r->n_blob_servers == 2))
		return;
	CHECK_STR(r->mirrors[0].host, "m:5000");
	CHECK_STR(r->mirrors[0].prefix, "proxy/docker.io/");
	CHECK(r->mirrors[0].tls_verify && !r->mirrors[0].plain_http && !r->mirrors[0].cert_dir);
	CHECK_STR(r->mirrors[1].host, "cache");
	CHECK_STR(r->mirrors[1].prefix, "");
	CHECK(!r->mirrors[1].tls_verify && r->mirrors[1].plain_http);
	CHECK_STR(r->mirrors[1].cert_dir, "/c");
	CHECK_STR(r->blob_servers[0], "http://h:8080/a");
	CHECK_STR(r->blob_servers[1], "https://h/");
	CHECK_STR(r->authfile, "/a");
	CHECK_STR(r->cert_dir, "/d");
	CHECK(r->tls_verify == 0 && r->plain_http == 1);
	r = serve_config_find(&c, "r.example:5000");
	CHECK(r && r->tls_verify == -1 && r->plain_http == -1 && !r->authfile && !r->cert_dir);
	CHECK(!serve_config_find(&c, "r.example"));
}

static void sizes_are_numbers_or_texts(void)
{
	static const struct {
		const char *text;
		uint64_t size;
	} sizes[] = { { "1", 1 }, { "\"1\"", 1 }, { "\"3K\"", 3072 }, { "\"2M\"", 2 << 20 },
		{ "\"20G\"", UINT64_C(20) << 30 }, { "9223372036854775807", INT64_MAX },
		{ "\"18446744073709551615\"", UINT64_MAX } };
	static const char *const bad[] = { "0", "-1", "1.5", "true", "\"\"", "\"0\"", "\"G\"",
		"\"1T\"", "\"1 G\"", "\"1GB\"", "\"-1\"", "\" 1\"", "\"18446744073709551616\"",
		"\"17179869184G\"", "null", "[]" };

	for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
		CLEANUP_ERROR struct error *err = NULL;
		CLEANUP_FREE char *text = xasprintf("{\"storeLimit\": %s}", sizes[i].text);
		CLEANUP_SERVE_CONFIG struct serve_config c;

		CHECK(parse(&c, text, &err) == 0);
		CHECK_U64(c.store_limit, sizes[i].size);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		CLEANUP_ERROR struct error *err = NULL;
		CLEANUP_FREE char *text = xasprintf("{\"storeLimit\": %s}", bad[i]);
		struct serve_config c;

		if (!CHECK(parse(&c, text, &err) < 0))
			printf("# %s\n", text);
	}
}

static const struct {
	const char *text, *message;
} faults[] = {
	/* the rest of these is the library's */
	{ "", "line 1, column 0: " },
	{ "{\n\"strict\": true,\n}", "line 3, column 1: " },
	{ "{\"strict\": true, \"strict\": true}", "line 1, column 25: duplicate " },
	{ "{} x", "line 1, column 4: " },
	{ "{\"store\": \"/a\\u0000b\"}", "line 1, column 21: " },
	{ "[]", "not an object" },
	{ "{\"stroe\": \"/s\"}", "there is no member \"stroe\"" },
	{ "{\"\\u001b\": 1}", "there is no member \"\\033\"" },
	{ "{\"store\": null}", "\"store\": not a string" },
	{ "{\"store\": 1}", "\"store\": not a string" },
	{ "{\"store\": \"s\"}", "\"store\": \"s\" is not an absolute path" },
	{ "{\"store\": \"\"}", "\"store\": \"\" is not an absolute path" },
	{ "{\"socket\": \"k\"}", "\"socket\": \"k\" is not an absolute path" },
	{ "{\"strict\": \"yes\"}", "\"strict\": not true or false" },
	{ "{\"transport\": \"nbd\"}",
		"\"transport\": \"nbd\" is none of auto, fanotify, fuse-device, cachefiles and "
		"fuse" },
	{ "{\"metrics\": \"9100\"}", "\"metrics\": \"9100\" is neither /PATH nor HOST:PORT" },
	{ "{\"metrics\": \"h:0\"}", "\"metrics\": \"h:0\" is neither /PATH nor HOST:PORT" },
	{ "{\"metrics\": \"h:65536\"}", "\"metrics\": \"h:65536\" is neither /PATH nor HOST:PORT" },
	{ "{\"metrics\": \":1\"}", "\"metrics\": \":1\" is neither /PATH nor HOST:PORT" },
	{ "{\"cachefiles\": 7}", "\"cachefiles\": not an object" },
	{ "{\"cachefiles\": {\"run\": 7}}", "\"cachefiles\": there is no member \"run\"" },
	{ "{\"cachefiles\": {\"tag\": 1}}", "\"cachefiles\": \"tag\": not a string" },
	{ "{\"cachefiles\": {\"tag\": \"\"}}",
		"\"cachefiles\": \"tag\": \"\" cannot be the name of a cache" },
	{ "{\"cachefiles\": {\"tag\": \"a\\nbind\"}}",
		"\"cachefiles\": \"tag\": \"a\\012bind\" cannot be the name of a cache" },
	{ "{\"cachefiles\": {\"brun\": \"7%\"}}",
		"\"cachefiles\": \"brun\": not a whole number from 0 to 99" },
	{ "{\"cachefiles\": {\"brun\": 7.5}}",
		"\"cachefiles\": \"brun\": not a whole number from 0 to 99" },
	{ "{\"cachefiles\": {\"brun\": 100}}",
		"\"cachefiles\": \"brun\": not a whole number from 0 to 99" },
	{ "{\"cachefiles\": {\"fstop\": -1}}",
		"\"cachefiles\": \"fstop\": not a whole number from 0 to 99" },
	{ "{\"cachefiles\": {\"bstop\": 4294967296}}",
		"\"cachefiles\": \"bstop\": not a whole number from 0 to 99" },
	{ "{\"cachefiles\": {\"brun\": 5}}",
		"\"cachefiles\": bstop < bcull < brun does not hold: 1, 5, 5" },
	{ "{\"cachefiles\": {\"bstop\": 5}}",
		"\"cachefiles\": bstop < bcull < brun does not hold: 5, 5, 7" },
	{ "{\"cachefiles\": {\"bcull\": 8}}",
		"\"cachefiles\": bstop < bcull < brun does not hold: 1, 8, 7" },
	{ "{\"cachefiles\": {\"tag\": \"t\", \"frun\": 3, \"fcull\": 2, \"fstop\": 2}}",
		"\"cachefiles\": fstop < fcull < frun does not hold: 2, 2, 3" },
	{ "{\"registries\": []}", "\"registries\": not an object" },
	{ "{\"registries\": {\"r.io\": []}}", "\"registries\": \"r.io\": not an object" },
	{ "{\"registries\": {\"r\": {}}}",
		"\"registries\": \"r\": not the host of a registry, as it stands in names of "
		"images" },
	{ "{\"registries\": {\"r.io/a\": {}}}",
		"\"registries\": \"r.io/a\": not the host of a registry, as it stands in names of "
		"images" },
	{ "{\"registries\": {\"docker.io\": {}, \"index.docker.io\": {}}}",
		"\"registries\": \"index.docker.io\": docker.io is there already" },
	{ "{\"registries\": {\"r.io\": {\"mirror\": []}}}",
		"\"registries\": \"r.io\": there is no member \"mirror\"" },
	{ "{\"registries\": {\"r.io\": {\"mirrors\": {}}}}",
		"\"registries\": \"r.io\": \"mirrors\": not an array" },
	{ "{\"registries\": {\"r.io\": {\"mirrors\": [1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]}}}",
		"\"registries\": \"r.io\": \"mirrors\": there are more than 16 in it" },
	{ "{\"registries\": {\"r.io\": {\"mirrors\": [{\"host\": \"a\"}, {}]}}}",
		"\"registries\": \"r.io\": \"mirrors\": 2: \"host\" is missing" },
	{ "{\"registries\": {\"r.io\": {\"mirrors\": [\"a\"]}}}",
		"\"registries\": \"r.io\": \"mirrors\": 1: not an object" },
	{ "{\"registries\": {\"r.io\": {\"mirrors\": [{\"host\": \"https://a\"}]}}}",
		"\"registries\": \"r.io\": \"mirrors\": 1: \"host\": \"https://a\" is not "
		"HOST[:PORT]" },
	{ "{\"registries\": {\"r.io\": {\"mirrors\": [{\"host\": \"a\", \"prefix\": \"p\"}]}}}",
		"\"registries\": \"r.io\": \"mirrors\": 1: \"prefix\": \"p\" is not the beginning "
		"of a repository's name, with a / at its end" },
	{ "{\"registries\": {\"r.io\": {\"blobServers\": [\"ftp://a\"]}}}",
		"\"registries\": \"r.io\": \"blobServers\": 1: \"ftp://a\" is not a URL of http or "
		"https without user, query and fragment" },
	{ "{\"registries\": {\"r.io\": {\"blobServers\": [\"http://u:geheim@a/x?y\"]}}}",
		"\"registries\": \"r.io\": \"blobServers\": 1: \"http://***@a/x\" is not a URL of "
		"http or https without user, query and fragment" },
	{ "{\"registries\": {\"r.io\": {\"authfile\": \"~/a\"}}}",
		"\"registries\": \"r.io\": \"authfile\": \"~/a\" is not an absolute path" },
	{ "{\"registries\": {\"r.io\": {\"plainHttp\": 1}}}",
		"\"registries\": \"r.io\": \"plainHttp\": not true or false" },
};

static void what_is_wrong_is_named(void)
{
	for (size_t i = 0; i < sizeof(faults) / sizeof(*faults); i++) {
		CLEANUP_ERROR struct error *err = NULL;
		struct serve_config c;

		if (!CHECK(parse(&c, faults[i].text, &err) < 0)) {
			printf("# %s\n", faults[i].text);
			continue;
		}
		if (strncmp(faults[i].message, "line", 4) == 0 &&
			strlen(err->msg) > strlen(faults[i].message))
			err->msg[strlen(faults[i].message)] = '\0';
		CHECK_STR(err->msg, faults[i].message);
		CHECK(!c.store && !c.registries && !c.cachefiles.tag);
	}
}

static void odd_hosts_and_prefixes_are_refused(void)
{
	static const char *const hosts[] = { "", ":1", "a:", "a:x", "a:00", "a:65536", "a b", "a/b",
		"u@a", "a?b", "-a", "a..b", "a\\u000a", "a:1:2", "[::1", "[x]", "a@sha256" };
	static const char *const prefixes[] = { "/", "a", "a//", "/a/", "A/", "a/../", "a b/",
		"a:1/", "a@b/", "-/", "a?/" };

	for (size_t i = 0; i < sizeof(hosts) / sizeof(*hosts); i++) {
		CLEANUP_ERROR struct error *err = NULL;
		CLEANUP_FREE char *text = xasprintf(
			"{\"registries\": {\"r.io\": {\"mirrors\": [{\"host\": \"%s\"}]}}}",
			hosts[i]);
		struct serve_config c;

		if (!CHECK(parse(&c, text, &err) < 0 && strstr(err->msg, "is not HOST[:PORT]")))
			printf("# %s\n", text);
	}
	for (size_t i = 0; i < sizeof(prefixes) / sizeof(*prefixes); i++) {
		CLEANUP_ERROR struct error *err = NULL;
		CLEANUP_FREE char *text = xasprintf("{\"registries\": {\"r.io\": {\"mirrors\": "
						    "[{\"host\": \"h\", \"prefix\": \"%s\"}]}}}",
			prefixes[i]);
		struct serve_config c;

		if (!CHECK(parse(&c, text, &err) < 0 && strstr(err->msg, "is not the beginning")))
			printf("# %s\n", text);
	}
}

/* ---- files ---- */

static int read_it(const char *path, struct error **err)
{
	struct serve_config c;
	int rc = serve_config_read(&c, path, err);

	serve_config_free(&c);
	return rc;
}

static void check_refused(const char *path, const char *words)
{
	CLEANUP_ERROR struct error *err = NULL;

	CHECK(read_it(path, &err) < 0);
	if (!CHECK(err && strncmp(err->msg, path, strlen(path)) == 0 && strstr(err->msg, words)))
		printf("# %s\n", err ? err->msg : "no error");
}

static void errors_begin_with_the_file(void)
{
	CLEANUP_TMPDIR char *dir = tmpdir_make();
	CLEANUP_FREE char *path = xasprintf("%s/c", dir);
	CLEANUP_ERROR struct error *err = NULL;

	check_refused(path, "No such file");
	write_file(path, "{\n!}", 4);
	chmod(path, 0644);
	check_refused(path, ": line 2, ");
	check_refused(dir, "not a regular file");
	write_file(path, "{}", 2);
	CHECK(read_it(path, &err) == 0);
}

static void a_pipe_is_not_waited_for(void)
{
	CLEANUP_TMPDIR char *dir = tmpdir_make();
	CLEANUP_FREE char *path = xasprintf("%s/c", dir);

	CHECK(mkfifo(path, 0644) == 0);
	check_refused(path, "not a regular file");
}

static void a_large_file_is_refused(void)
{
	CLEANUP_TMPDIR char *dir = tmpdir_make();
	CLEANUP_FREE char *path = xasprintf("%s/c", dir);
	CLEANUP_ERROR struct error *err = NULL;
	enum { LIMIT = 1024 * 1024 };
	CLEANUP_FREE char *blanks = xmalloc(LIMIT + 1);

	memset(blanks, ' ', LIMIT + 1);
	memcpy(blanks, "{}", 2);
	write_file(path, blanks, LIMIT);
	chmod(path, 0644);
	CHECK(read_it(path, &err) == 0);
	write_file(path, blanks, LIMIT + 1);
	check_refused(path, "larger than 1048576 bytes");
}

/* Others than root may not decide what root reads. */
static void root_reads_no_file_that_others_may_write_to(void)
{
	static const mode_t bad[] = { 0664, 0646, 0666 };
	CLEANUP_TMPDIR char *dir = tmpdir_make();
	CLEANUP_FREE char *path = xasprintf("%s/c", dir);
	CLEANUP_ERROR struct error *err = NULL;

	write_file(path, "{}", 2);
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		chmod(path, bad[i]);
		if (geteuid() == 0) {
			check_refused(path, "others than root may write to it");
		} else {
			CHECK(read_it(path, &err) == 0);
		}
	}
	chmod(path, 0600);
	CHECK(read_it(path, &err) == 0);
	if (geteuid() == 0 && CHECK(chown(path, 1, 1) == 0))
		check_refused(path, "others than root may write to it");
}

/* ---- the example that is installed ---- */

static void the_documented_example_is_valid(void)
{
	const char *top = getenv("top_srcdir");
	CLEANUP_FREE char *path = xasprintf("%s/docs/serve.json.example", top ? top : "../..");
	CLEANUP_FREE char *text = read_file(path);
	CLEANUP_ERROR struct error *err = NULL;
	CLEANUP_SERVE_CONFIG struct serve_config c = { 0 };
	const struct config_registry *r;

	if (!CHECK(text && parse(&c, text, &err) == 0)) {
		printf("# %s: %s\n", path, err ? err->msg : "not there");
		return;
	}
	CHECK_STR(c.store, "/var/lib/erofs-convert");
	CHECK(c.store_limit && c.socket && c.transport && c.metrics);
	r = serve_config_find(&c, "docker.io");
	CHECK(r && r->n_mirrors == 2 && r->n_blob_servers == 1 && r->authfile);
	CHECK(serve_config_find(&c, "registry.example:5000"));
}

/* The manual page shows the same one. */
static void the_manual_has_the_same_example(void)
{
	const char *top = getenv("top_srcdir");
	CLEANUP_FREE char *page =
		xasprintf("%s/docs/man/erofs-convert-serve.json.5", top ? top : "../..");
	CLEANUP_FREE char *path = xasprintf("%s/docs/serve.json.example", top ? top : "../..");
	CLEANUP_FREE char *manual = read_file(page), *example = read_file(path);
	char *begin = manual ? strstr(manual, "\n{\n") : NULL;
	char *end = begin ? strstr(begin, ".Ed\n") : NULL;

	if (!CHECK(end && example))
		return;
	*end = '\0';
	CHECK_STR(begin + 1, example);
}

int main(void)
{
	RUN(an_empty_object_says_nothing);
	RUN(every_member_of_the_daemon_is_taken);
	RUN(limits_of_the_kernels_cache_are_taken);
	RUN(limits_that_are_left_out_are_the_kernels_own);
	RUN(registries_keep_their_places_in_order);
	RUN(sizes_are_numbers_or_texts);
	RUN(what_is_wrong_is_named);
	RUN(odd_hosts_and_prefixes_are_refused);
	RUN(errors_begin_with_the_file);
	RUN(a_pipe_is_not_waited_for);
	RUN(a_large_file_is_refused);
	RUN(root_reads_no_file_that_others_may_write_to);
	RUN(the_documented_example_is_valid);
	RUN(the_manual_has_the_same_example);
	return tap_done();
}
