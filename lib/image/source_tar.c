// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/* Bare layer tars as an image. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/base/mem.h"
#include "lib/image/manifest.h"
#include "lib/image/source_part.h"

static int open_tar_layer(struct image_source *src, size_t i, struct error **err)
{
	const char *file = src->ref.files[i];
	struct image_layer *l = &src->layers[i];
	struct stat st;

	l->media_type = xstrdup("application/vnd.oci.image.layer.v1.tar");
	l->file = xstrdup(file);
	if (strcmp(file, "-") == 0) {
		l->name = xstrdup("standard input");
		return 0;
	}
	l->name = xstrdup(file);
	if (stat(file, &st) < 0)
		return error_set(err, errno, "cannot open %s", file);
	if (S_ISDIR(st.st_mode)) {
		error_set(err, 0, "%s is a directory", file);
		return error_hint(err, "pack it: tar -C %s -cf layer.tar .", file);
	}
	l->size = S_ISREG(st.st_mode) ? (uint64_t)st.st_size : 0;
	return 0;
}

/* Nothing in it depends on when it was made. */
static void make_up_config(struct image_source *src, const struct platform *p)
{
	char text[PLATFORM_MAX_STR];

	src->config = json_pack("{s:s, s:s, s:{}, s:{s:s, s:[]}}", "architecture", p->architecture,
		"os", p->os, "config", "rootfs", "type", "layers", "diff_ids");
	if (*p->variant)
		json_object_set_new(src->config, "variant", json_string(p->variant));
	src->platform_text = xstrdup(platform_format(p, text));
}

int source_open_tars(struct image_source *src, const struct platform *wanted, struct error **err)
{
	struct platform p;

	if (wanted)
		p = *wanted;
	else
		platform_host(&p);
	manifest_make_up(src);
	make_up_config(src, &p);
	src->layers = xcalloc(src->ref.n_files, sizeof(*src->layers));
	src->n_layers = src->ref.n_files;
	for (size_t i = 0; i < src->n_layers; i++)
		if (open_tar_layer(src, i, err) < 0)
			return -1;
	return 0;
}

int source_open_tar_file(struct image_source *src, size_t i, struct error **err)
{
	const char *file = src->layers[i].file;
	int fd;

	if (strcmp(file, "-") != 0) {
		fd = open(file, O_RDONLY | O_CLOEXEC);
		return fd < 0 ? error_set(err, errno, "cannot open %s", file) : fd;
	}
	if (src->stdin_used) {
		error_set(err, 0, "standard input can be read only once");
		return error_hint(err, "write it to a file first");
	}
	src->stdin_used = true;
	fd = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3);
	return fd < 0 ? error_set(err, errno, "cannot read standard input") : fd;
}
