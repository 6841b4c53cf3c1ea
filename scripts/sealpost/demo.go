package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sealpost/sealpost/scripts/sealpost/local"
	"github.com/sealpost/sealpost/shared/embedded/githubd"
	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/manifest"
	"github.com/sealpost/sealpost/shared/project"
	"github.com/sealpost/sealpost/shared/provisioning"
	"github.com/sealpost/sealpost/shared/secret"
	"github.com/sealpost/sealpost/shared/syncer"
)

//go:embed demo.yaml
var demoManifest []byte

const (
	demoProject      = "payments-demo"
	demoSource       = "payments-database-url"
	demoRepositoryID = 733001
	// demoLatency is about what GitHub takes for a request.
	demoLatency = 80 * time.Millisecond
)

// demoWorld is what the embedded GitHub has: an organisation with the demo's
// repository and its environments.
func demoWorld() githubd.World {
	return githubd.World{
		Organizations: []githubd.Organization{{ID: 733000, Login: "acme"}},
		Users:         []githubd.User{{ID: 733100, Login: "sealpost"}},
		Repositories:  []githubd.Repository{{ID: demoRepositoryID, Owner: "acme", Name: "payments", Private: true, Environments: []string{"staging", "production"}}},
		Tokens:        []githubd.Token{{Token: local.EmbeddedToken, Login: "sealpost"}},
	}
}

// runDemo puts values into the embedded Secret Manager, registers the demo
// project and syncs it. At a second start it finds both, as somebody may have
// changed them meanwhile.
func runDemo(ctx context.Context, cmd *cobra.Command, s *local.Server, screen screen) error {
	m, err := manifest.Parse(demoManifest)
	if err != nil {
		return err
	}
	consent := map[string]string{"sealpost-repositories": fmt.Sprint(demoRepositoryID)}
	for _, mapping := range m.Mappings() {
		if slices.Contains(s.Secrets.Secrets(mapping.Source.Project), mapping.Source.Secret) {
			continue
		}
		value := secret.NewValue("demo-value-of-" + strings.ToLower(mapping.Source.Secret))
		if _, err := s.Secrets.SetSecret(mapping.Source.Project, mapping.Source.Secret, value, consent); err != nil {
			return err
		}
	}
	by := provisioning.Caller{Actor: actor()}
	p, err := project.Get(ctx, s.Store, m.Project)
	state := "is registered"
	if errors.Is(err, fault.ProjectNotFound) {
		state = "was registered"
		p, _, err = s.Registrar.Apply(ctx, m, by)
	}
	if err != nil {
		return err
	}
	screen.printf("The project %s %s, for %s.\n", p.ID, state, p.Repository)
	bar := newBar(cmd.ErrOrStderr())
	result, err := s.Engine.Sync(ctx, syncer.Request{Project: p, Actor: by.Actor, Progress: bar.update})
	bar.stop()
	if errors.Is(err, fault.SyncInProgress) { // its mark stays, which the dispatcher finds
		screen.printf("An earlier sync was broken off seconds ago. The server goes on from there within a minute or two.\n")
		return nil
	}
	if err != nil {
		return err
	}
	screen.result(result)
	return nil
}
