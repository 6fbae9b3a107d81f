// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/*
 * Write down a file tree in the form of `tests/tools/tree.py record`, for places without Python:
 * the virtual machine of tests/vm/. `tree.py compare` reads it.
 *
 *	tree-record ROOT > FILE
 */
#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <openssl/evp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "lib/base/mem.h"

/* A name found: where it is, and as a record calls it. */
struct name {
	char *full, *path;
	struct stat st;
};

static struct name *names;
static size_t n_names, cap_names;

static void __attribute__((noreturn)) die(const char *path, const char *what)
{
	fprintf(stderr, "tree-record: %s: %s: %s\n", path, what, strerror(errno));
	exit(1);
}

/* ---- the walk ---- */

static void add(char *full, char *path)
{
	struct name *name;

	names = xgrow(names, n_names, &cap_names, sizeof(*names));
	name = &names[n_names++];
	*name = (struct name){ .full = full, .path = path };
	if (lstat(full, &name->st) < 0)
		die(full, "lstat");
}

static void add_children(const char *full, const char *path)
{
	DIR *d = opendir(full);
	struct dirent *e;

	if (!d)
		die(full, "opendir");
	while ((errno = 0, e = readdir(d))) {
		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
			continue;
		add(xasprintf("%s/%s", full, e->d_name),
			*path ? xasprintf("%s/%s", path, e->d_name) : xstrdup(e->d_name));
	}
	if (errno)
		die(full, "readdir");
	closedir(d);
}

static void walk(const char *root)
{
	add(xstrdup(root), xstrdup("."));
	add_children(root, "");
	for (size_t i = 1; i < n_names; i++)
		if (S_ISDIR(names[i].st.st_mode))
			add_children(names[i].full, names[i].path);
}

static int by_inode(const void *a, const void *b)
{
	const struct name *x = a, *y = b;

	if (x->st.st_ino != y->st.st_ino)
		return x->st.st_ino < y->st.st_ino ? -1 : 1;
	return strcmp(x->path, y->path);
}

/* ---- JSON ---- */

/* Bytes of the character at `s`, and the character; 0: they are not UTF-8. */
static unsigned utf8(const uint8_t *s, uint32_t *c)
{
	unsigned n = *s < 0x80 ? 1 : *s < 0xe0 ? 2 : *s < 0xf0 ? 3 : 4;
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };

	if ((*s >= 0x80 && *s < 0xc0) || *s > 0xf4)
		return 0;
	*c = n == 1 ? *s : *s & (0xffU >> (n + 1));
	for (unsigned i = 1; i < n; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
		*c = *c << 6 | (s[i] & 0x3f);
	}
	return *c < least[n] || *c > 0x10ffff || (*c >= 0xd800 && *c < 0xe000) ? 0 : n;
}

/* As Python's json.dumps(os.fsdecode(...)): a byte that is no UTF-8 is a lone surrogate. */
static void put_string(const char *text)
{
	const uint8_t *s = (const uint8_t *)text;
	unsigned n;

	putchar('"');
	for (uint32_t c; *s; s += n) {
		n = utf8(s, &c);
		if (!n) {
			c = 0xdc00 + *s;
			n = 1;
		}
		if (c >= 0x10000)
			printf("\\u%04x\\u%04x", 0xd7c0 + (c >> 10), 0xdc00 + (c & 0x3ff));
		else if (c < ' ' || c == '"' || c == '\\' || c >= 0x7f)
			printf("\\u%04x", c);
		else
			putchar((int)c);
	}
	putchar('"');
}

static void put_hex(const uint8_t *bytes, size_t len)
{
	putchar('"');
	for (size_t i = 0; i < len; i++)
		printf("%02x", bytes[i]);
	putchar('"');
}

/* ---- one record ---- */

static const char *type_of(mode_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFREG:
		return "file";
	case S_IFDIR:
		return "dir";
	case S_IFLNK:
		return "symlink";
	case S_IFCHR:
		return "char";
	case S_IFBLK:
		return "block";
	case S_IFIFO:
		return "fifo";
	default:
		return "socket";
	}
}

static void put_stat(const struct stat *st)
{
	printf(",\"%s\",\"0o%o\",%u,%u,", type_of(st->st_mode), st->st_mode & 07777, st->st_uid,
		st->st_gid);
	if (S_ISDIR(st->st_mode))
		fputs("null", stdout);
	else
		printf("%jd", (intmax_t)st->st_size);
	printf(",%jd,%ju,",
		(intmax_t)st->st_mtim.tv_sec * 1000000000 + (intmax_t)st->st_mtim.tv_nsec,
		(uintmax_t)st->st_nlink);
}

static void put_rdev(const struct stat *st)
{
	if (S_ISCHR(st->st_mode) || S_ISBLK(st->st_mode))
		printf(",\"%u:%u\",", major(st->st_rdev), minor(st->st_rdev));
	else
		fputs(",null,", stdout);
}

static void put_target(const struct name *name)
{
	char target[4097];
	ssize_t n;

	if (!S_ISLNK(name->st.st_mode)) {
		fputs("null", stdout);
		return;
	}
	n = readlink(name->full, target, sizeof(target) - 1);
	if (n < 0)
		die(name->full, "readlink");
	target[n] = 0;
	put_string(target);
}

static void put_xattrs(const char *full)
{
	static char list[XATTR_LIST_MAX];
	static uint8_t value[XATTR_SIZE_MAX];
	ssize_t n = llistxattr(full, list, sizeof(list));
	const char *comma = "";

	if (n < 0)
		die(full, "listxattr");
	fputs(",{", stdout);
	for (const char *x = list; x < list + n; x += strlen(x) + 1) {
		ssize_t len = lgetxattr(full, x, value, sizeof(value));

		if (len < 0)
			die(full, x);
		fputs(comma, stdout);
		put_string(x);
		putchar(':');
		put_hex(value, (size_t)len);
		comma = ",";
	}
	fputs("},", stdout);
}

static void free_digest(EVP_MD_CTX **ctx)
{
	EVP_MD_CTX_free(*ctx);
}

static void put_sha256(const struct name *name)
{
	CLEANUP_FD int fd = -1;
	CLEANUP(free_digest) EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	static uint8_t buffer[1 << 20];
	uint8_t digest[EVP_MAX_MD_SIZE];
	unsigned len;
	ssize_t n;

	if (!S_ISREG(name->st.st_mode)) {
		fputs("null", stdout);
		return;
	}
	fd = open(name->full, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		die(name->full, "open");
	EVP_DigestInit_ex(ctx, EVP_sha256(), NULL);
	while ((n = read(fd, buffer, sizeof(buffer))) > 0)
		EVP_DigestUpdate(ctx, buffer, (size_t)n);
	if (n < 0)
		die(name->full, "read");
	EVP_DigestFinal_ex(ctx, digest, &len);
	put_hex(digest, len);
}

/* `first`: of all names of the inode. */
static void put_record(const struct name *name, const struct name *first, bool alone)
{
	putchar('[');
	put_string(name->path);
	put_stat(&name->st);
	if (alone)
		fputs("null", stdout);
	else
		put_string(first->path);
	put_rdev(&name->st);
	put_target(name);
	put_xattrs(name->full);
	put_sha256(name);
	puts("]");
}

static bool one_inode(size_t i, size_t j)
{
	return j < n_names && names[i].st.st_ino == names[j].st.st_ino &&
	       !S_ISDIR(names[i].st.st_mode);
}

int main(int argc, char **argv)
{
	if (argc != 2) {
		fputs("usage: tree-record ROOT\n", stderr);
		return 2;
	}
	walk(argv[1]);
	qsort(names, n_names, sizeof(*names), by_inode);
	for (size_t i = 0, first = 0; i < n_names; i++) {
		if (!one_inode(first, i))
			first = i;
		put_record(&names[i], &names[first], first == i && !one_inode(i, i + 1));
	}
	for (size_t i = 0; i < n_names; i++) {
		free(names[i].full);
		free(names[i].path);
	}
	free(names);
	if (fflush(stdout) != 0)
		die("standard output", "write");
	return 0;
}
