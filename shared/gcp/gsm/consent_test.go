package gsm

import (
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestParseRepositories(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][]int64{
		"":                                  nil,
		"42":                                {42},
		"42,7":                              {42, 7},
		"42 7":                              {42, 7},
		" 42 ,\t7\n,, 9 ":                   {42, 7, 9},
		"42,42":                             {42},
		"9223372036854775807":               {9223372036854775807},
		"9223372036854775808":               nil,
		"0":                                 nil,
		"-42":                               nil,
		"+42":                               nil,
		"042":                               nil,
		"0x2a":                              nil,
		"4_2":                               nil,
		"42.0":                              nil,
		"1e3":                               nil,
		"٤٢":                                nil,
		"acme/payments-api":                 nil,
		"*":                                 nil,
		"42;7":                              nil,
		"42-50":                             nil,
		"all, 42":                           {42},
		"\u00a042\u2003":                    {42},
		"42\x00":                            nil,
		strings.Repeat("x", 1<<14) + ", 42": {42},
	} {
		if got := parseRepositories(text); !slices.Equal(got, want) {
			t.Errorf("%.40q: got %v, want %v", text, got, want)
		}
	}
}

func TestProjectNumber(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"projects/827585297303/secrets/db-url": "827585297303",
		"projects/acme-prod/secrets/db-url":    "",
		"projects/827x/secrets/db-url":         "",
		"projects/":                            "",
		"":                                     "",
	} {
		if got := projectNumber(name); got != want {
			t.Errorf("%q: got %q, want %q", name, got, want)
		}
	}
}

func TestFormattedRepositoriesAreParsedBack(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		ids := rapid.SliceOfDistinct(rapid.Int64Min(1), rapid.ID[int64]).Draw(t, "ids")
		if got := parseRepositories(FormatRepositories(ids)); !slices.Equal(got, ids) {
			t.Fatalf("got %v, want %v", got, ids)
		}
	})
}

// Whatever stands in the annotation, it admits only ids that stand there.
func FuzzParseRepositories(f *testing.F) {
	for _, seed := range []string{"42, 7", "acme/payments-api", "-1 0 00 +3", "\xff\u00a0,"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, id := range parseRepositories(text) {
			if id < 1 || !strings.Contains(text, strconv.FormatInt(id, 10)) {
				t.Errorf("%q admits %d", text, id)
			}
		}
	})
}
