package secretmanagerd_test

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	pb "cloud.google.com/go/secretmanager/apiv1/secretmanagerpb"
	"google.golang.org/grpc/codes"

	"github.com/sealpost/sealpost/shared/embedded/secretmanagerd"
	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/secret"
)

func TestTheFileHoldsTheDataFromStartToStart(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "secrets.json")
	value := "one\x00\xff\n"
	s, c := start(t, secretmanagerd.Config{File: path})
	created := create(t, c, "db-url", value, "two", "three")
	check(t, s.DisableVersion(project, "db-url", 2))
	check(t, s.DestroyVersion(project, "db-url", 3))
	check(t, s.SetTopics(project, "db-url", "projects/acme-ops/topics/changes"))
	create(t, c, "newer")

	info, err := os.Stat(path)
	check(t, err)
	if info.Mode().Perm() != 0o600 {
		t.Errorf("the file's mode is %o", info.Mode().Perm())
	}
	if text, err := os.ReadFile(path); err != nil || strings.Contains(string(text), "dGhyZWU") {
		t.Errorf("a destroyed value is still in the file, or %v", err)
	}

	_, c = start(t, secretmanagerd.Config{File: path})
	if got, err := access(t, c, dbURL+"/versions/1"); err != nil || got != value {
		t.Errorf("version 1 is %q, %v", got, err)
	}
	for _, number := range []string{"2", "3"} {
		_, err := access(t, c, dbURL+"/versions/"+number)
		wantCode(t, "version "+number, err, codes.FailedPrecondition)
	}
	got, err := c.GetSecret(t.Context(), &pb.GetSecretRequest{Name: dbURL})
	check(t, err)
	if len(got.GetTopics()) != 1 || !got.GetCreateTime().AsTime().Equal(created.GetCreateTime().AsTime()) {
		t.Errorf("got %v", got)
	}
	list, err := c.ListSecrets(t.Context(), &pb.ListSecretsRequest{Parent: parent})
	if err != nil || len(list.GetSecrets()) != 2 || !strings.HasSuffix(list.GetSecrets()[0].GetName(), "newer") {
		t.Errorf("got %v, %v", list, err)
	}
	if again := create(t, c, "newest"); again.GetEtag() == created.GetEtag() || again.GetEtag() == got.GetEtag() {
		t.Error("an etag was given twice")
	}
}

func TestADamagedFileIsNotQuoted(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"not JSON":       "canary",
		"another form":   `{"format": 99, "canary": "canary"}`,
		"a bad secret":   `{"format": 1, "secrets": [{"meta": {"canary": 1}}]}`,
		"a bad version":  `{"format": 1, "secrets": [{"meta": {}, "versions": [{"meta": "canary"}]}]}`,
		"a bad value":    `{"format": 1, "secrets": [{"meta": {}, "versions": [{"meta": {}, "data": "canary!"}]}]}`,
		"cut in the end": `{"format": 1, "secrets": [{"meta": {"name": "canary`,
		"empty":          "",
	} {
		path := filepath.Join(t.TempDir(), "file.json")
		check(t, os.WriteFile(path, []byte(text), 0o600))
		_, err := secretmanagerd.New(secretmanagerd.Config{File: path})
		if !errors.Is(err, fault.ConfigInvalid) || strings.Contains(err.Error(), "canary") || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// What could not be stored did not happen.
func TestAChangeThatCannotBeStoredIsUndone(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "state")
	check(t, os.Mkdir(dir, 0o700))
	var events int
	s, c := start(t, secretmanagerd.Config{File: filepath.Join(dir, "secrets.json"), Notify: func(secretmanagerd.Event) { events++ }})
	create(t, c, "db-url", "one")
	check(t, os.RemoveAll(dir))
	_, err := c.AddSecretVersion(t.Context(), &pb.AddSecretVersionRequest{Parent: dbURL, Payload: &pb.SecretPayload{Data: []byte("two")}})
	wantCode(t, "add", err, codes.Internal)
	if _, err := s.AddVersion(project, "db-url", secret.NewValue("two")); !errors.Is(err, fault.Internal) {
		t.Errorf("AddVersion: %v", err)
	}
	if got, err := access(t, c, dbURL+"/versions/latest"); err != nil || got != "one" {
		t.Errorf("latest is %q, %v", got, err)
	}
	if events != 2 {
		t.Errorf("%d events, want those of the two changes that were stored", events)
	}
}

func TestEachChangeIsAnnounced(t *testing.T) {
	t.Parallel()
	var events []secretmanagerd.Event
	var s *secretmanagerd.Server
	s, err := secretmanagerd.New(secretmanagerd.Config{Notify: func(e secretmanagerd.Event) {
		s.Calls("GetSecret") // the server may be called from here
		events = append(events, e)
	}})
	check(t, err)
	_, err = s.SetSecret(project, "db-url", secret.NewValue("canary-value"), nil)
	check(t, err)
	check(t, s.SetTopics(project, "db-url", "projects/acme-ops/topics/changes"))
	_, err = s.AddVersion(project, "db-url", secret.NewValue("canary-value"))
	check(t, err)
	check(t, s.DisableVersion(project, "db-url", 2))
	check(t, s.EnableVersion(project, "db-url", 2))
	check(t, s.DestroyVersion(project, "db-url", 2))
	if err := s.EnableVersion(project, "db-url", 2); !errors.Is(err, fault.Conflict) {
		t.Errorf("a destroyed version was enabled: %v", err)
	}
	check(t, s.RemoveSecret(project, "db-url"))
	if err := s.RemoveSecret(project, "db-url"); !errors.Is(err, fault.NotFound) {
		t.Errorf("removed twice: %v", err)
	}

	name := "projects/" + s.Number(project) + "/secrets/db-url"
	want := []struct {
		kind    secretmanagerd.EventType
		version string
		topics  int
	}{
		{"SECRET_CREATE", "", 0},
		{"SECRET_VERSION_ADD", name + "/versions/1", 0},
		{"TOPIC_CONFIGURED", "", 1},
		{"SECRET_UPDATE", "", 1},
		{"SECRET_VERSION_ADD", name + "/versions/2", 1},
		{"SECRET_VERSION_DISABLE", name + "/versions/2", 1},
		{"SECRET_VERSION_ENABLE", name + "/versions/2", 1},
		{"SECRET_VERSION_DESTROY", name + "/versions/2", 1},
		{"SECRET_DELETE", "", 1},
	}
	if len(events) != len(want) {
		t.Fatalf("%d events, want %d", len(events), len(want))
	}
	for i, w := range want {
		got := events[i]
		attributes := map[string]string{"eventType": string(w.kind), "dataFormat": "JSON_API_V1", "secretId": name, "timestamp": got.Attributes["timestamp"]}
		if w.version != "" {
			attributes["versionId"] = w.version
		}
		if w.kind == "TOPIC_CONFIGURED" {
			if got.Type != w.kind || !reflect.DeepEqual(got.Attributes, map[string]string{"eventType": "TOPIC_CONFIGURED"}) || len(got.Topics) != w.topics || got.Data != nil {
				t.Errorf("event %d is %s with %v, %v and %q", i, got.Type, got.Attributes, got.Topics, got.Data)
			}
			continue
		}
		if got.Type != w.kind || !reflect.DeepEqual(got.Attributes, attributes) || len(got.Topics) != w.topics {
			t.Errorf("event %d is %s with %v and %v", i, got.Type, got.Attributes, got.Topics)
		}
		if _, err := time.Parse(time.RFC3339Nano, got.Attributes["timestamp"]); err != nil {
			t.Errorf("event %d: %v", i, err)
		}
		resource := name
		if w.version != "" {
			resource = w.version
		}
		if data := string(got.Data); !strings.Contains(data, `"`+resource+`"`) || strings.Contains(data, "canary") {
			t.Errorf("event %d has the data %s", i, data)
		}
	}
}

// A crowd that adds versions gets every number once.
func TestVersionsAreNumberedWithoutGaps(t *testing.T) {
	t.Parallel()
	s, c := start(t, secretmanagerd.Config{})
	create(t, c, "db-url")
	var mu sync.Mutex
	var numbers []secret.Version
	var group sync.WaitGroup
	for range 40 {
		group.Go(func() {
			v, err := s.AddVersion(project, "db-url", secret.NewValue("v"))
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				t.Error(err)
			}
			numbers = append(numbers, v)
		})
	}
	group.Wait()
	slices.Sort(numbers)
	for i, n := range numbers {
		if n != secret.Version(i+1) {
			t.Fatalf("the numbers are %v", numbers)
		}
	}
}

func TestListenOnLoopback(t *testing.T) {
	t.Parallel()
	s, err := secretmanagerd.New(secretmanagerd.Config{})
	check(t, err)
	endpoint, err := s.Listen(t.Context(), "")
	check(t, err)
	if !strings.HasPrefix(endpoint.Address, "127.0.0.1:") {
		t.Errorf("it listens on %s", endpoint.Address)
	}
	_, port, _ := strings.Cut(endpoint.Address, ":")
	if _, err := s.Listen(t.Context(), port); !errors.Is(err, fault.Unavailable) {
		t.Errorf("the same port twice: %v", err)
	}
	create(t, connect(t, endpoint), "db-url", "v")
}

// With topics of the server's, every secret is notified: new ones, and those of
// a file that have none. A secret's own stay.
func TestEverySecretHasTopics(t *testing.T) {
	t.Parallel()
	const common, own = "projects/acme-ops/topics/all", "projects/acme-ops/topics/own"
	file := filepath.Join(t.TempDir(), "secrets.json")
	before, err := secretmanagerd.New(secretmanagerd.Config{File: file})
	check(t, err)
	for _, id := range []string{"old", "other"} {
		_, err = before.SetSecret(project, id, secret.NewValue("v"), nil)
		check(t, err)
	}
	check(t, before.SetTopics(project, "other", own))

	topics := map[string][]string{}
	s, err := secretmanagerd.New(secretmanagerd.Config{File: file, Topics: []string{common}, Notify: func(e secretmanagerd.Event) {
		topics[string(e.Type)+" "+e.Attributes["secretId"]] = e.Topics
	}})
	check(t, err)
	for _, id := range []string{"old", "other", "new"} {
		_, err = s.SetSecret(project, id, secret.NewValue("w"), nil)
		check(t, err)
	}
	parent := "projects/" + s.Number(project) + "/secrets/"
	want := map[string][]string{
		"SECRET_VERSION_ADD " + parent + "old":       {common},
		"SECRET_VERSION_ADD " + parent + "other":     {own},
		string(secretmanagerd.TopicConfigured) + " ": {common},
		"SECRET_CREATE " + parent + "new":            {common},
		"SECRET_VERSION_ADD " + parent + "new":       {common},
	}
	if !reflect.DeepEqual(topics, want) {
		t.Errorf("got %v, want %v", topics, want)
	}
	if _, err := secretmanagerd.New(secretmanagerd.Config{Topics: []string{"all"}}); !errors.Is(err, fault.ConfigInvalid) {
		t.Errorf("a topic that is none: %v", err)
	}
}
