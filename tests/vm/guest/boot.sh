# SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
# shellcheck shell=sh
# The virtual machine itself: what tests can rely on.
. /guest/lib.sh

check "/disk is an ext4 file system" grep -q ' /disk ext4 ' /proc/mounts
check "/share is the host's" grep -q ' /share 9p ' /proc/mounts
check "the kernel has EROFS" grep -q erofs /proc/filesystems
check "the kernel has fscache" test -e /proc/fs/fscache/stats
check "the kernel has FUSE" test -c /dev/fuse
check "/dev/cachefiles opens" sh -c ': <>/dev/cachefiles'
finish
