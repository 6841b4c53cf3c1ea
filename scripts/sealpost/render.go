package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"golang.org/x/term"

	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/httpx"
	"github.com/sealpost/sealpost/shared/plan"
	"github.com/sealpost/sealpost/shared/secret"
	"github.com/sealpost/sealpost/shared/syncer"
)

// screen is where a command prints for people.
type screen struct {
	out    io.Writer
	colour bool
}

// newScreen colours only a terminal, and not where NO_COLOR asks for none
// (see no-color.org).
func newScreen(out io.Writer, noColour bool) screen {
	return screen{out: out, colour: isTerminal(out) && !noColour}
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

func (s screen) printf(format string, args ...any) { _, _ = fmt.Fprintf(s.out, format, args...) }

func (s screen) paint(c text.Color, t string) string {
	if !s.colour {
		return t
	}
	return text.Colors{c}.Sprint(t)
}

// cell is how one target's state reads in the table.
type cell struct {
	text   string
	colour text.Color
}

var (
	good    = text.FgGreen
	notable = text.FgCyan
	careful = text.FgYellow
	bad     = text.FgRed
	quiet   = text.FgHiBlack
)

// cellOf names what became, or would become, of a target.
func cellOf(i syncer.Item) cell {
	switch {
	case i.Action == plan.Excluded:
		return cell{"excluded", quiet}
	case i.Action == plan.Conflict:
		return cell{"conflict", careful}
	case unseen(i):
		return cell{"not seen", bad}
	case i.Action == plan.Invalid:
		return cell{"invalid", bad}
	case i.Action == plan.Unchanged:
		return cell{"unchanged", good}
	case i.Status == syncer.ItemPlanned:
		return cell{string(i.Action), notable}
	case i.Status == syncer.ItemSucceeded:
		return cell{map[plan.Kind]string{plan.Create: "created", plan.Update: "updated", plan.Delete: "deleted"}[i.Action], good}
	case i.Status == syncer.ItemPending:
		return cell{"not started", careful}
	case i.Status == syncer.ItemUnknown:
		return cell{"unknown", bad}
	}
	return cell{"failed", bad}
}

// matrix prints a table of secret × scope.
func (s screen) matrix(names []secret.Name, scopes []secret.Scope, at func(secret.Target) (cell, bool)) {
	t := table.NewWriter()
	t.SetOutputMirror(s.out)
	t.SetStyle(table.StyleLight)
	t.Style().Format.Header = text.FormatDefault
	header := table.Row{"secret"}
	for _, scope := range scopes {
		header = append(header, string(scope))
	}
	t.AppendHeader(header)
	for _, name := range names {
		row := table.Row{string(name)}
		for _, scope := range scopes {
			c, ok := at(secret.Target{Scope: scope, Name: name})
			if !ok {
				c = cell{"·", quiet}
			}
			row = append(row, s.paint(c.colour, c.text))
		}
		t.AppendRow(row)
	}
	t.Render()
}

// result prints what a plan or a sync came to.
func (s screen) result(r syncer.Result) {
	items := map[secret.Target]syncer.Item{}
	var names []secret.Name
	var scopes []secret.Scope
	for _, i := range r.Results {
		items[i.Target()] = i
		names, scopes = append(names, i.Secret), append(scopes, i.Scope)
	}
	if len(items) > 0 {
		s.matrix(distinct(names), distinct(scopes), func(t secret.Target) (cell, bool) {
			i, ok := items[t]
			return cellOf(i), ok
		})
	}
	s.reasons(r.Results)
	for _, o := range r.Orphans {
		s.printf("%s %s/%s is not in the manifest any more; --prune would delete it\n", s.paint(careful, "orphan"), o.Scope, o.Secret)
	}
	for _, w := range r.Warnings {
		s.printf("%s %s\n", s.paint(careful, "warning"), w)
	}
	s.summary(r)
}

// reasons prints why a target is not simply right, alike ones together.
func (s screen) reasons(items []syncer.Item) {
	type group struct {
		item    syncer.Item
		targets []string
	}
	var groups []*group
	byText := map[string]*group{}
	for _, i := range items {
		if i.Reason == "" || i.Action == plan.Create && i.Status == syncer.ItemSucceeded {
			continue // a creation that went well speaks for itself
		}
		key := cellOf(i).text + i.Reason
		g := byText[key]
		if g == nil {
			g = &group{item: i}
			byText[key] = g
			groups = append(groups, g)
		}
		g.targets = append(g.targets, i.Target().String())
	}
	for _, g := range groups {
		c := cellOf(g.item)
		s.printf("%s %s: %s\n", s.paint(c.colour, c.text), abridge(g.targets), g.item.Reason)
		s.remedies(g.item.Remediation)
	}
}

// abridge names the first few of many.
func abridge(targets []string) string {
	const most = 3
	if len(targets) <= most+1 {
		return strings.Join(targets, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(targets[:most], ", "), len(targets)-most)
}

// counts are what a summary for people tells apart, and the API's does not.
type counts struct{ failed, unseen, unknown, notStarted int }

func tally(items []syncer.Item) (n counts) {
	for _, i := range items {
		switch {
		case i.Action == plan.Excluded, i.Action == plan.Conflict:
		case unseen(i):
			n.unseen++
		case i.Status == syncer.ItemUnknown:
			n.unknown++
		case i.Status == syncer.ItemPending:
			n.notStarted++
		case i.Status == syncer.ItemFailed:
			n.failed++
		}
	}
	return n
}

// interrupted says how far a sync came that was told to stop.
func (s screen) interrupted(r syncer.Result) {
	sum, n := r.Summary, tally(r.Results)
	text := fmt.Sprintf("%d written, %d not started", sum.Created+sum.Updated+sum.Deleted, n.notStarted)
	if n.unknown > 0 {
		text += fmt.Sprintf(", %d sent without an answer", n.unknown)
	}
	s.printf("%s: %s; run it again to go on\n", s.paint(careful, "interrupted"), text)
}

func (s screen) summary(r syncer.Result) {
	sum := r.Summary
	var parts []string
	add := func(n int, word string) {
		if n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, word))
		}
	}
	tense := func(done, planned string) string {
		if r.DryRun {
			return planned
		}
		return done
	}
	add(sum.Created, tense("created", "to create"))
	add(sum.Updated, tense("updated", "to update"))
	add(sum.Deleted, tense("deleted", "to delete"))
	add(sum.Unchanged, "unchanged")
	add(sum.Excluded, "excluded")
	add(sum.Conflicts, "in conflict")
	n := tally(r.Results)
	add(n.failed, tense("failed", "invalid"))
	add(n.unseen, "not seen")
	add(n.unknown, "unknown")
	add(n.notStarted, "not started")
	if len(parts) == 0 {
		parts = []string{"nothing to do"}
	}
	colour := good
	switch r.Status {
	case syncer.StatusPartial:
		colour = careful
	case syncer.StatusFailed:
		colour = bad
	}
	s.printf("%s %s\n", s.paint(colour, strings.Join(parts, ", ")+"."), s.costs(r))
	if r.Quota != nil {
		s.printf("GitHub's hourly quota: %d of %d left until %s\n", r.Quota.Remaining, r.Quota.Limit, r.Quota.ResetAt)
	}
}

func (s screen) costs(r syncer.Result) string {
	if r.Price != nil {
		switch {
		case tally(r.Results).unseen > 0 && r.Price.Requests == 0:
			return "What could not be seen may need writes."
		case r.Price.Requests == 0:
			return "No write is needed."
		}
		return fmt.Sprintf("Price: %d requests, %d points, about %s.", r.Price.Requests, r.Price.Points, round(time.Duration(r.Price.DurationMs)*time.Millisecond))
	}
	return fmt.Sprintf("%d requests, %d points, %s.", r.Cost.Requests, r.Cost.Points, round(time.Duration(r.DurationMs)*time.Millisecond))
}

func round(d time.Duration) time.Duration {
	if d < 10*time.Second {
		return d.Round(10 * time.Millisecond)
	}
	return d.Round(time.Second)
}

// report prints a project's state.
func (s screen) report(r syncer.Report) {
	cells := map[secret.Target]cell{}
	var names []secret.Name
	var scopes []secret.Scope
	colours := map[syncer.TargetState]text.Color{
		syncer.StateSynced: good, syncer.StatePending: notable, syncer.StateFailed: bad,
		syncer.StateConflict: careful, syncer.StateExcluded: quiet,
	}
	for _, sec := range r.Secrets {
		names = append(names, sec.Secret)
		for _, sc := range sec.Scopes {
			t := string(sc.State)
			if sc.SourceVersion > 0 {
				t = fmt.Sprintf("%s v%d", t, sc.SourceVersion)
			}
			cells[secret.Target{Scope: sc.Scope, Name: sec.Secret}] = cell{t, colours[sc.State]}
			scopes = append(scopes, sc.Scope)
		}
	}
	s.matrix(names, distinct(scopes), func(t secret.Target) (cell, bool) { c, ok := cells[t]; return c, ok })
	c := r.Counts
	s.printf("%s is %s: %d synced, %d pending, %d failed, %d in conflict, %d excluded.\n", r.ProjectID, r.State, c.Synced, c.Pending, c.Failed, c.Conflicts, c.Excluded)
	if r.LastSync != nil {
		s.printf("Last sync %s ended %s at %s.\n", r.LastSync.SyncID, r.LastSync.Status, r.LastSync.FinishedAt)
	} else {
		s.printf("No sync has run yet.\n")
	}
}

// failure prints what went wrong, with its remedies.
func (s screen) failure(p httpx.Problem) {
	s.printf("%s %s\n", s.paint(bad, "error"), p.Detail)
	s.remedies(p.Remediation)
}

// once leaves a code's general remedy out where a particular one has said the
// same before it.
func once(remedies []fault.Remedy) []fault.Remedy {
	return slices.CompactFunc(remedies, func(a, b fault.Remedy) bool { return a.Action == b.Action })
}

func (s screen) remedies(steps []fault.Remedy) {
	for _, step := range steps {
		s.printf("    → %s\n", step.Action)
		if step.Command != "" {
			s.printf("      %s\n", pasteable(step.Command))
		}
	}
}

func printJSON(w io.Writer, v any) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	return encoder.Encode(v)
}

func distinct[T ~string](list []T) []T {
	list = slices.Clone(list)
	slices.Sort(list)
	return slices.Compact(list)
}
