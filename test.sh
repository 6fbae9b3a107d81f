#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
# Install what is needed, build, and run all tests, in several configurations.
set -euo pipefail

usage()
{
	cat <<-END
	usage: ./test.sh [--quick] [--vm]

	Builds below build/ (the checkout stays as it is) and runs every test:
	  gcc         warnings are errors; make check
	  clang       warnings are errors; compiled only
	  sanitizers  AddressSanitizer and UBSan; make check without the slow tests
	  distcheck   make distcheck with the unit tests that read files of the sources
	  fuzzers     for a short time each
	--quick: only the first. --vm: also the tests that need a kernel of their own, in a virtual
	machine. The kernel is built once, meanwhile, with the time that the others leave (it is
	kept in .cache/vm; alone, it takes some 5 minutes).
	As root, tests also mount images, and real images are made from Debian packages first
	(once; they are kept in .cache/images).

	With CI=true and as root, a skipped test is a failure unless the kernel is the reason,
	which it never is of the tests in the virtual machine.
	TEST_JOBS=N (default: one for each processor) sets how much runs at once.
	The last line is: N passed, N failed, N skipped
	END
}

quick='' vm=''
for arg; do
	case $arg in
	--quick) quick=yes ;;
	--vm) vm=yes ;;
	-h | --help) usage; exit 0 ;;
	*) usage >&2; exit 2 ;;
	esac
done

top=$(cd "$(dirname "$0")" && pwd)
cd "$top"
exec </dev/null
jobs=${TEST_JOBS:-$(nproc)}
logs=$top/build/logs
mkdir -p "$logs"
export EROFS_CONVERT_IMAGES=${EROFS_CONVERT_IMAGES:-$top/.cache/images}
export EROFS_CONVERT_VM=${EROFS_CONVERT_VM:-$top/.cache/vm}

# Too slow with sanitizers, and they prove nothing more there.
slow='tests/e2e/real-images.test'

# What may be skipped in CI as root: only what this kernel does not offer.
allowed_skips='mounts of plain files need Linux|th(e|is) kernel has no |Linux [0-9.a-z-]* cannot mount EROFS|no loop device'

passed=0 failed=0 skipped=0
finished=
summary()
{
	# Ended before its end: that is a failure too, whatever has passed.
	[ -n "$finished" ] || fail "test.sh ended before its end"
	echo "$passed passed, $failed failed, $skipped skipped"
}

kernel='' # the process that builds it, until it is waited for
at_end()
{
	if [ -n "$kernel" ]; then
		kill "$kernel" 2>/dev/null || true
		wait "$kernel" || true
	fi
	summary
}
trap at_end EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

heading() { printf '== [%4d s] %s\n' "$SECONDS" "$*"; }
pass() { passed=$((passed + 1)); }
fail() { failed=$((failed + 1)); echo "FAILED: $*"; }

# Run a command with its output in a log; when it fails, show the end.
logged() # NAME COMMAND...
{
	local log=$logs/$1.log
	shift
	if ! "$@" >"$log" 2>&1; then
		grep -n -E -m 5 '(error|Error|warning):|\*\*\*' "$log" || true
		echo "--- the end of $log:"
		tail -n 30 "$log"
		return 1
	fi
}

# A step that counts as one test.
step() # NAME COMMAND...
{
	if logged "$@"; then pass; else fail "$1"; return 1; fi
}

configure() # DIR FLAGS...
{
	local dir=$top/build/$1 flags
	shift
	mkdir -p "$dir"
	flags=$(printf '%q ' "$@")
	# Configured like this already: make itself notices newer build files.
	[ -e "$dir/Makefile" ] && [ "$(cat "$dir/.flags" 2>/dev/null)" = "$flags" ] && return 0
	(cd "$dir" && ../src/configure -q "$@") || return 1
	echo "$flags" >"$dir/.flags"
}

build() # DIR FLAGS... (a step for each of both would say nothing more)
{
	configure "$@" && make -C "build/$1" -j"$jobs"
}

# What make says of a variable.
make_variable() # DIR NAME
{
	printf 'include Makefile\nprint-it: ; @echo %s\n' "\$($2)" | make -s --no-print-directory -C "build/$1" -f - print-it
}

# The failed tests of a log, with what they say about it (before or after their line); if
# the log has none, as after a crash, its end.
show_failures() # LOG
{
	echo "--- $1"
	awk '
		/^(PASS|FAIL|SKIP|XFAIL|XPASS|ERROR):/ && !/^ERROR/ { next }
		/^#/ { if (after) print; else before = before $0 "\n"; next }
		/^(not ok|ERROR|Bail out)/ { printf "%s%s\n", before, $0; before = ""; after = found = 1; next }
		{ before = ""; after = 0 }
		END { exit !found }' "$1" | sed -n 1,100p || tail -n 40 "$1"
}

# Which tests took longest, where the filesystem knows when a file was made.
slowest() # DIR
{
	local at log begin all
	all=$(find "$1" -name '*.trs' -printf '%T@ %p\n' | while read -r at log; do
		log=${log%.trs}.log
		begin=$(stat -c %W "$log" 2>/dev/null) || continue
		if [ "$begin" -gt 0 ]; then echo "$((${at%.*} - begin)) $(basename "$log" .log)"; fi
	done | sort -rn)
	[ -z "$all" ] || echo "  slowest: $(sed -n '1,8s/^\([0-9]*\) \(.*\)/\2 \1 s/p' <<<"$all" | paste -s -d , | sed 's/,/, /g')"
}

# Run make check and add up what its tests say.
check() # DIR MAKE-ARGUMENTS...
{
	local dir=build/$1 log=$logs/check-$1.log status=0 good bad left line
	shift
	find "$dir" -name '*.trs' -delete
	# Passing tests are thousands of lines; the others are shown as they come.
	make -C "$dir" -j"$jobs" check "$@" >"$log" 2>&1 &
	local make=$!
	tail -n +1 -f --pid=$make "$log" 2>/dev/null |
		grep -E --line-buffered '^(FAIL|ERROR|XPASS|XFAIL|SKIP):' | sed -u 's/^/  /' || true
	wait $make || status=$?

	read -r good bad left < <(find "$dir" -name '*.trs' -exec cat {} + | awk '
		/^:test-result: (PASS|XFAIL)/ { good++ }
		/^:test-result: (FAIL|ERROR|XPASS)/ { bad++ }
		/^:test-result: SKIP/ { left++ }
		END { print good + 0, bad + 0, left + 0 }')
	echo "  $good passed, $bad failed, $left skipped"
	slowest "$dir"
	passed=$((passed + good)) failed=$((failed + bad)) skipped=$((skipped + left))

	while read -r line; do
		show_failures "${line%.trs}.log"
	done < <(find "$dir" -name '*.trs' -exec grep -lE '^:test-result: (FAIL|ERROR|XPASS)' {} + | sort)
	if [ $status != 0 ] && [ "$bad" = 0 ]; then
		# It did not come to the tests, or not to their end.
		echo "--- the end of $log:"
		tail -n 30 "$log"
		fail "$dir: make check"
	elif [ $((good + bad + left)) = 0 ]; then
		fail "$dir: make check ran no tests"
	fi

	# As root in CI everything that the kernel offers must have run.
	if [ "${CI:-}" = true ] && [ "$(id -u)" = 0 ]; then
		while read -r line; do
			fail "skipped, and the kernel is not the reason: $line"
		done < <(grep -E '^SKIP:' "$log" | grep -v -E "$allowed_skips")
	fi
}

heading "what the tests need"
scripts/install-deps.sh --test ${vm:+--vm}

if [ -n "$vm" ]; then
	heading "virtual machine: the kernel is built meanwhile"
	nice -n 19 tests/vm/build-kernel >"$logs/kernel.log" 2>&1 &
	kernel=$!
fi

heading "a copy of the sources: build/src"
logged snapshot scripts/snapshot.sh build/src

if [ "$(id -u)" = 0 ]; then
	heading "real images"
	step images tests/images/make-images.sh || true
	sed 's/^ */  /' "$logs/images.log"
else
	echo "  not root: no images are made, and what mounts is skipped"
fi

heading "gcc: build"
if step build-gcc build gcc CC=gcc --enable-werror; then
	heading "gcc: make check"
	check gcc
fi

if [ -z "$quick" ]; then
	heading "clang: build"
	# The test programs too.
	if step build-clang build clang CC=clang --enable-werror; then
		step build-clang-tests make -C build/clang -j"$jobs" check TESTS= || true
	fi

	heading "sanitizers: build"
	if step build-san build san CC=gcc --enable-sanitizers --enable-werror CFLAGS='-g -O1'; then
		heading "sanitizers: make check, without the slow tests"
		tests=$(make_variable san TESTS | tr ' ' '\n' | grep -v -F "$slow" | tr '\n' ' ')
		# faketime is preloaded before the sanitizer's runtime, which minds otherwise.
		ASAN_OPTIONS=verify_asan_link_order=0 check san TESTS="$tests"
	fi

	heading "make distcheck"
	if [ -e build/gcc/erofs-convert ]; then
		# It shows that the tarball is whole: all programs are compiled from it, and tests run
		# that read its files. What the others do has been seen above.
		tests=$(cd build/src && grep -l top_srcdir tests/unit/*_test.c | sed 's/\.c$//' | tr '\n' ' ')
		step distcheck env XZ_OPT=-1 make -C build/gcc -j"$jobs" distcheck TESTS="$tests" \
			DISTCHECK_CONFIGURE_FLAGS=CFLAGS=-O0 || true
	else
		fail "distcheck: the build failed above"
	fi

	if make -C build/clang -n fuzz-run >/dev/null 2>&1; then
		heading "fuzzers"
		step fuzz make -C build/clang -j"$jobs" fuzz-run FUZZ_SECONDS="${FUZZ_SECONDS:-20}" || true
	fi

	heading "shellcheck"
	mapfile -t scripts < <(cut -f1 build/src/.files | (cd build/src && xargs -d '\n' grep -lE '^#!/bin/(ba)?sh' --))
	step shellcheck shellcheck -x "${scripts[@]}" || true
fi

if [ -n "$vm" ]; then
	heading "virtual machine: the kernel"
	if wait "$kernel"; then
		pass
	else
		tail -n 30 "$logs/kernel.log"
		fail kernel
	fi
	kernel=
	heading "virtual machine: its tests"
	allowed_skips='^$' # it has the kernel that they need
	if [ -e build/gcc/erofs-convert ]; then
		check gcc TESTS="$(make_variable gcc vm_tests)"
	else
		fail "virtual machine: the build failed above"
	fi
fi

heading "done"
finished=yes
[ $failed = 0 ]
