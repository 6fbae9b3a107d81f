// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/base/interrupt.h"

#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>

static const int signals[] = { SIGINT, SIGTERM, SIGHUP };
static atomic_int pending;

static void on_signal(int sig)
{
	atomic_store(&pending, sig);
}

void interrupt_catch(void)
{
	struct sigaction act = { .sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND };

	for (size_t i = 0; i < sizeof(signals) / sizeof(*signals); i++) {
		struct sigaction old;

		sigaction(signals[i], NULL, &old);
		if (old.sa_handler != SIG_IGN) /* nohup(1) stays in force */
			sigaction(signals[i], &act, NULL);
	}
}

bool interrupt_pending(void)
{
	return atomic_load(&pending) != 0;
}

void interrupt_die(void)
{
	int sig = atomic_load(&pending);

	if (!sig)
		return;
	signal(sig, SIG_DFL);
	raise(sig);
}
