# SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
"""A daemon whose processes may be killed, and readers of what it serves."""
import contextlib
import errno
import mmap
import os
import random
import signal
import subprocess
import threading
import time

import tap
import tool

PAGE = 4096
DIRECT = 64 * PAGE  # what one read past the page cache asks for


def wait_for(what, happened, limit=tool.LIMIT):
    end, late = time.monotonic() + limit, False
    while not happened():
        tap.expect(not late, f"waited in vain for {what}")
        late = time.monotonic() >= end  # another look: that one may have taken long
        time.sleep(0.02)


class Daemon:
    """Its processes are those that have its runtime directory in their environment. `manager`: a command
    that runs it, and what that says goes to the log, too."""

    def __init__(self, transport, *options, manager=()):
        self.at = tap.fresh("serve")
        self.command = [*manager, tool.TOOL, "serve", "--store", f"{self.at}/store", "--socket", f"{self.at}/socket", "--transport", transport, *options]
        self.environment = {**os.environ, "EROFS_CONVERT_RUNTIME": f"{self.at}/run"}
        self.child = None
        os.mkdir(f"{self.at}/m")
        os.mkdir(f"{self.at}/run", 0o700)

    def start(self):
        with open(f"{self.at}/log", "ab") as log:
            self.child = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.environment)
        wait_for("the daemon", lambda: self.child.poll() is not None or self.status().returncode == 0)
        tap.expect(self.child.poll() is None, "the daemon has ended", self.log())

    def status(self, *options):
        return tool.run("status", "--socket", f"{self.at}/socket", *options)

    def log(self):
        with open(f"{self.at}/log", errors="backslashreplace") as f:
            return f.read()[-4000:]

    def mount(self, image, *options):
        tool.succeed("mount", "--socket", f"{self.at}/socket", *(options or ("--prefetch", "none")), image, f"{self.at}/m")
        return f"{self.at}/m"

    def processes(self, *names):
        """Those alive of these names: erofs-holder, or the worker's, erofs-convert; a verb that asks is none."""
        found = set()
        for pid in tool.ours():
            with contextlib.suppress(OSError):
                with open(f"/proc/{pid}/environ", "rb") as f:
                    if os.fsencode(f"EROFS_CONVERT_RUNTIME={self.at}/run") not in f.read().split(b"\0"):
                        continue
                with open(f"/proc/{pid}/comm") as f:
                    if f.read().strip() in names:
                        found.add(pid)
        return found

    def all(self):
        return self.processes("erofs-holder", "erofs-convert")

    def replace(self, name):
        """Kills what has that name, and waits for another one."""
        wait_for(f"a process {name}", lambda: self.processes(name))
        old = self.processes(name)
        self.kill(old, signal.SIGKILL)
        self.child.poll()
        wait_for(f"another process {name}", lambda: self.processes(name) - old)

    @staticmethod
    def kill(pids, number):
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def kill_all(self):
        """The holder and the worker at once: stopped first, so that none notices the other's end."""
        pids = self.all()
        tool.stop_all(pids)
        self.kill(pids, signal.SIGKILL)
        wait_for("their end", lambda: not self.all() & pids)

    def end(self):
        if os.fsencode(f"{self.at}/m") in tap.mountpoints():
            subprocess.run(["umount", "--lazy", f"{self.at}/m"], check=False, stderr=subprocess.DEVNULL)
        if self.child and self.child.poll() is None and self.child.pid not in self.all():
            self.child.kill()  # the manager, which would start it again
        while self.all():
            self.kill_all()
            if self.child:
                self.child.poll()
        if self.child:
            self.child.wait()
        tap.remove(self.at)


@contextlib.contextmanager
def daemon(transport, *options, **kw):
    d = Daemon(transport, *options, **kw)
    try:
        d.start()
        yield d
    except tap.Failure as e:
        raise tap.Failure(f"{e}\nthe daemon's log:\n{d.log()}") from e
    finally:
        d.end()


# --- readers ---------------------------------------------------------------------------

def open_file(path, direct):
    """Past the page cache where it can be: EROFS on files refuses that (Linux 6.18)."""
    if direct:
        try:
            return os.open(path, os.O_RDONLY | os.O_DIRECT), True
        except OSError as e:
            if e.errno != errno.EINVAL:
                raise
    return os.open(path, os.O_RDONLY), False


def read_plainly(fd, offset, size):
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    return os.pread(fd, size, offset)


def read_directly(fd, offset, size):
    """Whole pages; what the caller did not ask for is dropped."""
    begin = offset // PAGE * PAGE
    with mmap.mmap(-1, DIRECT) as pages:
        n = os.preadv(fd, [memoryview(pages)[:max(PAGE, min(DIRECT, -(-(offset + size - begin) // PAGE) * PAGE))]], begin)
        return pages[offset - begin:min(n, offset + size - begin)]


class Readers:
    """Threads that read the files of a tree ({name: bytes}) at random until they are told to stop."""

    def __init__(self, point, files, count=8, direct=0):
        self.point, self.files, self.stop, self.done = point, files, False, 0
        self.wrong, self.errors = [], []
        self.threads = [threading.Thread(target=self.run, args=(random.Random(i), i < direct), daemon=True) for i in range(count)]
        for t in self.threads:
            t.start()

    def run(self, chance, direct):
        while not self.stop:
            name = chance.choice(list(self.files))
            try:
                self.read(name, chance, direct)
            except OSError as e:
                self.errors.append(f"{name}: {e!r}")
                time.sleep(0.01)
            self.done += 1

    def read(self, name, chance, direct):
        data = self.files[name]
        offset, size = chance.randrange(len(data)), chance.choice((1, 4096, 70000) if direct else (1, 4096, 70000, 400000))
        fd, direct = open_file(f"{self.point}/{name}", direct)
        try:
            seen = (read_directly if direct else read_plainly)(fd, offset, size)
        finally:
            os.close(fd)
        want = data[offset:offset + size]
        if len(seen) < len(want) and want.startswith(seen):
            raise OSError(errno.EIO, "in the middle")
        if seen != want:
            self.wrong.append(f"{name} at {offset}, {size} bytes{', direct' * direct}: other bytes")

    def wait(self, count):
        until = self.done + count
        wait_for(f"{count} reads", lambda: self.done >= until)

    def end(self):
        self.stop = True
        for t in self.threads:
            t.join(tool.LIMIT)
        tap.expect(not any(t.is_alive() for t in self.threads), "a reader hangs")


@contextlib.contextmanager
def reading(point, files, **kw):
    readers = Readers(point, files, **kw)
    try:
        yield readers
    finally:
        readers.end()
    tap.expect(not readers.wrong, "wrong bytes", *readers.wrong[:10])


def expect_whole(point, files):
    for name, data in files.items():
        with open(f"{point}/{name}", "rb") as f:
            tap.expect(f.read() == data, f"{name} has other bytes")
