// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/* Lines for programs: what they look like, how many there are, and that nobody waits for them. */
#include "config.h"

#include "lib/base/log.h"
#include "lib/base/log_event.h"
#include "lib/base/mem.h"
#include "tests/unit/tap.h"
#include "tests/unit/tmpdir.h"

#include <pthread.h>

static char *dir, *path;
static int real_stderr;
static uint64_t clock_ms;

static uint64_t test_clock(void)
{
	return clock_ms;
}

static void begin(void)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, 0600);

	dup2(fd, STDERR_FILENO);
	close(fd);
	clock_ms = 1000000;
	log_event_set_clock(test_clock);
}

static char *end(void)
{
	dup2(real_stderr, STDERR_FILENO);
	return read_file(path);
}

/* The times, which differ, are taken out of the lines; false where one is not there. */
static bool cut_times(char *text)
{
	static const char form[] = "time=dddd-dd-ddTdd:dd:dd.dddZ ";
	char *to = text;

	for (char *line = text; *line;) {
		size_t len = strcspn(line, "\n") + 1;

		for (size_t i = 0; form[i]; i++)
			if (form[i] == 'd' ? line[i] < '0' || line[i] > '9' : line[i] != form[i])
				return false;
		memmove(to, line + strlen(form), len - strlen(form));
		to += len - strlen(form);
		line += len;
	}
	*to = '\0';
	return true;
}

static unsigned count_lines(const char *text)
{
	unsigned n = 0;

	for (; *text; text++)
		n += *text == '\n';
	return n;
}

static void check_lines(char *text, const char *want)
{
	CHECK(text && cut_times(text));
	CHECK_STR(text, want);
	free(text);
}

static void fields_are_written_by_their_type(void)
{
	struct digest d = { 0 };
	char word[] = "word";
	uint64_t large = UINT64_MAX;
	int64_t small = INT64_MIN;

	digest_of(&d, DIGEST_SHA256, "", 0);
	begin();
	log_event(EVENT_MOUNT, NULL, FIELD("a", word), FIELD("b", "c/d:e@f+1.2,3-4"),
		FIELD("n", -1), FIELD("u", 7u), FIELD("large", large), FIELD("small", small),
		FIELD("s", 1.5), FIELD("yes", true), FIELD("d", &d));
	log_event(EVENT_FAULT, NULL);
	check_lines(end(), "level=info event=mount a=word b=c/d:e@f+1.2,3-4 n=-1 u=7 "
			   "large=18446744073709551615 small=-9223372036854775808 s=1.500 yes=1 "
			   "d=sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b8"
			   "55\nlevel=warning event=fault\n");
}

static void what_is_not_there_is_left_out(void)
{
	begin();
	log_event(EVENT_MOUNT, NULL, FIELD("a", (const char *)NULL), FIELD("b", ""),
		FIELD("c", (struct digest *)NULL));
	check_lines(end(), "level=info event=mount b=\"\"\n");
}

static void no_value_forges_a_line_or_a_field(void)
{
	begin();
	log_event(EVENT_FAULT, NULL, FIELD("error", "x\ntime=1 event=mount"), FIELD("b", "a b"),
		FIELD("c", "q=\"v\""), FIELD("d", "back\\slash"),
		FIELD("e", "\x1b[31m\xc3\xbc\xff\r\t"), FIELD("f", "="));
	check_lines(end(),
		"level=warning event=fault error=\"x\\\\012time=1 event=mount\" b=\"a b\" "
		"c=\"q=\\\"v\\\"\" d=\"back\\\\134slash\" "
		"e=\"\\\\033[31m\\\\303\\\\274\\\\377\\\\015\\\\011\" f=\"=\"\n");
}

static void no_byte_but_printable_ascii_is_written(void)
{
	char all[256];
	char *text;

	for (int i = 0; i < 255; i++)
		all[i] = (char)(i + 1);
	all[255] = '\0';
	begin();
	log_event(EVENT_FAULT, NULL, FIELD("error", all));
	text = end();
	CHECK_U64(count_lines(text), 1);
	for (const char *c = text; c[1]; c++)
		if (!CHECK(*c >= ' ' && *c < 127))
			break;
	free(text);
}

static void a_long_value_is_cut_and_a_line_is_bounded(void)
{
	CLEANUP_FREE char *huge = xmalloc(100001);
	CLEANUP_FREE char *text = NULL;
	const char *quote;

	memset(huge, 'x', 100000);
	huge[100000] = '\0';
	begin();
	log_event(EVENT_FAULT, NULL, FIELD("a", huge), FIELD("z", 1));
	text = end();
	quote = strstr(text, "a=\"");
	CHECK(quote && strspn(quote + 3, "x") == 512);
	CHECK(quote && !strcmp(quote + 3 + 512, "...\" z=1\n"));
	memset(huge, '\n', 100000);
	free(text);
	begin();
	log_event(EVENT_FAULT, NULL, FIELD("a", huge), FIELD("b", huge), FIELD("c", huge),
		FIELD("d", huge), FIELD("z", 1));
	text = end();
	CHECK(strlen(text) <= 4095 && count_lines(text) == 1);
	CHECK(strstr(text, "a=\"\\\\012") && strstr(text, "...\" z=1\n"));
}

static void quiet_hides_what_is_normal_only(void)
{
	begin();
	log_set_level(LOG_QUIET);
	for (int k = 0; k < LOG_EVENT_KINDS; k++)
		log_event((enum log_event_kind)k, NULL);
	log_set_level(LOG_NORMAL);
	check_lines(end(), "level=warning event=untrusted\nlevel=warning event=fault\n"
			   "level=warning event=no_space\nlevel=warning event=expired\n");
}

static void five_lines_a_minute_about_one_thing(void)
{
	begin();
	for (int i = 0; i < 12; i++)
		log_event(EVENT_FAULT, "a", FIELD("i", i));
	log_event(EVENT_FAULT, "b", FIELD("b", 1));
	log_event(EVENT_EXPIRED, "a", FIELD("a", 1));
	clock_ms += 59999;
	log_event(EVENT_FAULT, "a", FIELD("i", 12));
	clock_ms++;
	log_event(EVENT_FAULT, "a", FIELD("i", 13));
	log_event(EVENT_FAULT, "a", FIELD("i", 14));
	check_lines(end(), "level=warning event=fault i=0\nlevel=warning event=fault i=1\n"
			   "level=warning event=fault i=2\nlevel=warning event=fault i=3\n"
			   "level=warning event=fault i=4\nlevel=warning event=fault b=1\n"
			   "level=warning event=expired a=1\n"
			   "level=warning event=fault i=13 suppressed=8\n"
			   "level=warning event=fault i=14\n");
}

static void mounts_are_never_suppressed(void)
{
	CLEANUP_FREE char *text = NULL;

	begin();
	for (int i = 0; i < 300; i++)
		log_event(EVENT_MOUNT, "a", FIELD("i", i));
	text = end();
	CHECK_U64(count_lines(text), 300);
}

static void flush_tells_what_was_suppressed(void)
{
	begin();
	for (int i = 0; i < 7; i++)
		log_event(EVENT_NO_SPACE, "a \"b\"");
	log_event_flush(false);
	clock_ms += 60000;
	log_event_flush(false);
	log_event_flush(true);
	for (int i = 0; i < 6; i++)
		log_event(EVENT_NO_SPACE, NULL);
	log_event_flush(true);
	log_event_flush(true);
	check_lines(end(), "level=warning event=no_space\nlevel=warning event=no_space\n"
			   "level=warning event=no_space\nlevel=warning event=no_space\n"
			   "level=warning event=no_space\n"
			   "level=warning event=suppressed kind=no_space about=\"a \\\"b\\\"\" "
			   "suppressed=2\n"
			   "level=warning event=no_space\nlevel=warning event=no_space\n"
			   "level=warning event=no_space\nlevel=warning event=no_space\n"
			   "level=warning event=no_space\n"
			   "level=warning event=suppressed kind=no_space suppressed=1\n");
}

/* However many things there are: lines are bounded, and none is lost from the count. */
static void many_things_are_bounded_and_counted(void)
{
	CLEANUP_FREE char *text = NULL;
	uint64_t lines = 0, told = 0;

	begin();
	for (int i = 0; i < 2000; i++) {
		CLEANUP_FREE char *about = xasprintf("blob %d", i % 1000);

		log_event(EVENT_FAULT, about);
	}
	log_event_flush(true);
	text = end();
	for (char *save, *l = strtok_r(text, "\n", &save); l; l = strtok_r(NULL, "\n", &save)) {
		char *n = strstr(l, "suppressed=");

		lines += !!strstr(l, "event=fault");
		told += n ? strtoull(n + 11, NULL, 10) : 0;
	}
	CHECK_U64(lines, 200);
	CHECK_U64(told, 1800);
}

/* Who reads the log may itself wait for us. */
static void a_full_pipe_makes_nobody_wait(void)
{
	int ends[2];
	char buf[65536];
	ssize_t n;

	CHECK(pipe2(ends, O_NONBLOCK) == 0);
	log_event_set_clock(test_clock);
	dup2(ends[1], STDERR_FILENO);
	fcntl(STDERR_FILENO, F_SETFL, 0); /* it would block */
	for (int i = 0; i < 3000; i++)
		log_event(
			EVENT_MOUNT, NULL, FIELD("text", "much of it, again and again and again"));
	while ((n = read(ends[0], buf, sizeof(buf))) > 0)
		;
	log_event(EVENT_MOUNT, NULL, FIELD("last", 1));
	dup2(real_stderr, STDERR_FILENO);
	close(ends[1]);
	for (size_t len = 0; (n = read(ends[0], buf + len, sizeof(buf) - 1 - len)) > 0;)
		buf[len += (size_t)n] = '\0';
	CHECK(strstr(buf, "last=1 lost="));
	close(ends[0]);
}

static void *talk(void *arg)
{
	for (int i = 0; i < 300; i++)
		log_event(EVENT_MOUNT, NULL, FIELD("id", (const char *)arg));
	return NULL;
}

static void lines_of_many_threads_never_tear(void)
{
	static const char *const words[] = { "aaaaaaaa", "bbbbbbbb", "cccccccc" };
	CLEANUP_FREE char *text = NULL;
	pthread_t threads[3];
	unsigned n = 0;

	begin();
	for (int i = 0; i < 3; i++)
		pthread_create(&threads[i], NULL, talk, (void *)words[i]);
	for (int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	text = end();
	if (!CHECK(cut_times(text)))
		return;
	for (char *save, *l = strtok_r(text, "\n", &save); l; l = strtok_r(NULL, "\n", &save))
		n += strlen(l) == 34 && !strncmp(l, "level=info event=mount id=", 26);
	CHECK_U64(n, 900);
}

static void people_get_plain_lines(void)
{
	CLEANUP_FREE char *text = NULL;

	begin();
	log_event_for_people(true);
	log_event(EVENT_FAULT, "layer 1", FIELD("offset", 5), FIELD("error", "it is gone"));
	log_event_for_people(false);
	text = end();
	CHECK(strstr(text, "warning: layer 1: it is gone\n") != NULL);
	CHECK(strstr(text, "event=") == NULL);
}

int main(void)
{
	dir = tmpdir_make();
	path = xasprintf("%s/stderr", dir);
	real_stderr = dup(STDERR_FILENO);
	RUN(fields_are_written_by_their_type);
	RUN(what_is_not_there_is_left_out);
	RUN(people_get_plain_lines);
	RUN(no_value_forges_a_line_or_a_field);
	RUN(no_byte_but_printable_ascii_is_written);
	RUN(a_long_value_is_cut_and_a_line_is_bounded);
	RUN(quiet_hides_what_is_normal_only);
	RUN(five_lines_a_minute_about_one_thing);
	RUN(mounts_are_never_suppressed);
	RUN(flush_tells_what_was_suppressed);
	RUN(many_things_are_bounded_and_counted);
	RUN(a_full_pipe_makes_nobody_wait);
	RUN(lines_of_many_threads_never_tear);
	tmpdir_remove(dir);
	free(dir);
	free(path);
	return tap_done();
}
