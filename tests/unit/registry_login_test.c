// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/* Credentials of a file that changes while they are in use. */
#include "config.h"

#include <openssl/evp.h>

#include "lib/base/log.h"
#include "tests/unit/registry_fixture.h"
#include "tests/unit/tap.h"
#include "tests/unit/tmpdir.h"

#define MANIFEST "{\"schemaVersion\":2}"

/* A registry where one password is the right one, and one token. */
struct door {
	const char *scheme;
	const char *password; /* of "user" */
	unsigned token; /* the good one is "tN" */
	unsigned right, wrong; /* passwords that were shown */
	bool renewed; /* the file gets the right one when the first wrong one is refused */
};

static char *basic_of(const char *password)
{
	CLEANUP_FREE char *pair = xasprintf("user:%s", password);
	unsigned char encoded[256];

	EVP_EncodeBlock(encoded, (unsigned char *)pair, (int)strlen(pair));
	return xasprintf("Basic %s", encoded);
}

/* ---- the file ---- */

static char *dir, *authfile;

static void write_password(const struct server *s, const char *password)
{
	CLEANUP_FREE char *basic = basic_of(password);
	CLEANUP_FREE char *text =
		xasprintf("{\"auths\": {\"%s\": {\"auth\": \"%s\"}}}", s->host, basic + 6);

	write_file(authfile, text, strlen(text));
}

/* ---- the registry ---- */

static bool shows_password(struct door *d, const char *value)
{
	CLEANUP_FREE char *want = basic_of(d->password);
	bool right = strcmp(value, want) == 0;

	d->right += right;
	d->wrong += !right && strncmp(value, "Basic ", 6) == 0;
	return right;
}

static void serve_token(struct served *x, struct door *d, const char *value)
{
	CLEANUP_FREE char *body = NULL;

	if (!shows_password(d, value)) {
		if (d->renewed)
			write_password(x->server, d->password);
		server_say(x, 401, "", "{}");
		return;
	}
	body = xasprintf("{\"token\": \"t%u\", \"expires_in\": 600}", d->token);
	server_say(x, 200, "", body);
}

static void serve_door(struct served *x)
{
	struct door *d = x->server->state;
	CLEANUP_FREE char *token = xasprintf("Bearer t%u", d->token), *ask = NULL;
	char value[512];

	server_header(x, "Authorization", value);
	if (strncmp(x->target, "/token", 6) == 0) {
		serve_token(x, d, value);
		return;
	}
	if (strcmp(d->scheme, "Basic") == 0 ? shows_password(d, value)
					    : strcmp(value, token) == 0) {
		server_say(x, 200, "", MANIFEST);
		return;
	}
	ask = xasprintf(
		"WWW-Authenticate: %s realm=\"http://%s/token\"\r\n", d->scheme, x->server->host);
	server_say(x, 401, ask, "{}");
}

static struct registry *open_with_file(const struct server *s)
{
	struct registry_options o = PLAIN;

	o.credentials = (struct credentials_options){ .authfile = authfile };
	return open_at(s, REGISTRY_PULL, &o);
}

static bool answers(struct registry *r)
{
	CLEANUP_REGISTRY_DOCUMENT struct registry_document d = { 0 };
	CLEANUP_ERROR struct error *err = NULL;

	if (registry_get_manifest(r, "tag", NULL, &d, &err) == 0)
		return true;
	printf("# %s\n", err->msg);
	return false;
}

static void a_new_password_is_read_when_the_old_one_is_refused(void)
{
	struct door d = { .scheme = "Basic", .password = "old" };
	CLEANUP_SERVER struct server *s = server_start(serve_door, &d);
	CLEANUP_REGISTRY struct registry *r = open_with_file(s);

	write_password(s, "old");
	CHECK(answers(r));
	d.password = "new";
	write_password(s, "new");
	CHECK(answers(r));
	CHECK_U64(d.wrong, 1);
}

static void a_new_token_is_asked_for_with_the_new_password(void)
{
	struct door d = { .scheme = "Bearer", .password = "old", .token = 1 };
	CLEANUP_SERVER struct server *s = server_start(serve_door, &d);
	CLEANUP_REGISTRY struct registry *r = open_with_file(s);

	write_password(s, "old");
	CHECK(answers(r));
	d.password = "new";
	d.token = 2;
	write_password(s, "new");
	CHECK(answers(r));
	CHECK_U64(d.right, 2);
	CHECK_U64(d.wrong, 0);
}

/* Also where the file has only just been read. */
static void what_the_token_server_refuses_is_read_again(void)
{
	struct door d = { .scheme = "Bearer", .password = "new", .token = 1, .renewed = true };
	CLEANUP_SERVER struct server *s = server_start(serve_door, &d);
	CLEANUP_REGISTRY struct registry *r = open_with_file(s);

	write_password(s, "old");
	CHECK(answers(r));
	CHECK_U64(d.wrong, 1);
	CHECK_U64(d.right, 1);
}

static void a_token_server_is_not_shown_a_wrong_password_twice(void)
{
	struct door d = { .scheme = "Bearer", .password = "new", .token = 1 };
	CLEANUP_SERVER struct server *s = server_start(serve_door, &d);
	CLEANUP_REGISTRY struct registry *r = open_with_file(s);

	write_password(s, "old");
	CHECK(!answers(r));
	CHECK_U64(d.wrong, 1);
}

static void a_file_that_is_gone_leaves_what_it_said(void)
{
	struct door d = { .scheme = "Bearer", .password = "old", .token = 1 };
	CLEANUP_SERVER struct server *s = server_start(serve_door, &d);
	CLEANUP_REGISTRY struct registry *r = open_with_file(s);

	write_password(s, "old");
	CHECK(answers(r));
	CHECK(unlink(authfile) == 0);
	d.token = 2;
	CHECK(answers(r));
	CHECK_U64(d.right, 2);
}

static void a_wrong_password_is_not_shown_again_and_again(void)
{
	struct door d = { .scheme = "Basic", .password = "right" };
	CLEANUP_SERVER struct server *s = server_start(serve_door, &d);
	CLEANUP_REGISTRY struct registry *r = open_with_file(s);

	write_password(s, "wrong");
	CHECK(!answers(r));
	CHECK_U64(d.wrong, 1);
	CHECK(!answers(r));
	CHECK_U64(d.wrong, 2);
}

static void a_pipe_is_read_once(void)
{
	struct door d = { .scheme = "Bearer", .password = "old", .token = 1 };
	CLEANUP_SERVER struct server *s = server_start(serve_door, &d);
	CLEANUP_REGISTRY struct registry *r = NULL;
	CLEANUP_FREE char *text = NULL, *file = authfile;
	int fds[2];

	write_password(s, "old");
	text = read_file(authfile);
	CHECK(pipe(fds) == 0);
	CHECK(write(fds[1], text, strlen(text)) == (ssize_t)strlen(text));
	close(fds[1]);
	authfile = xasprintf("/dev/fd/%d", fds[0]);
	r = open_with_file(s);
	CHECK(answers(r));
	d.token = 2;
	CHECK(answers(r));
	CHECK_U64(d.right, 2);
	registry_close(take_ptr(r));
	close(fds[0]);
	free(authfile);
	authfile = take_ptr(file);
}

int main(void)
{
	log_set_level(LOG_QUIET);
	dir = tmpdir_make();
	authfile = xasprintf("%s/auth.json", dir);
	RUN(a_new_password_is_read_when_the_old_one_is_refused);
	RUN(a_new_token_is_asked_for_with_the_new_password);
	RUN(what_the_token_server_refuses_is_read_again);
	RUN(a_token_server_is_not_shown_a_wrong_password_twice);
	RUN(a_file_that_is_gone_leaves_what_it_said);
	RUN(a_wrong_password_is_not_shown_again_and_again);
	RUN(a_pipe_is_read_once);
	tmpdir_remove(dir);
	free(dir);
	free(authfile);
	return tap_done();
}
