/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * What the engine's parts share. One lock guards all that is not said to be free of it; nobody
 * holds it over I/O or while a want is answered.
 *
 * A frame that is not in the cache is absent (nothing is known of it), queued, or being fetched:
 * the latter two are a flight. Who wants frames waits for the first of them that is missing, and
 * looks again when it has landed.
 */
#ifndef SERVE_ENGINE_PART_H
#define SERVE_ENGINE_PART_H

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>

#include "lib/serve/engine/engine.h"

/* How urgent. The first two are queues of flights, prefetching walks through blobs. */
enum level { DEMAND, AHEAD, PREFETCH, N_LEVELS };

enum {
	RUN_FRAMES = 1024, /* of one request, at most */
	RUN_BYTES = 64 * 1024 * 1024, /* uncompressed, of one request, at most */
	STREAMS = 4, /* at once: each has a connection, of which a host gets few (lib/registry) */
	READERS = 8, /* sequential ones that are followed in a blob */
};

/* Counters of a blob, free of the lock. */
enum count {
	COUNT_HITS,
	COUNT_WAITED, /* wants that were no hits */
	COUNT_FRAMES,
	COUNT_BYTES,
	COUNT_FRAMES_WAITED,
	COUNT_REQUESTS,
	COUNT_ERRORS,
	COUNT_BAD_FRAMES,
	COUNT_RECOVERED,
	COUNT_DEADLINES,
	COUNT_NO_SPACE,
	COUNT_FAILED, /* wants, while their blob was served */
	COUNT_WAITED_US,
	COUNT_BUCKETS, /* of how long wants waited, and those behind it */
	COUNT_BUCKETS_END = COUNT_BUCKETS + ENGINE_WAIT_BUCKETS - 1,
	N_COUNTS
};

TAILQ_HEAD(want_list, want);
TAILQ_HEAD(flight_list, flight);
TAILQ_HEAD(blob_list, served_blob);
TAILQ_HEAD(fetcher_list, fetcher);

struct flight {
	uint32_t frame;
	enum level level;
	struct run *run; /* that fetches it; NULL: it is in its blob's queue of the level */
	struct flight *next; /* in its bucket */
	TAILQ_ENTRY(flight) of_queue;
	struct want_list waiters;
};

/* A blob's flights by frame. */
struct flights {
	struct flight **buckets; /* NULL while there has been none */
	uint32_t n_buckets; /* a power of two */
	uint32_t n;
};

/* One who reads from front to back. */
struct reader {
	uint32_t at; /* the last frame that was read */
	uint32_t ahead; /* those before it were asked for */
	uint64_t window; /* bytes as stored, how far to read ahead; 0: not known to be one */
	uint64_t used;
};

struct ahead {
	pthread_mutex_t lock; /* only ever tried */
	_Atomic uint32_t last; /* frame, of whatever reader; UINT32_MAX: none yet */
	_Atomic uint64_t read_at; /* and when; 0: never */
	uint64_t clock;
	struct reader readers[READERS];
};

/* Prefetching's way through a blob: from a frame on, round the end, and back to it. */
struct walk {
	uint32_t from;
	uint32_t n; /* so many frames are behind it */
};

/* Space in the store that is reserved and not used. */
struct room {
	pthread_mutex_t lock;
	uint64_t bytes;
	uint64_t readers; /* of these, not for prefetching */
	uint64_t step; /* what to reserve next */
};

/* A call of engine_prove(). */
struct prover {
	struct blob_source *source;
	TAILQ_ENTRY(prover) of_blob;
};
TAILQ_HEAD(prover_list, prover);

struct served_blob {
	struct engine *engine;
	struct store_blob *cache;
	struct range_map *_Atomic map; /* NULL until it is loaded, and once all is there */
	struct range_map *_Atomic retired; /* has been the map; some may still look at it */
	atomic_uint lookers; /* at the map, without the lock */
	struct range_map *(*open_index)(void *arg, struct blob_source *source, struct error **err);
	void (*completed)(void *arg);
	void (*changed)(void *arg, uint64_t offset, uint64_t len);
	void *arg;
	struct blob_source *source;
	struct digest digest;
	char *name;
	atomic_bool complete; /* all of it is in the cache, and synced */
	_Atomic uint64_t counts[N_COUNTS];
	const _Atomic uint64_t *hits_also; /* that somebody else counts */
	uint64_t hits_seen; /* of those, in counts */
	_Atomic uint64_t cached; /* bytes, uncompressed, that are there; while there is a map */
	struct ahead ahead;
	struct room room;

	TAILQ_ENTRY(served_blob) of_engine, of_dirty, of_ready[N_LEVELS];
	bool ready[N_LEVELS]; /* in the engine's list of the level */
	uint64_t rest[N_LEVELS]; /* nothing of the level is begun before this time */
	bool opening; /* the index is being loaded */
	struct want_list index_waiters;
	struct flights flights;
	struct flight_list queue[PREFETCH];
	bool prefetch;
	struct walk walk;
	uint64_t prefetch_number; /* in the order in which prefetching of blobs began */
	unsigned prefetch_pause, full_pause, away_pause; /* milliseconds, the last ones */
	uint64_t lacking; /* bytes, the fewest that the store had no room for; 0: it had */
	bool starved; /* and somebody has waited in vain for that: nobody waits any more */
	bool failing; /* the source's last answer was an error */
	bool dirty; /* in the engine's list */
	uint64_t dirty_since;
	uint64_t sync_rest; /* no sync before this time */
	uint64_t unsynced, unpushed; /* bytes */
	unsigned busy; /* threads that are at it without the lock */
	struct prover_list provers;
	atomic_bool removed; /* written with the lock */
};

/* What a fetcher does in one go. */
struct run {
	struct served_blob *blob; /* NULL: none at present */
	uint64_t number; /* by when they were begun, ... */
	uint64_t since; /* ... which was then: microseconds */
	enum level level;
	bool index; /* load the index, nothing else */
	uint32_t first, end; /* the frames of one request */
	uint64_t need; /* bytes, uncompressed, of those to be written */
	uint64_t readers; /* bytes that were taken of what is for readers alone */
	bool starved; /* so was the blob, until space was reserved for these */
	uint32_t n, at; /* flights; all before `at` have landed */
	struct flight *flights[RUN_FRAMES]; /* those of them that are wanted, in order; NULL: it has
					       landed, or is another run's */
	bool streams; /* they come one by one, ... */
	uint64_t reached; /* ... and this byte, as stored, is the next */
	bool blamed; /* its source was, for what it gave */
	uint64_t paused; /* microseconds, for who waits for other frames */
};

struct buffer {
	uint8_t *p;
	size_t size;
};

struct fetcher {
	struct engine *engine;
	pthread_t thread;
	struct decoder *decoder;
	struct buffer stored, content;
	struct run run;
	bool turn; /* it works on what has come, ... */
	uint64_t waits_since; /* ... or waits until it may; microseconds */
	pthread_cond_t called;
	TAILQ_ENTRY(fetcher) of_turn;
};

struct engine {
	struct engine_options options;
	uint64_t patience; /* microseconds, the deadline */
	pthread_mutex_t lock;
	pthread_cond_t work; /* for fetchers */
	pthread_cond_t sync; /* for the syncer */
	pthread_cond_t clock; /* for the clock: only to end it */
	pthread_cond_t quiet; /* a blob's busy has become 0 */
	pthread_cond_t calm; /* who let others go first may look again */
	unsigned idle; /* fetchers */
	unsigned busy[N_LEVELS]; /* fetchers */
	unsigned processors, at_turn;
	struct fetcher_list for_turn; /* who waits for one */
	unsigned streams;
	uint64_t runs;
	uint64_t prefetched; /* blobs */
	uint64_t prefetch_runs;
	bool stopping;
	struct blob_list blobs, dirty, ready[N_LEVELS];
	struct want_list waiting; /* all, by age */
	uint64_t gone[N_COUNTS]; /* of removed blobs */
	pthread_t clock_thread, sync_thread;
	bool has_clock, has_sync;
	unsigned n_fetchers; /* that were started */
	struct fetcher *fetchers;
};

/* Functions with the suffix _locked are called with the engine's lock held. */

uint64_t engine_now(void); /* microseconds, monotonic */
void engine_wait_locked(struct engine *e, pthread_cond_t *c, uint64_t until); /* UINT64_MAX: ever */

static inline void count_add(struct served_blob *b, enum count c, uint64_t n)
{
	atomic_fetch_add_explicit(&b->counts[c], n, memory_order_relaxed);
}

static inline struct range_map *blob_map(const struct served_blob *b)
{
	return atomic_load_explicit(&b->map, memory_order_acquire);
}

/* flight.c */
struct flight *flights_find(const struct flights *t, uint32_t frame);
struct flight *flights_add(struct flights *t, uint32_t frame); /* which is not there */
void flights_remove(struct flights *t, struct flight *f); /* frees it */
void flights_free(struct flights *t);

/* queue.c */
struct flight *queue_frame_locked(struct served_blob *b, uint32_t frame, enum level level);
void queue_back_locked(struct served_blob *b, struct flight *f); /* it was being fetched */
/* What one request asks for at most, bytes as stored. */
size_t queue_request_bytes(const struct engine *e, bool streams);
/* What a blob has to do has changed. */
void queue_update_locked(struct served_blob *b);
/* false: nothing to do before *wake. Else run_end_locked() follows. */
bool queue_take_locked(struct engine *e, struct run *r, uint64_t *wake);
void run_end_locked(struct run *r);
/* Is it to be fetched, at this level or for somebody more urgent? */
bool queue_wants_locked(const struct served_blob *b, uint32_t frame, enum level level);

/* prefetch.c */
bool prefetch_has_work_locked(const struct served_blob *b);
/* The first frame of the next run, or UINT32_MAX: none has been found so far. */
uint32_t prefetch_find_locked(struct served_blob *b, const struct range_map *m);
/* Whose turn it is: whoever has waited for longest, or who goes before all others. */
bool prefetch_is_turn(const struct engine *e);
bool prefetch_goes_before(const struct served_blob *a, const struct served_blob *b);
/* Shall it wait, for what will be wanted before it? No longer than until *wake, then. */
bool prefetch_waits(const struct served_blob *b, enum level level, uint64_t now, uint64_t *wake);
/* It has come to the end: again, for what is still missing. */
void prefetch_again_locked(struct served_blob *b);
void prefetch_rest_locked(struct served_blob *b);

/* fetch.c */
void fetch_run(struct fetcher *f);
void fetcher_need(struct buffer *b, size_t size); /* what it held before is of no use */
/* The frame of flight i from its bytes, at one's turn, with room for it. false: nothing more comes
 * of the run. */
bool fetch_frame(struct fetcher *f, uint32_t i, const struct frame *frame, uint8_t *stored);
/* The store has no room for it, its source is away, or there is a fault: so for it and all behind
 * it. */
void fetch_give_up(struct fetcher *f, uint32_t i, const struct error *err);
/* Flights from i on are no more this run's: who waits goes on waiting, for the next one. Any? */
bool fetch_leave_locked(struct fetcher *f, uint32_t i);
void fetch_rest_locked(struct served_blob *b); /* its source is away: nobody asks for a while */
int fetch_room(struct fetcher *f, uint64_t bytes, struct error **err); /* reserves it */

/* fetch_stream.c */
void fetch_stream(struct fetcher *f);
void fetcher_drop_buffers(struct fetcher *f);

/* turn.c */
unsigned turn_processors(void);
void turn_take(struct fetcher *f); /* before the run's bytes are worked on */
void turn_give(struct fetcher *f);
void turn_pass(struct fetcher *f); /* between frames: to who goes before it by now */
void turn_end_locked(struct served_blob *b); /* it is removed: nobody waits for it here */
void turn_hurry_locked(struct served_blob *b, uint32_t frame); /* somebody waits for it */
bool run_is_waited_for(const struct run *r); /* with the lock */

/* want.c */
/* It waits for the first frame that is missing, or goes to `done`. */
void want_go_on_locked(struct want *w, struct want_list *done);
void want_begin_locked(struct want *w, struct want_list *done); /* there is a map */
void want_end_locked(struct want *w, int error, struct want_list *done);
void wants_fail_locked(struct want_list *l, int error, struct want_list *done);
void wants_answer(struct want_list *done); /* without the lock */

/* map.c */
/* The map, or NULL, until map_leave(), for those who have neither the lock nor a part in busy. */
const struct range_map *map_enter(struct served_blob *b);
void map_leave(struct served_blob *b);
void map_install_locked(struct served_blob *b, struct range_map *m);
void map_retire_locked(struct served_blob *b); /* when nothing needs it any more */
void map_free(struct served_blob *b);
uint64_t map_count_cached(const struct served_blob *b, const struct range_map *m);
void blob_open_index(struct served_blob *b);
/* There is an index now: who has waited for it goes on. */
void index_opened_locked(struct served_blob *b, struct range_map *m, struct want_list *done);

/* blob.c */
/* A fetch has ended. */
void flight_land_locked(struct served_blob *b, struct flight *f, int error, struct want_list *done);
void blob_fail_waiters_locked(struct served_blob *b, struct want_list *done);
void blob_leave_locked(struct served_blob *b); /* busy is one less */
/* Until busy is 0; what the blob's sources do for it is cancelled. */
void blob_wait_quiet_locked(struct served_blob *b);
/* What is there of it is something else now. Without the lock. */
void blob_tell_changed(struct served_blob *b, uint64_t offset, uint64_t len);
/* Say a fault, but not every time; and count a fetch that has failed for good. */
void blob_tell_fault(struct served_blob *b, const struct error *err);
/* Only say it: what has not come will be asked for again. */
void blob_tell_broken(struct served_blob *b, const struct error *err);
/* What its source was asked for has come, or not: the first time that it has again is said. */
void blob_tell_answer(struct served_blob *b, bool good);

/* ahead.c */
void ahead_init(struct ahead *a);
/* Frames [first, end) are read: shall [*from, *to) be read ahead? */
bool ahead_note(struct served_blob *b, const struct range_map *m, uint32_t first, uint32_t end,
	uint32_t *from, uint32_t *to);

/* room.c */
void room_init(struct room *r);
int room_take(struct run *run, uint64_t bytes, struct error **err);
/* No room, rather than a fault? */
static inline bool is_full(const struct error *e)
{
	return e->code == ENOSPC || e->code == EDQUOT;
}
/* What was taken and not used, in several parts or in one: it is for whom it was before. */
void room_give_back(struct run *run, uint64_t bytes);

/* sync.c and clock.c: threads */
void sync_note_locked(struct served_blob *b, uint64_t bytes); /* they were written */
void *sync_main(void *engine);
void *clock_main(void *engine);

/* stats.c */
void count_wait(struct served_blob *b, uint64_t us);
void counts_add_locked(uint64_t sum[static N_COUNTS], struct served_blob *b);

#endif
