/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * What a daemon counts, for Prometheus (text exposition format 0.0.4), and whether it is well:
 * GET /metrics and GET /healthz by HTTP/1.1. There is nothing secret in it, and nothing can be
 * changed by it. docs/operations.md has the names.
 */
#ifndef CONTROL_METRICS_H
#define CONTROL_METRICS_H

#include <stdint.h>

#include "lib/base/error.h"
#include "lib/serve/holder/keep.h"
#include "lib/serve/service.h"

struct metrics;

/*
 * Listen at `address`: "/PATH" for a Unix socket that everybody may connect to (a socket there that
 * nobody listens at gives way), or "HOST:PORT", port 0 for any. One thread answers; 16 connections
 * at most, of which the oldest gives way to a new one. `k` may be NULL: no holder.
 */
struct metrics *metrics_start(
	const char *address, struct service *s, struct keep *k, struct error **err);
void metrics_stop(struct metrics *m); /* before s and k; NULL is allowed */

/* Where it listens; 0 for a Unix socket. */
uint16_t metrics_port(const struct metrics *m);

#endif
