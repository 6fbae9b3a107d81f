/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* Inside of the control server: one connection. */
#ifndef CONTROL_PART_H
#define CONTROL_PART_H

#include "lib/base/caller.h"
#include "lib/serve/control/control_message.h"
#include "lib/serve/control/control_server.h"

struct connection {
	int fd;
	struct caller caller;
	struct service *service;
	const struct control_options *options;
	_Atomic unsigned *n_asked;
	_Atomic bool gone; /* the other end */
};

/* Read the request, do it, answer. It blocks. */
void connection_serve(struct connection *c);

#endif
