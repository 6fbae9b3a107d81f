// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/serve/control/control_message.h"

#include "lib/base/mem.h"
#include "lib/registry/secret.h"
#define FAKE_NAMES_ONLY
#include "tests/unit/fake_service.h"
#include "tests/unit/tap.h"

#define IMAGE	 "\"image\": \"docker://h.example/a:1\""
#define PLACE	 "\"mountpoint\": \"/mnt\""
#define MOUNT(x) "{\"version\": 1, \"verb\": \"mount\", " IMAGE ", " PLACE x "}\n"

static bool parses(struct control_request *r, const char *line)
{
	CLEANUP_ERROR struct error *err = NULL;

	if (control_request_parse(r, line, strlen(line), &err) == 0)
		return true;
	printf("# %s: %s\n", line, err->msg);
	return false;
}

/* Is the line refused, in words that have `why`? */
static bool refused(const char *line, const char *why)
{
	CLEANUP_CONTROL_REQUEST struct control_request r;
	CLEANUP_ERROR struct error *err = NULL;

	if (control_request_parse(&r, line, strlen(line), &err) == 0)
		return false;
	CHECK(!r.json);
	if (strstr(err->msg, why))
		return true;
	printf("# %s\n", err->msg);
	return false;
}

static void verbs_without_members_are_read(void)
{
	CLEANUP_CONTROL_REQUEST struct control_request ping, status, reap;

	CHECK(parses(&ping, "{\"version\": 1, \"verb\": \"ping\"}\n"));
	CHECK_U64(ping.verb, CONTROL_PING);
	CHECK(parses(&status, "{\"verb\": \"status\", \"version\": 1}"));
	CHECK_U64(status.verb, CONTROL_STATUS);
	CHECK(parses(&reap, "{\"version\":1,\"verb\":\"reap\"}\n"));
	CHECK_U64(reap.verb, CONTROL_REAP);
}

static void a_mount_has_defaults(void)
{
	CLEANUP_CONTROL_REQUEST struct control_request r;

	CHECK(parses(&r, MOUNT("")));
	CHECK_STR(r.mount.image, "docker://h.example/a:1");
	CHECK_STR(r.mount.mountpoint, "/mnt");
	CHECK(!r.mount.platform && !r.mount.strict && !r.mount.writable && !r.mount.caller);
	CHECK_U64(r.mount.transport, SERVICE_AUTO);
	CHECK_U64(r.mount.prefetch, SERVICE_PREFETCH_BACKGROUND);
	CHECK(r.mount.registry == &r.registry);
	CHECK(r.registry.tls_verify && !r.registry.plain_http);
	CHECK_U64(r.registry.retries, 3);
}

static void what_is_said_is_read_as_it_was_meant(void)
{
	const struct registry_options options = { .credentials = { .creds = "me:s3:cret",
							  .authfile = "/a/\"b\"/c" },
		.tls_verify = false,
		.plain_http = true,
		.cert_dir = "/certs",
		.retries = 9 };
	const struct control_request said = { .verb = CONTROL_MOUNT,
		.mount = { .image = "oci:/a:b/c:latest",
			.platform = "linux/arm64",
			.registry = &options,
			.transport = SERVICE_FUSE_DEVICE,
			.prefetch = SERVICE_PREFETCH_ALL,
			.strict = true,
			.writable = true,
			.mountpoint = "/mnt/x\ny" } };
	CLEANUP_CONTROL_REQUEST struct control_request r = { 0 };
	CLEANUP_ERROR struct error *err = NULL;
	CLEANUP_WIPE char *line = control_request_format(&said, &err);

	CHECK(line && strchr(line, '\n') == line + strlen(line) - 1);
	CHECK(line && parses(&r, line));
	CHECK_STR(r.mount.image, said.mount.image);
	CHECK_STR(r.mount.platform, "linux/arm64");
	CHECK_STR(r.mount.mountpoint, "/mnt/x\ny");
	CHECK_U64(r.mount.transport, SERVICE_FUSE_DEVICE);
	CHECK_U64(r.mount.prefetch, SERVICE_PREFETCH_ALL);
	CHECK(r.mount.strict && r.mount.writable);
	CHECK_STR(r.registry.credentials.creds, "me:s3:cret");
	CHECK_STR(r.registry.credentials.authfile, "/a/\"b\"/c");
	CHECK_STR(r.registry.cert_dir, "/certs");
	CHECK(!r.registry.tls_verify && r.registry.plain_http);
	CHECK_U64(r.registry.retries, 9);
}

static void what_is_no_request_is_refused(void)
{
	CHECK(refused("", "not a JSON object"));
	CHECK(refused("x", "not a JSON object"));
	CHECK(refused("[1]", "not a JSON object"));
	CHECK(refused("{}", "\"version\" is missing"));
	CHECK(refused("{\"version\": 1}", "\"verb\" is missing"));
	CHECK(refused("{\"version\": 2, \"verb\": \"future\", \"x\": 1}", "version 1"));
	CHECK(refused("{\"version\": \"1\", \"verb\": \"ping\"}", "version 1"));
	CHECK(refused("{\"version\": 1, \"verb\": \"stop\"}", "neither ping, mount"));
	CHECK(refused(
		"{\"version\": 1, \"verb\": \"ping\", \"verb\": \"mount\"}", "not a JSON object"));
	CHECK(refused("{\"version\": 1, \"verb\": \"ping\", \"image\": \"docker://a/b\"}",
		"\"image\" is not known"));
}

static void mounts_are_checked_strictly(void)
{
	CHECK(refused(
		"{\"version\": 1, \"verb\": \"mount\", " IMAGE "}", "\"mountpoint\" is missing"));
	CHECK(refused("{\"version\": 1, \"verb\": \"mount\", " PLACE "}", "\"image\" is missing"));
	CHECK(refused("{\"version\": 1, \"verb\": \"mount\", " PLACE ", \"image\": \"oci:a\"}",
		"neither docker://"));
	CHECK(refused("{\"version\": 1, \"verb\": \"mount\", " IMAGE ", \"mountpoint\": \"mnt\"}",
		"\"mountpoint\": not an absolute path"));
	CHECK(refused(MOUNT(", \"transport\": \"pigeon\""), "\"transport\": no transport"));
	CHECK(refused(MOUNT(", \"prefetch\": true"), "\"prefetch\": neither"));
	CHECK(refused(MOUNT(", \"strict\": 1"), "\"strict\": neither true"));
	CHECK(refused(MOUNT(", \"platform\": \"\""), "\"platform\": not a string"));
	CHECK(refused(MOUNT(", \"extra\": 1"), "\"extra\" is not known"));
	CHECK(refused(MOUNT(", \"e\\u001bx\": 1"), "\"e\\033x\" is not known"));
	CHECK(refused(MOUNT(", \"platform\": \"a\\u0000b\""), "not a JSON object"));
}

#define REGISTRY(x) MOUNT(", \"registry\": {" x "}")

static void registries_options_are_checked_strictly(void)
{
	CHECK(refused(MOUNT(", \"registry\": []"), "\"registry\": not an object"));
	CHECK(refused(REGISTRY("\"insecure\": true"), "\"insecure\" is not known"));
	CHECK(refused(REGISTRY("\"authfile\": \"auth.json\""), "\"authfile\": not an absolute"));
	CHECK(refused(REGISTRY("\"creds\": \"me\""), "\"creds\": not USER:PASS"));
	CHECK(refused(REGISTRY("\"creds\": \":x\""), "\"creds\": not USER:PASS"));
	CHECK(refused(REGISTRY("\"registry-token\": \"a\\r\\nX: y\""), "no token has"));
	CHECK(refused(REGISTRY("\"registry-token\": \"a\", \"no-creds\": true"), "exclude"));
	CHECK(refused(REGISTRY("\"retry-times\": -1"), "0 to 1000"));
	CHECK(refused(REGISTRY("\"retry-times\": 1001"), "0 to 1000"));
	CHECK(refused(REGISTRY("\"retry-times\": 2.5"), "0 to 1000"));
	CHECK(refused(REGISTRY("\"tls-verify\": \"yes\""), "\"tls-verify\": neither"));
}

static void no_error_shows_a_secret(void)
{
	CHECK(refused(REGISTRY("\"creds\": \"hunter2\""), "USER:PASS"));
	CHECK(!refused(REGISTRY("\"creds\": \"hunter2\""), "hunter2"));
	CHECK(!refused(REGISTRY("\"registry-token\": \"hunter2 \""), "hunter2"));
}

static void too_much_is_refused(void)
{
	CLEANUP_FREE char *big = xzalloc(CONTROL_REQUEST_MAX + 2);
	CLEANUP_ERROR struct error *err = NULL;
	const struct control_request said = { .verb = CONTROL_MOUNT,
		.mount = { .image = big, .mountpoint = "/mnt" } };

	memset(big, ' ', CONTROL_REQUEST_MAX + 1);
	CHECK(refused(big, "more than 64 KiB"));
	CHECK(!control_request_format(&said, &err));
	CHECK(err && strstr(err->msg, "more than 64 KiB"));
}

static void a_path_that_is_not_utf_8_is_refused(void)
{
	CLEANUP_ERROR struct error *err = NULL;
	const struct control_request said = { .verb = CONTROL_MOUNT,
		.mount = { .image = "oci:/\xff", .mountpoint = "/mnt" } };

	CHECK(!control_request_format(&said, &err));
	CHECK(err && strstr(err->msg, "not UTF-8"));
}

static void errors_travel_with_their_hints(void)
{
	CLEANUP_ERROR struct error *err = NULL, *other = NULL;

	error_set(&err, 0, "no \xff such \"image\"");
	error_hint(&err, "another");

	json_auto_t *v = control_error(err);
	CLEANUP_FREE char *line = json_dumps(v, 0);

	CHECK(!control_answer_parse(line, strlen(line), &other));
	CHECK_STR(other->msg, "no \\377 such \"image\"");
	CHECK_STR(other->hint, "another");
}

static void a_mounts_answer_comes_through(void)
{
	struct service_answer a = { .id = "0123", .transport = SERVICE_FANOTIFY }, b;
	CLEANUP_ERROR struct error *err = NULL;

	digest_of(&a.manifest, DIGEST_SHA256, "m", 1);
	digest_of(&a.bootstrap, DIGEST_SHA256, "b", 1);

	json_auto_t *v = control_mounted(&a), *less = json_deep_copy(v);

	CHECK(control_mounted_parse(&b, v, &err) == 0);
	CHECK_STR(b.id, "0123");
	CHECK(digest_equal(&a.manifest, &b.manifest) && digest_equal(&a.bootstrap, &b.bootstrap));
	CHECK_U64(b.transport, SERVICE_FANOTIFY);
	CHECK(b.mount == -1);
	json_object_set_new(less, "manifest", json_string("sha256:12"));
	CHECK(control_mounted_parse(&b, less, &err) == -1);
	CHECK(err != NULL);
}

int main(void)
{
	RUN(verbs_without_members_are_read);
	RUN(a_mount_has_defaults);
	RUN(what_is_said_is_read_as_it_was_meant);
	RUN(what_is_no_request_is_refused);
	RUN(mounts_are_checked_strictly);
	RUN(registries_options_are_checked_strictly);
	RUN(no_error_shows_a_secret);
	RUN(too_much_is_refused);
	RUN(a_path_that_is_not_utf_8_is_refused);
	RUN(errors_travel_with_their_hints);
	RUN(a_mounts_answer_comes_through);
	return tap_done();
}
