# SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
"""`erofs-convert serve` for tests: a daemon that is started, asked, killed and ended.

    with served.Daemon(at, transport="fuse-device") as daemon:
        daemon.mount("docker://...", f"{at}/m", "--plain-http")
        daemon.kill("worker")
        daemon.wait_alive()
"""
import atexit
import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import time

import tap
import tool
from tap import PATIENCE, wait_for

HERE = os.path.dirname(os.path.abspath(__file__))
FDSTORE = os.path.join(HERE, "../../tools/fdstore")
TRANSPORTS = ("fanotify", "fuse-device", "fuse")

# Orphans come to us (PR_SET_CHILD_SUBREAPER), so that nobody is left behind.
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)


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

    manager: below tests/tools/fdstore, which keeps its descriptors and starts it again. through: a command that
    becomes it. It is started when it is made, or by start(); what it says is in `log`."""
    asked_through = ()  # a command that becomes who asks it

    def __init__(self, at, *options, transport="auto", manager=False, through=(), store=None, config=None, start=True, **env):
        self.at, self.options, self.transport, self.manager, self.through = at, list(options), transport, manager, through
        self.store, self.socket, self.runtime, self.log = store or f"{at}/store", f"{at}/socket", f"{at}/run", f"{at}/log"
        self.said, self.env, self.popen = f"{at}/said", env, None
        if config is not None:
            with open(f"{at}/serve.json", "w", encoding="utf-8") as out:
                json.dump(config, out)
        self.options += ["--config", f"{at}/serve.json"] if config is not None else []
        if start:
            self.start()

    def command(self):
        return [*self.through, *([sys.executable, FDSTORE] if self.manager else []), tool.TOOL, "serve", "--debug", "--store", self.store,
                "--socket", self.socket, "--transport", self.transport, *self.options]

    def start(self):
        atexit.register(self.close)
        with open(self.log, "ab") as log, open(self.said, "ab") as said:
            self.popen = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=said, stderr=log,
                                          env=dict(os.environ, EROFS_CONVERT_RUNTIME=self.runtime, **self.env))
        try:
            self.wait_alive()
            tap.expect(self.popen.poll() is None, "what was started has ended", self.text())
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
        return tool.run("status", "--socket", self.socket, "--json", through=self.asked_through).returncode == 0

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

    def replace(self, who):
        """kill -9, and there is another one. A holder has taken over all that the old one left when it has its name:
        two that die one after the other may both have denied one read."""
        old = self.kill(who)

        def another():
            pid = self.pids().get(who)
            if pid in (None, *old):
                return False
            with contextlib.suppress(OSError):
                with open(f"/proc/{pid}/comm") as name:
                    return who != "holder" or name.read().strip() == "erofs-holder"
            return False

        wait_for(f"there is another {who}", another)

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
        """Where it is."""
        os.makedirs(point, exist_ok=True)
        try:
            tool.succeed("mount", "--socket", self.socket, "--prefetch", prefetch, *options, image, point, **{"through": self.asked_through, **kw})
            return point
        except tap.Failure as why:
            tap.fail(str(why), "the daemon said:", self.text(3000))

    def umount(self, point):
        tool.umount(point, through=self.asked_through)
        wait_for("the daemon forgets the mount", lambda: point not in [m["mountpoint"] for m in self.status()["mounts"]])

    def status(self):
        """Asked again while a worker is being replaced."""
        def ask():
            done = tool.run("status", "--socket", self.socket, "--json", through=self.asked_through)
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


@contextlib.contextmanager
def daemon(*options, **kw):
    """One in a directory of its own, where there is a directory `m` to mount at; what fails with it tells its log."""
    at = tap.fresh("serve")
    os.mkdir(f"{at}/m")
    try:
        with Daemon(at, *options, **kw) as one:
            try:
                yield one
            except tap.Failure as why:
                tap.fail(str(why), "the daemon's log:", one.text(4000))
    finally:
        tap.remove(at)
