/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * Lines for programs, on stderr: what has happened, in logfmt.
 *
 *	time=2026-01-31T12:00:00.123Z level=warning event=fault blob=sha256:... offset=4096
 *	source=registry.example error="GET ...: connection refused"
 *
 *	log_event(EVENT_FAULT, name, FIELD("blob", &digest), FIELD("offset", offset),
 *		FIELD("error", err->msg));
 *
 * Values from outside cannot forge a line or a field: they stand in quotes, with all but printable
 * ASCII as \ooo. A line has at most 4,095 bytes. It is written by one write(2), and only when
 * stderr takes it at once: nobody waits for whoever reads the log, which may be a reader that waits
 * for us. What was not written is counted, and told by the next line (lost=N).
 */
#ifndef BASE_LOG_EVENT_H
#define BASE_LOG_EVENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/digest.h"

enum log_event_kind {
	/* What is normal; silent with --quiet: */
	EVENT_MOUNT,
	EVENT_UMOUNT,
	EVENT_RESTORE, /* a mount goes on in a new process */
	EVENT_RECOVERY, /* what was a fault is none any more */
	/* What is not; never silent: */
	EVENT_UNTRUSTED, /* a mount may show wrong bytes */
	EVENT_FAULT,
	EVENT_NO_SPACE,
	EVENT_EXPIRED, /* a reader's deadline */
	LOG_EVENT_KINDS,
};

struct log_field {
	const char *key; /* a word of [a-z_] */
	enum { FIELD_TEXT, FIELD_SIGNED, FIELD_UNSIGNED, FIELD_SECONDS, FIELD_DIGEST } type;
	union {
		const char *text; /* NULL: the field is left out */
		int64_t i;
		uint64_t u;
		double seconds;
		const struct digest *digest;
	} value;
};

static inline struct log_field field_text_(const char *key, const char *v)
{
	return (struct log_field){ .key = key, .type = FIELD_TEXT, .value.text = v };
}
static inline struct log_field field_signed_(const char *key, int64_t v)
{
	return (struct log_field){ .key = key, .type = FIELD_SIGNED, .value.i = v };
}
static inline struct log_field field_unsigned_(const char *key, uint64_t v)
{
	return (struct log_field){ .key = key, .type = FIELD_UNSIGNED, .value.u = v };
}
static inline struct log_field field_seconds_(const char *key, double v)
{
	return (struct log_field){ .key = key, .type = FIELD_SECONDS, .value.seconds = v };
}
static inline struct log_field field_digest_(const char *key, const struct digest *v)
{
	return (struct log_field){ .key = key, .type = FIELD_DIGEST, .value.digest = v };
}

/* By the value's type: text, an integer, a double (in seconds) or a digest's address. */
#define FIELD(key, v) \
	_Generic((v), bool                        \
		 : field_unsigned_, char *                        \
		 : field_text_, const char *        \
		 : field_text_, int                 \
		 : field_signed_, long              \
		 : field_signed_, long long         \
		 : field_signed_, unsigned          \
		 : field_unsigned_, unsigned long   \
		 : field_unsigned_, unsigned long long \
		 : field_unsigned_, double          \
		 : field_seconds_, struct digest *  \
		 : field_digest_, const struct digest * \
		 : field_digest_)((key), (v))

/*
 * For a program that a person runs: events are lines as of lib/base/log.h, with "about" and the
 * last text alone; --quiet silences them all.
 */
void log_event_for_people(bool people);

/*
 * On any thread. Of faults, recoveries, no_space and expired that are about the same thing
 * (`about`, any text, NULL for nothing) five are written in a minute, and 200 of one kind; how many
 * were not is told by the next one (suppressed=N), or by a line of its own (event=suppressed).
 */
#define log_event(kind, about, ...)                                                  \
	log_event_fields((kind), (about), (const struct log_field[]){ __VA_ARGS__ }, \
		sizeof((const struct log_field[]){ __VA_ARGS__ }) / sizeof(struct log_field))
void log_event_fields(
	enum log_event_kind kind, const char *about, const struct log_field *fields, size_t n);

/* Tell what was suppressed and whose minute is over (`all`: at once, at the end). Call it now and
 * then. */
void log_event_flush(bool all);

/* For tests: milliseconds, monotonic; NULL: the clock. Forgets what was counted. */
void log_event_set_clock(uint64_t (*now)(void));

#endif
