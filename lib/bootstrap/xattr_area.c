// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/bootstrap/xattr_area.h"

#include <string.h>

#include "fmt/erofs.h"
#include "fmt/le.h"
#include "lib/base/mem.h"

enum { SHARED_MAX = 255, SHARED_ID = 4 };

static void count_uses(struct tree *tree)
{
	struct xattr_table *t = &tree->xattrs;

	for (uint32_t i = 1; i <= t->sets.count; i++)
		xattr_set(t, i)->uses = 0;
	for (uint32_t i = 1; i <= t->pairs.count; i++)
		xattr_pair(t, i)->uses = 0;
	for (uint32_t i = 1; i <= tree->inodes.count; i++)
		if (tree_inode(tree, i)->mode && tree_inode(tree, i)->xattrs)
			xattr_set(t, tree_inode(tree, i)->xattrs)->uses++;
	for (uint32_t i = 1; i <= t->sets.count; i++) {
		const struct xattr_set *set = xattr_set(t, i);

		for (uint32_t j = 0; j < set->n; j++)
			xattr_pair(t, set->pairs[j])->uses += set->uses;
	}
}

/* Names were checked when the layer was applied: the split cannot fail. */
static struct erofs_xattr_name split(const struct xattr_pair *pair)
{
	struct erofs_xattr_name name = { 0 };

	erofs_xattr_split(&name, pair->name, strlen(pair->name));
	return name;
}

static uint32_t entry_size(const struct xattr_pair *pair)
{
	return erofs_xattr_entry_size(split(pair).suffix_len, pair->value_len);
}

/* Standing once and being pointed at by 4 bytes each must be less than standing everywhere. */
static bool worth_sharing(const struct xattr_pair *pair)
{
	uint64_t size = entry_size(pair);

	return pair->uses > 1 && size * pair->uses > size + SHARED_ID * (uint64_t)pair->uses;
}

static void encode_pair(uint8_t *p, const struct xattr_pair *pair)
{
	struct erofs_xattr_name name = split(pair);

	erofs_xattr_entry_encode(p, &name, pair->value, pair->value_len);
}

/* `shared` of a pair becomes its id + 1; ids count 4 bytes from the start of the area. */
static void build_shared(struct xattr_area *area, struct xattr_table *t)
{
	size_t at = 0;

	for (uint32_t i = 1; i <= t->pairs.count; i++) {
		struct xattr_pair *pair = xattr_pair(t, i);

		pair->shared = 0;
		if (worth_sharing(pair)) {
			pair->shared = (uint32_t)(at / SHARED_ID) + 1;
			at += entry_size(pair);
		}
	}
	area->shared_size = at;
	area->shared = xzalloc(at);
	for (uint32_t i = 1; i <= t->pairs.count; i++) {
		const struct xattr_pair *pair = xattr_pair(t, i);

		if (pair->shared)
			encode_pair(area->shared + (size_t)(pair->shared - 1) * SHARED_ID, pair);
	}
}

static void build_set(
	struct xattr_bytes *out, const struct xattr_table *t, const struct xattr_set *set)
{
	uint32_t size = EROFS_XATTR_HEADER_SIZE, n_shared = 0, filter = UINT32_MAX;
	uint8_t *id, *entry;

	for (uint32_t i = 0; i < set->n; i++) {
		const struct xattr_pair *pair = xattr_pair(t, set->pairs[i]);
		struct erofs_xattr_name name = split(pair);
		bool shared = pair->shared && n_shared < SHARED_MAX;

		n_shared += shared;
		size += shared ? SHARED_ID : entry_size(pair);
		filter &= ~erofs_xattr_filter_bit(&name);
	}
	out->size = size;
	out->bytes = xzalloc(size);
	put_le32(out->bytes, filter);
	out->bytes[4] = (uint8_t)n_shared;
	id = out->bytes + EROFS_XATTR_HEADER_SIZE;
	entry = id + (size_t)n_shared * SHARED_ID;
	for (uint32_t i = 0; i < set->n; i++) {
		const struct xattr_pair *pair = xattr_pair(t, set->pairs[i]);

		if (pair->shared && n_shared) {
			n_shared--;
			put_le32(id, pair->shared - 1);
			id += SHARED_ID;
		} else {
			encode_pair(entry, pair);
			entry += entry_size(pair);
		}
	}
}

void xattr_area_build(struct xattr_area *area, struct tree *tree)
{
	struct xattr_table *t = &tree->xattrs;

	count_uses(tree);
	build_shared(area, t);
	area->n_sets = t->sets.count + 1;
	area->sets = xcalloc(area->n_sets, sizeof(*area->sets));
	for (uint32_t i = 1; i <= t->sets.count; i++)
		if (xattr_set(t, i)->uses)
			build_set(&area->sets[i], t, xattr_set(t, i));
}

void xattr_area_free(struct xattr_area *area)
{
	for (uint32_t i = 0; area->sets && i < area->n_sets; i++)
		free(area->sets[i].bytes);
	free(area->sets);
	free(area->shared);
}
