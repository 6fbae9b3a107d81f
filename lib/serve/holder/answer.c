// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/serve/holder/answer.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/fanotify.h>
#include <unistd.h>

#include "lib/serve/holder/keep.h"

static int answer(int group, int number, uint32_t response)
{
	struct fanotify_response r = { .fd = number, .response = response };
	ssize_t n;

	do
		n = write(group, &r, sizeof(r));
	while (n < 0 && errno == EINTR);
	return n < 0 ? -1 : 0;
}

int answer_allow(int group, int number)
{
	return answer(group, number, FAN_ALLOW);
}

int answer_deny(int group, int number, int code)
{
	/* the errno lies in the response's upper byte (fanotify(7), Linux 6.14) */
	if (answer(group, number, FAN_DENY | (uint32_t)code << 24) == 0)
		return 0;
	/* refused: rather EPERM than a reader that waits for ever */
	return errno == EINVAL ? answer(group, number, FAN_DENY) : -1;
}

/* EAGAIN, since nothing is wrong with the read; the kernel asks once more for most. */
unsigned keep_deny_unknown(int group, struct requests *r)
{
	unsigned char known[EVENT_NUMBER_MAX] = { 0 };
	unsigned denied = 0;

	for (unsigned i = 0; i < REQUESTS_MAX; i++) {
		const struct held_request *q = &r->slots[i];

		if (atomic_load(&q->state) != REQUEST_FREE && q->fd >= 0 &&
			q->fd < EVENT_NUMBER_MAX)
			known[q->fd] = true;
	}
	for (int number = 0; number < EVENT_NUMBER_MAX; number++)
		denied += !known[number] && answer_deny(group, number, EAGAIN) == 0;
	atomic_fetch_add(&r->denied, denied);
	return denied;
}
