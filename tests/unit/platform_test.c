// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/image/platform.h"

#include "tests/unit/tap.h"

static bool parses(const char *text, const char *as)
{
	CLEANUP_ERROR struct error *err = NULL;
	char buf[PLATFORM_MAX_STR];
	struct platform p;

	return platform_parse(&p, text, &err) == 0 && strcmp(platform_format(&p, buf), as) == 0;
}

static bool refused(const char *text)
{
	CLEANUP_ERROR struct error *err = NULL;
	struct platform p;

	return platform_parse(&p, text, &err) < 0 && err->hint;
}

/* How well an image for `have` fits who asked for `want`. */
static unsigned fit(const char *want, const char *have)
{
	CLEANUP_ERROR struct error *err = NULL;
	struct platform w, h;
	json_auto_t *object = NULL;

	if (platform_parse(&w, want, &err) < 0 || platform_parse(&h, have, &err) < 0)
		return 9999;
	object = json_pack("{s:s, s:s}", "os", h.os, "architecture", h.architecture);
	if (*h.variant)
		json_object_set_new(object, "variant", json_string(h.variant));
	return platform_fit(&w, object);
}

static void a_platform_is_os_architecture_and_perhaps_variant(void)
{
	CHECK(parses("linux/amd64", "linux/amd64"));
	CHECK(parses("linux/arm/v7", "linux/arm/v7"));
	CHECK(parses("Linux/S390X", "linux/s390x"));
}

static void the_machines_names_are_taken_as_gos(void)
{
	CHECK(parses("linux/x86_64", "linux/amd64"));
	CHECK(parses("linux/aarch64", "linux/arm64"));
	CHECK(parses("linux/armhf", "linux/arm/v7"));
	CHECK(parses("linux/i686", "linux/386"));
}

static void what_is_no_platform_is_refused(void)
{
	CHECK(refused(""));
	CHECK(refused("linux"));
	CHECK(refused("/amd64"));
	CHECK(refused("linux/"));
	CHECK(refused("linux/arm/"));
	CHECK(refused("linux/arm/v7/x"));
	CHECK(refused("lin ux/amd64"));
	CHECK(refused("linux/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"));
}

static void this_machine_is_known(void)
{
	struct platform p;

	platform_host(&p);
	CHECK_STR(p.os, "linux");
	CHECK(*p.architecture && strcmp(p.architecture, "x86_64") != 0);
}

static void os_and_architecture_must_be_equal(void)
{
	CHECK(fit("linux/amd64", "linux/amd64") > 0);
	CHECK(fit("linux/x86_64", "linux/amd64") > 0);
	CHECK_U64(fit("linux/amd64", "linux/arm64"), 0);
	CHECK_U64(fit("linux/amd64", "windows/amd64"), 0);
}

static void a_variant_runs_lower_ones_and_prefers_the_highest(void)
{
	CHECK(fit("linux/arm/v7", "linux/arm/v7") > fit("linux/arm/v7", "linux/arm/v6"));
	CHECK(fit("linux/arm/v7", "linux/arm/v6") > fit("linux/arm/v7", "linux/arm/v5"));
	CHECK(fit("linux/arm/v7", "linux/arm/v5") > 0);
	CHECK_U64(fit("linux/arm/v6", "linux/arm/v7"), 0);
	CHECK_U64(fit("linux/amd64", "linux/amd64/v3"), 0);
	CHECK(fit("linux/amd64/v3", "linux/amd64") > 0);
}

static void a_missing_variant_is_the_architectures_default(void)
{
	CHECK_U64(fit("linux/arm64", "linux/arm64/v8"), fit("linux/arm64", "linux/arm64"));
	CHECK(fit("linux/arm64/v8", "linux/arm64") > 0);
	CHECK(fit("linux/arm", "linux/arm/v7") > 0);
	CHECK(fit("linux/arm/v7", "linux/arm") > 0);
	CHECK_U64(fit("linux/arm/v6", "linux/arm"), 0);
}

static void variants_without_an_order_must_be_equal_if_asked_for(void)
{
	CHECK(fit("linux/ppc64le/power9", "linux/ppc64le/power9") > 0);
	CHECK_U64(fit("linux/ppc64le/power9", "linux/ppc64le/power8"), 0);
	CHECK(fit("linux/ppc64le", "linux/ppc64le/power8") > 0);
	CHECK_U64(fit("linux/arm/vx", "linux/arm/v7"), 0);
}

static void an_odd_object_fits_nobody(void)
{
	struct platform w = { "linux", "amd64", "" };
	json_auto_t *numbers = json_pack("{s:i, s:i}", "os", 1, "architecture", 2);

	CHECK(!platform_matches(&w, NULL));
	CHECK(!platform_matches(&w, numbers));
}

int main(void)
{
	RUN(a_platform_is_os_architecture_and_perhaps_variant);
	RUN(the_machines_names_are_taken_as_gos);
	RUN(what_is_no_platform_is_refused);
	RUN(this_machine_is_known);
	RUN(os_and_architecture_must_be_equal);
	RUN(a_variant_runs_lower_ones_and_prefers_the_highest);
	RUN(a_missing_variant_is_the_architectures_default);
	RUN(variants_without_an_order_must_be_equal_if_asked_for);
	RUN(an_odd_object_fits_nobody);
	return tap_done();
}
