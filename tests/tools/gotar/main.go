// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later

// Gotar prints what Go's archive/tar makes of a tar, as tests/tools/layer-dump does for the
// layer parser, and writes tars with Go's writer.
//
//	gotar read [HASH-MAX] <layer.tar
//	gotar batch [HASH-MAX] <cases      (each: its length as 32 bits little-endian, its bytes)
//	gotar write DIR
package main

import (
	"archive/tar"
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"time"
)

var out = bufio.NewWriter(os.Stdout)

// ours is the one list of what the layer parser refuses although archive/tar reads it. It
// gives the reason, or "".
//
// Not in the list, because no test case gets there: a sparse map of more than a million
// regions is refused, to bound memory (Go 1.19 has no bound; later ones take a map of at most
// 1 MiB).
func ours(h *tar.Header) string {
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeLink, tar.TypeSymlink, tar.TypeChar, tar.TypeBlock, tar.TypeDir,
		tar.TypeFifo, tar.TypeCont, tar.TypeGNUSparse:
	default:
		// Container runtimes refuse these, too: what they mean is unknown.
		return "type is not supported"
	}
	switch {
	case h.Name == "":
		return "no file has an empty name"
	case strings.Contains(h.Name, "\x00"):
		// A GNU.sparse.name record may say this. No file can be made with such a name.
		return "no file has a name with a NUL byte"
	case h.Uid < 0 || h.Uid >= math.MaxUint32 || h.Gid < 0 || h.Gid >= math.MaxUint32:
		return "EROFS has 32-bit owners, and the last one means none"
	case (h.Typeflag == tar.TypeChar || h.Typeflag == tar.TypeBlock) &&
		(h.Devmajor < 0 || h.Devmajor > math.MaxUint32 ||
			h.Devminor < 0 || h.Devminor > math.MaxUint32):
		return "device numbers have 32 bits at most"
	}
	return ""
}

// quote writes bytes as the characters of the same number.
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for i := 0; i < len(s); i++ {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			fmt.Fprintf(&b, "\\u%04x", c)
		} else {
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}

func xattrs(h *tar.Header) string {
	var names, list []string
	for name := range h.Xattrs {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		list = append(list, quote(name)+":"+quote(h.Xattrs[name]))
	}
	return "{" + strings.Join(list, ",") + "}"
}

var types = map[byte]string{
	tar.TypeReg: "file", tar.TypeCont: "file", tar.TypeGNUSparse: "file", tar.TypeDir: "dir",
	tar.TypeSymlink: "symlink", tar.TypeLink: "hardlink", tar.TypeChar: "char",
	tar.TypeBlock: "block", tar.TypeFifo: "fifo",
}

// line describes an entry. Fields that mean nothing for its type are as if they were not set.
func line(h *tar.Header) string {
	kind := types[h.Typeflag]
	link, size, major, minor := "", int64(0), int64(0), int64(0)
	switch kind {
	case "file":
		size = h.Size
	case "symlink", "hardlink":
		link = h.Linkname
	case "char", "block":
		major, minor = h.Devmajor, h.Devminor
	}
	return fmt.Sprintf(`{"type":"%s","path":%s,"link":%s,"size":%d,"mode":%d,"uid":%d,"gid":%d,`+
		`"major":%d,"minor":%d,"mtime":%d,"nsec":%d,"xattrs":%s`, kind, quote(h.Name),
		quote(link), size, h.Mode&07777, h.Uid, h.Gid, major, minor, h.ModTime.Unix(),
		h.ModTime.Nanosecond(), xattrs(h))
}

// read prints the entries. unread: a sparse file was too large to read, so its map was not
// checked against its data.
func read(r io.Reader, hashMax int64) (unread bool, err error) {
	tr := tar.NewReader(r)
	for {
		h, err := tr.Next()
		if err == io.EOF {
			return unread, nil
		}
		if err != nil {
			return unread, err
		}
		if h.Typeflag == tar.TypeXGlobalHeader {
			continue
		}
		if why := ours(h); why != "" {
			return unread, fmt.Errorf("by our rules: %s", why)
		}
		fmt.Fprint(out, line(h))
		if types[h.Typeflag] != "file" {
			fmt.Fprintln(out, "}")
			continue
		}
		sum := "-"
		if h.Size <= hashMax {
			digest := sha256.New()
			if _, err := io.Copy(digest, tr); err != nil {
				fmt.Fprintln(out, "...")
				return unread, err
			}
			sum = hex.EncodeToString(digest.Sum(nil))
		} else {
			unread = true
		}
		fmt.Fprintf(out, ",\"sha256\":\"%s\"}\n", sum)
	}
}

func dump(r io.Reader, hashMax int64) {
	unread, err := read(r, hashMax)
	result := "ok"
	if err != nil {
		result = "refused"
	}
	fmt.Fprintf(out, `{"result":"%s"`, result)
	if err != nil {
		fmt.Fprintf(out, `,"why":%s`, quote(err.Error()))
	}
	if unread {
		fmt.Fprint(out, `,"unread":true`)
	}
	fmt.Fprintln(out, "}")
}

func batch(hashMax int64) {
	in := bufio.NewReader(os.Stdin)
	for {
		var n uint32
		if binary.Read(in, binary.LittleEndian, &n) != nil {
			return
		}
		buf := make([]byte, n)
		if _, err := io.ReadFull(in, buf); err != nil {
			return
		}
		// Without Seek: containers are read from pipes.
		dump(struct{ io.Reader }{bytes.NewReader(buf)}, hashMax)
	}
}

func headers() []tar.Header {
	when := time.Unix(1500000000, 123456789)
	long := strings.Repeat("long/", 60) + "name"
	return []tar.Header{
		{Typeflag: tar.TypeDir, Name: "dir/", Mode: 0755},
		{Typeflag: tar.TypeReg, Name: "dir/file", Mode: 04755, Size: 1000, Uid: 1, Gid: 2},
		{Typeflag: tar.TypeReg, Name: "empty", Mode: 0600},
		{Typeflag: tar.TypeSymlink, Name: "symlink", Linkname: "dir/file", Mode: 0777},
		{Typeflag: tar.TypeLink, Name: "hardlink", Linkname: "dir/file", Mode: 0644},
		{Typeflag: tar.TypeChar, Name: "null", Mode: 0666, Devmajor: 1, Devminor: 3},
		{Typeflag: tar.TypeBlock, Name: "sda", Mode: 0660, Devmajor: 8, Devminor: 0},
		{Typeflag: tar.TypeFifo, Name: "fifo", Mode: 0600},
		{Typeflag: tar.TypeReg, Name: "caf\u00e9", Size: 3},
		{Typeflag: tar.TypeReg, Name: long, Size: 513},
		{Typeflag: tar.TypeSymlink, Name: "long", Linkname: long},
		{Typeflag: tar.TypeReg, Name: "when", ModTime: when, AccessTime: when, ChangeTime: when},
		{Typeflag: tar.TypeReg, Name: "before", ModTime: time.Unix(-2, 750000000)},
		{Typeflag: tar.TypeReg, Name: "uid", Uid: 3000000, Gid: 4294967294},
		{Typeflag: tar.TypeXGlobalHeader, Name: "g", PAXRecords: map[string]string{"path": "x"}},
		{Typeflag: tar.TypeReg, Name: "xattrs", PAXRecords: map[string]string{
			"SCHILY.xattr.user.b": "2", "SCHILY.xattr.user.a": "1\x00\xff",
			"SCHILY.xattr.user.": "=", "VENDOR.other": "ignored"}},
	}
}

// write makes a tar of each format, with the entries that it can hold.
func write(dir string) error {
	formats := map[string]tar.Format{
		"any": tar.FormatUnknown, "ustar": tar.FormatUSTAR, "pax": tar.FormatPAX, "gnu": tar.FormatGNU,
	}
	for name, format := range formats {
		var buf bytes.Buffer
		tw := tar.NewWriter(&buf)
		for _, h := range headers() {
			h.Format = format
			if tw.WriteHeader(&h) != nil {
				continue
			}
			if _, err := tw.Write(bytes.Repeat([]byte("x"), int(h.Size))); err != nil {
				return err
			}
		}
		if err := tw.Close(); err != nil {
			return err
		}
		path := filepath.Join(dir, "go-"+name+".tar")
		if err := os.WriteFile(path, buf.Bytes(), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func main() {
	if len(os.Args) < 2 || (os.Args[1] == "write" && len(os.Args) != 3) {
		fmt.Fprintln(os.Stderr, "gotar: read, batch or write")
		os.Exit(2)
	}
	if os.Args[1] == "write" {
		if err := write(os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, "gotar:", err)
			os.Exit(1)
		}
		return
	}
	hashMax := int64(math.MaxInt64)
	if len(os.Args) > 2 {
		hashMax, _ = strconv.ParseInt(os.Args[2], 10, 64)
	}
	if os.Args[1] == "batch" {
		batch(hashMax)
	} else {
		dump(struct{ io.Reader }{bufio.NewReaderSize(os.Stdin, 1<<20)}, hashMax)
	}
	out.Flush()
}
