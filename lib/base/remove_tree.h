/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/* rm -r, for what this program has made itself. */
#ifndef BASE_REMOVE_TREE_H
#define BASE_REMOVE_TREE_H

/*
 * Remove everything in the directory, which stays the caller's: `fd` is open for it. Follows no
 * symlink, opens modes that forbid it, and needs no more memory or descriptors for a tree that
 * is deep. What cannot be removed stays.
 */
void remove_tree_below(int fd);

#endif
