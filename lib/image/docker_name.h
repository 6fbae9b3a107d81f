/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* Names of images as Docker shortens them. */
#ifndef IMAGE_DOCKER_NAME_H
#define IMAGE_DOCKER_NAME_H

/*
 * One form for all ways to write a name: "alpine", "library/alpine:latest" and
 * "docker.io/library/alpine" are "docker.io/library/alpine:latest"
 * (distribution/reference, ParseNormalizedNamed and TagNameOnly). The caller frees it.
 */
char *docker_name_complete(const char *name);

#endif
