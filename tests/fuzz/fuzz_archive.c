// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/*
 * Index any bytes as the outer tar of an archive: whatever is found lies within the file, and
 * under a name that leads nowhere else.
 */
#include "config.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fmt/tar.h"
#include "lib/base/mem.h"
#include "lib/image/tar_index.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MUST(cond)               \
	do {                     \
		if (!(cond))     \
			abort(); \
	} while (0)

/* Mutations would hardly ever get past the checksum: make it right where a header may be. */
static void repair_checksums(uint8_t *b, size_t size)
{
	for (; size >= TAR_BLOCK; b += TAR_BLOCK, size -= TAR_BLOCK) {
		unsigned sum = 0;

		if (memcmp(b + 257, "ustar", 5) != 0)
			continue;
		memset(b + 148, ' ', 8);
		for (size_t i = 0; i < TAR_BLOCK; i++)
			sum += b[i];
		for (size_t i = 0; i < 6; i++)
			b[148 + i] = (uint8_t)('0' + (sum >> (15 - 3 * i) & 7));
	}
}

static bool is_clean(const char *name)
{
	return *name != '/' && !strstr(name, "//") && strcmp(name, "..") != 0 &&
	       strncmp(name, "../", 3) != 0 && !strstr(name, "/../") && strlen(name) < 4096;
}

static void check(const struct tar_index *x, size_t size)
{
	for (size_t i = 0; i < x->n; i++) {
		const struct tar_member *m = &x->v[i], *found;
		CLEANUP_ERROR struct error *err = NULL;

		MUST(m->offset <= size && m->size <= size - m->offset && is_clean(m->name));
		MUST(i == 0 || strcmp(m[-1].name, m->name) < 0);
		found = tar_index_find(x, m->name, &err);
		MUST(!found == !!err);
		MUST(!found || found->kind == MEMBER_FILE);
		MUST(m->kind != MEMBER_FILE || found == m);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
	CLEANUP_FREE uint8_t *data = xmemdup(input, size);
	CLEANUP_FD int fd = memfd_create("tar", MFD_CLOEXEC);
	CLEANUP_ERROR struct error *err = NULL;
	struct tar_index x;

	repair_checksums(data, size);
	MUST(write(fd, data, size) == (ssize_t)size);
	if (tar_index_read(&x, fd, size, &err) < 0) {
		MUST(err && *err->msg);
		return 0;
	}
	check(&x, size);
	tar_index_free(&x);
	return 0;
}
