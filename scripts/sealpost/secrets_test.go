package main

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/sealpost/sealpost/scripts/sealpost/local"
	"github.com/sealpost/sealpost/shared/clock"
	"github.com/sealpost/sealpost/shared/docstore/sqlitedoc"
	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/project"
	"github.com/sealpost/sealpost/shared/secret"
)

// What is synced from an env file is in the same store, and takes no value from
// Secret Manager.
func TestTheProjectThatTakesFromSecretManager(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		projects []string // a trailing * stands for an env file's
		want     string   // id, or part of the error
	}{
		"none":                      {nil, "no project takes"},
		"the only one":              {[]string{"demo"}, "demo"},
		"beside an env file's":      {[]string{"api*", "demo"}, "demo"},
		"env files' only":           {[]string{"api*", "web*"}, "no project takes"},
		"two, so one must be named": {[]string{"billing", "demo", "web*"}, "one of billing, demo"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			store, err := sqlitedoc.Open(filepath.Join(dir, local.DatabaseFile), clock.Real())
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = store.Close() }()
			for _, id := range c.projects {
				source := secret.Source{Project: "acme-secrets", Secret: "a"}
				if strings.HasSuffix(id, "*") {
					source.Project = ""
				}
				p := project.Project{ID: strings.TrimSuffix(id, "*"), Mappings: []project.Mapping{{Name: "A", Source: source}}}
				write, err := p.Write()
				if err == nil {
					_, err = store.Commit(t.Context(), write)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			p, err := vaultFlags{stateDir: dir}.find(t.Context())
			if err == nil && p.ID != c.want || err != nil && !strings.Contains(fault.Detail(err), c.want) {
				t.Errorf("%q, %v", p.ID, err)
			}
		})
	}
}
