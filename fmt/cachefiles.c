// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "fmt/cachefiles.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

enum {
	HEADER = sizeof(struct cachefiles_msg),
	OPEN_HEADER = sizeof(struct cachefiles_open),
	NAME_LEN_MAX = 255,
};
_Static_assert(HEADER == 16 && OPEN_HEADER == 16, "the kernel's layout");
_Static_assert(sizeof(struct cachefiles_read) == 16, "the kernel's layout");

static int bad(struct fault *fault, size_t offset, const char *what)
{
	*fault = (struct fault){ what, offset };
	return -1;
}

/* ---- messages ---- */

static int parse_keys(struct cachefiles_message *m, const struct cachefiles_open *head,
	const uint8_t *data, size_t len, struct fault *fault)
{
	enum { AT_VOLUME = HEADER, AT_COOKIE = HEADER + 4, AT_DATA = HEADER + OPEN_HEADER };
	uint32_t volume = head->volume_key_size, cookie = head->cookie_key_size;

	if (volume < 2 || volume > CACHEFILES_KEY_MAX + 1)
		return bad(fault, AT_VOLUME, "volume key's size is out of range");
	if (!cookie || cookie > CACHEFILES_KEY_MAX)
		return bad(fault, AT_COOKIE, "cookie key's size is out of range");
	if (len != volume + cookie)
		return bad(fault, AT_DATA, "keys do not fill the message");
	if (memchr(data, 0, volume) != data + volume - 1)
		return bad(fault, AT_DATA, "volume key's NUL is not at its end");
	m->open.volume = (const char *)data;
	m->open.volume_len = volume - 1;
	m->open.cookie = data + volume;
	m->open.cookie_len = cookie;
	return 0;
}

static int parse_open(
	struct cachefiles_message *m, const uint8_t *data, size_t len, struct fault *fault)
{
	struct cachefiles_open head;

	if (len < OPEN_HEADER)
		return bad(fault, HEADER, "OPEN is too short");
	memcpy(&head, data, OPEN_HEADER);
	if (head.fd > INT_MAX)
		return bad(fault, HEADER + 8, "file descriptor is negative");
	if (head.flags)
		return bad(fault, HEADER + 12, "unknown flags");
	if (parse_keys(m, &head, data + OPEN_HEADER, len - OPEN_HEADER, fault) < 0)
		return -1;
	m->open.fd = (int)head.fd;
	return 0;
}

static int parse_close(size_t len, struct fault *fault)
{
	return len ? bad(fault, HEADER, "CLOSE has a payload") : 0;
}

static int parse_read(
	struct cachefiles_message *m, const uint8_t *data, size_t len, struct fault *fault)
{
	struct cachefiles_read range;

	if (len != sizeof(range))
		return bad(fault, HEADER, "READ has a wrong size");
	memcpy(&range, data, sizeof(range));
	if (range.off > INT64_MAX)
		return bad(fault, HEADER, "offset is negative");
	if (!range.len || range.len > INT64_MAX - range.off)
		return bad(fault, HEADER + 8, "length is out of range");
	m->read.offset = range.off;
	m->read.len = range.len;
	return 0;
}

static int parse_header(
	struct cachefiles_message *m, const void *bytes, size_t len, struct fault *fault)
{
	struct cachefiles_msg head;

	*m = (struct cachefiles_message){ .opcode = UINT32_MAX };
	if (len < HEADER)
		return bad(fault, 0, "shorter than a message's header");
	memcpy(&head, bytes, HEADER);
	m->id = head.msg_id;
	m->object = head.object_id;
	m->opcode = head.opcode;
	if (len > CACHEFILES_MSG_MAX_SIZE)
		return bad(fault, CACHEFILES_MSG_MAX_SIZE, "longer than any message");
	if (head.len != len)
		return bad(fault, 8, "length is not the message's");
	if (!head.object_id || head.object_id > INT_MAX)
		return bad(fault, 12, "object's number is out of range");
	return 0;
}

int cachefiles_parse(
	struct cachefiles_message *m, const void *bytes, size_t len, struct fault *fault)
{
	const uint8_t *data = (const uint8_t *)bytes + HEADER;

	if (parse_header(m, bytes, len, fault) < 0)
		return -1;
	switch (m->opcode) {
	case CACHEFILES_OP_OPEN:
		return parse_open(m, data, len - HEADER, fault);
	case CACHEFILES_OP_CLOSE:
		return parse_close(len - HEADER, fault);
	case CACHEFILES_OP_READ:
		return parse_read(m, data, len - HEADER, fault);
	default:
		return bad(fault, 4, "unknown opcode");
	}
}

const char *cachefiles_erofs_volume(const struct cachefiles_message *open)
{
	static const char prefix[] = "erofs,";
	const char *volume = open->open.volume;
	size_t len = sizeof(prefix) - 1;

	return strncmp(volume, prefix, len) == 0 && volume[len] ? volume + len : NULL;
}

/* ---- commands ---- */

/* Whoever calls knows that it fits. */
static void __attribute__((format(printf, 2, 3)))
put(struct cachefiles_command *c, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(c->text, sizeof(c->text), fmt, ap);
	va_end(ap);
	c->len = n > 0 && (size_t)n < sizeof(c->text) ? (size_t)n : 0;
}

/*
 * The kernel cuts at a newline, and skips white space between a verb and its argument: 0xa0 too, as
 * its isspace() reads Latin-1.
 */
static int check_word(const char *word, size_t max, struct fault *fault)
{
	const char *newline = strchr(word, '\n');
	unsigned char first = (unsigned char)word[0];

	if (!first)
		return bad(fault, 0, "empty");
	if (strlen(word) > max)
		return bad(fault, max, "too long");
	if (newline)
		return bad(fault, (size_t)(newline - word), "a newline");
	if (first == ' ' || (first >= '\t' && first <= '\r') || first == 0xa0)
		return bad(fault, 0, "white space in front");
	return 0;
}

static int put_word(
	struct cachefiles_command *c, const char *verb, const char *word, struct fault *fault)
{
	if (check_word(word, CACHEFILES_COMMAND_MAX - strlen(verb) - 1, fault) < 0)
		return -1;
	put(c, "%s %s", verb, word);
	return 0;
}

/* Of a file in the writer's current directory. */
static int put_name(
	struct cachefiles_command *c, const char *verb, const char *name, struct fault *fault)
{
	const char *slash = strchr(name, '/');

	if (slash)
		return bad(fault, (size_t)(slash - name), "a slash");
	if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return bad(fault, 0, "no file's name");
	if (strlen(name) > NAME_LEN_MAX)
		return bad(fault, NAME_LEN_MAX, "too long");
	return put_word(c, verb, name, fault);
}

int cachefiles_put_dir(struct cachefiles_command *c, const char *path, struct fault *fault)
{
	if (path[0] && path[0] != '/')
		return bad(fault, 0, "not absolute");
	return put_word(c, "dir", path, fault);
}

int cachefiles_put_tag(struct cachefiles_command *c, const char *name, struct fault *fault)
{
	return put_word(c, "tag", name, fault);
}

int cachefiles_put_cull(struct cachefiles_command *c, const char *name, struct fault *fault)
{
	return put_name(c, "cull", name, fault);
}

int cachefiles_put_inuse(struct cachefiles_command *c, const char *name, struct fault *fault)
{
	return put_name(c, "inuse", name, fault);
}

void cachefiles_put_bind(struct cachefiles_command *c)
{
	put(c, "bind ondemand");
}

void cachefiles_put_restore(struct cachefiles_command *c)
{
	put(c, "restore");
}

void cachefiles_put_copen(struct cachefiles_command *c, uint32_t id, uint64_t size)
{
	if (size > INT64_MAX)
		cachefiles_put_copen_error(c, id, EFBIG);
	else
		put(c, "copen %" PRIu32 ",%" PRIu64, id, size);
}

void cachefiles_put_copen_error(struct cachefiles_command *c, uint32_t id, int error)
{
	if (error <= 0 || error > CACHEFILES_ERRNO_MAX)
		error = EIO;
	put(c, "copen %" PRIu32 ",-%d", id, error);
}

/* ---- limits ---- */

int cachefiles_check_limits(const struct cachefiles_limits *limits, struct fault *fault)
{
	if (limits->run >= 100)
		return bad(fault, 0, "run is not below 100%");
	if (limits->cull >= limits->run)
		return bad(fault, 1, "cull is not below run");
	if (limits->stop >= limits->cull)
		return bad(fault, 2, "stop is not below cull");
	return 0;
}

void cachefiles_put_limit(struct cachefiles_command *c, enum cachefiles_limits_of of,
	const struct cachefiles_limits *limits, unsigned which)
{
	/* run and stop out of the way first; then each finds its neighbours in place */
	const struct {
		const char *name;
		unsigned percent;
	} steps[CACHEFILES_LIMIT_COMMANDS] = { { "stop", 0 }, { "run", 99 },
		{ "cull", limits->cull }, { "run", limits->run }, { "stop", limits->stop } };
	unsigned i = which < CACHEFILES_LIMIT_COMMANDS ? which : CACHEFILES_LIMIT_COMMANDS - 1;

	put(c, "%c%s %u%%", of == CACHEFILES_FILES ? 'f' : 'b', steps[i].name, steps[i].percent);
}
