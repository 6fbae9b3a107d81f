/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* Whom to trust, and who we are, for one registry: containers-certs.d(5). */
#ifndef REGISTRY_TLS_H
#define REGISTRY_TLS_H

#include <stdbool.h>

#include "lib/base/error.h"

struct tls;

/*
 * Read the certificates for HOST[:PORT]: those of cert_dir (not NULL: it must be there), or of the
 * first of ~/.config/containers/certs.d, /etc/containers/certs.d and /etc/docker/certs.d that has
 * a directory of that name. *.crt are authorities beside the system's, NAME.cert with NAME.key is
 * ours.
 */
struct tls *tls_load(const char *host, const char *cert_dir, bool verify, struct error **err);
void tls_free(struct tls *t); /* NULL is allowed */

/* Set a libcurl handle up; `ours`: show our certificate. The handle uses t's memory. */
void tls_apply(const struct tls *t, void *easy, bool ours);

#endif
