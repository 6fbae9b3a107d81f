// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "cmd/cmd.h"
#include "cmd/work.h"
#include "lib/base/interrupt.h"
#include "lib/base/log.h"
#include "lib/base/mem.h"
#include "lib/base/remove_tree.h"
#include "lib/serve/control/control_server.h"
#include "lib/serve/control/listen.h"
#include "lib/serve/control/metrics.h"
#include "lib/serve/control/places.h"
#include "lib/serve/holder/handover.h"
#include "lib/serve/service.h"

static const char *store, *socket_path, *socket_mode, *config_path, *transport, *metrics_address,
	*private_dir;
static uint64_t store_limit, deadline;
enum { HOLDER_WAITS_MORE = 5 }; /* seconds */
static bool strict;

static const struct cmd_option options[] = {
	{ .name = "store",
		.arg = "DIR",
		.string = &store,
		.help = "the store (default: /var/lib/erofs-convert, or the user's own)" },
	{ .name = "store-limit",
		.arg = "BYTES",
		.number = &store_limit,
		.max = INT64_MAX,
		.help = "what the store may take (default: the disk)" },
	{ .name = "deadline",
		.arg = "SECONDS",
		.number = &deadline,
		.min = 1,
		.max = 3600,
		.help = "how long a reader waits for data, 1 to 3600 (default: 60); then EIO" },
	{ .name = "socket",
		.arg = "PATH",
		.string = &socket_path,
		.help = "where to be asked (default: /run/erofs-convert/socket)" },
	{ .name = "socket-mode",
		.arg = "MODE",
		.string = &socket_mode,
		.help = "who may ask: 0600, 0660 or 0666 (default: 0600)" },
	{ .name = "config",
		.arg = "FILE",
		.string = &config_path,
		.help = "registries and mirrors (default: /etc/erofs-convert/serve.json)" },
	{ .name = "transport",
		.arg = "NAME",
		.string = &transport,
		.help = "auto, fanotify, fuse-device, cachefiles or fuse (default: auto)" },
	{ .name = "strict",
		.flag = &strict,
		.help = "only what fails closed if all our processes die" },
	{ .name = "metrics",
		.arg = "ADDRESS",
		.string = &metrics_address,
		.help = "serve metrics and health at /PATH or HOST:PORT" },
	{ .name = "private",
		.arg = "DIR",
		.string = &private_dir,
		.help = "internal: for one mount, state in DIR, ends with it" },
	{ 0 },
};

/* What command line and configuration file come to. */
struct settings {
	struct serve_config config;
	struct service_options service;
	const char *socket, *metrics;
	char *runtime, *default_socket;
	unsigned mode;
};

static void settings_free(struct settings *s)
{
	serve_config_free(&s->config);
	free(s->runtime);
	free(s->default_socket);
}
#define CLEANUP_SETTINGS CLEANUP(settings_free)

static const char *first(const char *a, const char *b)
{
	return a ? a : b;
}

/* CMD_DONE or CMD_USAGE. */
static int read_mode(unsigned *mode)
{
	*mode = 0600;
	if (!socket_mode)
		return CMD_DONE;
	*mode = (unsigned)strtoul(socket_mode, NULL, 8);
	if (*mode == 0600 || *mode == 0660 || *mode == 0666)
		return CMD_DONE;
	return cmd_usage(&verb_serve, "--socket-mode is 0600, 0660 or 0666, not %s", socket_mode);
}

static int read_transport(const char *name, enum service_transport *t)
{
	*t = SERVICE_AUTO;
	if (!name || service_transport_parse(name, t) == 0)
		return CMD_DONE;
	return cmd_usage(&verb_serve,
		"--transport is auto, fanotify, fuse-device, cachefiles or fuse, not %s", name);
}

/* A daemon of one mount has its socket to itself, whatever the system's is said to be. */
static int settle(struct settings *s)
{
	const struct serve_config *c = &s->config;
	int status = read_mode(&s->mode);

	if (status == CMD_DONE)
		status = read_transport(first(transport, c->transport), &s->service.transport);
	s->runtime = private_dir ? xstrdup(private_dir) : places_runtime();
	s->default_socket = s->runtime ? xasprintf("%s/socket", s->runtime) : NULL;
	s->socket = first(first(socket_path, private_dir ? NULL : c->socket), s->default_socket);
	s->metrics = first(metrics_address, private_dir ? NULL : c->metrics);
	s->service.store = first(store, c->store);
	s->service.store_limit = store_limit ? store_limit : c->store_limit;
	s->service.deadline = (unsigned)deadline;
	s->service.strict = strict || c->strict;
	s->service.config = c;
	s->service.runtime = s->runtime;
	return status;
}

/* Secrets in it have modes of their own; the socket must be found by whom it is for. */
static int make_runtime(const struct settings *s, struct error **err)
{
	if (!s->runtime) {
		error_set(err, 0, "XDG_RUNTIME_DIR is not set: there is no place for the socket");
		return error_hint(err, "setting it, or EROFS_CONVERT_RUNTIME, to a directory");
	}
	return places_make(s->runtime, s->mode == 0600 ? 0700 : 0711, err);
}

/* ---- as the worker ---- */

struct running {
	struct keep *keep;
	struct service *service;
	int listening;
	struct control_server *server;
	struct metrics *metrics;
	const struct settings *settings;
};

/* What is under way ends at its next look: a registry may take its time. */
static void hurry(void)
{
	sigset_t term, before;

	interrupt_catch();
	sigemptyset(&term);
	sigaddset(&term, SIGTERM);
	raise(SIGTERM);
	pthread_sigmask(SIG_UNBLOCK, &term, &before);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
}

/*
 * Nobody asks any more, then nobody reads any more; what is kept goes last. But where readers wait
 * for the next process, nothing is told to anybody: neither that we end, nor EIO. They may also
 * where the service did not come up: those of mounts from before.
 */
static void running_end(struct running *r, int status)
{
	if (r->keep && keep_is_backed(r->keep) && (!r->service || service_n_mounts(r->service)))
		_exit(status);
	hurry();
	control_server_stop(r->server);
	metrics_stop(r->metrics);
	if (r->listening >= 0 && !(r->keep && keep_is_backed(r->keep)))
		listen_forget(r->settings->socket, r->listening);
	if (service_stop(r->service)) /* a mount has come meanwhile */
		_exit(status);
	cleanup_fd_(&r->listening);
	keep_close(r->keep);
}

static int start(struct running *r, const struct settings *s, struct error **err)
{
	const struct control_options control = { .is_private = private_dir != NULL };

	r->settings = s;
	r->keep = keep_open(err);
	if (!r->keep || make_runtime(s, err) < 0)
		return -1;
	/* before anything of a store is touched that another daemon may be serving */
	r->listening = control_listen(s->socket, s->mode, r->keep, err);
	if (r->listening < 0)
		return -1;
	r->service = service_start(&s->service, r->keep, err);
	if (!r->service)
		return -1;
	if (s->metrics && !(r->metrics = metrics_start(s->metrics, r->service, r->keep, err)))
		return -1;
	r->server = control_server_start(r->listening, r->service, &control, err);
	return r->server ? 0 : -1;
}

enum {
	LOOK_MS = 200,
	REAP_EVERY = 5, /* looks */
	FORGOTTEN = 60000 / LOOK_MS, /* nobody has asked by then */
};

/* Has its mount come and gone? */
static bool is_over(struct running *r, unsigned look)
{
	if (look % REAP_EVERY == 0)
		service_reap(r->service);
	if (service_n_mounts(r->service) || !control_server_is_idle(r->server))
		return false;
	return control_server_n_asked(r->server) || look > FORGOTTEN;
}

static void wait_for_end(struct running *r, const sigset_t *signals)
{
	const struct timespec pause = { .tv_nsec = LOOK_MS * 1000000L };
	int signal;

	if (!private_dir) {
		while (sigwait(signals, &signal) != 0)
			;
		log_debug("signal %d: stopping", signal);
		return;
	}
	for (unsigned look = 1; !is_over(r, look); look++)
		if (sigtimedwait(signals, NULL, &pause) > 0) {
			service_reap(r->service); /* a mount that nobody has placed has gone */
			return;
		}
}

/* The directory was made for this daemon. A signal is no end: the mount is there, and its state. */
static void remove_private(const struct settings *s)
{
	CLEANUP_FD int fd = open(s->runtime, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return;
	remove_tree_below(fd);
	if (rmdir(s->runtime) < 0)
		log_warn("%s stays: %s", s->runtime, strerror(errno));
}

static int serve(const struct settings *s)
{
	struct running r = { .listening = -1 };
	struct error *err = NULL;
	bool empty = false;
	sigset_t signals;
	int status = CMD_DONE;

	sigemptyset(&signals);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGHUP);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	signal(SIGPIPE, SIG_IGN);
	if (start(&r, s, &err) < 0) {
		status = cmd_fail(err);
	} else {
		keep_ready(r.keep);
		log_info("serving at %s", s->socket);
		wait_for_end(&r, &signals);
		empty = service_n_mounts(r.service) == 0;
	}
	running_end(&r, status);
	if (private_dir && empty)
		remove_private(s);
	return status;
}

/* ---- as who starts it ---- */

/* The holder answers what the worker has not, but not before it. */
static void tell_holder_deadline(void)
{
	CLEANUP_FREE char *seconds = xasprintf("%" PRIu64, deadline + HOLDER_WAITS_MORE);

	if (deadline)
		setenv(HANDOVER_DEADLINE, seconds, 1);
}

/* The same options once more. */
static int become_holder(void)
{
	CLEANUP_FREE char *limit = xasprintf("%" PRIu64, store_limit);
	CLEANUP_FREE char *seconds = xasprintf("%" PRIu64, deadline);
	const struct {
		const char *name, *value;
	} said[] = { { "--store", store }, { "--store-limit", store_limit ? limit : NULL },
		{ "--deadline", deadline ? seconds : NULL }, { "--socket", socket_path },
		{ "--socket-mode", socket_mode }, { "--config", config_path },
		{ "--transport", transport }, { "--metrics", metrics_address },
		{ "--private", private_dir } };
	char *argv[2 * sizeof(said) / sizeof(*said) + 6] = { (char *)"erofs-convert",
		(char *)"serve" };
	struct error *err = NULL;
	size_t n = 2;

	for (size_t i = 0; i < sizeof(said) / sizeof(*said); i++) {
		if (!said[i].value)
			continue;
		argv[n++] = (char *)said[i].name;
		argv[n++] = (char *)said[i].value;
	}
	if (strict)
		argv[n++] = (char *)"--strict";
	if (cmd_common.quiet)
		argv[n++] = (char *)"--quiet";
	if (cmd_common.debug)
		argv[n++] = (char *)"--debug";
	tell_holder_deadline();
	keep_exec_holder(argv, &err);
	return cmd_fail(err);
}

static int run(int argc, char **argv)
{
	CLEANUP_SETTINGS struct settings s = { 0 };
	struct error *err = NULL;
	int status;

	(void)argc;
	(void)argv;
	if (serve_config_read(&s.config, config_path, &err) < 0)
		return cmd_fail(err);
	status = settle(&s);
	if (status != CMD_DONE)
		return status;
	work_raise_file_limit();
	return keep_is_worker() ? serve(&s) : become_holder();
}

const struct verb verb_serve = {
	.name = "serve",
	.synopsis = "[options]",
	.summary = "Run the daemon that mounts images and fetches what is read.",
	.options = options,
	.min_args = 0,
	.max_args = 0,
	.run = run,
};
