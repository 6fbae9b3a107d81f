# SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
"""File trees: written down as expected, read from a directory, and compared.

A tree is a dict from path (bytes, '' is the root) to Node. Every member of a Node
counts; None means "whatever it is".
"""
import os
import stat
from dataclasses import dataclass, field, replace

from oci import GID, MTIME, UID, to_bytes


@dataclass
class Node:
    kind: str                     # file, dir, symlink, char, block, fifo, socket
    mode: int
    uid: int
    gid: int
    ns: int                       # mtime in nanoseconds
    data: object = None           # a file's bytes, a symlink's target, a device's (major, minor)
    xattrs: dict = field(default_factory=dict)
    nlink: object = None          # expected: filled in from the whole tree unless given
    same: object = None           # hard links: expected, any label that the names share; read, the inode
    implied: bool = False         # a directory that no entry names


def _node(kind, mode, data=None, uid=UID, gid=GID, mtime=MTIME, ns=None, **kw):
    return Node(kind, mode, uid, gid, mtime * 10 ** 9 if ns is None else ns, data, **kw)


def F(data=b"", mode=0o644, **kw):
    return _node("file", mode, data, **kw)


def D(mode=0o755, **kw):
    return _node("dir", mode, **kw)


def L(target, mode=0o777, **kw):
    return _node("symlink", mode, to_bytes(target), **kw)


def C(major, minor, mode=0o644, **kw):
    return _node("char", mode, (major, minor), **kw)


def B(major, minor, mode=0o644, **kw):
    return _node("block", mode, (major, minor), **kw)


def P(mode=0o644, **kw):
    return _node("fifo", mode, **kw)


def IMPLIED(**kw):
    return Node("dir", 0o755, 0, 0, 0, implied=True, **kw)


def complete(want):
    """The expected tree with byte paths, its root, and its link counts."""
    tree = {to_bytes(path): replace(node) for path, node in want.items()}
    tree.setdefault(b"", IMPLIED())
    names, subdirectories = {}, {}
    for path, node in tree.items():
        if path:
            parent = path.rpartition(b"/")[0]
            assert parent in tree and tree[parent].kind == "dir", f"the case does not list {parent!r}"
            subdirectories[parent] = subdirectories.get(parent, 0) + (node.kind == "dir")
        if node.same is not None:
            names[node.same] = names.get(node.same, 0) + 1
    for path, node in tree.items():
        if node.nlink is None:
            if node.kind == "dir":
                node.nlink = 2 + subdirectories.get(path, 0)
            else:
                node.nlink = names.get(node.same, 1)
    return tree


KINDS = {stat.S_IFREG: "file", stat.S_IFDIR: "dir", stat.S_IFLNK: "symlink", stat.S_IFCHR: "char",
         stat.S_IFBLK: "block", stat.S_IFIFO: "fifo", stat.S_IFSOCK: "socket"}


def read(root):
    """The tree below `root`; paths of any length (it never hands the kernel more than one name)."""
    tree = {}
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        _read_node(tree, b"", fd, b".")
        _read_directory(tree, b"", fd)
    finally:
        os.close(fd)
    return tree


def _read_directory(tree, path, fd):
    for name in sorted(map(os.fsencode, os.listdir(fd))):
        below = path + b"/" + name if path else name
        if _read_node(tree, below, fd, name) == "dir":
            inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=fd)
            try:
                _read_directory(tree, below, inner)
            finally:
                os.close(inner)


def _read_node(tree, path, fd, name):
    st = os.stat(name, dir_fd=fd, follow_symlinks=False)
    kind, data = KINDS[stat.S_IFMT(st.st_mode)], None
    if kind == "file":
        with os.fdopen(os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=fd), "rb") as content:
            data = content.read()
        if len(data) != st.st_size:
            raise AssertionError(f"{path!r}: st_size {st.st_size}, but {len(data)} bytes to read")
    elif kind == "symlink":
        data = os.readlink(name, dir_fd=fd)
        if len(data) != st.st_size:
            raise AssertionError(f"{path!r}: st_size {st.st_size}, but a target of {len(data)} bytes")
    elif kind in ("char", "block"):
        data = (os.major(st.st_rdev), os.minor(st.st_rdev))
    where = b"/proc/self/fd/%d/%s" % (fd, name)
    xattrs = {key: os.getxattr(where, key, follow_symlinks=False)
              for key in os.listxattr(where, follow_symlinks=False)}
    xattrs.pop("security.selinux", None)  # the host's, not the image's
    tree[path] = Node(kind, stat.S_IMODE(st.st_mode), st.st_uid, st.st_gid, st.st_mtime_ns, data,
                      xattrs, st.st_nlink, st.st_ino)
    return kind


def _brief(value):
    if isinstance(value, bytes) and len(value) > 80:
        return f"{value[:60]!r}… ({len(value)} bytes)"
    return repr(value)


def _first_difference(want, seen):
    at = next((i for i, (a, b) in enumerate(zip(want, seen)) if a != b), min(len(want), len(seen)))
    return f"{len(want)} bytes, seen {len(seen)}; they part at byte {at}"


def compare(want, seen, oracle=False):
    """What differs, as lines. With `oracle`, what decision 6 settles for us alone is left out:
    the mtime of directories that no entry names, and link counts of directories."""
    lines = [f"{path!r}: expected ({node.kind}), but missing" for path, node in want.items() if path not in seen]
    lines += [f"{path!r}: not expected ({node.kind})" for path, node in seen.items() if path not in want]
    inodes = {}
    for path in sorted(want.keys() & seen.keys()):
        a, b = want[path], seen[path]
        for member in ("kind", "mode", "uid", "gid", "ns", "data", "xattrs", "nlink"):
            x, y = getattr(a, member), getattr(b, member)
            if oracle and a.kind == "dir" and (member == "nlink" or (member == "ns" and a.implied)):
                continue
            if x is None or x == y:
                continue
            if member == "mode":
                x, y = oct(x), oct(y)
            if member == "data" and isinstance(x, bytes) and isinstance(y, bytes) and len(x) + len(y) > 160:
                lines.append(f"{path!r}: data: expected {_first_difference(x, y)}")
            else:
                lines.append(f"{path!r}: {member}: expected {_brief(x)}, seen {_brief(y)}")
        label = a.same if a.same is not None else path
        other = inodes.setdefault(label, (path, b.same))
        if other[1] != b.same:
            lines.append(f"{path!r}: expected to be the same inode as {other[0]!r}")
    numbers = {}
    for label, (path, inode) in inodes.items():
        if numbers.setdefault(inode, path) != path:
            lines.append(f"{path!r}: not expected to be the same inode as {numbers[inode]!r}")
    return lines
