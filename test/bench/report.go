package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"strconv"
	"text/tabwriter"
)

// peer is what another tool takes for the same work. The figures are shown for
// comparison only: they were measured once, and nothing is held to them.
type peer struct {
	Tool    string `json:"tool"`
	Figures string `json:"figures"`
}

// Source: measured against the embedded GitHub with 100 secrets × 3 scopes at
// 80 ms a request and no limit enforced, then again with nothing changed; and
// with 1,000 secrets under 900 points a minute.
var peers = [...]peer{
	{"gh secret set", "1.07 s and 303 requests; nothing changed: the same again; no end under 900 points a minute with 1,000 secrets"},
	{"terraform-provider-github", "31.5 s; nothing changed: 302 requests; 1,000 secrets under 900 points a minute: 22 min in its slow mode"},
}

// writeTable prints a line for each figure.
func writeTable(w io.Writer, all []measurement) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "ROW\tFIGURE\tMEASURED\tLIMIT\tVERDICT\tLIMIT FROM")
	for _, m := range all {
		name := m.row.name
		for _, v := range m.verdicts {
			fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\n", name, v.bound.figure, v.measured(), v.bound.text(), v.result, v.bound.basis)
			name = ""
		}
	}
	if err := table.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(w)
	for _, m := range all {
		for _, note := range m.notes() {
			fmt.Fprintf(w, "%s: %s\n", m.row.name, note)
		}
	}
	for _, p := range peers {
		fmt.Fprintf(w, "For comparison, %s: %s\n", p.Tool, p.Figures)
	}
	return nil
}

func (v verdict) measured() string {
	if math.IsNaN(v.figure) {
		return "–"
	}
	return quantity(v.figure, v.bound.unit)
}

func (b bound) text() string {
	if b.rule == exactly {
		return "= " + quantity(b.limit, b.unit)
	}
	return "≤ " + quantity(b.limit, b.unit)
}

// quantity prints counts whole and anything else with two decimals.
func quantity(x float64, unit string) string {
	text := strconv.FormatFloat(x, 'f', -1, 64)
	if x != math.Trunc(x) {
		text = strconv.FormatFloat(x, 'f', 2, 64)
	}
	if unit == "" {
		return text
	}
	return text + " " + unit
}

func (m measurement) notes() []string {
	notes := m.trial.notes
	if m.tried > 1 {
		notes = append(notes, fmt.Sprintf("the shortest time of %d tries, and the worst of every other figure", m.tried))
	}
	if m.trial.lacks != "" {
		notes = append(notes, "not measured: "+m.trial.lacks)
	}
	return notes
}

// line is one figure in JSON.
type line struct {
	Row     string   `json:"row"`
	Title   string   `json:"title"`
	Figure  string   `json:"figure"`
	Value   *float64 `json:"value"` // null if it was not measured
	Unit    string   `json:"unit,omitempty"`
	Rule    rule     `json:"rule"`
	Limit   float64  `json:"limit"`
	Basis   string   `json:"basis,omitempty"`
	Verdict result   `json:"verdict"`
	Tries   int      `json:"tries"`
	Notes   []string `json:"notes,omitempty"`
}

// writeJSON prints the same as the table.
func writeJSON(w io.Writer, all []measurement) error {
	var lines []line
	for _, m := range all {
		for _, v := range m.verdicts {
			l := line{
				Row: m.row.name, Title: m.row.title, Figure: v.bound.figure, Unit: v.bound.unit, Rule: v.bound.rule,
				Limit: v.bound.limit, Basis: v.bound.basis, Verdict: v.result, Tries: m.tried, Notes: m.notes(),
			}
			if !math.IsNaN(v.figure) {
				l.Value = &v.figure
			}
			lines = append(lines, l)
		}
	}
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	return encoder.Encode(map[string]any{"lines": lines, "peers": peers})
}
