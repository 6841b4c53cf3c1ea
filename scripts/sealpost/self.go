package main

import (
	"os"
	"regexp"
	"strings"
)

// goRun matches where the go command puts what go run runs: a directory for
// the build, or its cache.
var goRun = regexp.MustCompile(`[/\\](go-build[0-9]*[/\\]|[0-9a-f]{64}-d[/\\])`)

// self is how this command is called once more from the same directory: by the
// name or path that it was called by, or as make run does it.
func self(called string) string {
	if goRun.MatchString(called) {
		return "go run ./scripts/sealpost"
	}
	return called
}

// pasteable puts the way to call this command in the place of its name.
func pasteable(command string) string {
	if rest, ours := strings.CutPrefix(command, "sealpost "); ours {
		return self(os.Args[0]) + " " + rest
	}
	return command
}
