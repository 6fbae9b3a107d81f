// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/*
 * Any bytes as a message of /dev/cachefiles, and as names in commands to it. The first byte chooses
 * whether a header goes in front that makes the bytes a message of that kind.
 */
#include "config.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "fmt/cachefiles.h"
#include "lib/base/cleanup.h"
#include "lib/base/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MUST(cond)               \
	do {                     \
		if (!(cond))     \
			abort(); \
	} while (0)

/* What was taken makes the same message again. */
static void check_message(const struct cachefiles_message *m, const uint8_t *bytes, size_t size)
{
	uint8_t again[CACHEFILES_MSG_MAX_SIZE];
	struct cachefiles_msg head = { m->id, m->opcode, (uint32_t)size, m->object };
	struct cachefiles_read range = { 0 };
	struct cachefiles_open open = { 0 };
	size_t at = sizeof(head);

	MUST(size <= sizeof(again) && m->object && m->object <= INT_MAX);
	memcpy(again, &head, sizeof(head));
	if (m->opcode == CACHEFILES_OP_OPEN) {
		open.volume_key_size = (uint32_t)m->open.volume_len + 1;
		open.cookie_key_size = (uint32_t)m->open.cookie_len;
		open.fd = (uint32_t)m->open.fd;
		MUST(m->open.fd >= 0 && strlen(m->open.volume) == m->open.volume_len);
		memcpy(again + at, &open, sizeof(open));
		at += sizeof(open);
		memcpy(again + at, m->open.volume, m->open.volume_len + 1);
		at += m->open.volume_len + 1;
		memcpy(again + at, m->open.cookie, m->open.cookie_len);
		at += m->open.cookie_len;
		MUST(m->open.cookie_len <= CACHEFILES_KEY_MAX);
		cachefiles_erofs_volume(m);
	} else if (m->opcode == CACHEFILES_OP_READ) {
		range = (struct cachefiles_read){ m->read.offset, m->read.len };
		MUST(range.len && range.off <= INT64_MAX && range.len <= INT64_MAX - range.off);
		memcpy(again + at, &range, sizeof(range));
		at += sizeof(range);
	} else {
		MUST(m->opcode == CACHEFILES_OP_CLOSE);
	}
	MUST(at == size && memcmp(again, bytes, size) == 0);
}

static void fuzz_message(const uint8_t *data, size_t size)
{
	CLEANUP_FREE uint8_t *bytes = xmemdup(data, size);
	struct fault fault = { 0 };
	struct cachefiles_message m;

	if (cachefiles_parse(&m, bytes, size, &fault) < 0)
		MUST(fault.what && fault.offset <= size);
	else
		check_message(&m, bytes, size);
}

static void fuzz_payload(uint8_t opcode, const uint8_t *data, size_t size)
{
	struct cachefiles_msg head = { 1, opcode, (uint32_t)(sizeof(head) + size), 1 };
	CLEANUP_FREE uint8_t *bytes = xmalloc(sizeof(head) + size);

	memcpy(bytes, &head, sizeof(head));
	memcpy(bytes + sizeof(head), data, size);
	fuzz_message(bytes, sizeof(head) + size);
}

/* Keys of sizes that fit, which would hardly be found. */
static void fuzz_keys(const uint8_t *data, size_t size)
{
	size_t volume = size / 2, cookie = size - volume;
	struct cachefiles_open open = { (uint32_t)volume, (uint32_t)cookie, 3, 0 };
	CLEANUP_FREE uint8_t *payload = xmalloc(sizeof(open) + size);

	memcpy(payload, &open, sizeof(open));
	memcpy(payload + sizeof(open), data, size);
	if (volume)
		payload[sizeof(open) + volume - 1] = 0;
	fuzz_payload(CACHEFILES_OP_OPEN, payload, sizeof(open) + size);
}

/* As the kernel reads a command: to the newline, and the argument from behind all white space. */
static void check_command(const struct cachefiles_command *c, const char *verb, const char *word)
{
	const char *at = c->text + strlen(verb);

	MUST(c->len <= CACHEFILES_COMMAND_MAX && strlen(c->text) == c->len);
	MUST(!strchr(c->text, '\n') && strncmp(c->text, verb, strlen(verb)) == 0 && *at == ' ');
	while (*at && strchr(" \t\n\v\f\r\xa0", *at))
		at++;
	MUST(*at && strcmp(at, word) == 0);
}

static void fuzz_names(const uint8_t *data, size_t size)
{
	CLEANUP_FREE char *word = xstrndup((const char *)data, size);
	struct cachefiles_command c;
	struct fault fault = { 0 };

	if (cachefiles_put_dir(&c, word, &fault) == 0)
		check_command(&c, "dir", word);
	if (cachefiles_put_tag(&c, word, &fault) == 0)
		check_command(&c, "tag", word);
	if (cachefiles_put_inuse(&c, word, &fault) == 0)
		check_command(&c, "inuse", word);
	if (cachefiles_put_cull(&c, word, &fault) < 0)
		MUST(fault.what && fault.offset <= strlen(word));
	else
		MUST(!strchr(word, '/'));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (!size)
		return 0;
	switch (data[0] % 4) {
	case 3:
		fuzz_message(data + 1, size - 1);
		fuzz_keys(data + 1, size - 1);
		break;
	default:
		fuzz_payload(data[0] % 4, data + 1, size - 1);
	}
	fuzz_names(data + 1, size - 1);
	return 0;
}
