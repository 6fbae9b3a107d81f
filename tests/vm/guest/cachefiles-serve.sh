# SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
# shellcheck shell=sh
# `erofs-convert serve --transport cachefiles`, and `mount`, on a kernel that has it. Images come
# from the registry of the host at the port given; what the guest sees goes to /share/out. The
# second argument: how often the daemon is killed while it is at work.
. /guest/lib.sh
registry=10.0.2.2:$1
kills=$2
out=/share/out
store=/disk/store
socket=/tmp/run/socket
export EROFS_CONVERT_RUNTIME=/tmp/run TMPDIR=/tmp
mkdir -p /mnt/a /mnt/b /mnt/c /disk/small

start_daemon() # STORE OPTION...
{
	in=$1
	shift
	erofs-convert serve --store "$in" --transport cachefiles --socket $socket --debug "$@" >>/tmp/daemon.log 2>&1 &
	daemon=$!
	wait_for 120 test -S $socket || { cat /tmp/daemon.log; return 1; }
	wait_for 120 erofs-convert status --socket $socket || { cat /tmp/daemon.log; return 1; }
}
# The holder ends with 0 when it is told to.
stop_daemon() { kill "$daemon" && wait "$daemon"; }
ends_soon() # PID
{
	wait_for 120 sh -c "! kill -0 $1"
}
mount_image() # NAME DIR [OPTION...]
{
	image=$1
	dir=$2
	shift 2
	erofs-convert mount --socket $socket --transport cachefiles --plain-http --retry-times 0 "$@" "docker://$registry/$image" "$dir"
}
n_mounts() { erofs-convert status --json --socket $socket | grep -o '"mountpoint"' | wc -l; }
has_mounts() { test "$(n_mounts)" = "$1"; }
drop_caches() { echo 3 >/proc/sys/vm/drop_caches; }
fails() { if "$@"; then echo "it succeeded"; return 1; fi; }
record() { tree-record "$1" >"$out/$2"; }
set_readahead() { for kb in /sys/class/bdi/erofs-*/read_ahead_kb; do echo "$1" >"$kb"; done; }
read_all() { find "$1" -xdev -type f -exec cat {} + >/dev/null; }
read_data() { cat "$1" >/dev/null; }
# The worker, not its holder.
worker() { pidof erofs-convert | tr ' ' '\n' | sort -n | head -n 1; }
sum_is() { test "$(sha256sum <"$1" | cut -d' ' -f1)" = "$(cat "$2")"; }

check "the daemon is ready" start_daemon $store
check "another program finds the device taken" fails sh -c ': <>/dev/cachefiles'

# --- one image, all layouts ---
check "an image is mounted" mount_image image:t /mnt/a --prefetch none
check "it is EROFS over fscache" grep -q ' /mnt/a erofs .*fsid=' /proc/mounts
check "its tree can be read, with readahead" record /mnt/a ahead
drop_caches
set_readahead 0
check "its tree can be read one page at a time" record /mnt/a paged
set_readahead 4096
drop_caches
check "its tree can be read with a large readahead" record /mnt/a large
set_readahead 128
check "a second image that shares blobs is mounted" mount_image second:t /mnt/b --prefetch background
for i in 1 2 3 4 5 6; do
	read_all /mnt/b 2>>/tmp/readers.err &
	eval "reader$i=$!"
done
failed=
# shellcheck disable=SC2154
for reader in $reader1 $reader2 $reader3 $reader4 $reader5 $reader6; do wait "$reader" || failed=yes; done
check "six readers at once read all" [ -z "$failed" ] || note /tmp/readers.err
check "the second tree is right" record /mnt/b second
check "the same image is mounted twice" mount_image image:t /mnt/c --prefetch all
check "the third tree is right" record /mnt/c twice
check "the daemon tells of three mounts" has_mounts 3
check "two are unmounted" umount /mnt/b /mnt/c
check "the daemon has noticed" wait_for 60 has_mounts 1
drop_caches
check "the one that is left can still be read" record /mnt/a left
check "it is unmounted" umount /mnt/a
check "the daemon has noticed that, too" wait_for 60 has_mounts 0
no_stale() { test -z "$(find $store/cachefiles/cache -name 'D????????????????????????????????*' | grep -v '/D.\{64\}$')"; }
check "bootstraps of mounts that are gone do not stay in the cache" wait_for 60 no_stale
check "it is mounted again, from what is there" mount_image image:t /mnt/a --prefetch none
check "the tree is the same" record /mnt/a again
check "it is unmounted again" umount /mnt/a

# --- bad sources ---
check "an image whose blob is corrupt is mounted" mount_image corrupt:t /mnt/b --prefetch none
check "its data cannot be read" fails read_data /mnt/b/data
check "an image whose blob is gone is mounted" mount_image absent:t /mnt/c --prefetch none
check "nor can that one's" fails read_data /mnt/c/data
check "others are not hurt" mount_image image:t /mnt/a --prefetch none
check "their tree is right" record /mnt/a beside
check "all are unmounted" umount /mnt/a /mnt/b /mnt/c
check "what nobody serves cannot be mounted" fails mount -t erofs -o fsid=absent none /mnt/a

# --- kills ---
check "a large image is mounted" mount_image large:t /mnt/a --prefetch none
bad=0
killed=0
while [ $killed -lt "$kills" ]; do
	killed=$((killed + 1))
	for i in 1 2 3; do
		sum_is "/mnt/a/$killed.$i" "/share/sums/$killed.$i" &
		eval "reader$i=$!"
	done
	sleep 0.$((killed % 7 + 2))
	kill -9 "$(worker)"
	for reader in $reader1 $reader2 $reader3; do wait "$reader" || bad=$((bad + 1)); done
done
check "readers are right while the daemon is killed $kills times" [ $bad = 0 ] || note /tmp/daemon.log
check "it answers after that" wait_for 120 has_mounts 1
check "it notices the end of a mount that a former process made" sh -c 'umount /mnt/a'
check "there is no mount left" wait_for 60 has_mounts 0

# --- every process killed ---
check "an image is mounted before that" mount_image both:t /mnt/a --prefetch none
worker=$(worker)
kill -STOP "$daemon" "$worker" # or one would start the other again
kill -9 "$daemon" "$worker"
check "no process is left" wait_for 60 sh -c '! pidof erofs-convert erofs-convert-holder'
check "without any process, reads of what is not there fail" fails read_data /mnt/a/data
check "a daemon comes after them" start_daemon $store
check "the image is there again in its place" wait_for 120 sum_is /mnt/a/data /share/sums/both
check "it is unmounted like any other" umount /mnt/a
check "and that is noticed" wait_for 60 has_mounts 0

# --- the end ---
check "an image is mounted before the end" mount_image slow:t /mnt/a --prefetch none
cat /mnt/a/data >/dev/null 2>/tmp/reader.err &
reader=$!
sleep 1
kill -TERM "$daemon"
check "the daemon ends though somebody waits for data" ends_soon "$daemon"
check "who waited has an error" ends_soon $reader
check "and it is none of success" fails wait $reader
check "a daemon comes after it" start_daemon $store
check "it mounts the image anew in its place" wait_for 120 sum_is /mnt/a/data /share/sums/slow ||
	note /tmp/daemon.log
check "that is unmounted" umount /mnt/a
check "the daemon knows" wait_for 60 has_mounts 0
check "the daemon ends" stop_daemon

# --- a small disk ---
mount -o loop /disk/small.ext4 /disk/small
check "a daemon has its store on a small disk" start_daemon /disk/small/store
for i in 1 2 3 4 5 6; do
	check "image $i is mounted there" mount_image "piece$i:t" /mnt/a --prefetch none
	check "image $i can be read" sum_is /mnt/a/data "/share/sums/piece$i"
	check "image $i is unmounted" umount /mnt/a
	check "image $i is gone" wait_for 60 has_mounts 0
done
was_culled() { test "$(find /disk/small/store/cachefiles/cache -name 'D*' | wc -l)" -lt 6; }
check "the first ones were culled" was_culled
check "that daemon ends" stop_daemon

# --- limits and tag of the configuration ---
rm -rf /disk/small/store # so that there is room, by the kernel's own limits
start_with() # MEMBERS
{
	echo "{\"cachefiles\": {$1}}" >/tmp/serve.json
	start_daemon /disk/small/store --config /tmp/serve.json
}
# The first directory of the cache is too much already.
has_no_room() # MEMBERS
{
	echo "{\"cachefiles\": {$1}}" >/tmp/serve.json
	fails timeout 120 erofs-convert serve --store /disk/small/store --transport cachefiles --socket $socket \
		--config /tmp/serve.json 2>/tmp/refused.log || return 1
	cat /tmp/refused.log
	grep -q 'less than bstop' /tmp/refused.log
}
blobs_are() { test "$(find /disk/small/store/cachefiles/cache -name 'D*' | grep -c '/D.\{64\}$')" = "$1"; }
used_and_left() # WHEN
{
	check "an image is mounted $1" mount_image piece1:t /mnt/a --prefetch none
	check "it can be read $1" sum_is /mnt/a/data /share/sums/piece1
	check "it is unmounted $1" umount /mnt/a
	check "it is gone $1" wait_for 60 has_mounts 0
}
check "a daemon has a tag of its own" start_with '"tag": "mine"'
check "the kernel knows the tag" grep -q ' mine$' /proc/fs/fscache/caches
used_and_left "while there is room"
sleep 5 # it is looked every other second
check "its blob stays in the cache" blobs_are 1
check "the daemon with a tag ends" stop_daemon
check "a daemon has bcull and brun" start_with '"bstop": 0, "bcull": 98, "brun": 99'
used_and_left "with less than bcull of the blocks free"
check "its blob is culled for bcull and brun" wait_for 60 blobs_are 0
check "the daemon with bcull and brun ends" stop_daemon
check "no cache is made with less than bstop of the blocks free" has_no_room '"bstop": 97, "bcull": 98, "brun": 99'
mkdir /disk/small/many
# shellcheck disable=SC2046
(cd /disk/small/many && touch $(seq 2000)) # of some 28,000
check "a daemon has fcull and frun" start_with '"fstop": 0, "fcull": 98, "frun": 99'
used_and_left "with less than fcull of the files free"
check "its blob is culled for fcull and frun" wait_for 60 blobs_are 0
check "the daemon with fcull and frun ends" stop_daemon
check "no cache is made with less than fstop of the files free" has_no_room '"fstop": 97, "fcull": 98, "frun": 99'

# --- without a daemon ---
mount_alone() { erofs-convert mount --debug --store $store --plain-http "docker://$registry/$1" "$2" 2>/tmp/alone.log; }
check "mount alone starts a daemon of its own" mount_alone image:t /mnt/a || note /tmp/alone.log
check "which finds cachefiles the best there is" grep -q ' /mnt/a erofs .*fsid=' /proc/mounts
check "its tree is right" record /mnt/a alone
check "another one finds the device taken, and another way" mount_alone second:t /mnt/b
check "its tree is right, too" record /mnt/b alone.second
check "both are unmounted" umount /mnt/a /mnt/b
check "both daemons end" wait_for 60 sh -c '! pidof erofs-convert'
cp /tmp/daemon.log $out/log
finish
