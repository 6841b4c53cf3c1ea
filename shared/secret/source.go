package secret

import (
	"regexp"

	"github.com/sealpost/sealpost/shared/fault"
)

// Source names a secret in Secret Manager. In a manifest for one machine, where
// values come from an env file, Project is empty and Secret is the name there.
type Source struct {
	Project string // Google Cloud project id; empty for an env file
	Secret  string // secret id
}

var (
	gcpProject = regexp.MustCompile(`^[a-z][a-z0-9-]{4,28}[a-z0-9]$`)
	gcpSecret  = regexp.MustCompile(`^[A-Za-z0-9_-]{1,255}$`)
)

// ParseSource checks the ids by Google Cloud's rules, or returns a
// [fault.SourceMissing]. Source: cloud.google.com/secret-manager/docs/creating-and-accessing-secrets.
func ParseSource(project, id string) (Source, error) {
	if project != "" && !gcpProject.MatchString(project) {
		return Source{}, fault.New(fault.SourceMissing, "a source's project is not the id of a Google Cloud project")
	}
	if !gcpSecret.MatchString(id) {
		return Source{}, fault.New(fault.SourceMissing, "a source's secret is not the id of one: 1 to 255 letters, digits, - and _")
	}
	return Source{Project: project, Secret: id}, nil
}

// String returns project/secret.
func (s Source) String() string {
	if s.Project == "" {
		return s.Secret
	}
	return s.Project + "/" + s.Secret
}
