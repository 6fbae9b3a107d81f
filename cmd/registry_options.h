/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * The options of registries. A verb with one image has `.group = &registry_options_one` in its
 * struct verb, one with source and destination `.group = &registry_options_two` (push: its own);
 * its run function then asks registry_options_get() for each side.
 */
#ifndef CMD_REGISTRY_OPTIONS_H
#define CMD_REGISTRY_OPTIONS_H

#include "cmd/cmd.h"
#include "lib/registry/registry.h"

/* --authfile, --creds, --no-creds, --registry-token, --tls-verify, --cert-dir, --plain-http,
 * --retry-times */
extern const struct cmd_option_group registry_options_one;

/*
 * The same with --src- and --dest- in front; also --authfile, --tls-verify and --retry-times as
 * they are, for a side whose own is not given.
 */
extern const struct cmd_option_group registry_options_two;

/* The same; the others without a prefix are for the destination, which is always a registry. */
extern const struct cmd_option_group registry_options_push;

enum registry_side { REGISTRY_ONLY, REGISTRY_SOURCE, REGISTRY_DEST };

/*
 * What was given for the side: CMD_DONE, or CMD_USAGE when it contradicts itself. The strings live
 * as long as the process. A password that is missing is asked for here, before there is a progress
 * bar and before signals only ask: call it ahead of interrupt_catch().
 */
int registry_options_get(
	const struct verb *verb, enum registry_side side, struct registry_options *o);

#endif
