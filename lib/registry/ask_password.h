/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
#ifndef REGISTRY_ASK_PASSWORD_H
#define REGISTRY_ASK_PASSWORD_H

#include "lib/base/error.h"

/*
 * The password of a user, from the terminal (not standard input), which does not show it. A signal
 * that ends us finds the terminal as it was. NULL on error, or wipe it after use.
 */
char *ask_password(const char *user, struct error **err);

#endif
