/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* The two images of a verb that reads one and writes another: references, registries, results. */
#ifndef CMD_SIDES_H
#define CMD_SIDES_H

#include "cmd/cmd.h"
#include "lib/image/dest.h"
#include "lib/registry/registry.h"

struct sides {
	struct image_ref source, dest;
	struct registry_options source_registry, dest_registry; /* the references point here */
};

/*
 * What the command line says of both; `mount_from` is the option, or NULL. CMD_DONE, or a status
 * with the error printed.
 */
int sides_get(struct sides *s, const struct verb *verb, char **argv, const char *mount_from);
void sides_free(struct sides *s); /* what it holds, not s itself */

#define CLEANUP_SIDES CLEANUP(sides_free)

/* The destination, with the repositories (REPO[,REPO...]) that blobs may be mounted from. */
struct image_dest *sides_open_dest(
	const struct sides *s, const char *mount_from, struct error **err);

/* Into the file of --digestfile, when one was given. */
int sides_write_digest(const char *file, const struct digest *digest, struct error **err);

/* What a registry got, for the result; NULL for other destinations. */
json_t *sides_upload_as_json(const struct sides *s, const struct upload_amount *amount);

#define SIDES_OPTION_MOUNT_FROM(variable)                                             \
	{                                                                             \
		.name = "mount-from", .arg = "REPO[,REPO...]", .string = &(variable), \
		.help = "take blobs from these repositories of the registry if there" \
	}
#define SIDES_OPTION_DIGESTFILE(variable)                                   \
	{                                                                   \
		.name = "digestfile", .arg = "FILE", .string = &(variable), \
		.help = "write the manifest's digest to FILE, too"          \
	}

#endif
