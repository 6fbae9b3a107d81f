/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* Sentences about what is wrong: the first of them, and how many there were. */
#ifndef VERIFY_FAULTS_H
#define VERIFY_FAULTS_H

#include <stddef.h>
#include <stdint.h>

#include "lib/base/error.h"

enum { FAULTS_MAX = 100 }; /* kept: one fault often brings many others */

struct faults {
	char **of; /* the first ones, in the order they came */
	size_t n, cap;
	uint64_t total;
};

/* Take the error over as one more. */
void faults_take(struct faults *f, struct error **fault);
void faults_add(struct faults *f, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* All of `from`, which is empty then. */
void faults_move(struct faults *to, struct faults *from);
void faults_free(struct faults *f); /* what it holds, not f itself */

#endif
