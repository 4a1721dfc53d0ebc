package node_test

import (
	"path/filepath"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/swarmsync/swarmsync/node"
)

const (
	linkRoot  = "8d1c0a5e7f3b2946d0e1f2a3b4c5d6e7f8091a2b3c4d5e6f708192a3b4c5d6e7"
	linkPeerA = "12D3KooWJbJFaZ1dwpuu9tQY3ELCKCpWMJc1dSRVbcMwhiLiFq7q"
	linkPeerB = "QmSoLPppuBtQSGwKDZT2M73ULpjvfd3aZ6ha4oFGL1KrGM"
)

func TestSafeName(t *testing.T) {
	tests := map[string]string{
		"":                                     "",
		"film.mkv":                             "film.mkv",
		"a b":                                  "a b",
		"größe.txt":                            "größe.txt",
		".":                                    "",
		"..":                                   "",
		"...":                                  "",
		"/":                                    "",
		"../../etc/passwd":                     "passwd",
		"/etc/passwd":                          "passwd",
		`C:\Windows\notepad`:                   "notepad",
		`..\..\boot.ini`:                       "boot.ini",
		"C:boot.ini":                           "Cboot.ini",
		"file.txt:stream":                      "file.txtstream",
		"dir/":                                 "dir",
		"dir/..":                               "",
		".bashrc":                              "bashrc",
		"-rf":                                  "rf",
		" - .x":                                "x",
		"trailing. . ":                         "trailing",
		"a\x00b":                               "ab",
		"a\nb\tc\x7f":                          "abc",
		"a\u202egnp.exe":                       "agnp.exe",
		"a\u2028b":                             "ab",
		".\u200b.":                             "",
		"\xff\xfe":                             "",
		"a\xc3":                                "a",
		"a\x1b[31mred":                         "a[31mred",
		"a\u00a0b":                             "ab",
		strings.Repeat("x", 300):               strings.Repeat("x", 255),
		strings.Repeat("ä", 200):               strings.Repeat("ä", 127),
		strings.Repeat("x", 254) + ". tail":    strings.Repeat("x", 254),
		strings.Repeat("x", 255) + "\u00e4.ab": strings.Repeat("x", 255),
	}
	for name, want := range tests {
		if got := node.SafeName(name); got != want {
			t.Errorf("SafeName(%q) = %q, want %q", name, got, want)
		}
	}
}

// assertSafe fails if a file of that name could be anywhere but in the directory that it is made in.
func assertSafe(t *testing.T, name string) {
	t.Helper()
	switch {
	case name == "":
	case len(name) > 255 || !utf8.ValidString(name):
		t.Errorf("name of %d bytes, valid UTF-8: %t", len(name), utf8.ValidString(name))
	case strings.ContainsAny(name, `/\:`) || strings.Contains(name, string(filepath.Separator)):
		t.Errorf("name %q has a separator", name)
	case strings.ContainsFunc(name, unicode.IsControl):
		t.Errorf("name %q has a control character", name)
	case name == "." || name == ".." || strings.ContainsRune(". -", rune(name[0])):
		t.Errorf("name %q begins with what hides or is an option", name)
	case !filepath.IsLocal(name):
		t.Errorf("name %q is elsewhere", name)
	}
	if again := node.SafeName(name); again != name {
		t.Errorf("the safe name %q becomes %q", name, again)
	}
}

func FuzzSafeName(f *testing.F) {
	for _, seed := range []string{
		"", "film.mkv", "../x", `a\b`, ".\u202e.", "\xff", strings.Repeat("x", 254) + ". y", strings.Repeat("ä", 200),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, name string) { assertSafe(t, node.SafeName(name)) })
}

func TestParseLink(t *testing.T) {
	tests := []struct {
		name, text string
		want       string // the text form of the link; empty if it is refused
		says       string // in the refusal
	}{
		{"a root", linkRoot, "swarmsync:" + linkRoot, ""},
		{"a root in upper case", strings.ToUpper(linkRoot), "swarmsync:" + linkRoot, ""},
		{"a bare link", "swarmsync:" + linkRoot, "swarmsync:" + linkRoot, ""},
		{"a name", "swarmsync:" + linkRoot + "?name=a+b%26c", "swarmsync:" + linkRoot + "?name=a+b%26c", ""},
		{"a hostile name", "swarmsync:" + linkRoot + "?name=..%2F..%2Fetc%2Fpasswd", "swarmsync:" + linkRoot + "?name=passwd", ""},
		{
			"a peer", "swarmsync:" + linkRoot + "?peer=/ip4/192.0.2.1/tcp/4141/p2p/" + linkPeerA,
			"swarmsync:" + linkRoot + "?peer=/ip4/192.0.2.1/tcp/4141/p2p/" + linkPeerA, "",
		},
		{"what it does not know", "swarmsync:" + linkRoot + "?colour=red&name=x", "swarmsync:" + linkRoot + "?name=x", ""},

		{"nothing", "", "", "64"},
		{"a short root", linkRoot[1:], "", "64"},
		{"no hexadecimal digits", strings.Repeat("z", 64), "", "hex"},
		{"another scheme", "magnet:" + linkRoot, "", "swarmsync:<root>"},
		{"a peer without an ID", "swarmsync:" + linkRoot + "?peer=/ip4/192.0.2.1/tcp/4141", "", "/p2p/"},
		{"a peer that is none", "swarmsync:" + linkRoot + "?peer=elsewhere", "", `"elsewhere"`},
		{"a relay without a peer behind it", "swarmsync:" + linkRoot + "?peer=/p2p/" + linkPeerA + "/p2p-circuit", "", "peer"},
		{"a broken escape", "swarmsync:" + linkRoot + "?name=%zz", "", "question mark"},
		{"17 peers", "swarmsync:" + linkRoot + "?" + strings.Repeat("&peer=/p2p/"+linkPeerA, 17), "", "at most 16"},
		{"more than 4 KiB", "swarmsync:" + linkRoot + "?x=" + strings.Repeat("x", 4096), "", "at most 4096"},
	}
	for _, test := range tests {
		link, err := node.ParseLink(test.text)
		switch {
		case test.want == "" && (err == nil || !strings.Contains(err.Error(), test.says)):
			t.Errorf("%s: %v, want an error that says %q", test.name, err, test.says)
		case test.want != "" && (err != nil || link.String() != test.want):
			t.Errorf("%s: %q, %v, want %q", test.name, link, err, test.want)
		}
	}
}

func FuzzParseLink(f *testing.F) {
	f.Add(linkRoot)
	f.Add("swarmsync:" + linkRoot + "?name=a+b%26c&peer=/ip4/192.0.2.1/tcp/4141/p2p/" + linkPeerA)
	f.Add("swarmsync:" + linkRoot + "?peer=/dns4/example.org/udp/1/quic-v1/p2p/" + linkPeerB + "&peer=/p2p/" + linkPeerB)
	f.Add("swarmsync:" + linkRoot + "?peer=/ip6/::1/tcp/1/p2p/" + linkPeerA + "/p2p-circuit/p2p/" + linkPeerB)
	f.Add("swarmsync:" + linkRoot + "?name=" + strings.Repeat("ä", 255) + "&peer=/p2p/" + linkPeerA)
	f.Add("swarmsync:" + linkRoot + "?peer=/unix/a%3F%26b/p2p/" + linkPeerA)
	f.Fuzz(func(t *testing.T, text string) {
		link, err := node.ParseLink(text)
		if err != nil {
			return
		}
		assertSafe(t, link.Name)
		if len(link.Peers) > 16 {
			t.Fatalf("%d peers", len(link.Peers))
		}
		written := link.String()
		again, err := node.ParseLink(written)
		if err != nil || again.Root != link.Root || len(written) > 4096 {
			t.Fatalf("%q of %d bytes is read as %v, %v", written, len(written), again, err)
		}
		if got := again.String(); got != written {
			t.Fatalf("%q becomes %q", written, got)
		}
	})
}

func TestParsePeers(t *testing.T) {
	a1, a2 := "/ip4/192.0.2.1/tcp/1/p2p/"+linkPeerA, "/ip4/192.0.2.1/udp/1/quic-v1/p2p/"+linkPeerA
	b := "/ip6/2001:db8::1/tcp/2/p2p/" + linkPeerB
	infos, err := node.ParsePeers(b, a1, a2)
	if err != nil || len(infos) != 2 || infos[0].ID.String() != linkPeerB || infos[1].ID.String() != linkPeerA ||
		len(infos[1].Addrs) != 2 {
		t.Errorf("peers %v, %v, want two in the order in which they were named", infos, err)
	}
	if infos, err := node.ParsePeers(); err != nil || len(infos) != 0 {
		t.Errorf("no peers: %v, %v", infos, err)
	}
	for _, text := range []string{
		"", "/", "192.0.2.1:4141", "/ip4/192.0.2.1/tcp/4141", "/ip4/192.0.2.999/tcp/1/p2p/" + linkPeerA,
		"/ip4/192.0.2.1/tcp/70000/p2p/" + linkPeerA, "/ip4/192.0.2.1/tcp/1/p2p/nobody", "/p2p/" + linkPeerA + "/tcp/1",
	} {
		infos, err := node.ParsePeers(a1, text)
		if err == nil || !strings.Contains(err.Error(), "peer") && !strings.Contains(err.Error(), text) {
			t.Errorf("%q: %v, %v, want an error that names it", text, infos, err)
		}
	}
}
