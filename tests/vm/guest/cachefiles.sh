# SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
# shellcheck shell=sh
# Images over cachefiles on demand, by the smallest server. /share/objects has the objects, one
# image's bootstrap is named `image`; what the guest sees goes to /share/out. The argument is the
# port of an HTTP server of the host.
. /guest/lib.sh
port=$1
objects=/share/objects
out=/share/out
log=/tmp/server.log
mkdir -p /disk/cache /mnt/a /mnt/b

start_server() # DATA
{
	cachefiles-server /disk/cache test "$1" >$log 2>&1 &
	server=$!
	wait_for 60 grep -q '^ready$' $log || { cat $log; return 1; }
}
stop_server() { kill "$server" && wait "$server"; }
drop_caches() { echo 3 >/proc/sys/vm/drop_caches; }
# In so many messages of the log.
messages() { grep -c "^$1 " $log; }
has_messages() { [ "$(messages "$1")" = "$2" ] || { echo "$(messages "$1") of $1, not $2"; return 1; }; }
more_messages() { [ "$(messages "$1")" -gt "$2" ] || { echo "$(messages "$1") of $1"; return 1; }; }
mount_erofs() { mount -t erofs -o "$1" none "$2"; }
fails() { if "$@"; then echo "it succeeded"; return 1; fi; }
record() { tree-record "$1" >"$out/$2"; }
# Of the mounts that there are: 0 means one page at a time.
set_readahead() { for kb in /sys/class/bdi/erofs-*/read_ahead_kb; do echo "$1" >"$kb"; done; }
read_all() { find "$1" -xdev -type f -exec cat {} + >/dev/null; }

check "a server of the host is reached" wget -q -O /tmp/hello "http://10.0.2.2:$port/hello"
check "/dev/cachefiles opens" sh -c ': <>/dev/cachefiles'
check "the kernel has EROFS and fscache" sh -c 'grep -q erofs /proc/filesystems && test -e /proc/fs/fscache/stats'
check "a directory of ext4 is bound on demand" start_server $objects
check "the device opens once only" fails sh -c ': <>/dev/cachefiles'

check "an image is mounted by its fsid" mount_erofs fsid=image /mnt/a
check "its tree can be read" record /mnt/a ahead
check "the kernel asked for data" more_messages read 0
opens=$(messages open)
check "each blob has been opened, and the bootstrap" test "$opens" = "$(find $objects -type f | wc -l)"

drop_caches
set_readahead 0
check "its tree can be read one page at a time" record /mnt/a paged
set_readahead 128
reads=$(messages read)
drop_caches
check "it can be read again" record /mnt/a again
check "nothing was asked for a second time" has_messages read "$reads"
check "it is unmounted" umount /mnt/a
check "a CLOSE came for each OPEN" wait_for 60 has_messages close "$opens"

drop_caches
check "it is mounted once more, from the cache" mount_erofs fsid=image /mnt/a
check "the tree is the same" record /mnt/a remounted
check "what had been read was not asked for" has_messages read "$reads"

check "it is mounted in a domain" mount_erofs fsid=image,domain_id=domain /mnt/b
for i in 1 2 3 4; do
	read_all /mnt/b 2>>/tmp/readers.err &
	eval "reader$i=$!"
done
failed=
# shellcheck disable=SC2154
for reader in $reader1 $reader2 $reader3 $reader4; do wait "$reader" || failed=yes; done
check "four readers at once read all" [ -z "$failed" ] || note /tmp/readers.err
check "the tree is right after them" record /mnt/b domain
check "both are unmounted" umount /mnt/a /mnt/b
check "an object that is not there cannot be mounted" fails mount_erofs fsid=absent /mnt/a
check "the server ends, and lets go of the cache" stop_server

# The cache's files are there still, for a server that begins anew.
check "another server is bound" start_server $objects
# Just after the end of another cache, the kernel may refuse once (ENOBUFS), before it sends an OPEN.
check "it serves the image from the old cache" wait_for 60 mount_erofs fsid=image /mnt/a
check "the tree is right" record /mnt/a restarted
check "nothing was asked for" has_messages read 0
check "it is unmounted after that" umount /mnt/a
check "the second server ends" stop_server
cp $log $out/log
finish
