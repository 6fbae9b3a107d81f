/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * What the verbs share: the table of verbs, option tables, how a verb ends.
 * Each verb's file reads the same way: its options, its run function, one call down, one print.
 */
#ifndef CMD_CMD_H
#define CMD_CMD_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/error.h"

/* Exit statuses (design: "The interface"). */
enum { CMD_DONE = 0, CMD_FAILED = 1, CMD_USAGE = 2 };

/* One option of a verb. A table ends with { 0 }. */
struct cmd_option {
	const char *name; /* without the dashes */
	char letter; /* the short form, or 0 */
	const char *arg; /* what its argument is called in the help; NULL: takes none */
	const char *help; /* one line */
	bool *flag; /* set to true */
	const char **string; /* points into argv */
	bool secret; /* of string: a copy is kept, and argv overwritten, which everybody can read */
	int *boolean; /* set to 0 or 1: "--name" is 1, "--name=false" is 0 */
	uint64_t *number; /* decimal, with an optional K, M or G (powers of 1024) */
	uint64_t min, max; /* of number */
};

/* Options that several verbs share, under a heading of their own in the help. */
struct cmd_option_group {
	const char *heading;
	const struct cmd_option *options;
};

struct verb {
	const char *name;
	const char *synopsis; /* the arguments: "[options] SOURCE DEST" */
	const char *summary; /* one line */
	const struct cmd_option *options; /* NULL: only the common ones */
	const struct cmd_option_group *group; /* NULL: none */
	int min_args, max_args;
	/* The positional arguments only; returns an exit status. */
	int (*run)(int argc, char **argv);
};

extern const struct verb verb_convert, verb_push, verb_mount, verb_umount, verb_check, verb_inspect,
	verb_unpack, verb_store, verb_serve, verb_status;

/* The options that every verb has. */
struct cmd_common {
	bool json;
	bool quiet;
	bool debug;
	const char *progress; /* auto, plain or none */
};
extern struct cmd_common cmd_common;

/* Print the error as one line with its hint, free it, return CMD_FAILED. */
int cmd_fail(struct error *e);

/* A usage error: one line, where to look, return CMD_USAGE. */
int cmd_usage(const struct verb *verb, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* The same, for an error that came from below; frees it. */
int cmd_usage_error(const struct verb *verb, struct error *e);

/* Print a JSON result on stdout, indented, with a newline; takes the reference. */
int cmd_print_json(json_t *json);

/* stdout could be written to the end? An exit status. Each verb that prints returns this. */
int cmd_flush(void);

#endif
