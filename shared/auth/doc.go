// Package auth says who is calling and what that caller may do: identities,
// roles for each project, the issuers that may vouch for an identity and the
// bindings that give it roles.
//
// It decides without asking anybody. The verification of tokens, which fetches
// keys, is in package idtoken.
package auth
