// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/*
 * Mutants of a bootstrap against the validator, the reader and the kernel:
 *
 *	mutants [-k] [-n COUNT] [-s SEED] SCRATCH BOOTSTRAP DEVICE...
 *
 * What the validator accepts, the reader must walk and read without a fault; with -k (root)
 * the kernel, too, must mount it, walk it and read it, show the same as the reader, warn of
 * nothing, and show what the mutation did not touch as it was. SCRATCH is a file on a
 * filesystem that can back a mount; each mutant that fails is kept as SCRATCH.N.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/mem.h"
#include "lib/bootstrap/validate.h"
#include "tests/tools/mutate.h"
#include "tests/tools/view.h"

struct run {
	bool kernel;
	uint64_t count, seed;
	char **devices; /* paths */
	size_t n_devices;
	const char *scratch;
	int fd; /* of the scratch file */
	int kmsg;
	struct view_device *maps;
	struct bootstrap_device *slots;
	const uint8_t *base; /* the whole image */
	uint64_t size, shared;
	struct view base_reader, base_kernel;
	uint64_t accepted, refused, failed;
};

static void die(struct error *err, const char *what)
{
	fprintf(stderr, "mutants: %s: %s\n", what, err ? err->msg : strerror(errno));
	exit(1);
}

static const uint8_t *map(const char *path, uint64_t *size)
{
	CLEANUP_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	void *p;

	if (fd < 0 || fstat(fd, &st) < 0)
		die(NULL, path);
	*size = (uint64_t)st.st_size;
	p = mmap(NULL, *size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (p == MAP_FAILED)
		die(NULL, path);
	return p;
}

/* ---- the kernel's log ---- */

static int open_log(void)
{
	int fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);

	if (fd < 0 || lseek(fd, 0, SEEK_END) < 0)
		die(NULL, "/dev/kmsg");
	return fd;
}

/* Anything of EROFS that is a warning or worse, or a splat; NULL for nothing. */
static char *new_warning(const struct run *r)
{
	static const char *const splats[] = { "WARNING:", "BUG:", "Oops", "KASAN", "UBSAN",
		"general protection" };
	char line[8192], *found = NULL;
	ssize_t n;

	/* EPIPE: records were overwritten before they were read */
	while ((n = read(r->kmsg, line, sizeof(line) - 1)) > 0 || (n < 0 && errno == EPIPE)) {
		unsigned level = n > 0 ? (unsigned)atoi(line) & 7u : 7;
		bool bad;

		line[n > 0 ? n : 0] = '\0';
		bad = level <= 4 && strstr(line, "erofs");
		for (size_t i = 0; i < sizeof(splats) / sizeof(*splats); i++)
			bad |= strstr(line, splats[i]) != NULL;
		if (bad && !found)
			found = xstrdup(line);
	}
	return found;
}

/* ---- one mutant ---- */

static void put_scratch(const struct run *r, const uint8_t *image)
{
	if (pwrite(r->fd, image, r->size, 0) != (ssize_t)r->size)
		die(NULL, r->scratch);
}

static const struct view_inode *find(const struct view *v, uint64_t nid)
{
	size_t low = 0, high = v->n;

	while (low < high) {
		size_t mid = (low + high) / 2;

		if (v->of[mid].nid < nid)
			low = mid + 1;
		else
			high = mid;
	}
	return low < v->n && v->of[low].nid == nid ? &v->of[low] : NULL;
}

static bool meets(const struct mutation_part *p, uint64_t from, uint64_t to)
{
	return p->offset < to && p->offset + p->len > from;
}

/* What of the inode may be another than before? */
struct touched {
	bool all, mtime, xattrs;
};

static struct touched touched_by(
	const struct run *r, const struct mutation *m, const struct view_inode *i)
{
	struct touched t = { 0 };

	for (size_t k = 0; k < m->n; k++) {
		const struct mutation_part *p = &m->of[k];

		t.all |= meets(p, i->nid * EROFS_SLOT_SIZE, i->end) ||
			 meets(p, i->data, i->data_end);
		t.mtime |= meets(p, EROFS_SUPER_OFFSET, EROFS_SUPER_OFFSET + EROFS_SUPER_SIZE);
		t.xattrs |= p->offset >= r->shared;
	}
	return t;
}

static bool same(const struct view_inode *a, const struct view_inode *b, struct touched t)
{
	return t.all ||
	       (a->stat == b->stat && a->content == b->content &&
		       (t.mtime || a->mtime == b->mtime) && (t.xattrs || a->xattrs == b->xattrs));
}

/* What the mutation did not touch, the kernel shows as it was. */
static int compare_with_base(
	const struct run *r, const struct view *now, const struct mutation *m, struct error **err)
{
	for (size_t i = 0; i < r->base_kernel.n; i++) {
		const struct view_inode *was = &r->base_kernel.of[i];
		const struct view_inode *read = find(&r->base_reader, was->nid);
		const struct view_inode *is = find(now, was->nid);

		if (!is || !read)
			return error_set(err, 0, "inode %" PRIu64 " is gone", was->nid);
		if (!same(was, is, touched_by(r, m, read)))
			return error_set(
				err, 0, "inode %" PRIu64 " was not touched, but differs", was->nid);
	}
	return 0;
}

static int compare_with_reader(
	const struct view *kernel, const struct view *reader, struct error **err)
{
	if (kernel->n != reader->n)
		return error_set(err, 0, "%zu inodes by the kernel, %zu by the reader", kernel->n,
			reader->n);
	for (size_t i = 0; i < kernel->n; i++) {
		const struct view_inode *k = &kernel->of[i], *o = &reader->of[i];

		if (k->nid != o->nid || !same(k, o, (struct touched){ 0 }))
			return error_set(err, 0,
				"inode %" PRIu64 ": kernel and reader differ in%s%s%s%s", k->nid,
				k->stat == o->stat ? "" : " attributes",
				k->mtime == o->mtime ? "" : " mtime",
				k->content == o->content ? "" : " content",
				k->xattrs == o->xattrs ? "" : " xattrs");
	}
	return 0;
}

static int look(struct run *r, struct view *reader, struct view *kernel, struct error **err)
{
	CLEANUP_FREE char *warning = NULL;

	if (view_by_reader(reader, r->fd, r->maps, err) < 0)
		return error_wrap(err, "the reader");
	if (!r->kernel)
		return 0;
	if (view_by_kernel(kernel, r->scratch, r->devices, r->n_devices, err) < 0)
		return error_wrap(err, "the kernel");
	warning = new_warning(r);
	if (warning)
		return error_set(err, 0, "the kernel's log: %s", warning);
	return compare_with_reader(kernel, reader, err);
}

static int check_accepted(struct run *r, const struct mutation *m, struct error **err)
{
	CLEANUP(view_free) struct view reader = { 0 }, kernel = { 0 };

	if (look(r, &reader, &kernel, err) < 0)
		return -1;
	return r->kernel ? compare_with_base(r, &kernel, m, err) : 0;
}

/* Others may mount bad images here at the same time: a warning counts when it comes again. */
static int check_twice(struct run *r, const struct mutation *m, struct error **err)
{
	if (check_accepted(r, m, err) == 0)
		return 0;
	error_free(take_ptr(*err));
	free(r->kernel ? new_warning(r) : NULL);
	return check_accepted(r, m, err);
}

static void keep(struct run *r, uint64_t number, const uint8_t *image, const struct mutation *m,
	const struct error *err)
{
	CLEANUP_FREE char *path = xasprintf("%s.%" PRIu64, r->scratch, number);
	CLEANUP_FCLOSE FILE *f = fopen(path, "we");

	r->failed++;
	printf("mutant %" PRIu64 ": %s: %s\n", number, m->text, err->msg);
	if (!f || fwrite(image, 1, r->size, f) != r->size)
		die(NULL, path);
}

static void try_one(struct run *r, const struct mutator *mutator, uint64_t number, uint8_t *image)
{
	const struct bootstrap_devices devices = { r->slots, r->n_devices };
	CLEANUP_ERROR struct error *err = NULL;
	uint64_t random = r->seed + (number << 20);
	struct mutation m;

	memcpy(image, r->base, r->size);
	mutate(mutator, image, &random, &m);
	if (bootstrap_validate(image, r->size, &devices, NULL, &err) < 0) {
		r->refused++;
		if (getenv("MUTANTS_SAY"))
			printf("refused: %s: %s\n", m.text, err->msg);
		return;
	}
	r->accepted++;
	if (getenv("MUTANTS_SAY"))
		printf("accepted: %s\n", m.text);
	put_scratch(r, image);
	if (check_twice(r, &m, &err) < 0)
		keep(r, number, image, &m, err);
}

/* ---- all of them ---- */

static struct bootstrap *open_base(struct run *r, const char *path)
{
	struct error *err = NULL;
	struct bootstrap *b;

	r->base = map(path, &r->size);
	r->fd = open(r->scratch, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (r->fd < 0)
		die(NULL, r->scratch);
	put_scratch(r, r->base);
	b = bootstrap_open(r->fd, &err);
	if (!b)
		die(err, path);
	r->shared = (uint64_t)bootstrap_super(b)->xattr_blk * EROFS_BLOCK_SIZE;
	return b;
}

/* The slots as they are in the base: what a manifest would say of the devices. */
static void open_devices(struct run *r, const struct bootstrap *b)
{
	struct error *err = NULL;

	r->maps = xcalloc(r->n_devices, sizeof(*r->maps));
	r->slots = xcalloc(r->n_devices, sizeof(*r->slots));
	for (size_t i = 0; i < r->n_devices; i++) {
		struct erofs_device_slot slot;
		char text[80];

		r->maps[i].bytes = map(r->devices[i], &r->maps[i].size);
		if (bootstrap_device(b, (unsigned)i, &slot, &err) < 0)
			die(err, r->devices[i]);
		snprintf(text, sizeof(text), "sha256:%s", slot.tag);
		if (digest_parse(&r->slots[i].tag, text, &err) < 0)
			die(err, r->devices[i]);
		r->slots[i].blocks = (uint32_t)(r->maps[i].size / EROFS_BLOCK_SIZE);
	}
}

static void run_free(struct run *r)
{
	view_free(&r->base_reader);
	view_free(&r->base_kernel);
	free(r->maps);
	free(r->slots);
	if (r->kmsg >= 0)
		close(r->kmsg);
	close(r->fd);
}

static void run(struct run *r, const struct mutator *mutator)
{
	CLEANUP_FREE uint8_t *image = xmalloc(r->size);
	const struct mutation nothing = { .text = "nothing changed" };
	struct error *err = NULL;

	if (look(r, &r->base_reader, &r->base_kernel, &err) < 0)
		die(err, nothing.text);
	for (uint64_t i = 0; i < r->count && r->failed < 20; i++)
		try_one(r, mutator, i, image);
	printf("%" PRIu64 " mutants: %" PRIu64 " refused, %" PRIu64 " accepted, of these %" PRIu64
	       " wrongly\n",
		r->accepted + r->refused, r->refused, r->accepted, r->failed);
}

int main(int argc, char **argv)
{
	struct run r = { .count = 1000, .seed = 1, .kmsg = -1 };
	struct mutator *mutator;
	struct error *err = NULL;
	struct bootstrap *b;
	int option;

	while ((option = getopt(argc, argv, "kn:s:")) != -1) {
		if (option == 'k')
			r.kernel = true;
		else if (option == 'n')
			r.count = strtoull(optarg, NULL, 10);
		else if (option == 's')
			r.seed = strtoull(optarg, NULL, 10);
		else
			return 2;
	}
	if (argc - optind < 2)
		return 2;
	r.scratch = argv[optind];
	r.devices = argv + optind + 2;
	r.n_devices = (size_t)(argc - optind - 2);
	b = open_base(&r, argv[optind + 1]);
	open_devices(&r, b);
	if (r.kernel)
		r.kmsg = open_log();
	mutator = mutator_new(b, &err);
	if (!mutator)
		die(err, argv[optind + 1]);
	run(&r, mutator);
	mutator_free(mutator);
	bootstrap_close(b);
	run_free(&r);
	return r.failed || !r.accepted;
}
