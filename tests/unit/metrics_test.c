// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/* Metrics and health over HTTP, of a service that says what a test wants it to say. */
#include "config.h"

#include "lib/base/mem.h"
#include "lib/serve/control/health.h"
#include "lib/serve/control/listen.h"
#include "lib/serve/control/metrics.h"
#include "lib/serve/holder/requests.h"
#include "tests/unit/tap.h"
#include "tests/unit/tmpdir.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>

/* ---- the service and the holder ---- */

static struct engine_stats stats;
static const char *status_text;
static struct requests *requests;

json_t *service_status(struct service *s)
{
	(void)s;
	return json_loads(status_text, 0, NULL);
}

void service_stats(struct service *s, struct engine_stats *to)
{
	(void)s;
	*to = stats;
}

struct requests *keep_requests(const struct keep *k)
{
	(void)k;
	return requests;
}

static struct service *const service = (struct service *)&stats;
static struct keep *const holder = (struct keep *)&requests;

static void nothing_has_happened(void)
{
	memset(&stats, 0, sizeof(stats));
	status_text = "{\"mounts\": []}";
	free(requests);
	requests = xzalloc(sizeof(*requests));
}

/* ---- a client ---- */

static char *dir, *path;

static struct metrics *start_at(const char *address, struct keep *k)
{
	CLEANUP_ERROR struct error *err = NULL;
	struct metrics *m = metrics_start(address, service, k, &err);

	if (!m) {
		printf("Bail out! %s\n", err->msg);
		exit(99);
	}
	return m;
}

static int dial(const struct metrics *m)
{
	struct sockaddr_in in = { .sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	int fd;

	if (m && metrics_port(m)) {
		in.sin_port = htons(metrics_port(m));
		fd = socket(AF_INET, SOCK_STREAM, 0);
		return connect(fd, (struct sockaddr *)&in, sizeof(in)) == 0 ? fd : -1;
	}
	strcpy(un.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	if (connect(fd, (struct sockaddr *)&un, sizeof(un)) == 0)
		return fd;
	close(fd);
	return -1;
}

/* All that comes until the other end closes, for 30 s at most. */
static char *read_to_end(int fd)
{
	char *text = xzalloc(1 << 20);
	struct pollfd p = { .fd = fd, .events = POLLIN };
	size_t len = 0;
	ssize_t n;

	while (poll(&p, 1, 30000) == 1 && (n = read(fd, text + len, (1 << 20) - 1 - len)) > 0)
		len += (size_t)n;
	close(fd);
	return text;
}

static char *ask(const struct metrics *m, const char *request)
{
	int fd = dial(m);

	if (!CHECK(fd >= 0))
		return xstrdup("");
	CHECK(send(fd, request, strlen(request), MSG_NOSIGNAL) == (ssize_t)strlen(request));
	return read_to_end(fd);
}

static char *get(const struct metrics *m, const char *what)
{
	CLEANUP_FREE char *request = xasprintf("GET %s HTTP/1.1\r\nHost: h\r\n\r\n", what);

	return ask(m, request);
}

static const char *body(const char *answer)
{
	const char *end = strstr(answer, "\r\n\r\n");

	return end ? end + 4 : "";
}

static bool begins(const char *text, const char *with)
{
	return strncmp(text, with, strlen(with)) == 0;
}

static bool has_line(const char *text, const char *line)
{
	size_t len = strlen(line);

	for (const char *p = text; (p = strstr(p, line)); p += len)
		if ((p == text || p[-1] == '\n') && (p[len] == '\n' || !p[len]))
			return true;
	printf("# no line: %s\n", line);
	return false;
}

/* ---- metrics ---- */

static void something_has_happened(void)
{
	nothing_has_happened();
	stats = (struct engine_stats){ .wants = 1000,
		.hits = 900,
		.frames_fetched = 50,
		.bytes_fetched = 123456789012,
		.frames_waited = 7,
		.requests = 40,
		.errors = 3,
		.recovered = 2,
		.bad_frames = 1,
		.deadlines = 4,
		.no_space = 5,
		.failed = 6,
		.waited_us = 12000034,
		.waited = { 10, 20, 30, 0, 0, 0, 0, 0, 0, 0, 40 },
		.blobs = 9,
		.blobs_complete = 6,
		.bytes_cached = 4096,
		.bytes_missing = 8192 };
	status_text = "{\"mounts\": [{\"transport\": \"fanotify\", \"state\": \"serving\"},"
		      "{\"transport\": \"fuse-device\", \"state\": \"serving\"},"
		      "{\"transport\": \"fanotify\", \"state\": \"serving\"},"
		      "{\"transport\": \"fanotify\", \"state\": \"un\\\"tru\\\\st\\ned\"}, {}]}";
	requests->read = 20;
	requests->answered = 15;
	requests->expired = 2;
	requests->denied = 1;
	requests->slots[3].state = REQUEST_TAKEN;
	requests->slots[REQUESTS_MAX - 1].state = REQUEST_PENDING;
	requests->slots[4].state = REQUEST_ANSWERED;
}

static void every_number_is_told(void)
{
	static const char *const lines[] = { "erofs_convert_build_info{version=\"" PACKAGE_VERSION
					     "\"} 1",
		"erofs_convert_mounts{transport=\"fanotify\",state=\"serving\"} 2",
		"erofs_convert_mounts{transport=\"fuse-device\",state=\"serving\"} 1",
		"erofs_convert_mounts{transport=\"fanotify\",state=\"un\\\"tru\\\\st\\ned\"} 1",
		"erofs_convert_mounts{transport=\"unknown\",state=\"unknown\"} 1",
		"erofs_convert_blobs{state=\"complete\"} 6",
		"erofs_convert_blobs{state=\"incomplete\"} 3", "erofs_convert_cached_bytes 4096",
		"erofs_convert_missing_bytes 8192", "erofs_convert_reads_total 1000",
		"erofs_convert_read_hits_total 900", "erofs_convert_fetched_frames_total 50",
		"erofs_convert_fetched_bytes_total 123456789012",
		"erofs_convert_shared_fetches_total 7", "erofs_convert_source_requests_total 40",
		"erofs_convert_errors_total 3", "erofs_convert_recovered_total 2",
		"erofs_convert_bad_frames_total 1", "erofs_convert_deadlines_total 4",
		"erofs_convert_no_space_total 5", "erofs_convert_failed_reads_total 6",
		"erofs_convert_wait_seconds_bucket{le=\"0.001\"} 10",
		"erofs_convert_wait_seconds_bucket{le=\"0.005\"} 30",
		"erofs_convert_wait_seconds_bucket{le=\"60\"} 60",
		"erofs_convert_wait_seconds_bucket{le=\"+Inf\"} 100",
		"erofs_convert_wait_seconds_sum 12.000034", "erofs_convert_wait_seconds_count 100",
		"# TYPE erofs_convert_wait_seconds histogram",
		"erofs_convert_holder_requests_total 20", "erofs_convert_holder_answered_total 15",
		"erofs_convert_holder_expired_total 2", "erofs_convert_holder_denied_total 1",
		"erofs_convert_holder_waiting 2" };
	struct metrics *m;
	CLEANUP_FREE char *answer = NULL;

	something_has_happened();
	m = start_at(path, holder);
	answer = get(m, "/metrics");
	CHECK(begins(answer, "HTTP/1.1 200 OK\r\n"));
	CHECK(strstr(answer, "Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n"));
	for (size_t i = 0; i < sizeof(lines) / sizeof(*lines); i++)
		CHECK(has_line(body(answer), lines[i]));
	metrics_stop(m);
}

static void without_a_holder_nothing_is_said_of_it(void)
{
	struct metrics *m;
	CLEANUP_FREE char *answer = NULL;

	nothing_has_happened();
	m = start_at(path, NULL);
	answer = get(m, "/metrics");
	CHECK(strstr(answer, "\nerofs_convert_reads_total 0\n"));
	CHECK(!strstr(answer, "holder"));
	metrics_stop(m);
}

/* Each sample's family is declared, once, before it; counters end in _total. */
static void check_by_ourselves(char *text)
{
	char *family = xstrdup(""), *save;
	size_t families = 0;

	for (char *l = strtok_r(text, "\n", &save); l; l = strtok_r(NULL, "\n", &save)) {
		char name[128] = "", type[32] = "";

		if (sscanf(l, "# HELP %127s ", name) == 1) {
			families++;
			CHECK(strlen(l) > 7 + strlen(name) + 3);
			CHECK(strcmp(family, name) != 0);
			free(family);
			family = xstrdup(name);
		} else if (sscanf(l, "# TYPE %127s %31s", name, type) == 2) {
			size_t len = strlen(name);

			CHECK_STR(name, family);
			CHECK(!strcmp(type, "counter") ==
				(len > 6 && !strcmp(name + len - 6, "_total")));
		} else {
			CHECK(begins(l, family));
			CHECK(strspn(strrchr(l, ' ') + 1, "0123456789.") ==
				strlen(strrchr(l, ' ') + 1));
		}
	}
	free(family);
	CHECK(families >= 18);
}

static void prometheus_likes_the_text(void)
{
	CLEANUP_FREE char *file = xasprintf("%s/text", dir), *answer = NULL, *said = NULL;
	CLEANUP_FREE char *command = xasprintf(
		"promtool check metrics <%s >%s.out 2>&1; echo $? >>%s.out", file, file, file);
	CLEANUP_FREE char *out = xasprintf("%s.out", file);
	struct metrics *m;

	something_has_happened();
	m = start_at(path, holder);
	answer = get(m, "/metrics");
	metrics_stop(m);
	write_file(file, body(answer), strlen(body(answer)));
	if (system("command -v promtool >/dev/null") == 0) {
		CHECK(system(command) == 0);
		said = read_file(out);
		CHECK_STR(said, "0\n");
	} else {
		printf("# promtool (Debian: prometheus) is not installed\n");
	}
	check_by_ourselves((char *)body(answer));
}

/* docs/operations.md names all of them, without their prefix. */
static void every_name_is_documented(void)
{
	static const char prefix[] = "# TYPE erofs_convert_";
	const char *top = getenv("top_srcdir");
	CLEANUP_FREE char *page = xasprintf("%s/docs/operations.md", top ? top : "../..");
	CLEANUP_FREE char *docs = read_file(page), *answer = NULL;
	struct metrics *m;
	unsigned n = 0;

	something_has_happened();
	m = start_at(path, holder);
	answer = get(m, "/metrics");
	metrics_stop(m);
	for (char *p = answer; docs && (p = strstr(p, prefix)); n++) {
		CLEANUP_FREE char *name = xasprintf(
			"`%.*s", (int)strcspn(p + strlen(prefix), " "), p + strlen(prefix));

		p += strlen(prefix);
		if (!CHECK(strstr(docs, name)))
			printf("# %s\n", name);
	}
	CHECK(n >= 18);
}

/* ---- health ---- */

static void check_health(const char *status, const char *text)
{
	struct metrics *m = start_at(path, holder);
	CLEANUP_FREE char *answer = get(m, "/healthz");

	if (!CHECK(begins(answer + 9, status)))
		printf("# %s\n", answer);
	CHECK_STR(body(answer), text);
	metrics_stop(m);
}

static void all_is_well_when_nobody_waits_too_long(void)
{
	nothing_has_happened();
	check_health("200", "ok\n");
	something_has_happened();
	requests->slots[3].deadline = requests->slots[REQUESTS_MAX - 1].deadline = UINT64_MAX;
	check_health("200", "ok\n");
}

/* As the first thing that anybody asks. */
static void reads_that_failed_before_the_first_look_are_no_health(void)
{
	struct metrics *m;
	CLEANUP_FREE char *answer = NULL;

	nothing_has_happened();
	m = start_at(path, holder);
	stats.failed = 3;
	answer = get(m, "/healthz");
	CHECK(begins(answer + 9, "503"));
	CHECK_STR(body(answer), "nothing was fetched for 0 s, in which 3 reads failed\n");
	metrics_stop(m);
}

static void readers_beyond_their_deadline_are_no_health(void)
{
	something_has_happened(); /* both deadlines are 0: since the machine started */
	requests->slots[3].deadline = UINT64_MAX;
	check_health("503", "1 readers wait beyond their deadline\n");
}

/* One look at a time, without HTTP. */
static bool judge(struct health *h, unsigned second, uint64_t frames, uint64_t failed)
{
	struct engine_stats s = { .frames_fetched = frames, .failed = failed };
	char reason[160] = "";
	bool good = health_judge(h, second * UINT64_C(1000), &s, 0, reason, sizeof(reason));

	CHECK(good == !*reason);
	return good;
}

static void failures_count_while_nothing_is_fetched(void)
{
	struct health h = { 0 };

	CHECK(judge(&h, 100, 10, 3)); /* but something came */
	CHECK(judge(&h, 110, 10, 3));
	CHECK(!judge(&h, 120, 10, 4));
	CHECK(!judge(&h, 130, 10, 4));
	CHECK(judge(&h, 140, 11, 5)); /* something came */
	CHECK(judge(&h, 150, 11, 5));
	CHECK(!judge(&h, 160, 11, 6));
	CHECK(!judge(&h, 459, 11, 6));
	CHECK(judge(&h, 461, 11, 6)); /* nobody has failed for long */
	CHECK(!judge(&h, 470, 11, 7));
}

static void the_reason_has_the_figures(void)
{
	struct engine_stats s = { .frames_fetched = 1 };
	struct health h = { 0 };
	char reason[160];

	CHECK(health_judge(&h, 1000, &s, 0, reason, sizeof(reason)));
	s.failed = 2;
	CHECK(!health_judge(&h, 61000, &s, 0, reason, sizeof(reason)));
	CHECK_STR(reason, "nothing was fetched for 60 s, in which 2 reads failed");
}

static void it_begins_with_the_daemon(void)
{
	struct engine_stats s = { .failed = 1 };
	struct health h = { .since = 1000 };
	char reason[160];

	CHECK(!health_judge(&h, 31000, &s, 0, reason, sizeof(reason)));
	CHECK_STR(reason, "nothing was fetched for 30 s, in which 1 reads failed");
}

/* ---- HTTP ---- */

static void other_paths_and_methods_are_refused(void)
{
	struct metrics *m;

	nothing_has_happened();
	m = start_at(path, NULL);
	for (int i = 0; i < 3; i++) {
		static const char *const what[] = { "/", "/metrics/", "/../metrics" };
		CLEANUP_FREE char *answer = get(m, what[i]);

		CHECK(begins(answer, "HTTP/1.1 404 "));
	}
	for (int i = 0; i < 4; i++) {
		static const char *const what[] = { "POST", "PUT", "DELETE", "OPTIONS" };
		CLEANUP_FREE char *request = xasprintf(
			"%s /metrics HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc", what[i]);
		CLEANUP_FREE char *answer = ask(m, request);

		CHECK(begins(answer, "HTTP/1.1 405 "));
		CHECK(strstr(answer, "Allow: GET, HEAD\r\n"));
	}
	metrics_stop(m);
}

static void head_gives_the_head_only(void)
{
	CLEANUP_FREE char *answer = NULL;
	struct metrics *m;

	nothing_has_happened();
	m = start_at(path, NULL);
	answer = ask(m, "HEAD /metrics HTTP/1.1\r\nHost: h\r\n\r\n");
	CHECK(begins(answer, "HTTP/1.1 200 "));
	CHECK(strstr(answer, "Content-Length: ") && !*body(answer));
	metrics_stop(m);
}

static void odd_requests_do_no_harm(void)
{
	CLEANUP_FREE char *large = xmalloc(1 << 20);
	struct metrics *m;
	CLEANUP_FREE char *well = NULL;

	nothing_has_happened();
	m = start_at(path, NULL);
	memset(large, 'x', 1 << 20);
	memcpy(large, "GET /", 5);
	for (int i = 0; i < 4; i++) {
		static const char *const what[] = { "\n\n\n", "GET\r\n\r\n", "\x16\x03\x01\x02",
			"GET /metrics HTTP/9.9\r\nA\r\n\r\n" };
		int fd = dial(m);

		CHECK(send(fd, what[i], strlen(what[i]), MSG_NOSIGNAL) > 0);
		shutdown(fd, SHUT_WR);
		free(read_to_end(fd));
	}
	for (int i = 0; i < 3; i++) {
		int fd = dial(m);
		size_t sent = 0;
		ssize_t n;

		while (sent < 1 << 20 &&
			(n = send(fd, large + sent, (1 << 20) - sent, MSG_NOSIGNAL)) > 0)
			sent += (size_t)n;
		free(read_to_end(fd));
	}
	well = get(m, "/healthz");
	CHECK_STR(body(well), "ok\n");
	metrics_stop(m);
}

/* Clients that never end their request, and are never idle either. */
struct drip {
	int fds[100];
	_Atomic bool over;
};

static void *drip(void *arg)
{
	struct drip *d = arg;

	while (!d->over) {
		for (size_t i = 0; i < sizeof(d->fds) / sizeof(*d->fds); i++)
			send(d->fds[i], "x", 1, MSG_NOSIGNAL | MSG_DONTWAIT);
		nanosleep(&(struct timespec){ .tv_nsec = 200000000 }, NULL);
	}
	return NULL;
}

static void slow_clients_keep_nobody_out(void)
{
	struct drip d = { .over = false };
	struct metrics *m;
	pthread_t thread;

	nothing_has_happened();
	m = start_at(path, NULL);
	for (size_t i = 0; i < sizeof(d.fds) / sizeof(*d.fds); i++) {
		d.fds[i] = dial(m);
		CHECK(d.fds[i] >= 0);
		CHECK(send(d.fds[i], "GET /", 5, MSG_NOSIGNAL) == 5 || errno == EPIPE);
	}
	pthread_create(&thread, NULL, drip, &d);
	for (int i = 0; i < 3; i++) {
		CLEANUP_FREE char *answer = get(m, "/healthz");

		CHECK_STR(body(answer), "ok\n");
	}
	d.over = true;
	pthread_join(thread, NULL);
	for (size_t i = 0; i < sizeof(d.fds) / sizeof(*d.fds); i++)
		close(d.fds[i]);
	metrics_stop(m);
}

static void tcp_is_there_when_asked_for(void)
{
	struct metrics *m;
	CLEANUP_FREE char *answer = NULL;

	nothing_has_happened();
	m = start_at("127.0.0.1:0", NULL);
	CHECK(metrics_port(m) != 0);
	answer = get(m, "/healthz");
	CHECK_STR(body(answer), "ok\n");
	metrics_stop(m);
}

/* ---- addresses ---- */

static void check_no_start(const char *address, const char *words)
{
	CLEANUP_ERROR struct error *err = NULL;

	CHECK(!metrics_start(address, service, NULL, &err));
	if (!CHECK(err && begins(err->msg, "metrics: ") && strstr(err->msg, words)))
		printf("# %s\n", err ? err->msg : "no error");
}

static void odd_addresses_are_refused(void)
{
	CLEANUP_FREE char *lost = xasprintf("%s/none/s", dir), *longer = xzalloc(200);

	memset(longer, '/', 150);
	check_no_start("", "neither /PATH nor HOST:PORT");
	check_no_start("9100", "neither /PATH nor HOST:PORT");
	check_no_start(":9100", "neither /PATH nor HOST:PORT");
	check_no_start("::1:9100", "neither /PATH nor HOST:PORT");
	check_no_start("[]:9100", "neither /PATH nor HOST:PORT");
	check_no_start("127.0.0.1:http", "127.0.0.1:http: ");
	check_no_start("192.0.2.1:0", "Cannot assign requested address");
	check_no_start(lost, "No such file");
	check_no_start(longer, "at most 107 bytes");
}

static void a_socket_that_was_left_gives_way(void)
{
	CLEANUP_ERROR struct error *err = NULL;
	struct metrics *m;
	struct stat st;
	int left = listen_at(path, 0600, &err);

	nothing_has_happened();
	CHECK(left >= 0);
	check_no_start(path, "another process listens there");
	close(left);
	CHECK(stat(path, &st) == 0);
	m = start_at(path, NULL);
	CHECK(stat(path, &st) == 0 && (st.st_mode & 07777) == 0666);
	metrics_stop(m);
	CHECK(stat(path, &st) < 0 && errno == ENOENT);
	write_file(path, "", 0);
	check_no_start(path, "something else than a socket");
	unlink(path);
}

/* When a new process has taken the name already. */
static void only_its_own_socket_is_removed(void)
{
	CLEANUP_ERROR struct error *err = NULL;
	struct metrics *m;
	struct stat st;
	int other;

	nothing_has_happened();
	m = start_at(path, NULL);
	unlink(path);
	other = listen_at(path, 0600, &err);
	metrics_stop(m);
	CHECK(stat(path, &st) == 0);
	listen_forget(path, other);
	CHECK(stat(path, &st) < 0);
	close(other);
}

int main(void)
{
	dir = tmpdir_make();
	path = xasprintf("%s/socket", dir);
	RUN(every_number_is_told);
	RUN(without_a_holder_nothing_is_said_of_it);
	RUN(prometheus_likes_the_text);
	RUN(every_name_is_documented);
	RUN(all_is_well_when_nobody_waits_too_long);
	RUN(readers_beyond_their_deadline_are_no_health);
	RUN(reads_that_failed_before_the_first_look_are_no_health);
	RUN(failures_count_while_nothing_is_fetched);
	RUN(the_reason_has_the_figures);
	RUN(it_begins_with_the_daemon);
	RUN(other_paths_and_methods_are_refused);
	RUN(head_gives_the_head_only);
	RUN(odd_requests_do_no_harm);
	RUN(slow_clients_keep_nobody_out);
	RUN(tcp_is_there_when_asked_for);
	RUN(odd_addresses_are_refused);
	RUN(a_socket_that_was_left_gives_way);
	RUN(only_its_own_socket_is_removed);
	tmpdir_remove(dir);
	free(requests);
	free(dir);
	free(path);
	return tap_done();
}
