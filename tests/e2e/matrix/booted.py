# SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
"""The real systemd as PID 1 of a container: this machine's files, read-only, with an /etc, /run and /var of its own.

    with booted.Machine(at, {"some.service": "[Service]..."}) as machine:
        machine.systemctl("start", "some.service")

The network is shared, so that registries on loopback are there. What is in `at` is seen at the same path, and
may be written to. What the container mounts is seen below machine.root. Nothing of it outlives the test: its
processes die with its PID 1, its mounts with its mount namespace.
"""
import atexit
import contextlib
import ctypes
import os
import pty
import shutil
import subprocess
import sys
import threading
import time

import tap

SYSTEMD = "/lib/systemd/systemd"
UNITS = "/etc/systemd/system"
# Of systemd's own units only these: the others would set up this machine (sysctl, udev, modules).
TARGETS = ("-.slice", "basic.target", "final.target", "init.scope", "multi-user.target", "network-online.target", "network.target", "paths.target",
           "shutdown.target", "slices.target", "sockets.target", "sysinit.target", "system.slice", "timers.target", "umount.target")
ETC = ("group", "hosts", "ld.so.cache", "nsswitch.conf", "passwd")
DEVICES = ("full", "fuse", "null", "random", "tty", "urandom", "zero", "cachefiles")
MS_RDONLY, MS_NOSUID, MS_NOEXEC, MS_NODEV, MS_REMOUNT, MS_BIND, MS_MOVE, MS_REC, MS_PRIVATE, MS_SHARED = 1, 2, 8, 4, 32, 4096, 8192, 0x4000, 1 << 18, 1 << 20
MNT_DETACH = 2
CLONE_NEWCGROUP = 0x02000000
SYS_MOUNT_SETATTR = 442
libc = ctypes.CDLL(None, use_errno=True)


def need():
    """Skip where there is no systemd to be started."""
    tap.need_root()
    if not os.access(SYSTEMD, os.X_OK):
        raise tap.Skip("systemd is not installed")
    with open("/proc/filesystems", encoding="ascii") as table:
        if "\tcgroup2\n" not in table.read():
            raise tap.Skip("this kernel has no cgroup2")


class Machine:
    """units: text by name, in /etc/systemd/system. places: {path: a directory of ours that is there}."""

    def __init__(self, at, units, places=()):
        self.at, self.console, self.popen = at, b"", None
        self.control = f"{at}/cgroup"
        os.mkdir(self.control)
        tap.mount("none", self.control, "cgroup2")
        self.group = self.own_group()
        os.mkdir(self.group)
        os.mkdir(f"{at}/units")
        for name, text in units.items():
            self.write(f"{at}/units/{name}", text)
        os.mkdir(f"{at}/root")
        master, slave = pty.openpty()
        atexit.register(self.close)
        # However we end, it ends, too.
        self.popen = subprocess.Popen(["setpriv", "--pdeathsig=KILL", "unshare", "--mount", "--pid", "--ipc", "--uts", "--fork", "--kill-child", sys.executable, "-B", __file__, at,
                                       self.group, *[f"{path}={ours}" for path, ours in dict(places).items()]],
                                      stdin=slave, stdout=slave, stderr=slave, start_new_session=True)
        os.close(slave)
        self.reader = threading.Thread(target=self.drain, args=(master,), daemon=True)
        self.reader.start()
        try:
            tap.wait_for("systemd runs", self.runs)
        except BaseException:
            self.close()
            raise

    def own_group(self):
        """Below the group that we are in: that one is ours, whoever manages the others."""
        with open("/proc/self/cgroup", encoding="utf-8") as lines:
            own = next(line.strip().partition("::")[2] for line in lines if line.startswith("0::"))
        # Of a cgroup namespace that was left, or none: then the root will do.
        own = "" if own.startswith("/..") or not os.path.isdir(f"{self.control}{own}") else own.rstrip("/")
        return f"{self.control}{own}/erofs-convert-test.{os.getpid()}.{os.path.basename(self.at)}"

    @staticmethod
    def write(path, text):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as out:
            out.write(text)

    def drain(self, master):
        with contextlib.suppress(OSError):  # EIO: nobody has the other side any more
            while piece := os.read(master, 65536):
                self.console += piece
        os.close(master)

    def said(self):
        return self.console.decode("utf-8", "replace").replace("\r", "")

    def runs(self):
        tap.expect(self.popen.poll() is None, "the container ended", self.said()[-6000:])
        with open(f"/proc/{self.popen.pid}/task/{self.popen.pid}/children", encoding="ascii") as children:
            self.first = int((children.read().split() or [0])[0])
        if not self.first or not os.path.exists(f"{self.root}/run/systemd/private"):
            return False
        return self.systemctl("is-system-running", check=False).stdout.strip() in ("running", "degraded")

    @property
    def root(self):
        return f"/proc/{self.first}/root"

    @property
    def enter(self):
        """A command that is put in front of one to run it there."""
        return ("nsenter", f"--target={self.first}", "--mount", "--pid", "--ipc", "--uts", "--")

    def run(self, *args, check=True, **kw):
        done = subprocess.run([*self.enter, *args], capture_output=True, text=True, timeout=tap.PATIENCE, stdin=subprocess.DEVNULL, check=False, **kw)
        if check and done.returncode != 0:
            tap.fail(f"{' '.join(args)}: {done.returncode}", done.stdout, done.stderr, self.said()[-4000:])
        return done

    def systemctl(self, *args, **kw):
        return self.run("systemctl", *args, **kw)

    def show(self, unit, *names):
        """{property: value}."""
        lines = self.systemctl("show", unit, *[f"--property={name}" for name in names]).stdout.splitlines()
        return dict(line.split("=", 1) for line in lines)

    def processes(self, unit):
        """Of the unit, as we number them, with those of control groups below its own."""
        found = []
        for base, _, names in os.walk(f"{self.group}/system.slice/{unit}"):
            if "cgroup.procs" in names:
                with contextlib.suppress(OSError), open(f"{base}/cgroup.procs", encoding="ascii") as pids:
                    found += map(int, pids.read().split())
        return found

    def close(self):
        atexit.unregister(self.close)
        if self.popen:
            self.popen.kill()
            self.popen.wait()
        # unshare's child dies with it, and with that one all the others.
        end = time.monotonic() + tap.PATIENCE
        while os.path.isdir(self.group) and time.monotonic() < end:
            for base, _, _ in os.walk(self.group, topdown=False):
                with contextlib.suppress(OSError):
                    os.rmdir(base)
            time.sleep(0.01)
        tap.unmount_below(self.at)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


# --- in the container, until it becomes systemd ------------------------------------------------

def mount(source, target, fstype=None, flags=0, options=None):
    if libc.mount(os.fsencode(source), os.fsencode(target), fstype and fstype.encode(), ctypes.c_ulong(flags), options and options.encode()) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), os.fsdecode(target))


def bind(source, target, flags=0):
    """A directory or a file, where there is something of its kind or nothing."""
    if os.path.isdir(source):
        os.makedirs(target, exist_ok=True)
    elif not os.path.exists(target):
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with open(target, "x", encoding="ascii"):
            pass
    mount(source, target, flags=MS_BIND | flags)


def all_read_only(root):
    """With all that is mounted below (mount_setattr(2), MOUNT_ATTR_RDONLY)."""
    attr = (ctypes.c_uint64 * 4)(1, 0, 0, 0)
    at_recursive, at_fdcwd = 0x8000, -100
    if libc.syscall(SYS_MOUNT_SETATTR, at_fdcwd, os.fsencode(root), at_recursive, attr, ctypes.c_size_t(32)) != 0:
        raise OSError(ctypes.get_errno(), "mount_setattr")


def tmpfs(path, mode="0755"):
    mount("tmpfs", path, "tmpfs", MS_NOSUID, f"mode={mode}")


def make_dev(dev):
    tmpfs(dev)
    for name in DEVICES:
        if os.path.exists(f"/dev/{name}"):
            bind(f"/dev/{name}", f"{dev}/{name}")
    bind(os.ttyname(0), f"{dev}/console")
    for name in ("pts", "shm"):
        os.mkdir(f"{dev}/{name}")
    mount("devpts", f"{dev}/pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620")
    os.symlink("pts/ptmx", f"{dev}/ptmx")
    tmpfs(f"{dev}/shm", "1777")
    for name, target in (("fd", "fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")):
        os.symlink(f"/proc/self/{target}", f"{dev}/{name}")


def make_etc(etc, at):
    tmpfs(etc)
    for name in ETC:
        if os.path.exists(f"/etc/{name}"):
            shutil.copy(f"/etc/{name}", etc)
    with open(f"{etc}/machine-id", "w", encoding="ascii") as out:
        out.write("e" * 32 + "\n")
    units = f"{etc}/systemd/system"
    os.makedirs(units)
    for name in TARGETS:
        if os.path.exists(f"/lib/systemd/system/{name}"):
            shutil.copy(f"/lib/systemd/system/{name}", units)
    os.symlink("multi-user.target", f"{units}/default.target")
    shutil.copytree(f"{at}/units", units, dirs_exist_ok=True)


def become_systemd(at, group, *places):
    with open(f"{group}/cgroup.procs", "w", encoding="ascii") as procs:
        procs.write("0")
    if libc.unshare(CLONE_NEWCGROUP) != 0:
        raise OSError(ctypes.get_errno(), "unshare of the cgroup namespace")
    root = f"{at}/root"
    mount("none", "/", flags=MS_REC | MS_PRIVATE)
    mount("/", root, flags=MS_BIND | MS_REC)
    all_read_only(root)
    for name in ("proc", "sys", "dev", "run", "tmp", "var"):  # ours take their places; the same sysfs twice would be refused
        libc.umount2(os.fsencode(f"{root}/{name}"), MNT_DETACH)
    make_etc(f"{root}/etc", at)
    make_dev(f"{root}/dev")
    for name, mode in (("run", "0755"), ("var", "0755"), ("tmp", "1777")):
        tmpfs(f"{root}/{name}", mode)
    os.symlink("/run", f"{root}/var/run")
    for name in ("var/lib", "var/cache", "var/log", "var/tmp"):
        os.mkdir(f"{root}/{name}")
    # What the tests made, and the program, wherever they are.
    for path in [place.partition("=") for place in places]:
        bind(path[2], root + path[0])
    bind(at, root + at)
    mount("proc", f"{root}/proc", "proc", MS_NOSUID | MS_NOEXEC | MS_NODEV)
    # systemd sets some for the whole kernel, in containers too, unless they are read-only.
    bind(f"{root}/proc/sys", f"{root}/proc/sys")
    mount("none", f"{root}/proc/sys", flags=MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NOEXEC | MS_NODEV)
    mount("sysfs", f"{root}/sys", "sysfs", MS_NOSUID | MS_NOEXEC | MS_NODEV)
    mount("cgroup2", f"{root}/sys/fs/cgroup", "cgroup2", MS_NOSUID | MS_NOEXEC | MS_NODEV)
    os.chdir(root)
    mount(".", "/", flags=MS_MOVE)
    os.chroot(".")
    os.chdir("/")
    mount("none", "/", flags=MS_REC | MS_SHARED)  # as systemd itself makes it where it is no container
    env = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "container": "erofs-convert-test", "TERM": "dumb",
           "SYSTEMD_UNIT_PATH": UNITS, "SYSTEMD_GENERATOR_PATH": "/nowhere", "SYSTEMD_ENVIRONMENT_GENERATOR_PATH": "/nowhere"}
    os.execve(SYSTEMD, [SYSTEMD, "--system", "--log-target=console", "--log-level=info", "--log-color=no", "--show-status=no"], env)


if __name__ == "__main__":
    become_systemd(*sys.argv[1:])
