#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
# Make real images, as OCI layouts, from Debian packages: the apt repositories
# that this machine already uses are the only source. Needs root (packages are
# installed into a chroot); scripts/install-deps.sh --images brings the tools.
set -Eeuo pipefail

here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/../.." && pwd)
out=${EROFS_CONVERT_IMAGES:-$top/.cache/images}
# Raise this when an image's recipe changes: older copies are then made anew.
recipe=1
# Every image has the same times wherever packages do not say otherwise.
epoch=1735689600

usage()
{
	cat <<-END
	usage: make-images.sh [--out DIR] [NAME...]

	Makes DIR/NAME (an OCI layout with the tag "latest") for each NAME, or for all:
	  debian  Debian with Python and a C compiler, and an application; 4 gzip layers
	  node    Debian with Node.js and many modules; 3 layers, one of them zstd
	  umoci   small: whiteouts, opaque directories, links, xattrs, devices, odd times
	DIR is \$EROFS_CONVERT_IMAGES, or else .cache/images in the checkout. An image that
	is there already is left alone. About 2 GB of disk are used while it works.
	END
}

say() { printf '  %s\n' "$*"; }
die() { printf 'make-images.sh: %s\n' "$*" >&2; exit 1; }

names=()
while [ $# -gt 0 ]; do
	case $1 in
	--out) [ $# -gt 1 ] || die "--out needs a directory"; out=$2; shift ;;
	--out=*) out=${1#*=} ;;
	-h | --help) usage; exit 0 ;;
	debian | node | umoci | base) names+=("$1") ;;
	*) usage >&2; exit 2 ;;
	esac
	shift
done
[ ${#names[@]} -gt 0 ] || names=(debian node umoci)

# Layout is there, whole, and of this recipe?
have() { [ "$(cat "$out/$1/recipe" 2>/dev/null)" = "$recipe" ]; }

missing=()
for name in "${names[@]}"; do
	if have "$name"; then say "$name: there already ($out/$name)"; else missing+=("$name"); fi
done
[ ${#missing[@]} -gt 0 ] || exit 0

[ "$(id -u)" = 0 ] || die "only root can make images (packages are installed into a chroot): run it with sudo"
for tool in mmdebstrap umoci python3 zstd tar unshare; do
	command -v $tool >/dev/null || die "$tool is missing: run scripts/install-deps.sh --images"
done

mkdir -p "$out"
out=$(cd "$out" && pwd)
# One maker at a time; whoever waited finds the work done. The lock goes with the process.
exec 9>"$out/.lock"
flock -n 9 || { say "waiting for another make-images.sh"; flock 9; }
# What a killed run left; nothing is mounted in it (see in_chroot).
rm -rf --one-file-system "$out"/.work.*
work=$(mktemp -d "$out/.work.XXXXXX")
log=$work/log
trap 'rm -rf --one-file-system "$work"' EXIT
trap 'echo "make-images.sh: line $LINENO: a command failed" >&2' ERR
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# Run a command, its output in the log, which is shown only when it fails.
quietly()
{
	if ! "$@" >"$log" 2>&1 </dev/null; then
		tail -n 40 "$log" >&2
		die "failed: $*"
	fi
}

# --- Debian packages ---------------------------------------------------------------------------

sources=$work/sources.list
find_sources()
{
	local codename key=/usr/share/keyrings/debian-archive-keyring.gpg signed=""
	[ ! -e $key ] || signed="[signed-by=$key] "
	codename=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
	# Other origins (vendors' repositories) would make other images on every machine.
	# shellcheck disable=SC2016 # apt's own fields
	apt-get indextargets --format '$(CREATED_BY) $(ORIGIN) $(CODENAME) $(REPO_URI) $(RELEASE) $(COMPONENT)' |
		awk -v codename="$codename" -v signed="$signed" '
			$1 == "Packages" && $2 == "Debian" && $6 == "main" && index($3, codename) == 1 {
				line = "deb " signed $4 " " $5 " " $6
				if (!seen[line]++) print line
			}' >"$sources"
	[ -s "$sources" ] ||
		die "apt knows no Debian repository for \"$codename\": run apt-get update, or look at /etc/apt/sources.list.d"
	suite=$codename
}

# apt of this machine (its network, proxies, keys) working on the chroot's packages.
apt_for()
{
	local root=$1
	shift
	apt-get -q -y -o Dir="$root" -o Dir::State::status="$root/var/lib/dpkg/status" \
		-o Dir::Bin::methods=/usr/lib/apt/methods -o APT::Sandbox::User=root \
		-o APT::Update::Post-Invoke-Success::= -o APT::Install-Recommends=false \
		-o Acquire::Languages=none -o Acquire::Retries=3 "$@"
}

# Run a command in a chroot, with namespaces of its own: whatever happens to us,
# its processes end and its mounts go.
in_chroot()
{
	local root=$1
	shift
	# shellcheck disable=SC2016 # expands in there
	unshare --mount --pid --fork --kill-child --propagation private \
		chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 \
		DEBIAN_FRONTEND=noninteractive SOURCE_DATE_EPOCH="$epoch" \
		/bin/sh -c 'mount -t proc proc /proc && exec "$@"' sh "$@"
}

install_packages()
{
	local root=$1
	shift
	quietly apt_for "$root" update
	quietly apt_for "$root" --download-only install "$@"
	quietly in_chroot "$root" apt-get -q -y --no-download -o APT::Install-Recommends=false \
		-o DPkg::Options::=--force-unsafe-io -o APT::Sandbox::User=root install "$@"
	quietly in_chroot "$root" apt-get clean
	rm -rf "$root"/var/log/apt "$root"/var/log/dpkg.log "$root"/var/cache/apt/*.bin \
		"$root"/var/cache/ldconfig "$root"/var/log/alternatives.log
}

# --- layouts -----------------------------------------------------------------------------------

# The bundle's changes become the image's next layer.
next_layer()
{
	say "layer: $1"
	quietly umoci repack --refresh-bundle --image "$layout:latest" \
		--history.created_by "$1" --history.created "$(date -u -d "@$epoch" +%FT%TZ)" "$bundle"
}

start() # NAME: an image that begins as the base image
{
	layout=$work/$1
	bundle=$work/$1.bundle
	root=$bundle/rootfs
	cp -al "$out/base" "$layout"
	rm "$layout/recipe"
	# Links to the base: umoci writes files anew, but rewrite these to be sure.
	cp --remove-destination "$out/base/index.json" "$layout/index.json"
	quietly umoci unpack --image "$layout:latest" "$bundle"
}

finish() # NAME: make the image appear, whole
{
	quietly umoci config --image "$layout:latest" --no-history --created "$(date -u -d "@$epoch" +%FT%TZ)" \
		--config.env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "${cmd[@]/#/--config.cmd=}"
	quietly umoci gc --layout "$layout"
	[ -z "${zstd_layer:-}" ] ||
		quietly python3 "$here/recompress.py" "$layout:latest" "$zstd_layer=zstd"
	# umoci writes for its user alone.
	chmod -R a+rX "$layout"
	echo "$recipe" >"$layout/recipe"
	rm -rf "$bundle" "${out:?}/$1"
	mv "$layout" "$out/$1"
}

make_base()
{
	layout=$work/base
	bundle=$work/base.bundle
	root=$bundle/rootfs
	quietly umoci init --layout "$layout"
	quietly umoci new --image "$layout:latest"
	quietly umoci unpack --image "$layout:latest" "$bundle"
	# It mounts /proc and more below the root: in a namespace that goes with it.
	SOURCE_DATE_EPOCH=$epoch quietly unshare --mount --propagation private mmdebstrap --quiet --mode=root --variant=minbase \
		--include=ca-certificates --aptopt='Acquire::Languages "none"' --aptopt='APT::Install-Recommends "false"' \
		--dpkgopt=force-unsafe-io "$suite" "$root" "$sources"
	cmd=(/bin/sh)
	next_layer "mmdebstrap --variant=minbase $suite"
	finish base
}

make_debian()
{
	local python stdlib
	start debian
	install_packages "$root" python3 python3-pip python3-venv
	# What images often forget is forgotten here too, for the last layer to delete.
	next_layer "apt-get install python3"
	install_packages "$root" gcc make libc6-dev git
	next_layer "apt-get install gcc make git"

	# An application: much of it is content that lower layers have already.
	python=$(basename "$(readlink -f "$root/usr/bin/python3")")
	stdlib=$root/usr/lib/$python
	mkdir -p "$root/srv/app/vendor" "$root/srv/app/bin"
	cp -a "$stdlib" "$root/srv/app/vendor/stdlib"
	find "$root/srv/app/vendor" -name '*.py' -path '*e*' | sort | sed -n 1,200p | while read -r file; do
		printf '\n# vendored\n' >>"$file"
	done
	cp -a "$root/usr/bin/git" "$root/srv/app/bin/git"
	# The same library with a header before it: equal content, other alignment.
	{ printf '%0512d' 0; cat "$root"/usr/lib/*/libc.so.6; } >"$root/srv/app/bin/bundle"
	ln "$root/srv/app/bin/git" "$root/srv/app/bin/git-link"
	ln "$root/usr/bin/make" "$root/srv/app/bin/make"
	ln -s vendor/stdlib "$root/srv/app/lib"
	cp -a "$root/usr/bin/$python" "$root/srv/app/bin/python-net"
	python3 - "$root/srv/app/bin/python-net" <<-'END'
		import os, sys
		# cap_net_bind_service+ep, as setcap(8) writes it
		os.setxattr(sys.argv[1], "security.capability",
		            bytes.fromhex("0100000200040000000000000000000000000000"))
	END
	cat >"$root/srv/app/main.py" <<-'END'
		import json, ssl
		print(json.dumps({"app": "works", "ssl": ssl.OPENSSL_VERSION}))
	END
	# Deletions, modes, and things that become other things.
	rm -rf "$root"/var/lib/apt/lists/* "$root"/usr/share/doc/g* "$root"/usr/share/man \
		"$root"/usr/share/perl5/Git* "$root"/usr/lib/"$python"/ensurepip
	chmod 0700 "$root/var/lib/dpkg/info"
	chmod 2775 "$root/srv"
	chown 1000:1000 "$root/srv/app" "$root/srv/app/vendor"
	rm -rf "$root/usr/share/doc/libc6"
	ln -s libc-bin "$root/usr/share/doc/libc6"
	rm -rf "$root/usr/share/doc/make" && echo "see https://www.gnu.org/software/make" >"$root/usr/share/doc/make"
	rm -f "$root/etc/issue" && mkdir "$root/etc/issue" && echo hello >"$root/etc/issue/text"
	rm -rf "$root/usr/share/doc/base-files" && mkdir -m 0711 "$root/usr/share/doc/base-files"
	touch -d "@$epoch" "$root/srv/app" "$root/srv/app/main.py" "$root/srv/app/bin" "$root/srv/app/bin/bundle"
	in_chroot "$root" python3 /srv/app/main.py >"$log" 2>&1 || die "the image's Python does not work: $(cat "$log")"
	cmd=(python3 /srv/app/main.py)
	next_layer "copy the application, clean up"
	finish debian
}

make_node()
{
	start node
	install_packages "$root" nodejs npm webpack eslint node-typescript node-express mocha rollup
	rm -rf "$root"/var/lib/apt/lists/*
	next_layer "apt-get install nodejs and modules"
	# node_modules, as a package manager copies them.
	mkdir -p "$root/srv/app/node_modules"
	local module
	for module in typescript express body-parser semver webpack lodash; do
		if [ -d "$root/usr/share/nodejs/$module" ]; then
			cp -a "$root/usr/share/nodejs/$module" "$root/srv/app/node_modules/"
		fi
	done
	cat >"$root/srv/app/main.js" <<-'END'
		const semver = require('semver');
		console.log(JSON.stringify({ app: 'works', node: process.version, semver: semver.valid('1.2.3') }));
	END
	rm -rf "$root"/usr/share/doc/node-*
	in_chroot "$root" node /srv/app/main.js >"$log" 2>&1 || die "the image's Node.js does not work: $(cat "$log")"
	cmd=(node /srv/app/main.js)
	next_layer "copy the application with its modules"
	zstd_layer=1
	finish node
	zstd_layer=
}

make_umoci()
{
	layout=$work/umoci
	bundle=$work/umoci.bundle
	root=$bundle/rootfs
	quietly umoci init --layout "$layout"
	quietly umoci new --image "$layout:latest"
	quietly umoci unpack --image "$layout:latest" "$bundle"
	quietly "$here/odd-tree.py" first "$root"
	next_layer "every kind of file"
	quietly "$here/odd-tree.py" second "$root"
	next_layer "whiteouts, changed directories, other types"
	# What umoci itself does not write: opaque directories, nanoseconds, sparse files.
	quietly "$here/odd-tree.py" tar "$work/crafted.tar"
	say "layer: a crafted tar"
	quietly umoci raw add-layer --image "$layout:latest" --history.created_by "a crafted tar" \
		--history.created "$(date -u -d "@$epoch" +%FT%TZ)" "$work/crafted.tar"
	rm -rf "$bundle"
	quietly umoci unpack --image "$layout:latest" "$bundle"
	quietly "$here/odd-tree.py" last "$root"
	next_layer "on top of it all"
	cmd=(/bin/sh)
	finish umoci
}

for name in "${missing[@]}"; do
	begin=$SECONDS
	case $name in
	debian | node)
		[ -s "$sources" ] || find_sources
		if ! have base; then
			say "base: a minimal Debian $suite, below the others"
			make_base
		fi
		;;
	base) find_sources ;;
	esac
	# It may be "base", and made just above.
	if ! have "$name"; then
		say "$name: making it"
		"make_$name"
	fi
	python3 - "$out/$name" <<-'END'
		import json, sys
		layout = sys.argv[1]
		def blob(digest):
		    return json.load(open(f"{layout}/blobs/{digest.replace(':', '/')}", encoding="utf-8"))
		layers = blob(json.load(open(f"{layout}/index.json", encoding="utf-8"))["manifests"][0]["digest"])["layers"]
		sizes = " + ".join(f"{layer['size'] / 1e6:.1f}" for layer in layers)
		print(f"  {layout}: {len(layers)} layers, {sizes} MB compressed")
	END
	say "$name: $((SECONDS - begin)) s"
done
