package secret

import (
	"strings"

	"github.com/sealpost/sealpost/shared/fault"
)

// Name is a secret's name as GitHub stores it: upper-case.
type Name string

// maxNameBytes is ours: GitHub documents no limit, and a longer name makes a
// ledger entry that nobody meant.
const maxNameBytes = 200

// ParseName returns the name as GitHub stores it, or a [fault.NameInvalid].
// Lower-case is accepted. The error does not repeat the text, which may be a
// value in the wrong place. Source of the rules: docs.github.com,
// actions/reference/security/secrets, "Naming your secrets".
func ParseName(s string) (Name, error) {
	name := upper(s)
	switch {
	case name == "":
		return "", fault.New(fault.NameInvalid, "a secret's name is empty")
	case len(name) > maxNameBytes:
		return "", fault.New(fault.NameInvalid, "a secret's name is longer than %d bytes", maxNameBytes)
	case name[0] >= '0' && name[0] <= '9':
		return "", fault.New(fault.NameInvalid, "a secret's name starts with a digit")
	case strings.HasPrefix(name, "GITHUB_"):
		return "", fault.New(fault.NameInvalid, "a secret's name starts with GITHUB_, which GitHub keeps for itself")
	}
	for i := range len(name) {
		if !nameByte(name[i]) {
			return "", fault.New(fault.NameInvalid, "a secret's name has a character other than A-Z, 0-9 and _")
		}
	}
	return Name(name), nil
}

// upper folds ASCII only: strings.ToUpper makes letters that a name may have of
// some that it may not, such as the long s.
func upper(s string) string {
	b := []byte(s)
	for i, c := range b {
		if c >= 'a' && c <= 'z' {
			b[i] = c - 'a' + 'A'
		}
	}
	return string(b)
}

func nameByte(c byte) bool {
	return c == '_' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}
