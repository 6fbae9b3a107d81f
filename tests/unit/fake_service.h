/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* lib/serve/service.h without mounts, in place of the library's. */
#ifndef TESTS_UNIT_FAKE_SERVICE_H
#define TESTS_UNIT_FAKE_SERVICE_H

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lib/serve/service.h"

struct service {
	_Atomic unsigned mounts, reaped, waiting, gone;
	_Atomic bool hold; /* mounts wait until the asker is gone */
	char image[256], authfile[256];
	uid_t asked_by;
	bool for_caller;
};

static const char *const fake_names[] = { "auto", "fanotify", "fuse-device", "cachefiles", "fuse" };

int service_transport_parse(const char *name, enum service_transport *t)
{
	for (int i = 0; i < 5; i++)
		if (strcmp(name, fake_names[i]) == 0) {
			*t = (enum service_transport)i;
			return 0;
		}
	return -1;
}

const char *service_transport_name(enum service_transport t)
{
	return fake_names[t];
}

#ifndef FAKE_NAMES_ONLY
int service_mount(struct service *s, const struct service_request *r, const _Atomic bool *gone,
	struct service_answer *a, struct error **err)
{
	const struct credentials_options *c = &r->registry->credentials;

	if (strstr(r->image, "missing")) {
		error_set(err, 0, "no such image");
		return error_hint(err, "another one");
	}
	snprintf(s->image, sizeof(s->image), "%s", r->image);
	snprintf(s->authfile, sizeof(s->authfile), "%s", c->authfile ? c->authfile : "");
	s->for_caller = c->caller == r->caller;
	s->asked_by = r->caller->uid;
	s->waiting++;
	while (s->hold && !*gone)
		usleep(1000);
	if (*gone) {
		s->gone++;
		return error_set(err, 0, "nobody waits");
	}
	*a = (struct service_answer){ .mount = memfd_create("mount", MFD_CLOEXEC),
		.id = "0123",
		.transport = SERVICE_FUSE_DEVICE };
	if (write(a->mount, "tree", 4) != 4)
		return error_set(err, 0, "no memory file");
	digest_of(&a->manifest, DIGEST_SHA256, "m", 1);
	digest_of(&a->bootstrap, DIGEST_SHA256, "b", 1);
	s->mounts++;
	return 0;
}

void service_reap(struct service *s)
{
	s->reaped++;
	s->mounts = 0;
}

unsigned service_n_mounts(struct service *s)
{
	return s->mounts;
}

json_t *service_status(struct service *s)
{
	return json_pack("{s:s, s:{s:s}, s:[{s:s, s:i}, {s:s, s:i}]}", "transport", s ? "auto" : "",
		"store", "dir", "/store", "mounts", "id", "roots", "uid", 0, "id", "others", "uid",
		4711);
}
#endif

#endif
