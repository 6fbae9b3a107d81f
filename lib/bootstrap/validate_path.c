// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/*
 * The path of the place where a fault was found. Nobody keeps names while all is well: each is
 * looked up in the directory above, all of whose blocks were found to be sound by then.
 */
#include "config.h"

#include <string.h>

#include "fmt/le.h"
#include "lib/base/mem.h"
#include "lib/base/text.h"
#include "lib/bootstrap/validator.h"

enum { PATH_SHOWN = 4096 }; /* bytes, from the end; there may be a million directories above */

struct path {
	char text[PATH_SHOWN];
	size_t at; /* it is filled from its end */
};

/* False when there is no room: then dots stand for what is above. */
static bool put_front(struct path *p, const char *name, size_t len)
{
	static const char dots[] = "...";
	bool fits = p->at >= len + sizeof(dots);

	if (!fits) {
		name = dots;
		len = strlen(dots);
	}
	p->at -= len;
	memcpy(p->text + p->at, name, len);
	if (fits)
		p->text[--p->at] = '/';
	return fits;
}

/* The entry of `nid` in a block of `len` bytes; "." and ".." have other NIDs. */
static const char *find_in_block(const uint8_t *block, uint32_t len, uint32_t nid, size_t *name_len)
{
	uint32_t n = get_le16(block + 8) / EROFS_DIRENT_SIZE;
	struct erofs_dirent d, next;

	for (uint32_t i = 0; i < n; i++) {
		erofs_dirent_decode(&d, block + (size_t)i * EROFS_DIRENT_SIZE);
		if (d.nid != nid)
			continue;
		next.name_offset = (uint16_t)len;
		if (i + 1 < n)
			erofs_dirent_decode(&next, block + (size_t)(i + 1) * EROFS_DIRENT_SIZE);
		*name_len = strnlen((const char *)block + d.name_offset,
			next.name_offset - (size_t)d.name_offset);
		return (const char *)block + d.name_offset;
	}
	return NULL;
}

static const char *find_name(const struct validator *v, uint32_t dir, uint32_t nid, size_t *len)
{
	uint64_t offset = (uint64_t)validator_dir(v, dir)->nid * EROFS_SLOT_SIZE;
	struct validator_flat f;
	struct erofs_inode inode;
	struct fault fault;
	const char *name;

	if (erofs_inode_decode(
		    &inode, v->image + offset, v->inodes_limit - offset, &v->super, &fault) < 0)
		return NULL;
	f = validator_flat(&inode, offset);
	for (uint64_t done = 0; done < f.blocks_size; done += EROFS_BLOCK_SIZE) {
		uint64_t left = f.blocks_size - done;

		name = find_in_block(v->image + f.blocks + done,
			left < EROFS_BLOCK_SIZE ? (uint32_t)left : EROFS_BLOCK_SIZE, nid, len);
		if (name)
			return name;
	}
	return f.tail_size ? find_in_block(v->image + f.tail, f.tail_size, nid, len) : NULL;
}

char *validator_path(const struct validator *v)
{
	struct path p = { .at = sizeof(p.text) };
	uint32_t dir = v->dir;
	const char *name;
	size_t len;

	if (v->name && !put_front(&p, v->name, v->name_len))
		dir = 0;
	for (; dir > 1; dir = validator_dir(v, dir)->parent) {
		name = find_name(
			v, validator_dir(v, dir)->parent, validator_dir(v, dir)->nid, &len);
		if (!name || !put_front(&p, name, len))
			break;
	}
	if (p.at == sizeof(p.text))
		put_front(&p, "", 0);
	return text_printable(p.text + p.at, sizeof(p.text) - p.at);
}
