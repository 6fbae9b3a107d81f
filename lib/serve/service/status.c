// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/* What can be seen of it from outside. */
#include "config.h"

#include <string.h>

#include "lib/base/mem.h"
#include "lib/base/text.h"
#include "lib/serve/service/part.h"

static const char *const states[] = { "served", "untrusted", "lost" };
static const char *const prefetches[] = { "none", "background", "all" };

/* A path may hold any bytes; JSON may not. */
static json_t *printable(const char *s)
{
	CLEANUP_FREE char *text = NULL;
	json_t *json = json_string(s);

	if (json)
		return json;
	text = text_printable(s, strlen(s));
	return json_string(text);
}

static void blob_stats(const struct session_device *d, struct engine_stats *s)
{
	*s = (struct engine_stats){ 0 };
	if (d->blob && d->blob->served)
		served_blob_stats(d->blob->served, s);
	else
		s->bytes_cached = d->size;
}

static json_t *device_status(const struct session_device *d, const struct engine_stats *s)
{
	char digest[DIGEST_MAX_STR];

	return json_pack("{s:s, s:I, s:I, s:I, s:b, s:I, s:I, s:I, s:f}", "digest",
		digest_format(&d->layer->digest, digest), "size", (json_int_t)d->size, "cached",
		(json_int_t)s->bytes_cached, "missing", (json_int_t)s->bytes_missing, "complete",
		!session_lacks(d), "requests", (json_int_t)s->wants, "hits", (json_int_t)s->hits,
		"errors", (json_int_t)s->errors, "waitedSeconds", (double)s->waited_us / 1e6);
}

static void add(struct engine_stats *sum, const struct engine_stats *one)
{
	sum->wants += one->wants;
	sum->hits += one->hits;
	sum->errors += one->errors;
	sum->waited_us += one->waited_us;
	sum->bytes_cached += one->bytes_cached;
	sum->bytes_missing += one->bytes_missing;
	sum->bytes_fetched += one->bytes_fetched;
}

static void set_sums(json_t *json, const struct engine_stats *s)
{
	json_object_set_new(json, "cached", json_integer((json_int_t)s->bytes_cached));
	json_object_set_new(json, "missing", json_integer((json_int_t)s->bytes_missing));
	json_object_set_new(json, "requests", json_integer((json_int_t)s->wants));
	json_object_set_new(json, "hits", json_integer((json_int_t)s->hits));
	json_object_set_new(
		json, "hitRatio", json_real(s->wants ? (double)s->hits / (double)s->wants : 1.0));
	json_object_set_new(json, "errors", json_integer((json_int_t)s->errors));
	json_object_set_new(json, "waitedSeconds", json_real((double)s->waited_us / 1e6));
}

/* Blobs are shared: each mount shows the numbers of those that it has. */
json_t *mounted_status(const struct mounted *m)
{
	json_t *devices = json_array(), *json;
	struct engine_stats sum = { 0 }, one;
	char manifest[DIGEST_MAX_STR];

	for (size_t i = 0; m->session && i < m->session->found.n_devices; i++) {
		blob_stats(&m->session->devices[i], &one);
		json_array_append_new(devices, device_status(&m->session->devices[i], &one));
		add(&sum, &one);
	}
	json = json_pack("{s:s, s:o, s:s, s:o, s:s, s:s, s:s, s:I, s:I, s:o}", "id", m->id, "image",
		printable(m->asked.image), "manifest", digest_format(&m->manifest, manifest),
		"mountpoint", printable(m->asked.mountpoint), "transport",
		service_transport_name(m->asked.transport), "prefetch",
		prefetches[m->asked.prefetch], "state", states[m->state], "since",
		(json_int_t)m->asked.since, "uid", (json_int_t)m->asked.caller.uid, "devices",
		devices);
	set_sums(json, &sum);
	return json;
}

static json_t *totals(struct service *s)
{
	struct engine_stats sum = { 0 };
	json_t *json = json_object();

	service_stats(s, &sum);
	set_sums(json, &sum);
	json_object_set_new(json, "blobs", json_integer((json_int_t)sum.blobs));
	json_object_set_new(json, "blobsComplete", json_integer((json_int_t)sum.blobs_complete));
	json_object_set_new(json, "bytesFetched", json_integer((json_int_t)sum.bytes_fetched));
	json_object_set_new(json, "sourceRequests", json_integer((json_int_t)sum.requests));
	json_object_set_new(json, "badFrames", json_integer((json_int_t)sum.bad_frames));
	json_object_set_new(json, "deadlines", json_integer((json_int_t)sum.deadlines));
	json_object_set_new(json, "noSpace", json_integer((json_int_t)sum.no_space));
	return json;
}

json_t *service_status(struct service *s)
{
	json_t *mounts = json_array();
	struct mounted *m;

	pthread_mutex_lock(&s->lock);
	LIST_FOREACH(m, &s->mounts, of_service)
	{
		json_array_append_new(mounts, mounted_status(m));
	}
	pthread_mutex_unlock(&s->lock);
	return json_pack("{s:s, s:{s:o, s:I}, s:o, s:o}", "transport",
		service_transport_name(s->automatic), "store", "dir",
		printable(store_dir(blob_set_store(s->blobs))), "limit", (json_int_t)s->store_limit,
		"totals", totals(s), "mounts", mounts);
}

void service_stats(struct service *s, struct engine_stats *stats)
{
	engine_stats(blob_set_engine(s->blobs), stats);
}
