#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
"""Write down a file tree, and compare two of them: everything that a tar can say.

usage: tree.py record ROOT > FILE
       tree.py compare A B [--except-dirs FILE] [--except-xattr NAME] [--any-dir-links] [--max N]
       tree.py implicit-dirs oci:DIR:TAG | tar:FILE[,FILE...]

A and B are directories, or files that `record` wrote; A is the reference.

compare prints what differs and exits with 1 if anything does. It looks at paths,
types, modes, owners, sizes, mtimes in nanoseconds, link counts, which names are one
inode, device numbers, xattrs, symlink targets and the SHA-256 of contents. Sizes of
directories mean nothing and are left out; their links are 2 and one for each
subdirectory in B (what A's filesystem says does not count).

implicit-dirs prints the directories where tools that unpack the layers may differ, with
what B must have there; give that to --except-dirs. They are exactly
- directories that no entry names, there because something lies below them:
  0755, 0:0, mtime 0, no xattrs;
- directories in which such a directory had to be made after their own entry: the entry's
  mtime (umoci leaves the time of unpacking).

A record is one JSON array for each file, in the order of the paths' bytes; bytes that
are not UTF-8 appear as lone surrogates.
"""

import argparse
import hashlib
import json
import os
import stat
import subprocess
import sys
import tarfile
from concurrent.futures import ThreadPoolExecutor
from decimal import ROUND_FLOOR, Decimal

TYPES = {
    stat.S_IFREG: "file", stat.S_IFDIR: "dir", stat.S_IFLNK: "symlink", stat.S_IFCHR: "char",
    stat.S_IFBLK: "block", stat.S_IFIFO: "fifo", stat.S_IFSOCK: "socket",
}
FIELDS = ("type", "mode", "uid", "gid", "size", "mtime", "links", "same_as", "rdev", "target",
          "xattrs", "sha256")
HASH_CHUNK = 1 << 20


def text(raw):
    return os.fsdecode(raw)


# --- recording ---------------------------------------------------------------------------------

def sha256(path):
    digest = hashlib.sha256()
    # O_NOATIME would be nicer to the tree, but needs its owner; atimes are not compared.
    with open(path, "rb", buffering=0) as file:
        while chunk := file.read(HASH_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def xattrs(path):
    found = {}
    for name in os.listxattr(path, follow_symlinks=False):
        # What overlays and security modules of this machine add is no part of the tree.
        if name != "security.selinux":
            found[text(name)] = os.getxattr(path, name, follow_symlinks=False).hex()
    return dict(sorted(found.items()))


def read_tree(root):
    """Every file below root, as {path: {field: value}}; the root itself is "."."""
    top = os.fsencode(root)
    device = os.lstat(top).st_dev
    tree, inodes, hashes = {}, {}, {}
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        def visit(full, path, status):
            kind = stat.S_IFMT(status.st_mode)
            record = {
                "type": TYPES[kind],
                "mode": oct(stat.S_IMODE(status.st_mode)),
                "uid": status.st_uid,
                "gid": status.st_gid,
                "mtime": status.st_mtime_ns,
                "links": status.st_nlink,
                "xattrs": xattrs(full),
            }
            if kind != stat.S_IFDIR:
                record["size"] = status.st_size
                # One inode, one hash; the names are joined below.
                inodes.setdefault(status.st_ino, []).append(path)
            if kind == stat.S_IFLNK:
                record["target"] = text(os.readlink(full))
            elif kind in (stat.S_IFCHR, stat.S_IFBLK):
                record["rdev"] = f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}"
            elif kind == stat.S_IFREG and status.st_ino not in hashes:
                # Small files are quicker without a thread's help.
                hashes[status.st_ino] = (
                    pool.submit(sha256, full) if status.st_size > 1 << 16 else sha256(full))
            tree[path] = record

        visit(top, b".", os.lstat(top))
        pending = [(top, b"")]
        while pending:
            directory, prefix = pending.pop()
            with os.scandir(directory) as entries:
                for entry in entries:
                    status = entry.stat(follow_symlinks=False)
                    path = prefix + entry.name
                    if status.st_dev != device:
                        raise SystemExit(f"tree.py: {text(path)}: another filesystem is mounted here")
                    visit(entry.path, path, status)
                    if entry.is_dir(follow_symlinks=False):
                        pending.append((entry.path, path + b"/"))

        for inode, paths in inodes.items():
            first = min(paths)
            digest = hashes.get(inode)
            if digest is not None and not isinstance(digest, str):
                digest = digest.result()
            for path in paths:
                if digest is not None:
                    tree[path]["sha256"] = digest
                if len(paths) > 1:
                    tree[path]["same_as"] = text(first)
    return {text(path): tree[path] for path in sorted(tree)}


def write_record(tree, out):
    for path, record in tree.items():
        row = [path] + [record.get(field) for field in FIELDS]
        out.write(json.dumps(row, separators=(",", ":")) + "\n")


def read_record(path):
    tree = {}
    with open(path, encoding="ascii") as file:
        for line in file:
            row = json.loads(line)
            tree[row[0]] = {
                field: value for field, value in zip(FIELDS, row[1:]) if value is not None}
    return tree


def load(path):
    return read_tree(path) if os.path.isdir(path) else read_record(path)


# --- comparing ---------------------------------------------------------------------------------

def printable(value):
    return json.dumps(value) if isinstance(value, (dict, str)) else str(value)


def instant(nanoseconds):
    return f"{nanoseconds // 10**9}.{nanoseconds % 10**9:09}"


def expect(tree, exceptions, any_dir_links):
    """What the reference promises of the other tree."""
    for path in tree:
        if tree[path]["type"] == "dir":
            tree[path]["links"] = 2
    for path, record in tree.items():
        if record["type"] == "dir" and path != ".":
            tree[os.path.dirname(path) or "."]["links"] += 1
    for path, record in tree.items():
        if record["type"] == "dir":
            if any_dir_links:
                del record["links"]
            record.update(exceptions.get(path, {}))


def differences(a, b):
    """Lines, one for each fact that differs."""
    for path in sorted(a.keys() | b.keys(), key=os.fsencode):
        if path not in b:
            yield f"{printable(path)}: missing ({a[path]['type']} in the reference)"
            continue
        if path not in a:
            yield f"{printable(path)}: extra ({b[path]['type']}, not in the reference)"
            continue
        for field in FIELDS:
            want, have = a[path].get(field), b[path].get(field)
            if want == have or field == "links" and want is None:
                continue
            if field == "xattrs":
                for name in sorted(want.keys() | have.keys()):
                    if want.get(name) != have.get(name):
                        yield (f"{printable(path)}: xattr {name}: "
                               f"{have.get(name, 'none')}, reference {want.get(name, 'none')}")
                continue
            if field == "mtime":
                want, have = instant(want), instant(have)
            yield f"{printable(path)}: {field}: {printable(have)}, reference {printable(want)}"


def compare(args):
    exceptions = {}
    if args.except_dirs:
        with open(args.except_dirs, encoding="ascii") as file:
            exceptions = dict(json.loads(line) for line in file)
    with ThreadPoolExecutor(max_workers=2) as pool:
        a, b = pool.map(load, (args.a, args.b))
    expect(a, exceptions, args.any_dir_links)
    for tree in (a, b):
        for record in tree.values():
            for name in args.except_xattr:
                record["xattrs"].pop(name, None)
    found = list(differences(a, b))
    for line in found[:args.max]:
        print(line)
    if len(found) > args.max:
        print(f"... and {len(found) - args.max} more")
    print(f"{len(a)} files compared, {len(found)} differences"
          + (f"; {len(exceptions)} directories judged by their entries alone" if exceptions else ""))
    return 1 if found else 0


# --- directories that no entry names -----------------------------------------------------------

DECOMPRESS = {"gzip": ["gzip", "-dc"], "zstd": ["zstd", "-dcq"]}


def layers_of(image):
    """(file, command that decompresses it or None) for each layer, lowest first."""
    transport, _, rest = image.partition(":")
    if transport == "tar":
        for path in rest.split(","):
            with open(path, "rb") as file:
                magic = file.read(4)
            kind = "gzip" if magic[:2] == b"\x1f\x8b" else "zstd" if magic == b"\x28\xb5\x2f\xfd" else ""
            yield path, DECOMPRESS.get(kind)
        return
    layout, _, tag = rest.rpartition(":")

    def blob(digest):
        return os.path.join(layout, "blobs", *digest.split(":", 1))

    def read(path):
        with open(path, encoding="utf-8") as file:
            return json.load(file)

    for entry in read(os.path.join(layout, "index.json"))["manifests"]:
        if entry.get("annotations", {}).get("org.opencontainers.image.ref.name") == tag:
            for layer in read(blob(entry["digest"]))["layers"]:
                kind = layer["mediaType"].rpartition("+")[2].rpartition(".")[2]
                yield blob(layer["digest"]), DECOMPRESS.get(kind)
            return
    raise SystemExit(f"tree.py: no tag {tag} in {layout}")


IMPLIED = {"mode": "0o755", "uid": 0, "gid": 0, "mtime": 0, "xattrs": {}}


def new_dir():
    # entry: its entry's mtime; disturbed: something was implied in it since then.
    return {"children": {}, "entry": None, "disturbed": False}


def entry_mtime(entry):
    """In nanoseconds; tarfile itself makes it a float."""
    written = entry.pax_headers.get("mtime")
    if written is None:
        return int(entry.mtime) * 10**9
    return int(Decimal(written).scaleb(9).to_integral_value(ROUND_FLOOR))


class Names:
    """The merged tree's names, as far as it takes to know which directories have entries."""

    def __init__(self):
        self.root = new_dir()

    def lookup_dir(self, path, make):
        """The directory, following symlinks within the root."""
        stack, links = [self.root], 0
        parts = path.split("/")[::-1]
        while parts:
            part = parts.pop()
            if part in ("", "."):
                continue
            if part == "..":
                if len(stack) > 1:
                    stack.pop()
                continue
            node = stack[-1]["children"].get(part)
            if node is not None and "target" in node and links < 255:
                links += 1
                if node["target"].startswith("/"):
                    del stack[1:]
                parts.extend(node["target"].split("/")[::-1])
                continue
            if node is None or "children" not in node:
                if not make:
                    return new_dir()
                node = stack[-1]["children"][part] = new_dir()
                stack[-1]["disturbed"] = True
            stack.append(node)
        return stack[-1]

    def apply(self, layer):
        for entry in layer:
            parent, name = os.path.split(os.path.normpath("/" + entry.name).lstrip("/"))
            if name.startswith(".wh."):
                continue
            if not name:
                node = self.root
            else:
                children = self.lookup_dir(parent, make=True)["children"]
                node = children.get(name)
                if not entry.isdir():
                    children[name] = {"target": entry.linkname} if entry.issym() else {}
                    continue
                if node is None or "children" not in node:
                    node = children[name] = new_dir()
            node["entry"], node["disturbed"] = entry_mtime(entry), False

    def hide(self, layer):
        """Whiteouts hide what lower layers have: so they come before their layer's entries."""
        for entry in layer:
            parent, name = os.path.split(os.path.normpath("/" + entry.name).lstrip("/"))
            if name == ".wh..wh..opq":
                self.lookup_dir(parent, make=False)["children"].clear()
            elif name.startswith(".wh.") and not name.startswith(".wh..wh."):
                self.lookup_dir(parent, make=False)["children"].pop(name[len(".wh."):], None)

    def exceptions(self):
        pending = [(".", self.root)]
        while pending:
            path, node = pending.pop()
            if node["entry"] is None:
                yield path, IMPLIED
            elif node["disturbed"]:
                yield path, {"mtime": node["entry"]}
            for name, child in node["children"].items():
                if "children" in child:
                    pending.append((name if path == "." else f"{path}/{name}", child))


def implicit_dirs(args):
    names = Names()
    for path, decompress in layers_of(args.image):
        with open(path, "rb") as raw:
            reader = subprocess.Popen(
                decompress or ["cat"], stdin=raw, stdout=subprocess.PIPE, bufsize=1 << 20)
            with tarfile.open(fileobj=reader.stdout, mode="r|", bufsize=1 << 20) as tar:
                layer = []
                for entry in tar:
                    layer.append(entry)
                    tar.members = []
            reader.stdout.read()
            if reader.wait() != 0:
                raise SystemExit(f"tree.py: cannot read {path}")
        names.hide(layer)
        names.apply(layer)
    for exception in sorted(names.exceptions(), key=lambda exception: os.fsencode(exception[0])):
        print(json.dumps(exception))
    return 0


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    verb = verbs.add_parser("record")
    verb.add_argument("root")
    verb.set_defaults(run=lambda args: write_record(read_tree(args.root), sys.stdout))
    verb = verbs.add_parser("compare")
    verb.add_argument("a")
    verb.add_argument("b")
    verb.add_argument("--except-dirs", metavar="FILE")
    verb.add_argument("--except-xattr", metavar="NAME", action="append", default=[])
    verb.add_argument("--any-dir-links", action="store_true")
    verb.add_argument("--max", type=int, default=20)
    verb.set_defaults(run=compare)
    verb = verbs.add_parser("implicit-dirs")
    verb.add_argument("image")
    verb.set_defaults(run=implicit_dirs)
    args = parser.parse_args()
    sys.exit(args.run(args))


if __name__ == "__main__":
    main()
