// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/verify/against_file.h"

#include "lib/base/interrupt.h"

enum { READ_SIZE = 256 * 1024 };

struct file_reading {
	const struct against *a;
	struct fingerprint print;
	uint64_t left; /* bytes of the file that are still to come */
	uint8_t *buf;
};

static void file_reading_free(struct file_reading *r)
{
	fingerprint_free(&r->print);
	free(r->buf);
}

static int read_data(
	struct file_reading *r, unsigned device, uint64_t offset, uint64_t len, struct error **err)
{
	const struct device *d = device <= r->a->n_devices ? r->a->devices[device - 1] : NULL;

	if (!d)
		return error_set(err, 0, "device %u cannot be read", device);
	while (len) {
		size_t n = len < READ_SIZE ? (size_t)len : READ_SIZE;

		if (interrupt_pending())
			return error_set(err, 0, "interrupted");
		if (device_read(d, offset, r->buf, n, err) < 0)
			return -1;
		fingerprint_data(&r->print, r->buf, n);
		*r->a->done += n;
		offset += n;
		len -= n;
	}
	return 0;
}

static int read_run(void *arg, const struct bootstrap_run *run, struct error **err)
{
	struct file_reading *r = arg;
	uint64_t n = run->n_blk << EROFS_BLOCK_BITS;

	n = n < r->left ? n : r->left;
	r->left -= n;
	if (run->device)
		return read_data(r, run->device, (uint64_t)run->blk << EROFS_BLOCK_BITS, n, err);
	fingerprint_hole(&r->print, n);
	return 0;
}

int against_digest(const struct against *a, const struct bootstrap_inode *file,
	uint8_t digest[static FINGERPRINT_SIZE], struct error **err)
{
	CLEANUP(file_reading_free)
	struct file_reading r = {
		.a = a,
		.left = file->inode.size,
		.buf = xmalloc(READ_SIZE),
	};
	struct bootstrap_flat flat;

	fingerprint_begin(&r.print);
	if (bootstrap_chunks(file)) {
		if (bootstrap_runs(a->b, file, read_run, &r, err) < 0)
			return -1;
	} else {
		bootstrap_flat(a->b, file, &flat);
		fingerprint_data(&r.print, flat.head, flat.head_size);
		fingerprint_data(&r.print, flat.tail, flat.tail_size);
	}
	fingerprint_end(&r.print, digest);
	return 0;
}
