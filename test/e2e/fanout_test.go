package e2e

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sealpost/sealpost/shared/auth"
	"github.com/sealpost/sealpost/shared/catalogue"
	"github.com/sealpost/sealpost/shared/embedded/githubd"
	"github.com/sealpost/sealpost/shared/event"
	"github.com/sealpost/sealpost/shared/eventx"
	"github.com/sealpost/sealpost/shared/httpx"
	"github.com/sealpost/sealpost/shared/secret"
	"github.com/sealpost/sealpost/shared/syncer"
	"github.com/sealpost/sealpost/test/fleet"
)

// places are the scopes that a secret has by default.
var places = []secret.Scope{secret.Actions, secret.Codespaces, secret.Dependabot}

// site is a fleet with projects of one secret in three scopes each.
type site struct {
	*fleet.Fleet
	projects []string          // each is also a repository of acme, and the name of its source
	values   map[string]string // what each source has at present
}

func startSite(t *testing.T, projects ...string) *site {
	t.Helper()
	o := fleet.Options{Latency: 5 * time.Millisecond}
	for i, name := range append(slices.Clone(projects), "large") {
		o.Repositories = append(o.Repositories, githubd.Repository{ID: repositoryID + int64(i), Owner: "acme", Name: name})
	}
	s := &site{Fleet: fleet.Start(t, o), projects: projects, values: map[string]string{}}
	s.change(t, "first")
	for _, name := range projects {
		s.Register(t, fmt.Sprintf(`{"project":%q,"github":{"owner":"acme","repo":%q},"source":{"gcpProject":%q},"secrets":[{"name":"DATABASE_URL","from":%q}]}`,
			name, name, fleet.Values, name))
	}
	return s
}

// change gives each of the projects' sources a new version; none named are all.
func (s *site) change(t *testing.T, value string, projects ...string) {
	t.Helper()
	if len(projects) == 0 {
		projects = s.projects
	}
	for _, name := range projects {
		s.values[name] = value + " of " + name
		s.AddVersion(t, name, s.values[name])
	}
}

// right reports whether GitHub has what the sources have, everywhere.
func (s *site) right(t *testing.T) bool {
	t.Helper()
	for _, name := range s.projects {
		for _, scope := range places {
			if s.Digests(t, "acme/"+name, scope)["DATABASE_URL"] != fleet.Digest(s.values[name]) {
				return false
			}
		}
	}
	return true
}

// settle waits until everything is right and nothing is left to be done.
func (s *site) settle(t *testing.T) {
	t.Helper()
	s.Wait(t, "every target to be right", func() bool { return s.right(t) })
	s.Wait(t, "every request to be answered", func() bool { return s.all(t, syncer.StateIdle) })
}

func (s *site) all(t *testing.T, state string) bool {
	t.Helper()
	return !slices.ContainsFunc(s.projects, func(name string) bool { return s.Status(t, name).State != state })
}

// tick is Scheduler's for a function, and waits until the function is done.
func (s *site) tick(t *testing.T, function string) {
	t.Helper()
	before := len(s.Gate.Deliveries(function))
	s.Tick(t, function)
	s.Wait(t, "the tick of "+function, func() bool { return len(s.Gate.Deliveries(function)) > before })
	if d := s.Gate.Deliveries(function)[before]; d.Status != http.StatusNoContent {
		t.Fatalf("%s answered its tick with %d", function, d.Status)
	}
}

// wantOnce wants every write in the audit once for each target and version, with
// so many versions of each source, and as many writes at GitHub.
func (s *site) wantOnce(t *testing.T, versions int) {
	t.Helper()
	for _, name := range s.projects {
		times := map[string]int{}
		for _, e := range s.Audit(t, name) {
			if e.Operation == "secret.create" || e.Operation == "secret.update" {
				times[fmt.Sprintf("%s %s@%d %s", e.Scope, e.Secret, e.SourceVersion, e.Result)]++
			}
		}
		want := map[string]int{}
		for _, scope := range places {
			for version := 1; version <= versions; version++ {
				want[fmt.Sprintf("%s DATABASE_URL@%d succeeded", scope, version)] = 1
			}
		}
		if got, want := fmt.Sprint(times), fmt.Sprint(want); got != want {
			t.Errorf("the audit of %s has\n%s, want\n%s", name, got, want)
		}
	}
	for _, name := range s.projects {
		if n, want := s.writes(name), len(places)*versions; n != want {
			t.Errorf("%d writes in %s at GitHub, want %d", n, name, want)
		}
	}
}

// writes counts what GitHub was asked to write in a repository of acme.
func (s *site) writes(repository string) (n int) {
	for _, r := range s.GitHub.Requests() {
		if r.Method == http.MethodPut && strings.HasPrefix(r.Path, "/repos/acme/"+repository+"/") {
			n++
		}
	}
	return n
}

// TestFanOut follows requests from their topics to GitHub, through the functions
// as they are deployed. Its parts run one after another, and each leaves every
// target right.
func TestFanOut(t *testing.T) {
	t.Parallel()
	s := startSite(t, "one", "two", "three")
	// It is refused again and again while everything else goes on.
	s.Publish(t, event.SecretEvents, event.Message{Attributes: map[string]string{"eventType": "SECRET_VERSION_ADD", "secretId": "garbled"}})
	for _, part := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"a tick of Scheduler reaches every target, and the next writes nothing", s.reachesAll},
		{"a new version reaches its three scopes by itself", s.followsVersions},
		{"a request that does not wait is answered under its own id", s.answersLater},
		{"what is no push of the function's is refused", s.refusesPushes},
		{"every nudge comes three times and in any order", s.takesRepeats},
		{"every nudge is lost until the next tick", s.outlivesLosses},
		{"a worker that is killed in mid-sync repeats one batch at the most", s.outlivesItsWorker},
		{"what nobody can read goes to the dead letters and delays no other", s.buriesTheUnreadable},
	} {
		if !t.Run(part.name, part.run) {
			t.FailNow() // what comes after it counts on it
		}
	}
}

func (s *site) reachesAll(t *testing.T) {
	s.tick(t, "scheduled-sync")
	if n := s.writes(s.projects[0]); n != 0 || !s.all(t, syncer.StateQueued) {
		t.Errorf("%d writes after the projects were marked; the first is %s", n, s.Status(t, s.projects[0]).State)
	}
	s.tick(t, "dispatcher")
	s.settle(t)
	s.wantOnce(t, 1)
	s.tick(t, "scheduled-sync")
	s.tick(t, "dispatcher")
	s.settle(t)
	s.wantOnce(t, 1)
}

func (s *site) followsVersions(t *testing.T) {
	s.change(t, "second")
	s.settle(t)
	s.wantOnce(t, 2)
}

func (s *site) answersLater(t *testing.T) {
	s.Gate.Hold("sync-worker")
	a := s.Call(t, "POST", "/github/secrets/sync", `{"projectId":"one","async":true}`)
	var queued syncer.Result
	if err := json.Unmarshal(a.Body, &queued); err != nil || a.Status != http.StatusAccepted || queued.Status != syncer.StatusQueued || queued.SyncID == "" {
		t.Fatalf("status %d (%v): %s", a.Status, err, a.Body)
	}
	s.Wait(t, "the nudge", func() bool { return len(s.Gate.Held("sync-worker")) > 0 })
	if r := s.Status(t, "one"); r.State != syncer.StateQueued || len(r.Requests) != 1 || !slices.Equal(r.Requests[0].SyncIDs, []string{queued.SyncID}) {
		t.Errorf("the status is %s and waits for %+v, want %s", r.State, r.Requests, queued.SyncID)
	}
	for _, p := range s.Gate.Release("sync-worker") {
		s.Gate.Deliver(t.Context(), p)
	}
	s.settle(t)
	if last := s.Status(t, "one").LastSync; last == nil || last.SyncID != queued.SyncID || last.Status != string(syncer.StatusUnchanged) {
		t.Errorf("the last sync is %+v, want %s, which changed nothing", last, queued.SyncID)
	}
	s.wantOnce(t, 2)
}

// refusesPushes shows each private function what Pub/Sub's own subscription would
// never send.
func (s *site) refusesPushes(t *testing.T) {
	bearer := func(grants auth.Grants) http.Header {
		token, err := s.Issuer.Mint("somebody", fleet.Audience, grants, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		return http.Header{"Authorization": {"Bearer " + token}}
	}
	pusher, tried := bearer(fleet.Pusher()), 0
	for _, row := range catalogue.Functions() {
		if row.Exposure != catalogue.Private {
			continue
		}
		subscription := "projects/" + s.Project + "/subscriptions/" + row.Name
		body := func(subscription, message string) string {
			return fmt.Sprintf(`{"message":%s,"subscription":%q,"deliveryAttempt":1}`, message, subscription)
		}
		own := body(subscription, `{"messageId":"1"}`)
		for _, c := range []struct {
			name   string
			header http.Header
			body   string
			status int
		}{
			{"no token", nil, own, http.StatusUnauthorized},
			{"a forged token", http.Header{"Authorization": {"Bearer e30.e30.e30"}}, own, http.StatusUnauthorized},
			{"an operator", bearer(auth.Grants{auth.AllProjects: {catalogue.Operator}}), own, http.StatusForbidden},
			{"the role for one project", bearer(auth.Grants{"one": {catalogue.Internal}}), own, http.StatusForbidden},
			{"another function's subscription", pusher, body(subscription+"-2", `{"messageId":"1"}`), http.StatusForbidden},
			{"another project's subscription", pusher, body("projects/acme-evil/subscriptions/"+row.Name, `{"messageId":"1"}`), http.StatusForbidden},
			{"no subscription", pusher, body("", `{"messageId":"1"}`), http.StatusForbidden},
			{"no JSON", pusher, `{"message":`, http.StatusBadRequest},
			{"no push", pusher, `[]`, http.StatusBadRequest},
			{"no message", pusher, body(subscription, `null`), http.StatusBadRequest},
			{"data that is not base64", pusher, body(subscription, `{"data":"!"}`), http.StatusBadRequest},
			{"attributes that are no strings", pusher, body(subscription, `{"attributes":{"container":7}}`), http.StatusBadRequest},
			{"a message that is too large", pusher, body(subscription, `{"data":"`+strings.Repeat("AAAA", event.MaxBytes/3+1)+`"}`), http.StatusRequestEntityTooLarge},
			{"a body that is too large", pusher, body(subscription, `{"data":"`+strings.Repeat("A", httpx.MaxBodyBytes)+`"}`), http.StatusRequestEntityTooLarge},
		} {
			tried++
			if a := s.Send(t, s.At(row.Name), c.header, http.MethodPost, eventx.Path(row.Name), c.body); a.Status != c.status {
				t.Errorf("%s, %s: status %d, want %d: %s", row.Name, c.name, a.Status, c.status, a.Body)
			}
		}
		if log := s.Log(row.Name); strings.Contains(log, "panic") || strings.Contains(log, "goroutine ") {
			t.Errorf("%s panicked", row.Name)
		}
	}
	if tried < 4*14 {
		t.Errorf("only %d pushes were tried", tried)
	}
	s.wantOnce(t, 2)
}

// takesRepeats delivers each nudge three times, shuffled and all at once.
func (s *site) takesRepeats(t *testing.T) {
	s.Gate.Hold("sync-worker")
	s.change(t, "third")
	s.awaitNudges(t)
	var pushes []fleet.Push
	for _, p := range s.Gate.Release("sync-worker") {
		pushes = append(pushes, p, p, p)
	}
	chance := rand.New(rand.NewPCG(1, 2))
	chance.Shuffle(len(pushes), func(i, j int) { pushes[i], pushes[j] = pushes[j], pushes[i] })
	var delivering sync.WaitGroup
	for _, p := range pushes {
		delivering.Go(func() {
			if status := s.Gate.Deliver(t.Context(), p); status != http.StatusNoContent {
				t.Errorf("a repeated nudge was answered with %d", status)
			}
		})
	}
	delivering.Wait()
	s.settle(t)
	s.wantOnce(t, 3)
}

// awaitNudges waits until a nudge for each container is held.
func (s *site) awaitNudges(t *testing.T) {
	t.Helper()
	s.Wait(t, "a nudge for each container", func() bool {
		var held strings.Builder
		for _, p := range s.Gate.Held("sync-worker") {
			held.Write(p.Body)
		}
		for i := range s.projects {
			if !strings.Contains(held.String(), fmt.Sprintf(`"repository-%d"`, repositoryID+i)) {
				return false
			}
		}
		return true
	})
}

func (s *site) outlivesLosses(t *testing.T) {
	s.Gate.Hold("sync-worker")
	s.change(t, "fourth")
	s.awaitNudges(t)
	s.Gate.Release("sync-worker")
	if !s.all(t, syncer.StateQueued) {
		t.Errorf("%+v is not queued", s.Status(t, s.projects[0]))
	}
	s.wantOnce(t, 3)
	s.tick(t, "dispatcher")
	s.settle(t)
	s.wantOnce(t, 4)
}

// buriesTheUnreadable looks for what became of the garbled notification.
func (s *site) buriesTheUnreadable(t *testing.T) {
	dead := s.DeadLetter(t)
	if dead.Attributes["secretId"] != "garbled" || dead.Attributes["CloudPubSubDeadLetterSourceSubscription"] != "secret-changed" {
		t.Errorf("the dead letter has %v", dead.Attributes)
	}
	var attempts []string
	later := 0 // messages that came after it and were done before it was buried
	for _, d := range s.Gate.Deliveries("secret-changed") {
		switch {
		case strings.Contains(string(d.Body), `"garbled"`):
			attempts = append(attempts, fmt.Sprintf("%d: %d", d.Attempt, d.Status))
		case len(attempts) > 0 && len(attempts) < fleet.MaxAttempts && d.Status == http.StatusNoContent:
			later++
		}
	}
	if got, want := strings.Join(attempts, ", "), "1: 400, 2: 400, 3: 400, 4: 400, 5: 400"; got != want {
		t.Errorf("its attempts were %s, want %s", got, want)
	}
	if later < len(s.projects) {
		t.Errorf("%d other messages were done meanwhile, want a version of each project at the least", later)
	}
	if log := s.Log("secret-changed"); strings.Count(log, eventx.LineDead) != 1 {
		t.Errorf("the log tells of %d dead letters, want 1", strings.Count(log, eventx.LineDead))
	}
}

// outlivesItsWorker kills the worker in its second batch, starts another, and
// lets the message and the next tick come back to the work.
func (s *site) outlivesItsWorker(t *testing.T) {
	const secrets, before = 100, 20 // before is how many writes of the second batch take effect
	targets := secrets * len(places)
	var mappings []string
	for i := range secrets {
		s.AddVersion(t, fmt.Sprintf("source-%d", i), fmt.Sprintf("value %d", i))
		mappings = append(mappings, fmt.Sprintf(`{"name":"SECRET_%d","from":"source-%d"}`, i, i))
	}
	s.Register(t, `{"project":"large","github":{"owner":"acme","repo":"large"},"source":{"gcpProject":"`+fleet.Values+`"},"secrets":[`+strings.Join(mappings, ",")+`]}`)
	earlier := s.GitHub.Counts()

	// From that write on, nothing is answered until the worker is dead.
	var writes atomic.Int64
	reached, dead := make(chan struct{}), make(chan struct{})
	s.GitHub.SetHook(func(stage githubd.Stage, r githubd.Request) {
		if stage != githubd.StageDone || r.Method != http.MethodPut {
			return
		}
		n := writes.Add(1)
		if n == syncer.BatchSize+before {
			close(reached)
		}
		if n >= syncer.BatchSize+before {
			<-dead
		}
	})
	if a := s.Call(t, "POST", "/github/secrets/sync", `{"projectId":"large","async":true}`); a.Status != http.StatusAccepted {
		t.Fatalf("status %d: %s", a.Status, a.Body)
	}
	select {
	case <-reached:
	case <-time.After(time.Minute):
		close(dead)
		t.Fatalf("the worker made %d writes only", writes.Load())
	}
	nudges := len(s.Gate.Deliveries("sync-worker"))
	s.Kill(t, "sync-worker")
	close(dead)
	s.Restart(t, "sync-worker")

	// The message comes again, and the lease outlives its holder by some seconds.
	s.Wait(t, "the message to come again", func() bool {
		return slices.ContainsFunc(s.Gate.Deliveries("sync-worker")[nudges:], func(d fleet.Delivery) bool {
			return d.Attempt > 1 && d.Status == http.StatusNoContent
		})
	})
	s.Wait(t, "the end of the lease", func() bool { return s.Status(t, "large").State != syncer.StateSyncing })
	s.tick(t, "dispatcher")
	s.Wait(t, "the request to be answered", func() bool { return s.Status(t, "large").State == syncer.StateIdle })

	if r := s.Status(t, "large"); r.Counts.Synced != targets {
		t.Errorf("the status counts %+v, want %d synced", r.Counts, targets)
	}
	for _, scope := range places {
		digests := s.Digests(t, "acme/large", scope)
		for i := range secrets {
			if digests[fmt.Sprintf("SECRET_%d", i)] != fleet.Digest(fmt.Sprintf("value %d", i)) {
				t.Errorf("SECRET_%d in %s is not right", i, scope)
			}
		}
	}
	counts := s.GitHub.Counts()
	created, again := counts.Created-earlier.Created, counts.Rewritten-earlier.Rewritten
	if created != targets || again < before || again > targets-syncer.BatchSize {
		t.Errorf("%d targets were made, want %d; %d were written again, want what the killed worker had written of its second batch, from %d to %d",
			created, targets, again, before, targets-syncer.BatchSize)
	}
}
