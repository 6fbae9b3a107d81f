// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/* The mount, and the loop that answers. */
#include "config.h"

#include "lib/serve/transport/fuse.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>

#include "lib/base/log.h"
#include "lib/base/mem.h"
#include "lib/base/privilege.h"
#include "lib/base/text.h"
#include "lib/mount/server.h"
#include "lib/serve/transport/fuse_part.h"
#include "lib/serve/transport/fuse_servers.h"

enum {
	THREADS_MAX = 10, /* no request waits for data on one of them */
	BACKGROUND_MAX = 128, /* reads ahead that the kernel has under way */
};

/* ---- requests ---- */

/*
 * All may be cached. After one ENOSYS the kernel opens by itself, and takes that for granted (Linux
 * 3.16 for files, 5.1 for directories).
 */
static void answer_open(fuse_req_t req, struct fuse_file_info *fi, bool by_itself)
{
	fi->keep_cache = 1;
	fi->cache_readdir = 1;
	if (by_itself)
		fuse_reply_err(req, ENOSYS);
	else
		fuse_reply_open(req, fi);
}

static void serve_open(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *fi)
{
	(void)node;
	answer_open(req, fi, mount_of(req)->no_open);
}

static void serve_opendir(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *fi)
{
	(void)node;
	answer_open(req, fi, mount_of(req)->no_opendir);
}

static void init(void *arg, struct fuse_conn_info *c)
{
	struct fuse_mount *m = arg;

	m->no_open = c->capable & FUSE_CAP_NO_OPEN_SUPPORT;
	m->no_opendir = c->capable & FUSE_CAP_NO_OPENDIR_SUPPORT;
	c->want |= c->capable & (FUSE_CAP_CACHE_SYMLINKS | FUSE_CAP_NO_OPEN_SUPPORT |
					FUSE_CAP_NO_OPENDIR_SUPPORT);
	/* elsewhere, a file whose ACL names an id that is not mapped could not be opened: EINVAL */
	if (privilege_is_initial_namespace())
		c->want |= c->capable & FUSE_CAP_POSIX_ACL;
	c->want &= ~(unsigned)FUSE_CAP_AUTO_INVAL_DATA;
	c->max_background = BACKGROUND_MAX;
	c->congestion_threshold = BACKGROUND_MAX / 4 * 3;
}

const struct fuse_lowlevel_ops fuse_tree_operations = {
	.init = init,
	.lookup = serve_lookup,
	.getattr = serve_getattr,
	.readlink = serve_readlink,
	.open = serve_open,
	.read = serve_read,
	.lseek = serve_lseek,
	.opendir = serve_opendir,
	.readdir = serve_readdir,
	.readdirplus = serve_readdirplus,
	.getxattr = serve_getxattr,
	.listxattr = serve_listxattr,
	.statfs = serve_statfs,
};

/* ---- mounting ---- */

/* libfuse tells its reasons to a function, and fusermount3 tells them to stderr: both go here. */
static FILE *said;

static void note(enum fuse_log_level level, const char *fmt, va_list ap)
	__attribute__((format(printf, 2, 0)));

static void note(enum fuse_log_level level, const char *fmt, va_list ap)
{
	CLEANUP_FREE char *line = NULL;

	(void)level;
	if (said) {
		vfprintf(said, fmt, ap);
		return;
	}
	line = xvasprintf(fmt, ap);
	line[strcspn(line, "\n")] = '\0';
	log_debug("%s", line);
}

void fuse_catch_log(void)
{
	fuse_set_log_func(note);
}

/* What was said, in one line: "; " between the sentences. */
static char *read_said(void)
{
	char buf[1024];
	size_t n;

	rewind(said);
	n = fread(buf, 1, sizeof(buf), said);
	while (n && buf[n - 1] == '\n')
		n--;
	for (size_t i = 0; i < n; i++)
		if (buf[i] == '\n')
			buf[i] = ';';
	return n ? text_printable(buf, n) : NULL;
}

static int mount_refused(const char *mountpoint, struct error **err)
{
	CLEANUP_FREE char *why = read_said();

	if (why)
		error_set(err, 0, "cannot mount at %s by FUSE (%s)", mountpoint, why);
	else
		error_set(err, 0, "cannot mount at %s by FUSE", mountpoint);
	return error_hint(err, "run it as root, or install fusermount3 (apt install fuse3)");
}

int fuse_check(struct error **err)
{
	CLEANUP_FD int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);

	if (fd >= 0)
		return 0;
	error_set(err, errno, "cannot open /dev/fuse");
	return error_hint(err, "modprobe fuse, or, in a container, --device /dev/fuse");
}

/* While libfuse mounts, its words and its helper's are caught. */
static int mount_quietly(struct fuse_mount *m, const char *mountpoint, struct error **err)
{
	CLEANUP_FD int old = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
	int fd = memfd_create("fuse", MFD_CLOEXEC), r;

	said = fd >= 0 ? fdopen(fd, "w+") : NULL;
	if (!said)
		return error_set(err, errno, "cannot make a file in memory");
	setvbuf(said, NULL, _IONBF, 0);
	dup2(fd, STDERR_FILENO);
	r = fuse_session_mount(m->fuse, mountpoint);
	if (old >= 0)
		dup2(old, STDERR_FILENO);
	else
		close(STDERR_FILENO);
	m->mounted = r == 0;
	if (r)
		mount_refused(mountpoint, err);
	fclose(said);
	said = NULL;
	return r ? -1 : 0;
}

/* In an option, a comma and a backslash are escaped. */
static char *escape(const char *s)
{
	char *out = xmalloc(2 * strlen(s) + 1), *to = out;

	for (; *s; s++) {
		if (*s == ',' || *s == '\\')
			*to++ = '\\';
		*to++ = *s;
	}
	*to = '\0';
	return out;
}

static char *mount_options(const struct fuse_mount *m, const char *source)
{
	CLEANUP_FREE char *name = escape(source);

	return xasprintf("ro,default_permissions%s%s,subtype=" MOUNT_FUSE_SUBTYPE ",fsname=%s",
		geteuid() == 0 ? ",allow_other" : "", m->privileged ? ",dev,suid" : "", name);
}

struct fuse_mount *fuse_mount_begin(
	struct session *s, const char *mountpoint, const char *source, struct error **err)
{
	CLEANUP_FUSE_MOUNT struct fuse_mount *m = xzalloc(sizeof(*m));
	CLEANUP_FREE char *options = NULL;
	char *argv[] = { "erofs-convert", "-o", NULL, NULL };
	struct fuse_args args = { .argc = 3, .argv = argv };

	m->session = s;
	m->tree = s->tree;
	m->privileged = privilege_is_full_root();
	if (fuse_check(err) < 0)
		return NULL;
	argv[2] = options = mount_options(m, source);
	fuse_catch_log();
	m->pendings = fuse_pendings_new();
	m->fuse = fuse_session_new(&args, &fuse_tree_operations, sizeof(fuse_tree_operations), m);
	fuse_opt_free_args(&args); /* which are libfuse's by now */
	if (!m->fuse) {
		error_set(err, 0, "libfuse takes no session with the options %s", options);
		return NULL;
	}
	return mount_quietly(m, mountpoint, err) < 0 ? NULL : take_ptr(m);
}

/* ---- serving ---- */

/* libfuse only takes signals that nobody has taken. */
static void let_signals_go(void)
{
	static const int signals[] = { SIGINT, SIGTERM, SIGHUP };
	struct sigaction old;

	for (size_t i = 0; i < sizeof(signals) / sizeof(*signals); i++)
		if (sigaction(signals[i], NULL, &old) == 0 && old.sa_handler != SIG_IGN)
			signal(signals[i], SIG_DFL);
}

int fuse_mount_serve(struct fuse_mount *m, struct error **err)
{
	struct fuse_servers *servers;
	int r = -1;

	let_signals_go();
	if (fuse_set_signal_handlers(m->fuse) < 0)
		return error_set(err, 0, "libfuse cannot begin to answer");
	servers = fuse_servers_start(m->fuse, "mount", THREADS_MAX, err);
	if (servers)
		r = fuse_servers_wait(servers, err);
	fuse_servers_stop(servers);
	fuse_remove_signal_handlers(m->fuse);
	return r;
}

void fuse_mount_end(struct fuse_mount *m)
{
	if (!m)
		return;
	if (!m->connection)
		fuse_pendings_drop(m->pendings); /* no late answer meets the descriptor's number */
	if (m->mounted)
		fuse_session_unmount(m->fuse); /* closes it: who still waits gets an error */
	if (m->connection)
		fuse_connection_close(m->connection);
	else if (m->fuse)
		fuse_session_destroy(m->fuse);
	free(m);
}
