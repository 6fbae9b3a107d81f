# SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
"""What the benchmarks share: running commands in turn, and tars made to measure."""
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TOOL = os.environ.get("EROFS_CONVERT", os.path.join(TOP, "erofs-convert"))
IMAGES = os.environ.get("EROFS_CONVERT_IMAGES", os.path.join(TOP, ".cache", "images"))


class Run:
    """One finished command: wall and processor seconds, peak memory in KiB of the process."""

    def __init__(self, wall, usage):
        self.wall = wall
        self.cpu = usage.ru_utime + usage.ru_stime
        self.rss = usage.ru_maxrss


def run(args, cwd=None):
    start = time.monotonic()
    child = subprocess.Popen(args, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        sys.exit(f"bench: exit status {child.returncode}: {' '.join(args)}")
    return Run(time.monotonic() - start, usage)


def shell(script, cwd=None):
    return run(["bash", "-c", "set -e -o pipefail; " + script], cwd)


def pairs(n, a, b, clean=lambda: None):
    """Run a and b in turn, n times after a warm-up; two lists of Run."""
    runs = ([], [])
    for i in range(n + 1):
        for which, one in enumerate((a, b)):
            clean()
            result = one()
            if i:
                runs[which].append(result)
    clean()
    return runs


def median(runs, what):
    return statistics.median(getattr(r, what) for r in runs)


def ratio(a, b, what="wall"):
    """The median of the ratios pair by pair: holds while the machine's speed drifts."""
    return statistics.median(getattr(x, what) / getattr(y, what) for x, y in zip(a, b))


def machine():
    cpus = len(os.sched_getaffinity(0))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{cpus} processors, {memory:.0f} GiB of memory, Linux {os.uname().release.split('-')[0]}"


def layer_blobs(layout):
    """Paths of the layers of a layout's first image, lowest first."""
    def blob(digest):
        return os.path.join(layout, "blobs", *digest.split(":"))

    with open(os.path.join(layout, "index.json"), encoding="utf-8") as f:
        digest = json.load(f)["manifests"][0]["digest"]
    with open(blob(digest), encoding="utf-8") as f:
        return [blob(layer["digest"]) for layer in json.load(f)["layers"]]


def inflate(path, out):
    """Append the layer to the file `out`, in place of its end-of-archive marker."""
    with open(path, "rb") as f:
        zstd = f.read(4) == b"\x28\xb5\x2f\xfd"
    with open(out, "ab") as f:
        subprocess.run(["zstd" if zstd else "gzip", "-dc", path], check=True, stdout=f)


def cut_end(path):
    """Take the zero blocks off a tar's end. Little memory: a child's peak begins with ours."""
    with open(path, "r+b") as f:
        size = f.seek(0, os.SEEK_END)
        while True:
            f.seek(size - 512)
            if f.read(512).strip(b"\0"):
                break
            size -= 512
        f.truncate(size)


def two_layers(work):
    """Two gzip layers of about 180 and 600 MB from Debian packages; their sizes uncompressed."""
    debian, node = (layer_blobs(os.path.join(IMAGES, name)) for name in ("debian", "node"))
    tars = [os.path.join(work, name) for name in ("1.tar", "2.tar")]
    inflate(debian[0], tars[0])
    inflate(debian[2], tars[1])
    cut_end(tars[1])
    inflate(node[1], tars[1])
    sizes = [os.path.getsize(tar) for tar in tars]
    for tar in tars:
        subprocess.run(["gzip", "-6", tar], check=True)
    return sizes


def header(name, size, mtime=1700000000, kind=b"0"):
    h = bytearray(512)
    h[: len(name)] = name
    h[100:108], h[108:116], h[116:124] = b"0000644\0", b"0000000\0", b"0000000\0"
    h[124:136], h[136:148] = b"%011o\0" % size, b"%011o\0" % mtime
    h[156:157], h[257:265] = kind, b"ustar\00000"
    h[148:156] = b" " * 8
    h[148:156] = b"%06o\0 " % sum(h)
    return bytes(h)


def many_files(path, count, name, data):
    """A plain tar of count files: name(i) and data(i) give bytes."""
    with open(path, "wb", 1 << 20) as f:
        for i in range(count):
            content = data(i)
            f.write(header(name(i), len(content), 1700000000 + i % 1000))
            f.write(content + b"\0" * (-len(content) % 512))
        f.write(b"\0" * 1024)


def workdir():
    """A directory that goes with the process; $TMPDIR or /tmp needs some GB."""
    return tempfile.TemporaryDirectory(prefix="erofs-convert-bench.")
