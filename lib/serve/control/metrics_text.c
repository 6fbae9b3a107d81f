// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/serve/control/metrics_text.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/mem.h"

#define PREFIX "erofs_convert_"

static void family(FILE *f, const char *name, const char *type, const char *help)
{
	fprintf(f, "# HELP " PREFIX "%s %s\n# TYPE " PREFIX "%s %s\n", name, help, name, type);
}

/* A label's value may hold anything but these three as they are. */
static void label(FILE *f, const char *name, const char *value)
{
	fprintf(f, "%s=\"", name);
	for (; *value; value++) {
		if (*value == '\n')
			fputs("\\n", f);
		else if (*value == '"' || *value == '\\')
			fprintf(f, "\\%c", *value);
		else
			fputc(*value, f);
	}
	fputc('"', f);
}

/* ---- plain numbers ---- */

static const struct number {
	const char *name, *type, *help;
	size_t offset; /* in struct engine_stats */
} numbers[] = {
#define NUMBER(field, name, type, help)                                \
	{                                                              \
		name, type, help, offsetof(struct engine_stats, field) \
	}
	NUMBER(bytes_cached, "cached_bytes", "gauge", "Bytes of the served blobs in the store."),
	NUMBER(bytes_missing, "missing_bytes", "gauge",
		"Bytes of the served blobs that are not in the store."),
	NUMBER(wants, "reads_total", "counter", "Ranges that were asked for."),
	NUMBER(hits, "read_hits_total", "counter", "Ranges that were there when asked for."),
	NUMBER(failed, "failed_reads_total", "counter", "Reads that got an error."),
	NUMBER(frames_fetched, "fetched_frames_total", "counter", "Frames fetched and verified."),
	NUMBER(bytes_fetched, "fetched_bytes_total", "counter", "Bytes of these, as stored."),
	NUMBER(frames_waited, "shared_fetches_total", "counter",
		"Times that a frame was wanted while its fetch for another reader was under way."),
	NUMBER(requests, "source_requests_total", "counter",
		"Requests to registries and other sources."),
	NUMBER(errors, "errors_total", "counter", "Fetches that failed, also on another try."),
	NUMBER(recovered, "recovered_total", "counter",
		"Failed fetches that another try or another source has mended."),
	NUMBER(bad_frames, "bad_frames_total", "counter", "Frames whose bytes were wrong."),
	NUMBER(deadlines, "deadlines_total", "counter",
		"Reads that failed because their time was over."),
	NUMBER(no_space, "no_space_total", "counter",
		"Reads that failed because there was no room in the store."),
};

static uint64_t number_of(const struct engine_stats *stats, const struct number *n)
{
	uint64_t v;

	memcpy(&v, (const char *)stats + n->offset, sizeof(v));
	return v;
}

static void put_numbers(FILE *f, const struct engine_stats *stats)
{
	for (const struct number *n = numbers; n < numbers + sizeof(numbers) / sizeof(*n); n++) {
		family(f, n->name, n->type, n->help);
		fprintf(f, PREFIX "%s %" PRIu64 "\n", n->name, number_of(stats, n));
	}
	family(f, "blobs", "gauge", "Blobs that are served, by whether all of them is here.");
	fprintf(f,
		PREFIX "blobs{state=\"complete\"} %" PRIu64 "\n" PREFIX
		       "blobs{state=\"incomplete\"} %" PRIu64 "\n",
		stats->blobs_complete, stats->blobs - stats->blobs_complete);
}

/* ---- time waited ---- */

static void put_waits(FILE *f, const struct engine_stats *stats)
{
	uint64_t n = 0;

	family(f, "wait_seconds", "histogram", "How long reads that were no hits waited.");
	for (int i = 0; i < ENGINE_WAIT_BUCKETS - 1; i++) {
		n += stats->waited[i];
		fprintf(f, PREFIX "wait_seconds_bucket{le=\"%g\"} %" PRIu64 "\n",
			engine_wait_bounds[i], n);
	}
	n += stats->waited[ENGINE_WAIT_BUCKETS - 1];
	fprintf(f, PREFIX "wait_seconds_bucket{le=\"+Inf\"} %" PRIu64 "\n", n);
	fprintf(f, PREFIX "wait_seconds_sum %" PRIu64 ".%06" PRIu64 "\n",
		stats->waited_us / 1000000, stats->waited_us % 1000000);
	fprintf(f, PREFIX "wait_seconds_count %" PRIu64 "\n", n);
}

/* ---- mounts ---- */

enum { KINDS_MAX = 64 };

struct kind { /* of mounts; the words are the status's */
	const char *transport, *state;
	unsigned n;
};

static const char *word(const json_t *mount, const char *name)
{
	const char *s = json_string_value(json_object_get(mount, name));

	return s ? s : "unknown";
}

/* Beyond KINDS_MAX, which cannot be, the last one has the rest. */
static struct kind *find_kind(struct kind *kinds, size_t *n, const json_t *mount)
{
	struct kind k = { word(mount, "transport"), word(mount, "state"), 0 };

	for (size_t i = 0; i < *n; i++)
		if (!strcmp(kinds[i].transport, k.transport) && !strcmp(kinds[i].state, k.state))
			return &kinds[i];
	if (*n == KINDS_MAX)
		return &kinds[KINDS_MAX - 1];
	kinds[*n] = k;
	return &kinds[(*n)++];
}

static void put_mounts(FILE *f, const json_t *status)
{
	struct kind kinds[KINDS_MAX];
	size_t n = 0, i;
	const json_t *mount;

	json_array_foreach(json_object_get(status, "mounts"), i, mount)
	{
		find_kind(kinds, &n, mount)->n++;
	}
	family(f, "mounts", "gauge", "Images that are served.");
	for (i = 0; i < n; i++) {
		fputs(PREFIX "mounts{", f);
		label(f, "transport", kinds[i].transport);
		fputc(',', f);
		label(f, "state", kinds[i].state);
		fprintf(f, "} %u\n", kinds[i].n);
	}
}

/* ---- the holder ---- */

unsigned metrics_waiting(const struct requests *r, uint64_t now, uint64_t grace, unsigned *overdue)
{
	unsigned n = 0;

	*overdue = 0;
	for (size_t i = 0; i < REQUESTS_MAX; i++) {
		const struct held_request *h = &r->slots[i];
		uint32_t state = atomic_load_explicit(&h->state, memory_order_acquire);
		uint64_t deadline = h->deadline;

		if (state != REQUEST_PENDING && state != REQUEST_TAKEN &&
			state != REQUEST_ANSWERING)
			continue;
		n++;
		*overdue += now > deadline && now - deadline > grace;
	}
	return n;
}

static void put_count(FILE *f, const char *name, const char *help, const _Atomic uint64_t *count)
{
	family(f, name, "counter", help);
	fprintf(f, PREFIX "%s %" PRIu64 "\n", name,
		atomic_load_explicit(count, memory_order_relaxed));
}

static void put_holder(FILE *f, const struct requests *r)
{
	unsigned overdue;

	put_count(f, "holder_requests_total", "Events that the holder read from the kernel.",
		&r->read);
	put_count(f, "holder_answered_total", "Events that were answered.", &r->answered);
	put_count(f, "holder_expired_total", "Events that the holder denied at their deadline.",
		&r->expired);
	put_count(f, "holder_denied_total", "Events that were answered with an error.", &r->denied);
	family(f, "holder_waiting", "gauge", "Events that are not yet answered.");
	fprintf(f, PREFIX "holder_waiting %u\n", metrics_waiting(r, 0, 0, &overdue));
}

char *metrics_text(const struct metrics_sample *s, size_t *len)
{
	char *text = NULL;
	FILE *f = open_memstream(&text, len);

	if (!f)
		mem_exhausted();
	family(f, "build_info", "gauge", "Which version this is; always 1.");
	fputs(PREFIX "build_info{version=\"" PACKAGE_VERSION "\"} 1\n", f);
	put_mounts(f, s->status);
	put_numbers(f, s->stats);
	put_waits(f, s->stats);
	if (s->requests)
		put_holder(f, s->requests);
	if (fclose(f) != 0)
		mem_exhausted();
	return text;
}
