// Package manifest reads the file in which people say what a project is: its
// repository, where its values come from, which secret goes to which scopes,
// and its environments. The same text as JSON is the body of POST /projects.
//
// Reading is strict and complete: an unknown key, a wrong type, a key given
// twice, a name that GitHub would refuse are faults, all of them are reported at
// once, each with its line, and nothing is guessed. YAML's own machinery for
// reuse (anchors, aliases, merges, tags, several documents) is refused, so that a
// manifest is no larger than it looks.
//
// A manifest never holds a secret's value. Since people put one there all the
// same, no fault repeats what stands in a value's place, not even a name that was
// refused: faults give positions, the manifest's own words, and keys that look
// like words.
package manifest

import (
	"encoding/json"
	"maps"
	"slices"

	"github.com/sealpost/sealpost/shared/exclusion"
	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/project"
	"github.com/sealpost/sealpost/shared/secret"
)

// MaxBytes is the largest manifest that is read.
const MaxBytes = 1 << 20

// Manifest is what a project is asked to be, with every default filled in.
// Empty lists and maps are nil, so that equal manifests are deeply equal.
type Manifest struct {
	Project      string                 `json:"project"`
	GitHub       GitHub                 `json:"github"`
	Source       *Source                `json:"source,omitempty"` // nil: values come from an env file on one machine
	Secrets      []Secret               `json:"secrets,omitempty"`
	Exclude      []exclusion.Pattern    `json:"exclude,omitempty"` // besides the built-in and the global ones
	Policy       Policy                 `json:"policy,omitzero"`
	Environments map[string]Environment `json:"environments,omitempty"` // by name
}

// GitHub names the repository.
type GitHub struct {
	Owner string `json:"owner"` // login of the user or organisation
	Repo  string `json:"repo"`
}

// Source says where values come from.
type Source struct {
	GCPProject string `json:"gcpProject"` // id of the Google Cloud project whose Secret Manager it is
}

// Secret is one mapping.
type Secret struct {
	Name         secret.Name        `json:"name"`
	From         string             `json:"from"` // id in Secret Manager, or name in the env file
	Scopes       []secret.Scope     `json:"scopes"`
	Visibility   project.Visibility `json:"visibility,omitempty"`  // set if and only if a scope is an organisation's
	Repositories []string           `json:"repositories,omitzero"` // names; not nil if and only if visibility is selected
}

// Policy is what the project allows beyond the ordinary.
type Policy struct {
	// AllowRollback lets a lower version of a source be written once the higher
	// one is disabled or destroyed.
	AllowRollback bool `json:"allowRollback,omitempty"`
}

// Environment is a deployment environment of the repository. This version
// serves its secrets only: a manifest with linked resources or a protection is
// refused.
type Environment struct {
	LinkedResources *LinkedResources    `json:"linkedResources,omitempty"`
	Protection      *Protection         `json:"protection,omitempty"` // nil: left as it is
	Secrets         []EnvironmentSecret `json:"secrets,omitempty"`
}

// LinkedResources are resources elsewhere that belong to an environment. Their
// ids become NEON_BRANCH_ID and CLOUDFLARE_WORKER_NAME there.
type LinkedResources struct {
	NeonBranchID         string `json:"neonBranchId,omitempty"`
	CloudflareWorkerName string `json:"cloudflareWorkerName,omitempty"`
}

// Protection is the whole of an environment's protection: what is left out is
// cleared, as GitHub does.
type Protection struct {
	Reviewers         []string `json:"reviewers,omitempty"` // user:<login> or team:<slug>, at most 6
	WaitMinutes       int      `json:"waitMinutes,omitempty"`
	PreventSelfReview bool     `json:"preventSelfReview,omitempty"`
	Branches          []string `json:"branches,omitempty"` // name patterns; none: every branch may deploy
}

// EnvironmentSecret is a mapping whose one scope is the environment that it
// stands in.
type EnvironmentSecret struct {
	Name secret.Name `json:"name"`
	From string      `json:"from"`
}

// Mapping is one secret with its source and all that its scopes need.
type Mapping struct {
	Name   secret.Name
	Source secret.Source
	Scopes []secret.Scope
	Access *Access // set if a scope is an organisation's
}

// Access is who sees an organisation's secret, by names; GitHub wants the
// repositories' ids, which [project.Access] holds.
type Access struct {
	Visibility   project.Visibility
	Repositories []string // with [project.VisibleToSelected] only; may be empty
}

// Parse reads a manifest in YAML or JSON. It returns a
// [fault.ManifestInvalid] that carries a [fault.LineFaults] with every fault; a
// fault of a name, scope, source or pattern has that rule's code there.
func Parse(data []byte) (Manifest, error) { return parse(data, readAny) }

// ParseJSON reads a manifest in JSON, and nothing but JSON. Its errors are
// those of [Parse].
func ParseJSON(data []byte) (Manifest, error) { return parse(data, readJSON) }

func parse(data []byte, read func(*reader, []byte) *node) (Manifest, error) {
	var r reader
	var m Manifest
	if root := r.document(data, read); root != nil {
		m = r.manifest(root)
	}
	if err := r.faults.Err(fault.ManifestInvalid); err != nil {
		return Manifest{}, err
	}
	return m, nil
}

// Render returns the manifest as canonical JSON: equal manifests give equal
// bytes, and Parse gives the manifest back.
func (m Manifest) Render() []byte {
	data, err := json.Marshal(m)
	if err != nil {
		panic("manifest: " + err.Error()) // no field can fail to marshal
	}
	return data
}

// Mappings returns every mapping: the secrets in their order, then those of
// the environments by the environments' names.
func (m Manifest) Mappings() []Mapping {
	var mappings []Mapping
	for _, s := range m.Secrets {
		mapping := Mapping{Name: s.Name, Source: m.source(s.From), Scopes: slices.Clone(s.Scopes)}
		if s.Visibility != "" {
			mapping.Access = &Access{Visibility: s.Visibility, Repositories: slices.Clone(s.Repositories)}
		}
		mappings = append(mappings, mapping)
	}
	for _, name := range slices.Sorted(maps.Keys(m.Environments)) {
		for _, s := range m.Environments[name].Secrets {
			scopes := []secret.Scope{secret.EnvironmentScope(name)}
			mappings = append(mappings, Mapping{Name: s.Name, Source: m.source(s.From), Scopes: scopes})
		}
	}
	return mappings
}

func (m Manifest) source(from string) secret.Source {
	if m.Source == nil {
		return secret.Source{Secret: from}
	}
	return secret.Source{Project: m.Source.GCPProject, Secret: from}
}
