/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * What passes over the control socket: one request and one answer on each connection, each a JSON
 * object in a line. A mount's descriptor comes with its answer (SCM_RIGHTS).
 *
 *	{"version": 1, "verb": "mount", "image": "docker://…", "mountpoint": "/…", "transport":
 *	 "auto", "prefetch": "background", "strict": false, "writable": false, "platform": "…",
 *	 "registry": {"authfile": "/…", "creds": "USER:PASS", "no-creds": false, "registry-token":
 *	 "…", "tls-verify": true, "cert-dir": "/…", "plain-http": false, "retry-times": 3}}
 *	{"version": 1, "verb": "ping"|"status"|"reap"}
 *
 * An answer has "version", and "error" (perhaps with "hint") when it is one.
 */
#ifndef CONTROL_MESSAGE_H
#define CONTROL_MESSAGE_H

#include <jansson.h>

#include "lib/serve/service.h"

enum {
	CONTROL_VERSION = 1,
	CONTROL_REQUEST_MAX = 64 * 1024, /* bytes, with the newline */
	CONTROL_ANSWER_MAX = 64 * 1024 * 1024,
	CONTROL_RETRIES_MAX = 1000,
};

enum control_verb { CONTROL_PING, CONTROL_MOUNT, CONTROL_STATUS, CONTROL_REAP };

struct control_request {
	enum control_verb verb;
	struct service_request mount; /* of CONTROL_MOUNT; the caller is for others to fill in */
	struct registry_options registry; /* that `mount` points to */
	json_t *json; /* whose the strings are; NULL: somebody else's */
};

/*
 * Read a line (with or without its newline). What is unknown, of a wrong type or out of range is an
 * error that names the member, never its value. *r does not move while it is used.
 */
int control_request_parse(
	struct control_request *r, const char *line, size_t len, struct error **err);
void control_request_free(struct control_request *r); /* what it holds, wiped */
#define CLEANUP_CONTROL_REQUEST CLEANUP(control_request_free)

/* A line with its newline, wiped by wipe_free(). NULL: a string of it is not UTF-8, or too long. */
char *control_request_format(const struct control_request *r, struct error **err);

/* The answer of a mount, but for the descriptor, which travels beside it. */
json_t *control_mounted(const struct service_answer *a);
int control_mounted_parse(struct service_answer *a, const json_t *answer, struct error **err);

/* {"version", "error", "hint"} */
json_t *control_error(const struct error *e);

/* An answer's line; the caller's reference. NULL with *err, that of the answer if it is one. */
json_t *control_answer_parse(const char *line, size_t len, struct error **err);

#endif
