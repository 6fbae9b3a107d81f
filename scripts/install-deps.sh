#!/bin/sh
# SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
# Install the Debian packages that building, making images and testing need.
# The names are those of Debian 12 and 13. Silent when nothing is missing.
set -eu

usage()
{
	cat <<-END
	usage: install-deps.sh [--images] [--test] [--vm] [--bench] [--list]

	Installs what a build needs; with --images also what tests/images/make-images.sh
	needs; with --test also all that ./test.sh needs; with --vm also what tests/vm/ needs
	(the kernel's source, qemu), with --bench also what tests/bench/ needs. --list prints
	the names only.
	END
}

build='autoconf automake make gcc libc6-dev pkg-config
	libzstd-dev libxxhash-dev uuid-dev libssl-dev libisal-dev libjansson-dev libcurl4-openssl-dev
	libfuse3-dev fuse3 libmicrohttpd-dev'
images='mmdebstrap umoci python3 zstd debian-archive-keyring ca-certificates'
test='git clang libclang-rt-dev skopeo erofs-utils golang-go libarchive-tools attr acl
	isal xz-utils bzip2 jq faketime shellcheck clang-format mandoc strace
	docker-registry nginx openssl prometheus systemd'
vm='linux-source qemu-system-x86 busybox-static e2fsprogs python3 perl flex bison bc libelf-dev xz-utils'
bench='valgrind'

packages=$build
list=
for arg; do
	case $arg in
	--images) packages="$packages $images" ;;
	--test) packages="$packages $images $test" ;;
	--vm) packages="$packages $vm" ;;
	--bench) packages="$packages $images $test $bench" ;;
	--list) list=yes ;;
	-h | --help) usage; exit 0 ;;
	*) usage >&2; exit 2 ;;
	esac
done
if [ -n "$list" ]; then
	# shellcheck disable=SC2086
	printf '%s\n' $packages
	exit 0
fi

if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
	# Elsewhere ./configure says what is missing.
	# shellcheck disable=SC2086
	echo "install-deps.sh: this is no Debian; please install the equivalents of:" $packages >&2
	exit 1
fi

installed=$(dpkg-query -W -f '${Package} ${Status}\n' 2>/dev/null | sed -n 's/ install ok installed$//p')
missing=
for package in $packages; do
	printf '%s\n' "$installed" | grep -qx -- "$package" || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

install="apt-get install -y --no-install-recommends$missing"
if [ "$(id -u)" != 0 ]; then
	if ! command -v sudo >/dev/null; then
		echo "install-deps.sh: packages are missing; as root, run:" >&2
		echo "  apt-get update && $install" >&2
		exit 1
	fi
	sudo="sudo env"
	# Without a terminal nobody can type a password: then fail, never wait.
	[ -t 0 ] || sudo="sudo -n env"
else
	sudo="env"
fi

echo "  installing:$missing"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
quietly()
{
	# shellcheck disable=SC2086
	$sudo DEBIAN_FRONTEND=noninteractive "$@" </dev/null >"$log" 2>&1
}

# Lists that are there may be good enough; when they are not, fetch them, once.
# shellcheck disable=SC2086
if ! apt-get install -s --no-install-recommends $missing >/dev/null 2>&1 || ! quietly $install; then
	quietly apt-get -q -o Acquire::Retries=3 update || tail -n 5 "$log" >&2
	# shellcheck disable=SC2086
	if ! quietly $install; then
		tail -n 30 "$log" >&2
		echo "install-deps.sh: failed; by hand: apt-get update && $install" >&2
		exit 1
	fi
fi
