// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "cmd/daemons.h"

#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/log.h"
#include "lib/base/mem.h"
#include "lib/base/remove_tree.h"
#include "lib/serve/control/control_client.h"
#include "lib/serve/control/places.h"

enum { PATIENCE_MS = 30000, LOOK_MS = 20, DEAD_S = 300 };

static json_t *ask(const char *path, enum control_verb verb, struct error **err)
{
	int fd = control_connect(path, err);

	return fd < 0 ? NULL : control_ask(fd, verb, err);
}

/* The same, where it does not matter whether somebody answers. */
static json_t *try_to_ask(const char *path, enum control_verb verb, bool *absent)
{
	CLEANUP_ERROR struct error *err = NULL;
	json_t *answer = ask(path, verb, &err);

	*absent = !answer && control_is_absent(err);
	if (!answer)
		log_debug("%s", err->msg);
	return answer;
}

/*
 * All its processes were killed: nobody has its socket any more. One that is young may be about to
 * listen.
 */
static void forget_dead(const char *dir)
{
	CLEANUP_FD int fd = open(dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0 || st.st_uid != geteuid() ||
		st.st_mtime > time(NULL) - DEAD_S)
		return;
	remove_tree_below(fd);
	if (rmdir(dir) == 0)
		log_debug("%s: what a daemon that was killed has left is removed", dir);
}

static json_t *ask_private(const char *dir, enum control_verb verb)
{
	CLEANUP_FREE char *path = xasprintf("%s/socket", dir);
	bool absent;
	json_t *answer = try_to_ask(path, verb, &absent);

	if (absent)
		forget_dead(dir);
	return answer;
}

static int open_process(const json_t *ping)
{
	json_int_t pid = json_integer_value(json_object_get(ping, "pid"));

	return pid > 1 && pid < INT32_MAX ? pidfd_open((pid_t)pid, 0) : -1;
}

/* Its last act is to remove its directory; its holder goes with it. */
static void wait_for_end(int process, const char *dir)
{
	struct pollfd p = { .fd = process, .events = POLLIN };

	if (process >= 0 && poll(&p, 1, PATIENCE_MS) == 0)
		log_debug("the daemon that served the mount has not ended yet");
	for (int ms = 0; ms < PATIENCE_MS && access(dir, F_OK) == 0 && process < 0; ms += LOOK_MS)
		poll(NULL, 0, LOOK_MS);
}

static void reap_private(const char *dir)
{
	json_auto_t *ping = ask_private(dir, CONTROL_PING), *answer = NULL;
	CLEANUP_FD int process = open_process(ping); /* before it may end */

	answer = ping ? ask_private(dir, CONTROL_REAP) : NULL;
	if (answer && json_integer_value(json_object_get(answer, "mounts")) == 0)
		wait_for_end(process, dir);
}

void daemons_reap(const char *socket)
{
	CLEANUP_FREE char *usual = places_socket();
	CLEANUP_PLACES struct places p;
	bool absent;

	if (socket || usual)
		json_decref(try_to_ask(socket ? socket : usual, CONTROL_REAP, &absent));
	places_list(&p);
	for (size_t i = 0; i < p.n; i++)
		reap_private(p.dirs[i]);
}

/* ---- status ---- */

static void add_numbers(json_t *to, const json_t *from)
{
	const char *name;
	json_t *v;

	json_object_foreach((json_t *)from, name, v)
	{
		json_t *old = json_object_get(to, name);

		if (json_is_integer(v) && json_is_integer(old))
			json_integer_set(old, json_integer_value(old) + json_integer_value(v));
		else if (json_is_real(v) && json_is_real(old))
			json_real_set(old, json_real_value(old) + json_real_value(v));
	}
}

static void add_totals(json_t *to, const json_t *from)
{
	json_int_t requests;

	add_numbers(to, from);
	requests = json_integer_value(json_object_get(to, "requests"));
	if (requests && json_is_real(json_object_get(to, "hitRatio")))
		json_real_set(json_object_get(to, "hitRatio"),
			(double)json_integer_value(json_object_get(to, "hits")) / (double)requests);
}

/* `all` NULL: it is the first. */
static json_t *add_status(json_t *all, json_t *one)
{
	if (!all || !one)
		return all ? all : one;
	json_array_extend(json_object_get(all, "mounts"), json_object_get(one, "mounts"));
	add_totals(json_object_get(all, "totals"), json_object_get(one, "totals"));
	json_decref(one);
	return all;
}

json_t *daemons_status(const char *socket, struct error **err)
{
	CLEANUP_FREE char *usual = places_socket();
	CLEANUP_ERROR struct error *e = NULL;
	CLEANUP_PLACES struct places p = { 0 };
	json_t *all = NULL;

	if (socket || usual)
		all = ask(socket ? socket : usual, CONTROL_STATUS, &e);
	if (e && (socket || !control_is_absent(e))) {
		*err = take_ptr(e);
		return NULL;
	}
	if (socket)
		return all;
	places_list(&p);
	for (size_t i = 0; i < p.n; i++)
		all = add_status(all, ask_private(p.dirs[i], CONTROL_STATUS));
	return all;
}
