// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/*
 * Read names, one in a line, and print what is made of each: "HOST PATH TAG DIGEST", with "-" for
 * none, or "! ERROR". tests/tools/goref prints the same for Docker's parser.
 */
#include "config.h"

#include <stdio.h>
#include <string.h>

#include "fmt/reference.h"
#include "lib/base/cleanup.h"

static void print_part(struct reference_part p)
{
	printf(" %.*s", p.ptr ? (int)p.len : 1, p.ptr ? p.ptr : "-");
}

static void print_name(const char *name)
{
	struct reference r;
	struct fault fault;

	if (reference_parse(&r, name, &fault) < 0) {
		printf("! %s\n", fault.what);
		return;
	}
	printf("%.*s %.*s%.*s", (int)r.host.len, r.host.ptr, (int)r.prefix.len,
		r.prefix.ptr ? r.prefix.ptr : "", (int)r.path.len, r.path.ptr);
	print_part(r.tag);
	print_part(r.digest);
	putchar('\n');
}

int main(void)
{
	CLEANUP_FREE char *name = NULL;
	size_t room = 0;
	ssize_t len;

	while ((len = getline(&name, &room, stdin)) > 0) {
		if (name[len - 1] == '\n')
			name[len - 1] = '\0';
		print_name(name);
	}
	return 0;
}
