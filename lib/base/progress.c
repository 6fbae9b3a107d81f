// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/base/progress.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/base/log.h"
#include "lib/base/mem.h"
#include "lib/base/thread.h"

enum { BAR_WIDTH = 24, BAR_INTERVAL_MS = 100, PLAIN_INTERVAL_MS = 5000 };
enum { MOST_SECONDS = 5999999 }; /* a longer time left is not told apart */

struct progress {
	enum progress_mode mode;
	char *label;
	uint64_t total;
	uint64_t (*done)(void *arg);
	void *arg;
	struct timespec start;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	bool stop;
	bool shown; /* guarded by the log's lock: the bar is on the screen */
};

static double seconds_since(const struct timespec *start)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)(now.tv_sec - start->tv_sec) + (double)(now.tv_nsec - start->tv_nsec) / 1e9;
}

/* Three digits say enough; below 1 MB, a kB does. */
static int decimals(double mb)
{
	return mb >= 100 ? 0 : mb >= 10 ? 1 : mb >= 1 ? 2 : 3;
}

/* "0:05 left"; how long is not known before there is a rate. */
static void describe_rest(double mb, double rate, char *buf, size_t size)
{
	double s = mb > 0 ? mb / rate : 0;
	unsigned long left = s < MOST_SECONDS ? (unsigned long)s + (mb > 0) : MOST_SECONDS;

	if (mb > 0 && rate <= 0)
		snprintf(buf, size, "-:-- left");
	else
		snprintf(buf, size, "%lu:%02lu left", left / 60, left % 60);
}

/* "12.3 of 45.6 MB, 7.89 MB/s, 0:05 left"; sizes have a decimal at least, and are seen to move. */
static void describe(const struct progress *p, char *buf, size_t size)
{
	double done = (double)p->done(p->arg) / 1e6, total = (double)p->total / 1e6;
	double t = seconds_since(&p->start), rate = t > 0.2 ? done / t : 0;
	int digits = decimals(p->total ? total : done);
	char speed[32], left[32];

	digits = digits ? digits : 1;
	snprintf(speed, sizeof(speed), "%.*f MB/s", rate > 0 ? decimals(rate) : 0, rate);
	describe_rest(total - done, rate, left, sizeof(left));
	if (p->total)
		snprintf(buf, size, "%.*f of %.*f MB, %s, %s", digits, done, digits, total, speed,
			left);
	else
		snprintf(buf, size, "%.*f MB, %s", digits, done, speed);
}

/* With the log's lock held. */
static void draw(void *arg, bool show)
{
	struct progress *p = arg;
	char bar[BAR_WIDTH + 1], text[80];
	uint64_t filled;

	if (!show) {
		if (p->shown)
			fputs("\r\033[K", stderr);
		p->shown = false;
		return;
	}
	filled = p->total ? (uint64_t)((double)p->done(p->arg) / (double)p->total * BAR_WIDTH) : 0;
	for (uint64_t i = 0; i < BAR_WIDTH; i++)
		bar[i] = i < filled ? '=' : i == filled ? '>' : ' ';
	bar[BAR_WIDTH] = '\0';
	describe(p, text, sizeof(text));
	fprintf(stderr, "\r%s [%s] %s\033[K", p->label, bar, text);
	fflush(stderr);
	p->shown = true;
}

static void tick(struct progress *p)
{
	char text[80];

	if (p->mode == PROGRESS_PLAIN) {
		describe(p, text, sizeof(text));
		log_info("%s: %s", p->label, text);
		return;
	}
	log_lock();
	draw(p, true);
	log_unlock();
}

static void *progress_main(void *arg)
{
	struct progress *p = arg;
	long ms = p->mode == PROGRESS_BAR ? BAR_INTERVAL_MS : PLAIN_INTERVAL_MS;
	struct timespec next = p->start;

	pthread_mutex_lock(&p->lock);
	while (!p->stop) {
		next.tv_nsec += ms * 1000000;
		next.tv_sec += next.tv_nsec / 1000000000;
		next.tv_nsec %= 1000000000;
		while (!p->stop && pthread_cond_timedwait(&p->wake, &p->lock, &next) == 0)
			;
		if (p->stop)
			break;
		pthread_mutex_unlock(&p->lock);
		tick(p);
		pthread_mutex_lock(&p->lock);
	}
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

static void progress_free(struct progress *p)
{
	pthread_cond_destroy(&p->wake);
	pthread_mutex_destroy(&p->lock);
	free(p->label);
	free(p);
}

struct progress *progress_start(enum progress_mode mode, const char *label, uint64_t total,
	uint64_t (*done)(void *arg), void *arg)
{
	struct progress *p;
	CLEANUP_ERROR struct error *err = NULL;
	pthread_condattr_t attr;

	if (mode == PROGRESS_NONE)
		return NULL;
	p = xzalloc(sizeof(*p));
	p->mode = mode;
	p->label = xstrdup(label);
	p->total = total;
	p->done = done;
	p->arg = arg;
	clock_gettime(CLOCK_MONOTONIC, &p->start);
	pthread_mutex_init(&p->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&p->wake, &attr);
	pthread_condattr_destroy(&attr);
	if (thread_start(&p->thread, progress_main, p, &err) < 0) {
		progress_free(p); /* the work goes on without a bar */
		return NULL;
	}
	if (mode == PROGRESS_BAR)
		log_set_status(draw, p);
	return p;
}

void progress_stop(struct progress *p)
{
	if (!p)
		return;
	pthread_mutex_lock(&p->lock);
	p->stop = true;
	pthread_cond_signal(&p->wake);
	pthread_mutex_unlock(&p->lock);
	pthread_join(p->thread, NULL);
	log_set_status(NULL, NULL);
	log_lock();
	draw(p, false);
	log_unlock();
	fflush(stderr);
	progress_free(p);
}
