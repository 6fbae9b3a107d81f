#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
# Copy the checkout's sources (as git sees them, edits and new files included) to DIR, and
# make DIR/configure. Builds from there leave the checkout as it is, whether or not it has
# been configured in place, and cannot use a file that git would not deliver.
#
# usage: snapshot.sh DIR
set -euo pipefail

top=$(cd "$(dirname "$0")/.." && pwd)
mkdir -p "$1"
dir=$(cd "$1" && pwd)
cd "$top"

# The checkout may belong to somebody else than the one who runs this (root in CI).
if ! git -c safe.directory='*' ls-files -co --exclude-standard --deduplicate >"$dir/.files.all" 2>/dev/null; then
	# A release's tarball: what it holds, less what builds leave.
	find . \( -name .git -o -name .cache -o -name autom4te.cache -o -path './build' -o -name .deps \) -prune -o \
		\( -type f -o -type l \) ! -name '*.o' ! -name '*.a' ! -name '*.log' ! -name '*.trs' \
		! -path ./Makefile ! -path ./config.h ! -path ./config.status ! -path ./stamp-h1 \
		! -path ./erofs-convert -printf '%P\n' >"$dir/.files.all"
fi
# git also lists files that have been deleted.
while IFS= read -r file; do
	if [ -e "$file" ] || [ -L "$file" ]; then printf '%s\n' "$file"; fi
done <"$dir/.files.all" | LC_ALL=C sort -u >"$dir/.files.new"

if [ -e "$dir/.files" ]; then
	LC_ALL=C comm -23 "$dir/.files" "$dir/.files.new" | while IFS= read -r file; do rm -f "$dir/$file"; done
fi
# Times are kept, to the nanosecond, so that make does no more than it must.
tar -c --format=posix --no-recursion -T "$dir/.files.new" | tar -x -C "$dir" --no-same-owner
mv "$dir/.files.new" "$dir/.files"
rm "$dir/.files.all"

cd "$dir"
if [ ! -e configure ] || [ -n "$(find . -name autom4te.cache -prune -o \( -name '*.am' -o -name configure.ac -o -path './m4/*.m4' \) -newer configure -print)" ]; then
	./autogen.sh
	touch configure
fi
