/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* Answers to fanotify events, by number; for holder and worker. */
#ifndef HOLDER_ANSWER_H
#define HOLDER_ANSWER_H

#include <stdint.h>

#include "lib/serve/holder/requests.h"

/* Numbers below these are never an event's: every holder has 0 to 2 open. */
#define EVENT_NUMBER_MIN 3
/*
 * An event gets the lowest free number, and as many are open as there are slots, plus one read:
 * none is as high as this, for any holder.
 */
#define EVENT_NUMBER_MAX (REQUESTS_MAX + 128)

/* Let the read go on. Returns as answer_deny(). */
int answer_allow(int group, int number);

/*
 * Fail the read with the errno (EPERM, EIO, EBUSY, ETXTBSY, EAGAIN, ENOSPC or EDQUOT). 0, or -1
 * with errno; ENOENT: nobody waits for that number.
 */
int answer_deny(int group, int number, int code);

#endif
