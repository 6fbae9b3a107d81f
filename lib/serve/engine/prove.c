// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/* Who may read a blob that others have had cached? Whoever can get it himself. */
#include "config.h"

#include <errno.h>
#include <sys/random.h>

#include "lib/base/mem.h"
#include "lib/blob/decoder.h"
#include "lib/serve/engine/part.h"

static int begin(struct served_blob *b, struct prover *p, struct error **err)
{
	bool removed;

	pthread_mutex_lock(&b->engine->lock);
	removed = b->removed;
	if (!removed) {
		b->busy++;
		TAILQ_INSERT_TAIL(&b->provers, p, of_blob);
	}
	pthread_mutex_unlock(&b->engine->lock);
	return removed ? error_set(err, ECANCELED, "cancelled") : 0;
}

static void end(struct served_blob *b, struct prover *p)
{
	pthread_mutex_lock(&b->engine->lock);
	TAILQ_REMOVE(&b->provers, p, of_blob);
	blob_leave_locked(b);
	pthread_mutex_unlock(&b->engine->lock);
}

/* It becomes the blob's, where that needs one. */
static const struct range_map *offer(struct served_blob *b, struct range_map **m)
{
	struct want_list done = TAILQ_HEAD_INITIALIZER(done);
	const struct range_map *used = *m;
	bool news = false;

	pthread_mutex_lock(&b->engine->lock);
	if (!blob_map(b) && !b->complete && !b->removed) {
		news = store_blob_present(b->cache);
		index_opened_locked(b, take_ptr(*m), &done);
		queue_update_locked(b);
	}
	pthread_mutex_unlock(&b->engine->lock);
	if (news)
		blob_tell_changed(b, 0, UINT64_MAX);
	wants_answer(&done);
	return used;
}

static int choose(const struct range_map *m, struct frame *frame, struct error **err)
{
	uint64_t r;

	if (getrandom(&r, sizeof(r), 0) != sizeof(r))
		return error_set(err, errno, "no random numbers");
	*frame = range_map_frame(m, (uint32_t)(r % range_map_n_frames(m)));
	return 0;
}

static int fetch_one(struct served_blob *b, const struct range_map *m, struct blob_source *source,
	struct error **err)
{
	CLEANUP_FREE uint8_t *p = NULL;
	struct frame frame;

	if (!range_map_n_frames(m))
		return 0;
	if (choose(m, &frame, err) < 0)
		return -1;
	p = xmalloc(frame.stored_size);
	count_add(b, COUNT_REQUESTS, 1);
	if (source->read(source, &b->digest, frame.stored_offset, p, frame.stored_size, err) < 0)
		return -1;
	count_add(b, COUNT_BYTES, frame.stored_size);
	if (frame_verify(&frame, p, err) == 0)
		return 0;
	count_add(b, COUNT_BAD_FRAMES, 1);
	if (source->blame)
		source->blame(source);
	return -1;
}

/* A part in busy: the blob and its map stay. */
static int prove(struct served_blob *b, struct blob_source *source, struct error **err)
{
	const struct range_map *m = blob_map(b);
	CLEANUP_RANGE_MAP struct range_map *own = NULL;

	if (!m) {
		own = b->open_index(b->arg, source, err);
		if (!own)
			return -1;
		m = offer(b, &own);
	}
	return fetch_one(b, m, source, err);
}

int engine_prove(struct served_blob *b, struct blob_source *source, struct error **err)
{
	struct prover p = { .source = source };
	int rc;

	if (begin(b, &p, err) < 0)
		return -1;
	rc = prove(b, source, err);
	if (rc < 0)
		error_wrap(err, "%s", b->name);
	end(b, &p);
	return rc;
}
