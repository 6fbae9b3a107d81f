// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later

// Goref reads names, one in a line, and prints what Docker's parser makes of each, as
// tests/tools/reference-dump does: "HOST PATH TAG DIGEST", with "-" for none, or "! ERROR".
package main

import (
	"bufio"
	_ "crypto/sha256"
	_ "crypto/sha512"
	"fmt"
	"os"
	"strings"

	"github.com/docker/distribution/reference"
)

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func line(name string) string {
	named, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		if strings.HasPrefix(err.Error(), "invalid repository name (") {
			return "! invalid repository name, cannot specify 64-byte hexadecimal strings"
		}
		return "! " + err.Error()
	}
	tag, digest := "", ""
	if t, ok := named.(reference.Tagged); ok {
		tag = t.Tag()
	}
	if d, ok := named.(reference.Digested); ok {
		digest = d.Digest().String()
	}
	if reference.Domain(named) == "" {
		// "a_b.c/d": a host that can be none, which Docker fails to reach later.
		return "! invalid reference format"
	}
	return strings.Join([]string{reference.Domain(named), reference.Path(named), orDash(tag),
		orDash(digest)}, " ")
}

func main() {
	in, out := bufio.NewScanner(os.Stdin), bufio.NewWriter(os.Stdout)
	defer out.Flush()
	for in.Scan() {
		fmt.Fprintln(out, line(in.Text()))
	}
}
