// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/registry/credentials.h"

#include <errno.h>
#include <jansson.h>
#include <linux/capability.h>
#include <malloc.h>
#include <openssl/evp.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/log.h"
#include "lib/registry/auth_file.h"
#include "lib/registry/helper_program.h"
#include "lib/registry/secret.h"
#include "tests/unit/tap.h"
#include "tests/unit/tmpdir.h"

#define SECRET "hunter2hunter2"

/* ---- a home, and programs, of the test's own ---- */

static char *home, *path_before;

static void set_home(void)
{
	home = tmpdir_make();
	path_before = xstrdup(getenv("PATH"));
	CLEANUP_FREE char *path = xasprintf("%s/bin:%s", home, path_before);

	setenv("HOME", home, 1);
	setenv("PATH", path, 1);
	unsetenv("XDG_RUNTIME_DIR");
	unsetenv("XDG_CONFIG_HOME");
	unsetenv("DOCKER_CONFIG");
	unsetenv("REGISTRY_AUTH_FILE");
}

static void drop_home(void)
{
	setenv("PATH", path_before, 1);
	free(path_before);
	tmpdir_remove(home);
	free(home);
}

/* A file below the home, with the directories above it. Returns its path. */
static char *put(const char *name, const char *text)
{
	char *path = xasprintf("%s/%s", home, name);

	for (char *slash = path + strlen(home) + 1; (slash = strchr(slash, '/')); slash++) {
		*slash = '\0';
		mkdir(path, 0700);
		*slash = '/';
	}
	write_file(path, text, strlen(text));
	return path;
}

static void put_and_forget(const char *name, const char *text)
{
	free(put(name, text));
}

static void put_helper(const char *name, const char *script)
{
	CLEANUP_FREE char *file = xasprintf("bin/docker-credential-%s", name);
	CLEANUP_FREE char *text = xasprintf("#!/bin/sh\n%s\n", script);
	CLEANUP_FREE char *path = put(file, text);

	chmod(path, 0755);
}

/* {"auths": {KEY: {"auth": "user:PASSWORD"}}} */
static char *auth_of(const char *plain)
{
	char *text = xzalloc(4 * strlen(plain) + 8);

	EVP_EncodeBlock((unsigned char *)text, (const unsigned char *)plain, (int)strlen(plain));
	return text;
}

static char *entry(const char *key, const char *plain)
{
	CLEANUP_FREE char *auth = auth_of(plain);

	return xasprintf("\"%s\": {\"auth\": \"%s\"}", key, auth);
}

static char *file_of(const char *key, const char *plain)
{
	CLEANUP_FREE char *e = entry(key, plain);

	return xasprintf("{\"auths\": {%s}}", e);
}

static void put_auth(const char *name, const char *key, const char *plain)
{
	CLEANUP_FREE char *text = file_of(key, plain);

	put_and_forget(name, text);
}

/* What is found, as "user:password", "identity TOKEN", "registry TOKEN", "none" or "error: ...". */
static char *found_for(
	const struct credentials_options *o, const char *host, const char *repository)
{
	CLEANUP_CREDENTIALS struct credentials c;
	CLEANUP_ERROR struct error *err = NULL;

	if (credentials_find(&c, o, host, repository, &err) < 0) {
		CHECK(!c.user && !c.password && !c.identity_token && !c.registry_token);
		return xasprintf("error: %s", err->msg);
	}
	if (!c.user && !c.identity_token && !c.registry_token) {
		CHECK(!c.password && !c.from);
		return xstrdup("none");
	}
	CHECK(c.from && *c.from);
	CHECK((c.user != NULL) + (c.identity_token != NULL) + (c.registry_token != NULL) == 1);
	if (c.identity_token)
		return xasprintf("identity %s", c.identity_token);
	return c.user ? xasprintf("%s:%s", c.user, c.password)
		      : xasprintf("registry %s", c.registry_token);
}

static bool finds_with(const struct credentials_options *o, const char *host,
	const char *repository, const char *want)
{
	CLEANUP_FREE char *got = found_for(o, host, repository);

	if (strcmp(got, want) != 0)
		printf("# %s/%s: %s\n", host, repository, got);
	return strcmp(got, want) == 0;
}

static bool finds(const char *host, const char *repository, const char *want)
{
	return finds_with(&(struct credentials_options){ 0 }, host, repository, want);
}

/* An error that has these words and not the secret, plain or in base64. */
static bool fails_with(const struct credentials_options *o, const char *host, const char *words)
{
	CLEANUP_FREE char *got = found_for(o, host, "team/app");
	bool ok = strncmp(got, "error: ", 7) == 0 && strstr(got, words) && !strstr(got, "hunter") &&
		  !strstr(got, "aHVudGVy") && !strstr(got, "aHVud");

	if (!ok)
		printf("# wanted \"%s\", saw %s\n", words, got);
	return ok;
}

static bool fails(const char *host, const char *words)
{
	return fails_with(&(struct credentials_options){ 0 }, host, words);
}

/* ---- options ---- */

static void without_any_source_we_are_anonymous(void)
{
	CHECK(finds("h.example", "team/app", "none"));
}

static void options_go_before_files(void)
{
	struct credentials_options o = { .creds = "me:mine" };

	put_auth(".docker/config.json", "h.example", "file:" SECRET);
	CHECK(finds("h.example", "a", "file:" SECRET));
	CHECK(finds_with(&o, "h.example", "a", "me:mine"));
	o.registry_token = "tok";
	CHECK(finds_with(&o, "h.example", "a", "registry tok"));
	o.no_creds = true;
	CHECK(finds_with(&o, "h.example", "a", "none"));
}

static void creds_are_parted_at_the_first_colon(void)
{
	struct credentials_options o = { .creds = "me:a:b" };

	CHECK(finds_with(&o, "h.example", "a", "me:a:b"));
	o.creds = "me:";
	CHECK(finds_with(&o, "h.example", "a", "me:"));
	o.creds = ":" SECRET;
	CHECK(fails_with(&o, "h.example", "no user"));
}

/* ---- the terminal ---- */

struct terminal {
	int master, slave;
	pid_t pid;
	char said[4096];
	size_t len;
};

/* A process whose terminal is a new one; it asks, and ends by 0 when it got what was typed. */
static void ask_on(struct terminal *t)
{
	const struct credentials_options o = { .creds = "me" };
	struct termios now;
	CLEANUP_FREE char *got = NULL;

	setsid();
	if (t->slave >= 0)
		ioctl(t->slave, TIOCSCTTY, 0);
	got = found_for(&o, "h.example", "a");
	if (t->slave < 0)
		_exit(strstr(got, "the password of me is missing, and there is no terminal") ? 0
											     : 1);
	if (tcgetattr(t->slave, &now) < 0 || !(now.c_lflag & ECHO))
		_exit(2);
	_exit(strcmp(got, "me:" SECRET) == 0 ? 0 : 1);
}

static void start_asking(struct terminal *t)
{
	fflush(stdout);
	t->pid = fork();
	if (t->pid == 0)
		ask_on(t);
}

/* Read on until it has said that, 30 s at most. */
static bool wait_until_said(struct terminal *t, const char *words)
{
	while (!strstr(t->said, words)) {
		struct pollfd p = { .fd = t->master, .events = POLLIN };
		ssize_t n;

		if (t->len + 1 == sizeof(t->said) || poll(&p, 1, 30000) != 1)
			return false;
		n = read(t->master, t->said + t->len, sizeof(t->said) - 1 - t->len);
		if (n <= 0)
			return false;
		t->len += (size_t)n;
	}
	return true;
}

static bool echoes(const struct terminal *t)
{
	struct termios now;

	return tcgetattr(t->slave, &now) == 0 && (now.c_lflag & ECHO);
}

static int end_of(struct terminal *t)
{
	int status = -1;

	waitpid(t->pid, &status, 0);
	close(t->master);
	close(t->slave);
	return status;
}

static void a_missing_password_is_asked_for_and_not_shown(void)
{
	struct terminal t = { 0 };

	CHECK(openpty(&t.master, &t.slave, NULL, NULL, NULL) == 0);
	CHECK(echoes(&t));
	start_asking(&t);
	CHECK(wait_until_said(&t, "Password of me: "));
	CHECK(!echoes(&t));
	CHECK(write(t.master, SECRET "\n", strlen(SECRET) + 1) == (ssize_t)strlen(SECRET) + 1);
	CHECK(wait_until_said(&t, ": \r\n"));
	CHECK(!strstr(t.said, "hunter"));
	CHECK_U64((uint64_t)end_of(&t), 0);
}

static void an_interrupt_leaves_the_terminal_as_it_was(void)
{
	struct terminal t = { 0 };
	int status;

	CHECK(openpty(&t.master, &t.slave, NULL, NULL, NULL) == 0);
	start_asking(&t);
	CHECK(wait_until_said(&t, "Password of me: "));
	CHECK(!echoes(&t));
	CHECK(write(t.master, "\003", 1) == 1);
	CHECK(waitpid(t.pid, &status, 0) == t.pid);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGINT);
	CHECK(echoes(&t));
	close(t.master);
	close(t.slave);
}

static void without_a_terminal_the_missing_password_is_an_error(void)
{
	struct terminal t = { .master = -1, .slave = -1 };
	int status = -1;

	start_asking(&t);
	CHECK(waitpid(t.pid, &status, 0) == t.pid);
	CHECK_U64((uint64_t)status, 0);
}

/* ---- places ---- */

static void the_usual_places_are_read_in_their_order(void)
{
	CLEANUP_FREE char *docker = xasprintf("%s/d", home), *run = xasprintf("%s/run", home);
	CLEANUP_FREE char *config = xasprintf("%s/xdg", home);

	put_auth(".docker/config.json", "h.example", "a:1");
	CHECK(finds("h.example", "a", "a:1"));
	put_auth("d/config.json", "h.example", "b:2");
	setenv("DOCKER_CONFIG", docker, 1);
	CHECK(finds("h.example", "a", "b:2"));
	put_auth(".config/containers/auth.json", "h.example", "c:3");
	CHECK(finds("h.example", "a", "c:3"));
	put_auth("xdg/containers/auth.json", "h.example", "d:4");
	setenv("XDG_CONFIG_HOME", config, 1);
	CHECK(finds("h.example", "a", "d:4"));
	put_auth("run/containers/auth.json", "h.example", "e:5");
	setenv("XDG_RUNTIME_DIR", run, 1);
	CHECK(finds("h.example", "a", "e:5"));
	put_auth("run/containers/auth.json", "other.example", "e:5");
	CHECK(finds("h.example", "a", "d:4"));
	CHECK(finds("other.example", "a", "e:5"));
	setenv("XDG_CONFIG_HOME", "", 1);
	CHECK(finds("h.example", "a", "c:3"));
}

static void a_named_file_is_the_only_one(void)
{
	CLEANUP_FREE char *one = NULL, *two = NULL, *text = file_of("h.example", "one:1");
	struct credentials_options o = { 0 };

	put_auth(".docker/config.json", "usual.example", "usual:0");
	one = put("one.json", text);
	two = put("two.json", "{}");
	o.authfile = one;
	CHECK(finds_with(&o, "h.example", "a", "one:1"));
	CHECK(finds_with(&o, "usual.example", "a", "none"));
	setenv("REGISTRY_AUTH_FILE", two, 1);
	CHECK(finds("usual.example", "a", "none"));
	CHECK(finds_with(&o, "h.example", "a", "one:1"));
	setenv("REGISTRY_AUTH_FILE", "", 1);
	CHECK(finds("usual.example", "a", "usual:0"));
}

static void a_named_file_must_be_there(void)
{
	struct credentials_options o = { .authfile = "/nonexistent/auth.json" };

	CHECK(fails_with(&o, "h.example", "/nonexistent/auth.json: cannot open it: No such file"));
	setenv("REGISTRY_AUTH_FILE", "/nonexistent/env.json", 1);
	CHECK(fails("h.example", "/nonexistent/env.json: cannot open it: No such file"));
}

static void an_unreadable_usual_place_is_passed_over(void)
{
	put_and_forget(".config/containers/auth.json/x", ""); /* a directory */
	put_auth(".docker/config.json", "h.example", "a:1");
	log_set_level(LOG_QUIET);
	CHECK(finds("h.example", "a", "a:1"));
	log_set_level(LOG_NORMAL);
}

static void a_file_in_the_way_of_a_directory_is_no_file(void)
{
	put_and_forget(".config", "");
	put_auth(".docker/config.json", "h.example", "a:1");
	CHECK(finds("h.example", "a", "a:1"));
}

static void an_empty_file_says_nothing(void)
{
	struct credentials_options o = { .authfile = "/dev/null" };

	put_auth(".docker/config.json", "h.example", "a:1");
	CHECK(finds_with(&o, "h.example", "a", "none"));
}

static void a_file_of_more_than_a_mebibyte_is_refused(void)
{
	CLEANUP_FREE char *text = xzalloc((1 << 20) + 2);

	memset(text, ' ', (1 << 20) + 1);
	put_and_forget(".docker/config.json", text);
	CHECK(fails("h.example", "more than 1 MiB"));
	memcpy(text, "{}", 2);
	text[1 << 20] = '\0';
	put_and_forget(".docker/config.json", text);
	CHECK(finds("h.example", "a", "none"));
}

/* ---- keys ---- */

static void the_longest_namespace_counts(void)
{
	CLEANUP_FREE char *a = entry("h.example", "host:1"), *b = entry("h.example/team", "team:2");
	CLEANUP_FREE char *c = entry("h.example/team/app", "app:3");
	CLEANUP_FREE char *d = entry("h.example/team/ap", "ap:4"),
			  *e = entry("h.example:1", "port:5");
	CLEANUP_FREE char *text = xasprintf("{\"auths\": {%s, %s, %s, %s, %s}}", c, a, e, b, d);

	put_and_forget(".docker/config.json", text);
	CHECK(finds("h.example", "team/app", "app:3"));
	CHECK(finds("h.example", "team/app/deep", "app:3"));
	CHECK(finds("h.example", "team/apple", "team:2"));
	CHECK(finds("h.example", "teams", "host:1"));
	CHECK(finds("h.example:1", "team/app", "port:5"));
	CHECK(finds("h.example:2", "team/app", "none"));
	CHECK(finds("example", "team/app", "none"));
}

static void keys_may_be_urls(void)
{
	static const char *const keys[] = { "https://h.example", "http://h.example",
		"https://h.example/v1/", "https://h.example/v2/", "https://h.example/any",
		"h.example/v1/", "h.example/", "h.example" };

	for (size_t i = 0; i < sizeof(keys) / sizeof(*keys); i++) {
		put_auth(".docker/config.json", keys[i], "a:1");
		CHECK(finds("h.example", "team/app", "a:1"));
		CHECK(finds("h.example.org", "team/app", "none"));
		CHECK(finds("x.h.example", "team/app", "none"));
	}
	put_auth(".docker/config.json", "ftp://h.example", "a:1");
	CHECK(finds("h.example", "team/app", "none"));
}

static void a_plain_key_goes_before_a_url(void)
{
	CLEANUP_FREE char *a = entry("https://h.example/v1/", "url:1");
	CLEANUP_FREE char *b = entry("h.example", "plain:2");
	CLEANUP_FREE char *c = entry("http://h.example", "url:3");
	CLEANUP_FREE char *text = xasprintf("{\"auths\": {%s, %s, %s}}", a, b, c);

	put_and_forget(".docker/config.json", text);
	CHECK(finds("h.example", "a", "plain:2"));
}

static void dockers_registry_has_several_names(void)
{
	static const char *const keys[] = { "docker.io", "https://index.docker.io/v1/",
		"index.docker.io", "registry-1.docker.io", "docker.io/library",
		"index.docker.io/library" };

	for (size_t i = 0; i < sizeof(keys) / sizeof(*keys); i++) {
		put_auth(".docker/config.json", keys[i], "a:1");
		CHECK(finds("docker.io", "library/debian", "a:1"));
	}
	put_auth(".docker/config.json", "hub.docker.io", "a:1");
	CHECK(finds("docker.io", "library/debian", "none"));
}

/* ---- values ---- */

static void put_entry(const char *json)
{
	CLEANUP_FREE char *text = xasprintf("{\"auths\": {\"h.example\": %s}}", json);

	put_and_forget(".docker/config.json", text);
}

static void an_entry_is_user_and_password_or_a_token(void)
{
	put_entry("{\"username\": \"u\", \"password\": \"p\"}");
	CHECK(finds("h.example", "a", "u:p"));
	put_entry("{\"auth\": \"dTpwOnE=\", \"username\": \"x\", \"password\": null}");
	CHECK(finds("h.example", "a", "u:p:q"));
	put_entry("{\"auth\": \"dTo=\"}");
	CHECK(finds("h.example", "a", "u:"));
	put_entry("{\"auth\": \"dTpw\\nOnE=\\r\\n\"}");
	CHECK(finds("h.example", "a", "u:p:q"));
	put_entry("{\"auth\": \"dTpwAAA=\"}"); /* "u:p" and two NULs, as Docker pads */
	CHECK(finds("h.example", "a", "u:p"));
	put_entry("{\"auth\": \"MDow\", \"identitytoken\": \"idt\"}");
	CHECK(finds("h.example", "a", "identity idt"));
	put_entry("{\"auth\": \"MDow\", \"registrytoken\": \"rt\", \"identitytoken\": \"idt\"}");
	CHECK(finds("h.example", "a", "registry rt"));
}

static void an_empty_entry_is_none(void)
{
	CLEANUP_FREE char *a = entry("h.example", "host:1");
	CLEANUP_FREE char *text =
		xasprintf("{\"auths\": {%s, \"h.example/team\": {}, \"h.example/x\": null}}", a);

	put_and_forget(".docker/config.json", text);
	CHECK(finds("h.example", "team/app", "host:1"));
	CHECK(finds("h.example", "x", "host:1"));
	put_entry("{\"auth\": \"\"}");
	CHECK(finds("h.example", "a", "none"));
	put_entry("{\"email\": \"me@example\"}");
	CHECK(finds("h.example", "a", "none"));
}

static void a_malformed_auth_is_an_error_that_does_not_show_it(void)
{
	CLEANUP_FREE char *plain = auth_of(SECRET), *no_user = auth_of(":" SECRET);
	static const char *const bad[] = { "aHVudGVyMg",
		"aHVudGVyMg=", "aHVudGVyMg===", "aHVudGVya===", "aHVu dGVy", "aHVudGVyMg==aHVu",
		"=aHVudGVyMg=", "aHVud*==", " aHVu", "aHVu\\u0009", "====", "aHVudGVyMg==\\u00e4",
		"aHVu_-==" };
	CLEANUP_FREE char *one = xasprintf("{\"auth\": \"%s\"}", plain);
	CLEANUP_FREE char *two = xasprintf("{\"auth\": \"%s\"}", no_user);

	put_entry(one);
	CHECK(fails("h.example", ".docker/config.json: \"auths\": \"h.example\": \"auth\" is not "
				 "USER:PASSWORD in base64: no colon"));
	put_entry(two);
	CHECK(fails("h.example", "no user"));
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		CLEANUP_FREE char *three = xasprintf("{\"auth\": \"%s\"}", bad[i]);

		put_entry(three);
		CHECK(fails("h.example", "\"h.example\": \"auth\" is not base64"));
		CHECK(finds("other.example", "a", "none"));
	}
	put_entry("{\"auth\": \"dTpwAHA=\"}");
	CHECK(fails("h.example", "NUL"));
}

static void a_malformed_file_is_an_error_with_its_place(void)
{
	static const struct {
		const char *text, *words;
	} bad[] = {
		{ "{\"auths\": {\"h.example\": {\"auth\": \"aHVudGVy\"} \"aHVudGVy\"",
			".docker/config.json: not valid JSON (line 1, column" },
		{ "\n\n aHVudGVy", "(line 3, column" },
		{ "[\"aHVudGVy\"]", "not a JSON object" },
		{ "{\"auths\": [\"aHVudGVy\"]}", "\"auths\" is not an object" },
		{ "{\"auths\": {\"h.example\": \"aHVudGVy\"}}", "\"h.example\": not an object" },
		{ "{\"auths\": {\"h.example\": {\"auth\": 1}}}", "\"auth\" is not a string" },
		{ "{\"credHelpers\": {\"h.example\": 1}}", "\"credHelpers\" holds" },
		{ "{\"credHelpers\": \"x\"}", "\"credHelpers\" is not an object" },
		{ "{\"credsStore\": {}}", "\"credsStore\" is not a string" },
		{ "{\"auths\": {\"h.example\": {\"auth\": \"aHVudGVy\\u0000\"}}}",
			"not valid JSON" },
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		put_and_forget(".docker/config.json", bad[i].text);
		CHECK(fails("h.example", bad[i].words));
	}
}

/* ---- helpers ---- */

#define GIVES(user, secret)                                               \
	"cat >/dev/null; echo '{\"ServerURL\":\"x\",\"Username\":\"" user \
	"\",\"Secret\":\"" secret "\"}'"

static void a_helper_is_asked_for_the_registry(void)
{
	CLEANUP_FREE char *script = xasprintf("[ \"$1 $#\" = 'get 1' ] || exit 9\n"
					      "echo \"{\\\"Username\\\":\\\"u\\\",\\\"Secret\\\":"
					      "\\\"for $(cat)\\\"}\"");

	put_helper("test", script);
	put_and_forget(".docker/config.json", "{\"credHelpers\": {\"h.example:5000\": \"test\"}}");
	CHECK(finds("h.example:5000", "team/app", "u:for h.example:5000"));
	CHECK(finds("h.example", "team/app", "none"));
	put_and_forget(".docker/config.json", "{\"credsStore\": \"test\"}");
	CHECK(finds("any.example", "team/app", "u:for any.example"));
}

static void a_helper_may_give_an_identity_token(void)
{
	put_helper("test", GIVES("<token>", SECRET));
	put_and_forget(".docker/config.json", "{\"credsStore\": \"test\"}");
	CHECK(finds("h.example", "a", "identity " SECRET));
}

static void helpers_go_before_auths_and_the_store_behind(void)
{
	CLEANUP_FREE char *a = entry("a.example", "a:file"), *b = entry("b.example", "b:file");
	CLEANUP_FREE char *text = xasprintf(
		"{\"credHelpers\": {\"https://a.example\": \"one\", \"c.example\": \"none\", "
		"\"d.example\": \"\"}, \"auths\": {%s, %s}, \"credsStore\": \"two\"}",
		a, b);

	put_helper("one", GIVES("one", "1"));
	put_helper("two", GIVES("two", "2"));
	put_helper("none", "echo 'credentials not found in native keychain'; exit 1");
	put_and_forget(".docker/config.json", text);
	CHECK(finds("a.example", "x", "one:1"));
	CHECK(finds("b.example", "x", "b:file"));
	CHECK(finds("c.example", "x", "none"));
	CHECK(finds("d.example", "x", "none"));
	CHECK(finds("e.example", "x", "two:2"));
}

static void where_a_helper_has_none_the_search_goes_on(void)
{
	put_helper("none", "echo 'credentials not found in native keychain'; exit 1");
	put_helper("empty", GIVES("", ""));
	put_auth(".docker/config.json", "h.example", "a:1");
	put_and_forget(".config/containers/auth.json", "{\"credsStore\": \"none\"}");
	CHECK(finds("h.example", "a", "a:1"));
	put_and_forget(".config/containers/auth.json", "{\"credsStore\": \"empty\"}");
	CHECK(finds("h.example", "a", "a:1"));
}

static void a_helper_is_asked_for_docker_io_by_both_names(void)
{
	put_helper("test",
		"read -r server; if [ \"$server\" = \"$WANT\" ]; then echo "
		"'{\"Username\":\"u\",\"Secret\":\"p\"}'; else echo credentials not found; "
		"exit 1; fi");
	put_and_forget(".docker/config.json", "{\"credsStore\": \"test\"}");
	setenv("WANT", "docker.io", 1);
	CHECK(finds("docker.io", "library/debian", "u:p"));
	setenv("WANT", "https://index.docker.io/v1/", 1);
	CHECK(finds("docker.io", "library/debian", "u:p"));
	put_and_forget(".docker/config.json",
		"{\"credHelpers\": {\"https://index.docker.io/v1/\": \"test\"}}");
	CHECK(finds("docker.io", "library/debian", "u:p"));
	setenv("WANT", "index.docker.io", 1);
	CHECK(finds("docker.io", "library/debian", "none"));
	unsetenv("WANT");
}

static void what_a_failing_helper_prints_is_not_shown(void)
{
	static const struct {
		const char *script, *words;
	} bad[] = {
		{ "echo " SECRET "; exit 3",
			"docker-credential-test: it failed with exit status 3" },
		{ "echo " SECRET "; kill -9 $$", "ended by signal 9" },
		{ "echo " SECRET, "its answer is not JSON" },
		{ "echo '{\"Username\":\"u\",\"secret\":\"" SECRET "\"}'",
			"its answer is not JSON" },
		{ "echo '{\"Username\":7,\"Secret\":\"" SECRET "\"}'", "its answer is not JSON" },
		{ "echo '[\"" SECRET "\"]'", "its answer is not JSON" },
		{ "exit 0", "its answer is not JSON" },
		{ "head -c 70000 /dev/zero; exec sleep 60", "more than 64 KiB" },
	};

	put_and_forget(".docker/config.json", "{\"credsStore\": \"test\"}");
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		put_helper("test", bad[i].script);
		CHECK(fails("h.example", bad[i].words));
	}
}

static void a_helper_that_is_not_there_or_badly_named_is_an_error(void)
{
	put_and_forget(".docker/config.json", "{\"credsStore\": \"absent\"}");
	CHECK(fails(
		"h.example", "docker-credential-absent: cannot run this program: No such file"));
	put_and_forget(".docker/config.json", "{\"credsStore\": \"a/../../b\"}");
	CHECK(fails("h.example", "name of a credential helper"));
	put_and_forget(".docker/config.json", "{\"credHelpers\": {\"h.example\": \"a b;c\"}}");
	CHECK(fails("h.example", "name of a credential helper"));
}

static void a_helpers_errors_are_seen_with_debug_only(void)
{
	CLEANUP_FREE char *path = xasprintf("%s/stderr", home);

	put_helper("test", "echo noise >&2; " GIVES("u", "p"));
	put_and_forget(".docker/config.json", "{\"credsStore\": \"test\"}");
	for (int debug = 0; debug < 2; debug++) {
		int before = dup(2), fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
		CLEANUP_FREE char *text = NULL;

		dup2(fd, 2);
		log_set_level(debug ? LOG_DEBUG : LOG_NORMAL);
		CHECK(finds("h.example", "a", "u:p"));
		log_set_level(LOG_NORMAL);
		dup2(before, 2);
		close(before);
		close(fd);
		text = read_file(path);
		CHECK((strstr(text, "noise") != NULL) == (debug == 1));
		CHECK(!strstr(text, "Secret"));
	}
}

static bool is_alive(const char *pid_file)
{
	CLEANUP_FREE char *text = read_file(pid_file);
	pid_t pid = text ? (pid_t)atoi(text) : 0;

	/* A killed process that nobody has waited for yet is a zombie: no state of ours. */
	CLEANUP_FREE char *stat = xasprintf("/proc/%d/stat", pid), *line = read_file(stat);

	return !pid || (line && !strstr(line, ") Z "));
}

static int asked(struct credentials *c, unsigned seconds, struct error **err)
{
	const struct helper_query q = { .name = "test", .server = "h.example", .seconds = seconds };

	return helper_program_get(c, &q, err);
}

static void a_helper_that_hangs_is_ended_with_what_it_started(void)
{
	CLEANUP_FREE char *pid = xasprintf("%s/pid", home);
	CLEANUP_FREE char *script = xasprintf("sleep 300 &\necho $! >%s\nwait", pid);
	CLEANUP_CREDENTIALS struct credentials c;
	CLEANUP_ERROR struct error *err = NULL;
	time_t before = time(NULL);

	put_helper("test", script);
	CHECK(asked(&c, 2, &err) < 0);
	CHECK(err && strstr(err->msg, "docker-credential-test: no answer within 2 s"));
	CHECK(time(NULL) - before < 60);
	for (int i = 0; i < 1200 && is_alive(pid); i++)
		poll(NULL, 0, 50);
	CHECK(!is_alive(pid));
}

static void a_helper_that_closes_its_output_and_stays_is_ended(void)
{
	CLEANUP_CREDENTIALS struct credentials c;
	CLEANUP_ERROR struct error *err = NULL;

	put_helper("test", "exec >&-; exec sleep 300");
	CHECK(asked(&c, 1, &err) < 0);
	CHECK(err && strstr(err->msg, "no answer within 1 s"));
}

/* ---- for somebody else ---- */

static const struct caller somebody = { .uid = 4711, .gid = 4712 };

static struct credentials_options for_somebody(const char *authfile)
{
	return (struct credentials_options){ .authfile = authfile, .caller = &somebody };
}

static void nothing_usual_is_read_for_somebody_else(void)
{
	const struct credentials_options o = for_somebody(NULL);

	put_auth(".docker/config.json", "h.example", "mine:" SECRET);
	put_auth("named.json", "h.example", "named:" SECRET);
	CLEANUP_FREE char *named = xasprintf("%s/named.json", home);

	setenv("REGISTRY_AUTH_FILE", named, 1);
	CHECK(finds_with(&o, "h.example", "a", "none"));
	unsetenv("REGISTRY_AUTH_FILE");
}

static void a_file_is_read_with_the_rights_of_who_names_it(void)
{
	CLEANUP_FREE char *path = NULL, *error = NULL;
	CLEANUP_FREE char *text = file_of("h.example", "user:" SECRET);

	path = put("auth.json", text);
	error = xasprintf(
		"error: credentials for h.example: %s: cannot open it: Permission denied", path);

	const struct credentials_options o = for_somebody(path);

	CHECK(chmod(home, 0755) == 0);
	CHECK(chmod(path, 0600) == 0);
	CHECK(finds_with(&o, "h.example", "a", error));
	CHECK(chown(path, somebody.uid, 0) == 0);
	CHECK(finds_with(&o, "h.example", "a", "user:" SECRET));
}

static void a_pipe_does_not_hold_up_who_reads_for_somebody_else(void)
{
	CLEANUP_FREE char *path = xasprintf("%s/fifo", home);
	CLEANUP_FREE char *error =
		xasprintf("error: credentials for h.example: %s: not a regular file", path);
	const struct credentials_options o = for_somebody(path);

	CHECK(chmod(home, 0755) == 0);
	CHECK(mkfifo(path, 0666) == 0);
	CHECK(chmod(path, 0666) == 0);
	CHECK(finds_with(&o, "h.example", "a", error));
}

static void a_helper_has_the_rights_of_who_names_it(void)
{
	CLEANUP_FREE char *path = put("auth.json", "{\"credsStore\": \"test\"}");
	const struct credentials_options o = for_somebody(path);

	CHECK(chmod(home, 0755) == 0);
	CHECK(chmod(path, 0644) == 0);
	CLEANUP_FREE char *bin = xasprintf("%s/bin", home);

	put_helper("test", "printf '{\"Username\":\"%s:%s:%s\",\"Secret\":\"%s\"}' \"$(id -u)\" "
			   "\"$(id -g)\" \"$(id -G)\" \"$REGISTRY_AUTH_FILE$HOME$PWD\"");
	CHECK(chmod(bin, 0755) == 0);
	setenv("REGISTRY_AUTH_FILE", "/mine", 1);
	CHECK(finds_with(&o, "h.example", "a", "4711:4712:4712:/"));
	unsetenv("REGISTRY_AUTH_FILE");
}

static void a_helper_that_somebody_else_may_not_run_is_an_error(void)
{
	CLEANUP_FREE char *path = put("auth.json", "{\"credsStore\": \"nowhere\"}"), *got = NULL;
	const struct credentials_options o = for_somebody(path);

	CHECK(chmod(home, 0755) == 0);
	CHECK(chmod(path, 0644) == 0);
	got = found_for(&o, "h.example", "a");
	CHECK(strstr(got, "docker-credential-nowhere: cannot run this program: ") != NULL);
}

/* A process that waits for a helper is killed: so is the helper, at once or by its alarm. */
static bool helper_ends(const struct caller *caller, unsigned seconds)
{
	CLEANUP_FREE char *pid_file = xasprintf("%s/pids/pid", home), *bin = NULL;
	CLEANUP_FREE char *script = xasprintf("echo $$ >%s; exec sleep 300", pid_file);
	const struct helper_query q = {
		.name = "test", .server = "h.example", .seconds = seconds, .caller = caller
	};
	CLEANUP_FREE char *pids = xasprintf("%s/pids", home), *text = NULL;
	struct credentials c;
	struct error *err = NULL;
	pid_t waiting;

	bin = xasprintf("%s/bin", home);
	put_helper("test", script);
	CHECK(mkdir(pids, 0777) == 0 && chmod(pids, 0777) == 0 && chmod(home, 0755) == 0 &&
		chmod(bin, 0755) == 0);
	waiting = fork();
	if (waiting == 0)
		_exit(helper_program_get(&c, &q, &err) == 0);
	for (int i = 0; i < 1200; i++) {
		CLEANUP_FREE char *now = access(pid_file, R_OK) ? NULL : read_file(pid_file);

		if (now && strchr(now, '\n'))
			break;
		poll(NULL, 0, 50);
	}
	kill(waiting, SIGKILL);
	waitpid(waiting, NULL, 0);
	for (int i = 0; i < 1200 && is_alive(pid_file); i++)
		poll(NULL, 0, 50);
	if (!is_alive(pid_file))
		return true;
	text = read_file(pid_file);
	if (text && atoi(text) > 1)
		kill(atoi(text), SIGKILL); /* nothing of a test stays */
	return false;
}

static void a_helper_does_not_outlive_who_waits_for_it(void)
{
	CHECK(helper_ends(NULL, 300));
}

static void somebody_elses_helper_does_not_either(void)
{
	CHECK(helper_ends(&somebody, 300));
}

static void without_the_right_to_kill_it_ends_somewhat_later(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct had[2], less[2];

	CHECK(syscall(SYS_capget, &header, had) == 0);
	memcpy(less, had, sizeof(less));
	less[0].effective &= ~(1U << CAP_KILL);
	CHECK(syscall(SYS_capset, &header, less) == 0);
	CHECK(helper_ends(&somebody, 3));
	CHECK(syscall(SYS_capset, &header, had) == 0);
}

/* ---- wiping ---- */

#ifndef SANITIZERS
static bool watching;
static unsigned left_behind;

void __libc_free(void *p);

/* Every block that is given back is searched, and then wiped: the next owner's is its own. */
void free(void *p)
{
	size_t n = p ? malloc_usable_size(p) : 0;

	if (watching && n)
		left_behind += memmem(p, n, SECRET, strlen(SECRET)) != NULL ||
			       memmem(p, n, "aHVudGVyMmh1bnRlcjI", 19) != NULL ||
			       memmem(p, n, "odW50ZXIyaHVudGVyMg", 19) != NULL;
	if (n)
		explicit_bzero(p, n);
	__libc_free(p);
}

/* jansson's own leavings are known, and not ours to judge here. */
static void wiping_free(void *p)
{
	if (p)
		explicit_bzero(p, malloc_usable_size(p));
	__libc_free(p);
}

static unsigned leavings(const struct credentials_options *o)
{
	CLEANUP_ERROR struct error *err = NULL;
	struct credentials c;

	left_behind = 0;
	watching = true;
	if (credentials_find(&c, o, "h.example", "a", &err) == 0) {
		CHECK(c.user || c.identity_token || c.registry_token);
		credentials_free(&c);
	} else {
		CHECK(err && strstr(err->msg, "no colon"));
	}
	watching = false;
	return left_behind;
}

static void the_watch_itself_works(void)
{
	char *volatile p = xstrdup("x" SECRET);

	left_behind = 0;
	watching = true;
	free(p);
	p = xstrdup("x" SECRET);
	wipe_free(p);
	watching = false;
	CHECK_U64(left_behind, 1);
}

static void no_memory_that_held_a_secret_is_given_back(void)
{
	struct credentials_options o = { .creds = "u:" SECRET };
	CLEANUP_FREE char *colonless = auth_of(SECRET);
	CLEANUP_FREE char *bad = xasprintf("{\"auth\": \"%s\"}", colonless);

	json_set_alloc_funcs(malloc, wiping_free);
	CHECK_U64(leavings(&o), 0);
	o = (struct credentials_options){ .registry_token = SECRET };
	CHECK_U64(leavings(&o), 0);
	o = (struct credentials_options){ 0 };
	put_auth(".docker/config.json", "h.example", "u:" SECRET);
	CHECK_U64(leavings(&o), 0);
	put_entry("{\"identitytoken\": \"" SECRET "\"}");
	CHECK_U64(leavings(&o), 0);
	put_entry(bad);
	CHECK_U64(leavings(&o), 0);
	put_helper("test", GIVES("u", SECRET));
	put_and_forget(".docker/config.json", "{\"credsStore\": \"test\"}");
	CHECK_U64(leavings(&o), 0);
	json_set_alloc_funcs(malloc, free);
}

static void json_values_are_wiped_although_their_owner_is_not_ours(void)
{
	put_entry("{\"identitytoken\": \"" SECRET "\"}");
	/* the lexer's buffer, and no more */
	CHECK(leavings(&(struct credentials_options){ 0 }) <= 1);
}
#endif

#define RUN_AT_HOME(test)    \
	do {                 \
		set_home();  \
		RUN(test);   \
		drop_home(); \
	} while (0)

#define RUN_AS_ROOT(test)                                   \
	do {                                                \
		set_home();                                 \
		RUN_IF(geteuid() == 0, test, "needs root"); \
		drop_home();                                \
	} while (0)

int main(void)
{
	RUN_AT_HOME(without_any_source_we_are_anonymous);
	RUN_AT_HOME(options_go_before_files);
	RUN_AT_HOME(creds_are_parted_at_the_first_colon);
	RUN_AT_HOME(a_missing_password_is_asked_for_and_not_shown);
	RUN_AT_HOME(an_interrupt_leaves_the_terminal_as_it_was);
	RUN_AT_HOME(without_a_terminal_the_missing_password_is_an_error);
	RUN_AT_HOME(the_usual_places_are_read_in_their_order);
	RUN_AT_HOME(a_named_file_is_the_only_one);
	RUN_AT_HOME(a_named_file_must_be_there);
	RUN_AT_HOME(an_unreadable_usual_place_is_passed_over);
	RUN_AT_HOME(a_file_in_the_way_of_a_directory_is_no_file);
	RUN_AT_HOME(an_empty_file_says_nothing);
	RUN_AT_HOME(a_file_of_more_than_a_mebibyte_is_refused);
	RUN_AT_HOME(the_longest_namespace_counts);
	RUN_AT_HOME(keys_may_be_urls);
	RUN_AT_HOME(a_plain_key_goes_before_a_url);
	RUN_AT_HOME(dockers_registry_has_several_names);
	RUN_AT_HOME(an_entry_is_user_and_password_or_a_token);
	RUN_AT_HOME(an_empty_entry_is_none);
	RUN_AT_HOME(a_malformed_auth_is_an_error_that_does_not_show_it);
	RUN_AT_HOME(a_malformed_file_is_an_error_with_its_place);
	RUN_AT_HOME(a_helper_is_asked_for_the_registry);
	RUN_AT_HOME(a_helper_may_give_an_identity_token);
	RUN_AT_HOME(helpers_go_before_auths_and_the_store_behind);
	RUN_AT_HOME(where_a_helper_has_none_the_search_goes_on);
	RUN_AT_HOME(a_helper_is_asked_for_docker_io_by_both_names);
	RUN_AT_HOME(what_a_failing_helper_prints_is_not_shown);
	RUN_AT_HOME(a_helper_that_is_not_there_or_badly_named_is_an_error);
	RUN_AT_HOME(a_helpers_errors_are_seen_with_debug_only);
	RUN_AT_HOME(a_helper_that_hangs_is_ended_with_what_it_started);
	RUN_AT_HOME(a_helper_that_closes_its_output_and_stays_is_ended);
	RUN_AT_HOME(nothing_usual_is_read_for_somebody_else);
	RUN_AS_ROOT(a_file_is_read_with_the_rights_of_who_names_it);
	RUN_AS_ROOT(a_pipe_does_not_hold_up_who_reads_for_somebody_else);
	RUN_AS_ROOT(a_helper_has_the_rights_of_who_names_it);
	RUN_AS_ROOT(a_helper_that_somebody_else_may_not_run_is_an_error);
	RUN_AT_HOME(a_helper_does_not_outlive_who_waits_for_it);
	RUN_AS_ROOT(somebody_elses_helper_does_not_either);
	RUN_AS_ROOT(without_the_right_to_kill_it_ends_somewhat_later);
#ifndef SANITIZERS
	RUN_AT_HOME(the_watch_itself_works);
	RUN_AT_HOME(no_memory_that_held_a_secret_is_given_back);
	RUN_AT_HOME(json_values_are_wiped_although_their_owner_is_not_ours);
#endif
	return tap_done();
}
