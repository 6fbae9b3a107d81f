// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/* What a group has marked, as /proc/self/fdinfo tells it (proc(5)). */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/log.h"
#include "lib/base/mem.h"
#include "lib/serve/transport/fanotify_group.h"

struct handle {
	struct file_handle head;
	unsigned char bytes[MAX_HANDLE_SZ];
};

static int nibble(char c)
{
	static const char digits[] = "0123456789abcdef";
	const char *at = c ? strchr(digits, c) : NULL;

	return at ? (int)(at - digits) : -1;
}

static bool is_file_mark(const char *line)
{
	return strncmp(line, "fanotify ino:", strlen("fanotify ino:")) == 0;
}

/* "fanotify ino:... fhandle-bytes:8 fhandle-type:1 f_handle:1122334455667788", in hex. */
static bool parse_mark(const char *line, struct handle *h)
{
	const char *at = strstr(line, " fhandle-bytes:");
	unsigned n, type;
	int skip = 0;

	if (!at ||
		sscanf(at, " fhandle-bytes:%x fhandle-type:%x f_handle:%n", &n, &type, &skip) !=
			2 ||
		!skip || n > sizeof(h->bytes))
		return false;
	at += skip;
	for (unsigned i = 0; i < n; i++, at += 2) {
		int high = nibble(at[0]), low = high < 0 ? -1 : nibble(at[1]);

		if (low < 0)
			return false;
		h->bytes[i] = (unsigned char)(high << 4 | low);
	}
	h->head.handle_bytes = n;
	h->head.handle_type = (int)type;
	return true;
}

int fanotify_group_each_mark(int group, int dir, void (*each)(void *arg, int fd), void *arg)
{
	CLEANUP_FREE char *path = xasprintf("/proc/self/fdinfo/%d", group);
	CLEANUP_FCLOSE FILE *f = fopen(path, "re");
	CLEANUP_FREE char *line = NULL;
	size_t cap = 0;
	int failed = 0;

	while (f && getline(&line, &cap, f) > 0) {
		struct handle h;
		bool known;
		int fd;

		if (!is_file_mark(line))
			continue;
		known = parse_mark(line, &h);
		fd = known ? open_by_handle_at(dir, &h.head, O_RDWR | O_NONBLOCK | O_CLOEXEC) : -1;
		if (fd < 0) {
			log_debug("fanotify: a marked file cannot be opened: %s",
				known ? strerror(errno) : "its handle is not understood");
			failed++;
			continue;
		}
		each(arg, fd);
		close(fd);
	}
	return f && !ferror(f) ? failed : -1;
}
