// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/* What `--transport auto` comes to, and what --debug says of it: for each kernel, without one. */
#include "config.h"

#include "lib/base/log.h"
#include "lib/base/mem.h"
#include "lib/serve/service/part.h"
#include "tests/unit/tap.h"
#include "tests/unit/tmpdir.h"

/* ---- the kernel and the service manager ---- */

static bool backed;
static const char *no_fuse_device, *no_cachefiles;
static unsigned cachefiles_opened;
static struct device_transport some = { .name = "some" };

#define REPLACED(function) __wrap_##function

bool REPLACED(keep_is_backed)(const struct keep *k);
bool REPLACED(keep_is_backed)(const struct keep *k)
{
	return backed;
}

bool REPLACED(fuse_device_transport_supported)(char **why);
bool REPLACED(fuse_device_transport_supported)(char **why)
{
	*why = no_fuse_device ? xstrdup(no_fuse_device) : NULL;
	return !no_fuse_device;
}

bool REPLACED(cachefiles_transport_was_kept)(const struct keep *k);
bool REPLACED(cachefiles_transport_was_kept)(const struct keep *k)
{
	return false;
}

struct device_transport *REPLACED(cachefiles_transport_open)(struct keep *k, const char *store,
	const struct config_cachefiles *config, struct error **err);
struct device_transport *REPLACED(cachefiles_transport_open)(struct keep *k, const char *store,
	const struct config_cachefiles *config, struct error **err)
{
	cachefiles_opened++;
	if (!no_cachefiles)
		return &some;
	error_set(err, 0, "%s", no_cachefiles);
	return NULL;
}

struct store *REPLACED(blob_set_store)(const struct blob_set *s);
struct store *REPLACED(blob_set_store)(const struct blob_set *s)
{
	return NULL;
}

const char *REPLACED(store_dir)(const struct store *s);
const char *REPLACED(store_dir)(const struct store *s)
{
	return "/nowhere";
}

struct engine *REPLACED(blob_set_engine)(const struct blob_set *s);
struct engine *REPLACED(blob_set_engine)(const struct blob_set *s)
{
	return NULL;
}

void REPLACED(blob_set_add_transport)(struct blob_set *s, struct device_transport *t);
void REPLACED(blob_set_add_transport)(struct blob_set *s, struct device_transport *t)
{
}

/* ---- asking ---- */

static char *dir, *path;
static int real_stderr;

/* *said: what --debug says, the caller's to free. */
static enum service_transport choose(struct service *s, enum service_transport wanted, char **said)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, 0600);
	enum service_transport t;

	pthread_mutex_init(&s->open_lock, NULL);
	cachefiles_opened = 0;
	fflush(stderr);
	dup2(fd, STDERR_FILENO);
	close(fd);
	t = transports_choose(s, wanted);
	fflush(stderr);
	dup2(real_stderr, STDERR_FILENO);
	*said = read_file(path);
	return t;
}

struct kernel {
	bool fanotify, backed, strict;
	const char *no_fuse_device, *no_cachefiles;
};

static void check_chosen(
	const struct kernel *k, enum service_transport expected, const char *expected_words)
{
	struct service s = { .fanotify = k->fanotify ? &some : NULL,
		.no_fanotify = k->fanotify ? NULL : "before 6.14",
		.strict = k->strict };
	CLEANUP_FREE char *said = NULL;

	backed = k->backed;
	no_fuse_device = k->no_fuse_device;
	no_cachefiles = k->no_cachefiles;
	CHECK_STR(service_transport_name(choose(&s, SERVICE_AUTO, &said)),
		service_transport_name(expected));
	CHECK_STR(said, expected_words);
}

#define NOBODY_KEEPS                                                                             \
	"erofs-convert: debug: auto: no fanotify: no service manager keeps its group, and when " \
	"all processes die, holes would read as zeros\n"
#define LINE(words) "erofs-convert: debug: auto: " words "\n"

/* ---- tests ---- */

static void fanotify_is_the_best_where_a_manager_keeps_it(void)
{
	check_chosen(&(struct kernel){ .fanotify = true, .backed = true }, SERVICE_FANOTIFY,
		LINE("fanotify"));
	CHECK_U64(cachefiles_opened, 0);
}

static void fuse_device_stands_in_where_nobody_keeps_it(void)
{
	check_chosen(&(struct kernel){ .fanotify = true }, SERVICE_FUSE_DEVICE,
		NOBODY_KEEPS LINE("fuse-device"));
	CHECK_U64(cachefiles_opened, 0);
}

static void fuse_device_stands_in_for_strict(void)
{
	check_chosen(&(struct kernel){ .fanotify = true, .backed = true, .strict = true },
		SERVICE_FUSE_DEVICE, LINE("no fanotify: --strict") LINE("fuse-device"));
}

static void the_stand_in_has_others_behind_it(void)
{
	check_chosen(&(struct kernel){ .fanotify = true, .no_fuse_device = "no /dev/fuse" },
		SERVICE_CACHEFILES,
		NOBODY_KEEPS LINE("no fuse-device: no /dev/fuse") LINE("cachefiles"));
	check_chosen(&(struct kernel){ .fanotify = true,
			     .no_fuse_device = "no /dev/fuse",
			     .no_cachefiles = "no device" },
		SERVICE_FUSE,
		NOBODY_KEEPS LINE("no fuse-device: no /dev/fuse") LINE("no cachefiles: no device")
			LINE("fuse"));
}

static void cachefiles_is_the_way_of_older_kernels(void)
{
	check_chosen(&(struct kernel){ .no_fuse_device = "before 6.12" }, SERVICE_CACHEFILES,
		LINE("no fanotify: before 6.14") LINE("cachefiles"));
	check_chosen(&(struct kernel){ .backed = true, .strict = true }, SERVICE_CACHEFILES,
		LINE("no fanotify: before 6.14") LINE("cachefiles"));
}

static void fuse_device_is_next_to_it_on_6_12_and_6_13(void)
{
	check_chosen(&(struct kernel){ .no_cachefiles = "it is another's" }, SERVICE_FUSE_DEVICE,
		LINE("no fanotify: before 6.14") LINE("no cachefiles: it is another's")
			LINE("fuse-device"));
}

static void fuse_is_for_the_rest(void)
{
	check_chosen(&(struct kernel){ .no_cachefiles = "none", .no_fuse_device = "before 6.12" },
		SERVICE_FUSE,
		LINE("no fanotify: before 6.14") LINE("no cachefiles: none")
			LINE("no fuse-device: before 6.12") LINE("fuse"));
}

static void what_is_asked_for_by_name_is_not_chosen(void)
{
	struct service s = { .no_fanotify = "before 6.14" };

	no_cachefiles = no_fuse_device = NULL;
	for (unsigned t = SERVICE_FANOTIFY; t <= SERVICE_FUSE; t++) {
		CLEANUP_FREE char *said = NULL;

		CHECK_U64(choose(&s, (enum service_transport)t, &said), t);
		CHECK_STR(said, "");
		CHECK_U64(cachefiles_opened, 0);
	}
}

int main(void)
{
	dir = tmpdir_make();
	path = xasprintf("%s/stderr", dir);
	real_stderr = dup(STDERR_FILENO);
	log_set_level(LOG_DEBUG);
	RUN(fanotify_is_the_best_where_a_manager_keeps_it);
	RUN(fuse_device_stands_in_where_nobody_keeps_it);
	RUN(fuse_device_stands_in_for_strict);
	RUN(the_stand_in_has_others_behind_it);
	RUN(cachefiles_is_the_way_of_older_kernels);
	RUN(fuse_device_is_next_to_it_on_6_12_and_6_13);
	RUN(fuse_is_for_the_rest);
	RUN(what_is_asked_for_by_name_is_not_chosen);
	close(real_stderr);
	free(path);
	tmpdir_remove(dir);
	free(dir);
	return tap_done();
}
