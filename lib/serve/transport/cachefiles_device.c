// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/* /dev/cachefiles: adopted, or opened and bound to a cache that is empty. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/cachefiles.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/mem.h"
#include "lib/base/privilege.h"
#include "lib/base/remove_tree.h"
#include "lib/mount/context.h"
#include "lib/serve/holder/keep.h"
#include "lib/serve/serve_config.h"
#include "lib/serve/transport/cachefiles_part.h"

#define DEVICE "/dev/cachefiles"
#define TAG    "erofs-convert" /* unless the configuration says another one */
#define KEPT   "cachefiles." /* the domain follows, so that both are kept or none */

enum { TRIES = 20, PAUSE_MS = 100 };

static int read_complete(int object, uint32_t message)
{
	return ioctl(object, CACHEFILES_IOC_READ_COMPLETE, message);
}

static const struct cachefiles_ops real_ops = {
	.read = read, .write = write, .complete = read_complete
};

/* ---- opening ---- */

static int cannot_open(int code, struct error **err)
{
	char release[KERNEL_RELEASE_MAX];

	if (code == EBUSY) {
		error_set(err, 0, "another process has " DEVICE ", which can be opened once");
		return error_hint(err, "one daemon for all mounts: `erofs-convert serve`");
	}
	if (code == ENOENT || code == ENXIO || code == ENODEV) {
		error_set(
			err, 0, "the running kernel (%s) has no " DEVICE, kernel_release(release));
		return error_hint(err, "modprobe cachefiles, or a kernel from 5.19 to 7.1 with "
				       "CONFIG_CACHEFILES_ONDEMAND");
	}
	return error_set(err, code, "cannot open " DEVICE);
}

/* The end of a former cache takes its time. */
static int open_device(struct error **err)
{
	const struct timespec pause = { .tv_nsec = PAUSE_MS * 1000000L };

	for (unsigned i = 1;; i++) {
		int fd = open(DEVICE, O_RDWR | O_CLOEXEC);

		if (fd >= 0)
			return fd;
		if (errno != EBUSY || i == TRIES)
			return cannot_open(errno, err);
		nanosleep(&pause, NULL);
	}
}

/* What is in it nobody vouches for: the store has it all, verified. */
static int make_empty(const char *dir, struct error **err)
{
	CLEANUP_FD int fd = -1;

	if (mkdir(dir, 0700) < 0 && errno != EEXIST)
		return error_set(err, errno, "cannot make %s", dir);
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return error_set(err, errno, "cannot open %s", dir);
	remove_tree_below(fd);
	return 0;
}

/* ---- binding ---- */

static int command(int dev, const struct cachefiles_command *c, struct error **err)
{
	if (write(dev, c->text, c->len) >= 0)
		return 0;
	if (errno == ENOBUFS) {
		error_set(err, errno, "the kernel refuses \"%s\"", c->text);
		return error_hint(err, "room: less than bstop of the disk's blocks, or fstop of "
				       "its files, is free");
	}
	error_set(err, errno, "the kernel refuses \"%s\"", c->text);
	return error_hint(err, "CONFIG_CACHEFILES_ONDEMAND in the kernel, and a store on a "
			       "filesystem with user xattrs and direct I/O, such as ext4 or XFS");
}

static int set_limits(int dev, enum cachefiles_limits_of of, const struct cachefiles_limits *limits,
	struct error **err)
{
	struct cachefiles_command c;

	for (unsigned i = 0; limits->run && i < CACHEFILES_LIMIT_COMMANDS; i++) {
		cachefiles_put_limit(&c, of, limits, i);
		if (command(dev, &c, err) < 0)
			return -1;
	}
	return 0;
}

static int bind_to(
	int dev, const char *dir, const struct config_cachefiles *config, struct error **err)
{
	const char *tag = config->tag ? config->tag : TAG;
	struct cachefiles_command c;
	struct fault fault;

	if (cachefiles_put_dir(&c, dir, &fault) < 0)
		return error_set(err, 0, "%s cannot be the cache's directory: %s", dir, fault.what);
	if (command(dev, &c, err) < 0)
		return -1;
	if (cachefiles_put_tag(&c, tag, &fault) < 0)
		return error_set(err, 0, "the cache cannot be called %s: %s", tag, fault.what);
	if (command(dev, &c, err) < 0 ||
		set_limits(dev, CACHEFILES_BLOCKS, &config->blocks, err) < 0 ||
		set_limits(dev, CACHEFILES_FILES, &config->files, err) < 0)
		return -1;
	cachefiles_put_bind(&c);
	return command(dev, &c, err);
}

static char *new_domain(void)
{
	uint64_t r;

	while (getrandom(&r, sizeof(r), 0) != sizeof(r))
		;
	return xasprintf("erofs-convert-%016" PRIx64, r);
}

static int open_new(const char *dir, const char *name, struct keep *keep,
	const struct config_cachefiles *config, struct error **err)
{
	CLEANUP_FD int dev = open_device(err);

	if (dev < 0 || make_empty(dir, err) < 0 || bind_to(dev, dir, config, err) < 0)
		return -1;
	if (keep && keep_put(keep, name, dev, err) < 0)
		return -1;
	return take_fd(&dev);
}

/* ---- the transport ---- */

/* One that was kept has the limits of its bind, which the file that is read now may not say. */
static void expect_limits(struct cachefiles *c, const struct config_cachefiles *config)
{
	if (config->blocks.run)
		c->content_blocks = config->blocks.run;
	if (config->files.run)
		c->content_files = config->files.run;
}

struct device_transport *cachefiles_transport_open(struct keep *keep, const char *store_dir,
	const struct config_cachefiles *config, struct error **err)
{
	static const struct config_cachefiles nothing;
	CLEANUP_FREE char *dir = xasprintf("%s/cachefiles", store_dir), *name = NULL,
			  *domain = NULL;
	const char *kept = keep ? keep_name(keep, KEPT, 0) : NULL;
	struct cachefiles *c;
	int dev;

	domain = kept ? xstrdup(kept + strlen(KEPT)) : new_domain();
	name = xasprintf(KEPT "%s", domain);
	if (!config)
		config = &nothing;
	dev = kept ? keep_find(keep, name) : open_new(dir, name, keep, config, err);
	if (dev < 0) {
		if (!*err)
			error_set(err, errno, "the device that was kept is gone");
		error_wrap(err, "transport cachefiles");
		return NULL;
	}
	c = cachefiles_of(cachefiles_new(dev, dir, domain, &real_ops));
	expect_limits(c, config);
	c->keep = keep;
	c->name = take_ptr(name);
	c->adopted = kept != NULL;
	return &c->transport;
}

bool cachefiles_transport_was_kept(const struct keep *keep)
{
	return keep_name(keep, KEPT, 0) != NULL;
}

bool cachefiles_transport_supported(char **why)
{
	CLEANUP_ERROR struct error *err = NULL;
	CLEANUP_FD int fd = -1;

	*why = NULL;
	if (!privilege_is_full_root()) {
		*why = xstrdup("it needs root");
		return false;
	}
	fd = open(DEVICE, O_RDWR | O_CLOEXEC);
	if (fd >= 0)
		return true;
	cannot_open(errno, &err);
	*why = xstrdup(err->msg);
	return false;
}
