// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "tests/bench/frames_cut.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "lib/base/mem.h"
#include "lib/bootstrap/walk.h"

static char **wanted;
static size_t n_wanted, wanted_cap;

_Noreturn void die(const char *what, const char *why)
{
	fprintf(stderr, "frames: %s: %s\n", what, why);
	exit(2);
}

/* --- images ------------------------------------------------------------------------------- */

static void open_device(struct image *image, const char *arg)
{
	char *path;
	unsigned long slot = strtoul(arg, &path, 10);
	struct device *d = &image->slots[slot <= SLOTS_MAX ? slot : 0];
	CLEANUP_FD int fd = -1;
	struct stat st;

	if (d == image->slots || *path++ != ':')
		die(arg, "no SLOT:DEVICE");
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0 || st.st_size < BLOCK || st.st_size % BLOCK)
		die(path, "no device of whole blocks");
	d->blocks = (uint64_t)st.st_size / BLOCK;
	d->data = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
	if (d->data == MAP_FAILED)
		die(path, "cannot be mapped");
	d->starts = xcalloc(d->blocks, sizeof(*d->starts));
	d->wanted = xcalloc(d->blocks, sizeof(*d->wanted));
	d->hashes = xcalloc(d->blocks, sizeof(*d->hashes));
	for (uint64_t i = 0; i < d->blocks; i++)
		d->hashes[i] = XXH3_64bits(d->data + i * BLOCK, BLOCK);
}

struct walk_arg {
	struct image *image;
	const struct bootstrap *b;
	bool wanted; /* the file at hand */
};

static int note_run(void *arg, const struct bootstrap_run *run, struct error **err)
{
	struct walk_arg *w = arg;
	struct device *d = &w->image->slots[run->device <= SLOTS_MAX ? run->device : 0];

	(void)err;
	if (run->blk >= d->blocks || run->n_blk > d->blocks - run->blk)
		return 0; /* of a device that is not given */
	if (!run->offset)
		d->starts[run->blk] = 1;
	if (w->wanted)
		memset(d->wanted + run->blk, 1, run->n_blk);
	return 0;
}

static int compare_paths(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static int note_entry(void *arg, const struct bootstrap_entry *entry, struct error **err)
{
	struct walk_arg *w = arg;
	CLEANUP_FREE char *path = n_wanted ? bootstrap_entry_path(entry) : NULL;

	if (!bootstrap_chunks(entry->inode))
		return 0;
	w->wanted = n_wanted && bsearch(&path, wanted, n_wanted, sizeof(*wanted), compare_paths);
	return bootstrap_runs(w->b, entry->inode, note_run, w, err);
}

void read_wanted(const char *path)
{
	CLEANUP_FCLOSE FILE *f = fopen(path, "re");
	CLEANUP_FREE char *line = NULL;
	size_t cap = 0;
	ssize_t len;

	if (!f)
		die(path, "cannot be opened");
	while ((len = getline(&line, &cap, f)) > 0) {
		len -= line[len - 1] == '\n';
		wanted = xgrow(wanted, n_wanted, &wanted_cap, sizeof(*wanted));
		wanted[n_wanted++] = xstrndup(line, (size_t)len);
	}
	if (n_wanted)
		qsort(wanted, n_wanted, sizeof(*wanted), compare_paths);
}

static void open_bootstrap(struct image *image, const char *path)
{
	CLEANUP_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
	CLEANUP_ERROR struct error *err = NULL;
	CLEANUP_BOOTSTRAP struct bootstrap *b = fd < 0 ? NULL : bootstrap_open(fd, &err);
	struct walk_arg w = { .image = image, .b = b };
	struct bootstrap_walker walker = { .each = note_entry, .arg = &w };

	if (!b || bootstrap_walk(b, &walker, &err) < 0)
		die(path, err ? err->msg : "cannot be opened");
}

/* --- cutting ------------------------------------------------------------------------------ */

static uint64_t below(uint64_t one_of)
{
	return one_of > 1 ? UINT64_MAX / one_of : UINT64_MAX;
}

static uint64_t blocks_of(const char *s, char **end)
{
	uint64_t n = strtoull(s, end, 10);

	if (**end == 'K' || **end == 'M')
		n <<= *(*end)++ == 'K' ? 10 : 20;
	return n / BLOCK;
}

void parse_rule(struct rule *r, const char *s)
{
	char *p;

	*r = (struct rule){ .name = s, .max = blocks_of(s, &p) };
	r->min = r->max;
	if (*p == '-')
		r->max = blocks_of(p + 1, &p);
	while (*p == ',') {
		if (!strncmp(++p, "block=", 6))
			r->at_block = below(blocks_of(p + 6, &p));
		else if (!strncmp(p, "file=", 5))
			r->at_file = below(strtoull(p + 5, &p, 10));
		else if (!strncmp(p, "lowest=", 7))
			r->lowest = strtoull(p + 7, &p, 10);
		else
			break;
	}
	if (*p || !r->min || r->max < r->min)
		die(s, "no rule");
}

static void cut(struct frames *f, uint64_t end)
{
	f->ends = xgrow(f->ends, f->n, &f->cap, sizeof(*f->ends));
	f->ends[f->n++] = end;
}

/* Is there a cut before block i, once the frame has its least size? */
static bool is_cut(const struct device *d, const struct rule *r, uint64_t i)
{
	return (d->starts[i] && d->hashes[i] < r->at_file) || d->hashes[i] < r->at_block;
}

static uint64_t lowest(const struct device *d, const struct rule *r, uint64_t from, uint64_t to)
{
	uint64_t best = to, best_hash = UINT64_MAX;

	for (uint64_t i = from; i <= to; i++) {
		uint64_t hash = d->starts[i] ? d->hashes[i] / r->lowest : d->hashes[i];

		if (hash < best_hash) {
			best_hash = hash;
			best = i;
		}
	}
	return best;
}

void cut_device(struct frames *f, const struct device *d, const struct rule *r)
{
	uint64_t first = 1;

	f->n = 0;
	cut(f, 1); /* the constant block */
	for (uint64_t i = 1; i < d->blocks; i++) {
		if (i - first < r->min)
			continue;
		if (i - first == r->max && r->lowest)
			i = lowest(d, r, first + r->min, i);
		else if (i - first < r->max && !is_cut(d, r, i))
			continue;
		cut(f, i);
		first = i;
	}
	if (d->blocks > 1)
		cut(f, d->blocks);
}

/* One image's arguments from argv[i] on; the index of the first that is another's. */
int open_image(struct image *image, char **argv, int i)
{
	const char *bootstrap = argv[i];

	if (!bootstrap)
		die("arguments", "a BOOTSTRAP is missing");
	for (i++; argv[i] && strchr(argv[i], '/'); i++)
		open_device(image, argv[i]);
	open_bootstrap(image, bootstrap);
	return i;
}
