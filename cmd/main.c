// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/* The table of verbs, and the way from argv to one of them. */
#include "config.h"

#include <locale.h>
#include <stdio.h>
#include <string.h>

#include "cmd/cmd.h"
#include "cmd/options.h"

static const struct verb *const verbs[] = {
	&verb_convert,
	&verb_push,
	&verb_mount,
	&verb_umount,
	&verb_serve,
	&verb_status,
	&verb_check,
	&verb_inspect,
	&verb_unpack,
	&verb_store,
};
#define N_VERBS (sizeof(verbs) / sizeof(*verbs))

static int print_help(void)
{
	printf("Usage: erofs-convert VERB [options] ...\n"
	       "Convert OCI images to EROFS, and mount them.\n\n");
	for (size_t i = 0; i < N_VERBS; i++)
		printf("  %-9s %s\n", verbs[i]->name, verbs[i]->summary);
	printf("\nImages are named as skopeo names them: oci:DIR[:TAG], oci-archive:FILE[:TAG],\n"
	       "docker://HOST/NAME[:TAG|@DIGEST], docker-archive:FILE[:REF]; layer tars:\n"
	       "tar:FILE[,FILE...].\n"
	       "`erofs-convert VERB --help` lists a verb's options; `man erofs-convert` "
	       "explains.\n");
	return cmd_flush();
}

static int print_version(void)
{
	printf("erofs-convert " PACKAGE_VERSION "\n");
	return cmd_flush();
}

int main(int argc, char **argv)
{
	setlocale(LC_CTYPE, "");
	if (argc < 2) {
		fprintf(stderr, "erofs-convert: error: no verb given; "
				"see `erofs-convert --help`\n");
		return CMD_USAGE;
	}
	if (!strcmp(argv[1], "-h") || !strcmp(argv[1], "--help") || !strcmp(argv[1], "help"))
		return print_help();
	if (!strcmp(argv[1], "-V") || !strcmp(argv[1], "--version"))
		return print_version();
	for (size_t i = 0; i < N_VERBS; i++)
		if (!strcmp(argv[1], verbs[i]->name))
			return options_run(verbs[i], argc - 1, argv + 1);
	fprintf(stderr, "erofs-convert: error: unknown verb \"%s\"; see `erofs-convert --help`\n",
		argv[1]);
	return CMD_USAGE;
}
