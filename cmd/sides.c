// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "cmd/sides.h"

#include <errno.h>
#include <string.h>

#include "cmd/registry_options.h"
#include "cmd/work.h"
#include "lib/base/mem.h"
#include "lib/base/outfile.h"

static bool is_repository(const char *name, size_t len)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyz0123456789._-/";
	size_t n = strspn(name, allowed);

	return len && len <= 255 && n >= len && *name != '/' && name[len - 1] != '/';
}

static int check_mount_from(
	const struct verb *verb, const struct image_ref *dest, const char *mount_from)
{
	if (!mount_from)
		return CMD_DONE;
	if (dest->transport != TRANSPORT_DOCKER)
		return cmd_usage(verb, "--mount-from is for a destination in a registry");
	for (const char *p = mount_from;; p++) {
		size_t n = strcspn(p, ",");

		if (!is_repository(p, n))
			return cmd_usage(verb,
				"--mount-from takes names of repositories, without host and tag, "
				"not \"%.*s\"",
				(int)n, p);
		p += n;
		if (!*p)
			return CMD_DONE;
	}
}

int sides_get(struct sides *s, const struct verb *verb, char **argv, const char *mount_from)
{
	struct error *err = NULL;
	int status;

	*s = (struct sides){ 0 };
	status = registry_options_get(verb, REGISTRY_SOURCE, &s->source_registry);
	if (status == CMD_DONE)
		status = registry_options_get(verb, REGISTRY_DEST, &s->dest_registry);
	if (status != CMD_DONE)
		return status;
	if (image_ref_parse(&s->source, argv[0], &err) < 0 ||
		image_ref_parse(&s->dest, argv[1], &err) < 0)
		return cmd_fail(err);
	s->source.registry = &s->source_registry;
	s->dest.registry = &s->dest_registry;
	return check_mount_from(verb, &s->dest, mount_from);
}

void sides_free(struct sides *s)
{
	image_ref_free(&s->source);
	image_ref_free(&s->dest);
}

struct image_dest *sides_open_dest(
	const struct sides *s, const char *mount_from, struct error **err)
{
	struct image_dest *dest = image_dest_open(&s->dest, err);

	if (!dest)
		return NULL;
	for (const char *p = mount_from; p && *p;) {
		size_t n = strcspn(p, ",");
		CLEANUP_FREE char *repository = xstrndup(p, n);

		image_dest_mount_from(dest, repository);
		p += n + (p[n] == ',');
	}
	image_dest_mount_from_source(dest, &s->source);
	image_dest_show_progress(dest, work_progress());
	return dest;
}

/* Without a newline, as other tools write it. */
int sides_write_digest(const char *file, const struct digest *digest, struct error **err)
{
	const char *slash = file ? strrchr(file, '/') : NULL;
	CLEANUP_OUTFILE struct outfile *out = NULL;
	CLEANUP_FREE char *dir = NULL;
	char text[DIGEST_MAX_STR];

	if (!file)
		return 0;
	dir = slash ? xstrndup(file, slash == file ? 1 : (size_t)(slash - file)) : xstrdup(".");
	digest_format(digest, text);
	out = outfile_new(dir, err);
	if (!out || outfile_pwrite(out, text, strlen(text), 0, err) < 0 ||
		outfile_publish(out, dir, slash ? slash + 1 : file, true, err) < 0)
		return error_wrap(err, "--digestfile");
	return 0;
}

json_t *sides_upload_as_json(const struct sides *s, const struct upload_amount *amount)
{
	if (s->dest.transport != TRANSPORT_DOCKER)
		return NULL;
	return json_pack("{s:I, s:I, s:I, s:I}", "uploadedBlobs", (json_int_t)amount->uploaded,
		"uploadedBytes", (json_int_t)amount->uploaded_bytes, "mountedBlobs",
		(json_int_t)amount->mounted, "presentBlobs", (json_int_t)amount->present);
}
