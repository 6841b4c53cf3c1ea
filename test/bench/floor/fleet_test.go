package floor

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestFleetFigures(t *testing.T) {
	t.Parallel()
	github := Conditions{RoundTrip: roundTrip, InFlight: GitHubInFlight, PointsPerMinute: GitHubPoints}
	careful := github
	careful.PointsPerMinute = 855
	free := github
	free.PointsPerMinute = 0
	for _, c := range []struct {
		name       string
		lists      int
		conditions Conditions
		want       time.Duration
	}{
		{"1,000 projects, 3 scopes: bursts at 0, 60, 120 and 180 s", 3000, github, 3*time.Minute + 3*roundTrip},
		{"95 % of the points: the same bursts", 3000, careful, 3*time.Minute + 5*roundTrip},
		{"a minute's points", 900, github, 9 * roundTrip},
		{"one more", 901, github, time.Minute + roundTrip},
		{"no limit", 3000, free, 30 * roundTrip},
		{"nothing", 0, github, 0},
	} {
		if got := Lists(c.lists, c.conditions); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
	one := Fleet{Containers: 200, Each: Job{Writes: 60, Scopes: 3}, Identities: 1}
	if got := one.Requests(); got != 13_800 {
		t.Errorf("200 containers of 60 writes and 9 reads: %d requests, want 13,800", got)
	}
	// 13,800 requests: 3,800 of them in the third hour, 1,800 reads and 2,000
	// writes, 11,800 points, the last of them in the 14th minute.
	if got, want := FirstSyncs(one, GitHubRequests, github).Truncate(time.Minute), 2*time.Hour+13*time.Minute; got != want {
		t.Errorf("one identity: %v, want %v", got, want)
	}
	two := one
	two.Identities = 2
	if got := two.Requests(); got != 6900 {
		t.Errorf("half of it: %d requests, want 6,900", got)
	}
	if got, want := FirstSyncs(two, GitHubRequests, github).Truncate(time.Minute), time.Hour+6*time.Minute; got != want {
		t.Errorf("two identities: %v, want %v", got, want)
	}
	exact := Fleet{Containers: 10, Each: Job{Writes: 7, Scopes: 1}, Identities: 1}
	if got := FirstSyncs(exact, exact.Requests(), free); got >= time.Hour {
		t.Errorf("as many requests as an hour admits: %v", got)
	}
	if got := FirstSyncs(exact, exact.Requests()-1, free); got < time.Hour {
		t.Errorf("one more than an hour admits: %v", got)
	}
	if got := FirstSyncs(Fleet{Identities: 1}, GitHubRequests, github); got != 0 {
		t.Errorf("no container: %v", got)
	}
}

// TestFleetOrder holds that more containers are never quicker, and that more
// identities or a higher limit are never slower.
func TestFleetOrder(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		c := Conditions{
			RoundTrip: roundTrip, InFlight: rapid.IntRange(1, 200).Draw(t, "inFlight"),
			PointsPerMinute: rapid.IntRange(100, 2000).Draw(t, "points"),
		}
		hourly := rapid.IntRange(1000, 15_000).Draw(t, "hourly")
		f := Fleet{
			Containers: rapid.IntRange(1, 400).Draw(t, "containers"), Identities: rapid.IntRange(1, 3).Draw(t, "identities"),
			Each: Job{rapid.IntRange(0, 100).Draw(t, "writes"), rapid.IntRange(1, 5).Draw(t, "scopes")},
		}
		more, spread := f, f
		more.Containers++
		spread.Identities++
		order := []time.Duration{FirstSyncs(spread, hourly, c), FirstSyncs(f, hourly, c), FirstSyncs(more, hourly, c)}
		if !slices.IsSorted(order) {
			t.Fatalf("spread, as it is, one more: %v do not rise", order)
		}
		if a, b := Lists(f.Containers, c), Lists(f.Containers+1, c); a > b {
			t.Fatalf("one more list is quicker: %v, %v", a, b)
		}
	})
}
