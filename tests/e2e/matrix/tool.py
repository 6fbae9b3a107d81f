# SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
"""Runs erofs-convert, and the independent extraction it is judged by."""
import contextlib
import hashlib
import os
import re
import shutil
import signal
import subprocess
import time

import tap

TOOL = os.environ.get("EROFS_CONVERT", os.path.join(os.environ.get("top_builddir", "."), "erofs-convert"))
LIMIT = 180  # seconds; nothing here takes long, not even on a busy machine, so what does is stuck
PROMPT = 3  # seconds from a signal to the end of a process


def run(*args, through=(), **kw):
    """The tool with these arguments: a CompletedProcess with text in it. Sanitizers' reports and
    death by an unexpected signal fail the test at once. through: a command that becomes it."""
    kw.setdefault("timeout", LIMIT)
    done = subprocess.run([*through, TOOL, *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, **kw)
    done.stdout = done.stdout.decode("utf-8", "backslashreplace")
    done.stderr = done.stderr.decode("utf-8", "backslashreplace")
    if done.returncode < 0 or "Sanitizer" in done.stderr or "runtime error:" in done.stderr:
        tap.fail(f"the tool crashed: status {done.returncode}", command(args), done.stderr)
    return done


def command(args):
    return "command: erofs-convert " + " ".join(tap.show(a)[1:-1] for a in args)


def succeed(*args, **kw):
    done = run(*args, **kw)
    if done.returncode != 0:
        tap.fail(f"expected success, seen exit status {done.returncode}", command(args), done.stderr)
    return done


def refused(*args, status=(1,), says=(), **kw):
    """Expects a refusal: the status, and one line on stderr that says all of `says`.
    An alternative is a tuple inside `says`. Letters' case does not matter."""
    done = run(*args, **kw)
    seen = [command(args), f"seen: exit status {done.returncode}, stderr:", done.stderr or "(empty)"]
    if done.returncode not in status:
        tap.fail(f"expected exit status {' or '.join(map(str, status))}", *seen)
    if done.stdout:
        tap.fail("expected nothing on stdout", *seen, "stdout:", done.stdout)
    lines = done.stderr.splitlines()
    if len(lines) != 1 or not done.stderr.endswith("\n"):
        tap.fail("expected exactly one line on stderr", *seen)
    if not lines[0].startswith("erofs-convert: error: "):
        tap.fail("expected the line to start with 'erofs-convert: error: '", *seen)
    if not lines[0].isprintable():
        tap.fail("expected no control characters in the line", *seen)
    for text in says:
        options = text if isinstance(text, tuple) else (text,)
        if not any(o.lower() in lines[0].lower() for o in options):
            tap.fail(f"expected the line to say {' or '.join(map(repr, options))}", *seen)
    return lines[0]


def convert(source, dest, *options, compression="none", **kw):
    """Converts, without compression unless it is asked for; checks that stdout is the manifest's
    digest and nothing else."""
    done = succeed("convert", "--compression", compression, *options, source, dest, **kw)
    if not re.fullmatch(r"sha256:[0-9a-f]{64}\n", done.stdout):
        tap.fail("expected the manifest digest, and nothing else, on stdout", command(("convert", source, dest)),
                 f"seen: {done.stdout!r}")
    return done


def mount(image, point):
    os.makedirs(point, exist_ok=True)
    return succeed("mount", image, point)


def umount(point, **kw):
    """Other tests run at the same time: between fork and exec their children hold our files open."""
    end = time.monotonic() + LIMIT
    while time.monotonic() < end:
        done = run("umount", point, **kw)
        if done.returncode == 0 or "busy" not in done.stderr:
            break
        time.sleep(0.05)
    if done.returncode != 0:
        tap.fail(f"expected success, seen exit status {done.returncode}", command(("umount", point)), done.stderr)
    return done


def wait_until_read(process, count):
    """Until the process has read so many bytes, of whatever, or has ended: how far it is, on any machine."""
    while process.poll() is None:
        with contextlib.suppress(OSError, IndexError), open(f"/proc/{process.pid}/io", encoding="ascii") as f:
            if int(f.read().split()[1]) >= count:
                return
        time.sleep(0.002)


def ours(*parents):
    """Processes with the names of our programs, and the children of these parents. That much can be looked up at any time:
    a command line or an environment may have to wait until its process has got data of a mapped file."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as stat:
            name, _, rest = stat.read().partition("(")[2].rpartition(")")
            if name.startswith(("erofs-", "exe", "holder-worker")) or int(rest.split()[1]) in parents:
                found.append(int(pid))
    return found


def has_stopped(pid):
    """All of its threads stand still, or are no more."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/stat", "rb") as stat:
                if stat.read().rpartition(b")")[2].split()[0] not in (b"T", b"Z", b"X"):
                    return False
    return True


def stop_all(pids):
    """Stops them, all of their threads, so that they can be killed as if at once. One that waits for another of them, in the
    kernel, stops when it is killed."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
    end = time.monotonic() + 10 * PROMPT
    while not all(map(has_stopped, pids)) and time.monotonic() < end:
        time.sleep(0.002)


def processor_time(process):
    """Seconds that it has used, also when it has ended and nobody has waited for it."""
    with open(f"/proc/{process.pid}/stat", encoding="ascii", errors="replace") as line:
        fields = line.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def end_by(process, number):
    """Sends the signal, and waits for the end, which must come soon: within seconds, or, where the machine
    is busy, seconds of the processor. (status, stdout, stderr); little may be said."""
    if process.poll() is not None:
        return (process.returncode, *process.communicate(timeout=LIMIT))
    before, begin = processor_time(process), time.monotonic()
    os.kill(process.pid, number)  # Popen's own way might take the zombie, and its times with it
    while not os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
        if time.monotonic() > begin + LIMIT:
            process.kill()
            process.communicate()
            tap.fail("the tool hangs after the signal")
        time.sleep(0.005)
    took, used = time.monotonic() - begin, processor_time(process) - before
    if os.environ.get("TEST_TIMES"):
        print(f"# ended after {took:.3f} s, {used:.3f} s of the processor")
    out, err = process.communicate(timeout=LIMIT)  # with a timeout, it may be called again
    number = signal.Signals(number)
    if took >= PROMPT:
        tap.expect(used < PROMPT and took < 10 * PROMPT, f"{number.name}: it went on for {took:.2f} s, and used the processor for {used:.2f} s", out, err)
    return process.returncode, out, err


def umoci_unpack(layout, tag, bundle):
    """The rootfs that umoci makes of the image. Raises CalledProcessError where umoci refuses it."""
    tap.need_tool("umoci")
    subprocess.run(["umoci", "--log=error", "unpack", "--image", f"{layout}:{tag}", bundle], check=True,
                   capture_output=True, timeout=LIMIT, umask=0o022)
    return os.path.join(bundle, "rootfs")


def have_umoci():
    return os.geteuid() == 0 and shutil.which("umoci") is not None


def snapshot(path):
    """Everything below `path`, names and bytes: equal snapshots are equal directories.
    A path that does not exist has a snapshot too."""
    found = {}
    if not os.path.lexists(path):
        return {"": "absent"}
    for base, dirs, files in os.walk(os.fsencode(path)):
        inside = os.path.relpath(base, os.fsencode(path))
        found[inside] = "directory"
        for name in dirs:
            if os.path.islink(os.path.join(base, name)):
                found[os.path.join(inside, name)] = "link"
        for name in files:
            with open(os.path.join(base, name), "rb") as data:
                found[os.path.join(inside, name)] = hashlib.sha256(data.read()).hexdigest()
    return found


def snapshot_difference(before, after):
    """Lines that say how two snapshots differ; none when they are equal."""
    lines = []
    for name in sorted(before.keys() | after.keys(), key=lambda n: os.fsencode(n)):
        a, b = before.get(name), after.get(name)
        if a != b:
            lines.append(f"{name!r}: " + ("appeared" if a is None else "vanished" if b is None else "changed"))
    return lines
