package telemetry

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// TestMarksHideNothing holds that no text which a rule's pattern finds is passed
// over for lack of a mark.
func TestMarksHideNothing(t *testing.T) {
	t.Parallel()
	for _, r := range rules {
		t.Run(r.pattern.String(), func(t *testing.T) {
			t.Parallel()
			matching := rapid.StringMatching(r.pattern.String())
			rapid.Check(t, func(t *rapid.T) {
				text := matching.Draw(t, "text")
				if found := r.pattern.FindString(text); found != "" && !r.marked(strings.ToLower(text)) {
					t.Fatalf("%q would be passed over in %q", found, text)
				}
			})
		})
	}
}

func TestLongRunsAreFound(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringOfN(rapid.RuneFrom([]rune("a0Z+/_- .é")), 0, 100, -1).Draw(t, "text") +
			rapid.StringMatching(`[a-f0-9 ]{0,50}`).Draw(t, "more")
		found := base64Run.MatchString(text) || hexRun.MatchString(text)
		if found != hasLongRun(text) {
			t.Fatalf("a run in %q: found %v, expected %v", text, found, hasLongRun(text))
		}
	})
}

func BenchmarkRedactPlainText(b *testing.B) {
	for b.Loop() {
		Redact("it is in the manifest and not at GitHub: actions/DATABASE_URL")
	}
}
