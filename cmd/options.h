/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* Option tables: parsing and help for every verb. */
#ifndef CMD_OPTIONS_H
#define CMD_OPTIONS_H

#include "cmd/cmd.h"

/* Parse argv (argv[0] is the verb's name), run the verb. Returns the exit status. */
int options_run(const struct verb *verb, int argc, char **argv);

#endif
