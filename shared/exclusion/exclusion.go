// Package exclusion says which secret names are never touched, whatever a
// manifest asks for.
//
// A pattern is a glob over names: letters, digits and underscores, * for any
// run of characters and ? for one. Patterns are upper-case, as names are.
// Three lists apply together: the built-in one, which nobody can take away
// since GitHub keeps those names for itself or sets them in every run; the
// global one, which operators keep in the store; and the project's own, from its
// manifest.
package exclusion

import (
	"slices"

	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/secret"
)

// Pattern is a glob that [Parse] has checked, in upper case.
type Pattern string

// maxPatternBytes is the most that a secret's name has, so that every name can
// be excluded by itself.
const maxPatternBytes = 200

// builtIn are the names that GitHub refuses or overwrites. Source:
// docs.github.com, actions/reference/variables-reference, "Default environment
// variables", and actions/reference/security/secrets, "Naming your secrets".
var builtIn = []Pattern{"GITHUB_TOKEN", "GITHUB_*", "ACTIONS_*", "RUNNER_*", "CI"}

// BuiltIn returns the patterns that always apply.
func BuiltIn() []Pattern { return slices.Clone(builtIn) }

// Parse returns the pattern in upper case, with each run of stars as one, or a
// [fault.PatternInvalid] that does not repeat the text.
func Parse(s string) (Pattern, error) {
	if s == "" || len(s) > maxPatternBytes {
		return "", fault.New(fault.PatternInvalid, "an exclusion pattern has 1 to %d characters", maxPatternBytes)
	}
	pattern := make([]byte, 0, len(s))
	for _, c := range []byte(s) {
		if c >= 'a' && c <= 'z' {
			c -= 'a' - 'A' // not strings.ToUpper, which makes an S of a long s
		}
		switch {
		case c == '*' && len(pattern) > 0 && pattern[len(pattern)-1] == '*':
		case c == '*' || c == '?' || c == '_' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9':
			pattern = append(pattern, c)
		default:
			return "", fault.New(fault.PatternInvalid, "an exclusion pattern has a character other than A-Z, 0-9, _, * and ?")
		}
	}
	return Pattern(pattern), nil
}

// ParseAll parses each text, or returns the first [fault.PatternInvalid].
func ParseAll(texts []string) ([]Pattern, error) {
	patterns := make([]Pattern, 0, len(texts))
	for _, s := range texts {
		p, err := Parse(s)
		if err != nil {
			return nil, err
		}
		patterns = append(patterns, p)
	}
	return patterns, nil
}

// Matches reports whether the pattern stands for the whole name. It takes at
// most len(pattern) × len(name) steps: only the last star is ever tried anew.
func (p Pattern) Matches(name secret.Name) bool {
	star, resume := -1, 0 // the last star, and the part of the name after what it stands for
	i, j := 0, 0          // where we are in the pattern and in the name
	for j < len(name) {
		switch {
		case i < len(p) && p[i] == '*':
			star, resume = i, j
			i++
		case i < len(p) && (p[i] == '?' || p[i] == name[j]):
			i++
			j++
		case star >= 0:
			resume++
			i, j = star+1, resume
		default:
			return false
		}
	}
	return i == len(p) || i == len(p)-1 && p[i] == '*'
}

// Matcher decides about names by several lists of patterns.
type Matcher struct{ patterns []Pattern }

// Compile joins the lists behind the built-in one. The first pattern that
// matches is the one that a name is excluded by.
func Compile(lists ...[]Pattern) Matcher {
	return Matcher{patterns: slices.Concat(append([][]Pattern{builtIn}, lists...)...)}
}

// Match returns the pattern that excludes the name, and whether one does. The
// zero Matcher excludes by the built-in patterns.
func (m Matcher) Match(name secret.Name) (pattern string, excluded bool) {
	patterns := m.patterns
	if patterns == nil {
		patterns = builtIn
	}
	for _, p := range patterns {
		if p.Matches(name) {
			return string(p), true
		}
	}
	return "", false
}
