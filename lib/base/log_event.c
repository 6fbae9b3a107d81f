// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/base/log_event.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/log.h"
#include "lib/base/log_event_limit.h"
#include "lib/base/mem.h"
#include "lib/base/text.h"

/* A pipe that is writable at all takes a page without waiting (pipe(7), PIPE_BUF). */
enum { LINE_MAX_BYTES = 4095, TAIL_BYTES = 96, VALUE_MAX = 512 };

struct line {
	char bytes[LINE_MAX_BYTES + 1];
	size_t len;
};

static struct {
	pthread_mutex_t lock;
	uint64_t (*now)(void);
	uint64_t lost; /* lines, not told yet */
	bool torn; /* the last line was not written to its end */
	bool people; /* read it, not programs */
} events = { .lock = PTHREAD_MUTEX_INITIALIZER };

static const struct {
	const char *name;
	bool normal, limited;
} kinds[LOG_EVENT_KINDS] = {
	[EVENT_MOUNT] = { "mount", true, false },
	[EVENT_UMOUNT] = { "umount", true, false },
	[EVENT_RESTORE] = { "restore", true, false },
	[EVENT_RECOVERY] = { "recovery", true, true },
	[EVENT_UNTRUSTED] = { "untrusted", false, false },
	[EVENT_FAULT] = { "fault", false, true },
	[EVENT_NO_SPACE] = { "no_space", false, true },
	[EVENT_EXPIRED] = { "expired", false, true },
};

static uint64_t monotonic(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static uint64_t now(void)
{
	return events.now ? events.now() : monotonic();
}

/* ---- lines ---- */

/* All of it, or nothing where it does not fit: a value that is cut would not end. */
__attribute__((format(printf, 3, 4))) static void put(
	struct line *l, size_t room, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(l->bytes + l->len, room - l->len, fmt, ap);
	va_end(ap);
	if (n > 0 && (size_t)n < room - l->len)
		l->len += (size_t)n;
	l->bytes[l->len] = '\0';
}

/* A value that needs no quotes: a reader ends it at the next blank. */
static bool is_plain(const char *s)
{
	return *s && !s[strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
				  "_./:@+,-")];
}

static void put_text(struct line *l, const char *key, const char *value)
{
	size_t len = strnlen(value, VALUE_MAX + 1);
	CLEANUP_FREE char *shown = text_printable(value, len > VALUE_MAX ? VALUE_MAX : len);
	CLEANUP_FREE char *quoted = xmalloc(2 * strlen(shown) + 1);
	char *out = quoted;

	for (const char *c = shown; *c; c++) {
		if (*c == '"' || *c == '\\')
			*out++ = '\\';
		*out++ = *c;
	}
	*out = '\0';
	if (len <= VALUE_MAX && is_plain(value))
		put(l, LINE_MAX_BYTES - TAIL_BYTES, " %s=%s", key, value);
	else
		put(l, LINE_MAX_BYTES - TAIL_BYTES, " %s=\"%s%s\"", key, quoted,
			len > VALUE_MAX ? "..." : "");
}

static void put_field(struct line *l, const struct log_field *f)
{
	const size_t room = LINE_MAX_BYTES - TAIL_BYTES;
	char digest[DIGEST_MAX_STR];

	switch (f->type) {
	case FIELD_TEXT:
		if (f->value.text)
			put_text(l, f->key, f->value.text);
		break;
	case FIELD_SIGNED:
		put(l, room, " %s=%" PRId64, f->key, f->value.i);
		break;
	case FIELD_UNSIGNED:
		put(l, room, " %s=%" PRIu64, f->key, f->value.u);
		break;
	case FIELD_SECONDS:
		put(l, room, " %s=%.3f", f->key, f->value.seconds);
		break;
	case FIELD_DIGEST:
		if (f->value.digest)
			put(l, room, " %s=%s", f->key, digest_format(f->value.digest, digest));
		break;
	}
}

static void begin(struct line *l, bool normal, const char *event)
{
	struct timespec t;
	struct tm tm;
	char at[32];

	clock_gettime(CLOCK_REALTIME, &t);
	gmtime_r(&t.tv_sec, &tm);
	strftime(at, sizeof(at), "%Y-%m-%dT%H:%M:%S", &tm);
	l->len = 0;
	put(l, LINE_MAX_BYTES, "%stime=%s.%03ldZ level=%s event=%s", events.torn ? "\n" : "", at,
		t.tv_nsec / 1000000, normal ? "info" : "warning", event);
}

/* Whoever reads stderr may itself wait for us: a line that would have to wait is lost. */
static void end(struct line *l)
{
	struct pollfd p = { .fd = STDERR_FILENO, .events = POLLOUT };
	ssize_t n;

	if (events.lost)
		put(l, LINE_MAX_BYTES, " lost=%" PRIu64, events.lost);
	l->bytes[l->len++] = '\n';
	if (poll(&p, 1, 0) != 1 || !(p.revents & POLLOUT) || p.revents & (POLLERR | POLLNVAL)) {
		events.lost++;
		return;
	}
	do
		n = write(STDERR_FILENO, l->bytes, l->len);
	while (n < 0 && errno == EINTR);
	if (n <= 0) {
		events.lost++;
		return;
	}
	events.torn = (size_t)n < l->len;
	events.lost = events.torn;
}

static void tell(const struct event_count *c)
{
	struct line l;

	if (events.people || (kinds[c->kind].normal && !log_enabled(LOG_NORMAL)))
		return;
	begin(&l, kinds[c->kind].normal, "suppressed");
	put(&l, LINE_MAX_BYTES, " kind=%s", kinds[c->kind].name);
	if (c->has_about)
		put_text(&l, "about", c->about);
	put(&l, LINE_MAX_BYTES, " suppressed=%" PRIu64, c->suppressed);
	end(&l);
}

/* The last text says what it is about. */
static void write_for_people(
	enum log_event_kind kind, const char *about, const struct log_field *fields, size_t n)
{
	const char *text = kinds[kind].name;

	for (size_t i = 0; i < n; i++)
		if (fields[i].type == FIELD_TEXT && fields[i].value.text)
			text = fields[i].value.text;
	(kinds[kind].normal ? log_info : log_warn)(
		"%s%s%s", about ? about : "", about ? ": " : "", text);
}

static void write_event(
	enum log_event_kind kind, const char *about, const struct log_field *fields, size_t n)
{
	uint64_t suppressed = 0;
	struct line l;

	if (kinds[kind].limited && !event_limit(kind, about, now(), &suppressed, tell))
		return;
	if (events.people) {
		write_for_people(kind, about, fields, n);
		return;
	}
	begin(&l, kinds[kind].normal, kinds[kind].name);
	for (size_t i = 0; i < n; i++)
		put_field(&l, &fields[i]);
	if (suppressed)
		put(&l, LINE_MAX_BYTES, " suppressed=%" PRIu64, suppressed);
	end(&l);
}

void log_event_fields(
	enum log_event_kind kind, const char *about, const struct log_field *fields, size_t n)
{
	if (kinds[kind].normal && !log_enabled(LOG_NORMAL))
		return;
	pthread_mutex_lock(&events.lock);
	write_event(kind, about, fields, n);
	pthread_mutex_unlock(&events.lock);
}

void log_event_for_people(bool people)
{
	pthread_mutex_lock(&events.lock);
	events.people = people;
	pthread_mutex_unlock(&events.lock);
}

void log_event_flush(bool all)
{
	pthread_mutex_lock(&events.lock);
	event_limit_flush(now(), all, tell);
	pthread_mutex_unlock(&events.lock);
}

void log_event_set_clock(uint64_t (*clock)(void))
{
	pthread_mutex_lock(&events.lock);
	events.now = clock;
	events.lost = 0;
	events.torn = false;
	event_limit_forget();
	pthread_mutex_unlock(&events.lock);
}
