// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include <errno.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "lib/serve/holder/holder.h"

#define MS	  UINT64_C(1000000)
#define STOP_TIME (30000 * MS)
#define LOOK	  MS /* while events come, so often at what else there is */
#define HANG_MIN  (10000 * MS) /* with a short deadline; a worker beats each second */

enum { N_WAITS = 4 };

static void hear_signal(struct holder *h)
{
	struct signalfd_siginfo s;

	if (read(h->signals, &s, sizeof(s)) != sizeof(s))
		return;
	if (s.ssi_signo != SIGHUP && !h->stopping) {
		h->stopping = true;
		h->kill_at = holder_now() + STOP_TIME;
	}
	worker_signal(h, (int)s.ssi_signo);
	if (h->stopping && h->pidfd < 0)
		_exit(0);
}

/* A worker that neither answers nor beats hangs. */
static bool hangs(const struct holder *h, uint64_t now)
{
	uint64_t beat = atomic_load(&h->requests->beat);
	uint64_t max = h->deadline / 65 * 60; /* 60 s of the usual 65 */

	if (max < HANG_MIN)
		max = HANG_MIN;
	if (beat < h->started)
		beat = h->started;
	return h->expired_at > beat && now > beat && now - beat > max;
}

static void look_after_worker(struct holder *h, uint64_t now)
{
	if (h->pidfd < 0) {
		if (now >= h->start_at && !h->stopping)
			worker_start(h);
	} else if (h->stopping && now >= h->kill_at) {
		worker_signal(h, SIGKILL);
	} else if (hangs(h, now)) {
		holder_say("the worker hangs; killing it");
		worker_signal(h, SIGKILL);
	}
}

/* Milliseconds until something is to be done without being asked. */
static int next_look(struct holder *h, uint64_t now)
{
	uint64_t wait = 1000 * MS, notes = hits_tell(h, now);

	if (h->group >= 0 && !held_may_read(h))
		wait = 5 * MS; /* until some are answered */
	if (h->pidfd < 0 && h->start_at < now + wait)
		wait = h->start_at > now ? h->start_at - now : 0;
	if (notes < wait)
		wait = notes;
	return (int)((wait + MS - 1) / MS);
}

/* Events for a moment, where the reader has another processor; all else can wait so long. */
static int look_again(struct holder *h, struct pollfd p[static N_WAITS], uint64_t began)
{
	int ready = 0;

	if (p[0].fd < 0 || !linger_pays(&h->linger))
		return 0;
	for (uint64_t now = began; !ready && now - began < LINGER; now = holder_now()) {
		bool all = now - h->looked >= LOOK;

		ready = poll(p, all ? N_WAITS : 1, 0);
		if (all)
			h->looked = now;
	}
	return ready;
}

static int wait_for_any(struct holder *h, struct pollfd p[static N_WAITS])
{
	uint64_t began = holder_now();
	int ready = look_again(h, p, began);

	if (!ready)
		ready = poll(p, N_WAITS, next_look(h, began));
	if (h->may_linger && p[0].revents)
		linger_learn(&h->linger, holder_now() - began);
	return ready;
}

static void step(struct holder *h)
{
	uint64_t now;
	struct pollfd p[N_WAITS] = {
		{ .fd = held_may_read(h) ? h->group : -1, .events = POLLIN },
		{ .fd = h->socket, .events = POLLIN }, /* poll(2) passes over -1 */
		{ .fd = h->pidfd, .events = POLLIN },
		{ .fd = h->signals, .events = POLLIN },
	};

	if (wait_for_any(h, p) < 0) {
		if (errno != EINTR && errno != EAGAIN)
			holder_say("poll: %s", strerror(errno));
		return;
	}
	if (p[0].revents)
		held_read(h);
	if (p[1].revents)
		kept_receive(h);
	if (p[2].revents)
		worker_died(h);
	if (p[3].revents)
		hear_signal(h);
	now = holder_now();
	held_sweep(h, now);
	hits_tell(h, now);
	look_after_worker(h, now);
}

void holder_run(struct holder *h)
{
	for (;;)
		step(h);
}
