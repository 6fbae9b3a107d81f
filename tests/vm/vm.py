# SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
"""A virtual machine of the kernel that build-kernel made, for one guest script.

Boots under qemu's emulation, so that neither root nor KVM is needed. What the script says on its
own serial line becomes TAP here; the console tells of panics and oopses. qemu never outlives this
process.

In the guest: the host's loopback is 10.0.2.2; /share is a directory of the host; /disk is an ext4
disk of its own.
"""
import importlib.machinery
import importlib.util
import os
import re
import select
import shutil
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../e2e/matrix"))

import tap

QEMU = "qemu-system-x86_64"
LIMIT = 900  # seconds for all of it; emulation is slow, and machines are loaded
# What a sound kernel does not say. (Stalls and tasks that are blocked for long are no fault by
# themselves: under emulation they may only tell of the host's load. A hang ends at the limit.)
FAULTS = re.compile(r"Kernel panic|\bOops\b|\bBUG: |kernel BUG at|WARNING: |general protection fault|refcount_t:")
SOFT_LOCKUP = re.compile(r"BUG: soft lockup|BUG: workqueue lockup")

_loader = importlib.machinery.SourceFileLoader("make_initramfs", os.path.join(HERE, "make-initramfs"))
make_initramfs = importlib.util.module_from_spec(importlib.util.spec_from_loader("make_initramfs", _loader))
_loader.exec_module(make_initramfs)


def kernel():
    """The kernel's path; Skip when there is none yet."""
    for name in (QEMU, "mkfs.ext4"):
        if not shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin"):
            raise tap.Skip(f"{name} is not installed: run scripts/install-deps.sh --vm")
    done = subprocess.run([os.path.join(HERE, "build-kernel"), "--path"], capture_output=True, text=True)
    if done.returncode != 0:
        raise tap.Skip(done.stderr.strip() or "there is no kernel yet: run tests/vm/build-kernel")
    return done.stdout.strip()


def make_disk(path, size, content=None):
    """An ext4 file system in a sparse file, with what is in the directory `content`. Needs no root."""
    with open(path, "wb") as disk:
        disk.truncate(size)
    args = ["mkfs.ext4", "-q", "-F", "-E", "root_owner=0:0,nodiscard"]
    if content:
        args += ["-d", content]
    subprocess.run([*args, path], check=True, stdout=subprocess.DEVNULL,
                   env={**os.environ, "PATH": os.environ.get("PATH", "") + ":/usr/sbin:/sbin"})
    return path


class Report:
    """TAP that is written as results come, numbered here."""

    def __init__(self, out=None):
        self.out, self.number, self.failed = out or sys.stdout, 0, 0

    def result(self, passed, name, *notes):
        self.number += 1
        self.failed += not passed
        print(tap.printable(f"{'ok' if passed else 'not ok'} {self.number} - {name}"), file=self.out)
        self.notes(*notes)
        return passed

    def notes(self, *notes):
        for note in notes:
            for line in str(note).splitlines():
                print(tap.printable(f"#   {line}"), file=self.out)
        self.out.flush()

    def end(self):
        print(f"1..{self.number}", file=self.out, flush=True)
        return 1 if self.failed else 0


class Machine:
    def __init__(self, script, args=(), programs=(), files=(), share=None, disk=None, memory="1G", cpus=2, limit=LIMIT,
                 rest=None, append=""):
        """`programs` as in make-initramfs; `share` a directory of the host that the guest may write to; `disk` a
        file of make_disk; `limit` seconds for all of it, `rest` for what follows the script's first line."""
        self.kernel, self.at, self.limit, self.rest = kernel(), tap.fresh("vm"), limit, rest
        self.script, self.share = script, share or tap.fresh("share")
        self.console_path = f"{self.at}/console"
        with open(f"{self.at}/initramfs", "wb") as out:
            make_initramfs.build(programs, files).write(out)
        # On a loaded host the emulated timer may be too late for the kernel's check of it, which ends in a panic.
        words = ["console=ttyS0", "no_timer_check", "panic=-1", "oops=panic", "loglevel=6", "rdinit=/init", f"vm.script={script}"]
        if args:
            words.append("vm.args=" + ",".join(args))
        self.command = [
            "setpriv", "--pdeathsig", "KILL",  # it ends with this process, however that ends
            QEMU, "-accel", os.environ.get("VM_ACCEL", "tcg"), "-machine", "pc", "-cpu", "max", "-smp", str(cpus), "-m", memory,
            "-display", "none", "-monitor", "none", "-no-reboot", "-nodefaults",
            "-kernel", self.kernel, "-initrd", f"{self.at}/initramfs", "-append", " ".join(words + [append]),
            "-chardev", f"file,id=console,path={self.console_path}", "-serial", "chardev:console", "-serial", "stdio",
            "-netdev", "user,id=net", "-device", "virtio-net-pci,netdev=net,romfile=",
            "-virtfs", f"local,path={self.share},mount_tag=share,security_model=none",
        ]
        if disk:
            self.command += ["-drive", f"file={disk},if=virtio,format=raw,cache=unsafe"]
        self.ended = None     # the guest script's exit status, when it came to its end
        self.planned = None   # the number of its results, as it says
        self.seen, self.tail, self.stderr, self.first = 0, [], "", None

    # --- what the guest says -------------------------------------------------------

    def _line(self, report, raw):
        line = raw.decode("utf-8", "backslashreplace").rstrip("\r\n")
        self.first = self.first or time.monotonic()
        self.tail = (self.tail + [line])[-20:]
        if result := re.match(r"(not )?ok\b *\d* *-? *(.*)", line):
            self.seen += 1
            report.result(not result.group(1), result.group(2) or "(no name)")
        elif plan := re.fullmatch(r"1\.\.(\d+)", line):
            self.planned = int(plan.group(1))
        elif end := re.fullmatch(r"# vm: .* ended with (\d+)", line):
            self.ended = int(end.group(1))
        elif line.startswith("#"):
            report.notes(line.lstrip("# "))

    def console(self):
        try:
            with open(self.console_path, "rb") as data:
                return data.read().decode("utf-8", "backslashreplace").replace("\r", "")
        except FileNotFoundError:
            return ""

    def faults(self):
        return [line for line in self.console().splitlines() if FAULTS.search(line) and not SOFT_LOCKUP.search(line)]

    # --- from start to end ---------------------------------------------------------

    def run(self, report):
        """Boots, and reports the script's results and one more: that all went well. True if so."""
        begin = time.monotonic()
        with open(f"{self.at}/qemu.err", "w+b") as err:
            qemu = self.qemu = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=err)
            try:
                in_time = self._follow(qemu, report, begin + self.limit)
            finally:
                qemu.kill()
                qemu.wait()
                qemu.stdout.close()
            err.seek(0)
            self.stderr = err.read().decode("utf-8", "backslashreplace")
        self.seconds = time.monotonic() - begin
        return self._judge(report, in_time)

    def _follow(self, qemu, report, end):
        pending = b""
        while True:
            if self.first and self.rest:
                end = min(end, self.first + self.rest)
            left = end - time.monotonic()
            if left <= 0:
                return False
            if not select.select([qemu.stdout], [], [], min(left, 5))[0]:
                continue
            data = os.read(qemu.stdout.fileno(), 1 << 16)
            if not data:
                break
            *lines, pending = (pending + data).split(b"\n")
            for line in lines:
                self._line(report, line)
        if pending:
            self._line(report, pending)
        try:
            qemu.wait(max(end - time.monotonic(), 1))
        except subprocess.TimeoutExpired:
            return False
        return True

    def _judge(self, report, in_time):
        why = []
        if not in_time:
            why.append(f"it did not end in {self.rest or self.limit} s")
        if self.faults():
            why.append("its kernel has found a fault: " + self.faults()[0])
        if self.ended is None:
            why.append("the script did not come to its end")
        elif self.ended != 0:
            why.append(f"the script ended with {self.ended}")
        if self.planned != self.seen:
            why.append(f"it planned {self.planned} results and gave {self.seen}")
        name = f"the virtual machine runs {self.script} to its end without a fault"
        if not why:
            return report.result(True, name)
        return report.result(False, name, *why, "qemu:", self.stderr or "(nothing)", "the script's last lines:", *self.tail,
                             "the console's last lines:", *self.console().splitlines()[-60:])
