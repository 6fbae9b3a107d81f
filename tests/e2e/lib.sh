# SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
# shellcheck shell=bash disable=SC2034
# For tests in bash: TAP lines, a scratch directory, mounts that do not stay.
# A test sources this first; then
#
#	try "a sentence" COMMAND...     ok or not ok, by the command's status
#	skip "a sentence" "why"         a test that cannot run here
#	done_testing                    the plan; always last
#
# $tmp is a scratch directory on the build's filesystem (never tmpfs's memory), $EROFS_CONVERT
# the program, $top_srcdir the source, $images where tests/images/make-images.sh puts images.
set -euo pipefail

: "${top_srcdir:=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)}"
: "${top_builddir:=$top_srcdir}"
: "${EROFS_CONVERT:=$top_builddir/erofs-convert}"
images=${EROFS_CONVERT_IMAGES:-$top_srcdir/.cache/images}
export top_srcdir top_builddir EROFS_CONVERT PYTHONDONTWRITEBYTECODE=1

# A mount namespace of our own: whatever kills the test, its mounts go with it.
if [ "$(id -u)" = 0 ] && [ -z "${TEST_IN_NAMESPACE:-}" ] && unshare --mount true 2>/dev/null; then
	TEST_IN_NAMESPACE=1 exec unshare --mount --propagation private "$BASH" "$0" "$@"
fi
# Tests started by this one make their own.
unset TEST_IN_NAMESPACE

test_number=0
tmp=$(mktemp -d "$(cd "$top_builddir" && pwd)/e2e.XXXXXX")

clean_up()
{
	local mount
	# The innermost first. mountinfo writes blanks as \040; $tmp has none that matter.
	awk -v tmp="$tmp/" 'index($5 "/", tmp) == 1 { print $5 }' /proc/self/mountinfo | tac |
		while read -r mount; do
			umount "$mount" 2>/dev/null || umount -l "$mount" || true
		done
	rm -rf --one-file-system "$tmp"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# Lines of standard input, as TAP comments.
note() { sed 's/^/# /'; }

ok()
{
	test_number=$((test_number + 1))
	echo "ok $test_number - $1"
}

not_ok()
{
	test_number=$((test_number + 1))
	echo "not ok $test_number - $1"
}

skip()
{
	test_number=$((test_number + 1))
	echo "ok $test_number - $1 # SKIP $2"
}

# What the command says is shown if it fails; its status is ours.
try()
{
	local what=$1 status=0
	shift
	"$@" >"$tmp/try.log" 2>&1 </dev/null || status=$?
	if [ $status = 0 ]; then
		ok "$what"
	else
		not_ok "$what"
		echo "# exit status $status: $*"
		tail -n 30 "$tmp/try.log" | note
	fi
	return $status
}

done_testing() { echo "1..$test_number"; }

skip_all()
{
	echo "1..0 # SKIP $1"
	exit 0
}

# Why this kernel cannot mount EROFS from plain files; silent if it can.
why_no_file_mounts()
{
	[ "$(id -u)" = 0 ] || { echo "not root"; return; }
	grep -qw erofs /proc/filesystems || modprobe erofs 2>/dev/null ||
		{ echo "the kernel has no EROFS"; return; }
	case $(uname -r) in
	[1-5].* | 6.[0-9].* | 6.1[01].*) echo "mounts of plain files need Linux 6.12, this is $(uname -r)" ;;
	esac
}
