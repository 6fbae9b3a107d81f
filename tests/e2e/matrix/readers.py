# SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
"""Ways to read files, and readers that compare all that they see with what is known.

    with Readers(point, sizes, known) as readers:
        readers.wait_reads(100, "a hundred reads")
"""
import contextlib
import errno
import math
import mmap
import os
import random
import struct
import subprocess
import sys
import threading
import time

import tap
from tap import PATIENCE, wait_for


def read_some(path, offset, size, how="read", once=False):
    """Where they begin, and bytes of a file: by "read", "mmap", "direct" (rounded to blocks, as O_DIRECT has it) or
    "drop" (not out of the page cache, as far as that can be had). once: what one call gives, and be it less."""
    if how == "mmap":
        return offset, read_mapped(path, offset, size)
    if how == "direct":
        begin = offset & ~4095
        return begin, read_direct(path, begin, (offset + size - begin + 4095) & ~4095, once)
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if how == "drop":
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        return offset, os.pread(fd, size, offset) if once else pread_all(fd, offset, size)
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


def read_direct(path, offset, size, once=False):
    """The kernel's EROFS over files knows no O_DIRECT; it says so at open(2), and who wants it goes without."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECT)
    except OSError as e:
        if e.errno != errno.EINVAL:
            raise
        return read_some(path, offset, size, "drop", once)[1]
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
    saw that is not so. allowed: errnos that are no fault of reads that begin before `allowed_until`, counted in
    `errors`. once: a call of the kernel's that gives less than all is a fault. lengths: how much they ask for."""

    def __init__(self, point, sizes, known, count=8, seed=0, ways=WAYS, allowed=(), reads=None, largest=300000, once=False, lengths=()):
        self.point, self.sizes, self.known, self.ways, self.allowed, self.most = point, sizes, known, ways, set(allowed), reads
        self.allowed_until = math.inf
        self.once, self.lengths = once, lengths or (1, 4096, 20000, largest)
        self.names = sorted(n for n in sizes if sizes[n])
        self.wrong, self.errors, self.done, self.ended, self.longest = [], [], 0, False, 0.0
        self.lock = threading.Lock()
        self.threads = [threading.Thread(target=self.run, args=(seed * 1000 + i,), daemon=True) for i in range(count)]
        for thread in self.threads:
            thread.start()

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        self.ended = self.most is None or kind is not None
        if kind is None:
            self.stop()

    def run(self, seed):
        chance = random.Random(seed)
        left = self.most
        while not self.ended and left != 0:
            left = left - 1 if left else None
            self.one(chance)

    def one(self, chance):
        name = chance.choice(self.names)
        offset, size = chance.randrange(self.sizes[name]), chance.choice(self.lengths)
        how, begin = chance.choice(self.ways), time.monotonic()
        size = min(size, self.sizes[name] - offset)
        what = f"{how} of {name} at {offset}, {size} bytes"
        error = wrong = None
        try:
            at, seen = read_some(os.path.join(self.point, name), offset, size, how, self.once)
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
            if error is not None and error.errno in self.allowed and begin < self.allowed_until:
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


def expect_whole(point, files):
    """Of {name: bytes}, each as it is."""
    for name, data in files.items():
        with open(os.path.join(point, name), "rb") as f:
            tap.expect(f.read() == data, f"{name} has other bytes")
