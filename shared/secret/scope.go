package secret

import (
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/sealpost/sealpost/shared/fault"
)

// Scope says where a copy goes. It is its own text: `actions`, `codespaces`,
// `dependabot`, `environment:<name>`, `org-actions`, `org-codespaces`,
// `org-dependabot`, `cloudflare:<worker>`.
type Scope string

// The scopes that carry no name of their own.
const (
	Actions       Scope = "actions"
	Codespaces    Scope = "codespaces"
	Dependabot    Scope = "dependabot"
	OrgActions    Scope = "org-actions"
	OrgCodespaces Scope = "org-codespaces"
	OrgDependabot Scope = "org-dependabot"
)

const (
	environmentPrefix = "environment:"
	cloudflarePrefix  = "cloudflare:"
)

// DefaultScopes is where a mapping goes that names no scopes.
func DefaultScopes() []Scope { return []Scope{Actions, Codespaces, Dependabot} }

// workerName follows Cloudflare's rule for a script's name.
var workerName = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,62}$`)

// EnvironmentScope returns the scope of a repository's deployment environment.
func EnvironmentScope(name string) Scope { return Scope(environmentPrefix + name) }

// ParseScope checks a scope's text, or returns a [fault.ScopeInvalid], which does
// not repeat the text: it may be a value in the wrong place.
func ParseScope(s string) (Scope, error) {
	scope := Scope(s)
	switch scope {
	case Actions, Codespaces, Dependabot, OrgActions, OrgCodespaces, OrgDependabot:
		return scope, nil
	}
	if name, ok := strings.CutPrefix(s, environmentPrefix); ok {
		if err := CheckEnvironmentName(name); err != nil {
			return "", err
		}
		return scope, nil
	}
	if name, ok := strings.CutPrefix(s, cloudflarePrefix); ok && workerName.MatchString(name) {
		return scope, nil
	}
	return "", fault.New(fault.ScopeInvalid, "a scope is none of actions, codespaces, dependabot, environment:<name>, org-actions, org-codespaces, org-dependabot")
}

// CheckEnvironmentName returns a [fault.ScopeInvalid] for a name that no
// deployment environment can have. GitHub allows 255 characters; those that
// would need care in a path, a log or the store are refused.
func CheckEnvironmentName(name string) error {
	if name == "" || utf8.RuneCountInString(name) > 255 || strings.TrimSpace(name) != name {
		return fault.New(fault.ScopeInvalid, "an environment's name has 1 to 255 characters and no space at either end")
	}
	for _, r := range name {
		if r == utf8.RuneError || !unicode.IsPrint(r) || strings.ContainsRune("'\"`,;\\", r) {
			return fault.New(fault.ScopeInvalid, "an environment's name has a character that is not allowed there")
		}
	}
	return nil
}

// Environment returns the deployment environment's name, and whether the scope
// is one.
func (s Scope) Environment() (string, bool) { return strings.CutPrefix(string(s), environmentPrefix) }

// Worker returns the Cloudflare worker's name, and whether the scope is one.
func (s Scope) Worker() (string, bool) { return strings.CutPrefix(string(s), cloudflarePrefix) }

// Organisation reports whether the scope belongs to an organisation.
func (s Scope) Organisation() bool { return strings.HasPrefix(string(s), "org-") }

// Capacity returns how many secrets the scope holds at the most, or 0 where no
// limit is documented. Source: docs.github.com,
// actions/reference/security/secrets, "Limits for secrets", and
// codespaces/…/managing-development-environment-secrets.
func (s Scope) Capacity() int {
	switch s {
	case OrgActions:
		return 1000
	case Actions, Codespaces, OrgCodespaces:
		return 100
	}
	if _, ok := s.Environment(); ok {
		return 100
	}
	return 0
}
