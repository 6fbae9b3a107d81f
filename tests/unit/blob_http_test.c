// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/* Blobs from any HTTP server, and reads of them that are given up. */
#include "config.h"

#include "lib/serve/engine/sources.h"
#include "tests/unit/registry_fixture.h"

enum { SIZE = 300000 };

struct site {
	char *bytes;
	struct digest digest;
	bool no_ranges; /* 200, and all of it */
	bool silent; /* no answer ever */
	_Atomic unsigned refuse; /* so many times */
	unsigned status; /* with this */
	const char *headers;
	_Atomic unsigned with_authorization;
};

/* As `python3 -m http.server` or nginx do it, at /some/where. */
static void serve(struct served *x)
{
	struct site *s = x->server->state;
	unsigned first = 0, last = 0;
	CLEANUP_FREE char *range = NULL;
	char want[200] = "/some/where/blobs/sha256/", value[512], name[DIGEST_MAX_STR];

	strcat(want, strchr(digest_format(&s->digest, name), ':') + 1);
	s->with_authorization += *server_header(x, "Authorization", value) != '\0';
	if (s->silent) {
		server_hang(x);
	} else if (s->refuse) {
		s->refuse--;
		server_say(x, s->status, s->headers, "");
	} else if (strcmp(x->target, want) != 0) {
		server_say(x, 404, "", "");
	} else if (s->no_ranges) {
		server_answer(x, 200, "", s->bytes, SIZE);
	} else {
		sscanf(server_header(x, "Range", value), "bytes=%u-%u", &first, &last);
		range = xasprintf("Content-Range: bytes %u-%u/%d\r\n", first, last, SIZE);
		server_answer(x, 206, range, s->bytes + first, last - first + 1);
	}
}

struct scene {
	struct site site;
	struct server *server;
	struct blob_source *source;
};

static void begin_with(struct scene *c, const char *end)
{
	struct registry_options o = PLAIN;
	CLEANUP_ERROR struct error *err = NULL;
	CLEANUP_FREE char *url = NULL;

	*c = (struct scene){ .site = { .bytes = make_bytes(SIZE), .headers = "" } };
	c->site.digest = digest_of_bytes(c->site.bytes, SIZE);
	c->server = server_start(serve, &c->site);
	url = xasprintf("http://%s/some/where%s", c->server->host, end);
	o.credentials =
		(struct credentials_options){ .creds = "user:secret", .registry_token = "secret" };
	c->source = source_http_new(url, &o, &err);
	if (c->source)
		return;
	printf("Bail out! %s\n", err->msg);
	exit(99);
}

static void begin(struct scene *c)
{
	begin_with(c, "");
}

static void end(struct scene *c)
{
	c->source->close(c->source);
	server_stop(c->server);
	CHECK_U64(c->site.with_authorization, 0);
	free(c->site.bytes);
}

static int read_at(struct scene *c, size_t offset, size_t len, struct error **err)
{
	CLEANUP_FREE char *buf = xmalloc(len);
	int rc = c->source->read(c->source, &c->site.digest, offset, buf, len, err);

	CHECK((rc < 0) == (*err != NULL));
	CHECK(rc < 0 || memcmp(buf, c->site.bytes + offset, len) == 0);
	return rc;
}

static void check_reads(struct scene *c, size_t offset, size_t len)
{
	CLEANUP_ERROR struct error *err = NULL;

	if (!CHECK(read_at(c, offset, len, &err) == 0))
		printf("# %s\n", err->msg);
}

static void ranges_come_with_206(void)
{
	struct scene c;

	begin(&c);
	check_reads(&c, 0, 1);
	check_reads(&c, 12345, 100000);
	check_reads(&c, SIZE - 1, 1);
	check_reads(&c, 0, SIZE);
	CHECK_U64(server_count(c.server, "GET"), 4);
	end(&c);
}

static void they_are_cut_out_of_a_200(void)
{
	struct scene c;

	begin(&c);
	c.site.no_ranges = true;
	check_reads(&c, 0, 1);
	check_reads(&c, 12345, 100000);
	check_reads(&c, SIZE - 1, 1);
	check_reads(&c, 0, SIZE);
	end(&c);
}

static void a_blob_that_is_too_short_is_an_error(void)
{
	CLEANUP_ERROR struct error *err = NULL;
	struct scene c;

	begin(&c);
	c.site.no_ranges = true;
	CHECK(read_at(&c, SIZE - 10, 1000, &err) < 0);
	end(&c);
}

static void slashes_at_the_end_do_no_harm(void)
{
	struct scene c;

	begin_with(&c, "//");
	check_reads(&c, 5, 100);
	end(&c);
}

static void what_may_pass_is_tried_again(void)
{
	struct scene c;

	begin(&c);
	c.site.refuse = 2;
	c.site.status = 503;
	check_reads(&c, 5, 100);
	CHECK_U64(server_count(c.server, "GET"), 3);
	end(&c);
}

/* A server that wants to know who we are does not learn it, nor does one that it names. */
static void nobody_logs_in(void)
{
	CLEANUP_ERROR struct error *err = NULL;
	CLEANUP_FREE char *challenge = NULL;
	struct scene c;

	begin(&c);
	challenge =
		xasprintf("WWW-Authenticate: Bearer realm=\"http://%s/token\",service=\"x\"\r\n",
			c.server->host);
	c.site.headers = challenge;
	c.site.refuse = 100;
	c.site.status = 401;
	CHECK(read_at(&c, 5, 100, &err) < 0);
	check_error(err, "server 127.0.0.1", "401", NULL);
	CHECK(err && !err->hint);
	CHECK_U64(server_count(c.server, "GET"), 1);
	end(&c);
}

static void what_is_not_there_is_an_error(void)
{
	CLEANUP_ERROR struct error *err = NULL;
	struct scene c;

	begin(&c);
	c.site.refuse = 1;
	c.site.status = 404;
	CHECK(read_at(&c, 5, 100, &err) < 0);
	CHECK(err && err->code == ENOENT);
	end(&c);
}

static void odd_addresses_are_refused(void)
{
	static const char *const urls[] = { "", "host", "ftp://host/", "http://",
		"http://user@host/", "http://user:secret@host/a", "http://host/a?b=secret",
		"/blobs" };

	for (size_t i = 0; i < sizeof(urls) / sizeof(*urls); i++) {
		CLEANUP_ERROR struct error *err = NULL;
		struct blob_source *s = source_http_new(urls[i], &PLAIN, &err);

		if (!CHECK(!s && err)) {
			printf("# %s\n", urls[i]);
			s->close(s);
			continue;
		}
		CHECK(!strstr(err->msg, "secret"));
	}
}

/* --- given up --- */

struct reader {
	pthread_t thread;
	struct scene *c;
	struct digest digest;
	int rc, code;
	_Atomic bool done;
};

static void *read_in_thread(void *arg)
{
	struct reader *r = arg;
	CLEANUP_ERROR struct error *err = NULL;
	char c;

	r->rc = r->c->source->read(r->c->source, &r->digest, 0, &c, 1, &err);
	r->code = err ? err->code : 0;
	r->done = true;
	return NULL;
}

static void reads_of_one_blob_are_given_up_and_no_others(void)
{
	struct reader r[3];
	struct scene c;

	begin(&c);
	c.site.silent = true;
	for (unsigned i = 0; i < 3; i++) {
		r[i] = (struct reader){ .c = &c, .digest = c.site.digest };
		r[i].digest.bytes[0] ^= i == 2;
		pthread_create(&r[i].thread, NULL, read_in_thread, &r[i]);
	}
	while (server_count(c.server, "GET") < 3)
		sleep_ms(5);
	c.source->cancel(c.source, &r[0].digest);
	for (unsigned i = 0; i < 2; i++) {
		pthread_join(r[i].thread, NULL); /* or hang here */
		CHECK(r[i].rc < 0);
		CHECK_U64((uint64_t)r[i].code, ECANCELED);
	}
	CHECK(!r[2].done);
	c.source->cancel(c.source, &r[2].digest);
	pthread_join(r[2].thread, NULL);
	c.site.silent = false;
	check_reads(&c, 5, 100); /* later ones are not concerned */
	end(&c);
}

/* Waiting for the next try is given up, too. */
static void so_is_waiting_for_the_next_try(void)
{
	struct reader r;
	struct scene c;

	begin(&c);
	c.site.refuse = 1;
	c.site.status = 503;
	c.site.headers = "Retry-After: 60\r\n";
	r = (struct reader){ .c = &c, .digest = c.site.digest };
	retry_set_divisor(1);
	pthread_create(&r.thread, NULL, read_in_thread, &r);
	while (server_count(c.server, "GET") < 1)
		sleep_ms(5);
	c.source->cancel(c.source, &r.digest);
	pthread_join(r.thread, NULL);
	CHECK_U64((uint64_t)r.code, ECANCELED);
	retry_set_divisor(100);
	end(&c);
}

int main(void)
{
	alarm(300);
	retry_set_divisor(100);
	RUN(ranges_come_with_206);
	RUN(they_are_cut_out_of_a_200);
	RUN(a_blob_that_is_too_short_is_an_error);
	RUN(slashes_at_the_end_do_no_harm);
	RUN(what_may_pass_is_tried_again);
	RUN(nobody_logs_in);
	RUN(what_is_not_there_is_an_error);
	RUN(odd_addresses_are_refused);
	RUN(reads_of_one_blob_are_given_up_and_no_others);
	RUN(so_is_waiting_for_the_next_try);
	return tap_done();
}
