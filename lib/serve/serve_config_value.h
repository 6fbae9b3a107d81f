/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* The single values of the configuration file: each is checked and copied. Part of serve_config.c.
 */
#ifndef SERVE_SERVE_CONFIG_VALUE_H
#define SERVE_SERVE_CONFIG_VALUE_H

#include <jansson.h>

#include "lib/base/error.h"

/*
 * Take `v` to where `out` points; -1 with an error that does not name the member. What is taken is
 * freed by the caller, also after an error.
 */
typedef int config_take(const json_t *v, void *out, struct error **err);

config_take config_take_bool; /* bool */
config_take config_take_choice; /* int: 0 or 1 */
config_take config_take_path; /* char *: absolute */
config_take config_take_transport; /* char *: a name of --transport */
config_take config_take_address; /* char *: /PATH or HOST:PORT */
config_take config_take_size; /* uint64_t: bytes, or text as "20G" */
config_take config_take_percent; /* unsigned: 0 to 99 */
config_take config_take_tag; /* char *: of the kernel's cache */
config_take config_take_host; /* char *: HOST[:PORT] of a server */
config_take config_take_prefix; /* char *: "" or the beginning of a repository's name, with / */
config_take config_take_url; /* char *: http or https, without user, query and fragment */

/* A registry as references name it ("docker.io" for all names of Docker's): the caller's to free,
 * or NULL with an error. */
char *config_registry_host(const char *name, struct error **err);

#endif
