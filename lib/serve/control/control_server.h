/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * The daemon's end of the control socket (control_message.h). Who asks is told by SO_PEERCRED: root
 * and the daemon's own user may ask for everything; others for mounts of docker:// with their own
 * credentials, and for the status of their own mounts.
 */
#ifndef CONTROL_SERVER_H
#define CONTROL_SERVER_H

#include <stdbool.h>

#include "lib/serve/holder/keep.h"
#include "lib/serve/service.h"

struct control_server;

struct control_options {
	unsigned connections; /* at once, each a thread; others wait. 0: 64 */
	unsigned patience_ms; /* for a whole request to come, and an answer to go. 0: 10 s */
	bool is_private; /* said to who pings: it ends with its last mount */
};

/*
 * Listen at `path`, with the socket that is kept (`k`, or NULL) if there is one, else a new one of
 * that mode, which is kept from then on. A socket there that nobody listens at gives way; a daemon
 * that answers is an error.
 */
int control_listen(const char *path, unsigned mode, struct keep *k, struct error **err);

/* Serve; `listening` stays the caller's. */
struct control_server *control_server_start(
	int listening, struct service *s, const struct control_options *o, struct error **err);

/* Mounts that have been asked for so far. */
unsigned control_server_n_asked(struct control_server *c);
/* Is nobody connected? */
bool control_server_is_idle(struct control_server *c);

/* Who still waits gets nothing. Before service_stop(); NULL is allowed. */
void control_server_stop(struct control_server *c);

#endif
