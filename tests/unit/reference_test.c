// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "fmt/reference.h"

#include "lib/base/cleanup.h"
#include "lib/base/mem.h"
#include "tests/unit/tap.h"

#define BAD	"invalid reference format"
#define HEX32	"0123456789abcdef0123456789abcdef"
#define HEX64	HEX32 HEX32
#define SHA256	"sha256:" HEX64
#define SHA384	"sha384:" HEX64 HEX32
#define SHA512	"sha512:" HEX64 HEX64
#define HEX_CAP "0123456789ABCDEF0123456789abcdef0123456789abcdef0123456789abcdef"
#define A50	"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define A100	A50 A50

static char *part(struct reference_part p)
{
	return p.ptr ? xstrndup(p.ptr, p.len) : xstrdup("-");
}

/* "host prefix path tag digest", with "-" for what is not there, or the fault. */
static char *read_name(const char *text)
{
	struct reference r;
	struct fault fault;

	if (reference_parse(&r, text, &fault) < 0) {
		CHECK(fault.offset <= strlen(text));
		return xstrdup(fault.what);
	}
	CLEANUP_FREE char *host = part(r.host), *prefix = part(r.prefix), *path = part(r.path);
	CLEANUP_FREE char *tag = part(r.tag), *digest = part(r.digest);

	return xasprintf("%s %s %s %s %s", host, prefix, path, tag, digest);
}

struct row {
	const char *text, *want;
};

static void check_rows(const struct row *rows, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		CLEANUP_FREE char *got = read_name(rows[i].text);

		if (!CHECK_STR(got, rows[i].want))
			printf("# of \"%s\"\n", rows[i].text);
	}
}
#define ROWS(...)                                       \
	check_rows((const struct row[]){ __VA_ARGS__ }, \
		sizeof((const struct row[]){ __VA_ARGS__ }) / sizeof(struct row))

static void short_names_mean_docker_io(void)
{
	ROWS({ "debian", "docker.io library/ debian - -" },
		{ "debian:12", "docker.io library/ debian 12 -" },
		{ "debian@" SHA256, "docker.io library/ debian - " SHA256 },
		{ "debian:12@" SHA256, "docker.io library/ debian 12 " SHA256 },
		{ "library/debian", "docker.io - library/debian - -" },
		{ "team/app", "docker.io - team/app - -" },
		{ "team/group/app:1", "docker.io - team/group/app 1 -" },
		{ "docker.io/debian", "docker.io library/ debian - -" },
		{ "docker.io/library/debian", "docker.io - library/debian - -" },
		{ "index.docker.io/debian", "docker.io library/ debian - -" },
		{ "index.docker.io/team/app", "docker.io - team/app - -" },
		{ "registry-1.docker.io/debian", "registry-1.docker.io - debian - -" },
		{ "docker/docker", "docker.io - docker/docker - -" },
		{ "127-0-0-1/app", "docker.io - 127-0-0-1/app - -" },
		{ "app__two", "docker.io library/ app__two - -" },
		{ "a", "docker.io library/ a - -" }, { "0", "docker.io library/ 0 - -" });
}

static void what_could_be_no_part_of_a_name_is_a_host(void)
{
	ROWS({ "localhost/app", "localhost - app - -" },
		{ "localhost", "docker.io library/ localhost - -" },
		{ "localhost:5000/app", "localhost:5000 - app - -" },
		{ "localhost:5000", "docker.io library/ localhost 5000 -" },
		{ "host.example/app", "host.example - app - -" },
		{ "host.example", "docker.io library/ host.example - -" },
		{ "host:8080/app", "host:8080 - app - -" },
		{ "host:8080", "docker.io library/ host 8080 -" }, { "HOST/app", "HOST - app - -" },
		{ "Host.Example/app:Tag", "Host.Example - app Tag -" },
		{ "host/app", "docker.io - host/app - -" },
		{ "127.0.0.1/app", "127.0.0.1 - app - -" },
		{ "127.0.0.1:5000/a/b/c:t", "127.0.0.1:5000 - a/b/c t -" },
		{ "xn--n3h.example/app:v", "xn--n3h.example - app v -" },
		{ "a-b.c-d.example/app", "a-b.c-d.example - app - -" },
		{ "A.B/app", "A.B - app - -" }, { "0.0/app", "0.0 - app - -" },
		{ "localhost/" A50 "/b", "localhost - " A50 "/b - -" });
}

static void ipv6_hosts_stand_in_brackets(void)
{
	ROWS({ "[::1]/app", "[::1] - app - -" }, { "[::1]:5000/app:1", "[::1]:5000 - app 1 -" },
		{ "[2001:db8:1::A]:5000/a/b@" SHA256, "[2001:db8:1::A]:5000 - a/b - " SHA256 },
		{ "[fe80::1%25eth0]/app", BAD }, { "[]/app", BAD }, { "[::1/app", BAD },
		{ "::1]/app", BAD }, { "::1/app", BAD }, { "[::1]x/app", BAD },
		{ "[::1]:/app", BAD }, { "[::1]:x/app", BAD }, { "x[::1]/app", BAD },
		{ "[::g]/app", BAD }, { "[::1]", BAD });
}

static void hosts_have_names_and_a_port(void)
{
	ROWS({ "-host.example/app", BAD }, { "host-.example/app", BAD },
		{ "host..example/app", BAD }, { ".example/app", BAD }, { "host./app", BAD },
		{ "host:/app", BAD }, { ":5000/app", BAD }, { "host:port/app", BAD },
		{ "host:1:2/app", BAD }, { "host.example:-1/app", BAD },
		{ "h\xc3\xb6st.example/app", BAD }, { "user@host.example/app", BAD },
		{ "https://host.example/app", BAD }, { "host_name.example/app", BAD },
		{ "Host_name/app", "repository name must be lowercase" }, { "Host..x/app", BAD },
		{ "Host_name/app:", BAD });
}

static void components_are_words_with_separators(void)
{
	ROWS({ "a.b/c.d_e__f-g--h/i", "a.b - c.d_e__f-g--h/i - -" },
		{ "x/a---b", "docker.io - x/a---b - -" }, { "x/a..b", BAD }, { "x/a___b", BAD },
		{ "x/a._b", BAD }, { "x/a-.b", BAD }, { "x/a.-b", BAD }, { "x/a_-b", BAD },
		{ "x/-a", BAD }, { "x/a-", BAD }, { "x/.a", BAD }, { "x/a.", BAD }, { "x/_a", BAD },
		{ "x/a_", BAD }, { "x//a", BAD }, { "/a", BAD }, { "a/", BAD },
		{ "host.example/", BAD }, { "", BAD }, { "/", BAD }, { " a", BAD }, { "a ", BAD },
		{ "a b", BAD }, { "a\n", BAD }, { "a\t/b", BAD }, { "a+b", BAD }, { "a%2fb", BAD },
		{ "a\\b", BAD }, { "\xc3\xa4", BAD }, { "-", BAD }, { ".", BAD }, { "..", BAD },
		{ "../a", BAD }, { "./a", BAD }, { "a/../b", BAD }, { "*", BAD });
}

static void names_are_lower_case(void)
{
	static const char *const upper[] = { "Debian", "team/App", "host.example/App:1",
		"localhost:5000/a/B", "docker.io/Debian", "A", "debian@SHA256:" HEX64 };

	for (size_t i = 0; i < sizeof(upper) / sizeof(*upper); i++)
		ROWS({ upper[i], BAD ": repository name must be lowercase" });
	ROWS({ "debian:12@SHA256:" HEX64, "invalid checksum digest format" });
}

static void tags_are_up_to_128_characters(void)
{
	ROWS({ "a:1", "docker.io library/ a 1 -" }, { "a:_", "docker.io library/ a _ -" },
		{ "a:Tag_1.2-x", "docker.io library/ a Tag_1.2-x -" },
		{ "a:" A100 "aaaaaaaaaaaaaaaaaaaaaaaaaaaa",
			"docker.io library/ a " A100 "aaaaaaaaaaaaaaaaaaaaaaaaaaaa -" },
		{ "a:" A100 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaa", BAD }, { "a:", BAD }, { "a:-x", BAD },
		{ "a:.x", BAD }, { "a:x:y", BAD }, { "a:x/y", BAD }, { "a:x y", BAD },
		{ "a:x+y", BAD }, { "a:\xc3\xa4", BAD }, { "a::x", BAD }, { ":x", BAD },
		{ "a:x@", BAD }, { "a:@" SHA256, BAD });
}

static void digests_have_a_known_algorithm_and_its_length(void)
{
	ROWS({ "a@" SHA256, "docker.io library/ a - " SHA256 },
		{ "a@" SHA384, "docker.io library/ a - " SHA384 },
		{ "a@" SHA512, "docker.io library/ a - " SHA512 },
		{ "a@sha256:" HEX32, "invalid checksum digest length" },
		{ "a@sha256:" HEX64 "0", "invalid checksum digest length" },
		{ "a@sha512:" HEX64, "invalid checksum digest length" },
		{ "a@sha384:" HEX64, "invalid checksum digest length" },
		{ "a@sha256:" HEX_CAP, "invalid checksum digest format" },
		{ "a@md5:" HEX32, "unsupported digest algorithm" },
		{ "a@sha1:" HEX32 "01234567", "unsupported digest algorithm" },
		{ "a@sha256+b64u.x:" HEX32, "unsupported digest algorithm" },
		{ "a:t@Sha256:" HEX64, "invalid checksum digest format" },
		{ "a@sha256:0123456789abcdef", BAD }, { "a@sha256:" HEX32 "g", BAD },
		{ "a@sha256:", BAD }, { "a@sha256", BAD }, { "a@:" HEX64, BAD }, { "a@", BAD },
		{ "a@" HEX64, BAD }, { "a@256sha:" HEX64, BAD }, { "a@sha--256:" HEX64, BAD },
		{ "a@sha+:" HEX64, BAD }, { "a@" SHA256 "@" SHA256, BAD },
		{ "a@" SHA256 ":x", BAD }, { "@" SHA256, BAD },
		{ SHA256, "docker.io library/ sha256 " HEX64 " -" });
}

static void a_name_cannot_be_an_identifier(void)
{
	ROWS({ HEX64, "invalid repository name, cannot specify 64-byte hexadecimal strings" },
		{ HEX64 "0", "docker.io library/ " HEX64 "0 - -" },
		{ "g" HEX32 "0123456789abcdef0123456789abcde",
			"docker.io library/ g" HEX32 "0123456789abcdef0123456789abcde - -" },
		{ "docker.io/" HEX64, "docker.io library/ " HEX64 " - -" },
		{ HEX64 ":1", "docker.io library/ " HEX64 " 1 -" });
}

static void names_are_up_to_255_characters_with_the_host(void)
{
	/* "a.b/" and 251 */
	ROWS({ "a.b/" A100 A100 A50 "a", "a.b - " A100 A100 A50 "a - -" },
		{ "a.b/" A100 A100 A50 "aa",
			"repository name must not be more than 255 characters" },
		{ "a.b/" A100 A100 A50 "aa@sha256:" HEX32,
			"repository name must not be more than 255 characters" },
		{ "a.b/" A100 A100 A50 "a:" A100, "a.b - " A100 A100 A50 "a " A100 " -" },
		/* "docker.io/library/" counts */
		{ A100 A100 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
			"docker.io library/ " A100 A100
			"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa - -" },
		{ A100 A100 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
			"repository name must not be more than 255 characters" });
}

static void a_fault_says_where(void)
{
	struct reference r;
	struct fault fault = { 0 };

	CHECK(reference_parse(&r, "host.example/team/aPp", &fault) < 0);
	CHECK_U64(fault.offset, 19);
	CHECK(reference_parse(&r, "host.example/a//b", &fault) < 0);
	CHECK_U64(fault.offset, 15);
	CHECK(reference_parse(&r, "a:b@sha256:" HEX32, &fault) < 0);
	CHECK_U64(fault.offset, 4);
}

int main(void)
{
	RUN(short_names_mean_docker_io);
	RUN(what_could_be_no_part_of_a_name_is_a_host);
	RUN(ipv6_hosts_stand_in_brackets);
	RUN(hosts_have_names_and_a_port);
	RUN(components_are_words_with_separators);
	RUN(names_are_lower_case);
	RUN(tags_are_up_to_128_characters);
	RUN(digests_have_a_known_algorithm_and_its_length);
	RUN(a_name_cannot_be_an_identifier);
	RUN(names_are_up_to_255_characters_with_the_host);
	RUN(a_fault_says_where);
	return tap_done();
}
