package githubd

import (
	"strings"
	"testing"
)

// DocumentedEndpoints lists the endpoints, without those under numeric ids that
// GitHub does not describe, in the description's names.
func DocumentedEndpoints() []string {
	var patterns []string
	for _, r := range endpoints() {
		if !strings.Contains(r.pattern, "/organizations/") && !strings.Contains(r.pattern, "/repositories/{repository_id}") {
			patterns = append(patterns, strings.ReplaceAll(r.pattern, "{selected_id}", "{repository_id}"))
		}
	}
	return patterns
}

// BreakState makes every further write to the state file fail.
func BreakState(t *testing.T, s *Server) {
	t.Helper()
	if err := s.state.file.Close(); err != nil {
		t.Fatal(err)
	}
}
