package fleet

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sealpost/sealpost/shared/auth"
	"github.com/sealpost/sealpost/shared/catalogue"
	"github.com/sealpost/sealpost/shared/secret"
	"github.com/sealpost/sealpost/shared/syncer"
)

// client is for everything that is called on loopback. A sync may take as long as
// its function may.
var client = http.Client{Timeout: 10 * time.Minute}

// Answer is what a function answered.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
}

// Call makes a request of an operator to the load balancer.
func (f *Fleet) Call(t testing.TB, method, path, body string) Answer {
	t.Helper()
	token, err := f.token("alice", auth.Grants{auth.AllProjects: {catalogue.Operator}})
	if err != nil {
		t.Fatal(err)
	}
	return f.Send(t, f.URL, http.Header{"Authorization": {"Bearer " + token}}, method, path, body)
}

// Send makes a request with these headers, and with the type of JSON if it has a
// body and no other.
func (f *Fleet) Send(t testing.TB, base string, header http.Header, method, path, body string) Answer {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, base+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if header != nil {
		request.Header = header.Clone()
	}
	if body != "" && request.Header.Get("Content-Type") == "" {
		request.Header.Set("Content-Type", "application/json")
	}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	content, err := io.ReadAll(response.Body)
	if err := errors.Join(err, response.Body.Close()); err != nil {
		t.Fatal(err)
	}
	return Answer{Status: response.StatusCode, Header: response.Header, Body: content}
}

// Register registers a project from its manifest, as JSON.
func (f *Fleet) Register(t testing.TB, manifest string) {
	t.Helper()
	if a := f.Call(t, http.MethodPost, "/projects", manifest); a.Status != http.StatusCreated {
		t.Fatalf("POST /projects: status %d: %s", a.Status, a.Body)
	}
}

// Status returns what sync-status tells of a project.
func (f *Fleet) Status(t testing.TB, projectID string) (r syncer.Report) {
	t.Helper()
	a := f.Call(t, http.MethodGet, "/github/secrets/sync/status?projectId="+projectID, "")
	if err := json.Unmarshal(a.Body, &r); err != nil || a.Status != http.StatusOK {
		t.Fatalf("the status of %s: status %d (%v): %s", projectID, a.Status, err, a.Body)
	}
	return r
}

// Event is a line of the audit, as audit-log tells it.
type Event struct {
	Operation     string
	Result        string
	Actor         string
	Secret        string
	Scope         string
	SourceVersion int64
	SyncID        string
}

// Audit returns the events of a project, newest first.
func (f *Fleet) Audit(t testing.TB, projectID string) (events []Event) {
	t.Helper()
	cursor := ""
	for {
		a := f.Call(t, http.MethodGet, "/github/audit?limit=1000&projectId="+projectID+cursor, "")
		var page struct {
			Events     []Event
			NextCursor *string
		}
		if err := json.Unmarshal(a.Body, &page); err != nil || a.Status != http.StatusOK {
			t.Fatalf("the audit of %s: status %d (%v): %s", projectID, a.Status, err, a.Body)
		}
		events = append(events, page.Events...)
		if page.NextCursor == nil {
			return events
		}
		cursor = "&cursor=" + *page.NextCursor
	}
}

// Digests returns the SHA-256, in hexadecimal, of each value that GitHub has for
// the repository in the scope.
func (f *Fleet) Digests(t testing.TB, repository string, scope secret.Scope) map[string]string {
	t.Helper()
	held, err := f.GitHub.Stored(repository, scope)
	if err != nil {
		t.Fatal(err)
	}
	digests := map[string]string{}
	for _, s := range held {
		digests[s.Name] = Digest(s.Value)
	}
	return digests
}

// Digest returns the SHA-256 of a value, in hexadecimal.
func Digest(value string) string {
	sum := sha256.Sum256([]byte(value))
	return hex.EncodeToString(sum[:])
}
