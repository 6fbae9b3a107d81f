#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
# From a fresh checkout to a mounted image: install, build, convert, mount, and what came of it.
set -Eeuo pipefail

usage()
{
	cat <<-END
	usage: ./quickstart.sh [SOURCE]

	On Debian 12 or 13: installs what a build needs, builds the program in build/quickstart,
	makes a real image from Debian packages (about 500 MB, four layers), converts it to EROFS,
	mounts it with the kernel, runs a program from it, mounts it again before its data is there,
	and prints what came of it.

	SOURCE is an image of your own to convert instead, such as oci:DIR:TAG.
	Packages are installed, the image is made and mounted as root (sudo is used for the first
	two if it is there); the rest works for anybody. It can be run again at any time.
	END
}

own=
case $# in
0) ;;
1)
	case $1 in
	-h | --help) usage; exit 0 ;;
	-*) usage >&2; exit 2 ;;
	*:*) own=$1 ;;
	*) echo "quickstart.sh: $1 is no image: write it as oci:DIR:TAG" >&2; exit 2 ;;
	esac
	;;
*) usage >&2; exit 2 ;;
esac

# A path in SOURCE is meant from where the user stands.
case $own in
oci:/* | '') ;;
oci:*) own=oci:$PWD/${own#oci:} ;;
esac
top=$(cd "$(dirname "$0")" && pwd)
cd "$top"
images=${EROFS_CONVERT_IMAGES:-$top/.cache/images}
out=$top/build/quickstart/out
store=$top/build/quickstart/store
log=$top/build/quickstart.log
program=build/quickstart/erofs-convert
mnt='' lazy=''

clean_up()
{
	[ -z "$mnt" ] || { umount "$mnt" 2>/dev/null; rmdir "$mnt"; } || true
	[ -z "$lazy" ] || rm -rf "$lazy"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

number=0
heading()
{
	number=$((number + 1))
	printf '\n[%d/6] %s\n' $number "$*"
}

give_up()
{
	printf '\nquickstart.sh: %s\n' "$*" >&2
	exit 1
}

# Run a command with its noise in the log.
quietly()
{
	if ! "$@" >>"$log" 2>&1 </dev/null; then
		tail -n 15 "$log" >&2
		give_up "that failed; all of it is in $log"
	fi
}

heading "Install what is needed"
scripts/install-deps.sh --images || give_up "install these packages, then run this again"
echo "  all there"

heading "Build erofs-convert"
begin=$SECONDS
mkdir -p build/quickstart
: >"$log"
quietly scripts/snapshot.sh build/src
[ -e build/quickstart/Makefile ] ||
	quietly env -C build/quickstart ../src/configure CFLAGS='-O2 -g'
quietly make -C build/quickstart -j"$(nproc)"
echo "  $program, in $((SECONDS - begin)) s (log: ${log#"$top"/})"

if [ -n "$own" ]; then
	heading "Your image"
	source=$own
	echo "  $source"
else
	heading "Make a real image from Debian packages"
	source=oci:$images/debian:latest
	if [ "$(id -u)" = 0 ]; then
		tests/images/make-images.sh debian
	elif [ -e "$images/debian/recipe" ]; then
		echo "  there already ($images/debian)"
	elif command -v sudo >/dev/null; then
		echo "  as root, for it installs packages into a chroot:"
		# With no terminal there is nobody to type a password.
		if [ -t 0 ]; then ask=(); else ask=(-n); fi
		sudo "${ask[@]}" tests/images/make-images.sh --out "$images" debian ||
			give_up "run this as root once, or with an image that you have: ./quickstart.sh oci:DIR:TAG"
	else
		give_up "only root can make the image: run this as root once, or with an image that you have: ./quickstart.sh oci:DIR:TAG"
	fi
fi

heading "Convert it"
echo "  $program convert $source oci:${out#"$top"/}:latest"
rm -rf "$out"
# Python measures: a fresh Debian has no time(1).
python3 - "$out.measured" "$program" convert "$source" "oci:$out:latest" <<'END' ||
import resource, subprocess, sys, time
begin = time.monotonic()
status = subprocess.call(sys.argv[2:], stdout=subprocess.DEVNULL)
usage = resource.getrusage(resource.RUSAGE_CHILDREN)
with open(sys.argv[1], "w", encoding="utf-8") as out:
    print(time.monotonic() - begin, usage.ru_utime + usage.ru_stime, usage.ru_maxrss, file=out)
sys.exit(status)
END
	give_up "the conversion failed; the line above says why"
read -r seconds cpu kilobytes <"$out.measured"
printf '  done in %.1f s (%.1f s of processor time), %d MB of memory at most\n' "$seconds" "$cpu" $((kilobytes / 1024))

heading "Mount it"
if [ "$(id -u)" = 0 ]; then
	mnt=$(mktemp -d)
	begin=$(date +%s%N)
	echo "  its blobs are inflated into a store, ${store#"$top"/}, which all images share"
	if "$program" mount --store "$store" "oci:$out:latest" "$mnt"; then
		echo "  mounted in $((($(date +%s%N) - begin) / 1000000)) ms; what is in it:"
		find "$mnt" -mindepth 1 -maxdepth 1 -printf '%M %u:%g %P\n' | sort -k 3 | sed -n '1,8s/^/    /p'
		if [ -z "$own" ]; then
			echo "  and a program of it runs, read-only: python3 /srv/app/main.py says"
			chroot "$mnt" /usr/bin/python3 /srv/app/main.py 2>&1 | sed 's/^/    /'
		fi
		"$program" umount "$mnt"
		begin=$(date +%s%N)
		"$program" mount --store "$store" "oci:$out:latest" "$mnt"
		echo "  mounted once more in $((($(date +%s%N) - begin) / 1000000)) ms: nothing to inflate"
		"$program" umount "$mnt"
		"$program" store prune --store "$store" | sed 's/^/  unmounted again; store prune: /'
	else
		echo "  not mounted: the line above says what would make it possible"
	fi
else
	echo "  only root may mount: left out"
fi

# As `erofs-convert status` shows it: how much of the image is here by now.
fetched()
{
	"$program" status | sed -n 's/^ *\(transport\|cached\|requests\) /    \1 /p'
}

heading "Mount it before its data is there"
if [ "$(id -u)" = 0 ]; then
	# A store of its own, empty: nothing of the image is inflated yet.
	lazy=$(mktemp -d "$top/build/quickstart/lazy.XXXXXX")
	export EROFS_CONVERT_RUNTIME=$lazy/run
	begin=$(date +%s%N)
	if "$program" mount --quiet --prefetch none --store "$lazy/store" "oci:$out:latest" "$mnt"; then
		echo "  mounted in $((($(date +%s%N) - begin) / 1000000)) ms; a daemon brings what is read"
		if [ -z "$own" ]; then
			begin=$(date +%s%N)
			chroot "$mnt" /usr/bin/python3 -c 'import json, ssl' &&
				echo "  python3 -c 'import json, ssl' in it: $((($(date +%s%N) - begin) / 1000000)) ms, and then"
		else
			ls -R "$mnt" >/dev/null 2>&1 || true
			echo "  with all its directories listed:"
		fi
		fetched
		"$program" umount "$mnt"
	else
		echo "  not mounted: the line above says what would make it possible"
	fi
	unset EROFS_CONVERT_RUNTIME
	rm -rf "$lazy"
	lazy=
else
	echo "  only root may mount by the kernel: left out ($program mount docker://... DIR works, by FUSE)"
fi

echo
echo "What came of it"
"$program" inspect --json "oci:$out:latest" >"$out.json" || give_up "inspect failed"
python3 - "$source" "$out.json" <<'END'
import concurrent.futures, json, os, subprocess, sys

source, inspected = sys.argv[1:]
DECOMPRESS = {"gzip": ["gzip", "-dc"], "zstd": ["zstd", "-dcq"]}

def layers(layout, tag):
    """(size as stored, size as a tar) of each layer, lowest first."""
    def read(path):
        with open(os.path.join(layout, path), encoding="utf-8") as file:
            return json.load(file)
    def blob(descriptor):
        return os.path.join("blobs", *descriptor["digest"].split(":", 1))
    def tar_size(layer):
        kind = layer["mediaType"].replace(".", "+").rpartition("+")[2]
        if kind not in DECOMPRESS:
            return layer["size"]
        with open(os.path.join(layout, blob(layer)), "rb") as stored:
            reader = subprocess.Popen(DECOMPRESS[kind], stdin=stored, stdout=subprocess.PIPE)
            size = 0
            while chunk := reader.stdout.read(1 << 20):
                size += len(chunk)
        return size
    for entry in read("index.json")["manifests"]:
        if tag in (None, entry.get("annotations", {}).get("org.opencontainers.image.ref.name")):
            found = read(blob(entry)).get("layers", [])
            with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
                return list(zip((layer["size"] for layer in found), pool.map(tar_size, found)))
    return []

def mb(size):
    return f"{size / 1e6:9.1f} MB"

before = []
if source.startswith("oci:"):
    # A directory may have colons in its name; a tag has no slash.
    layout, colon, tag = source[4:].rpartition(":")
    if not colon or "/" in tag:
        layout, tag = source[4:], None
    before = layers(layout, tag)
with open(inspected, encoding="utf-8") as file:
    facts = json.load(file)
blobs = [(device["size"], device["uncompressedSize"]) for device in facts["devices"]]
bootstrap = facts["bootstrap"]["size"]

def row(name, *sizes):
    print(f"  {name:12}" + "".join(f"{mb(size) if size else '':>14}" for size in sizes))

print(f"  {'':12}{'layer, stored':>14}{'as a tar':>14}{'blob, stored':>14}{'as a device':>14}")
# A layer without new content makes no blob: then only the sums can stand side by side.
if len(before) == len(blobs):
    for number, (layer, blob) in enumerate(zip(before, blobs), 1):
        row(f"layer {number}", *layer, *blob)
row("bootstrap", 0, 0, bootstrap, facts["metadataBytes"])
layers, tars = map(sum, zip(*before)) if before else (0, 0)
stored, devices = map(sum, zip((bootstrap, facts["metadataBytes"]), *blobs))
row("all", layers, tars, stored, devices)
print(f"  {facts['files']} files, which add up to {facts['logicalBytes'] / 1e6:.1f} MB.", end="")
if layers:
    print(f" Stored, the image is {stored / layers:.2f} times its layers.", end="")
print("\n  A blob has each 4 KiB block once: what a layer repeats, of itself or of the layers below,\n"
      "  is not in it. Images with the same lower layers share those blobs.")
END
rm -f "$out.json" "$out.measured"

cat <<END

Where to look next
  $program inspect oci:${out#"$top"/}:latest
  $program check oci:${out#"$top"/}:latest
  $program mount oci:${out#"$top"/}:latest /mnt     (as root; then: umount /mnt)
  EROFS_CONVERT=$program examples/shell oci:${out#"$top"/}:latest     (as root, with jq: a shell in it)
  $program --help, README.md, and the manual pages in docs/man/
  ./test.sh runs all tests
END
