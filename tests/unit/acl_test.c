// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/* POSIX ACLs as getxattr(2) shows them; bytes by hand from linux/posix_acl_xattr.h. */
#include "config.h"

#include "fmt/acl.h"
#include "tests/unit/tap.h"

#define V2	     2, 0, 0, 0
#define ENTRY(t, p)  t, 0, p, 0, 0xff, 0xff, 0xff, 0xff
#define OF(t, p, id) t, 0, p, 0, id, 0, 0, 0
#define USER_OBJ(p)  ENTRY(1, p)
#define USER(p, id)  OF(2, p, id)
#define GROUP_OBJ(p) ENTRY(4, p)
#define GROUP(p, id) OF(8, p, id)
#define MASK(p)	     ENTRY(16, p)
#define OTHER(p)     ENTRY(32, p)

#define BYTES(...) (const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ })

static void accepts(const uint8_t *p, size_t len, unsigned mode, bool mode_only)
{
	struct fault fault = { 0 };
	struct acl acl = { 0 };

	if (!CHECK(acl_decode(&acl, p, len, &fault) == 0)) {
		printf("# %s at %d\n", fault.what, (int)fault.offset);
		return;
	}
	CHECK_U64(acl.mode, mode);
	CHECK(acl.mode_only == mode_only);
}

static void refuses(const uint8_t *p, size_t len)
{
	uint8_t *copy = malloc(len ? len : 1); /* exact, so that a read past it is seen */
	struct fault fault = { 0 };
	struct acl acl;

	memcpy(copy, p, len);
	CHECK(acl_decode(&acl, copy, len, &fault) == -1);
	CHECK(fault.what && fault.offset <= len);
	free(copy);
}

static void the_three_base_entries_are_the_mode_and_no_more(void)
{
	accepts(BYTES(V2, USER_OBJ(6), GROUP_OBJ(4), OTHER(0)), 0640, true);
	accepts(BYTES(V2, USER_OBJ(7), GROUP_OBJ(5), OTHER(5)), 0755, true);
	accepts(BYTES(V2, USER_OBJ(0), GROUP_OBJ(0), OTHER(0)), 0, true);
}

static void with_a_mask_the_group_bits_are_the_mask(void)
{
	accepts(BYTES(V2, USER_OBJ(7), USER(7, 9), GROUP_OBJ(1), MASK(6), OTHER(4)), 0764, false);
	accepts(BYTES(V2, USER_OBJ(7), GROUP_OBJ(1), GROUP(7, 9), MASK(2), OTHER(4)), 0724, false);
	accepts(BYTES(V2, USER_OBJ(7), GROUP_OBJ(1), MASK(3), OTHER(4)), 0734, false);
}

static void users_and_groups_may_be_many(void)
{
	accepts(BYTES(V2, USER_OBJ(7), USER(1, 1), USER(2, 2), USER(3, 2), GROUP_OBJ(0),
			GROUP(4, 7), GROUP(5, 6), MASK(7), OTHER(0)),
		0770, false);
}

static void a_header_must_be_whole_and_of_version_2(void)
{
	refuses((const uint8_t[]){ 2 }, 0);
	refuses((const uint8_t[]){ V2 }, 3);
	refuses(BYTES(1, 0, 0, 0, USER_OBJ(6), GROUP_OBJ(4), OTHER(0)));
	refuses(BYTES(2, 0, 0, 1, USER_OBJ(6), GROUP_OBJ(4), OTHER(0)));
}

static void a_cut_entry_is_refused(void)
{
	static const uint8_t whole[] = { V2, USER_OBJ(6), GROUP_OBJ(4), OTHER(0) };

	for (size_t len = 0; len < sizeof(whole); len++)
		refuses(whole, len);
}

static void entries_out_of_order_are_refused(void)
{
	refuses(BYTES(V2, GROUP_OBJ(4), USER_OBJ(6), OTHER(0)));
	refuses(BYTES(V2, USER_OBJ(6), OTHER(0), GROUP_OBJ(4)));
	refuses(BYTES(V2, USER_OBJ(6), GROUP_OBJ(4), USER(7, 1), MASK(7), OTHER(0)));
	refuses(BYTES(V2, USER(7, 1), USER_OBJ(6), GROUP_OBJ(4), MASK(7), OTHER(0)));
	refuses(BYTES(V2, USER_OBJ(6), GROUP_OBJ(4), MASK(7), GROUP(7, 1), OTHER(0)));
	refuses(BYTES(V2, USER_OBJ(6), GROUP_OBJ(4), OTHER(0), MASK(7)));
}

static void what_may_stand_once_may_not_stand_twice(void)
{
	refuses(BYTES(V2, USER_OBJ(6), USER_OBJ(6), GROUP_OBJ(4), OTHER(0)));
	refuses(BYTES(V2, USER_OBJ(6), GROUP_OBJ(4), GROUP_OBJ(4), OTHER(0)));
	refuses(BYTES(V2, USER_OBJ(6), GROUP_OBJ(4), MASK(7), MASK(7), OTHER(0)));
	refuses(BYTES(V2, USER_OBJ(6), GROUP_OBJ(4), OTHER(0), OTHER(0)));
}

static void base_entries_may_not_lack(void)
{
	refuses(BYTES(V2, GROUP_OBJ(4), OTHER(0)));
	refuses(BYTES(V2, USER_OBJ(6), OTHER(0)));
	refuses(BYTES(V2, USER_OBJ(6), GROUP_OBJ(4)));
}

static void named_entries_need_a_mask(void)
{
	refuses(BYTES(V2, USER_OBJ(6), USER(7, 1), GROUP_OBJ(4), OTHER(0)));
	refuses(BYTES(V2, USER_OBJ(6), GROUP_OBJ(4), GROUP(7, 1), OTHER(0)));
}

static void unknown_tags_and_permissions_are_refused(void)
{
	refuses(BYTES(V2, USER_OBJ(6), GROUP_OBJ(4), OTHER(8)));
	refuses(BYTES(V2, 1, 0, 6, 1, 0, 0, 0, 0, GROUP_OBJ(4), OTHER(0)));
	refuses(BYTES(V2, ENTRY(0, 0), USER_OBJ(6), GROUP_OBJ(4), OTHER(0)));
	refuses(BYTES(V2, USER_OBJ(6), ENTRY(3, 0), GROUP_OBJ(4), OTHER(0)));
	refuses(BYTES(V2, USER_OBJ(6), GROUP_OBJ(4), OTHER(0), ENTRY(64, 0)));
	refuses(BYTES(V2, 1, 1, 6, 0, 0, 0, 0, 0, GROUP_OBJ(4), OTHER(0)));
}

static void named_entries_need_a_valid_id(void)
{
	refuses(BYTES(V2, USER_OBJ(6), ENTRY(2, 7), GROUP_OBJ(4), MASK(7), OTHER(0)));
	refuses(BYTES(V2, USER_OBJ(6), GROUP_OBJ(4), ENTRY(8, 7), MASK(7), OTHER(0)));
}

int main(void)
{
	RUN(the_three_base_entries_are_the_mode_and_no_more);
	RUN(with_a_mask_the_group_bits_are_the_mask);
	RUN(users_and_groups_may_be_many);
	RUN(a_header_must_be_whole_and_of_version_2);
	RUN(a_cut_entry_is_refused);
	RUN(entries_out_of_order_are_refused);
	RUN(what_may_stand_once_may_not_stand_twice);
	RUN(base_entries_may_not_lack);
	RUN(named_entries_need_a_mask);
	RUN(unknown_tags_and_permissions_are_refused);
	RUN(named_entries_need_a_valid_id);
	return tap_done();
}
