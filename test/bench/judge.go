package main

import (
	"context"
	"fmt"
	"math"
	"slices"
)

// rule is how a figure is held to its limit.
type rule string

const (
	atMost  rule = "at most"
	exactly rule = "exactly"
)

// bound is a limit of one figure of a row.
type bound struct {
	figure string
	unit   string
	rule   rule
	limit  float64
	basis  string // where the limit comes from, where it is computed
	// best takes the lowest of several tries: other work on the machine can only
	// make a time longer. Of any other figure the worst one counts.
	best bool
}

// met reports whether the figure keeps the limit. What is no number does not.
func (b bound) met(figure float64) bool {
	if b.rule == exactly {
		return figure == b.limit
	}
	return figure <= b.limit
}

// combine returns which of two tries' figures counts.
func (b bound) combine(one, other float64) float64 {
	switch {
	case b.best:
		return min(one, other)
	case b.rule == exactly && math.Abs(one-b.limit) > math.Abs(other-b.limit):
		return one
	case b.rule == exactly:
		return other
	}
	return max(one, other)
}

// figures are what was measured, by the names in the bounds.
type figures map[string]float64

// trial is what measuring a row once gave.
type trial struct {
	figures figures
	notes   []string
	lacks   string // what the machine lacks for the figures that are not there
}

// row is one piece of work that is measured.
type row struct {
	name   string
	title  string
	tries  int  // at the most, until every limit is kept
	slow   bool // takes minutes, so that it is measured by name or with --slow only
	bounds []bound
	once   func(context.Context, *lab) (trial, error)
}

// measurement is a row with its figures.
type measurement struct {
	row      row
	trial    trial
	tried    int
	verdicts []verdict
}

// verdict is one bound with its figure.
type verdict struct {
	bound  bound
	figure float64 // NaN if there is none
	result result
}

// result says how a figure stands to its limit.
type result string

const (
	kept    result = "ok"
	missed  result = "MISSED"
	lacking result = "not measured"
)

// take measures the row until every limit is kept, or its tries are used up.
func (r row) take(ctx context.Context, l *lab) (measurement, error) {
	m := measurement{row: r}
	for m.tried < r.tries {
		t, err := r.once(ctx, l)
		if err != nil {
			return m, fmt.Errorf("try %d: %w", m.tried+1, err)
		}
		m.tried++
		m.trial = r.combine(m.trial, t)
		m.verdicts = r.judge(m.trial)
		if !m.misses() {
			break
		}
	}
	return m, nil
}

// combine adds a try to those before it.
func (r row) combine(before, latest trial) trial {
	for _, b := range r.bounds {
		one, ok := before.figures[b.figure]
		other, again := latest.figures[b.figure]
		if ok && again {
			latest.figures[b.figure] = b.combine(one, other)
		}
	}
	return latest
}

// judge holds a row's figures to its bounds. A figure that is not there has
// missed its limit, unless the machine lacks what it takes.
func (r row) judge(t trial) []verdict {
	var verdicts []verdict
	for _, b := range r.bounds {
		figure, ok := t.figures[b.figure]
		v := verdict{b, figure, missed}
		switch {
		case !ok && t.lacks != "":
			v.figure, v.result = math.NaN(), lacking
		case !ok:
			v.figure = math.NaN()
		case b.met(figure):
			v.result = kept
		}
		verdicts = append(verdicts, v)
	}
	return verdicts
}

func (m measurement) misses() bool { return m.has(missed) }

func (m measurement) has(r result) bool {
	return slices.ContainsFunc(m.verdicts, func(v verdict) bool { return v.result == r })
}

// exitCode is 1 if a limit was missed. What the machine lacks is a failure where
// it is to have everything.
func exitCode(all []measurement, complete bool) int {
	for _, m := range all {
		if m.misses() || complete && m.has(lacking) {
			return 1
		}
	}
	return 0
}
