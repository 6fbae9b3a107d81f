// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include <string.h>

#include "lib/base/log.h"
#include "lib/base/mem.h"
#include "lib/serve/control/control_part.h"
#include "lib/serve/control/line.h"

/* What others may not ask for. A path would be opened with the daemon's rights. */
static int check_rights(
	const struct connection *c, const struct control_request *r, struct error **err)
{
	if (caller_is_trusted(&c->caller))
		return 0;
	if (r->verb == CONTROL_REAP)
		return error_set(err, 0, "only root, or the daemon's own user, may ask for this");
	if (r->verb != CONTROL_MOUNT)
		return 0;
	if (strncmp(r->mount.image, "docker://", 9) != 0)
		return error_set(err, 0,
			"%s: only root, or the daemon's own user, may mount local "
			"layouts through the daemon; others docker:// alone",
			r->mount.image);
	if (r->registry.cert_dir)
		return error_set(err, 0,
			"only root, or the daemon's own user, may name a directory of "
			"certificates");
	return 0;
}

static json_t *answer_ping(const struct connection *c)
{
	return json_pack("{s:i, s:s, s:i, s:b, s:i}", "version", CONTROL_VERSION, "release",
		PACKAGE_VERSION, "pid", (int)getpid(), "private", c->options->is_private, "mounts",
		(int)service_n_mounts(c->service));
}

/* For others: no paths and sums, but for their own mounts. */
static json_t *part_for(json_t *status, uid_t uid)
{
	json_t *mounts = json_object_get(status, "mounts"), *own = json_array(), *m;
	json_t *part = json_object();
	size_t i;

	json_array_foreach(mounts, i, m)
	{
		if (json_integer_value(json_object_get(m, "uid")) == (json_int_t)uid)
			json_array_append(own, m);
	}
	json_object_set(part, "transport", json_object_get(status, "transport"));
	json_object_set_new(part, "mounts", own);
	json_decref(status);
	return part;
}

static json_t *answer_status(const struct connection *c)
{
	json_t *status = service_status(c->service);

	if (!caller_is_trusted(&c->caller))
		status = part_for(status, c->caller.uid);
	json_object_set_new(status, "version", json_integer(CONTROL_VERSION));
	return status;
}

static json_t *answer_mount(
	struct connection *c, struct control_request *r, int *mount, struct error **err)
{
	struct service_answer a = { .mount = -1 };

	r->mount.caller = &c->caller;
	if (r->registry.credentials.authfile)
		r->registry.credentials.caller = &c->caller;
	++*c->n_asked;
	if (service_mount(c->service, &r->mount, &c->gone, &a, err) < 0)
		return NULL;
	*mount = a.mount;
	return control_mounted(&a);
}

static json_t *answer(
	struct connection *c, struct control_request *r, int *mount, struct error **err)
{
	if (check_rights(c, r, err) < 0)
		return NULL;
	switch (r->verb) {
	case CONTROL_MOUNT:
		return answer_mount(c, r, mount, err);
	case CONTROL_STATUS:
		return answer_status(c);
	case CONTROL_REAP:
		service_reap(c->service);
		break;
	case CONTROL_PING:
		break;
	}
	return answer_ping(c);
}

static void send_answer(struct connection *c, const json_t *v, int mount)
{
	CLEANUP_ERROR struct error *err = NULL;
	CLEANUP_FREE char *text = json_dumps(v, JSON_COMPACT | JSON_ENSURE_ASCII), *line = NULL;

	if (!text)
		mem_exhausted();
	line = xasprintf("%s\n", text);
	if (line_send(c->fd, line, strlen(line), mount, (int)c->options->patience_ms, &err) < 0)
		log_debug("process %d of user %u: %s", (int)c->caller.pid, (unsigned)c->caller.uid,
			err->msg);
}

void connection_serve(struct connection *c)
{
	CLEANUP_CONTROL_REQUEST struct control_request r = { 0 };
	CLEANUP_LINE struct line l = LINE_NONE;
	CLEANUP_FD int mount = -1;
	struct error *err = NULL;
	json_t *v = NULL;

	if (line_receive(c->fd, &l, CONTROL_REQUEST_MAX + 1, (int)c->options->patience_ms, &err) ==
			0 &&
		control_request_parse(&r, l.bytes, l.len, &err) == 0)
		v = answer(c, &r, &mount, &err);
	if (!v) {
		log_debug("process %d of user %u: %s", (int)c->caller.pid, (unsigned)c->caller.uid,
			err->msg);
		v = control_error(err);
	}
	send_answer(c, v, mount);
	json_decref(v);
	error_free(err);
}
