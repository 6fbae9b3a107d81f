// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/serve/holder/holder.h"

static struct kept *find(struct holder *h, const char *name)
{
	for (unsigned i = 0; i < h->n_kept; i++)
		if (strcmp(h->kept[i].name, name) == 0)
			return &h->kept[i];
	return NULL;
}

int kept_find(const struct holder *h, const char *name)
{
	for (unsigned i = 0; i < h->n_kept; i++)
		if (strcmp(h->kept[i].name, name) == 0)
			return h->kept[i].fd;
	return -1;
}

/* A reader that is killed takes its event away: then read(2) must not wait for the next. */
static void know_group(struct holder *h, int fd)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags >= 0)
		fcntl(fd, F_SETFL, flags | O_NONBLOCK);
	h->group = fd;
}

static void know(struct holder *h, const char *name, int fd)
{
	if (strcmp(name, KEEP_FANOTIFY) == 0)
		know_group(h, fd);
	else if (strcmp(name, KEEP_PRESENCE) == 0)
		hits_know(h, fd);
}

static int add(struct holder *h, const char *name, int fd)
{
	struct kept *k = &h->kept[h->n_kept];

	if (h->n_kept == h->kept_max || h->names_size + strlen(name) + 1 > HANDOVER_NAMES_MAX) {
		close(fd);
		return ENOSPC;
	}
	memcpy(k->name, name, strlen(name) + 1);
	k->fd = fd;
	h->n_kept++;
	h->names_size += strlen(name) + 1;
	return 0;
}

int kept_put(struct holder *h, const char *name, int fd)
{
	struct kept *k = find(h, name);
	int code = 0;

	if (!handover_name_is_valid(name)) {
		close(fd);
		return EINVAL;
	}
	fd = holder_raise(h, fd);
	if (k) {
		close(k->fd);
		k->fd = fd;
	} else {
		code = add(h, name, fd);
	}
	if (!code)
		know(h, name, fd);
	return code;
}

void kept_drop(struct holder *h, const char *name)
{
	struct kept *k = find(h, name);

	if (!k)
		return;
	if (strcmp(name, KEEP_FANOTIFY) == 0)
		h->group = -1;
	else if (strcmp(name, KEEP_PRESENCE) == 0)
		hits_forget(h);
	close(k->fd);
	h->names_size -= strlen(name) + 1;
	*k = h->kept[--h->n_kept];
}

/* What holder and workers cannot do without. */
static bool is_ours(const char *name)
{
	return strcmp(name, KEEP_REQUESTS) == 0 || name[0] == '.';
}

static int handle(struct holder *h, const struct message *m, int fd)
{
	if (is_ours(m->name) || (m->kind == MESSAGE_PUT && fd < 0)) {
		if (fd >= 0)
			close(fd);
		return EINVAL;
	}
	if (m->kind == MESSAGE_PUT)
		return kept_put(h, m->name, fd);
	if (fd >= 0)
		close(fd);
	kept_drop(h, m->name);
	return 0;
}

static void acknowledge(struct holder *h, const struct message *m, int code)
{
	struct message ack = { .kind = MESSAGE_ACK, .serial = m->serial, .code = code };

	if (message_send(h->socket, &ack, -1, MSG_DONTWAIT) < 0 && errno != EPIPE)
		holder_say("cannot answer the worker: %s", strerror(errno));
}

static void hear(struct holder *h, const struct message *m, int fd)
{
	switch (m->kind) {
	case MESSAGE_PUT:
	case MESSAGE_DROP:
		acknowledge(h, m, handle(h, m, fd));
		return;
	case MESSAGE_READY:
		h->ready = h->ever_ready = true;
		break;
	case MESSAGE_BYE:
		h->bye = true;
		break;
	}
	if (fd >= 0)
		close(fd);
}

void kept_receive(struct holder *h)
{
	struct message m;
	int fd, rc;

	while ((rc = message_receive(h->socket, &m, &fd, MSG_DONTWAIT)) > 0)
		hear(h, &m, fd);
	if (rc < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
		return;
	/* gone, or gone mad: its pidfd will tell */
	close(h->socket);
	h->socket = -1;
}
