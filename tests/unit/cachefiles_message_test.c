// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include <errno.h>
#include <limits.h>

#include "fmt/cachefiles.h"
#include "tests/unit/tap.h"

/* ---- messages, as the kernel lays them out ---- */

struct bytes {
	uint8_t at[2 * CACHEFILES_MSG_MAX_SIZE];
	size_t len;
};

static void set32(struct bytes *b, size_t offset, uint32_t value)
{
	memcpy(b->at + offset, &value, sizeof(value));
}

static void set64(struct bytes *b, size_t offset, uint64_t value)
{
	memcpy(b->at + offset, &value, sizeof(value));
}

static void header(struct bytes *b, uint32_t opcode, size_t payload)
{
	b->len = 16 + payload;
	set32(b, 0, 77);
	set32(b, 4, opcode);
	set32(b, 8, (uint32_t)b->len);
	set32(b, 12, 5);
}

static void make_open(struct bytes *b, const void *volume, size_t volume_size, const void *cookie,
	size_t cookie_size)
{
	*b = (struct bytes){ .len = 0 };
	header(b, 0, 16 + volume_size + cookie_size);
	set32(b, 16, (uint32_t)volume_size);
	set32(b, 20, (uint32_t)cookie_size);
	set32(b, 24, 9);
	memcpy(b->at + 32, volume, volume_size);
	memcpy(b->at + 32 + volume_size, cookie, cookie_size);
}

static void make_read(struct bytes *b, uint64_t offset, uint64_t len)
{
	*b = (struct bytes){ .len = 0 };
	header(b, 2, 16);
	set64(b, 16, offset);
	set64(b, 24, len);
}

static void make_close(struct bytes *b)
{
	*b = (struct bytes){ .len = 0 };
	header(b, 1, 0);
}

static const char VOLUME[] = "erofs,image";
static const char COOKIE[] = "blob";

static void make_good_open(struct bytes *b)
{
	make_open(b, VOLUME, sizeof(VOLUME), COOKIE, strlen(COOKIE));
}

/* The bytes lie in a block of their own size, where reading on is found out. */
static int parse(struct cachefiles_message *m, const struct bytes *b, struct fault *fault)
{
	uint8_t *copy = malloc(b->len + !b->len);
	int rc;

	memcpy(copy, b->at, b->len);
	*fault = (struct fault){ 0 };
	rc = cachefiles_parse(m, copy, b->len, fault);
	free(copy);
	return rc;
}

/* Refused for this reason, at this place, and whom to answer is known. */
static bool refused(const struct bytes *b, const char *what, uint64_t offset)
{
	struct cachefiles_message m;
	struct fault fault;

	CHECK(parse(&m, b, &fault) < 0);
	CHECK_U64(m.id, 77);
	return CHECK_STR(fault.what, what) && CHECK_U64(fault.offset, offset);
}

static void an_open_tells_volume_cookie_and_fd(void)
{
	struct cachefiles_message m;
	struct fault fault;
	struct bytes b;

	make_good_open(&b);
	CHECK_U64((uint64_t)cachefiles_parse(&m, b.at, b.len, &fault), 0);
	CHECK_U64(m.id, 77);
	CHECK_U64(m.object, 5);
	CHECK_U64(m.opcode, CACHEFILES_OP_OPEN);
	CHECK_U64((uint64_t)m.open.fd, 9);
	CHECK_STR(m.open.volume, VOLUME);
	CHECK_U64(m.open.volume_len, strlen(VOLUME));
	CHECK_U64(m.open.cookie_len, strlen(COOKIE));
	CHECK(memcmp(m.open.cookie, COOKIE, strlen(COOKIE)) == 0);
	CHECK_STR(cachefiles_erofs_volume(&m), "image");
}

static void the_longest_keys_and_binary_cookies_are_taken(void)
{
	struct cachefiles_message m;
	char volume[256], cookie[255];
	struct fault fault;
	struct bytes b;

	memset(volume, 'v', sizeof(volume));
	volume[255] = 0;
	for (size_t i = 0; i < sizeof(cookie); i++)
		cookie[i] = (char)(i * 7);
	make_open(&b, volume, sizeof(volume), cookie, sizeof(cookie));
	CHECK_U64((uint64_t)cachefiles_parse(&m, b.at, b.len, &fault), 0);
	CHECK_U64(m.open.volume_len, 255);
	CHECK_U64(m.open.cookie_len, 255);
	CHECK(memcmp(m.open.cookie, cookie, sizeof(cookie)) == 0);
	CHECK(!cachefiles_erofs_volume(&m));

	make_open(&b, "v", 2, "\0", 1);
	CHECK_U64((uint64_t)cachefiles_parse(&m, b.at, b.len, &fault), 0);
	CHECK(!cachefiles_erofs_volume(&m));
	make_open(&b, "erofs,", 7, "c", 1);
	CHECK_U64((uint64_t)cachefiles_parse(&m, b.at, b.len, &fault), 0);
	CHECK(!cachefiles_erofs_volume(&m));
}

static void a_close_is_a_header(void)
{
	struct cachefiles_message m;
	struct fault fault;
	struct bytes b;

	make_close(&b);
	CHECK_U64((uint64_t)parse(&m, &b, &fault), 0);
	CHECK_U64(m.opcode, CACHEFILES_OP_CLOSE);
	CHECK_U64(m.object, 5);
	header(&b, 1, 4);
	refused(&b, "CLOSE has a payload", 16);
}

static void a_read_tells_a_range_that_fits_in_an_off_t(void)
{
	static const uint64_t good[][2] = { { 0, 1 }, { 4096, 1 << 20 }, { INT64_MAX - 1, 1 },
		{ 0, INT64_MAX }, { 1, INT64_MAX - 1 } };
	static const uint64_t bad[][2] = { { 0, 0 }, { 0, (uint64_t)INT64_MAX + 1 },
		{ 0, UINT64_MAX }, { 1, INT64_MAX }, { INT64_MAX, 1 },
		{ 4096, UINT64_MAX - 4095 } };
	struct cachefiles_message m;
	struct fault fault;
	struct bytes b;

	for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++) {
		make_read(&b, good[i][0], good[i][1]);
		CHECK_U64((uint64_t)parse(&m, &b, &fault), 0);
		CHECK_U64(m.opcode, CACHEFILES_OP_READ);
		CHECK_U64(m.read.offset, good[i][0]);
		CHECK_U64(m.read.len, good[i][1]);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		make_read(&b, bad[i][0], bad[i][1]);
		refused(&b, "length is out of range", 24);
	}
	make_read(&b, (uint64_t)INT64_MAX + 1, 1);
	refused(&b, "offset is negative", 16);
	make_read(&b, UINT64_MAX, 1);
	refused(&b, "offset is negative", 16);
	make_read(&b, 0, 4096);
	header(&b, 2, 15);
	refused(&b, "READ has a wrong size", 16);
	header(&b, 2, 17);
	refused(&b, "READ has a wrong size", 16);
}

/* Cut anywhere, and with the length left as it was or made right. */
static void a_message_that_is_cut_is_refused(void)
{
	void (*const make[])(struct bytes *) = { make_good_open, make_close };
	struct cachefiles_message m;
	struct fault fault;
	struct bytes b;

	for (size_t i = 0; i < sizeof(make) / sizeof(*make); i++) {
		make[i](&b);
		for (size_t len = b.len; len-- > 0;) {
			make[i](&b);
			b.len = len;
			CHECK(parse(&m, &b, &fault) < 0 && fault.what && fault.offset <= len);
			CHECK_U64(m.id, len < 16 ? 0 : 77);
			CHECK_U64(m.opcode, len < 16 ? UINT32_MAX : 0);
			set32(&b, 8, (uint32_t)len);
			CHECK(parse(&m, &b, &fault) < 0 && fault.what && fault.offset <= len);
		}
	}
}

static void lengths_must_agree(void)
{
	struct bytes b;

	make_close(&b);
	set32(&b, 8, 17);
	refused(&b, "length is not the message's", 8);
	set32(&b, 8, 0);
	refused(&b, "length is not the message's", 8);
	make_good_open(&b);
	b.len++;
	refused(&b, "length is not the message's", 8);
	set32(&b, 8, (uint32_t)b.len);
	refused(&b, "keys do not fill the message", 32);
	make_good_open(&b);
	b.len = CACHEFILES_MSG_MAX_SIZE + 1;
	set32(&b, 8, (uint32_t)b.len);
	refused(&b, "longer than any message", CACHEFILES_MSG_MAX_SIZE);
}

static void unknown_opcodes_are_refused_and_told(void)
{
	static const uint32_t unknown[] = { 3, 255, 256, 0x80000000, UINT32_MAX };
	struct cachefiles_message m;
	struct fault fault;
	struct bytes b;

	for (size_t i = 0; i < sizeof(unknown) / sizeof(*unknown); i++) {
		make_close(&b);
		set32(&b, 4, unknown[i]);
		refused(&b, "unknown opcode", 4);
		CHECK(parse(&m, &b, &fault) < 0);
		CHECK_U64(m.opcode, unknown[i]);
		CHECK_U64(m.object, 5);
	}
}

static void an_objects_number_is_positive(void)
{
	struct bytes b;

	make_close(&b);
	set32(&b, 12, 0);
	refused(&b, "object's number is out of range", 12);
	set32(&b, 12, UINT32_MAX); /* what a kernel calls an object whose fd has just been closed */
	refused(&b, "object's number is out of range", 12);
}

static void an_opens_sizes_are_checked(void)
{
	static const uint32_t volume[] = { 0, 1, 257, 0x80000000, UINT32_MAX };
	static const uint32_t cookie[] = { 0, 256, 0x80000000, UINT32_MAX };
	struct bytes b;

	for (size_t i = 0; i < sizeof(volume) / sizeof(*volume); i++) {
		make_good_open(&b);
		set32(&b, 16, volume[i]);
		refused(&b, "volume key's size is out of range", 16);
	}
	for (size_t i = 0; i < sizeof(cookie) / sizeof(*cookie); i++) {
		make_good_open(&b);
		set32(&b, 20, cookie[i]);
		refused(&b, "cookie key's size is out of range", 20);
	}
	/* sums that only wrap to the right one */
	make_good_open(&b);
	set32(&b, 16, (uint32_t)sizeof(VOLUME) + 1);
	set32(&b, 20, (uint32_t)strlen(COOKIE));
	refused(&b, "keys do not fill the message", 32);
	set32(&b, 20, (uint32_t)strlen(COOKIE) - 1);
	refused(&b, "volume key's NUL is not at its end", 32);
}

static void a_volume_has_one_nul_at_its_end(void)
{
	struct bytes b;

	make_open(&b, "erofs,image", 11, "cookie", 6);
	refused(&b, "volume key's NUL is not at its end", 32);
	make_open(&b, "erofs\0image", 12, "cookie", 6);
	refused(&b, "volume key's NUL is not at its end", 32);
	make_open(&b, "erofs,image\0", 13, "cookie", 6);
	refused(&b, "volume key's NUL is not at its end", 32);
	make_open(&b, "\0", 2, "cookie", 6);
	refused(&b, "volume key's NUL is not at its end", 32);
}

static void an_opens_fd_and_flags_are_checked(void)
{
	struct cachefiles_message m;
	struct fault fault;
	struct bytes b;

	make_good_open(&b);
	set32(&b, 24, (uint32_t)INT_MAX);
	CHECK_U64((uint64_t)cachefiles_parse(&m, b.at, b.len, &fault), 0);
	CHECK_U64((uint64_t)m.open.fd, INT_MAX);
	set32(&b, 24, (uint32_t)INT_MAX + 1);
	refused(&b, "file descriptor is negative", 24);
	set32(&b, 24, UINT32_MAX);
	refused(&b, "file descriptor is negative", 24);
	make_good_open(&b);
	set32(&b, 28, 1);
	refused(&b, "unknown flags", 28);
}

/* ---- commands ---- */

static bool is(const struct cachefiles_command *c, const char *text)
{
	return CHECK_STR(c->text, text) && CHECK_U64(c->len, strlen(text));
}

static void commands_are_what_the_kernel_reads(void)
{
	struct cachefiles_command c;
	struct fault fault;

	cachefiles_put_bind(&c);
	is(&c, "bind ondemand");
	cachefiles_put_restore(&c);
	is(&c, "restore");
	CHECK(cachefiles_put_dir(&c, "/var/cache/a b", &fault) == 0);
	is(&c, "dir /var/cache/a b");
	CHECK(cachefiles_put_tag(&c, "name", &fault) == 0);
	is(&c, "tag name");
	CHECK(cachefiles_put_cull(&c, "Dfile", &fault) == 0);
	is(&c, "cull Dfile");
	CHECK(cachefiles_put_inuse(&c, "Dfile", &fault) == 0);
	is(&c, "inuse Dfile");
}

static void an_open_is_answered_with_a_size_or_an_errno(void)
{
	struct cachefiles_command c;

	cachefiles_put_copen(&c, 0, 0);
	is(&c, "copen 0,0");
	cachefiles_put_copen(&c, UINT32_MAX, INT64_MAX);
	is(&c, "copen 4294967295,9223372036854775807");
	cachefiles_put_copen(&c, 1, (uint64_t)INT64_MAX + 1);
	is(&c, "copen 1,-27");
	cachefiles_put_copen_error(&c, 12, ENOENT);
	is(&c, "copen 12,-2");
	cachefiles_put_copen_error(&c, 12, CACHEFILES_ERRNO_MAX);
	is(&c, "copen 12,-4095");
	/* never a size, and never success */
	cachefiles_put_copen_error(&c, 12, 0);
	is(&c, "copen 12,-5");
	cachefiles_put_copen_error(&c, 12, -ENOENT);
	is(&c, "copen 12,-5");
	cachefiles_put_copen_error(&c, 12, INT_MIN);
	is(&c, "copen 12,-5");
	cachefiles_put_copen_error(&c, 12, 4096);
	is(&c, "copen 12,-5");
}

static void odd_names_do_not_change_a_command(void)
{
	static const char *const bad_words[] = { "", " a", "\ta", "\va", "\fa", "\ra", "\na", "a\n",
		"a\nbind", "\xa0z" };
	static const char *const bad_dirs[] = { "", "a", "./a", " /a", "/a\n", "/a\ntag b" };
	static const char *const bad_files[] = { "", ".", "..", "/", "a/b", "../a", "a\nb", " a" };
	struct cachefiles_command c;
	struct fault fault;

	for (size_t i = 0; i < sizeof(bad_words) / sizeof(*bad_words); i++)
		CHECK(cachefiles_put_tag(&c, bad_words[i], &fault) < 0 && fault.what);
	for (size_t i = 0; i < sizeof(bad_dirs) / sizeof(*bad_dirs); i++)
		CHECK(cachefiles_put_dir(&c, bad_dirs[i], &fault) < 0 && fault.what);
	for (size_t i = 0; i < sizeof(bad_files) / sizeof(*bad_files); i++) {
		CHECK(cachefiles_put_cull(&c, bad_files[i], &fault) < 0 && fault.what);
		CHECK(cachefiles_put_inuse(&c, bad_files[i], &fault) < 0 && fault.what);
	}
	CHECK(cachefiles_put_tag(&c, "a\tb bind; ,%s%n\xff", &fault) == 0);
	is(&c, "tag a\tb bind; ,%s%n\xff");
}

static void names_that_do_not_fit_are_refused(void)
{
	struct cachefiles_command c;
	struct fault fault;
	char name[5000];

	memset(name, '/', sizeof(name));
	name[CACHEFILES_COMMAND_MAX - 4] = 0;
	CHECK(cachefiles_put_dir(&c, name, &fault) == 0);
	CHECK_U64(c.len, CACHEFILES_COMMAND_MAX);
	name[CACHEFILES_COMMAND_MAX - 4] = '/';
	name[CACHEFILES_COMMAND_MAX - 3] = 0;
	CHECK(cachefiles_put_dir(&c, name, &fault) < 0);
	CHECK_STR(fault.what, "too long");
	memset(name, 'a', sizeof(name));
	name[255] = 0;
	CHECK(cachefiles_put_cull(&c, name, &fault) == 0);
	CHECK_U64(c.len, 260);
	name[255] = 'a';
	name[256] = 0;
	CHECK(cachefiles_put_cull(&c, name, &fault) < 0);
}

/* ---- limits ---- */

struct kernel {
	unsigned run, cull, stop;
};

/* What fs/cachefiles/daemon.c does with one of them. */
static bool kernel_takes(struct kernel *k, const char *command)
{
	unsigned n = (unsigned)atoi(strchr(command, ' ') + 1);

	if (command[strlen(command) - 1] != '%')
		return false;
	if (strncmp(command + 1, "run ", 4) == 0) {
		k->run = n > k->cull && n < 100 ? n : 1000;
		return k->run == n;
	}
	if (strncmp(command + 1, "cull ", 5) == 0) {
		k->cull = n > k->stop && n < k->run ? n : 1000;
		return k->cull == n;
	}
	k->stop = strncmp(command + 1, "stop ", 5) == 0 && n < k->cull ? n : 1000;
	return k->stop == n;
}

static bool limits_arrive(const struct cachefiles_limits *limits)
{
	struct kernel k = { 7, 5, 1 };

	for (unsigned i = 0; i < CACHEFILES_LIMIT_COMMANDS; i++) {
		struct cachefiles_command c;

		cachefiles_put_limit(&c, CACHEFILES_BLOCKS, limits, i);
		if (c.text[0] != 'b' || !kernel_takes(&k, c.text))
			return false;
	}
	return k.run == limits->run && k.cull == limits->cull && k.stop == limits->stop;
}

static void all_good_limits_arrive_whatever_the_kernels_own(void)
{
	struct cachefiles_limits l;
	struct fault fault;
	unsigned good = 0, wrong = 0;

	for (l.run = 0; l.run <= 101; l.run++)
		for (l.cull = 0; l.cull <= 101; l.cull++)
			for (l.stop = 0; l.stop <= 101; l.stop++) {
				bool is_good = l.stop < l.cull && l.cull < l.run && l.run < 100;

				good += is_good;
				wrong += (cachefiles_check_limits(&l, &fault) == 0) != is_good;
				wrong += is_good && !limits_arrive(&l);
			}
	CHECK_U64(good, 161700); /* choose 3 of 100 */
	CHECK_U64(wrong, 0);
}

static void limits_of_files_and_blocks_have_names_of_their_own(void)
{
	const struct cachefiles_limits limits = { 10, 6, 2 };
	struct cachefiles_command c;
	struct fault fault;

	CHECK(cachefiles_check_limits(&limits, &fault) == 0);
	cachefiles_put_limit(&c, CACHEFILES_FILES, &limits, 2);
	is(&c, "fcull 6%");
	cachefiles_put_limit(&c, CACHEFILES_BLOCKS, &limits, 3);
	is(&c, "brun 10%");
	cachefiles_put_limit(&c, CACHEFILES_BLOCKS, &limits, 4);
	is(&c, "bstop 2%");
	CHECK(cachefiles_check_limits(&(struct cachefiles_limits){ 10, 10, 2 }, &fault) < 0);
	CHECK_U64(fault.offset, 1);
}

int main(void)
{
	RUN(an_open_tells_volume_cookie_and_fd);
	RUN(the_longest_keys_and_binary_cookies_are_taken);
	RUN(a_close_is_a_header);
	RUN(a_read_tells_a_range_that_fits_in_an_off_t);
	RUN(a_message_that_is_cut_is_refused);
	RUN(lengths_must_agree);
	RUN(unknown_opcodes_are_refused_and_told);
	RUN(an_objects_number_is_positive);
	RUN(an_opens_sizes_are_checked);
	RUN(a_volume_has_one_nul_at_its_end);
	RUN(an_opens_fd_and_flags_are_checked);
	RUN(commands_are_what_the_kernel_reads);
	RUN(an_open_is_answered_with_a_size_or_an_errno);
	RUN(odd_names_do_not_change_a_command);
	RUN(names_that_do_not_fit_are_refused);
	RUN(all_good_limits_arrive_whatever_the_kernels_own);
	RUN(limits_of_files_and_blocks_have_names_of_their_own);
	return tap_done();
}
