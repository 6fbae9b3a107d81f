# SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
"""Test Anything Protocol for the Python tests, and what each of them needs around it.

A test is a function with a sentence for a name. It passes by returning, fails by
raising (Failure carries what was expected and what was seen), and skips by raising
Skip. One scratch directory serves the whole script; mounts made under it live in a
private mount namespace where that is allowed, so nothing outlives the script.

TEST_ONLY=substring, or the first argument, runs only the tests whose name has it.
"""
import atexit
import concurrent.futures
import ctypes
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback


# A shell's background job has it ignored, and so would what it starts.
signal.signal(signal.SIGINT, signal.default_int_handler)

PATIENCE = 120  # seconds until what must happen has not


class Skip(Exception):
    """The test cannot say anything here; the text says why."""


class Failure(Exception):
    """The behaviour is not the one the name promises."""


def fail(text, *details):
    raise Failure("\n".join([text, *map(str, details)]))


def expect(condition, text, *details):
    if not condition:
        fail(text, *details)


def expect_equal(what, want, seen):
    if want != seen:
        fail(what, f"expected: {show(want)}", f"seen:     {show(seen)}")


def wait_for(what, happened, limit=PATIENCE):
    """What happened() returns, once that is true. The last look begins after the limit: one may take long."""
    end = time.monotonic() + limit
    while True:
        late, seen = time.monotonic() >= end, happened()
        if seen:
            return seen
        expect(not late, f"this did not happen within {limit} s: {what}")
        time.sleep(0.01)


def show(value, limit=600):
    text = repr(value)
    return text if len(text) <= limit else f"{text[:limit]}… ({len(text)} characters)"


class Suite:
    def __init__(self):
        self.tests = []

    def test(self, name):
        """Decorator: the function below proves this sentence."""
        def add(function):
            self.add(name, function)
            return function
        return add

    def add(self, name, function):
        assert "#" not in name and "\n" not in name, name
        assert name not in [n for n, _ in self.tests], f"two tests are named: {name}"
        self.tests.append((name, function))

    def run(self, workers=1):
        """Runs the tests, `workers` at a time; reports them in order."""
        only = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("TEST_ONLY", "")
        chosen = [(n, f) for n, f in self.tests if only in n]
        print(f"1..{len(chosen)}", flush=True)
        scratch()  # before any thread: threads inherit the mount namespace
        with concurrent.futures.ThreadPoolExecutor(workers) as pool:
            try:
                for number, result in enumerate(pool.map(lambda one: self._one(*one), chosen), 1):
                    self._report(number, *result)
            except BaseException:
                pool.shutdown(wait=True, cancel_futures=True)
                raise

    @staticmethod
    def _one(name, function):
        """What came of the test: its name, its fate, notes, seconds."""
        begin = time.monotonic()
        try:
            function()
            result = ("ok", "", [])
        except Skip as why:
            result = ("ok", f" # SKIP {why}", [])
        except Failure as why:
            result = ("not ok", "", str(why).splitlines())
        except Exception:  # a test that breaks is a test that fails
            result = ("not ok", "", traceback.format_exc().splitlines())
        return (name, *result, time.monotonic() - begin)

    @staticmethod
    def _report(number, name, fate, directive, notes, seconds):
        if os.environ.get("TEST_TIMES"):
            print(f"# {seconds:.2f} s")
        # Anything may stand in what was seen; the protocol is one line of text each.
        print(printable(f"{fate} {number} - {name}{directive}"))
        for note in notes:
            print("#   " + printable(note))
        if notes:
            print(f"#   alone: {os.path.basename(sys.argv[0])} {shlex.quote(name)}")
        sys.stdout.flush()


def printable(text):
    text = text.encode("utf-8", "backslashreplace").decode()
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


# --- the scratch directory ----------------------------------------------------

_scratch = None


def scratch():
    """The script's own directory, made at first use and removed at the end."""
    global _scratch
    if _scratch is None:
        _scratch = tempfile.mkdtemp(prefix="erofs-convert-test.")
        os.chmod(_scratch, 0o755)  # the tests that drop root look inside
        atexit.register(_clean)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda *_: sys.exit(1))
        if os.geteuid() == 0:
            _own_mount_namespace()
    return _scratch


_count, _count_lock = 0, threading.Lock()


def fresh(name="d"):
    """A new, empty directory under the scratch directory."""
    global _count
    with _count_lock:
        _count += 1
        path = os.path.join(scratch(), f"{_count:03d}-{name}")
    os.mkdir(path)
    return path


def remove(path):
    """Unmounts whatever is mounted at or below `path`, and removes it."""
    unmount_below(path)
    if os.path.islink(path) or os.path.isfile(path):
        os.unlink(path)
    else:
        shutil.rmtree(path, ignore_errors=True)


def _clean():
    unmount_below(_scratch)
    for device in list(_loops):
        loop_detach(device)
    shutil.rmtree(_scratch, ignore_errors=True)


# --- mounts -------------------------------------------------------------------

_libc = ctypes.CDLL(None, use_errno=True)
MS_RDONLY, MS_REC, MS_PRIVATE, MNT_DETACH, CLONE_NEWNS = 1, 0x4000, 1 << 18, 2, 0x20000


def _own_mount_namespace():
    if _libc.unshare(CLONE_NEWNS) == 0:
        _libc.mount(b"none", b"/", None, ctypes.c_ulong(MS_REC | MS_PRIVATE), None)


def mount(source, target, fstype, options="", flags=0):
    """mount(2); raises OSError."""
    if _libc.mount(os.fsencode(source), os.fsencode(target), fstype.encode(),
                   ctypes.c_ulong(flags), options.encode()) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), os.fsdecode(source))


def unmount(target):
    """umount(2); raises OSError."""
    if _libc.umount2(os.fsencode(target), 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), os.fsdecode(target))


def _unescape(field):
    for octal, char in ((b"\\040", b" "), (b"\\011", b"\t"), (b"\\012", b"\n"), (b"\\134", b"\\")):
        field = field.replace(octal, char)
    return field


def mountpoints():
    """Every mount point of this namespace, in the order of mounting, as bytes."""
    with open("/proc/self/mountinfo", "rb") as table:
        return [_unescape(line.split(b" ")[4]) for line in table]


def unmount_below(path):
    path = os.fsencode(os.path.realpath(path))
    for point in reversed(mountpoints()):
        if point == path or point.startswith(path + b"/"):
            _libc.umount2(point, MNT_DETACH)


_loops = set()


def loop_attach(path):
    """A read-only loop device over `path`, or Skip where there is none to be had."""
    if not shutil.which("losetup"):
        raise Skip("losetup is not installed")
    run = subprocess.run(["losetup", "--find", "--show", "--read-only", path],
                         capture_output=True, text=True)
    if run.returncode != 0:
        raise Skip("no loop device: " + run.stderr.strip())
    _loops.add(run.stdout.strip())
    return run.stdout.strip()


def loop_detach(device):
    _loops.discard(device)
    subprocess.run(["losetup", "-d", device], capture_output=True)


def need_root():
    if os.geteuid() != 0:
        raise Skip("mounting needs root")


def need_kernel_erofs():
    """The kernel must mount EROFS images from plain files (Linux 6.12)."""
    need_root()
    with open("/proc/filesystems") as table:
        known = any(line.split()[-1] == "erofs" for line in table)
    if not known and subprocess.run(["modprobe", "-q", "erofs"], capture_output=True).returncode != 0:
        raise Skip("this kernel has no EROFS")
    release = os.uname().release
    if tuple(int(n) for n in release.split("-")[0].split(".")[:2]) < (6, 12):
        raise Skip(f"Linux {release} cannot mount EROFS from files (6.12 can)")


def need_tool(name):
    if not shutil.which(name):
        raise Skip(f"{name} is not installed")
