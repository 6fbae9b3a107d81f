/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* The bytes that read(2) of a fanotify group gives (fanotify(7)). */
#ifndef HOLDER_EVENT_H
#define HOLDER_EVENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Metadata and a record of the range. */
#define EVENT_SIZE 48

struct event {
	int32_t fd; /* negative: none */
	int32_t pid;
	bool waits; /* somebody waits for an answer */
	bool has_range;
	uint64_t offset, len; /* bytes; with has_range */
};

/* Take the event at *at, and move *at behind it. 1, 0 at the end, -1: these are no events. */
int event_next(const void *bytes, size_t n, size_t *at, struct event *e);

#endif
