// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/* A part of a blob as a stream, from servers good and bad. */
#include "config.h"

#include "tests/unit/registry_fixture.h"

enum { SIZE = 4 * MIB, FROM = MIB + 3, LEN = 2 * MIB + 5, REQUESTS = 16 };

/* What a server has, and how it sends it. */
struct script {
	char *bytes; /* SIZE of them */
	struct digest digest;
	size_t cut; /* the first answer ends after so many, ... */
	bool hang; /* ... or goes no further */
	bool crawl; /* or so that nobody lives to see its end */
	bool whole; /* ranges are not known */
	size_t more; /* than was asked for */
	char ranges[REQUESTS][512]; /* that were asked for */
};

static struct script *new_script(void)
{
	struct script *c = xzalloc(sizeof(*c));

	c->bytes = make_bytes(SIZE);
	c->digest = digest_of_bytes(c->bytes, SIZE);
	return c;
}

static void cleanup_script_(struct script **c)
{
	free((*c)->bytes);
	free(*c);
}
#define CLEANUP_SCRIPT CLEANUP(cleanup_script_)

static void send_first(struct served *x, const struct script *c, size_t from, size_t len)
{
	if (!server_send(x, c->bytes + from, c->cut))
		return;
	if (c->hang)
		server_hang(x);
	for (size_t i = c->cut; c->crawl && i < len && !x->server->stop; i++) {
		if (!server_send(x, c->bytes + from + i, 1))
			return;
		sleep_ms(20);
	}
}

static void serve(struct served *x)
{
	struct script *c = x->server->state;
	unsigned long long from = 0, to = SIZE - 1;
	char value[512];
	size_t len;

	server_header(x, "Range", value);
	if (x->number < REQUESTS)
		snprintf(c->ranges[x->number], sizeof(c->ranges[0]), "%s", value);
	if (!c->whole && *value && sscanf(value, "bytes=%llu-%llu", &from, &to) != 2)
		return;
	if (from >= SIZE) {
		server_say(x, 416, "", "");
		return;
	}
	to += c->more;
	len = (size_t)(to - from + 1);
	if (c->whole)
		server_printf(x, "HTTP/1.1 200 OK\r\n");
	else
		server_printf(x, "HTTP/1.1 206 X\r\nContent-Range: bytes %llu-%llu/%u\r\n", from,
			to, (unsigned)SIZE);
	server_printf(x, "Content-Length: %zu\r\n\r\n", len);
	if (x->number == 0 && c->cut)
		send_first(x, c, (size_t)from, len);
	else
		x->keep = server_send(x, c->bytes + from, len);
}

/* A stream of it, as the engine has it: a server, a repository, and the range. */
struct scene {
	struct server *server;
	struct registry *registry;
	struct stream *stream;
};

static struct scene open_range(struct script *c, uint64_t from, uint64_t len, size_t ahead)
{
	CLEANUP_ERROR struct error *err = NULL;
	struct scene s = { .server = server_start(serve, c) };

	s.registry = open_at(s.server, REGISTRY_PULL, &PLAIN);
	s.stream = registry_open_range(s.registry, &c->digest, from, len, ahead, &err);
	if (!CHECK(s.stream != NULL))
		exit(99);
	return s;
}

static void close_scene(struct scene *s)
{
	s->stream->close(s->stream);
	registry_close(s->registry);
	cleanup_server_(&s->server);
}

/* So many bytes of the blob from there on. */
static bool comes(const struct scene *s, const struct script *c, uint64_t from, size_t len)
{
	CLEANUP_ERROR struct error *err = NULL;
	CLEANUP_FREE char *buf = xmalloc(len + 1);
	size_t n = 0;

	while (n < len) {
		ssize_t k = s->stream->read(s->stream, buf + n, len - n, &err);

		if (k <= 0) {
			printf("# after %zu bytes: %s\n", n, err ? err->msg : "the end");
			return false;
		}
		n += (size_t)k;
	}
	return memcmp(buf, c->bytes + from, len) == 0;
}

static bool ends(const struct scene *s)
{
	CLEANUP_ERROR struct error *err = NULL;
	char byte;

	return s->stream->read(s->stream, &byte, 1, &err) == 0;
}

/* How it fails, once what has come is read. */
static struct error *fails(const struct scene *s)
{
	CLEANUP_FREE char *buf = xmalloc(MIB);
	struct error *err = NULL;

	while (s->stream->read(s->stream, buf, MIB, &err) > 0)
		continue;
	return err;
}

static void check_all(struct script *c, unsigned requests)
{
	struct scene s = open_range(c, FROM, LEN, 0);

	CHECK(comes(&s, c, FROM, LEN));
	CHECK(ends(&s));
	CHECK_U64(server_count(s.server, "GET"), requests);
	close_scene(&s);
}

static void exactly_the_range_is_asked_for(void)
{
	CLEANUP_SCRIPT struct script *c = new_script();
	struct scene s;

	check_all(c, 1);
	CHECK_STR(c->ranges[0], "bytes=1048579-3145735");
	s = open_range(c, SIZE - 1, 1, 0);
	CHECK(comes(&s, c, SIZE - 1, 1));
	CHECK(ends(&s));
	CHECK_STR(c->ranges[0], "bytes=4194303-4194303");
	close_scene(&s);
	s = open_range(c, 0, SIZE, 0); /* that it is all of it, nobody knows */
	CHECK(comes(&s, c, 0, SIZE));
	CHECK(ends(&s));
	CHECK_STR(c->ranges[0], "bytes=0-4194303");
	close_scene(&s);
}

static void a_broken_connection_goes_on_where_it_was(void)
{
	CLEANUP_SCRIPT struct script *c = new_script();

	c->cut = 300 * 1000;
	check_all(c, 2);
	CHECK_STR(c->ranges[1], "bytes=1348579-3145735");
}

static void a_server_may_send_all_of_it(void)
{
	CLEANUP_SCRIPT struct script *c = new_script();

	c->whole = true;
	check_all(c, 1);
	c->cut = FROM + 300 * 1000; /* and again, from its beginning */
	check_all(c, 2);
	c->cut = FROM - 1000;
	check_all(c, 2);
}

static void what_was_not_asked_for_is_an_error(void)
{
	CLEANUP_SCRIPT struct script *c = new_script();
	CLEANUP_ERROR struct error *more = NULL, *far = NULL, *beyond = NULL;
	struct scene s;

	c->more = 1;
	s = open_range(c, FROM, LEN, 0);
	more = fails(&s);
	check_error(more, "more bytes than asked for", NULL);
	close_scene(&s);
	c->more = 0;
	s = open_range(c, SIZE, 1, 0);
	far = fails(&s);
	check_error(far, "416", NULL);
	CHECK(registry_open_range(s.registry, &c->digest, INT64_MAX, 1, 0, &beyond) == NULL);
	check_error(beyond, "no blob has a byte", NULL);
	close_scene(&s);
}

static void a_range_is_given_up_with_its_blob(void)
{
	CLEANUP_SCRIPT struct script *c = new_script();
	struct digest other = digest_of_bytes("x", 1);
	CLEANUP_ERROR struct error *err = NULL, *none = NULL;
	struct scene s, whole = { 0 };
	struct stream *blob, *another;
	uint64_t began;
	char byte;

	c->cut = 300 * 1000;
	c->hang = true;
	s = open_range(c, FROM, LEN, 0);
	CHECK(comes(&s, c, FROM, 100 * 1000));
	blob = registry_open_blob(s.registry, &c->digest, SIZE, 0, &none);
	registry_cancel_blob(s.registry, &other);
	sleep_ms(300); /* longer than the client looks away */
	CHECK(comes(&s, c, FROM + 100 * 1000, 100 * 1000));
	registry_cancel_blob(s.registry, &c->digest);
	began = now_ms();
	err = fails(&s);
	CHECK(err && err->code == ECANCELED);
	CHECK(now_ms() - began <
		30000); /* half a second, but for a busy machine; a stall is 60 s */
	whole.stream = blob;
	CHECK(comes(&whole, c, 0, SIZE)); /* others that are under way, ... */
	blob->close(blob);
	another = registry_open_range(s.registry, &c->digest, FROM, 1, 0, &none);
	CHECK(another->read(another, &byte, 1, &none) == 1); /* ... and come later, are not */
	another->close(another);
	close_scene(&s);
}

static void what_crawls_is_asked_for_anew(void)
{
	CLEANUP_LIMITS struct http_limits before = crawl_for(300);
	CLEANUP_SCRIPT struct script *c = new_script();
	struct scene s;

	c->cut = 3000;
	c->crawl = true;
	s = open_range(c, FROM, LEN, 0);
	CHECK(comes(&s, c, FROM, LEN)); /* or hang here */
	CHECK(ends(&s));
	CHECK(s.server->connections >= 2);
	CHECK(strcmp(c->ranges[1], c->ranges[0]) > 0); /* from where it was */
	close_scene(&s);
}

/* The ring is full, and stays so for longer than a rate is watched. */
static void nobody_crawls_who_has_to_wait_for_us(void)
{
	CLEANUP_LIMITS struct http_limits before = crawl_for(500);
	CLEANUP_SCRIPT struct script *c = new_script();
	struct scene s = open_range(c, FROM, LEN, MIB / 2);

	CHECK(comes(&s, c, FROM, 1000));
	sleep_ms(700);
	CHECK(comes(&s, c, FROM + 1000, LEN - 1000));
	CHECK(ends(&s));
	CHECK_U64(server_count(s.server, "GET"), 1);
	close_scene(&s);
}

int main(void)
{
	retry_set_divisor(100);
	alarm(300); /* what is never asked for anew hangs */
	RUN(exactly_the_range_is_asked_for);
	RUN(a_broken_connection_goes_on_where_it_was);
	RUN(a_server_may_send_all_of_it);
	RUN(what_was_not_asked_for_is_an_error);
	RUN(a_range_is_given_up_with_its_blob);
	RUN(what_crawls_is_asked_for_anew);
	RUN(nobody_crawls_who_has_to_wait_for_us);
	return tap_done();
}
