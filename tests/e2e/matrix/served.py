# SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
"""`erofs-convert serve` for tests: a daemon that is started, asked, killed and ended.

    with served.Daemon(at, transport="fuse-device") as daemon:
        daemon.mount("docker://...", f"{at}/m", "--plain-http")
        daemon.kill("worker")
        daemon.wait_alive()

Also the readers that compare all that they see with what is known.
"""
import atexit
import contextlib
import ctypes
import errno
import json
import mmap
import os
import random
import signal
import struct
import subprocess
import sys
import threading
import time

import tap
import tool

PATIENCE = 120  # seconds until what must happen has not
HERE = os.path.dirname(os.path.abspath(__file__))
FDSTORE = os.path.join(HERE, "../../tools/fdstore")
HOLDER = "erofs-convert-holder"
TRANSPORTS = ("fanotify", "fuse-device", "fuse")

# Orphans come to us (PR_SET_CHILD_SUBREAPER), so that nobody is left behind.
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)


def wait_for(what, happened, limit=PATIENCE):
    """What happened() returns, once that is true. The last look begins after the limit: one may take long."""
    end = time.monotonic() + limit
    while True:
        late, seen = time.monotonic() >= end, happened()
        if seen:
            return seen
        tap.expect(not late, f"this did not happen within {limit} s: {what}")
        time.sleep(0.01)


def command_of(pid):
    with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as line:
        return line.read().split(b"\0")
    return []


def is_dead(pid):
    """Dead, or a zombie, with all of its threads: the last one closes its files."""
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError), open(f"/proc/{pid}/task/{thread}/stat", "rb") as stat:
                if stat.read().rpartition(b")")[2].split()[0] not in (b"Z", b"X"):
                    return False
    except (FileNotFoundError, ProcessLookupError):
        pass
    return True


# --- what a test needs -----------------------------------------------------------------

def why_not(transport):
    """None, or why there is no such transport here."""
    at = tap.fresh("probe")
    try:
        with Daemon(at, transport=transport):
            return None
    except tap.Failure as why:
        return f"no transport {transport}: {str(why).strip().splitlines()[-1]}"
    finally:
        tap.remove(at)


def need(transport, _known={}):
    """Skip where the kernel or the user's rights do not do; a transport of ours that is broken is no reason."""
    tap.need_root()
    release = tuple(int(n) for n in os.uname().release.split("-")[0].split(".")[:2])
    if transport != "fuse":
        tap.need_kernel_erofs()
    if transport == "fanotify" and release < (6, 14):
        raise tap.Skip(f"Linux {os.uname().release} has no pre-content events (6.14 has)")
    if transport != "fanotify" and not os.path.exists("/dev/fuse"):
        raise tap.Skip("there is no /dev/fuse")
    if transport == "fanotify" and _known.setdefault(transport, why_not(transport)):
        raise tap.Skip(_known[transport])


# --- the daemon ------------------------------------------------------------------------

class Daemon:
    """One daemon on store, socket and runtime directory of its own, below `at`.

    manager: below tests/tools/fdstore, which keeps its descriptors and starts it again. It is
    started when it is made, or by start(); what it says is in `log`."""

    def __init__(self, at, *options, transport="auto", manager=False, store=None, config=None, start=True, **env):
        self.at, self.options, self.transport, self.manager = at, list(options), transport, manager
        self.store, self.socket, self.runtime, self.log = store or f"{at}/store", f"{at}/socket", f"{at}/run", f"{at}/log"
        self.said, self.env, self.popen = f"{at}/said", env, None
        os.makedirs(self.store, exist_ok=True)
        if config is not None:
            with open(f"{at}/serve.json", "w", encoding="utf-8") as out:
                json.dump(config, out)
        self.options += ["--config", f"{at}/serve.json"] if config is not None else []
        if start:
            self.start()

    def command(self):
        return [*([sys.executable, FDSTORE] if self.manager else []), tool.TOOL, "serve", "--debug", "--store", self.store, "--socket", self.socket,
                "--transport", self.transport, *self.options]

    def start(self):
        atexit.register(self.close)
        with open(self.log, "ab") as log, open(self.said, "ab") as said:
            self.popen = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=said, stderr=log,
                                          env=dict(os.environ, EROFS_CONVERT_RUNTIME=self.runtime, **self.env))
        try:
            self.wait_alive()
        except BaseException:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    # --- its processes ---

    def pids(self):
        """Those that live: {"worker": pid, "holder": pid}, either may be missing, and "other": [pids]."""
        found = {"other": []}
        for pid in tool.ours(os.getpid(), self.popen and self.popen.pid):
            words = command_of(pid)
            if os.fsencode(self.socket) not in words or b"serve" not in words or is_dead(pid):
                continue
            kind = self._kind(pid)
            if kind in found or kind == "other":
                found["other"].append(pid)
            else:
                found[kind] = pid
        return found

    def _kind(self, pid):
        if self.manager and self.popen and pid == self.popen.pid:
            return "manager"
        with contextlib.suppress(OSError):
            if os.path.basename(os.readlink(f"/proc/{pid}/exe").partition(" (deleted)")[0]).endswith("holder"):
                return "holder"
            with open(f"/proc/{pid}/environ", "rb") as env:
                if b"EROFS_CONVERT_HOLDER=" in b"\0" + env.read():
                    return "worker"
        return "other"

    def pid(self, who):
        return wait_for(f"there is a {who}", lambda: self.pids().get(who))

    def is_alive(self):
        pids = self.pids()
        return "worker" in pids and "holder" in pids and self.answers()

    def answers(self):
        done = subprocess.run([tool.TOOL, "status", "--socket", self.socket, "--json"], capture_output=True, timeout=tool.LIMIT)
        return done.returncode == 0

    def wait_alive(self):
        def look():
            if self.popen.poll() is not None and not self.left():
                tap.fail(f"the daemon ended with {self.popen.returncode}", self.text())
            return self.is_alive()
        try:
            wait_for("the daemon answers", look)
        except tap.Failure as why:
            tap.fail(str(why), self.text())

    def kill(self, *who):
        """kill -9 of "worker", "holder", at once: none of them can act when the other dies."""
        pids = [self.pid(one) for one in who]
        if len(pids) > 1:
            tool.stop_all(pids)
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for pid in pids:
            wait_for(f"{pid} is dead", lambda: is_dead(pid))
        return pids

    def end(self, number=signal.SIGTERM, limit=PATIENCE):
        """Asks it to end, as who started it would; waits for the last of its processes. What it ended with, where
        that is to be known: nobody tells the status of a holder that took another one's place."""
        first = self.popen.poll() is None
        os.kill(self.popen.pid if first else self.pid("holder"), number)
        wait_for("the daemon ends", lambda: not self.left() and (not first or self.popen.poll() is not None), limit)
        return self.popen.returncode if first else 0

    def left(self):
        pids = self.pids()
        return [p for k, p in pids.items() if k != "other"] + pids["other"]

    def close(self):
        """Nobody stays, whoever started whom."""
        atexit.unregister(self.close)
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end and self.popen:
            if self.popen.poll() is None:
                self.popen.kill()
            left = self.left()
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if not left and self.popen.poll() is not None:
                break
            time.sleep(0.01)
        if self.popen:
            self.popen.wait()
        tap.unmount_below(self.at)
        self.check_log()

    def text(self, most=6000):
        try:
            with open(self.log, encoding="utf-8", errors="replace") as log:
                return log.read()[-most:]
        except FileNotFoundError:
            return "(no log)"

    def events(self, kind):
        """The lines of the log that tell this event."""
        return [line for line in self.text(1 << 30).splitlines() if f" event={kind}" in line]

    def check_log(self):
        text = self.text(1 << 30)
        if "Sanitizer" in text or "runtime error:" in text:
            tap.fail("the daemon is broken", text[-8000:])

    # --- what it is asked ---

    def mount(self, image, point, *options, prefetch="none", **kw):
        os.makedirs(point, exist_ok=True)
        try:
            return tool.succeed("mount", "--socket", self.socket, "--prefetch", prefetch, *options, image, point, **kw)
        except tap.Failure as why:
            tap.fail(str(why), "the daemon said:", self.text(3000))

    def umount(self, point):
        tool.umount(point)
        wait_for("the daemon forgets the mount", lambda: point not in [m["mountpoint"] for m in self.status()["mounts"]])

    def status(self):
        """Asked again while a worker is being replaced."""
        def ask():
            done = tool.run("status", "--socket", self.socket, "--json")
            return json.loads(done.stdout) if done.returncode == 0 else None
        found = wait_for("the daemon tells its status", ask)
        for one in found if isinstance(found, list) else found.get("daemons", [found]):
            if "mounts" in one:
                return one
        return found

    def mounted(self, point):
        """The status of the mount at `point`; None: there is none."""
        return next((m for m in self.status()["mounts"] if m["mountpoint"] == point), None)

    def wait_status(self, what, good):
        """Until good(status) is true."""
        def look():
            self.last = self.status()
            return good(self.last) and self.last
        try:
            return wait_for(what, look)
        except tap.Failure as why:
            tap.fail(str(why), f"status: {json.dumps(self.last)[:2000]}", self.text(3000))


# --- reading ---------------------------------------------------------------------------

def read_some(path, offset, size, how="read"):
    """Where they begin, and bytes of a file: by "read", "mmap", "direct" (rounded to blocks, as O_DIRECT has it) or
    "drop" (not out of the page cache, as far as that can be had)."""
    if how == "mmap":
        return offset, read_mapped(path, offset, size)
    if how == "direct":
        begin = offset & ~4095
        return begin, read_direct(path, begin, (offset + size - begin + 4095) & ~4095)
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if how == "drop":
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        return offset, pread_all(fd, offset, size)
    finally:
        os.close(fd)


# Reads mapped files, as it is told on stdin, by page faults of the kernel's, who writes the pages to a file: those of
# Python's own end the process (SIGBUS) when they fail; here that is EFAULT.
MAPPER = """
import mmap, os, struct, sys
def read(path, offset, size):
    copy, done = os.memfd_create("mapped"), 0
    try:
        with open(path, "rb") as f, mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ) as whole, memoryview(whole) as view:
            while done < size:
                with view[offset + done:offset + size] as part:
                    n = os.pwrite(copy, part, done)
                done += n
                if n == 0:
                    break
        return os.pread(copy, done, 0)
    finally:
        os.close(copy)
for line in sys.stdin:
    offset, size, path = line.split()
    code, data = 0, b""
    try:
        data = read(bytes.fromhex(path), int(offset), int(size))
    except OSError as e:
        code = e.errno
    sys.stdout.buffer.write(struct.pack("=iI", code, len(data)) + data)
    sys.stdout.buffer.flush()
"""


class Mapper:
    """A process for the mapped files of one thread of ours. A page fault may hold the lock of a process's memory while it
    waits for data. In ours, others would wait for that lock with Python's one lock in their hands, so that the registry,
    which is to send the data, stands still; and so would whoever looks at our command line."""

    def __init__(self):
        self.process = subprocess.Popen([sys.executable, "-ISc", MAPPER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd="/")

    def read(self, path, offset, size):
        self.process.stdin.write(b"%d %d %s\n" % (offset, size, os.fsencode(os.path.abspath(path)).hex().encode()))
        self.process.stdin.flush()
        code, length = struct.unpack("=iI", self.process.stdout.read(8))
        data = self.process.stdout.read(length)
        if code:
            raise OSError(code, os.strerror(code), path)
        return data

    def __del__(self):
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        self.process.stdout.close()
        self.process.kill()
        self.process.wait()


OF_THREAD = threading.local()


def read_mapped(path, offset, size):
    if not hasattr(OF_THREAD, "mapper"):
        OF_THREAD.mapper = Mapper()
    return OF_THREAD.mapper.read(path, offset, size)


def read_direct(path, offset, size):
    """The kernel's EROFS over files knows no O_DIRECT; it says so at open(2), and who wants it goes without."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECT)
    except OSError as e:
        if e.errno != errno.EINVAL:
            raise
        return read_some(path, offset, size, "drop")[1]
    try:
        with mmap.mmap(-1, size) as buf:
            return buf[:os.preadv(fd, [buf], offset)]
    finally:
        os.close(fd)


def pread_all(fd, offset, size):
    out = b""
    while len(out) < size:
        piece = os.pread(fd, size - len(out), offset + len(out))
        if not piece:
            break
        out += piece
    return out


def part_of(wrong, want, seen):
    """How bytes differ, in a few words."""
    if len(want) != len(seen):
        return f"{wrong}: {len(seen)} bytes, not {len(want)}"
    at = next(i for i in range(len(want)) if want[i] != seen[i])
    zeros = not any(seen[at:at + 512])
    return f"{wrong}: {'zeros' if zeros else 'other bytes'} from its byte {at} on"


WAYS = ("read", "direct", "mmap", "drop")


class Readers:
    """Threads that read at random from what known(path, offset, size) knows; `wrong` has what they
    saw that is not so. allowed: errnos that are no fault, counted in `errors`."""

    def __init__(self, point, sizes, known, count=8, seed=0, ways=WAYS, allowed=(), reads=None, largest=300000):
        self.point, self.sizes, self.known, self.ways, self.allowed, self.most = point, sizes, known, ways, set(allowed), reads
        self.names = sorted(n for n in sizes if sizes[n])
        self.wrong, self.errors, self.done, self.ended, self.longest, self.largest = [], [], 0, False, 0.0, largest
        self.lock = threading.Lock()
        self.threads = [threading.Thread(target=self.run, args=(seed * 1000 + i,), daemon=True) for i in range(count)]
        for thread in self.threads:
            thread.start()

    def run(self, seed):
        chance = random.Random(seed)
        left = self.most
        while not self.ended and left != 0:
            left = left - 1 if left else None
            self.one(chance)

    def one(self, chance):
        name = chance.choice(self.names)
        offset, size = chance.randrange(self.sizes[name]), chance.choice((1, 4096, 20000, self.largest))
        how, begin = chance.choice(self.ways), time.monotonic()
        size = min(size, self.sizes[name] - offset)
        what = f"{how} of {name} at {offset}, {size} bytes"
        error = wrong = None
        try:
            at, seen = read_some(os.path.join(self.point, name), offset, size, how)
            want = self.known(name, at, len(seen) if how == "direct" else size)
            if seen != want:
                wrong = part_of(what, want, seen)
            elif how == "direct" and at + len(seen) < offset + size:
                wrong = f"{what}: it ends early"
        except OSError as e:
            error = e
        except Exception as e:  # whatever it is, the test must hear of it
            wrong = f"{what}: {e!r}"
        took = time.monotonic() - begin
        with self.lock:
            self.longest = max(self.longest, took)
            self.done += error is None and wrong is None
            if error is not None and error.errno in self.allowed:
                self.errors.append(error.errno)
            elif error is not None:
                wrong = f"{what}: {error}"
            if wrong:
                self.wrong.append(wrong)
        if error is not None:
            time.sleep(0.02)

    def check(self, now="now"):
        tap.expect(not self.wrong, f"wrong reads, {now} ({len(self.wrong)})", *self.wrong[:10])

    def wait_reads(self, count, what):
        """Until so many more reads went well."""
        goal = self.done + count
        try:
            wait_for(what, lambda: self.done >= goal or self.wrong)
        finally:
            self.check(what)

    def stop(self, limit=PATIENCE):
        """They must end; what they saw must be right."""
        self.ended = self.most is None
        end = time.monotonic() + limit
        for thread in self.threads:
            thread.join(max(0.0, end - time.monotonic()))
        hang = sum(t.is_alive() for t in self.threads)
        self.ended = True
        self.check()
        tap.expect(not hang, f"{hang} readers hang")
        return self.done
