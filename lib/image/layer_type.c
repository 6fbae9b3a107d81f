// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "config.h"

#include "lib/image/layer_type.h"

#include <string.h>

#include "lib/image/erofs.h"

#define OCI_LAYER    "application/vnd.oci.image.layer."
#define DOCKER_LAYER "application/vnd.docker.image.rootfs."

enum kind { TAR, FOREIGN_TAR, EROFS };

static const struct {
	const char *media_type;
	enum kind kind;
} types[] = {
	{ OCI_LAYER "v1.tar", TAR },
	{ OCI_LAYER "v1.tar+gzip", TAR },
	{ OCI_LAYER "v1.tar+zstd", TAR },
	{ OCI_LAYER "nondistributable.v1.tar", FOREIGN_TAR },
	{ OCI_LAYER "nondistributable.v1.tar+gzip", FOREIGN_TAR },
	{ OCI_LAYER "nondistributable.v1.tar+zstd", FOREIGN_TAR },
	{ DOCKER_LAYER "diff.tar", TAR },
	{ DOCKER_LAYER "diff.tar.gzip", TAR },
	{ DOCKER_LAYER "diff.tar.zstd", TAR }, /* containerd and BuildKit write it */
	{ DOCKER_LAYER "foreign.diff.tar", FOREIGN_TAR },
	{ DOCKER_LAYER "foreign.diff.tar.gzip", FOREIGN_TAR },
	{ EROFS_MEDIA_TYPE, EROFS },
	{ EROFS_MEDIA_TYPE_ZSTD, EROFS },
};

static bool is_of_kind(const char *media_type, enum kind kind)
{
	for (size_t i = 0; i < sizeof(types) / sizeof(*types); i++)
		if (strcmp(media_type, types[i].media_type) == 0)
			return types[i].kind == kind;
	return false;
}

bool layer_type_is_foreign(const char *media_type)
{
	return is_of_kind(media_type, FOREIGN_TAR);
}

bool layer_type_is_erofs(const char *media_type)
{
	return is_of_kind(media_type, EROFS);
}

bool layer_type_is_signature(const char *media_type)
{
	return strncmp(media_type, "application/vnd.dev.cosign.", 27) == 0 ||
	       strncmp(media_type, "application/vnd.dev.sigstore.", 29) == 0;
}

static bool is_attestation(const char *media_type)
{
	return strncmp(media_type, "application/vnd.in-toto", 23) == 0 ||
	       strcmp(media_type, "application/vnd.dsse.envelope.v1+json") == 0;
}

int layer_type_check(const char *media_type, struct error **err)
{
	if (is_of_kind(media_type, TAR) || is_of_kind(media_type, FOREIGN_TAR) ||
		is_of_kind(media_type, EROFS))
		return 0;
	if (strstr(media_type, "+encrypted")) { /* ocicrypt: "...tar+gzip+encrypted" */
		error_set(err, 0, "it is encrypted (%s)", media_type);
		return error_hint(
			err, "decrypt first: skopeo copy --decryption-key KEY SOURCE oci:DIR:TAG");
	}
	if (layer_type_is_signature(media_type))
		return error_set(
			err, 0, "it is a signature (%s), not a layer of an image", media_type);
	if (is_attestation(media_type))
		return error_set(
			err, 0, "it is an attestation (%s), not a layer of an image", media_type);
	return error_set(err, 0, "layers of the type %s cannot be read", media_type);
}
