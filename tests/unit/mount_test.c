// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/* lib/mount: what needs no kernel. Mounting itself is tested end to end. */
#include "config.h"

#include <sys/sysmacros.h>
#include <unistd.h>

#include "lib/mount/mount.h"
#include "lib/mount/mountinfo.h"
#include "lib/mount/upper.h"
#include "tests/unit/tap.h"

/* A copy that may be split in place. */
static bool parse(const char *line, struct mountinfo *out)
{
	static char copy[512];

	snprintf(copy, sizeof(copy), "%s", line);
	return mountinfo_parse(copy, out);
}

static void a_line_of_mountinfo_is_split(void)
{
	struct mountinfo m;

	/* proc(5) */
	CHECK(parse(
		"36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=c\n", &m));
	CHECK_STR(m.root, "/mnt1");
	CHECK_STR(m.mountpoint, "/mnt2");
	CHECK_STR(m.fstype, "ext3");
	CHECK_STR(m.source, "/dev/root");
}

static void any_number_of_optional_fields_is_skipped(void)
{
	struct mountinfo m;

	CHECK(parse("63 27 0:39 / /m ro,relatime - erofs /boot ro", &m));
	CHECK_STR(m.fstype, "erofs");
	CHECK(parse(
		"63 27 0:39 / /m ro shared:1 master:2 propagate_from:3 unbindable - erofs /b ro",
		&m));
	CHECK_STR(m.fstype, "erofs");
	CHECK_STR(m.source, "/b");
}

static void a_mount_that_follows_another_one_is_a_copy(void)
{
	struct mountinfo m;

	CHECK(parse("63 27 0:39 / /m ro master:1 - erofs /boot ro", &m) && m.is_copy);
	CHECK(parse("63 27 0:39 / /m ro shared:2 master:1 - erofs /boot ro", &m) && m.is_copy);
	CHECK(parse("63 27 0:39 / /m ro shared:2 - erofs master:1 ro", &m) && !m.is_copy);
	CHECK(parse("63 27 0:39 / /m ro - erofs /boot ro", &m) && !m.is_copy);
}

static void octal_escapes_are_undone(void)
{
	struct mountinfo m;

	CHECK(parse("1 2 0:3 / /a\\040b\\011c\\012d\\134e ro - erofs /s\\040t ro", &m));
	CHECK_STR(m.mountpoint, "/a b\tc\nd\\e");
	CHECK_STR(m.source, "/s t");
}

static void an_escape_is_not_undone_twice(void)
{
	/* the name is a backslash and "040" */
	char s[] = "\\134040";

	mountinfo_unescape(s);
	CHECK_STR(s, "\\040");
}

static void what_is_no_escape_stays(void)
{
	char s[] = "a\\b\\04\\4\\999\\400\\";

	mountinfo_unescape(s);
	CHECK_STR(s, "a\\b\\04\\4\\999\\400\\");
}

static void bytes_beyond_ascii_come_through(void)
{
	char s[] = "\\303\\274\xc3\xbc";

	mountinfo_unescape(s);
	CHECK_STR(s, "\xc3\xbc\xc3\xbc");
}

static void an_empty_source_is_a_field_too(void)
{
	struct mountinfo m;

	CHECK(parse("1 2 0:3 / /m ro - erofs  ro", &m));
	CHECK_STR(m.source, "");
}

static void a_superblock_option_is_found_and_unescaped(void)
{
	CLEANUP_FREE char *upper = NULL, *none = NULL, *lower = NULL, *empty = NULL;
	struct mountinfo m;

	CHECK(parse("1 2 0:41 / /m rw - overlay s rw,lowerdir+=/,upperdir=/a\\040b\\054c\\134d,"
		    "work=,index=on\n",
		&m));
	CHECK(m.dev == makedev(0, 41));
	upper = mountinfo_option(&m, "upperdir");
	CHECK_STR(upper, "/a b,c\\d");
	none = mountinfo_option(&m, "upper");
	CHECK(!none);
	lower = mountinfo_option(&m, "lowerdir+");
	CHECK_STR(lower, "/");
	empty = mountinfo_option(&m, "work");
	CHECK_STR(empty, "");
}

static void what_is_temporary_is_told_by_its_path(void)
{
	CHECK(upper_is_temporary("/var/lib/erofs-convert/rw/abcdef/upper"));
	CHECK(!upper_is_temporary("/var/lib/erofs-convert/rw/upper"));
	CHECK(!upper_is_temporary("/var/lib/erofs-convert/rw//upper"));
	CHECK(!upper_is_temporary("/var/lib/erofs-convert/rw/../upper"));
	CHECK(!upper_is_temporary("/var/lib/erofs-convert/rw/a/b/upper"));
	CHECK(!upper_is_temporary("/var/lib/erofs-convert/rw/a/upper/"));
	CHECK(!upper_is_temporary("/var/lib/erofs-convert/rwx/a/upper"));
	CHECK(!upper_is_temporary("/x/var/lib/erofs-convert/rw/a/upper"));
}

static void lines_in_another_form_are_refused(void)
{
	static const char *const lines[] = { "", "\n", "1", "1 2 0:3 / /m", "1 2 0:3 / /m ro",
		"1 2 0:3 / /m ro erofs /b ro", "1 2 0:3 / /m ro -", "1 2 0:3 / /m ro - erofs" };
	struct mountinfo m;

	for (size_t i = 0; i < sizeof(lines) / sizeof(*lines); i++)
		CHECK(!parse(lines[i], &m));
}

static void a_missing_mount_point_is_named_with_a_hint(void)
{
	CLEANUP_ERROR struct error *err = NULL;

	const struct mount_request r = { .bootstrap = "/nonexistent/b",
		.mountpoint = "/nonexistent/m" };

	CHECK(mount_image(&r, &err) == -1);
	CHECK(err && strstr(err->msg, "/nonexistent/m does not exist"));
	CHECK_STR(err ? err->hint : NULL, "mkdir -p /nonexistent/m");
}

static void a_mount_point_that_is_a_file_is_refused(void)
{
	CLEANUP_ERROR struct error *err = NULL;

	const struct mount_request r = { .bootstrap = "/nonexistent/b",
		.mountpoint = "/proc/self/status" };

	CHECK(mount_image(&r, &err) == -1);
	CHECK(err && strstr(err->msg, "is not a directory"));
}

static void umount_refuses_what_is_not_erofs(void)
{
	static const char *const paths[] = { "/", "/proc", "/proc/self", "/nonexistent" };

	for (size_t i = 0; i < sizeof(paths) / sizeof(*paths); i++) {
		CLEANUP_ERROR struct error *err = NULL;

		CHECK(umount_image(paths[i], &err) == -1);
		CHECK(err && strstr(err->msg, paths[i]));
	}
}

static void the_mounts_can_be_listed(void)
{
	CLEANUP_ERROR struct error *err = NULL;
	struct mount_info *list = NULL;
	size_t n = 0;

	CHECK(mount_list(&list, &n, &err) == 0);
	for (size_t i = 0; i < n; i++)
		CHECK(list[i].mountpoint[0] == '/');
	mount_list_free(list, n);
}

int main(void)
{
	RUN(a_line_of_mountinfo_is_split);
	RUN(any_number_of_optional_fields_is_skipped);
	RUN(a_mount_that_follows_another_one_is_a_copy);
	RUN(octal_escapes_are_undone);
	RUN(an_escape_is_not_undone_twice);
	RUN(what_is_no_escape_stays);
	RUN(bytes_beyond_ascii_come_through);
	RUN(an_empty_source_is_a_field_too);
	RUN(a_superblock_option_is_found_and_unescaped);
	RUN(what_is_temporary_is_told_by_its_path);
	RUN(lines_in_another_form_are_refused);
	RUN(a_missing_mount_point_is_named_with_a_hint);
	RUN(a_mount_point_that_is_a_file_is_refused);
	RUN(umount_refuses_what_is_not_erofs);
	RUN(the_mounts_can_be_listed);
	return tap_done();
}
