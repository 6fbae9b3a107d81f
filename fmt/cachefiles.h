/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * What the kernel and a daemon say to each other over /dev/cachefiles in on-demand mode
 * (include/uapi/linux/cachefiles.h, fs/cachefiles/{daemon,ondemand}.c; Linux 5.19 to 7.0):
 * messages in the machine's byte order one way, lines of text the other. The opcodes, and
 * the ioctl that ends a READ, are those of <linux/cachefiles.h>.
 */
#ifndef FMT_CACHEFILES_H
#define FMT_CACHEFILES_H

#include <linux/cachefiles.h>
#include <stddef.h>
#include <stdint.h>

#include "fmt/fault.h"

enum {
	CACHEFILES_KEY_MAX = 255, /* bytes: of a cookie's key, or of a volume's without its NUL */
	CACHEFILES_COMMAND_MAX = 4095, /* bytes: a page of 4 KiB, less the NUL that it gets */
	CACHEFILES_ERRNO_MAX = 4095,
};

/* ---- messages ---- */

struct cachefiles_message {
	uint32_t id; /* the reply names it; unique among those without a reply */
	uint32_t object; /* > 0; a new one for each OPEN */
	uint32_t opcode; /* enum cachefiles_opcode */
	union {
		struct { /* CACHEFILES_OP_OPEN; both keys lie in the caller's bytes */
			const char *volume; /* ends with its only NUL */
			const uint8_t *cookie; /* any bytes, no NUL behind them */
			size_t volume_len, cookie_len; /* bytes, > 0; NUL not counted */
			int fd; /* the object's; the receiver owns it */
		} open;
		struct { /* CACHEFILES_OP_READ; in bytes of the object; their sum fits in an off_t
			  */
			uint64_t offset, len; /* len > 0 */
		} read;
	};
};

/*
 * Decode and validate what one read() of the device gave: all of it, and no more than
 * CACHEFILES_MSG_MAX_SIZE. 0, or -1 with the fault. Of a message that is refused, nothing is to be
 * believed but the header, when there is a whole one: id, object and opcode are set then (0, 0 and
 * UINT32_MAX otherwise), so that somebody who waits can be given an error. An fd in it is
 * left alone: a wrong number could be any file's.
 */
int cachefiles_parse(
	struct cachefiles_message *m, const void *bytes, size_t len, struct fault *fault);

/*
 * What an EROFS mount's volume is named for, out of "erofs,NAME": its domain_id, or its fsid when
 * it has none (fs/erofs/fscache.c). NULL: not a volume of EROFS.
 */
const char *cachefiles_erofs_volume(const struct cachefiles_message *open);

/* ---- commands ---- */

/* One write() to the device: `len` bytes of `text`. The NUL behind them is for the reader's ease.
 */
struct cachefiles_command {
	size_t len;
	char text[CACHEFILES_COMMAND_MAX + 1];
};

/*
 * The cache's directory and its name. Both are refused (-1 with the fault) when the kernel
 * would see something else than what is given: empty or too long, with a newline in it, white
 * space in front. The directory must be absolute.
 */
int cachefiles_put_dir(struct cachefiles_command *c, const char *path, struct fault *fault);
int cachefiles_put_tag(struct cachefiles_command *c, const char *name, struct fault *fault);

/*
 * Percentages of the cache's filesystem that are free: below cull old objects should go, until run
 * is reached; below stop nothing new is stored. 0 <= stop < cull < run < 100.
 */
struct cachefiles_limits {
	unsigned run, cull, stop;
};

/* What the kernel has as long as nobody says anything else, for files and for blocks. */
enum { CACHEFILES_RUN = 7, CACHEFILES_CULL = 5, CACHEFILES_STOP = 1 };

/* Of what the percentages are. */
enum cachefiles_limits_of { CACHEFILES_FILES, CACHEFILES_BLOCKS };

/* 0, or -1 with the fault; offset: which (0 run, 1 cull, 2 stop). */
int cachefiles_check_limits(const struct cachefiles_limits *limits, struct fault *fault);

/*
 * Limits that are good, in this many commands, 0 the first: the kernel compares each with what it
 * has at the time, and so not every order gets to all values.
 */
enum { CACHEFILES_LIMIT_COMMANDS = 5 };
void cachefiles_put_limit(struct cachefiles_command *c, enum cachefiles_limits_of of,
	const struct cachefiles_limits *limits, unsigned which);

/* Bind the directory as a cache that is filled on demand. */
void cachefiles_put_bind(struct cachefiles_command *c);

/* Have the requests that nobody has answered sent again, after a daemon's end. */
void cachefiles_put_restore(struct cachefiles_command *c);

/*
 * Answer an OPEN: the object's size in bytes, at most INT64_MAX; or a positive errno, at most
 * CACHEFILES_ERRNO_MAX. What is larger becomes EFBIG, what is no errno becomes EIO.
 */
void cachefiles_put_copen(struct cachefiles_command *c, uint32_t id, uint64_t size);
void cachefiles_put_copen_error(struct cachefiles_command *c, uint32_t id, int error);

/*
 * Remove an object's file, or ask (by the write's errno) whether it is in use. Names lie in the
 * current directory of the writer; they have no slash, and else the rules of a tag.
 */
int cachefiles_put_cull(struct cachefiles_command *c, const char *name, struct fault *fault);
int cachefiles_put_inuse(struct cachefiles_command *c, const char *name, struct fault *fault);

#endif
