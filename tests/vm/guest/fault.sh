# SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
# shellcheck shell=sh
# What can go wrong in a virtual machine: the host must notice.
. /guest/lib.sh

ok "before it"
case $1 in
fails)
	check "this one fails" false
	echo 'WARNING: as if from the kernel' >/dev/kmsg
	echo "1..3"
	exit 3
	;;
panics)
	stty -F /dev/ttyS1 raw # waits until what was said is out
	echo c >/proc/sysrq-trigger
	;;
hangs) sleep 100000 ;;
esac
finish
