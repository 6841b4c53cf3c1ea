package quota

import "strings"

// TokenIdentity is the identity of all that one token serves.
const TokenIdentity = "token"

// OwnerIdentity is the identity of what a GitHub App's installation serves: an
// App has one installation for each account, and a login has no case.
func OwnerIdentity(owner string) string { return "owner-" + strings.ToLower(owner) }
