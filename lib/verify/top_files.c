// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/verify/top_files.h"

#include <string.h>

#include "lib/base/mem.h"

void top_files_init(struct top_files *top, size_t max)
{
	*top = (struct top_files){ .v = xcalloc(max + 1, sizeof(*top->v)), .max = max };
}

void top_files_free(struct top_files *top)
{
	for (size_t i = 0; i < top->n; i++)
		free(top->v[i].path);
	free(top->v);
	*top = (struct top_files){ 0 };
}

void top_files_offer(struct top_files *top, const struct bootstrap_entry *entry,
	const struct top_file *file, uint64_t key)
{
	size_t at = top->n;

	while (at && key > top->v[at - 1].key)
		at--;
	if (!key || at == top->max)
		return;
	if (top->n == top->max)
		free(top->v[--top->n].path);
	memmove(&top->v[at + 1], &top->v[at], (top->n - at) * sizeof(*top->v));
	top->n++;
	top->v[at] = *file;
	top->v[at].key = key;
	top->v[at].path = bootstrap_entry_path(entry);
}
