// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/* Blobs from servers good and bad, as streams and as ranges. */
#include "config.h"

#include "lib/base/interrupt.h"
#include "tests/unit/registry_fixture.h"

/* A blob, and what is wrong with how the server sends it. */
struct blob {
	char *bytes;
	size_t size;
	struct digest digest;
	_Atomic size_t cut; /* end each answer after so many bytes (0: never) */
	bool reset; /* ... by a broken connection, else in good order */
	_Atomic bool hang; /* ... by silence */
	unsigned cuts; /* so many times, 0: always */
	bool no_ranges; /* 200 and all of it, whatever was asked */
	bool chunked;
	size_t extra; /* bytes too many */
	size_t states; /* another size than it has */
	size_t shift; /* answers begin so much later than asked */
	char range[512]; /* of the last request */
};

static struct blob *new_blob(size_t size)
{
	struct blob *b = xzalloc(sizeof(*b));

	b->bytes = make_bytes(size);
	b->size = size;
	b->digest = digest_of_bytes(b->bytes, size);
	return b;
}

static void cleanup_blob_(struct blob **b)
{
	free((*b)->bytes);
	free(*b);
}
#define CLEANUP_BLOB CLEANUP(cleanup_blob_)

static bool send_chunk(struct served *x, bool chunked, const char *p, size_t n)
{
	return (!chunked || server_printf(x, "%zx\r\n", n)) && server_send(x, p, n) &&
	       (!chunked || server_printf(x, "\r\n"));
}

static void send_from(struct served *x, struct blob *b, size_t from)
{
	size_t n = b->size - from, sent = b->cut && b->cut < n ? b->cut : n;

	if (b->cuts && x->number >= b->cuts)
		sent = n;
	if (!send_chunk(x, b->chunked, b->bytes + from, sent))
		return;
	if (sent == n && b->extra)
		send_chunk(x, b->chunked, b->bytes, b->extra);
	if (sent < n && b->hang)
		server_hang(x);
	else if (sent < n && b->reset)
		server_reset(x);
	else if (b->chunked)
		server_printf(x, "0\r\n\r\n");
}

static void serve_blob(struct served *x)
{
	struct blob *b = x->server->state;
	unsigned long long from = 0;
	CLEANUP_FREE char *length = NULL;
	size_t size = b->states ? b->states : b->size;

	server_header(x, "Range", b->range);
	if (*b->range && !b->no_ranges)
		sscanf(b->range, "bytes=%llu-", &from);
	from += *b->range ? b->shift : 0;
	if (from >= b->size) {
		server_say(x, 416, "", "");
		return;
	}
	length = b->chunked ? xstrdup("Transfer-Encoding: chunked")
			    : xasprintf("Content-Length: %zu",
				      (b->states && !*b->range ? size : b->size - (size_t)from) +
					      b->extra);
	if (*b->range && !b->no_ranges)
		server_printf(x,
			"HTTP/1.1 206 X\r\n%s\r\nContent-Range: bytes %llu-%zu/%zu\r\n\r\n", length,
			from, b->size - 1, size);
	else
		server_printf(x, "HTTP/1.1 200 OK\r\n%s\r\n\r\n", length);
	send_from(x, b, (size_t)from);
}

/* Read it all; false with *err when that failed. Bytes that came are compared. */
static bool read_all(struct stream *s, const struct blob *b, struct error **err)
{
	CLEANUP_FREE char *buf = xmalloc(b->size + 1);
	size_t n = 0;
	ssize_t k;

	while ((k = s->read(s, buf + n, b->size + 1 - n, err)) > 0)
		n += (size_t)k;
	CHECK(memcmp(buf, b->bytes, n) == 0);
	CHECK(k < 0 || n == b->size);
	return k == 0;
}

static bool fetch(struct server *s, const struct blob *b, unsigned retries, struct error **err)
{
	struct registry_options o = PLAIN;
	CLEANUP_REGISTRY struct registry *r = NULL;
	CLEANUP_STREAM struct stream *in = NULL;

	o.retries = retries;
	r = open_at(s, REGISTRY_PULL, &o);
	in = registry_open_blob(r, &b->digest, b->size, 0, err);
	return in && read_all(in, b, err);
}

/* Fetched well in so many requests. */
static void check_good(struct blob *b, unsigned requests)
{
	CLEANUP_SERVER struct server *s = server_start(serve_blob, b);
	CLEANUP_ERROR struct error *err = NULL;

	if (!CHECK(fetch(s, b, 3, &err)))
		printf("# %s\n", err->msg);
	if (b->reset) /* bytes that were on their way are lost */
		CHECK(server_count(s, "GET") >= requests);
	else
		CHECK_U64(server_count(s, "GET"), requests);
}

static void check_bad(struct blob *b, const char *words)
{
	CLEANUP_SERVER struct server *s = server_start(serve_blob, b);
	CLEANUP_ERROR struct error *err = NULL;

	CHECK(!fetch(s, b, 3, &err));
	check_error(err, words, "/v2/some/name/blobs/sha256:", NULL);
}

static void a_blob_of_any_size_arrives(void)
{
	static const size_t sizes[] = { 1, 16384, 65535, 65536, 65537, 2 * MIB, 2 * MIB + 1,
		9 * MIB + 7 };

	for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
		CLEANUP_BLOB struct blob *b = new_blob(sizes[i]);

		check_good(b, 1);
		b->chunked = true;
		check_good(b, 1);
	}
}

static void an_empty_blob_is_not_asked_for(void)
{
	CLEANUP_BLOB struct blob *b = new_blob(0);

	check_good(b, 0);
}

static void a_broken_connection_is_resumed(void)
{
	CLEANUP_BLOB struct blob *b = new_blob(3 * MIB);

	b->cut = MIB;
	for (int how = 0; how < 4; how++) {
		b->reset = how & 1;
		b->chunked = how & 2;
		check_good(b, 3);
		if (!b->reset)
			CHECK_STR(b->range, "bytes=2097152-");
	}
}

static void progress_counts_tries_anew(void)
{
	CLEANUP_BLOB struct blob *b = new_blob(2 * MIB);

	b->cut = MIB / 8;
	check_good(b, 16);
	b->cut = 100; /* that is none */
	check_bad(b, "");
}

static void a_stall_is_resumed(void)
{
	CLEANUP_LIMITS struct http_limits before = stall_after(5000);
	CLEANUP_BLOB struct blob *b = new_blob(MIB);

	b->cut = MIB / 2;
	b->hang = true;
	b->cuts = 1;
	check_good(b, 2);
}

static void a_server_without_ranges_sends_it_all_again(void)
{
	CLEANUP_BLOB struct blob *b = new_blob(3 * MIB);

	b->cut = MIB;
	b->cuts = 1;
	b->no_ranges = true;
	check_good(b, 2);
	CHECK_STR(b->range, "bytes=1048576-");
}

static void what_was_not_asked_for_is_refused(void)
{
	CLEANUP_BLOB struct blob *b = new_blob(2 * MIB);

	b->cut = MIB;
	b->cuts = 1;
	b->shift = 1;
	check_bad(b, "from 1048576 on, answered with those from 1048577");
	b->shift = 0;
	b->states = b->size + 5;
	b->extra = 0;
	check_bad(b, "bytes there, not 2097152");
}

static void too_many_bytes_are_an_error_at_once(void)
{
	CLEANUP_BLOB struct blob *b = new_blob(MIB);

	b->extra = 1;
	check_bad(b, "the blob has 1048577 bytes there, not 1048576");
	b->chunked = true;
	check_bad(b, "more bytes than the blob has");
}

static void too_few_bytes_are_an_error_in_the_end(void)
{
	CLEANUP_BLOB struct blob *b = new_blob(MIB);
	CLEANUP_BLOB struct blob *shorter = new_blob(MIB);
	CLEANUP_SERVER struct server *s = server_start(serve_blob, shorter);
	CLEANUP_ERROR struct error *err = NULL;

	shorter->size = MIB - 100;
	CHECK(!fetch(s, b, 3, &err));
	check_error(err, "416", NULL);
}

static void without_tries_a_break_is_an_error(void)
{
	CLEANUP_BLOB struct blob *b = new_blob(MIB);
	CLEANUP_SERVER struct server *s = server_start(serve_blob, b);
	CLEANUP_ERROR struct error *err = NULL;

	b->cut = MIB / 2;
	CHECK(!fetch(s, b, 0, &err));
	check_error(err, "524288 bytes remaining", NULL);
	CHECK_U64(server_count(s, "GET"), 1);
}

static void an_error_is_said_each_time(void)
{
	CLEANUP_BLOB struct blob *b = new_blob(MIB);
	CLEANUP_SERVER struct server *s = server_start(serve_blob, b);
	CLEANUP_REGISTRY struct registry *r = open_at(s, REGISTRY_PULL, &PLAIN);
	CLEANUP_STREAM struct stream *in = NULL;
	CLEANUP_ERROR struct error *err = NULL;

	b->extra = 1;
	in = registry_open_blob(r, &b->digest, b->size, 0, &err);
	for (int i = 0; i < 3; i++) {
		CLEANUP_ERROR struct error *e = NULL;
		char c;

		CHECK(in->read(in, &c, 1, &e) == -1);
		check_error(e, "bytes there", NULL);
	}
}

/* ---- a reader that is slow ---- */

static void a_slow_reader_takes_no_memory_and_no_try(void)
{
	/* which no busy machine makes of itself */
	CLEANUP_LIMITS struct http_limits before = stall_after(6000);
	CLEANUP_BLOB struct blob *b = new_blob(64 * MIB);
	CLEANUP_SERVER struct server *s = server_start(serve_blob, b);
	struct registry_options o = PLAIN;
	CLEANUP_REGISTRY struct registry *r = NULL;
	CLEANUP_STREAM struct stream *in = NULL;
	CLEANUP_ERROR struct error *err = NULL;

	o.retries = 0;
	r = open_at(s, REGISTRY_PULL, &o);
	in = registry_open_blob(r, &b->digest, b->size, 0, &err);
	sleep_ms(7000); /* longer than a stall */
	CHECK(s->sent < 24 * MIB); /* the ring, and what the kernel buffers */
	CHECK(read_all(in, b, &err));
	CHECK_U64(server_count(s, "GET"), 1);
}

static void a_long_pause_gives_the_connection_away(void)
{
	CLEANUP_LIMITS struct http_limits before = pause_for(2000);
	CLEANUP_BLOB struct blob *b = new_blob(64 * MIB);
	CLEANUP_SERVER struct server *s = server_start(serve_blob, b);
	struct registry_options o = PLAIN;
	CLEANUP_REGISTRY struct registry *r = NULL;
	CLEANUP_STREAM struct stream *in = NULL;
	CLEANUP_ERROR struct error *err = NULL;

	o.retries = 0;
	r = open_at(s, REGISTRY_PULL, &o);
	in = registry_open_blob(r, &b->digest, b->size, 0, &err);
	sleep_ms(3500); /* the limit is 2000 */
	CHECK(read_all(in, b, &err));
	CHECK(server_count(s, "GET") >= 2); /* a busy machine may make another pause */
}

/* More streams than connections, of which the last is read first. */
static void streams_that_wait_do_not_lock_each_other_out(void)
{
	enum { STREAMS = 9 };
	CLEANUP_BLOB struct blob *b = new_blob(16 * MIB);
	CLEANUP_SERVER struct server *s = server_start(serve_blob, b);
	CLEANUP_REGISTRY struct registry *r = open_at(s, REGISTRY_PULL, &PLAIN);
	struct stream *in[STREAMS];
	CLEANUP_ERROR struct error *err = NULL;

	for (int i = 0; i < STREAMS; i++)
		in[i] = registry_open_blob(r, &b->digest, b->size, 0, &err);
	for (int i = STREAMS - 1; i >= 0; i--) {
		CHECK(read_all(in[i], b, &err));
		in[i]->close(in[i]);
	}
	CHECK(s->connections >= 6);
}

static void wake(void *arg)
{
	++*(_Atomic int *)arg;
}

static bool becomes(_Atomic int *v, int want)
{
	for (int i = 0; i < 6000 && *v != want; i++)
		sleep_ms(10);
	return *v == want;
}

static void a_stream_says_when_it_is_ready(void)
{
	CLEANUP_BLOB struct blob *b = new_blob(300 * 1024);
	CLEANUP_SERVER struct server *s = server_start(serve_blob, b);
	CLEANUP_REGISTRY struct registry *r = open_at(s, REGISTRY_PULL, &PLAIN);
	CLEANUP_STREAM struct stream *in = NULL;
	CLEANUP_ERROR struct error *err = NULL;
	CLEANUP_FREE char *buf = xmalloc(b->size);
	_Atomic int woken = 0;
	size_t n = 0;

	in = registry_open_blob(r, &b->digest, b->size, 0, &err);
	while (n < b->size) {
		ssize_t k;

		if (!stream_ready(in, wake, &woken)) {
			CHECK(becomes(&woken, 1));
			woken = 0;
			CHECK(stream_ready(in, wake, &woken));
		}
		k = in->read(in, buf, 100 * 1024, &err);
		if (!CHECK(k > 0))
			return;
		n += (size_t)k;
	}
	if (!stream_ready(in, wake, &woken))
		CHECK(becomes(&woken, 1));
	CHECK(in->read(in, buf, 1, &err) == 0);
	CHECK(stream_ready(in, wake, &woken));
	CHECK(woken <= 1);
}

static void little_is_not_yet_ready(void)
{
	CLEANUP_LIMITS struct http_limits before = stall_after(6000);
	CLEANUP_BLOB struct blob *b = new_blob(MIB);
	CLEANUP_SERVER struct server *s = server_start(serve_blob, b);
	struct registry_options o = PLAIN;
	CLEANUP_REGISTRY struct registry *r = NULL;
	CLEANUP_STREAM struct stream *in = NULL;
	CLEANUP_ERROR struct error *err = NULL;
	_Atomic int woken = 0;

	o.retries = 0;
	b->cut = 1000;
	b->hang = true;
	r = open_at(s, REGISTRY_PULL, &o);
	in = registry_open_blob(r, &b->digest, b->size, 0, &err);
	sleep_ms(100);
	CHECK(!stream_ready(in, wake, &woken));
	CHECK(becomes(&woken, 1)); /* by the error */
	CHECK(stream_ready(in, wake, &woken));
}

static void a_stream_closes_at_once(void)
{
	CLEANUP_BLOB struct blob *b = new_blob(64 * MIB);
	CLEANUP_SERVER struct server *s = server_start(serve_blob, b);
	CLEANUP_REGISTRY struct registry *r = open_at(s, REGISTRY_PULL, &PLAIN);
	CLEANUP_ERROR struct error *err = NULL;
	_Atomic int woken = 0;
	uint64_t began;

	for (int i = 0; i < 6; i++) {
		struct stream *in = registry_open_blob(r, &b->digest, b->size, 0, &err);

		b->hang = i & 1;
		b->cut = b->hang ? 1000 : 0;
		if (i > 1)
			sleep_ms(50);
		stream_ready(in, wake, &woken);
		began = now_ms();
		in->close(in);
		CHECK(now_ms() - began <
			30000); /* at once, but for a busy machine; a stall is 60 s */
	}
}

static void a_stream_ends_when_its_registry_is_cancelled(void)
{
	CLEANUP_BLOB struct blob *b = new_blob(MIB);
	CLEANUP_SERVER struct server *s = server_start(serve_blob, b);
	CLEANUP_REGISTRY struct registry *r = open_at(s, REGISTRY_PULL, &PLAIN);
	CLEANUP_ERROR struct error *err = NULL;
	CLEANUP_STREAM struct stream *under_way = NULL, *later = NULL;
	uint64_t began;

	b->hang = true;
	b->cut = 1000;
	under_way = registry_open_blob(r, &b->digest, b->size, 0, &err);
	sleep_ms(100);
	began = now_ms();
	registry_cancel(r);
	CHECK(!read_all(under_way, b, &err));
	check_error(err, "cancelled", NULL);
	error_free(take_ptr(err));
	later = registry_open_blob(r, &b->digest, b->size, 0, &err);
	CHECK(!read_all(later, b, &err));
	CHECK(now_ms() - began < 30000); /* a stall is 60 s */
}

/* ---- ranges ---- */

static void check_range(struct blob *b, uint64_t offset, size_t len)
{
	CLEANUP_SERVER struct server *s = server_start(serve_blob, b);
	CLEANUP_REGISTRY struct registry *r = open_at(s, REGISTRY_PULL, &PLAIN);
	CLEANUP_ERROR struct error *err = NULL;
	CLEANUP_FREE char *buf = xzalloc(len + 1);

	if (!CHECK(registry_read_blob(r, &b->digest, offset, buf, len, &err) == 0))
		printf("# %s\n", err->msg);
	CHECK(memcmp(buf, b->bytes + offset, len) == 0);
}

static void serve_exact_range(struct served *x)
{
	struct blob *b = x->server->state;
	CLEANUP_FREE char *range = NULL;
	unsigned long long from, to;
	char value[512];

	if (!CHECK(sscanf(server_header(x, "Range", value), "bytes=%llu-%llu", &from, &to) == 2))
		return;
	range = xasprintf("Content-Range: bytes %llu-%llu/*\r\n", from, to);
	server_answer(x, 206, range, b->bytes + from, (size_t)(to - from + 1));
}

static void a_range_is_all_there(void)
{
	CLEANUP_BLOB struct blob *b = new_blob(2 * MIB);
	CLEANUP_SERVER struct server *s = server_start(serve_exact_range, b);
	CLEANUP_REGISTRY struct registry *r = open_at(s, REGISTRY_PULL, &PLAIN);
	CLEANUP_ERROR struct error *err = NULL;
	char buf[5000];

	for (uint64_t at = 0; at < 4 * sizeof(buf); at += sizeof(buf)) {
		CHECK(registry_read_blob(r, &b->digest, at, buf, sizeof(buf), &err) == 0);
		CHECK(memcmp(buf, b->bytes + at, sizeof(buf)) == 0);
	}
	CHECK_U64(s->connections, 1);
}

/* A little, and then a byte now and then, for as long as somebody listens. */
static void serve_crawling(struct served *x)
{
	struct blob *b = x->server->state;
	unsigned long long at, to;
	char value[512];

	if (!CHECK(sscanf(server_header(x, "Range", value), "bytes=%llu-%llu", &at, &to) == 2))
		return;
	if (at) {
		serve_exact_range(x);
		return;
	}
	server_printf(x,
		"HTTP/1.1 206 Partial\r\nContent-Range: bytes 0-%llu/*\r\nContent-Length: "
		"%llu\r\n\r\n",
		to, to + 1);
	server_send(x, b->bytes, 2000);
	for (at = 2000; !x->server->stop && server_send(x, b->bytes + at, 1); at++)
		sleep_ms(20);
}

/* Or it hangs for hours. */
static void a_range_that_crawls_goes_on_elsewhere(void)
{
	CLEANUP_LIMITS struct http_limits before = crawl_for(1000);
	CLEANUP_BLOB struct blob *b = new_blob(2 * MIB);
	CLEANUP_SERVER struct server *s = server_start(serve_crawling, b);
	CLEANUP_REGISTRY struct registry *r = open_at(s, REGISTRY_PULL, &PLAIN);
	CLEANUP_FREE char *buf = xzalloc(2 * MIB);
	CLEANUP_ERROR struct error *err = NULL;

	if (!CHECK(registry_read_blob(r, &b->digest, 0, buf, 2 * MIB, &err) == 0))
		printf("# %s\n", err->msg);
	CHECK(memcmp(buf, b->bytes, 2 * MIB) == 0);
	CHECK(s->connections >= 2);
}

static void a_range_comes_from_servers_that_know_none(void)
{
	CLEANUP_BLOB struct blob *b = new_blob(2 * MIB);

	b->no_ranges = true;
	check_range(b, MIB + 1, 5000);
	check_range(b, 0, 2 * MIB);
	b->cut = MIB + 2000; /* breaks within what is wanted, once */
	b->cuts = 1;
	b->reset = true;
	check_range(b, MIB + 1, 5000);
}

static void more_than_a_range_is_refused(void)
{
	CLEANUP_BLOB struct blob *b = new_blob(2 * MIB);
	CLEANUP_SERVER struct server *s = server_start(serve_blob, b);
	CLEANUP_REGISTRY struct registry *r = open_at(s, REGISTRY_PULL, &PLAIN);
	CLEANUP_ERROR struct error *err = NULL, *far = NULL;
	char buf[100];

	CHECK(registry_read_blob(r, &b->digest, 5, buf, sizeof(buf), &err) == -1);
	check_error(err, "more bytes than asked for", NULL);
	CHECK(registry_read_blob(r, &b->digest, 3 * MIB, buf, sizeof(buf), &far) == -1);
	check_error(far, "416", NULL);
}

static void serve_head(struct served *x)
{
	if (strstr(x->target, "e3b0c442"))
		server_say(x, 404, "", "");
	else
		x->keep = server_printf(x, "HTTP/1.1 200 OK\r\nContent-Length: 12345\r\n\r\n");
}

static void the_presence_of_a_blob_is_known(void)
{
	CLEANUP_SERVER struct server *s = server_start(serve_head, NULL);
	CLEANUP_REGISTRY struct registry *r = open_at(s, REGISTRY_PULL, &PLAIN);
	struct digest there = digest_of_bytes("x", 1), missing = digest_of_bytes("", 0);
	CLEANUP_ERROR struct error *err = NULL;
	uint64_t size = 0;

	CHECK(registry_has_blob(r, &there, &size, &err) == 1);
	CHECK_U64(size, 12345);
	CHECK(registry_has_blob(r, &missing, &size, &err) == 0);
}

/* The last test: an interrupt stays. */
static void an_interrupt_ends_all_that_waits(void)
{
	CLEANUP_BLOB struct blob *b = new_blob(64 * MIB);
	CLEANUP_SERVER struct server *s = server_start(serve_blob, b);
	CLEANUP_REGISTRY struct registry *r = open_at(s, REGISTRY_PULL, &PLAIN);
	CLEANUP_STREAM struct stream *in = NULL, *paused = NULL;
	CLEANUP_ERROR struct error *err = NULL, *again = NULL;
	uint64_t began;
	char buf[2000];

	/* limits are patient here: what ends, the interrupt has ended */
	interrupt_catch();
	paused = registry_open_blob(r, &b->digest, b->size, 0, &err);
	sleep_ms(100);
	b->cut = 1000;
	b->hang = true;
	in = registry_open_blob(r, &b->digest, b->size, 0, &err);
	CHECK(in->read(in, buf, sizeof(buf), &err) > 0);
	began = now_ms();
	raise(SIGINT);
	while (in->read(in, buf, sizeof(buf), &err) > 0)
		continue;
	check_error(err, "interrupted", NULL);
	CHECK(now_ms() - began < 20000); /* half a second, but for a busy machine */
	CHECK(registry_read_blob(r, &b->digest, 0, buf, 10, &again) == -1);
	check_error(again, "interrupted", NULL);
}

int main(void)
{
	retry_set_divisor(100);
	RUN(a_blob_of_any_size_arrives);
	RUN(an_empty_blob_is_not_asked_for);
	RUN(a_broken_connection_is_resumed);
	RUN(progress_counts_tries_anew);
	RUN(a_stall_is_resumed);
	RUN(a_server_without_ranges_sends_it_all_again);
	RUN(what_was_not_asked_for_is_refused);
	RUN(too_many_bytes_are_an_error_at_once);
	RUN(too_few_bytes_are_an_error_in_the_end);
	RUN(without_tries_a_break_is_an_error);
	RUN(an_error_is_said_each_time);
	RUN(a_slow_reader_takes_no_memory_and_no_try);
	RUN(a_long_pause_gives_the_connection_away);
	RUN(streams_that_wait_do_not_lock_each_other_out);
	RUN(a_stream_says_when_it_is_ready);
	RUN(little_is_not_yet_ready);
	RUN(a_stream_closes_at_once);
	RUN(a_stream_ends_when_its_registry_is_cancelled);
	RUN(a_range_is_all_there);
	RUN(a_range_that_crawls_goes_on_elsewhere);
	RUN(a_range_comes_from_servers_that_know_none);
	RUN(more_than_a_range_is_refused);
	RUN(the_presence_of_a_blob_is_known);
	RUN(an_interrupt_ends_all_that_waits);
	return tap_done();
}
