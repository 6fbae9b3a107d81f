// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/* What log lines look like on stderr, which is a file here. */
#include "config.h"

#include "lib/base/log.h"
#include "lib/base/mem.h"
#include "tests/unit/tap.h"
#include "tests/unit/tmpdir.h"

#include <pthread.h>

static char *dir, *path;
static int real_stderr;

static void begin(void)
{
	int fd;

	fflush(stderr);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, 0600);
	dup2(fd, STDERR_FILENO);
	close(fd);
}

static char *end(void)
{
	char *text;

	fflush(stderr);
	text = read_file(path);
	dup2(real_stderr, STDERR_FILENO);
	return text;
}

static void lines_carry_the_program_and_the_kind(void)
{
	CLEANUP_FREE char *text = NULL;

	begin();
	log_warn("x is %d", 1);
	log_info("plain");
	log_error("bad");
	text = end();
	CHECK_STR(text, "erofs-convert: warning: x is 1\n"
			"erofs-convert: plain\n"
			"erofs-convert: error: bad\n");
}

static void all_of(void)
{
	log_warn("w");
	log_info("i");
	log_debug("d");
	log_error("e");
}

static void the_level_decides_what_is_said(void)
{
	CLEANUP_FREE char *quiet = NULL, *debug = NULL;

	begin();
	log_set_level(LOG_QUIET);
	CHECK(log_enabled(LOG_QUIET) && !log_enabled(LOG_NORMAL));
	all_of();
	quiet = end();
	CHECK_STR(quiet, "erofs-convert: error: e\n");
	begin();
	log_set_level(LOG_DEBUG);
	CHECK(log_enabled(LOG_DEBUG));
	all_of();
	debug = end();
	CHECK_STR(debug, "erofs-convert: warning: w\nerofs-convert: i\n"
			 "erofs-convert: debug: d\nerofs-convert: error: e\n");
	log_set_level(LOG_NORMAL);
	CHECK(log_enabled(LOG_NORMAL) && !log_enabled(LOG_DEBUG));
}

static void control_characters_are_shown_and_not_sent(void)
{
	CLEANUP_FREE char *text = NULL;
	char all[33];

	begin();
	log_info("%s", "a\nb\x1b[31m\x7f\r\t\bz");
	log_error("%s", "\x1b]0;title\a");
	text = end();
	CHECK_STR(text, "erofs-convert: a\\012b\\033[31m\\177\\015\\011\\010z\n"
			"erofs-convert: error: \\033]0;title\\007\n");
	free(text);
	for (int i = 0; i < 31; i++)
		all[i] = (char)(i + 1);
	all[31] = 127;
	all[32] = '\0';
	begin();
	log_warn("%s", all);
	text = end();
	for (const char *c = text; c[1]; c++)
		if (!CHECK((unsigned char)*c >= ' ' && *c != 127))
			break;
}

static void bytes_above_ascii_are_left_to_the_locale(void)
{
	CLEANUP_FREE char *text = NULL;

	begin();
	log_info("%s", "gr\xc3\xbc\xc3\x9f \xff");
	text = end();
	CHECK_STR(text, "erofs-convert: gr\xc3\xbc\xc3\x9f \xff\n");
}

static void draw(void *arg, bool show)
{
	(void)arg;
	fputs(show ? "<show>" : "<clear>", stderr);
}

static void lines_step_around_the_status_line(void)
{
	CLEANUP_FREE char *text = NULL;

	begin();
	log_set_status(draw, NULL);
	log_info("one");
	log_set_status(NULL, NULL);
	log_info("two");
	text = end();
	CHECK_STR(text, "<clear>erofs-convert: one\n<show>erofs-convert: two\n");
}

static void *talk(void *arg)
{
	for (int i = 0; i < 300; i++)
		log_info("%s", (const char *)arg);
	return NULL;
}

static void lines_of_many_threads_never_tear(void)
{
	static const char *const words[] = { "aaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbb",
		"cccccccccccccccc" };
	CLEANUP_FREE char *text = NULL;
	pthread_t threads[3];
	int lines = 0, torn = 0;

	begin();
	for (int i = 0; i < 3; i++)
		pthread_create(&threads[i], NULL, talk, (void *)words[i]);
	for (int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	text = end();
	for (char *save, *l = strtok_r(text, "\n", &save); l; l = strtok_r(NULL, "\n", &save)) {
		lines++;
		torn += strlen(l) != 15 + 16 || strncmp(l, "erofs-convert: ", 15) != 0 ||
			strspn(l + 15, (char[]){ l[15], '\0' }) != 16;
	}
	CHECK_U64(lines, 900);
	CHECK_U64(torn, 0);
}

int main(void)
{
	dir = tmpdir_make();
	path = xasprintf("%s/stderr", dir);
	real_stderr = dup(STDERR_FILENO);
	RUN(lines_carry_the_program_and_the_kind);
	RUN(the_level_decides_what_is_said);
	RUN(control_characters_are_shown_and_not_sent);
	RUN(bytes_above_ascii_are_left_to_the_locale);
	RUN(lines_step_around_the_status_line);
	RUN(lines_of_many_threads_never_tear);
	tmpdir_remove(dir);
	free(dir);
	free(path);
	return tap_done();
}
