// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/*
 * Print what the layer parser makes of a tar: one JSON line for each entry, the same that
 * tests/tools/gotar prints for Go's archive/tar.
 *
 *	layer-dump [--all] [--push N] [--hash-max N] <layer.tar
 *	layer-dump --batch ... <cases      (each: its length as 32 bits little-endian, its bytes)
 *
 * --all adds what Go does not tell; --push N pushes N bytes at a time (0: all at once, -1:
 * pieces of changing size); --hash-max N leaves out the digest of larger files.
 */
#include "config.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fmt/le.h"
#include "lib/base/digest.h"
#include "lib/base/mem.h"
#include "lib/layer/layer.h"

static bool show_all, batch;
static long push_size;
static uint64_t hash_max = UINT64_MAX;

struct dump {
	struct hasher *hasher;
	bool hashed;
	uint64_t left; /* bytes that data and holes have to account for */
};

/* Bytes as the characters of the same number, so that any of them can stand in JSON. */
static void print_text(const void *text, size_t len)
{
	const uint8_t *p = text;

	putchar('"');
	for (size_t i = 0; i < len; i++) {
		if (p[i] < ' ' || p[i] > '~' || p[i] == '"' || p[i] == '\\')
			printf("\\u%04x", p[i]);
		else
			putchar(p[i]);
	}
	putchar('"');
}

static void print_xattrs(const struct entry *e)
{
	printf(",\"xattrs\":{");
	for (size_t i = 0; i < e->n_xattrs; i++) {
		const struct entry_xattr *x = &e->xattrs[i];

		if (i)
			putchar(',');
		print_text(x->name, strlen(x->name));
		putchar(':');
		print_text(x->value, x->value_len);
	}
	putchar('}');
}

static void print_rest(const struct entry *e)
{
	printf(",\"offset\":%" PRIu64 ",\"sparse\":%s,\"regions\":[", e->header_offset,
		e->sparse ? "true" : "false");
	for (size_t i = 0; i < e->n_regions; i++)
		printf("%s[%" PRIu64 ",%" PRIu64 "]", i ? "," : "", e->regions[i].offset,
			e->regions[i].length);
	putchar(']');
}

static int on_entry(void *arg, const struct entry *e, struct error **err)
{
	static const char *const types[] = { [ENTRY_FILE] = "file",
		[ENTRY_DIR] = "dir",
		[ENTRY_SYMLINK] = "symlink",
		[ENTRY_HARDLINK] = "hardlink",
		[ENTRY_CHAR] = "char",
		[ENTRY_BLOCK] = "block",
		[ENTRY_FIFO] = "fifo" };
	struct dump *d = arg;

	printf("{\"type\":\"%s\",\"path\":", types[e->type]);
	print_text(e->path, strlen(e->path));
	printf(",\"link\":");
	print_text(e->link, strlen(e->link));
	printf(",\"size\":%" PRIu64 ",\"mode\":%u,\"uid\":%u,\"gid\":%u", e->size, e->mode, e->uid,
		e->gid);
	printf(",\"major\":%u,\"minor\":%u,\"mtime\":%" PRId64 ",\"nsec\":%u", e->major, e->minor,
		e->mtime, e->mtime_nsec);
	print_xattrs(e);
	if (show_all)
		print_rest(e);
	if (e->type != ENTRY_FILE) {
		puts("}");
		return 0;
	}
	d->left = e->size;
	d->hashed = e->size <= hash_max;
	d->hasher = hasher_new(DIGEST_SHA256);
	return 0;
}

static int account(struct dump *d, uint64_t len, struct error **err)
{
	if (len == 0 || len > d->left)
		return error_set(err, 0, "the parser tells more bytes than the file has");
	d->left -= len;
	return 0;
}

static int on_data(void *arg, const uint8_t *p, size_t len, struct error **err)
{
	struct dump *d = arg;

	if (d->hashed)
		hasher_update(d->hasher, p, len);
	return account(d, len, err);
}

static int on_hole(void *arg, uint64_t len, struct error **err)
{
	static const uint8_t zeros[65536];
	struct dump *d = arg;

	for (uint64_t left = len; d->hashed && left;) {
		size_t n = left < sizeof(zeros) ? (size_t)left : sizeof(zeros);

		hasher_update(d->hasher, zeros, n);
		left -= n;
	}
	return account(d, len, err);
}

static int on_file_end(void *arg, struct error **err)
{
	struct dump *d = arg;
	char hex[DIGEST_MAX_STR];
	struct digest digest;

	if (d->left)
		return error_set(err, 0, "the parser tells fewer bytes than the file has");
	hasher_final(d->hasher, &digest);
	hasher_free(take_ptr(d->hasher));
	printf(",\"sha256\":\"%s\"}\n", d->hashed ? digest_hex(&digest, hex) : "-");
	return 0;
}

static const struct layer_events events = { on_entry, on_data, on_hole, on_file_end };

/* Each push is a buffer of its own, so that a memory checker sees a read past it. */
static int push_piece(struct layer_parser *p, const uint8_t *buf, size_t len, struct error **err)
{
	CLEANUP_FREE uint8_t *copy = xmemdup(buf, len);

	return layer_parser_push(p, copy, len, err);
}

static int push_all(struct layer_parser *p, const uint8_t *buf, size_t len, struct error **err)
{
	uint32_t random = 1;

	if (push_size == 0)
		return layer_parser_push(p, buf, len, err);
	for (size_t pos = 0, n; pos < len; pos += n) {
		random = random * 1664525 + 1013904223;
		n = push_size > 0 ? (size_t)push_size : 1 + (random >> 16) % 1500;
		if (n > len - pos)
			n = len - pos;
		if (push_piece(p, buf + pos, n, err) < 0)
			return -1;
	}
	return 0;
}

static int dump(const uint8_t *buf, size_t len)
{
	struct dump d = { 0 };
	struct layer_parser *p = layer_parser_new(&events, &d);
	CLEANUP_ERROR struct error *err = NULL;
	bool ok = push_all(p, buf, len, &err) == 0 && layer_parser_finish(p, &err) == 0;

	layer_parser_free(p);
	if (d.hasher) /* the entry is not complete, and so is its line */
		puts("...");
	hasher_free(d.hasher);
	printf("{\"result\":\"%s\"", ok ? "ok" : "refused");
	if (!ok) {
		printf(",\"why\":");
		print_text(err->msg, strlen(err->msg));
	}
	puts("}");
	return ok ? 0 : 1;
}

static void dump_batch(const uint8_t *buf, size_t len)
{
	while (len >= 4) {
		size_t n = get_le32(buf);

		if (n > len - 4)
			return;
		dump(buf + 4, n);
		buf += 4 + n;
		len -= 4 + n;
	}
}

static uint8_t *read_stdin(size_t *len)
{
	uint8_t *buf = NULL;
	size_t cap = 0, n = 0;

	do {
		*len += n;
		if (*len == cap) {
			cap = cap ? cap * 2 : 1 << 20;
			buf = xrealloc_array(buf, cap, 1);
		}
		n = fread(buf + *len, 1, cap - *len, stdin);
	} while (n);
	return buf;
}

int main(int argc, char **argv)
{
	CLEANUP_FREE uint8_t *buf = NULL;
	size_t len = 0;

	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--all") == 0)
			show_all = true;
		else if (strcmp(argv[i], "--batch") == 0)
			batch = true;
		else if (strcmp(argv[i], "--push") == 0 && i + 1 < argc)
			push_size = strtol(argv[++i], NULL, 10);
		else if (strcmp(argv[i], "--hash-max") == 0 && i + 1 < argc)
			hash_max = strtoull(argv[++i], NULL, 10);
		else
			return fprintf(stderr, "layer-dump: see the head of its source\n"), 2;
	}
	buf = read_stdin(&len);
	if (!batch)
		return dump(buf, len);
	dump_batch(buf, len);
	return 0;
}
