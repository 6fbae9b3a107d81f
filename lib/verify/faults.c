// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/verify/faults.h"

#include <stdarg.h>

#include "lib/base/mem.h"

/* The sentence, which becomes f's. */
static void add(struct faults *f, char *sentence)
{
	f->total++;
	if (f->n == FAULTS_MAX) {
		free(sentence);
		return;
	}
	f->of = xgrow(f->of, f->n, &f->cap, sizeof(*f->of));
	f->of[f->n++] = sentence;
}

void faults_take(struct faults *f, struct error **fault)
{
	struct error *e = take_ptr(*fault);

	add(f, take_ptr(e->msg));
	error_free(e);
}

void faults_add(struct faults *f, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	add(f, xvasprintf(fmt, ap));
	va_end(ap);
}

void faults_move(struct faults *to, struct faults *from)
{
	uint64_t not_kept = from->total - from->n;

	for (size_t i = 0; i < from->n; i++)
		add(to, take_ptr(from->of[i]));
	to->total += not_kept;
	faults_free(from);
}

void faults_free(struct faults *f)
{
	for (size_t i = 0; i < f->n; i++)
		free(f->of[i]);
	free(f->of);
	*f = (struct faults){ 0 };
}
