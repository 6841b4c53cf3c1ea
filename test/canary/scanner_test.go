package canary

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/sealpost/sealpost/shared/clock"
	"github.com/sealpost/sealpost/shared/docstore"
	"github.com/sealpost/sealpost/shared/docstore/sqlitedoc"
	"github.com/sealpost/sealpost/shared/secret"
	"github.com/sealpost/sealpost/test/emulator"
	"github.com/sealpost/sealpost/test/program"
)

func TestMain(m *testing.M) { emulator.Run(m) }

// scanner is made once: it takes a good part of a second.
var scanner = sync.OnceValue(func() *Scanner { return NewScanner(Canaries()) })

func TestCanariesAreOfEveryKind(t *testing.T) {
	t.Parallel()
	var lines, unicodes, largest, short int
	names := map[string]bool{}
	for _, c := range Canaries() {
		names[c.Name] = true
		largest = max(largest, len(c.Text))
		if strings.Contains(c.Text, "\n") {
			lines++
		}
		if strings.ContainsFunc(c.Text, func(r rune) bool { return r > unicode.MaxASCII }) {
			unicodes++
		}
		if len(c.Text) < window {
			short++
		}
		if len(c.Text) < shortest || !utf8.ValidString(c.Text) {
			t.Errorf("%s is no canary: %q", c.Name, c.Text)
		}
	}
	if len(names) != count || largest != secret.MaxValueBytes || lines < 20 || unicodes < 20 || short == 0 {
		t.Errorf("%d names, at most %d bytes, %d of several lines, %d in Unicode, %d short", len(names), largest, lines, unicodes, short)
	}
}

// sinks are the kinds of places where text comes out: each lets a leak through
// as the real one would, and returns what there is to be scanned.
var sinks = map[string]func(t *testing.T, leaks []string) []byte{
	"log":             logged,
	"answer's body":   func(t *testing.T, leaks []string) []byte { return answered(t, leaks, false) },
	"answer's header": func(t *testing.T, leaks []string) []byte { return answered(t, leaks, true) },
	"stdout":          func(t *testing.T, leaks []string) []byte { stdout, _ := printed(t, leaks); return stdout },
	"stderr":          func(t *testing.T, leaks []string) []byte { _, stderr := printed(t, leaks); return stderr },
	"SQLite":          keptInSQLite,
	"Firestore":       keptInFirestore,
}

// TestScannerFindsWhatIsPlanted lets twelve bytes of every canary in every form
// out of every kind of place, and wants each found.
func TestScannerFindsWhatIsPlanted(t *testing.T) {
	t.Parallel()
	plants := plantsOf(Canaries())
	for name, sink := range sinks {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			marked := make([]string, len(plants))
			for i, p := range plants {
				marked[i] = mark(i) + p.Text + mark(i)
			}
			content := sink(t, marked)
			missed := 0
			for i, p := range plants {
				_, rest, found := bytes.Cut(content, []byte(mark(i)))
				leak, _, ended := bytes.Cut(rest, []byte(mark(i)))
				if !found || !ended {
					t.Fatalf("%s did not come through", p.Name)
				}
				if len(scanner().Scan(leak)) == 0 {
					if missed++; missed < 5 {
						t.Errorf("%s is not found: %q", p.Name, leak)
					}
				}
			}
			t.Logf("%d plants, %d missed", len(plants), missed)
			if leaks := scanner().Scan(content); len(leaks) == 0 {
				t.Error("nothing is found in the whole")
			}
		})
	}
}

// mark stands around a plant, so that it is found again in what came out.
func mark(i int) string { return fmt.Sprintf("~%05d~", i) }

// plantsOf cuts a fragment out of each form of four canaries of each kind. The
// forms that are escaped once more come of themselves, where a sink escapes.
func plantsOf(canaries []Canary) []Form {
	var plants []Form
	for i, c := range canaries {
		if i%50 >= every {
			continue
		}
		for _, f := range Forms(c.Text) {
			if text := cut(f.Text, i); len(text) >= shortest && !strings.Contains(f.Name, againIn) {
				plants = append(plants, Form{c.Name + " as " + f.Name, text})
			}
		}
	}
	return plants
}

// cut returns as few whole characters from somewhere in the text as make twelve
// bytes, without any that a header could not hold. A text that has no such place
// gives nothing.
func cut(text string, from int) string {
	if len(text) < window {
		return text
	}
	for i := range text {
		start := (i + from) % len(text)
		end := start + window
		for end < len(text) && !utf8.RuneStart(text[end]) {
			end++
		}
		if end <= len(text) && utf8.RuneStart(text[start]) && strings.IndexFunc(text[start:end], unicode.IsControl) < 0 {
			return text[start:end]
		}
	}
	return ""
}

func logged(t *testing.T, leaks []string) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "log")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewJSONHandler(file, nil))
	for _, leak := range leaks {
		log.Info("leaking", "error", errors.New(leak))
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// answered lets a real server leak and records the answers as the scenarios do.
func answered(t *testing.T, leaks []string, inHeader bool) []byte {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		leak, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		if inHeader {
			for line := range strings.SplitSeq(string(leak), "\n") {
				w.Header().Add("X-Leak", line)
			}
			return
		}
		_, _ = w.Write(leak)
	}))
	defer server.Close()
	const atOnce = 200 // headers have a limit
	var d drain
	for len(leaks) > 0 {
		part := leaks[:min(atOnce, len(leaks))]
		leaks = leaks[len(part):]
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL, strings.NewReader(strings.Join(part, "\n")))
		if err != nil {
			t.Fatal(err)
		}
		d.exchange(t, request)
	}
	return bytes.Join(d.all(), nil)
}

// printed lets a process print the leaks.
func printed(t *testing.T, leaks []string) (stdout, stderr []byte) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "leaks")
	if err := os.WriteFile(path, []byte(strings.Join(leaks, "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	out, errs, code := program.Run(t, program.Call{Path: "/bin/sh", Args: []string{"-c", `cat "$0"; cat "$0" >&2`, path}})
	if code != 0 {
		t.Fatalf("exit code %d", code)
	}
	return []byte(out), []byte(errs)
}

func keptInSQLite(t *testing.T, leaks []string) []byte {
	t.Helper()
	dir := t.TempDir()
	store, err := sqlitedoc.Open(filepath.Join(dir, "sealpost.db"), clock.Real())
	if err != nil {
		t.Fatal(err)
	}
	keep(t, store, leaks)
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	var d drain
	d.directory(t, dir)
	return bytes.Join(d.all(), nil)
}

func keptInFirestore(t *testing.T, leaks []string) []byte {
	t.Helper()
	f := startFirestore(t)
	keep(t, f.open(t, stateDatabase), leaks)
	return f.dump(t, stateDatabase)
}

// keep stores one document for each leak, some at once.
func keep(t *testing.T, store docstore.Store, leaks []string) {
	t.Helper()
	const atOnce = 200
	for i := 0; i < len(leaks); i += atOnce {
		var writes []docstore.Write
		for j, leak := range leaks[i:min(i+atOnce, len(leaks))] {
			key := docstore.Key{Collection: "leaks", ID: fmt.Sprint(i + j)}
			writes = append(writes, docstore.Write{Key: key, Fields: docstore.Fields{"detail": leak}})
		}
		if _, err := store.Commit(t.Context(), writes...); err != nil {
			t.Fatal(err)
		}
	}
}
