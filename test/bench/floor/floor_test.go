package floor

import (
	"go/parser"
	"go/token"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

const roundTrip = 80 * time.Millisecond

func TestQuotedFigures(t *testing.T) {
	t.Parallel()
	unlimited := Conditions{RoundTrip: roundTrip, InFlight: GitHubInFlight}
	limited := Conditions{RoundTrip: roundTrip, InFlight: GitHubInFlight, PointsPerMinute: GitHubPoints}
	for _, c := range []struct {
		name       string
		job        Job
		conditions Conditions
		want       time.Duration
		unit       time.Duration // to which the figure is quoted
	}{
		{"100 secrets, 3 scopes", Job{300, 3}, unlimited, 420 * time.Millisecond, 10 * time.Millisecond},
		{"100 secrets, 3 scopes, limited", Job{300, 3}, limited, 60_200 * time.Millisecond, 100 * time.Millisecond},
		{"1,000 organisation secrets, limited", Job{1000, 1}, limited, 300 * time.Second, time.Second},
		{"as many as a minute admits", Job{179, 1}, limited, 332 * time.Millisecond, time.Millisecond},
		{"one more", Job{180, 1}, limited, 60_080 * time.Millisecond, time.Millisecond},
		{"nothing but looking", Job{0, 3}, limited, 2 * roundTrip, time.Nanosecond},
	} {
		if got := Time(c.job, c.conditions).Round(c.unit); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
	if got := Requests(Job{300, 3}); got != 309 {
		t.Errorf("requests of a first sync: %d, want 309", got)
	}
	if got := Requests(Job{3, 3}); got != 12 {
		t.Errorf("requests of one changed value: %d, want 12", got)
	}
}

// TestOrder holds that more work, or a stricter limit, is never quicker.
func TestOrder(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		job := Job{rapid.IntRange(0, 3000).Draw(t, "writes"), rapid.IntRange(1, 8).Draw(t, "scopes")}
		c := Conditions{
			RoundTrip:       time.Duration(rapid.IntRange(1, 500).Draw(t, "ms")) * time.Millisecond,
			InFlight:        rapid.IntRange(1, 200).Draw(t, "inFlight"),
			PointsPerMinute: rapid.IntRange(100, 2000).Draw(t, "points"),
		}
		free, narrow := c, c
		free.PointsPerMinute = 0
		narrow.InFlight = 1
		most := free
		most.InFlight = job.Writes + 1
		more := Job{job.Writes + 1, job.Scopes}
		order := []time.Duration{Time(job, most), Time(job, free), Time(job, c), Time(job, narrow)}
		if !slices.IsSorted(order) {
			t.Fatalf("with every place, with these, with few points too, with one place: %v do not rise", order)
		}
		if Time(more, free) <= Time(job, free) {
			t.Fatalf("one more write takes no longer: %v, %v", Time(more, free), Time(job, free))
		}
	})
}

func TestImportsNothingOfOurs(t *testing.T) {
	t.Parallel()
	file, err := parser.ParseFile(token.NewFileSet(), "floor.go", nil, parser.ImportsOnly)
	if err != nil {
		t.Fatal(err)
	}
	for _, spec := range file.Imports {
		if strings.Contains(spec.Path.Value, ".") {
			t.Errorf("the formula imports %s, which is not of the standard library", spec.Path.Value)
		}
	}
}
