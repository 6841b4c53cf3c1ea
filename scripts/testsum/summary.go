package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
)

// event is one line of `go test -json`. Source: go doc test2json.
type event struct {
	id
	Action     string
	Output     string
	ImportPath string // of build-output, instead of Package
}

// id names a test, or a package where Test is empty.
type id struct{ Package, Test string }

type skip struct {
	id
	reason string
}

// summary is what came of the tests.
type summary struct {
	passed, failed int
	skips          []skip

	output map[id]string   // of what still runs
	broken map[string]bool // packages with a failed test
	w      io.Writer
}

// summarise reads events to their end and prints the output of what failed.
func summarise(events io.Reader, w io.Writer) (*summary, error) {
	s := &summary{output: map[id]string{}, broken: map[string]bool{}, w: w}
	decoder := json.NewDecoder(events)
	for {
		var e event
		switch err := decoder.Decode(&e); {
		case errors.Is(err, io.EOF):
			return s, nil
		case err != nil:
			// Let go test finish: it would hang on a full pipe.
			_, _ = io.Copy(io.Discard, events)
			return s, err
		}
		s.take(e)
	}
}

func (s *summary) take(e event) {
	switch e.Action {
	case "output":
		s.output[e.id] += e.Output
	case "build-output":
		fmt.Fprint(s.w, e.Output)
	case "pass", "fail", "skip":
		s.end(e)
		delete(s.output, e.id)
	}
}

func (s *summary) end(e event) {
	switch {
	case e.Test == "":
		s.endPackage(e)
	case e.Action == "skip":
		s.skips = append(s.skips, skip{e.id, reason(s.output[e.id])})
	case e.Action == "pass":
		s.passed++
	default:
		s.failed++
		s.broken[e.Package] = true
		s.show(e.id)
	}
}

// endPackage counts a package as one failure if it failed without a failed
// test: it does not build, panicked, ran out of time or exited.
func (s *summary) endPackage(e event) {
	if e.Action == "fail" && !s.broken[e.Package] {
		s.failed++
		s.showRunning(e.Package)
		s.show(e.id)
	}
}

// showRunning prints the output of the tests that a package's end cut short.
func (s *summary) showRunning(name string) {
	for id := range s.output {
		if id.Package == name && id.Test != "" {
			s.show(id)
			delete(s.output, id)
		}
	}
}

func (s *summary) show(i id) {
	fmt.Fprintf(s.w, "FAIL %s %s\n%s", i.Package, i.Test, s.output[i])
}

// logged is a line of a test's log: "    file_test.go:12: text".
var logged = regexp.MustCompile(`(?m)^\s*[^\s:]+\.go:\d+: (.*)$`)

// reason returns the last that a skipped test logged: what it lacks.
func reason(output string) string {
	lines := logged.FindAllStringSubmatch(output, -1)
	if len(lines) == 0 {
		return "no reason given"
	}
	return lines[len(lines)-1][1]
}

// mayLack is in the reason of the tests that even CI may skip.
const mayLack = "Terraform providers"

// forbiddenSkips returns what CI holds against the tests that were skipped.
func (s *summary) forbiddenSkips() (faults []string) {
	for _, skip := range s.skips {
		if !strings.Contains(skip.reason, mayLack) {
			faults = append(faults, fmt.Sprintf("CI may not skip %s %s", skip.Package, skip.Test))
		}
	}
	return faults
}
