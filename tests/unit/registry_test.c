// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/* Documents, and what stands in the way of any request: logging in, redirects, tries. */
#include "config.h"

#include <sys/mman.h>

#include "lib/base/log.h"
#include "lib/registry/secret.h"
#include "lib/registry/token.h"
#include "lib/registry/url.h"
#include "tests/unit/registry_fixture.h"

#define OCI_MANIFEST "application/vnd.oci.image.manifest.v1+json"
#define MANIFEST     "{\"schemaVersion\":2}"

static int get(struct registry *r, const char *tag, struct error **err)
{
	CLEANUP_REGISTRY_DOCUMENT struct registry_document d = { 0 };

	return registry_get_manifest(r, tag, NULL, &d, err);
}

/* Ask a server that does as `serve` for one manifest; its error, or NULL. */
static struct error *error_from(
	void (*serve)(struct served *x), void *state, const struct registry_options *o)
{
	CLEANUP_SERVER struct server *s = server_start(serve, state);
	CLEANUP_REGISTRY struct registry *r = open_at(s, REGISTRY_PULL, o);
	struct error *err = NULL;

	get(r, "tag", &err);
	return err;
}

/* ---- documents ---- */

static void serve_manifest(struct served *x)
{
	char value[512];

	CHECK(strstr(server_header(x, "Accept", value), OCI_MANIFEST) != NULL);
	CHECK(strstr(server_header(x, "User-Agent", value), "erofs-convert/") != NULL);
	if (strstr(x->target, "missing"))
		server_say(x, 404, "",
			"{\"errors\":[{\"code\":\"MANIFEST_UNKNOWN\",\"message\":\"manifest "
			"unknown\"}]}");
	else if (strstr(x->target, "lie"))
		server_say(x, 200,
			"Docker-Content-Digest: sha256:"
			"0000000000000000000000000000000000000000000000000000000000000000\r\n",
			MANIFEST);
	else
		server_say(x, 200, "content-type:  " OCI_MANIFEST " ; charset=utf-8\r\n", MANIFEST);
}

static void a_manifest_comes_by_tag_and_by_digest(void)
{
	CLEANUP_SERVER struct server *s = server_start(serve_manifest, NULL);
	CLEANUP_REGISTRY struct registry *r = open_at(s, REGISTRY_PULL, &PLAIN);
	struct digest want = digest_of_bytes(MANIFEST, strlen(MANIFEST));

	for (int by_digest = 0; by_digest < 2; by_digest++) {
		CLEANUP_REGISTRY_DOCUMENT struct registry_document d = { 0 };
		CLEANUP_ERROR struct error *err = NULL;

		if (!CHECK(registry_get_manifest(r, "tag", by_digest ? &want : NULL, &d, &err) ==
			    0))
			continue;
		CHECK_STR(d.bytes, MANIFEST);
		CHECK_U64(d.size, strlen(MANIFEST));
		CHECK_STR(d.media_type, OCI_MANIFEST);
		CHECK(digest_equal(&d.digest, &want));
	}
	CHECK_U64(server_count(s, "GET /v2/some/name/manifests/tag"), 1);
	CHECK_U64(server_count(s, "GET /v2/some/name/manifests/sha256:"), 1);
}

static void a_manifest_with_other_bytes_is_refused(void)
{
	CLEANUP_SERVER struct server *s = server_start(serve_manifest, NULL);
	CLEANUP_REGISTRY struct registry *r = open_at(s, REGISTRY_PULL, &PLAIN);
	CLEANUP_REGISTRY_DOCUMENT struct registry_document d = { 0 };
	CLEANUP_ERROR struct error *err = NULL, *lie = NULL;
	struct digest other = digest_of_bytes("x", 1);

	CHECK(registry_get_manifest(r, NULL, &other, &d, &err) == -1);
	check_error(err, "registry 127.0.0.1:", "have the digest", NULL);
	CHECK(get(r, "lie", &lie) == -1);
	check_error(lie, "have the digest", NULL);
}

static void what_is_not_there_has_its_own_code(void)
{
	CLEANUP_SERVER struct server *s = server_start(serve_manifest, NULL);
	CLEANUP_REGISTRY struct registry *r = open_at(s, REGISTRY_PULL, &PLAIN);
	CLEANUP_ERROR struct error *err = NULL;

	CHECK(get(r, "missing", &err) == -1);
	CHECK(err && err->code == ENOENT);
	check_error(err, "GET http://127.0.0.1:",
		"/v2/some/name/manifests/missing: 404: "
		"MANIFEST_UNKNOWN: manifest unknown",
		NULL);
	CHECK(err && !strstr(err->msg, "No such file"));
}

static void what_is_no_tag_is_not_asked_for(void)
{
	CLEANUP_SERVER struct server *s = server_start(serve_manifest, NULL);
	CLEANUP_REGISTRY struct registry *r = open_at(s, REGISTRY_PULL, &PLAIN);
	static const char *const tags[] = { "", "a/b", "..", "a?b", "-a", "a b", "a\r\nX: y" };

	for (size_t i = 0; i < sizeof(tags) / sizeof(*tags); i++) {
		CLEANUP_ERROR struct error *err = NULL;

		CHECK(get(r, tags[i], &err) == -1);
		check_error(err, "is no tag", NULL);
	}
	CHECK_U64(server_count(s, ""), 0);
}

static void odd_hosts_and_names_are_refused(void)
{
	static const char *const hosts[] = { "", "a/b", "user@host", "host:port", "a b", "h?x" };
	static const char *const names[] = { "", "/a", "a/../b", "a?b", "A", "a b", "a#b", "a%2e" };

	for (size_t i = 0; i < sizeof(hosts) / sizeof(*hosts); i++) {
		CLEANUP_ERROR struct error *err = NULL;

		CHECK(!registry_open(hosts[i], "a", REGISTRY_PULL, &PLAIN, &err));
		check_error(err, "is no name of a registry's host", NULL);
	}
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		CLEANUP_ERROR struct error *err = NULL;

		CHECK(!registry_open("h", names[i], REGISTRY_PULL, &PLAIN, &err));
		check_error(err, "is no name of a repository", NULL);
	}
}

static void serve_huge(struct served *x)
{
	static char zeros[MIB];

	if (!server_printf(x, "HTTP/1.1 200 OK\r\n\r\n"))
		return;
	for (int i = 0; i < 64 && server_send(x, zeros, sizeof(zeros)); i++)
		continue;
}

static void a_document_without_end_is_cut_off(void)
{
	CLEANUP_SERVER struct server *s = server_start(serve_huge, NULL);
	CLEANUP_REGISTRY struct registry *r = open_at(s, REGISTRY_PULL, &PLAIN);
	CLEANUP_ERROR struct error *err = NULL;

	CHECK(get(r, "tag", &err) == -1);
	check_error(err, "larger than what is accepted", NULL);
	CHECK(s->sent < 32 * MIB);
	CHECK_U64(server_count(s, "GET"), 1);
}

static void serve_headers(struct served *x)
{
	char line[1024];

	memset(line, 'x', sizeof(line));
	memcpy(line, "X: ", 3);
	memcpy(line + sizeof(line) - 2, "\r\n", 2);
	server_printf(x, "HTTP/1.1 %s\r\n", x->server->state ? "103 Hints" : "200 OK");
	for (int i = 0; i < 16 * 1024; i++) {
		const char *interim = "\r\nHTTP/1.1 103 Hints\r\n";

		if (!server_send(x, line, sizeof(line)) ||
			(x->server->state && !server_send(x, interim, strlen(interim))))
			return;
	}
}

static void serve_long_header(struct served *x)
{
	static char zeros[MIB];

	memset(zeros, 'y', sizeof(zeros));
	server_printf(x, "HTTP/1.1 200 OK\r\nX: ");
	for (int i = 0; i < 16 && server_send(x, zeros, sizeof(zeros)); i++)
		continue;
}

static void headers_without_end_are_cut_off(void)
{
	CLEANUP_ERROR struct error *many = error_from(serve_headers, NULL, &PLAIN);
	CLEANUP_ERROR struct error *interim = error_from(serve_headers, (void *)"", &PLAIN);
	CLEANUP_ERROR struct error *one = error_from(serve_long_header, NULL, &PLAIN);

	check_error(many, "headers are larger than 256 KiB", NULL);
	check_error(interim, "headers are larger than 256 KiB", NULL);
	check_error(one, "header", NULL);
}

static void serve_words(struct served *x)
{
	server_say(x, 400, "", x->server->state);
}

static void an_error_quotes_the_registry_in_few_and_printable_words(void)
{
	CLEANUP_FREE char *json = NULL;
	CLEANUP_FREE char *x = xmalloc(5001);
	static char *html = (char *)"<html>secret</html>",
		    *text = (char *)"\n no\033[1m way\nsecond";
	CLEANUP_ERROR struct error *e1 = NULL, *e2 = NULL, *e3 = NULL;

	memset(x, 'x', 5000);
	x[5000] = '\0';
	json = xasprintf("{\"errors\":[{\"code\":\"C\\u001b\",\"message\":\"%s\"}]}", x);
	e1 = error_from(serve_words, json, &PLAIN);
	check_error(e1, "400: C\\033: xxx", NULL);
	CHECK(e1 && strlen(e1->msg) < 500);
	e2 = error_from(serve_words, html, &PLAIN);
	CHECK(e2 && !strstr(e2->msg, "secret"));
	e3 = error_from(serve_words, text, &PLAIN);
	check_error(e3, "400: no\\033[1m way", NULL);
	CHECK(e3 && !strstr(e3->msg, "second"));
}

/* ---- tries ---- */

/* state: how many times to fail, and how */
struct failing {
	unsigned times;
	unsigned status; /* 0: a reset */
	const char *headers;
};

static void serve_failing(struct served *x)
{
	struct failing *f = x->server->state;

	if (x->number >= f->times)
		server_say(x, 200, "", MANIFEST);
	else if (f->status)
		server_say(x, f->status, f->headers ? f->headers : "", "");
	else
		server_reset(x);
}

static void what_fails_for_a_while_is_tried_again(void)
{
	static const unsigned statuses[] = { 0, 408, 429, 500, 502, 503, 504, 522 };

	for (size_t i = 0; i < sizeof(statuses) / sizeof(*statuses); i++) {
		struct failing f = { 3, statuses[i], NULL };
		CLEANUP_ERROR struct error *err = error_from(serve_failing, &f, &PLAIN);

		if (err)
			printf("# %u: %s\n", statuses[i], err->msg);
		CHECK(!err);
	}
}

static void tries_are_counted(void)
{
	static const struct {
		unsigned status, tries;
	} cases[] = { { 503, 4 }, { 400, 1 }, { 401, 2 /* one of "/v2/" */ }, { 403, 1 },
		{ 404, 1 }, { 501, 1 }, { 505, 1 } };

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct failing f = { 100, cases[i].status, NULL };
		CLEANUP_SERVER struct server *s = server_start(serve_failing, &f);
		CLEANUP_REGISTRY struct registry *r = open_at(s, REGISTRY_PULL, &PLAIN);
		CLEANUP_ERROR struct error *err = NULL;

		CHECK(get(r, "tag", &err) == -1);
		CHECK_U64(server_count(s, "GET"), cases[i].tries);
	}
}

static void a_server_may_say_when_to_come_back(void)
{
	struct failing f = { 1, 429, "Retry-After: 2\r\n" };
	uint64_t began = now_ms();
	CLEANUP_ERROR struct error *err = NULL;

	retry_set_divisor(2);
	err = error_from(serve_failing, &f, &PLAIN);
	retry_set_divisor(100);
	CHECK(!err);
	CHECK(now_ms() - began >= 1000);
}

static void serve_hanging(struct served *x)
{
	server_printf(x, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nsome");
	server_hang(x);
}

static void serve_silent(struct served *x)
{
	server_hang(x);
}

static void a_server_that_stalls_is_given_up(void)
{
	CLEANUP_LIMITS struct http_limits before = stall_after(400);
	CLEANUP_SERVER struct server *s = server_start(serve_hanging, NULL);
	CLEANUP_REGISTRY struct registry *r = open_at(s, REGISTRY_PULL, &PLAIN);
	CLEANUP_ERROR struct error *err = NULL;

	CHECK(get(r, "tag", &err) == -1);
	check_error(err, "no byte came for 0 s", NULL);
	CHECK_U64(server_count(s, "GET"), 4);
}

/* Longer than it is waited for at first. */
static void serve_after_a_while(struct served *x)
{
	for (unsigned i = 0; i < 18 && !x->server->stop; i++)
		usleep(100 * 1000);
	server_say(x, 200, "", MANIFEST);
}

static void who_is_silent_is_given_more_time_unless_there_are_others(void)
{
	for (int others = 0; others < 2; others++) {
		CLEANUP_SERVER struct server *s = server_start(serve_after_a_while, NULL);
		struct registry_options o = PLAIN;
		CLEANUP_REGISTRY struct registry *r = NULL;
		CLEANUP_ERROR struct error *err = NULL;

		o.patience = 1000;
		o.others = others;
		r = open_at(s, REGISTRY_PULL, &o);
		CHECK(get(r, "tag", &err) == (others ? -1 : 0));
		CHECK_U64(server_count(s, "GET"), others ? 4 : 2);
	}
}

static unsigned count_of(const char *text, const char *part)
{
	unsigned n = 0;

	for (const char *p = text; (p = strstr(p, part)); p++)
		n++;
	return n;
}

enum wanted { DOCUMENT, BOOTSTRAP, RANGE };

static void ask_for(struct registry *r, enum wanted what)
{
	struct digest d = digest_of_bytes("x", 1);
	CLEANUP_ERROR struct error *err = NULL;
	CLEANUP_STREAM struct stream *s = NULL;
	char byte;

	if (what == DOCUMENT)
		get(r, "tag", &err);
	else if (what == RANGE)
		registry_read_blob(r, &d, 0, &byte, 1, &err);
	else if ((s = registry_open_blob(r, &d, 1, 0, &err)))
		s->read(s, &byte, 1, &err);
	CHECK(err != NULL);
}

/* What is told on stderr of a server that does as `serve`. */
static char *told_of(void (*serve)(struct served *x), void *state, enum wanted what)
{
	CLEANUP_SERVER struct server *s = server_start(serve, state);
	CLEANUP_REGISTRY struct registry *r = open_at(s, REGISTRY_PULL, &PLAIN);
	int before = dup(STDERR_FILENO), fd = memfd_create("stderr", MFD_CLOEXEC);
	char *text = xzalloc(4096);

	dup2(fd, STDERR_FILENO);
	ask_for(r, what);
	dup2(before, STDERR_FILENO);
	CHECK(pread(fd, text, 4095, 0) >= 0);
	close(before);
	close(fd);
	return text;
}

static void who_waits_for_long_is_told_of_each_try(void)
{
	CLEANUP_LIMITS struct http_limits before = stall_after(400);
	struct failing f = { 100, 503, NULL };
	CLEANUP_FREE char *document = told_of(serve_silent, NULL, DOCUMENT);
	CLEANUP_FREE char *bootstrap = told_of(serve_silent, NULL, BOOTSTRAP);
	CLEANUP_FREE char *range = told_of(serve_silent, NULL, RANGE);
	CLEANUP_FREE char *quick = told_of(serve_failing, &f, DOCUMENT);
	CLEANUP_FREE char *quiet = NULL;

	CHECK_U64(count_of(document, "erofs-convert: registry 127.0.0.1:"), 3);
	CHECK_U64(count_of(document, "/tag: no byte came for 0 s; trying again (1 of 3)\n"), 1);
	CHECK_U64(count_of(document, "/tag: no byte came for 0 s; trying again (3 of 3)\n"), 1);
	CHECK_U64(count_of(bootstrap, "; trying again ("), 3);
	CHECK_STR(range, "");
	CHECK_STR(quick, "");
	log_set_level(LOG_QUIET);
	quiet = told_of(serve_silent, NULL, DOCUMENT);
	log_set_level(LOG_NORMAL);
	CHECK_STR(quiet, "");
}

static void serve_dripping(struct served *x)
{
	server_printf(x, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n");
	while (!x->server->stop && server_send(x, "x", 1))
		sleep_ms(50);
}

static void a_server_that_drips_is_given_up(void)
{
	CLEANUP_LIMITS struct http_limits before = document_within(1500);
	struct registry_options o = PLAIN;
	CLEANUP_ERROR struct error *err = NULL;

	o.retries = 0;
	err = error_from(serve_dripping, NULL, &o);
	check_error(err, "takes too long", NULL);
}

static void serve_dripping_headers(struct served *x)
{
	server_drain(x, 7);
	server_printf(x, "HTTP/1.1 201 Created\r\n");
	while (!x->server->stop && server_send(x, "X-Filler: x\r\n", 13))
		sleep_ms(50);
}

static void an_answer_to_what_was_sent_may_not_drip_either(void)
{
	CLEANUP_LIMITS struct http_limits before = document_within(1500);
	CLEANUP_SERVER struct server *s = server_start(serve_dripping_headers, NULL);
	struct registry_options o = PLAIN;
	CLEANUP_REGISTRY struct registry *r = NULL;
	CLEANUP_ERROR struct error *err = NULL;
	struct digest d = digest_of_bytes("{\"a\":1}", 7);

	o.retries = 0;
	r = open_at(s, REGISTRY_PUSH, &o);
	CHECK(registry_put_manifest(r, "tag", "{\"a\":1}", 7, "application/json", &d, NULL, &err) ==
		-1);
	check_error(err, "takes too long", NULL);
}

static void serve_disturbed(struct served *x)
{
	unsigned *left = x->server->state;

	server_drain(x, x->length);
	if (*left) {
		--*left;
		server_say(x, 400, "",
			"{\"errors\":[{\"code\":\"DIGEST_INVALID\",\"message\":\"odd\"}]}");
	} else {
		server_say(x, 201, "", "");
	}
}

static void a_manifest_is_put_again_when_another_push_came_between(void)
{
	static const unsigned times[] = { 2, 100 };

	for (size_t i = 0; i < 2; i++) {
		unsigned left = times[i];
		CLEANUP_SERVER struct server *s = server_start(serve_disturbed, &left);
		CLEANUP_REGISTRY struct registry *r = open_at(s, REGISTRY_PUSH, &PLAIN);
		CLEANUP_ERROR struct error *err = NULL;
		struct digest d = digest_of_bytes("{}", 2);
		int rc = registry_put_manifest(r, "tag", "{}", 2, "a/b", &d, NULL, &err);

		CHECK(rc == (i == 0 ? 0 : -1));
		CHECK_U64(server_count(s, "PUT"), i == 0 ? 3 : 4);
		if (rc < 0)
			check_error(err, "400: DIGEST_INVALID: odd", NULL);
	}
}

static void nobody_listening_is_an_error(void)
{
	struct server *s = server_start(serve_manifest, NULL);
	CLEANUP_REGISTRY struct registry *r = open_at(s, REGISTRY_PULL, &PLAIN);
	CLEANUP_ERROR struct error *err = NULL;

	server_stop(s);
	CHECK(get(r, "tag", &err) == -1);
	check_error(err, "registry 127.0.0.1:", "onnect", NULL);
}

static void this_machine_may_speak_http(void)
{
	struct registry_options o = { .tls_verify = true, .credentials.no_creds = true };
	CLEANUP_ERROR struct error *err = error_from(serve_manifest, NULL, &o);

	CHECK(!err);
}

/* Of those who begin together one goes first; the others are refused once it has its answer. */
enum { RUSH = 5 };

struct rush {
	struct registry *registry;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	unsigned handshakes, got, failed;
	_Atomic unsigned strangers; /* requests without Authorization */
};

static void hold_handshake(struct served *x)
{
	struct rush *f = x->server->state;
	bool first;

	pthread_mutex_lock(&f->lock);
	first = f->handshakes++ == 0;
	pthread_cond_broadcast(&f->changed);
	while (first ? f->handshakes < RUSH : !f->got && !f->failed)
		pthread_cond_wait(&f->changed, &f->lock);
	pthread_mutex_unlock(&f->lock);
}

static void serve_rush(struct served *x)
{
	struct rush *f = x->server->state;
	char value[512];

	f->strangers += strcmp(server_header(x, "Authorization", value), "Bearer t7") != 0;
	server_say(x, 200, "", MANIFEST);
}

static void *rush_in(void *arg)
{
	struct rush *f = arg;
	CLEANUP_ERROR struct error *err = NULL;
	bool got = get(f->registry, "tag", &err) == 0;

	pthread_mutex_lock(&f->lock);
	if (!got)
		printf("# %s\n", err->msg);
	f->got += got;
	f->failed += !got;
	pthread_cond_broadcast(&f->changed);
	pthread_mutex_unlock(&f->lock);
	return NULL;
}

static void each_of_many_first_requests_finds_http(void)
{
	struct rush f = { .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER };
	CLEANUP_SERVER struct server *s = server_start(serve_rush, &f);
	struct registry_options o = {
		.tls_verify = true, .retries = 3, .credentials.registry_token = "t7"
	};
	CLEANUP_REGISTRY struct registry *r = open_at(s, REGISTRY_PULL, &o);
	pthread_t threads[RUSH];

	s->no_http = hold_handshake;
	f.registry = r;
	for (unsigned i = 0; i < RUSH; i++)
		pthread_create(&threads[i], NULL, rush_in, &f);
	for (unsigned i = 0; i < RUSH; i++)
		pthread_join(threads[i], NULL);
	CHECK_U64(f.handshakes, RUSH);
	CHECK_U64(f.got, RUSH);
	CHECK_U64(server_count(s, "GET /v2/some/name/manifests/tag"), RUSH);
	CHECK_U64(f.strangers, 0);
	rush_in(&f);
	CHECK_U64(f.handshakes, RUSH); /* it is known now */
}

/* ---- logging in ---- */

struct login {
	const char *scheme; /* of the challenge: "Basic" or "Bearer" */
	unsigned tokens; /* given out */
	unsigned good; /* the number of the token that is accepted; 0: none is */
	unsigned unasked; /* requests to the registry without Authorization */
	unsigned expires_in;
	bool basic_seen, scope_seen;
};

static void serve_token(struct served *x)
{
	struct login *l = x->server->state;
	CLEANUP_FREE char *answer = NULL;
	char value[512];

	l->basic_seen |=
		strcmp(server_header(x, "Authorization", value), "Basic dXNlcjpzM2NyZXQ=") == 0;
	l->scope_seen |= strstr(x->target, "service=reg%20istry") != NULL &&
			 strstr(x->target, "scope=repository%3Asome%2Fname%3Apull") != NULL;
	answer = xasprintf("{\"access_token\":\"t%u\",\"expires_in\":%u}", ++l->tokens,
		l->expires_in ? l->expires_in : 300);
	server_say(x, 200, "", answer);
}

static void serve_login(struct served *x)
{
	struct login *l = x->server->state;
	CLEANUP_FREE char *want = xasprintf("Bearer t%u", l->good), *ask = NULL;
	char value[512];

	if (strncmp(x->target, "/token", 6) == 0) {
		serve_token(x);
		return;
	}
	server_header(x, "Authorization", value);
	l->unasked += !*value;
	l->basic_seen |= strcmp(value, "Basic dXNlcjpzM2NyZXQ=") == 0;
	if (strcmp(l->scheme, "Basic") == 0 ? l->basic_seen : l->good && strcmp(value, want) == 0) {
		server_say(x, 200, "", MANIFEST);
		return;
	}
	ask = xasprintf("WWW-Authenticate: %s realm=\"http://%s/token\",service=\"reg istry\","
			"scope=\"repository:some/name:pull\"\r\n",
		l->scheme, x->server->host);
	server_say(x, 401, ask,
		"{\"errors\":[{\"code\":\"UNAUTHORIZED\",\"message\":\"who are you\"}]}");
}

static void a_token_is_fetched_once_and_used_again(void)
{
	struct login l = { .scheme = "Bearer", .good = 1 };
	CLEANUP_SERVER struct server *s = server_start(serve_login, &l);
	struct registry_options o = PLAIN;
	CLEANUP_REGISTRY struct registry *r = NULL;
	CLEANUP_ERROR struct error *err = NULL;

	o.credentials = (struct credentials_options){ .creds = "user:s3cret" };
	r = open_at(s, REGISTRY_PULL, &o);
	for (int i = 0; i < 3; i++)
		CHECK(get(r, "tag", &err) == 0);
	CHECK_U64(l.tokens, 1);
	CHECK_U64(l.unasked, 1);
	CHECK(l.basic_seen && l.scope_seen);
}

static void nobody_gets_a_token_too(void)
{
	struct login l = { .scheme = "Bearer", .good = 1 };
	CLEANUP_ERROR struct error *err = error_from(serve_login, &l, &PLAIN);

	CHECK(!err);
	CHECK(!l.basic_seen);
}

static void a_token_that_is_refused_is_fetched_anew(void)
{
	struct login l = { .scheme = "Bearer", .good = 1 };
	CLEANUP_SERVER struct server *s = server_start(serve_login, &l);
	CLEANUP_REGISTRY struct registry *r = open_at(s, REGISTRY_PULL, &PLAIN);
	CLEANUP_ERROR struct error *err = NULL;

	CHECK(get(r, "tag", &err) == 0);
	l.good = 2;
	CHECK(get(r, "tag", &err) == 0);
	CHECK_U64(l.tokens, 2);
}

static void endless_401s_end(void)
{
	struct login l = { .scheme = "Bearer" };
	CLEANUP_SERVER struct server *s = server_start(serve_login, &l);
	CLEANUP_REGISTRY struct registry *r = open_at(s, REGISTRY_PULL, &PLAIN);
	CLEANUP_ERROR struct error *err = NULL;

	CHECK(get(r, "tag", &err) == -1);
	check_error(err, "401: UNAUTHORIZED: who are you", "skopeo login 127.0.0.1:", NULL);
	CHECK_U64(l.tokens, 1);
	CHECK_U64(server_count(s, "GET /v2/"), 2);
}

static void basic_credentials_go_when_they_are_asked_for(void)
{
	struct login l = { .scheme = "Basic" };
	struct registry_options o = PLAIN;
	CLEANUP_ERROR struct error *none = error_from(serve_login, &l, &PLAIN), *err = NULL;

	check_error(none, "401", "skopeo login", NULL);
	o.credentials = (struct credentials_options){ .creds = "user:s3cret" };
	err = error_from(serve_login, &l, &o);
	CHECK(!err);
	CHECK_U64(l.unasked, 2);
}

static void wrong_credentials_are_not_shown(void)
{
	struct login l = { .scheme = "Basic" };
	struct registry_options o = PLAIN;
	CLEANUP_ERROR struct error *err = NULL;

	o.credentials = (struct credentials_options){ .creds = "user:wr0ng" };
	err = error_from(serve_login, &l, &o);
	check_error(err, "401", "may be wrong", NULL);
	CHECK(err && !strstr(err->msg, "wr0ng") && !strstr(err->hint, "wr0ng"));
}

static void a_registry_token_is_used_as_it_is(void)
{
	struct login l = { .scheme = "Bearer", .good = 7 };
	struct registry_options o = PLAIN;
	CLEANUP_ERROR struct error *err = NULL;

	o.credentials = (struct credentials_options){ .registry_token = "t7" };
	err = error_from(serve_login, &l, &o);
	CHECK(!err);
	CHECK_U64(l.unasked, 0);
	CHECK_U64(l.tokens, 0);
}

static void serve_far_realm(struct served *x)
{
	server_say(
		x, 401, "WWW-Authenticate: Bearer realm=\"http://far.invalid/token?a=1\"\r\n", "");
}

static void a_password_does_not_go_far_unencrypted(void)
{
	struct registry_options o = { .tls_verify = true };
	CLEANUP_ERROR struct error *err = NULL;

	o.credentials = (struct credentials_options){ .creds = "user:s3cret" };
	err = error_from(serve_far_realm, NULL, &o);
	check_error(err, "http://far.invalid/token: ", "unencrypted", NULL);
}

static void tokens_are_read_in_both_forms(void)
{
	static const struct {
		const char *text, *token;
		uint64_t lifetime;
	} cases[] = {
		{ "{\"token\":\"a\"}", "a", 60 },
		{ "{\"token\":\"\",\"access_token\":\"b\",\"expires_in\":100}", "b", 100 },
		{ "{\"token\":\"a\",\"expires_in\":100,\"issued_at\":\"2001-09-09T01:46:10.5Z\"}",
			"a", 70 },
		{ "{\"token\":\"a\",\"expires_in\":100,\"issued_at\":\"2001-09-09T02:46:10+01:"
		  "00\"}",
			"a", 70 },
		{ "{\"token\":\"a\",\"expires_in\":100,\"issued_at\":\"1999-01-01T00:00:00Z\"}",
			"a", 10 },
		{ "{\"token\":\"a\",\"expires_in\":1e300,\"issued_at\":\"x\"}", "a", 86400 },
		{ "{\"token\":\"a\",\"expires_in\":-5}", "a", 60 },
		{ "{\"token\":\"a b\"}", NULL, 0 },
		{ "{\"token\":\"a\\r\\nX: y\"}", NULL, 0 },
		{ "{\"token\":7}", NULL, 0 },
		{ "[]", NULL, 0 },
		{ "", NULL, 0 },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		CLEANUP_ERROR struct error *err = NULL;
		uint64_t lifetime = 0;
		CLEANUP_WIPE char *token = token_parse(
			cases[i].text, strlen(cases[i].text), 1000000000, &lifetime, &err);

		CHECK(cases[i].token ? token && strcmp(token, cases[i].token) == 0 : !token);
		CHECK_U64(lifetime, cases[i].lifetime);
	}
}

/* ---- redirects ---- */

struct redirecting {
	const char *to; /* "http://%s" with the other server's host, or any other text */
	struct server *other;
	unsigned expired; /* answers of the other server that are 403 first */
	bool leaked;
};

static void serve_redirect(struct served *x)
{
	struct redirecting *d = x->server->state;
	CLEANUP_FREE char *to = xasprintf(
		"Location: %s%s/else?sig=s1gnature\r\n", d->to, d->other ? d->other->host : "");

	server_say(x, 307, to, "");
}

static void serve_elsewhere(struct served *x)
{
	struct redirecting *d = x->server->state;
	char value[512];

	d->leaked |= *server_header(x, "Authorization", value) != '\0';
	CHECK(strstr(x->target, "sig=s1gnature") != NULL);
	if (d->expired) {
		d->expired--;
		server_say(x, 403, "", "expired");
	} else {
		server_say(x, 200, "", MANIFEST);
	}
}

static struct registry_options with_token(void)
{
	struct registry_options o = PLAIN;

	o.credentials = (struct credentials_options){ .registry_token = "t7" };
	return o;
}

static void authorization_stays_with_its_host(void)
{
	struct redirecting d = { .to = "http://" };
	CLEANUP_SERVER struct server *other = server_start(serve_elsewhere, &d);
	struct registry_options o = with_token();
	CLEANUP_ERROR struct error *err = NULL;

	d.other = other;
	err = error_from(serve_redirect, &d, &o);
	CHECK(!err);
	CHECK(!d.leaked);
	CHECK_U64(server_count(other, "GET"), 1);
}

static void an_address_that_has_expired_is_asked_for_once_more(void)
{
	struct redirecting d = { .to = "http://", .expired = 1 };
	CLEANUP_SERVER struct server *other = server_start(serve_elsewhere, &d);
	struct registry_options o = with_token();
	CLEANUP_ERROR struct error *err = NULL, *again = NULL;

	d.other = other;
	err = error_from(serve_redirect, &d, &o);
	CHECK(!err);
	CHECK_U64(server_count(other, "GET"), 2);
	d.expired = 10;
	again = error_from(serve_redirect, &d, &o);
	check_error(again, "/else: 403: expired", NULL);
	CHECK(again && !strstr(again->msg, "s1gnature"));
	CHECK_U64(server_count(other, "GET"), 4);
}

static void serve_elsewhere_after_a_while(struct served *x)
{
	for (unsigned i = 0; i < 18 && !x->server->stop; i++)
		usleep(100 * 1000);
	serve_elsewhere(x);
}

/* The registry's answers come at once, each time. */
static void who_is_slow_elsewhere_is_given_more_time_for_a_while(void)
{
	struct redirecting d = { .to = "http://" };
	CLEANUP_SERVER struct server *other = server_start(serve_elsewhere_after_a_while, &d);
	CLEANUP_SERVER struct server *s = server_start(serve_redirect, &d);
	struct registry_options o = PLAIN;
	CLEANUP_REGISTRY struct registry *r = NULL;
	CLEANUP_ERROR struct error *err = NULL;

	d.other = other;
	o.patience = 1000;
	r = open_at(s, REGISTRY_PULL, &o);
	CHECK(get(r, "tag", &err) == 0);
	CHECK_U64(server_count(other, "GET"), 2);
	CHECK(get(r, "tag", &err) == 0);
	CHECK_U64(server_count(other, "GET"), 3);
}

/* Its kernel takes no connection any more. */
static int listen_and_be_full(char host[static 32], int filled[static 2])
{
	struct sockaddr_in at = { .sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	socklen_t n = sizeof(at);

	CHECK(bind(fd, (struct sockaddr *)&at, n) == 0 && listen(fd, 0) == 0);
	CHECK(getsockname(fd, (struct sockaddr *)&at, &n) == 0);
	for (unsigned i = 0; i < 2; i++) {
		filled[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		connect(filled[i], (struct sockaddr *)&at, n);
	}
	snprintf(host, 32, "http://127.0.0.1:%u/", ntohs(at.sin_port));
	return fd;
}

static void who_cannot_be_reached_in_time_is_silent_too(void)
{
	CLEANUP_HTTP_ANSWER struct http_answer a = { 0 };
	CLEANUP_ERROR struct error *err = NULL;
	struct http *h = http_acquire(&err);
	char url[32];
	int filled[2], fd = listen_and_be_full(url, filled);
	struct http_request q = { .method = "GET", .url = url, .patience = 200 };

	http_perform(h, &q, &a);
	CHECK_U64(a.end, HTTP_BROKEN);
	CHECK(a.stalled);
	CHECK(a.why && !strstr(a.why, "no byte came"));
	http_release(h);
	close(filled[0]);
	close(filled[1]);
	close(fd);
}

static void odd_redirects_are_not_followed(void)
{
	static const struct {
		const char *to, *error;
	} cases[] = {
		{ "", "more than 10 redirects" },
		{ "ftp://x", "its scheme" },
		{ "file:///etc", "its scheme" },
		{ "http://user:pa55@x", "it names a user" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct redirecting d = { .to = cases[i].to };
		CLEANUP_ERROR struct error *err = error_from(serve_redirect, &d, &PLAIN);

		check_error(err, cases[i].error, NULL);
		CHECK(err && !strstr(err->msg, "s1gnature") && !strstr(err->msg, "pa55"));
	}
}

static void urls_are_compared_by_origin(void)
{
	CHECK(url_same_origin("https://h/a", "https://H:443/b?c"));
	CHECK(url_same_origin("http://h:80/a", "http://h"));
	CHECK(!url_same_origin("https://h/a", "http://h/a"));
	CHECK(!url_same_origin("https://h/a", "https://h:444/a"));
	CHECK(!url_same_origin("https://h/a", "https://h.x/a"));
	CHECK(!url_same_origin("https://h/a", "junk"));
	CHECK(url_is_loopback("http://127.9.9.9:1/") && url_is_loopback("https://[::1]:5/"));
	CHECK(url_is_loopback("http://LOCALHOST/") && !url_is_loopback("http://localhost.x/"));
	CHECK(!url_is_loopback("http://127.0.0.1.x/") && !url_is_loopback("http://128.0.0.1/"));
}

int main(void)
{
	retry_set_divisor(100);
	RUN(a_manifest_comes_by_tag_and_by_digest);
	RUN(a_manifest_with_other_bytes_is_refused);
	RUN(what_is_not_there_has_its_own_code);
	RUN(what_is_no_tag_is_not_asked_for);
	RUN(odd_hosts_and_names_are_refused);
	RUN(a_document_without_end_is_cut_off);
	RUN(headers_without_end_are_cut_off);
	RUN(an_error_quotes_the_registry_in_few_and_printable_words);
	RUN(what_fails_for_a_while_is_tried_again);
	RUN(tries_are_counted);
	RUN(a_server_may_say_when_to_come_back);
	RUN(a_server_that_stalls_is_given_up);
	RUN(who_is_silent_is_given_more_time_unless_there_are_others);
	RUN(who_waits_for_long_is_told_of_each_try);
	RUN(a_server_that_drips_is_given_up);
	RUN(an_answer_to_what_was_sent_may_not_drip_either);
	RUN(a_manifest_is_put_again_when_another_push_came_between);
	RUN(nobody_listening_is_an_error);
	RUN(this_machine_may_speak_http);
	RUN(each_of_many_first_requests_finds_http);
	RUN(a_token_is_fetched_once_and_used_again);
	RUN(nobody_gets_a_token_too);
	RUN(a_token_that_is_refused_is_fetched_anew);
	RUN(endless_401s_end);
	RUN(basic_credentials_go_when_they_are_asked_for);
	RUN(wrong_credentials_are_not_shown);
	RUN(a_registry_token_is_used_as_it_is);
	RUN(a_password_does_not_go_far_unencrypted);
	RUN(tokens_are_read_in_both_forms);
	RUN(authorization_stays_with_its_host);
	RUN(an_address_that_has_expired_is_asked_for_once_more);
	RUN(who_is_slow_elsewhere_is_given_more_time_for_a_while);
	RUN(who_cannot_be_reached_in_time_is_silent_too);
	RUN(odd_redirects_are_not_followed);
	RUN(urls_are_compared_by_origin);
	return tap_done();
}
