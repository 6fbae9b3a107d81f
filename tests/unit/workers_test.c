// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/* Threads that run jobs: order on strands, pauses, priorities, and the end of work. */
#include "config.h"

#include "lib/base/mem.h"
#include "lib/base/workers.h"
#include "tests/unit/tap.h"

#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <unistd.h>

static struct workers *start(unsigned n)
{
	struct error *err = NULL;
	struct workers *w = workers_start(n, &err);

	if (!w) {
		printf("Bail out! %s\n", err->msg);
		exit(99);
	}
	return w;
}

/* A strand that knows which of its jobs should come next. */
struct lane {
	struct strand strand;
	atomic_int running;
	atomic_uint next, wrong, count;
	unsigned pause_at; /* the job that pauses the strand, from 1 on */
	sem_t *entered, *leave;
};

struct numbered {
	struct job job;
	struct lane *lane;
	unsigned number;
};

static void run_numbered(struct job *job)
{
	struct numbered *j = (struct numbered *)job;
	struct lane *l = j->lane;

	l->wrong += atomic_fetch_add(&l->running, 1) != 0;
	l->wrong += l->next++ != j->number;
	if (l->pause_at && j->number + 1 == l->pause_at)
		strand_pause(&l->strand);
	if (j->number % 97 == 0)
		sched_yield();
	atomic_fetch_sub(&l->running, 1);
	l->count++;
}

static struct numbered *make_jobs(struct lane *l, unsigned n)
{
	struct numbered *jobs = xcalloc(n, sizeof(*jobs));

	for (unsigned i = 0; i < n; i++)
		jobs[i] = (struct numbered){ { .run = run_numbered }, l, i };
	return jobs;
}

static void strands_keep_order_on_many_threads(void)
{
	enum { LANES = 7, JOBS = 3000 };
	struct workers *w = start(6);
	struct lane lanes[LANES] = { 0 };
	struct numbered *jobs[LANES];

	for (int i = 0; i < LANES; i++) {
		strand_init(&lanes[i].strand, w, i % WORKERS_PRIORITIES);
		jobs[i] = make_jobs(&lanes[i], JOBS);
	}
	for (unsigned j = 0; j < JOBS; j++)
		for (int i = 0; i < LANES; i++)
			strand_post(&lanes[i].strand, &jobs[i][j].job);
	workers_wait(w);
	for (int i = 0; i < LANES; i++) {
		CHECK_U64(lanes[i].count, JOBS);
		CHECK_U64(lanes[i].wrong, 0);
		free(jobs[i]);
	}
	workers_stop(w);
}

static void one_thread_is_enough_for_everything(void)
{
	enum { LANES = 3, JOBS = 500 };
	struct workers *w = start(1);
	struct lane lanes[LANES] = { 0 };
	struct numbered *jobs[LANES];

	for (int i = 0; i < LANES; i++) {
		strand_init(&lanes[i].strand, w, i);
		jobs[i] = make_jobs(&lanes[i], JOBS);
		for (unsigned j = 0; j < JOBS; j++)
			strand_post(&lanes[i].strand, &jobs[i][j].job);
	}
	workers_stop(w); /* waits */
	for (int i = 0; i < LANES; i++) {
		CHECK_U64(lanes[i].count, JOBS);
		CHECK_U64(lanes[i].wrong, 0);
		free(jobs[i]);
	}
}

/* A job that says that it was reached. */
struct signal_job {
	struct job job;
	sem_t *sem;
};

static void run_signal(struct job *job)
{
	sem_post(((struct signal_job *)job)->sem);
}

/* Until the workers have run a job of the lowest priority, and then some. */
static void let_pass(struct workers *w)
{
	sem_t done;
	struct signal_job j = { { .run = run_signal }, &done };

	sem_init(&done, 0, 0);
	workers_post(w, 0, &j.job);
	sem_wait(&done);
	usleep(5000);
}

static void a_paused_strand_starts_nothing_until_it_is_resumed(void)
{
	struct workers *w = start(3);
	struct lane l = { 0 };
	struct numbered *jobs = make_jobs(&l, 20);

	strand_init(&l.strand, w, 2);
	strand_pause(&l.strand);
	strand_pause(&l.strand);
	for (int i = 0; i < 20; i++)
		strand_post(&l.strand, &jobs[i].job);
	let_pass(w);
	CHECK_U64(l.count, 0);
	strand_resume(&l.strand); /* pauses do not count */
	workers_wait(w);
	CHECK_U64(l.count, 20);
	CHECK_U64(l.wrong, 0);
	strand_resume(&l.strand);
	workers_stop(w);
	free(jobs);
}

static void a_job_may_pause_its_own_strand(void)
{
	struct workers *w = start(2);
	struct lane l = { .pause_at = 3 };
	struct numbered *jobs = make_jobs(&l, 8);

	strand_init(&l.strand, w, 4);
	for (int i = 0; i < 8; i++)
		strand_post(&l.strand, &jobs[i].job);
	while (l.count < 3)
		usleep(100);
	let_pass(w);
	CHECK_U64(l.count, 3);
	strand_resume(&l.strand);
	workers_wait(w);
	CHECK_U64(l.count, 8);
	CHECK_U64(l.wrong, 0);
	workers_stop(w);
	free(jobs);
}

static void pauses_and_resumes_under_load_lose_no_job(void)
{
	enum { JOBS = 20000 };
	struct workers *w = start(4);
	struct lane l = { 0 };
	struct numbered *jobs = make_jobs(&l, JOBS);

	strand_init(&l.strand, w, 1);
	for (unsigned i = 0; i < JOBS; i++) {
		strand_post(&l.strand, &jobs[i].job);
		if (i % 7 == 0)
			strand_pause(&l.strand);
		if (i % 11 == 0)
			strand_resume(&l.strand);
	}
	strand_resume(&l.strand);
	workers_wait(w);
	CHECK_U64(l.count, JOBS);
	CHECK_U64(l.wrong, 0);
	workers_stop(w);
	free(jobs);
}

struct gate {
	struct job job;
	sem_t entered, open;
};

static void run_gate(struct job *job)
{
	struct gate *g = (struct gate *)job;

	sem_post(&g->entered);
	sem_wait(&g->open);
}

static void shut_gate(struct gate *g)
{
	g->job.run = run_gate;
	sem_init(&g->entered, 0, 0);
	sem_init(&g->open, 0, 0);
}

struct noting_job {
	struct job job;
	char letter;
};

static char notes[64];
static size_t n_notes;

static void run_noting(struct job *job)
{
	notes[n_notes++] = ((struct noting_job *)job)->letter;
	notes[n_notes] = '\0';
}

static void higher_priorities_come_first_and_equal_ones_in_turn(void)
{
	struct workers *w = start(1);
	struct noting_job jobs[10];
	struct gate g;
	static const int priority[10] = { 0, 3, 1, 4, 2, 0, 4, 1, 3, 2 };

	n_notes = 0;
	shut_gate(&g);
	workers_post(w, 0, &g.job);
	sem_wait(&g.entered);
	for (int i = 0; i < 10; i++) {
		jobs[i] = (struct noting_job){ { .run = run_noting }, (char)('a' + i) };
		workers_post(w, priority[i], &jobs[i].job);
	}
	sem_post(&g.open);
	workers_wait(w);
	CHECK_STR(notes, "dgbiejchaf");
	workers_stop(w);
}

static void a_strand_is_served_by_its_priority(void)
{
	struct workers *w = start(1);
	struct noting_job jobs[6];
	struct strand high, low;
	struct gate g;

	n_notes = 0;
	shut_gate(&g);
	strand_init(&high, w, 3);
	strand_init(&low, w, 1);
	workers_post(w, 4, &g.job);
	sem_wait(&g.entered);
	for (int i = 0; i < 6; i++) {
		jobs[i] = (struct noting_job){ { .run = run_noting }, (char)('a' + i) };
		if (i % 3 == 0)
			strand_post(&low, &jobs[i].job);
		else if (i % 3 == 1)
			workers_post(w, 2, &jobs[i].job);
		else
			strand_post(&high, &jobs[i].job);
	}
	sem_post(&g.open);
	workers_wait(w);
	CHECK_STR(notes, "cfbead");
	workers_stop(w);
}

static void waiting_for_idle_workers_returns_at_once(void)
{
	struct workers *w = start(4);

	workers_wait(w);
	workers_wait(w);
	let_pass(w);
	workers_wait(w);
	workers_stop(w);
	workers_stop(NULL);
	CHECK(true);
}

static void waiting_covers_the_job_that_runs(void)
{
	struct workers *w = start(2);
	struct lane l = { 0 };
	struct numbered *jobs = make_jobs(&l, 1);
	struct gate g;

	shut_gate(&g);
	strand_init(&l.strand, w, 0);
	strand_post(&l.strand, &g.job);
	strand_post(&l.strand, &jobs[0].job);
	sem_wait(&g.entered);
	CHECK_U64(l.count, 0);
	sem_post(&g.open);
	workers_wait(w);
	CHECK_U64(l.count, 1);
	workers_stop(w);
	free(jobs);
}

struct again {
	struct job job;
	struct workers *workers;
	struct strand *strand; /* or NULL */
	unsigned left;
};

static void run_again(struct job *job)
{
	struct again *a = (struct again *)job;

	if (!a->left)
		return;
	a->left--;
	if (a->strand)
		strand_post(a->strand, job);
	else
		workers_post(a->workers, 2, job);
}

static void a_job_may_post_itself_again(void)
{
	struct workers *w = start(3);
	struct strand s;
	struct again loose = { { .run = run_again }, w, NULL, 2000 };
	struct again on_strand = { { .run = run_again }, w, &s, 2000 };

	strand_init(&s, w, 1);
	workers_post(w, 2, &loose.job);
	strand_post(&s, &on_strand.job);
	workers_wait(w);
	CHECK_U64(loose.left, 0);
	CHECK_U64(on_strand.left, 0);
	workers_stop(w);
}

struct fan {
	struct job job;
	struct workers *workers;
	atomic_uint *count;
	int depth;
};

static void run_fan(struct job *job)
{
	struct fan *f = (struct fan *)job;

	++*f->count;
	for (int i = 0; f->depth && i < 3; i++) {
		struct fan *child = xmalloc(sizeof(*child));

		*child = *f;
		child->depth--;
		workers_post(f->workers, child->depth % WORKERS_PRIORITIES, &child->job);
	}
	free(f);
}

static void jobs_may_post_others_and_free_themselves(void)
{
	struct workers *w = start(4);
	struct fan *root = xmalloc(sizeof(*root));
	atomic_uint count = 0;

	*root = (struct fan){ { .run = run_fan }, w, &count, 7 };
	workers_post(w, 0, &root->job);
	workers_wait(w);
	CHECK_U64(count, (6561 - 1) / 2); /* 3^0 + ... + 3^7 */
	workers_stop(w);
}

struct poster {
	pthread_t thread;
	struct strand *strand;
	struct lane *lane;
	struct numbered *jobs;
	unsigned n;
};

static void *post_all(void *arg)
{
	struct poster *p = arg;

	for (unsigned i = 0; i < p->n; i++)
		strand_post(p->strand, &p->jobs[i].job);
	return NULL;
}

static void run_of_poster(struct job *job)
{
	struct numbered *j = (struct numbered *)job;

	j->lane->wrong += j->lane->next++ != j->number;
	j->lane->count++;
}

static void a_strand_that_many_threads_feed_keeps_the_order_of_each(void)
{
	enum { POSTERS = 4, JOBS = 2000 };
	struct workers *w = start(3);
	struct lane lanes[POSTERS] = { 0 };
	struct poster posters[POSTERS];
	struct strand s;

	strand_init(&s, w, 0);
	for (int i = 0; i < POSTERS; i++) {
		posters[i] = (struct poster){ .strand = &s,
			.lane = &lanes[i],
			.jobs = make_jobs(&lanes[i], JOBS),
			.n = JOBS };
		for (unsigned j = 0; j < JOBS; j++)
			posters[i].jobs[j].job.run = run_of_poster;
		pthread_create(&posters[i].thread, NULL, post_all, &posters[i]);
	}
	for (int i = 0; i < POSTERS; i++)
		pthread_join(posters[i].thread, NULL);
	workers_wait(w);
	for (int i = 0; i < POSTERS; i++) {
		CHECK_U64(lanes[i].count, JOBS);
		CHECK_U64(lanes[i].wrong, 0);
		free(posters[i].jobs);
	}
	workers_stop(w);
}

static void jobs_run_at_the_same_time_on_several_threads(void)
{
	struct workers *w = start(2);
	struct gate a, b;

	shut_gate(&a);
	shut_gate(&b);
	workers_post(w, 0, &a.job);
	workers_post(w, 0, &b.job);
	sem_wait(&a.entered);
	sem_wait(&b.entered); /* would wait for ever, if one thread did it all */
	sem_post(&b.open);
	sem_post(&a.open);
	workers_wait(w);
	workers_stop(w);
	CHECK(true);
}

int main(void)
{
	alarm(300); /* a lost job is a hang */
	RUN(strands_keep_order_on_many_threads);
	RUN(one_thread_is_enough_for_everything);
	RUN(a_paused_strand_starts_nothing_until_it_is_resumed);
	RUN(a_job_may_pause_its_own_strand);
	RUN(pauses_and_resumes_under_load_lose_no_job);
	RUN(higher_priorities_come_first_and_equal_ones_in_turn);
	RUN(a_strand_is_served_by_its_priority);
	RUN(waiting_for_idle_workers_returns_at_once);
	RUN(waiting_covers_the_job_that_runs);
	RUN(a_job_may_post_itself_again);
	RUN(jobs_may_post_others_and_free_themselves);
	RUN(a_strand_that_many_threads_feed_keeps_the_order_of_each);
	RUN(jobs_run_at_the_same_time_on_several_threads);
	return tap_done();
}
