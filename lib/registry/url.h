/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* URLs that servers send and that are sent to them, on libcurl's parser. */
#ifndef REGISTRY_URL_H
#define REGISTRY_URL_H

#include <stdbool.h>

#include "lib/base/error.h"

/* All results are the caller's to free. */

/*
 * What a server's Location or realm means where it was sent (base; NULL: it must be absolute):
 * http or https, with a host, without a user, without a fragment. NULL with *err otherwise.
 */
char *url_resolve(const char *base, const char *location, struct error **err);

/* With one more pair in its query; the value is escaped. What is there stays as it is: it may be
 * signed. */
char *url_add_query(const char *url, const char *name, const char *value);

/* Same scheme, host and port: what Authorization is bound to. */
bool url_same_origin(const char *a, const char *b);

bool url_is_https(const char *url);

/* Does the host mean this machine: localhost, 127.0.0.0/8, ::1? */
bool url_is_loopback(const char *url);

/* For people: without query and fragment, whose signatures are secrets; printable. */
char *url_shown(const char *url);

/* Is this HOST[:PORT] and nothing else? */
bool url_is_host(const char *host);

#endif
