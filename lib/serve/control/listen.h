/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* Sockets to listen at, by their address in text. */
#ifndef CONTROL_LISTEN_H
#define CONTROL_LISTEN_H

#include "lib/base/error.h"

/*
 * "/PATH": a Unix stream socket of that mode; a socket there that nobody listens at gives way,
 * anything else does not. "HOST:PORT" or "[IPV6]:PORT": TCP at the first of the host's addresses
 * that can be had. Non-blocking, close-on-exec. -1 with the error.
 */
int listen_at(const char *address, unsigned mode, struct error **err);

/* Remove the name of a Unix socket that listen_at() made, unless another one has it by now. */
void listen_forget(const char *address, int socket);

#endif
