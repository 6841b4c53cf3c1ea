package quota

import "strings"

// Identity returns under which identity GitHub counts what is asked about an
// owner's containers. A token is one identity, whatever it serves. A GitHub App
// has an installation for each account, and a login has no case.
func Identity(app bool, owner string) string {
	if !app {
		return "token"
	}
	return "owner-" + strings.ToLower(owner)
}
