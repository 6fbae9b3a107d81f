# SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
# shellcheck shell=sh
# What guest scripts say: TAP, on stdout. Sourced by them; ends with `finish`.
number=0

ok() { number=$((number + 1)); echo "ok $number - $*"; }
not_ok() { number=$((number + 1)); echo "not ok $number - $*"; }
note() { sed 's/^/#   /' "$@"; }
finish() { echo "1..$number"; }

# The command succeeds; what it says is shown when it does not.
check() # SENTENCE COMMAND...
{
	check_name=$1
	shift
	if "$@" >/tmp/check.out 2>&1; then
		ok "$check_name"
	else
		not_ok "$check_name"
		echo "#   failed: $*"
		note /tmp/check.out
		return 1
	fi
}

# The command succeeds within so many seconds; it is tried again and again.
wait_for() # SECONDS COMMAND...
{
	wait_end=$(($(date +%s) + $1))
	shift
	until "$@" >/dev/null 2>&1; do
		if [ "$(date +%s)" -gt $wait_end ]; then echo "waited in vain for: $*"; return 1; fi
		sleep 0.2
	done
}
