package canary

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/sealpost/sealpost/shared/clock"
	"github.com/sealpost/sealpost/shared/gcp/firedoc"
	"github.com/sealpost/sealpost/test/emulator"
)

// drain gathers all that comes out of a scenario.
type drain struct {
	mu    sync.Mutex
	parts map[string]*bytes.Buffer
}

func (d *drain) add(name string, text []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.parts == nil {
		d.parts = map[string]*bytes.Buffer{}
	}
	if d.parts[name] == nil {
		d.parts[name] = &bytes.Buffer{}
	}
	d.parts[name].Write(append(text, '\n'))
}

// writer returns a writer into one part.
func (d *drain) writer(name string) io.Writer { return part{d, name} }

type part struct {
	drain *drain
	name  string
}

func (p part) Write(b []byte) (int, error) {
	p.drain.add(p.name, b)
	return len(b), nil
}

func (d *drain) all() [][]byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	var all [][]byte
	for _, name := range slices.Sorted(maps.Keys(d.parts)) {
		all = append(all, d.parts[name].Bytes())
	}
	return all
}

// exchange sends a request and keeps the whole answer.
func (d *drain) exchange(t testing.TB, request *http.Request) (status int, body []byte) {
	t.Helper()
	client := http.Client{Timeout: time.Minute, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	answer, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if body, err = io.ReadAll(answer.Body); err != nil {
		t.Fatal(err)
	}
	for name, values := range answer.Header {
		for _, value := range values {
			d.add("answers", []byte(name+": "+value))
		}
	}
	d.add("answers", body)
	return answer.StatusCode, body
}

// own are the files of the stand-ins, which hold values as the systems do that
// they stand for.
var own = []string{"secret-manager.json", "github.jsonl"}

// directory takes in every file but the stand-ins' own.
func (d *drain) directory(t testing.TB, dir string) {
	t.Helper()
	files := 0
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || slices.Contains(own, entry.Name()) {
			return err
		}
		content, err := os.ReadFile(path)
		d.add(entry.Name(), content)
		files++
		return err
	})
	if err != nil || files == 0 {
		t.Fatalf("%d files in %s: %v", files, dir, err)
	}
}

// dumpTo names a directory: a child process leaves there what came out, for its
// parent to scan, since a scanner takes a good part of a second to make.
const dumpTo = "SEALPOST_CANARY_DUMP"

// check scans everything. The parts that are named must be there and hold
// something: a sink that nothing reached proves nothing.
func (d *drain) check(t testing.TB, wanted ...string) {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, name := range wanted {
		if d.parts[name] == nil || d.parts[name].Len() < 100 {
			t.Errorf("nothing came out into %s", name)
		}
	}
	for name, text := range d.parts {
		if dir := os.Getenv(dumpTo); dir != "" {
			if err := os.WriteFile(filepath.Join(dir, name), text.Bytes(), 0o600); err != nil {
				t.Fatal(err)
			}
			continue
		}
		for _, leak := range scanner().Scan(text.Bytes()) {
			t.Errorf("%s: %s", name, leak)
		}
	}
}

// The databases' ids, as the configuration has them by default.
const (
	stateDatabase = "sealpost-state"
	auditDatabase = "sealpost-audit"
)

// firestore is a project of the Firestore emulator.
type firestore struct{ host, project string }

func startFirestore(t *testing.T) firestore {
	t.Helper()
	return firestore{host: emulator.Firestore.Host(t), project: emulator.Project()}
}

func (f firestore) open(t *testing.T, database string) *firedoc.Store {
	t.Helper()
	store, err := firedoc.Open(t.Context(), firedoc.Config{Project: f.project, Database: database, EmulatorHost: f.host}, clock.Real())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return store
}

// dump returns every document of a database, as the emulator's REST API has it.
func (f firestore) dump(t *testing.T, database string) []byte {
	t.Helper()
	base := fmt.Sprintf("http://%s/v1/projects/%s/databases/%s/documents", f.host, f.project, database)
	var names struct{ CollectionIDs []string }
	f.ask(t, http.MethodPost, base+":listCollectionIds", &names)
	var all bytes.Buffer
	for _, name := range names.CollectionIDs {
		for token := ""; ; {
			var page struct {
				Documents     []json.RawMessage
				NextPageToken string
			}
			f.ask(t, http.MethodGet, base+"/"+name+"?pageSize=300&pageToken="+token, &page)
			for _, document := range page.Documents {
				all.Write(append(document, '\n'))
			}
			if token = page.NextPageToken; token == "" {
				break
			}
		}
	}
	return all.Bytes()
}

func (f firestore) ask(t *testing.T, method, url string, into any) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer owner") // past the security rules
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		t.Fatalf("%s %s: %s", method, url, answer.Status)
	}
	if err := json.NewDecoder(answer.Body).Decode(into); err != nil {
		t.Fatal(err)
	}
}
