/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * Ctrl-C that cleans up: the first SIGINT, SIGTERM or SIGHUP only asks, and long work ends by
 * an error at its next look; the second one ends the process as it would have without us.
 */
#ifndef BASE_INTERRUPT_H
#define BASE_INTERRUPT_H

#include <stdbool.h>

/* From now on the signals only ask. Not for libraries: cmd/ calls it. */
void interrupt_catch(void);

/* Has one come? On any thread. */
bool interrupt_pending(void);

/* If one has come, end by it, as the shell expects. Else return. */
void interrupt_die(void);

#endif
