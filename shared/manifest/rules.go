package manifest

import (
	"errors"
	"regexp"
	"slices"
	"strings"

	"github.com/sealpost/sealpost/shared/exclusion"
	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/project"
	"github.com/sealpost/sealpost/shared/secret"
)

// Limits of GitHub's environments. Source: docs.github.com, REST API,
// "Create or update an environment".
const (
	maxReviewers   = 6
	maxWaitMinutes = 43200
)

// The rules of the texts in a manifest.
var (
	projectRule = rule[string]{
		parse:   func(s string) (string, error) { return s, project.CheckID(s) },
		message: "a project's id has 1 to 63 lower-case letters, digits and inner hyphens",
	}
	// GitHub has no page with these two; an account that an enterprise manages
	// has an underscore before the enterprise's short code.
	ownerRule = like(`^[A-Za-z0-9][A-Za-z0-9_-]{0,99}$`, "", "an owner is the login of a GitHub user or organisation: letters, digits and hyphens")
	repoRule  = like(`^[A-Za-z0-9_.-]*[A-Za-z0-9_-][A-Za-z0-9_.-]*$`, "", "a repository is named without its owner: letters, digits, . _ and -")

	gcpProjectRule = rule[string]{
		parse:   func(s string) (string, error) { return s, errorOf(secret.ParseSource(s, "any")) },
		code:    fault.SourceMissing,
		message: "this is not the id of a Google Cloud project: 6 to 30 lower-case letters, digits and hyphens",
	}
	fromRule = rule[string]{
		parse:   func(s string) (string, error) { return s, errorOf(secret.ParseSource("", s)) },
		code:    fault.SourceMissing,
		message: "this is not the id of a source: 1 to 255 letters, digits, - and _",
	}
	nameRule = rule[secret.Name]{
		parse:   secret.ParseName,
		code:    fault.NameInvalid,
		message: "this is not a secret's name: 1 to 200 letters, digits and underscores, no digit first, and not GITHUB_ at the start",
	}
	scopeRule = rule[secret.Scope]{
		parse: secret.ParseScope,
		code:  fault.ScopeInvalid,
		message: "there is no such scope; use actions, codespaces, dependabot, environment:<name>, " +
			"org-actions, org-codespaces or org-dependabot",
		words: []string{"actions", "codespaces", "dependabot", "org-actions", "org-codespaces", "org-dependabot"},
	}
	visibilityRule = oneOf("this must be all, private or selected",
		project.VisibleToAll, project.VisibleToPrivate, project.VisibleToSelected)
	patternRule = rule[exclusion.Pattern]{
		parse:   exclusion.Parse,
		code:    fault.PatternInvalid,
		message: "this is not an exclusion pattern: 1 to 200 letters, digits and underscores, * for any run of characters, ? for one",
	}
	environmentRule = rule[string]{
		parse:   func(s string) (string, error) { return s, secret.CheckEnvironmentName(s) },
		code:    fault.ScopeInvalid,
		message: "this is not an environment's name: 1 to 255 characters, no space at either end, none of ' \" ` , ; \\",
	}
	// Source: Neon's OpenAPI description, the parameter branch_id.
	neonBranchRule = like(`^[a-z0-9-]{1,60}$`, "", "this is not the id of a Neon branch: 1 to 60 lower-case letters, digits and hyphens")
	workerRule     = rule[string]{
		parse:   func(s string) (string, error) { return s, errorOf(secret.ParseScope("cloudflare:" + s)) },
		message: "this is not the name of a Cloudflare worker: 1 to 63 lower-case letters, digits, - and _",
	}
	reviewerRule = like(`^(user:[A-Za-z0-9][A-Za-z0-9_-]{0,99}|team:[A-Za-z0-9_][A-Za-z0-9_-]{0,254})$`, "",
		"a reviewer is user:<login> or team:<slug>")
	// What git refuses in the name of a branch, GitHub refuses in a pattern, but
	// for the signs of a pattern. Source: git-check-ref-format(1).
	branchRule = like(`^[^\s~^:\\\x00-\x1f\x7f/][^\s~^:\\\x00-\x1f\x7f]{0,254}$`, "",
		"this is not a branch or a pattern for branches: 1 to 255 characters, no space, none of ~ ^ : \\, no / first")
)

var errNoMatch = errors.New("no match")

func errorOf[T any](_ T, err error) error { return err }

func like(pattern string, code fault.Code, message string) rule[string] {
	expression := regexp.MustCompile(pattern)
	return rule[string]{code: code, message: message, parse: func(s string) (string, error) {
		if len(s) > 255 || !expression.MatchString(s) {
			return "", errNoMatch
		}
		return s, nil
	}}
}

func oneOf[T ~string](message string, words ...T) rule[T] {
	texts := make([]string, 0, len(words))
	for _, w := range words {
		texts = append(texts, string(w))
	}
	return rule[T]{message: message, words: texts, parse: func(s string) (T, error) {
		if !slices.Contains(words, T(s)) {
			return "", errNoMatch
		}
		return T(s), nil
	}}
}

func (r *reader) manifest(n *node) Manifest {
	var m Manifest
	r.hasSource = n.find("source") != nil
	r.environments = map[string]mention{}
	r.targets = map[target]int{}
	r.object(n,
		required("project", func(n *node) { m.Project = value(r, n, projectRule) }),
		required("github", func(n *node) { m.GitHub = r.github(n) }),
		optional("source", func(n *node) { m.Source = r.source(n) }),
		optional("secrets", func(n *node) {
			r.items(n, func(n *node) { m.Secrets = append(m.Secrets, r.secret(n)) })
		}),
		optional("exclude", func(n *node) {
			m.Exclude = distinct(r, n, func(n *node) (exclusion.Pattern, bool) { return checked(r, n, patternRule) })
		}),
		optional("policy", func(n *node) {
			r.object(n, optional("allowRollback", func(n *node) { m.Policy.AllowRollback = r.boolean(n) }))
		}),
		optional("environments", func(n *node) {
			r.each(n, func(key, body *node) {
				if m.Environments == nil {
					m.Environments = map[string]Environment{}
				}
				m.Environments[key.scalar] = r.environment(key, body)
			})
		}),
	)
	return m
}

func (r *reader) github(n *node) GitHub {
	var g GitHub
	r.object(n,
		required("owner", func(n *node) { g.Owner = value(r, n, ownerRule) }),
		required("repo", func(n *node) { g.Repo = value(r, n, repoRule) }),
	)
	return g
}

func (r *reader) source(n *node) *Source {
	var s Source
	r.object(n, required("gcpProject", func(n *node) { s.GCPProject = value(r, n, gcpProjectRule) }))
	return &s
}

func (r *reader) secret(n *node) Secret {
	var s Secret
	name, from := r.nameAndFrom(&s.Name, &s.From)
	r.object(n, name, from,
		optional("scopes", func(n *node) { s.Scopes = r.scopes(n) }),
		optional("visibility", func(n *node) { s.Visibility = value(r, n, visibilityRule) }),
		optional("repositories", func(n *node) {
			s.Repositories = distinct(r, n, func(n *node) (string, bool) { return checked(r, n, repoRule) })
		}),
	)
	if n.kind != object {
		return s
	}
	s.From = r.defaultFrom(n, s.Name, s.From)
	if n.find("scopes") == nil {
		s.Scopes = secret.DefaultScopes()
	}
	s.Repositories = r.access(n, s)
	r.claimAll(n, s)
	return s
}

// nameAndFrom are the fields that every mapping has.
func (r *reader) nameAndFrom(name *secret.Name, from *string) (field, field) {
	return required("name", func(n *node) { *name = value(r, n, nameRule) }),
		field{"from", r.hasSource, func(n *node) { *from = value(r, n, fromRule) }}
}

// defaultFrom completes a mapping: in an env file, the value's name is the
// secret's unless from says otherwise. It is the name as written, which may be
// lower-case there.
func (r *reader) defaultFrom(n *node, name secret.Name, from string) string {
	if r.hasSource || name == "" || n.find("from") != nil {
		return from
	}
	return value(r, n.find("name"), fromRule)
}

func (r *reader) scopes(n *node) []secret.Scope {
	scopes := distinct(r, n, func(n *node) (secret.Scope, bool) {
		scope, ok := checked(r, n, scopeRule)
		if name, environment := scope.Environment(); ok && environment {
			r.mention(n, name)
		}
		if _, worker := scope.Worker(); ok && worker {
			r.unserved(n, fault.ScopeInvalid, "Cloudflare Workers")
		}
		return scope, ok
	})
	if n.kind == list && len(n.values) == 0 {
		r.fault(n, "", "this lists no scope; leave the key out for actions, codespaces and dependabot")
	}
	return scopes
}

// access checks who sees the secret, which an organisation's scopes need said
// in full: GitHub clears what an update leaves out. It returns the
// repositories, not nil where they were said to be none.
func (r *reader) access(n *node, s Secret) []string {
	visibility, repositories := n.find("visibility"), n.find("repositories")
	if scopes := n.find("scopes"); scopes != nil && len(s.Scopes) != len(scopes.values) {
		return nil // what the others need is not known
	}
	if !slices.ContainsFunc(s.Scopes, secret.Scope.Organisation) {
		r.onlyOrganisations(visibility, repositories)
		return nil
	}
	selected := s.Visibility == project.VisibleToSelected
	switch {
	case visibility == nil:
		r.fault(n, "", "the key \"visibility\" is missing: say who sees the organisation's secret: all, private or selected repositories")
	case s.Visibility == "": // has its fault already
	case selected && repositories == nil:
		r.fault(n, "", "the key \"repositories\" is missing: list the selected repositories, or [] for none")
	case !selected && repositories != nil:
		r.fault(repositories, "", "repositories are listed with visibility selected only")
	case selected && s.Repositories == nil:
		return []string{}
	}
	return s.Repositories
}

func (r *reader) onlyOrganisations(nodes ...*node) {
	for _, n := range nodes {
		if n != nil {
			r.fault(n, "", "only an organisation's secret has this, and no scope here is an organisation's")
		}
	}
}

// target is where one copy goes.
type target struct {
	name  secret.Name
	scope secret.Scope
}

// claimAll records the targets of a secret, each at its scope where that is
// written.
func (r *reader) claimAll(n *node, s Secret) {
	written := n.find("scopes")
	if written == nil {
		for _, scope := range s.Scopes {
			if !r.claim(n, s.Name, scope) {
				return // the others are no news: the place is the same
			}
		}
		return
	}
	left := s.Scopes
	for _, item := range written.values {
		if len(left) > 0 && item.scalar == string(left[0]) {
			r.claim(item, s.Name, left[0])
			left = left[1:]
		}
	}
}

// claim records that a target has its source, which it can have but once, and
// reports whether that is so.
func (r *reader) claim(n *node, name secret.Name, scope secret.Scope) bool {
	t := target{name, scope}
	first, twice := r.targets[t]
	switch {
	case name == "": // has its fault already
	case twice:
		r.fault(n, "", "a secret of this name goes to this scope already, from line %d", first)
	default:
		r.targets[t] = n.line
	}
	return !twice
}

// mention is the first place where an environment is named.
type mention struct {
	name string
	line int
}

// mention checks that an environment is written alike everywhere. GitHub does
// not tell Production from production (docs.github.com, "Managing
// environments for deployment"), so two spellings would be two owners of one
// secret.
func (r *reader) mention(n *node, name string) {
	folded := strings.ToLower(name)
	first, known := r.environments[folded]
	switch {
	case !known:
		r.environments[folded] = mention{name, n.line}
	case first.name != name:
		r.fault(n, "", "this environment is written with other capitals on line %d; GitHub does not tell them apart", first.line)
	}
}

// environment reads the body of an environment; an empty one is an environment
// of which nothing more is said.
func (r *reader) environment(key, body *node) Environment {
	var e Environment
	if name, ok := checked(r, key, environmentRule); ok {
		r.mention(key, name)
	}
	if body.kind == null {
		return e
	}
	r.object(body,
		optional("linkedResources", func(n *node) { e.LinkedResources = r.linkedResources(n) }),
		optional("protection", func(n *node) { e.Protection = r.protection(n) }),
		optional("secrets", func(n *node) {
			r.items(n, func(n *node) { e.Secrets = append(e.Secrets, r.environmentSecret(n, key.scalar)) })
		}),
	)
	return e
}

func (r *reader) environmentSecret(n *node, environment string) EnvironmentSecret {
	var s EnvironmentSecret
	name, from := r.nameAndFrom(&s.Name, &s.From)
	r.object(n, name, from)
	if n.kind != object {
		return s
	}
	s.From = r.defaultFrom(n, s.Name, s.From)
	r.claim(n, s.Name, secret.EnvironmentScope(environment))
	return s
}

// unserved refuses what is written right but what this version does nothing
// about: to take it would be to promise it.
func (r *reader) unserved(n *node, code fault.Code, what string) {
	r.fault(n, code, "this version does not serve %s; leave this out", what)
}

func (r *reader) linkedResources(n *node) *LinkedResources {
	var l LinkedResources
	r.unserved(n, "", "linked resources")
	r.object(n,
		optional("neonBranchId", func(n *node) { l.NeonBranchID = value(r, n, neonBranchRule) }),
		optional("cloudflareWorkerName", func(n *node) { l.CloudflareWorkerName = value(r, n, workerRule) }),
	)
	return &l
}

func (r *reader) protection(n *node) *Protection {
	var p Protection
	r.unserved(n, "", "protection rules of environments")
	r.object(n,
		optional("reviewers", func(n *node) { p.Reviewers = r.reviewers(n) }),
		optional("waitMinutes", func(n *node) { p.WaitMinutes = r.integer(n, maxWaitMinutes) }),
		optional("preventSelfReview", func(n *node) { p.PreventSelfReview = r.boolean(n) }),
		optional("branches", func(n *node) { p.Branches = r.branches(n) }),
	)
	return &p
}

func (r *reader) reviewers(n *node) []string {
	reviewers := distinct(r, n, func(n *node) (string, bool) { return checked(r, n, reviewerRule) })
	if n.kind == list && len(n.values) > maxReviewers {
		r.fault(n, "", "an environment has at most %d reviewers", maxReviewers)
	}
	return reviewers
}

func (r *reader) branches(n *node) []string {
	branches := distinct(r, n, func(n *node) (string, bool) { return checked(r, n, branchRule) })
	if n.kind == list && len(n.values) == 0 {
		r.fault(n, "", "this lists no branch; leave the key out to let every branch deploy")
	}
	return branches
}
