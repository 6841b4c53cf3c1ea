package envfile_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"golang.org/x/tools/txtar"
	"pgregory.net/rapid"

	"github.com/sealpost/sealpost/shared/envfile"
	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/secret"
)

// TestSpecification runs the cases of testdata: each is a file case/env with
// either case/read or case/faults after it.
func TestSpecification(t *testing.T) {
	t.Parallel()
	paths, _ := filepath.Glob("testdata/*.txtar")
	if len(paths) == 0 {
		t.Fatal("no cases found")
	}
	for _, path := range paths {
		archive, err := txtar.ParseFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for pair := range slices.Chunk(archive.Files, 2) {
			name, _ := strings.CutSuffix(pair[0].Name, "/env")
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				entries, err := envfile.Parse(pair[0].Data)
				got, kind := listing(entries), "read"
				if err != nil {
					got, kind = fault.Detail(err)+"\n", "faults"
				}
				if pair[1].Name != name+"/"+kind || got != string(pair[1].Data) {
					t.Errorf("%s:\n%s\nwant %s:\n%s", kind, got, pair[1].Name, pair[1].Data)
				}
			})
		}
	}
}

func listing(entries []envfile.Entry) string {
	var b strings.Builder
	for _, e := range entries {
		fmt.Fprintf(&b, "%d %s %q\n", e.Line, e.Name, e.Value.Reveal())
	}
	return b.String()
}

func TestBytesThatEditorsLeave(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, env, want string }{
		{"no file", "", ""},
		{"byte order mark", "\ufeffA=1\n", "1 A \"1\"\n"},
		{"Windows line ends", "A=1\r\n\r\n# x\r\nB=\"2\r\n3\" # y\r\nC='4'\r\n", "1 A \"1\"\n4 B \"2\\n3\"\n6 C \"4\"\n"},
		{"no last line end", "A=1", "1 A \"1\"\n"},
		{"half a last line end", "A=1\r", "1 A \"1\"\n"},
		{"no-break space is part of a value", "A=\u00a01\u00a0", "1 A \"\\u00a01\\u00a0\"\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			entries, err := envfile.Parse([]byte(c.env))
			if got := listing(entries); err != nil || got != c.want {
				t.Errorf("read %q and %v, want %q", got, err, c.want)
			}
		})
	}
}

func TestBytesThatAreNoText(t *testing.T) {
	t.Parallel()
	const (
		nul  = "there is a NUL byte in this line, or in the value that starts here"
		utf8 = "this line, or the value that starts here, is not UTF-8 text"
	)
	for _, c := range []struct{ name, env, want string }{
		{"NUL in a value", "A=1\nB=a\x00b", "line 2: " + nul},
		{"NUL in a name", "A\x00=1", "line 1: " + nul},
		{"NUL further down a value", "A=1\nB='a\n\x00'\nC=\x00", "line 2: " + nul + "\nline 4: " + nul},
		{"Latin-1", "A=caf\xe9\nB=\"\n\xe9\"", "line 1: " + utf8 + "\nline 2: " + utf8},
		{"UTF-16", "\xff\xfeA\x00=\x001\x00", "line 1: the file is UTF-16 text; save it as UTF-8"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			entries, err := envfile.Parse([]byte(c.env))
			if got := fault.Detail(err); got != c.want || entries != nil {
				t.Errorf("detail %q and %d entries, want %q and none", got, len(entries), c.want)
			}
		})
	}
}

func TestValueOverTheLimit(t *testing.T) {
	t.Parallel()
	largest := strings.Repeat("x", secret.MaxValueBytes)
	if _, err := envfile.Parse([]byte("A=" + largest)); err != nil {
		t.Errorf("a value of the largest size: %v", err)
	}
	_, err := envfile.Parse([]byte("A=1\nB='" + largest + "\n'\nC=2"))
	if !errors.Is(err, fault.EnvFileInvalid) || !errors.Is(err, fault.ValueTooLarge) {
		t.Errorf("a value over the limit: %v, want codes %s and %s", err, fault.EnvFileInvalid, fault.ValueTooLarge)
	}
	if faults := fault.LinesOf(err); faults == nil || len(faults.Faults) != 1 || faults.Faults[0].Line != 2 {
		t.Errorf("faults = %v, want one in line 2", faults)
	}
}

// quote writes a value so that it reads back as it is.
func quote(value string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\r", `\r`).Replace(value) + `"`
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	t.Parallel()
	names := rapid.StringMatching(`[A-Za-z_.-][A-Za-z0-9_.-]{0,12}`)
	values := rapid.OneOf(rapid.String(), rapid.StringMatching("[a\"'\\\\$#= \n\r\t]{0,30}")).
		Filter(func(s string) bool { return !strings.Contains(s, "\x00") })
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.MapOf(names, values).Draw(t, "values")
		var file, expect strings.Builder
		line := 1
		for name, value := range want {
			fmt.Fprintf(&file, "%s=%s\n", name, quote(value))
			fmt.Fprintf(&expect, "%d %s %q\n", line, name, value)
			line += 1 + strings.Count(value, "\n")
		}
		entries, err := envfile.Parse([]byte(file.String()))
		if got := listing(entries); err != nil || got != expect.String() {
			t.Fatalf("wrote\n%s\nread\n%s\nand %v, want\n%s", file.String(), got, err, expect.String())
		}
	})
}

func TestSingleQuotesAreLiteral(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		value := rapid.StringMatching("[a\"\\\\$#= \n\tż]{0,30}").Draw(t, "value")
		entries, err := envfile.Parse([]byte("A='" + value + "' # comment"))
		if err != nil || len(entries) != 1 || entries[0].Value.Reveal() != value {
			t.Fatalf("read %s and %v, want %q", listing(entries), err, value)
		}
	})
}

// A hostile file must not take the square of its size: every line here looks
// for a quote that is not there.
func TestLargeFileOfOpenQuotes(t *testing.T) {
	t.Parallel()
	_, err := envfile.Parse([]byte(strings.Repeat("A=\"\\\"\nB='\"\n", 100_000)))
	if !errors.Is(err, fault.EnvFileInvalid) {
		t.Errorf("err = %v, want %s", err, fault.EnvFileInvalid)
	}
}

// sentences is every form that a fault takes. Nothing of the file fits in.
var sentences = regexp.MustCompile(`^(line \d+: (` + strings.Join([]string{
	`the file is UTF-16 text; save it as UTF-8`,
	`there is no = in this line; a value of several lines needs quotes`,
	`what stands before the = is not a name: it takes letters, digits, \. _ and -`,
	`there is a NUL byte in this line, or in the value that starts here`,
	`this line, or the value that starts here, is not UTF-8 text`,
	`the quote that opens here is never closed`,
	`there is text after the quote that closes this value, in line \d+`,
	`the name has a value already, from line \d+`,
	`the value is longer than \d+ bytes, the most that GitHub takes`,
}, "|") + `)(\n|$))+(and \d+ more)?$`)

func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"A=1\nexport B=\"2\\n\" # c\nC='3\n4'\n", "\ufeffA=\xff\r\n", "A=\"\nB='\nA=1", "A==\n=\nexport =\n\x00", "\xff\xfeA",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		entries, err := envfile.Parse(data)
		if err != nil {
			if detail := fault.Detail(err); !sentences.MatchString(detail) || entries != nil {
				t.Errorf("%d entries and a fault in words of its own: %s", len(entries), detail)
			}
			return
		}
		lines := strings.Count(string(data), "\n") + 1
		last := 0
		for _, e := range entries {
			if e.Name == "" || e.Line <= last || e.Line > lines || !utf8.ValidString(e.Value.Reveal()) {
				t.Errorf("entry %q in line %d of %d, after line %d", e.Name, e.Line, lines, last)
			}
			last = e.Line
		}
	})
}
