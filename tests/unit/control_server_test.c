// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/* Both ends of the control socket, with a service that mounts nothing. */
#include "config.h"

#include "lib/serve/control/control_server.h"

#include <grp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "lib/serve/control/control_client.h"
#include "lib/serve/control/line.h"
#include "lib/serve/control/listen.h"
#include "tests/unit/fake_service.h"
#include "tests/unit/tap.h"
#include "tests/unit/tmpdir.h"

struct fixture {
	char *dir, *path;
	int listening;
	struct service service;
	struct control_server *server;
};

static void begin(struct fixture *f, const struct control_options *o)
{
	struct error *err = NULL;

	f->dir = tmpdir_make();
	f->path = xasprintf("%s/socket", f->dir);
	f->listening = control_listen(f->path, 0666, NULL, &err);
	f->server =
		f->listening < 0 ? NULL : control_server_start(f->listening, &f->service, o, &err);
	if (!f->server) {
		printf("# %s\n", err->msg);
		exit(99);
	}
}

static void end(struct fixture *f)
{
	control_server_stop(f->server);
	cleanup_fd_(&f->listening);
	tmpdir_remove(f->dir);
	free(f->dir);
	free(f->path);
}

#define FIXTURE		 CLEANUP(end) struct fixture
#define OPTIONS(...)	 (&(const struct control_options){ __VA_ARGS__ })
#define EVENTUALLY(cond) CHECK(within(30000, cond))
#define within(ms, cond)                       \
	({                                     \
		int left_ = (ms);              \
		while (!(cond) && left_-- > 0) \
			usleep(1000);          \
		(cond);                        \
	})

static int connect_to(const struct fixture *f)
{
	struct error *err = NULL;
	int fd = control_connect(f->path, &err);

	if (fd >= 0)
		return fd;
	printf("# %s\n", err->msg);
	error_free(err);
	return -1;
}

static json_t *ask(const struct fixture *f, enum control_verb verb)
{
	struct error *err = NULL;
	json_t *answer = control_ask(connect_to(f), verb, &err);

	if (!answer)
		printf("# %s\n", err->msg);
	error_free(err);
	return answer;
}

static struct service_request request_of(const char *image)
{
	static struct registry_options options;

	options = REGISTRY_OPTIONS_DEFAULT;
	options.credentials.authfile = "/auth.json";
	return (struct service_request){
		.image = image, .mountpoint = "/mnt", .registry = &options
	};
}

static void a_mount_comes_with_its_descriptor(void)
{
	FIXTURE f = { 0 };
	const struct service_request r = request_of("docker://h.example/a");
	struct service_answer a = { .mount = -1 };
	struct error *err = NULL;
	char bytes[8] = "";

	begin(&f, OPTIONS(0));
	CHECK(control_mount(connect_to(&f), &r, &a, &err) == 0);
	CHECK(pread(a.mount, bytes, sizeof(bytes), 0) == 4 && strcmp(bytes, "tree") == 0);
	CHECK(fcntl(a.mount, F_GETFD) == FD_CLOEXEC);
	CHECK_STR(a.id, "0123");
	CHECK_U64(a.transport, SERVICE_FUSE_DEVICE);
	CHECK_STR(f.service.image, "docker://h.example/a");
	CHECK_STR(f.service.authfile, "/auth.json");
	CHECK(f.service.for_caller);
	CHECK_U64(f.service.asked_by, geteuid());
	CHECK_U64(control_server_n_asked(f.server), 1);
	EVENTUALLY(control_server_is_idle(f.server));
	close(a.mount);
}

static void a_mounts_error_comes_with_its_hint(void)
{
	FIXTURE f = { 0 };
	const struct service_request r = request_of("docker://h.example/missing");
	struct service_answer a;
	CLEANUP_ERROR struct error *err = NULL;

	begin(&f, OPTIONS(0));
	CHECK(control_mount(connect_to(&f), &r, &a, &err) == -1);
	CHECK_STR(err->msg, "no such image");
	CHECK_STR(err->hint, "another one");
	CHECK_U64(control_server_n_asked(f.server), 1);
}

static void a_daemon_says_who_it_is_and_what_it_has(void)
{
	FIXTURE f = { .service.mounts = 3 };

	begin(&f, OPTIONS(.is_private = true));

	json_auto_t *ping = ask(&f, CONTROL_PING), *status = ask(&f, CONTROL_STATUS);

	CHECK_U64(json_integer_value(json_object_get(ping, "pid")), getpid());
	CHECK_U64(json_integer_value(json_object_get(ping, "mounts")), 3);
	CHECK(json_is_true(json_object_get(ping, "private")));
	CHECK_U64(json_array_size(json_object_get(status, "mounts")), 2);
	CHECK(json_object_get(status, "store") != NULL);
	CHECK_U64(control_server_n_asked(f.server), 0);
}

static void what_is_gone_is_looked_for_when_asked(void)
{
	FIXTURE f = { .service.mounts = 3 };

	begin(&f, OPTIONS(0));

	json_auto_t *answer = ask(&f, CONTROL_REAP);

	CHECK_U64(f.service.reaped, 1);
	CHECK_U64(json_integer_value(json_object_get(answer, "mounts")), 0);
}

static void who_hangs_up_is_not_waited_for(void)
{
	FIXTURE f = { .service.hold = true };
	const struct service_request r = request_of("docker://h.example/a");
	const struct control_request request = { .verb = CONTROL_MOUNT, .mount = r };
	CLEANUP_ERROR struct error *err = NULL;
	CLEANUP_FREE char *line = control_request_format(&request, &err);
	int fd;

	begin(&f, OPTIONS(0));
	fd = connect_to(&f);
	CHECK(line_send(fd, line, strlen(line), -1, 1000, &err) == 0);
	EVENTUALLY(f.service.waiting == 1);
	CHECK_U64(f.service.gone, 0);
	close(fd);
	EVENTUALLY(f.service.gone == 1);
	EVENTUALLY(control_server_is_idle(f.server));
}

static void stopping_ends_who_waits(void)
{
	FIXTURE f = { .service.hold = true };
	const struct service_request r = request_of("docker://h.example/a");
	const struct control_request request = { .verb = CONTROL_MOUNT, .mount = r };
	CLEANUP_ERROR struct error *err = NULL;
	CLEANUP_FREE char *line = control_request_format(&request, &err);
	CLEANUP_FD int fd = -1, silent = -1;

	begin(&f, OPTIONS(0));
	fd = connect_to(&f);
	silent = connect_to(&f);
	CHECK(line_send(fd, line, strlen(line), -1, 1000, &err) == 0);
	EVENTUALLY(f.service.waiting == 1);
	control_server_stop(f.server);
	f.server = NULL;
	CHECK_U64(f.service.gone, 1);
}

static void who_says_nothing_is_shown_out(void)
{
	FIXTURE f = { 0 };
	CLEANUP_FD int fd = -1;
	CLEANUP_LINE struct line l = LINE_NONE;
	CLEANUP_ERROR struct error *err = NULL, *said = NULL;

	begin(&f, OPTIONS(.patience_ms = 100));
	fd = connect_to(&f);
	CHECK(line_receive(fd, &l, 4096, 30000, &err) == 0);
	CHECK(l.len && !control_answer_parse(l.bytes, l.len, &said));
	CHECK(said && strstr(said->msg, "silent"));
	EVENTUALLY(control_server_is_idle(f.server));
}

static void silent_ones_do_not_keep_out_others_for_ever(void)
{
	FIXTURE f = { 0 };
	int silent[3];

	begin(&f, OPTIONS(.connections = 2, .patience_ms = 2000));
	for (int i = 0; i < 3; i++)
		silent[i] = connect_to(&f);

	json_auto_t *answer = ask(&f, CONTROL_PING);

	CHECK(answer != NULL);
	for (int i = 0; i < 3; i++)
		close(silent[i]);
}

static void a_line_without_end_is_refused(void)
{
	FIXTURE f = { 0 };
	CLEANUP_FREE char *much = xzalloc(2 * CONTROL_REQUEST_MAX);
	CLEANUP_LINE struct line l = LINE_NONE;
	CLEANUP_ERROR struct error *err = NULL, *said = NULL;
	CLEANUP_FD int fd = -1;

	memset(much, ' ', 2 * CONTROL_REQUEST_MAX);
	begin(&f, OPTIONS(0));
	fd = connect_to(&f);
	line_send(fd, much, 2 * CONTROL_REQUEST_MAX, -1, 5000, &err);
	error_free(take_ptr(err));
	/* its end comes before the answer when there is more that it has not read */
	if (line_receive(fd, &l, 4096, 30000, &err) == 0) {
		CHECK(!control_answer_parse(l.bytes, l.len, &said));
		CHECK(said && strstr(said->msg, "more than"));
	}
	EVENTUALLY(control_server_is_idle(f.server));
}

static void descriptors_that_nobody_asked_for_are_closed(void)
{
	FIXTURE f = { 0 };
	static const char ping[] = "{\"version\": 1, \"verb\": \"ping\"}\n";
	CLEANUP_ERROR struct error *err = NULL;
	CLEANUP_LINE struct line l = LINE_NONE;
	CLEANUP_FD int fd = -1;
	struct pollfd end;
	int pipe_fds[2];

	begin(&f, OPTIONS(0));
	fd = connect_to(&f);
	CHECK(pipe(pipe_fds) == 0);
	CHECK(line_send(fd, ping, strlen(ping), pipe_fds[1], 1000, &err) == 0);
	close(pipe_fds[1]);
	CHECK(line_receive(fd, &l, 4096, 30000, &err) == 0);
	end = (struct pollfd){ .fd = pipe_fds[0], .events = POLLIN };
	CHECK(poll(&end, 1, 30000) == 1 && (end.revents & POLLHUP));
	close(pipe_fds[0]);
}

static void a_second_daemon_is_refused_and_a_dead_ones_socket_taken(void)
{
	FIXTURE f = { 0 };
	CLEANUP_ERROR struct error *err = NULL, *again = NULL;
	CLEANUP_FD int second = -1;

	begin(&f, OPTIONS(0));
	CHECK(control_listen(f.path, 0600, NULL, &err) == -1);
	CHECK(err && strstr(err->msg, f.path) && err->hint && strstr(err->hint, "status"));
	control_server_stop(f.server);
	f.server = NULL;
	close(f.listening);
	f.listening = -1;
	second = control_listen(f.path, 0600, NULL, &again);
	CHECK(second >= 0);
}

static void where_no_daemon_is_is_told_from_trouble(void)
{
	CLEANUP_TMPDIR char *dir = tmpdir_make();
	CLEANUP_FREE char *path = xasprintf("%s/socket", dir),
			  *deep = xasprintf("%s/%0150d", dir, 0);
	CLEANUP_ERROR struct error *none = NULL, *dead = NULL, *bad = NULL;
	int fd;

	CHECK(control_connect(path, &none) == -1);
	CHECK(control_is_absent(none));
	fd = control_listen(path, 0600, NULL, &dead);
	close(fd);
	CHECK(control_connect(path, &dead) == -1);
	CHECK(control_is_absent(dead));
	CHECK(control_connect(deep, &bad) == -1);
	CHECK(!control_is_absent(bad));
}

/* ---- other users ---- */

enum { OTHER = 4711 };

static char *said_to_other(const struct fixture *f, const char *request)
{
	CLEANUP_LINE struct line l = LINE_NONE;
	CLEANUP_ERROR struct error *err = NULL;
	CLEANUP_FD int fd = connect_to(f);

	if (line_send(fd, request, strlen(request), -1, 30000, &err) < 0 ||
		line_receive(fd, &l, 1 << 20, 30000, &err) < 0)
		return xstrdup(err->msg);
	return xstrndup(l.bytes, l.len);
}

/* As another user: does the answer to the request have those words, and not these? */
static bool other_is_told(
	const struct fixture *f, const char *request, const char *words, const char *never)
{
	pid_t child;
	int how;

	CHECK(chmod(f->dir, 0755) == 0);
	fflush(stdout);
	child = fork();
	if (child == 0) {
		char *said;

		if (setgroups(0, NULL) < 0 || setgid(OTHER) < 0 || setuid(OTHER) < 0)
			_exit(1);
		said = said_to_other(f, request);
		if (strstr(said, words) && !(never && strstr(said, never)))
			_exit(0);
		printf("# %s\n", said);
		fflush(stdout);
		_exit(2);
	}
	return waitpid(child, &how, 0) == child && how == 0;
}

#define V1 "{\"version\": 1, \"verb\": "

static void others_mount_from_registries_alone(void)
{
	FIXTURE f = { 0 };

	begin(&f, OPTIONS(0));
	CHECK(other_is_told(&f,
		V1 "\"mount\", \"image\": \"docker://h/a\", \"mountpoint\": \"/m\"}\n", "\"id\"",
		"error"));
	CHECK_U64(f.service.asked_by, OTHER);
	CHECK(other_is_told(&f,
		V1 "\"mount\", \"image\": \"oci:/root/x\", \"mountpoint\": \"/m\"}\n",
		"docker:// alone", "\"id\""));
	CHECK(other_is_told(&f,
		V1 "\"mount\", \"image\": \"docker://h/a\", \"mountpoint\": \"/m\", "
		   "\"registry\": {\"cert-dir\": \"/root\"}}\n",
		"directory of certificates", "\"id\""));
}

static void others_see_their_own_mounts_alone(void)
{
	FIXTURE f = { 0 };

	begin(&f, OPTIONS(0));
	CHECK(other_is_told(&f, V1 "\"status\"}\n", "others", "roots"));
	CHECK(other_is_told(&f, V1 "\"status\"}\n", "transport", "/store"));
	CHECK(other_is_told(&f, V1 "\"reap\"}\n", "only root", NULL));
	CHECK_U64(f.service.reaped, 0);
}

static void one_user_cannot_keep_out_the_others(void)
{
	FIXTURE f = { 0 };
	pid_t child;
	int how;

	begin(&f, OPTIONS(0));
	CHECK(chmod(f.dir, 0755) == 0);
	fflush(stdout);
	child = fork();
	if (child == 0) {
		char *said;

		if (setgroups(0, NULL) < 0 || setgid(OTHER) < 0 || setuid(OTHER) < 0)
			_exit(1);
		for (int i = 0; i < 8; i++)
			connect_to(&f);
		said = said_to_other(&f, V1 "\"ping\"}\n");
		_exit(strstr(said, "more than 8 requests") ? 0 : 2);
	}
	CHECK(waitpid(child, &how, 0) == child && how == 0);
}

int main(void)
{
	bool root = geteuid() == 0;

	RUN(a_mount_comes_with_its_descriptor);
	RUN(a_mounts_error_comes_with_its_hint);
	RUN(a_daemon_says_who_it_is_and_what_it_has);
	RUN(what_is_gone_is_looked_for_when_asked);
	RUN(who_hangs_up_is_not_waited_for);
	RUN(stopping_ends_who_waits);
	RUN(who_says_nothing_is_shown_out);
	RUN(silent_ones_do_not_keep_out_others_for_ever);
	RUN(a_line_without_end_is_refused);
	RUN(descriptors_that_nobody_asked_for_are_closed);
	RUN(a_second_daemon_is_refused_and_a_dead_ones_socket_taken);
	RUN(where_no_daemon_is_is_told_from_trouble);
	RUN_IF(root, others_mount_from_registries_alone, "needs root");
	RUN_IF(root, others_see_their_own_mounts_alone, "needs root");
	RUN_IF(root, one_user_cannot_keep_out_the_others, "needs root");
	return tap_done();
}
