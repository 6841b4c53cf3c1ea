package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/sealpost/sealpost/shared/catalogue"
	"github.com/sealpost/sealpost/shared/manifest"
	"github.com/sealpost/sealpost/shared/secret"
)

// TestEveryBoundCanBeMissed feeds each row good figures, and then for each of
// its bounds a bad one.
func TestEveryBoundCanBeMissed(t *testing.T) {
	t.Parallel()
	for _, r := range rows() {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			good := figures{}
			for _, b := range r.bounds {
				good[b.figure] = b.limit
			}
			if len(good) != len(r.bounds) {
				t.Fatal("two bounds have one figure")
			}
			if got := measure1(t, r, good); got.misses() {
				t.Fatalf("figures at their limits: %+v", got.verdicts)
			}
			for _, b := range r.bounds {
				for _, bad := range badFigures(b) {
					if got := measure1(t, r, replaced(good, b.figure, bad)); exitCode([]measurement{got}, false) != 1 {
						t.Errorf("%s of %v is taken, the limit is %s", b.figure, bad, b.text())
					}
				}
				without := replaced(good, b.figure, 0)
				delete(without, b.figure)
				if got := measure1(t, r, without); !got.misses() {
					t.Errorf("a row without its figure %q is taken", b.figure)
				}
			}
		})
	}
}

// measure1 measures a row whose figures are given.
func measure1(t *testing.T, r row, given figures) measurement {
	t.Helper()
	r.once = func(context.Context, *lab) (trial, error) { return trial{figures: replaced(given, "", 0)}, nil }
	m, err := r.take(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func replaced(f figures, name string, value float64) figures {
	copied := figures{}
	for k, v := range f {
		copied[k] = v
	}
	if name != "" {
		copied[name] = value
	}
	return copied
}

func badFigures(b bound) []float64 {
	bad := []float64{b.limit * 1.001, b.limit + 1, math.Inf(1), math.NaN()}
	if b.rule == exactly {
		bad = append(bad[1:], b.limit-1)
	}
	return bad
}

func TestLimits(t *testing.T) {
	t.Parallel()
	want := map[string]map[string]string{
		"first-sync":           {duration: "≤ 0.63 s", requests: "≤ 309", right: "= 300"},
		"first-sync-limited":   {duration: "≤ 66.18 s", right: "= 300", refusals: "= 0"},
		"organisation-limited": {duration: "≤ 330.18 s", right: "= 1000", refusals: "= 0"},
		"unchanged": {
			writes: "= 0", lists: "= 3", notModified: "= 3", others: "= 0",
			documentReads: "≤ 8", documentPuts: "≤ 4", growth: "= 0",
		},
		"one-changed": {writes: "= 3", requests: "≤ 12", valuesRead: "= 1", right: "= 300"},
		"memory":      {commandMemory: "≤ 64 MiB", functionPeak: "≤ 64 MiB"},
		"query-cost":  {},
		"reconcile": {
			duration: "≤ 198.26 s", lists: "= 3000", others: "= 0", secretManagerCalls: "= 0", refusals: "= 0",
		},
		"fanout-first": {unusedShare: "≤ 10 %", right: "= 12000", refusals: "= 0"},
		"fanout-two":   {duration: "≤ 4389.04 s", right: "= 12000", refusals: "= 0"},
		"event":        {slowest: "≤ 2 s", right: "= 300", refusals: "= 0"},
		"cost":         {millionWrites: "≤ 3 $", millionFirst: "≤ 3 $", millionChecks: "≤ 0.50 $"},
		"cold-start":   {startRatio: "≤ 1.30 ×", memoryRatio: "≤ 1.30 ×", sizeRatio: "≤ 1.30 ×"},
	}
	for operation, limits := range map[string][3]string{ // reads, writes, deletes
		"projects, register":                      {"= 2", "= 4", "= 1"},
		"projects, replace":                       {"= 3", "= 3", "= 1"},
		"projects, replace, nothing changed":      {"= 1", "= 0", "= 0"},
		"projects, get":                           {"= 1", "= 0", "= 0"},
		"projects, remove":                        {"= 2", "= 3", "= 2"},
		"sync-secrets, dry run, new project":      {"= 5", "= 1", "= 0"},
		"sync-secrets, first sync":                {"≤ 22", "≤ 53", "= 0"},
		"sync-secrets, nothing changed":           {"≤ 8", "≤ 4", "= 0"},
		"sync-secrets, left to the workers":       {"= 2", "= 1", "= 0"},
		"sync-worker, a request, nothing changed": {"≤ 12", "≤ 6", "≤ 1"},
		"sync-worker, no request":                 {"= 1", "= 0", "= 0"},
		"scheduled-sync, one project":             {"= 2", "= 1", "= 0"},
		"dispatcher, one mark due":                {"= 4", "= 1", "= 0"},
		"dispatcher, nothing due":                 {"= 2", "= 0", "= 0"},
		"secret-changed, a source as before":      {"= 1", "= 1", "= 0"},
		"sync-status, ten secrets":                {"= 5", "= 0", "= 0"},
		"audit-log, a page of 50":                 {"= 50", "= 0", "= 0"},
		"audit-log, nothing found":                {"= 1", "= 0", "= 0"},
		"health, ready":                           {"= 2", "= 0", "= 0"},
		"health, live":                            {"= 0", "= 0", "= 0"},
	} {
		for i, what := range []string{"reads", "writes", "deletes"} {
			want["query-cost"][operation+": "+what] = limits[i]
		}
	}
	for _, r := range rows() {
		for _, b := range r.bounds {
			if got := b.text(); got != want[r.name][b.figure] {
				t.Errorf("%s, %s: %s, want %s", r.name, b.figure, got, want[r.name][b.figure])
			}
			delete(want[r.name], b.figure)
		}
		if len(want[r.name]) > 0 {
			t.Errorf("%s lacks bounds: %v", r.name, want[r.name])
		}
		delete(want, r.name)
	}
	if len(want) > 0 {
		t.Errorf("there are no rows %v", want)
	}
}

// TestQueryCost measures the row, which takes a moment, and holds that it has
// every function.
func TestQueryCost(t *testing.T) {
	t.Parallel()
	r := row{name: "query-cost", tries: 1, bounds: queryBounds(), once: queryCost}
	m, err := r.take(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range m.verdicts {
		if v.result != kept {
			t.Errorf("%s is %v, the limit is %s", v.bound.figure, v.figure, v.bound.text())
		}
	}
	measured := map[string]bool{}
	for _, o := range operations {
		measured[o.function] = true
	}
	for _, f := range catalogue.Functions() {
		if !measured[f.Name] {
			t.Errorf("the row query-cost has no operation of the function %s", f.Name)
		}
		delete(measured, f.Name)
	}
	if len(measured) > 0 {
		t.Errorf("there are no functions %v", measured)
	}
}

// TestTries holds that another try can improve the time and nothing else.
func TestTries(t *testing.T) {
	t.Parallel()
	r := row{name: "r", tries: 3, bounds: []bound{
		{figure: "time", rule: atMost, limit: 10, best: true},
		{figure: "count", rule: atMost, limit: 5},
		{figure: "right", rule: exactly, limit: 3},
	}}
	for _, c := range []struct {
		name  string
		tries []figures
		want  figures
		tried int
		miss  bool
	}{
		{"the first will do", []figures{{"time": 9, "count": 5, "right": 3}}, figures{"time": 9, "count": 5, "right": 3}, 1, false},
		{"slow, then quick", []figures{{"time": 30, "count": 4, "right": 3}, {"time": 8, "count": 5, "right": 3}}, figures{"time": 8, "count": 5, "right": 3}, 2, false},
		{"never quick", []figures{{"time": 30, "count": 1, "right": 3}, {"time": 20, "count": 1, "right": 3}, {"time": 40, "count": 1, "right": 3}}, figures{"time": 20, "count": 1, "right": 3}, 3, true},
		{"a wrong count stays", []figures{{"time": 30, "count": 6, "right": 2}, {"time": 8, "count": 5, "right": 3}, {"time": 9, "count": 5, "right": 3}}, figures{"time": 8, "count": 6, "right": 2}, 3, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			left := c.tries
			r := r
			r.once = func(context.Context, *lab) (trial, error) {
				next := left[0]
				left = left[1:]
				return trial{figures: replaced(next, "", 0)}, nil
			}
			m, err := r.take(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			for name, want := range c.want {
				if got := m.trial.figures[name]; got != want {
					t.Errorf("%s is %v, want %v", name, got, want)
				}
			}
			if m.tried != c.tried || m.misses() != c.miss {
				t.Errorf("%d tries, missed: %v; want %d and %v", m.tried, m.misses(), c.tried, c.miss)
			}
		})
	}
	r.once = func(context.Context, *lab) (trial, error) { return trial{}, errors.New("broken") }
	if _, err := r.take(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "try 1: broken") {
		t.Errorf("a try that fails: %v", err)
	}
}

// TestWhatAMachineLacks is no miss, but a failure where all must be there.
func TestWhatAMachineLacks(t *testing.T) {
	t.Parallel()
	r := row{name: "r", title: "a row", tries: 1, bounds: []bound{{figure: "a", rule: atMost, limit: 1}, {figure: "b", unit: "MiB", rule: atMost, limit: 1}}}
	r.once = func(context.Context, *lab) (trial, error) {
		return trial{figures: figures{"a": 1}, lacks: "an emulator"}, nil
	}
	m, err := r.take(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	all := []measurement{m}
	if exitCode(all, false) != 0 || exitCode(all, true) != 1 {
		t.Errorf("exit codes %d and %d, want 0 and 1", exitCode(all, false), exitCode(all, true))
	}
	var table, text bytes.Buffer
	if err := errors.Join(writeTable(&table, all), writeJSON(&text, all)); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"not measured: an emulator", "≤ 1 MiB", "gh secret set", "1.07 s"} {
		if !strings.Contains(table.String(), want) {
			t.Errorf("the table lacks %q:\n%s", want, &table)
		}
	}
	var report struct {
		Lines []line
		Peers []peer
	}
	if err := json.Unmarshal(text.Bytes(), &report); err != nil {
		t.Fatal(err)
	}
	if len(report.Lines) != 2 || *report.Lines[0].Value != 1 || report.Lines[1].Value != nil || report.Lines[1].Verdict != lacking || len(report.Peers) != len(peers) {
		t.Errorf("JSON: %s", &text)
	}
}

func TestUsage(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"--row", "nonsense"}, {"--nonsense"}, {"first-sync"}} {
		var stdout, stderr bytes.Buffer
		if code := run(t.Context(), args, &stdout, &stderr); code != 2 || stdout.Len() > 0 || stderr.Len() == 0 {
			t.Errorf("%q: code %d, stdout %q, stderr %q", args, code, &stdout, &stderr)
		}
	}
	var stdout, stderr bytes.Buffer
	if code := run(t.Context(), []string{"--help"}, &stdout, &stderr); code != 0 || stderr.Len() > 0 {
		t.Errorf("--help: code %d, stderr %q", code, &stderr)
	}
	for _, r := range rows() {
		if !strings.Contains(stdout.String(), r.name) {
			t.Errorf("--help does not name the row %s", r.name)
		}
	}
}

// TestLoad holds that the rows measure what they say: so many mappings, values
// of 1 KB, scopes that the manifest accepts.
func TestLoad(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		secrets int
		gcp     string
		scopes  []secret.Scope
	}{
		{100, "", repositoryScopes}, {10, sourceProject, repositoryScopes}, {1000, "", []secret.Scope{"org-actions"}},
	} {
		work := newLoad(c.secrets, c.gcp, c.scopes...)
		m, err := manifest.Parse(work.manifest())
		if err != nil {
			t.Fatal(err)
		}
		mappings := m.Mappings()
		if len(mappings) != c.secrets || len(mappings[0].Scopes) != len(c.scopes) || mappings[0].Source.Project != c.gcp {
			t.Errorf("%d mappings, the first %+v", len(mappings), mappings[0])
		}
		for name, value := range work.values {
			if len(value) != 1024 {
				t.Fatalf("the value of %s has %d bytes", name, len(value))
			}
		}
	}
}
