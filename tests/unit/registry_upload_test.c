// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/* What is sent to a registry, and to ones that break off, forget, and disagree. */
#include "config.h"

#include "tests/unit/registry_fixture.h"
#include "tests/unit/tmpdir.h"

#define SESSION "/v2/some/name/blobs/uploads/one"

/* A session's state, and what goes wrong. */
struct uploads {
	const char *bytes; /* that are to come */
	size_t size;
	uint64_t received; /* of the session */
	size_t chunk_min;
	unsigned breaks; /* the first PUT or PATCH with a body breaks after break_at bytes */
	size_t break_at;
	unsigned fails; /* PUTs and PATCHes that are answered with `status` first */
	unsigned status;
	bool lost_answer; /* the first PUT works, but nobody learns of it */
	bool forgets; /* the session is gone after a failure */
	bool has; /* the blob */
	bool one_range; /* a Range that stays behind */
	bool creeps; /* ten bytes of a PATCH are taken */
	unsigned sessions, patches, puts;
	char last_range[512];
};

static void begin(struct served *x, struct uploads *u)
{
	CLEANUP_FREE char *more = u->chunk_min
					  ? xasprintf("OCI-Chunk-Min-Length: %zu\r\n", u->chunk_min)
					  : xstrdup("");
	CLEANUP_FREE char *headers = xasprintf(
		"Location: " SESSION "?_state=a%%3Db%%2Fc&n=%u\r\n%s", ++u->sessions, more);

	u->received = 0;
	server_say(x, 202, headers, "");
}

/* The bytes are those that belong there. */
static uint64_t receive(struct served *x, struct uploads *u, uint64_t n)
{
	CLEANUP_FREE char *buf = xmalloc(65536);
	uint64_t got = 0;

	while (got < n) {
		size_t want = n - got < 65536 ? (size_t)(n - got) : 65536;
		ssize_t k = recv(x->fd, buf, want, 0);

		if (k <= 0)
			break;
		if (u->received + (uint64_t)k > u->size ||
			memcmp(buf, u->bytes + u->received, (size_t)k) != 0) {
			CHECK(!"bytes as expected");
			break;
		}
		u->received += (uint64_t)k;
		got += (uint64_t)k;
	}
	return got;
}

/* false: the connection is broken, or an error has been answered. */
static bool take_body(struct served *x, struct uploads *u)
{
	if (u->breaks && x->length) {
		u->breaks--;
		receive(x, u, u->break_at);
		server_reset(x);
		return false;
	}
	if (u->fails) {
		u->fails--;
		server_drain(x, x->length);
		server_say(x, u->status, "", "");
		return false;
	}
	return receive(x, u, x->length) == x->length;
}

static void serve_put(struct served *x, struct uploads *u)
{
	u->puts++;
	CHECK(strstr(x->target, "_state=a%3Db%2Fc&n=") != NULL);
	CHECK(strstr(x->target, "&digest=sha256%3A") != NULL);
	if (!take_body(x, u))
		return;
	CHECK_U64(u->received, u->size);
	u->has = true;
	if (u->lost_answer) {
		u->lost_answer = false;
		server_reset(x);
	} else {
		server_say(x, 201, "", "");
	}
}

static void say_range(struct served *x, const struct uploads *u, unsigned status)
{
	uint64_t n = u->one_range ? 1000 : u->received;
	CLEANUP_FREE char *headers =
		xasprintf("Location: " SESSION "?_state=a%%3Db%%2Fc&n=%u\r\nRange: 0-%llu\r\n",
			u->sessions, (unsigned long long)(n ? n - 1 : 0));

	server_say(x, status, headers, "");
}

static void serve_patch(struct served *x, struct uploads *u)
{
	CLEANUP_FREE char *want = xasprintf("%llu-%llu", (unsigned long long)u->received,
		(unsigned long long)(u->received + x->length - 1));

	u->patches++;
	if (u->one_range) {
		server_drain(x, x->length);
		say_range(x, u, 202);
		return;
	}
	CHECK_STR(server_header(x, "Content-Range", u->last_range), want);
	if (u->creeps) {
		server_drain(x, x->length);
		u->received += 10;
		say_range(x, u, 202);
		return;
	}
	if (take_body(x, u))
		say_range(x, u, 202);
}

static void serve_uploads(struct served *x)
{
	struct uploads *u = x->server->state;

	if (strcmp(x->method, "POST") == 0)
		begin(x, u);
	else if (strcmp(x->method, "PUT") == 0)
		serve_put(x, u);
	else if (strcmp(x->method, "PATCH") == 0)
		serve_patch(x, u);
	else if (strcmp(x->method, "HEAD") == 0)
		server_answer(x, u->has ? 200 : 404, "", "", u->size);
	else if (u->has || u->forgets)
		server_say(x, 404, "", "");
	else
		say_range(x, u, 204);
}

/* Send u's bytes from the middle of a file; 0, or -1. */
static int put(struct server *s, struct uploads *u, uint64_t *counted, struct error **err)
{
	CLEANUP_TMPDIR char *dir = tmpdir_make();
	CLEANUP_FREE char *path = xasprintf("%s/file", dir);
	CLEANUP_REGISTRY struct registry *r = open_at(s, REGISTRY_PUSH, &PLAIN);
	struct digest d = digest_of_bytes(u->bytes, u->size);
	_Atomic uint64_t sent = 0;
	CLEANUP_FD int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	int rc;

	if (pwrite(fd, u->bytes, u->size, 777) != (ssize_t)u->size)
		exit(99);
	rc = registry_put_blob(r, &d, fd, 777, u->size, &sent, err);
	*counted = sent;
	return rc;
}

static void check_put(struct uploads *u)
{
	CLEANUP_SERVER struct server *s = server_start(serve_uploads, u);
	CLEANUP_ERROR struct error *err = NULL;
	uint64_t sent = 0;

	if (!CHECK(put(s, u, &sent, &err) == 0))
		printf("# %s\n", err->msg);
	CHECK(u->has);
	CHECK_U64(sent, u->size);
}

static void check_not_put(struct uploads *u, const char *words)
{
	CLEANUP_SERVER struct server *s = server_start(serve_uploads, u);
	CLEANUP_ERROR struct error *err = NULL;
	uint64_t sent;

	CHECK(put(s, u, &sent, &err) == -1);
	check_error(err, "registry 127.0.0.1:", words, NULL);
	CHECK(err && !strstr(err->msg, "_state"));
	CHECK(u->sessions + u->puts + u->patches < 20);
}

static void a_blob_goes_in_one_put(void)
{
	static const size_t sizes[] = { 0, 1, 70000, 5 * MIB };

	for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
		CLEANUP_FREE char *bytes = make_bytes(sizes[i]);
		struct uploads u = { .bytes = bytes, .size = sizes[i] };

		check_put(&u);
		CHECK_U64(u.puts, 1);
		CHECK_U64(u.patches, 0);
	}
}

static void a_blob_goes_in_pieces_where_the_server_wants_them(void)
{
	size_t size = 33 * MIB;
	CLEANUP_FREE char *bytes = make_bytes(size);
	struct uploads u = { .bytes = bytes, .size = size, .chunk_min = 1000 };

	check_put(&u);
	CHECK_U64(u.puts, 1);
	CHECK_U64(u.patches, 2);
	u = (struct uploads){ .bytes = bytes, .size = size, .chunk_min = 33 * MIB };
	check_put(&u);
	CHECK_U64(u.patches, 1);
}

static void a_broken_put_goes_on_in_pieces(void)
{
	CLEANUP_FREE char *bytes = make_bytes(5 * MIB);
	struct uploads u = { bytes, 5 * MIB, .breaks = 1, .break_at = 2 * MIB };

	check_put(&u);
	CHECK_U64(u.sessions, 1);
	CHECK_U64(u.patches, 1);
	CHECK_STR(u.last_range, "2097152-5242879");
}

static void a_broken_piece_goes_on_where_it_broke(void)
{
	CLEANUP_FREE char *bytes = make_bytes(5 * MIB);
	struct uploads u = { bytes, 5 * MIB, .breaks = 4, .break_at = MIB, .chunk_min = 1 };

	check_put(&u);
	CHECK_U64(u.sessions, 1);
	CHECK_U64(u.patches, 5);
}

static void an_upload_that_the_server_forgot_begins_again(void)
{
	CLEANUP_FREE char *bytes = make_bytes(3 * MIB);
	struct uploads u = { bytes, 3 * MIB, .breaks = 2, .break_at = MIB, .forgets = true };

	check_put(&u);
	CHECK_U64(u.sessions, 3);
}

static void failing_answers_are_tried_again(void)
{
	CLEANUP_FREE char *bytes = make_bytes(MIB);
	static const unsigned statuses[] = { 404, 416, 429, 500, 503 };

	for (size_t i = 0; i < sizeof(statuses) / sizeof(*statuses); i++) {
		struct uploads u = { bytes, MIB, .fails = 3, .status = statuses[i] };

		check_put(&u);
		u = (struct uploads){ bytes, MIB, .fails = 100, .status = statuses[i] };
		check_not_put(&u, "");
		u = (struct uploads){ bytes, MIB, .fails = 100, .status = statuses[i],
			.chunk_min = 5, .forgets = true };
		check_not_put(&u, "PATCH");
	}
}

static void what_is_refused_is_not_sent_again(void)
{
	CLEANUP_FREE char *bytes = make_bytes(MIB);
	struct uploads u = { bytes, MIB, .fails = 9, .status = 413 };

	check_not_put(&u, "413");
	CHECK_U64(u.puts, 1);
}

static void an_answer_that_got_lost_is_found_out(void)
{
	CLEANUP_FREE char *bytes = make_bytes(MIB);
	struct uploads u = { bytes, MIB, .lost_answer = true };

	check_put(&u);
	CHECK_U64(u.puts, 1);
	CHECK_U64(u.sessions, 1);
}

static void a_server_that_counts_wrongly_is_given_up(void)
{
	CLEANUP_FREE char *bytes = make_bytes(MIB);
	struct uploads u = { bytes, MIB, .chunk_min = 1, .one_range = true };

	check_not_put(&u, "");
}

static void a_server_that_takes_ten_bytes_at_a_time_is_given_up(void)
{
	CLEANUP_FREE char *bytes = make_bytes(MIB);
	struct uploads u = { bytes, MIB, .chunk_min = 1, .creeps = true };

	check_not_put(&u, "Range");
}

static void a_file_that_shrinks_is_an_error(void)
{
	CLEANUP_FREE char *bytes = make_bytes(MIB);
	struct uploads u = { bytes, MIB };
	CLEANUP_SERVER struct server *s = server_start(serve_uploads, &u);
	CLEANUP_REGISTRY struct registry *r = open_at(s, REGISTRY_PUSH, &PLAIN);
	struct digest d = digest_of_bytes(bytes, MIB);
	CLEANUP_ERROR struct error *err = NULL;
	CLEANUP_FD int fd = open("/dev/null", O_RDONLY);

	CHECK(registry_put_blob(r, &d, fd, 0, MIB, NULL, &err) == -1);
	check_error(err, "has become shorter", NULL);
}

/* ---- an upload at another host ---- */

struct far {
	struct server *far;
	bool leaked;
};

static void serve_far_location(struct served *x)
{
	struct far *f = x->server->state;
	CLEANUP_FREE char *headers = xasprintf("Location: http://%s/store?sig=1\r\n", f->far->host);
	char value[512];

	CHECK_STR(server_header(x, "Authorization", value), "Bearer t7");
	server_say(x, 202, headers, "");
}

static void serve_far(struct served *x)
{
	struct far *f = x->server->state;
	char value[512];

	f->leaked |= *server_header(x, "Authorization", value) != '\0';
	server_drain(x, x->length);
	server_say(x, 201, "", "");
}

static void authorization_does_not_follow_an_upload(void)
{
	struct far f = { 0 };
	CLEANUP_SERVER struct server *far = server_start(serve_far, &f);
	CLEANUP_SERVER struct server *s = server_start(serve_far_location, &f);
	struct registry_options o = PLAIN;
	CLEANUP_REGISTRY struct registry *r = NULL;
	struct digest d = digest_of_bytes("", 0);
	CLEANUP_ERROR struct error *err = NULL;

	f.far = far;
	o.credentials = (struct credentials_options){ .registry_token = "t7" };
	r = open_at(s, REGISTRY_PUSH, &o);
	CHECK(registry_put_blob(r, &d, -1, 0, 0, NULL, &err) == 0);
	CHECK_U64(server_count(far, "PUT /store?sig=1&digest=sha256%3A"), 1);
	CHECK(!f.leaked);
}

/* ---- mounts and manifests ---- */

static void serve_mount(struct served *x)
{
	struct uploads *u = x->server->state;

	if (strstr(x->target, "from=good%2Fone"))
		server_say(x, 201, "", "");
	else if (strstr(x->target, "from=forbidden"))
		server_say(x, 403, "", "");
	else
		serve_uploads(x);
	CHECK(u != NULL);
}

static void a_blob_is_mounted_or_its_upload_begins(void)
{
	CLEANUP_FREE char *bytes = make_bytes(MIB);
	struct uploads u = { bytes, MIB };
	CLEANUP_SERVER struct server *s = server_start(serve_mount, &u);
	CLEANUP_REGISTRY struct registry *r = open_at(s, REGISTRY_PUSH, &PLAIN);
	struct digest d = digest_of_bytes(bytes, MIB);
	CLEANUP_ERROR struct error *err = NULL;
	CLEANUP_TMPDIR char *dir = tmpdir_make();
	CLEANUP_FREE char *path = xasprintf("%s/file", dir);
	CLEANUP_FD int fd = -1;

	write_file(path, bytes, MIB);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	CHECK(registry_mount_blob(r, &d, "good/one", &err) == 1);
	CHECK(registry_mount_blob(r, &d, "forbidden", &err) == 0);
	CHECK(registry_mount_blob(r, &d, "other", &err) == 0);
	CHECK_U64(u.sessions, 1);
	CHECK(registry_put_blob(r, &d, fd, 0, MIB, NULL, &err) == 0);
	CHECK_U64(u.sessions, 1); /* the one that the mount began */
	CHECK(u.has);
}

static void serve_manifests(struct served *x)
{
	char value[512];

	if (strcmp(x->method, "PUT") == 0)
		CHECK_STR(server_header(x, "Content-Type", value), "application/x");
	CHECK_U64(x->length, 8);
	server_drain(x, x->length);
	if (strstr(x->target, "/linked"))
		server_say(x, 201, "OCI-Subject: sha256:0\r\n", "");
	else if (strstr(x->target, "/lie"))
		server_say(x, 201,
			"Docker-Content-Digest: sha256:"
			"0000000000000000000000000000000000000000000000000000000000000000\r\n",
			"");
	else
		server_say(x, strstr(x->target, "/bad") ? 400 : 201, "", "");
}

static void a_manifest_is_put_under_a_tag_or_its_digest(void)
{
	CLEANUP_SERVER struct server *s = server_start(serve_manifests, NULL);
	CLEANUP_REGISTRY struct registry *r = open_at(s, REGISTRY_PUSH, &PLAIN);
	struct digest d = digest_of_bytes("manifest", 8);
	CLEANUP_ERROR struct error *err = NULL, *lie = NULL, *bad = NULL;
	bool linked = true;

#define PUT(tag, l, e) registry_put_manifest(r, tag, "manifest", 8, "application/x", &d, l, e)
	CHECK(PUT("tag", &linked, &err) == 0);
	CHECK(!linked);
	CHECK(PUT("linked", &linked, &err) == 0);
	CHECK(linked);
	CHECK(PUT(NULL, NULL, &err) == 0);
	CHECK_U64(server_count(s, "PUT /v2/some/name/manifests/sha256:"), 1);
	CHECK(PUT("lie", NULL, &lie) == -1);
	check_error(lie, "says that it has", NULL);
	CHECK(PUT("bad", NULL, &bad) == -1);
	check_error(bad, "/manifests/bad: 400", NULL);
}

int main(void)
{
	retry_set_divisor(100);
	RUN(a_blob_goes_in_one_put);
	RUN(a_blob_goes_in_pieces_where_the_server_wants_them);
	RUN(a_broken_put_goes_on_in_pieces);
	RUN(a_broken_piece_goes_on_where_it_broke);
	RUN(an_upload_that_the_server_forgot_begins_again);
	RUN(failing_answers_are_tried_again);
	RUN(what_is_refused_is_not_sent_again);
	RUN(an_answer_that_got_lost_is_found_out);
	RUN(a_server_that_counts_wrongly_is_given_up);
	RUN(a_server_that_takes_ten_bytes_at_a_time_is_given_up);
	RUN(a_file_that_shrinks_is_an_error);
	RUN(authorization_does_not_follow_an_upload);
	RUN(a_blob_is_mounted_or_its_upload_begins);
	RUN(a_manifest_is_put_under_a_tag_or_its_digest);
	return tap_done();
}
