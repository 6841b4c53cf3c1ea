package main

import (
	"net/http"
	"testing"
	"time"

	"github.com/sealpost/sealpost/shared/docstore"
	"github.com/sealpost/sealpost/shared/embedded/githubd"
	"github.com/sealpost/sealpost/shared/manifest"
)

// TestUnused counts what GitHub charges for, in the hours that were over.
func TestUnused(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	at := func(after time.Duration, alter ...func(*githubd.Request)) githubd.Request {
		r := githubd.Request{At: start.Add(after), Kind: githubd.KindPut, Status: http.StatusCreated, Took: githubd.Duration(time.Second)}
		for _, f := range alter {
			f(&r)
		}
		return r
	}
	refused := func(r *githubd.Request) { r.Refused, r.Status = "primary", http.StatusForbidden }
	same := func(r *githubd.Request) { r.Status = http.StatusNotModified }
	question := func(r *githubd.Request) { r.Kind = githubd.KindRateLimit }
	for _, c := range []struct {
		name string
		log  []githubd.Request
		want float64
	}{
		{"all used", []githubd.Request{at(0), at(time.Minute), at(time.Hour)}, 0},
		{"half of the hour", []githubd.Request{at(0), at(time.Hour)}, 50},
		{"the second hour idle", []githubd.Request{at(0), at(time.Minute), at(2 * time.Hour)}, 50},
		{"what is not charged", []githubd.Request{at(0), at(1, refused), at(2, same), at(3, question), at(time.Hour)}, 50},
		{"no hour over", []githubd.Request{at(0), at(time.Minute)}, 0},
		{"in any order", []githubd.Request{at(time.Hour), at(time.Minute), at(0)}, 0},
	} {
		if got := unused(c.log, 2); got != c.want {
			t.Errorf("%s: %v %%, want %v %%", c.name, got, c.want)
		}
	}
}

func TestReached(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	put := func(path string, after time.Duration, status int) githubd.Request {
		return githubd.Request{At: start.Add(after), Kind: githubd.KindPut, Path: path, Status: status, Took: githubd.Duration(time.Second)}
	}
	log := []githubd.Request{
		put("/repos/o/r/actions/secrets/A", 2*time.Second, 204), put("/repos/o/r/codespaces/secrets/A", 4*time.Second, 204),
		put("/repos/o/r/dependabot/secrets/A", 3*time.Second, 204),
		put("/repos/o/r/actions/secrets/B", 0, 204), put("/repos/o/r/codespaces/secrets/B", 0, 204), put("/repos/o/r/dependabot/secrets/B", 0, 500),
	}
	f := &fleet{}
	got := f.reached(log, map[string]time.Time{"o/r A": start.Add(time.Second), "o/r B": start})
	if len(got) != 1 || got[0] != 4*time.Second {
		t.Errorf("reached after %v, want one event after 4 s", got)
	}
}

func TestPercentile(t *testing.T) {
	t.Parallel()
	var hundred []time.Duration
	for i := range 100 {
		hundred = append(hundred, time.Duration(100-i))
	}
	for percent, want := range map[int]time.Duration{1: 1, 50: 50, 99: 99, 100: 100} {
		if got := percentile(hundred, percent); got != want {
			t.Errorf("%d %%: %d, want %d", percent, got, want)
		}
	}
	if got := percentile(hundred[:3], 99); got != 100 {
		t.Errorf("of three: %d, want the longest", got)
	}
}

// TestBill adds up a bill by hand.
func TestBill(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		bill bill
		want float64
	}{
		{"documents", bill{documents: docstore.Counts{Reads: 100_000, Writes: 100_000, Deletes: 100_000}}, 0.13},
		{"values", bill{accesses: 10_000}, 0.03},
		{"calls", bill{calls: map[string]int{"sync-worker": 1_000_000}}, 0.4 + 40*2000*1e6/(1<<40)},
		{
			"time", bill{calls: map[string]int{"sync-worker": 0}, seconds: map[string]float64{"sync-worker": 1e6}},
			0.083*24 + 0.125*2.5,
		},
	} {
		if got := c.bill.dollars(); got < c.want*0.9999 || got > c.want*1.0001 {
			t.Errorf("%s: $%.4f, want $%.4f", c.name, got, c.want)
		}
	}
	for took, want := range map[time.Duration]time.Duration{0: 0, time.Millisecond: 100 * time.Millisecond, 250 * time.Millisecond: 300 * time.Millisecond} {
		if got := billedTime(took).Round(time.Millisecond); got != want {
			t.Errorf("%v is billed as %v, want %v", took, got, want)
		}
	}
}

func TestClients(t *testing.T) {
	t.Parallel()
	linked := clients([]string{"fmt", "github.com/google/go-github/v66/github", "cloud.google.com/go/firestore/internal", "cloud.google.com/go/firestore/apiv1"})
	if len(linked) != 2 || bareName(linked) != "bare-0-3" || bareName(nil) != "bare" {
		t.Errorf("%v, %s", linked, bareName(linked))
	}
}

// TestCrowd holds that the rows of crowds have the work that their limits are
// computed for.
func TestCrowd(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		crowd   crowd
		targets int
	}{{reconciled, 60_000}, {firstSyncs, 12_000}, {listeners, 300}, {billed, 600}} {
		if got := c.crowd.targets(); got != c.targets {
			t.Errorf("%d targets, want %d", got, c.targets)
		}
		m, err := manifest.Parse(c.crowd.manifest(c.crowd.projects - 1))
		if err != nil {
			t.Fatal(err)
		}
		if mappings := m.Mappings(); len(mappings)*len(mappings[0].Scopes)*c.crowd.projects != c.targets {
			t.Errorf("%d mappings to %d scopes", len(mappings), len(mappings[0].Scopes))
		}
	}
	if want := reconciled.projects * len(repositoryScopes); want != allLists {
		t.Errorf("%d lists, and the limit is of %d", want, allLists)
	}
}
