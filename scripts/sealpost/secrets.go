package main

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/spf13/cobra"

	"github.com/sealpost/sealpost/scripts/sealpost/local"
	"github.com/sealpost/sealpost/shared/clock"
	"github.com/sealpost/sealpost/shared/docstore/sqlitedoc"
	"github.com/sealpost/sealpost/shared/embedded/secretmanagerd"
	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/gcp/gsm"
	"github.com/sealpost/sealpost/shared/project"
	"github.com/sealpost/sealpost/shared/secret"
)

func secretsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "secrets",
		Short: "Look at and change the Secret Manager of the server on this machine",
		Long: `Look at and change the secrets in the embedded Secret Manager of the server that
runs on this machine. The real one has commands of its own: gcloud secrets.`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(setSecretCommand(), listSecretsCommand(),
		stateCommand("enable", secret.Enabled, "Make a version accessible again"),
		stateCommand("disable", secret.Disabled, "Make a version inaccessible until it is enabled again"),
		stateCommand("destroy", secret.Destroyed, "Delete a version's value for good"))
	return cmd
}

// vaultFlags say whose Secret Manager it is.
type vaultFlags struct {
	stateDir string
	project  string
}

func (f *vaultFlags) register(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.stateDir, "state-dir", defaultStateDir, "the server's state directory")
	cmd.Flags().StringVar(&f.project, "project", "", "the project whose source it is (default: the only one that is registered)")
}

// vault is the Secret Manager of the server on this machine, as the source of
// one project.
type vault struct {
	project project.Project
	source  string // id of the Google Cloud project
	values  *gsm.Client
	remote  *secretmanagerd.Remote
}

// withVault connects to the running server and calls do.
func withVault(cmd *cobra.Command, f vaultFlags, do func(vault) error) error {
	server, err := runningServer(f.stateDir)
	if err != nil {
		return err
	}
	ctx := cmd.Context()
	dial := func(ctx context.Context, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", server.SecretsSocket)
	}
	conn, err := dial(ctx, "")
	if err != nil {
		return noServer(f.stateDir, err) // it was killed, and left its notes behind
	}
	_ = conn.Close() // it only had to be answered
	v := vault{}
	if v.project, err = f.find(ctx); err != nil {
		return err
	}
	if v.source, err = sourceOf(v.project); err != nil {
		return err
	}
	if v.values, err = gsm.Open(ctx, gsm.Config{Endpoint: "embedded", Insecure: true, Dial: dial, Clock: clock.Real()}); err != nil {
		return err
	}
	defer func() { _ = v.values.Close() }()
	if v.remote, err = secretmanagerd.NewRemote(dial); err != nil {
		return err
	}
	defer func() { _ = v.remote.Close() }()
	return do(v)
}

// find returns the project that is named, or the only one that takes its values
// from Secret Manager.
func (f vaultFlags) find(ctx context.Context) (project.Project, error) {
	store, err := sqlitedoc.Open(filepath.Join(f.stateDir, local.DatabaseFile), clock.Real())
	if err != nil {
		return project.Project{}, err
	}
	defer func() { _ = store.Close() }()
	if f.project != "" {
		return project.Get(ctx, store, f.project)
	}
	const some = 10
	projects, _, err := project.List(ctx, store, some, "")
	if len(projects) > 1 { // what was synced from an env file has no source
		projects = slices.DeleteFunc(projects, func(p project.Project) bool { _, err := sourceOf(p); return err != nil })
	}
	var ids []string
	for _, p := range projects {
		ids = append(ids, p.ID)
	}
	switch {
	case err != nil:
		return project.Project{}, err
	case len(projects) == 0:
		return project.Project{}, fault.New(fault.UsageInvalid, "no project takes its values from Secret Manager").
			WithRemedy("Register one.", "sealpost apply -f sealpost.yaml")
	case len(projects) > 1:
		return project.Project{}, fault.New(fault.UsageInvalid, "several projects are registered: --project must name one of %s", strings.Join(ids, ", "))
	}
	return projects[0], nil
}

// sourceOf returns the Google Cloud project that the project's values come from.
func sourceOf(p project.Project) (string, error) {
	for _, m := range p.Mappings {
		if m.Source.Project != "" {
			return m.Source.Project, nil
		}
	}
	return "", fault.New(fault.UsageInvalid, "the manifest of %s names no source", p.ID)
}

// takers returns the names of the project's secrets that take their value from
// the source.
func (v vault) takers(id string) []string {
	names := []string{} // none is [] in JSON
	for _, m := range v.project.Mappings {
		if m.Source.Secret == id {
			names = append(names, string(m.Name))
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// sourceNamed checks the id of a secret. The name of a secret at GitHub is an
// easy mistake, where its source is called otherwise.
func (v vault) sourceNamed(cmd *cobra.Command, id string) (secret.Source, error) {
	var sources []string
	for _, m := range v.project.Mappings {
		if strings.EqualFold(string(m.Name), id) {
			sources = append(sources, m.Source.Secret)
		}
	}
	if len(sources) > 0 && len(v.takers(id)) == 0 {
		slices.Sort(sources)
		return secret.Source{}, usage(cmd, "%s is the name at GitHub; its value comes from %s", strings.ToUpper(id), strings.Join(slices.Compact(sources), ", "))
	}
	return secret.Source{Project: v.source, Secret: id}, nil
}

// checkID refuses what cannot be the id of a secret. It does not repeat it: it
// may be a value in the wrong place.
func checkID(cmd *cobra.Command, id string) error {
	if _, err := secret.ParseSource("", id); err != nil {
		return usage(cmd, "NAME must be the id of a secret: 1 to 255 letters, digits, - and _")
	}
	return nil
}

// words takes as many words as there are names for them. It does not repeat
// them.
func words(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != len(names) {
			return usage(cmd, "%s takes %s and flags; a value is never an argument", cmd.CommandPath(), strings.Join(names, " "))
		}
		return checkID(cmd, args[0])
	}
}

// newVersion is what set did.
type newVersion struct {
	GCPProject string         `json:"gcpProject"`
	Secret     string         `json:"secret"`
	Version    secret.Version `json:"version"`
	Created    bool           `json:"created"` // the secret was not there before
	UsedBy     []string       `json:"usedBy"`  // names of the project's secrets that take their value from it
}

func setSecretCommand() *cobra.Command {
	var f vaultFlags
	var file string
	cmd := &cobra.Command{
		Use:   "set NAME",
		Short: "Give a secret a new value, as its next version",
		Long: `Give a secret in the embedded Secret Manager a new value, as its next version.
NAME is what a manifest calls it after from.

The value is what is piped in, without the line ends at its end; or the content
of --file, byte for byte; or, on a terminal, a line that is asked for and not
shown. It is never an argument, where a list of processes would show it.

A secret that is new admits the project's repository, and no other.`,
		Example: `  sealpost secrets set payments-database-url
  printf %s "$NEW" | sealpost secrets set payments-database-url
  sealpost secrets set payments-signing-key --file key.pem --project payments-api`,
		Args: words("NAME"),
	}
	f.register(cmd)
	cmd.Flags().StringVar(&file, "file", "", "the file that holds the value")
	asJSON := cmd.Flags().Bool("json", false, "print the result as JSON")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return withVault(cmd, f, func(v vault) error {
			source, err := v.sourceNamed(cmd, args[0])
			if err != nil {
				return err
			}
			value, err := readValue(cmd, source.Secret, file)
			if err != nil {
				return err
			}
			done, err := v.set(cmd.Context(), source, value)
			if err != nil {
				return err
			}
			if *asJSON {
				return printJSON(cmd.OutOrStdout(), done)
			}
			newScreen(cmd.OutOrStdout(), plain(cmd)).newVersion(done, v.project.ID)
			return nil
		})
	}
	return cmd
}

// set adds a version, and the secret before it if there is none.
func (v vault) set(ctx context.Context, source secret.Source, value secret.Value) (newVersion, error) {
	done := newVersion{GCPProject: source.Project, Secret: source.Secret, UsedBy: v.takers(source.Secret)}
	var err error
	if done.Version, err = v.values.AddVersion(ctx, source, value); !errors.Is(err, fault.SourceMissing) {
		return done, err
	}
	err = v.values.Create(ctx, source, []int64{v.project.Repository.ID})
	if err != nil && !errors.Is(err, fault.Exists) { // somebody else may just have made it
		return done, err
	}
	done.Created = err == nil
	done.Version, err = v.values.AddVersion(ctx, source, value)
	return done, err
}

func (s screen) newVersion(done newVersion, projectID string) {
	s.printf("%s has version %d now. ", done.Secret, done.Version)
	if len(done.UsedBy) == 0 {
		s.printf("No mapping of %s takes its value from it yet.\n", projectID)
		return
	}
	s.printf("%s takes %s from it.\n", projectID, strings.Join(done.UsedBy, ", "))
}

// listedSecret is a secret in the list.
type listedSecret struct {
	Secret    string              `json:"secret"`
	Version   secret.Version      `json:"version"` // the newest; 0 if there is none
	State     secret.VersionState `json:"state,omitempty"`
	CreatedAt *time.Time          `json:"createdAt,omitempty"`
	UsedBy    []string            `json:"usedBy"`
}

// secretList is all secrets of a source.
type secretList struct {
	GCPProject string         `json:"gcpProject"`
	Secrets    []listedSecret `json:"secrets"`
}

func listSecretsCommand() *cobra.Command {
	var f vaultFlags
	cmd := &cobra.Command{
		Use:   "list",
		Short: "Show the secrets with their newest versions, never a value",
		Long: `Show the secrets of a project's source with their newest versions and the states
of those. Nothing shows a value.`,
		Example: `  sealpost secrets list
  sealpost secrets list --json | jq -r '.secrets[].secret'`,
		Args: noArguments,
	}
	f.register(cmd)
	asJSON := cmd.Flags().Bool("json", false, "print the result as JSON")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return withVault(cmd, f, func(v vault) error {
			list, err := v.list(cmd.Context())
			if err != nil {
				return err
			}
			if *asJSON {
				return printJSON(cmd.OutOrStdout(), list)
			}
			newScreen(cmd.OutOrStdout(), plain(cmd)).secrets(list)
			return nil
		})
	}
	return cmd
}

func (v vault) list(ctx context.Context) (secretList, error) {
	all, err := v.remote.List(ctx, v.source)
	list := secretList{GCPProject: v.source, Secrets: make([]listedSecret, 0, len(all))}
	for _, s := range all {
		listed := listedSecret{Secret: s.ID, Version: s.Newest.Number, State: s.Newest.State, UsedBy: v.takers(s.ID)}
		if listed.Version > 0 {
			listed.CreatedAt = &s.CreatedAt
		}
		list.Secrets = append(list.Secrets, listed)
	}
	return list, err
}

func (s screen) secrets(list secretList) {
	if len(list.Secrets) == 0 {
		s.printf("%s has no secrets.\n", list.GCPProject)
		return
	}
	colours := map[secret.VersionState]text.Color{secret.Enabled: good, secret.Disabled: careful, secret.Destroyed: bad}
	t := table.NewWriter()
	t.SetOutputMirror(s.out)
	t.SetStyle(table.StyleLight)
	t.Style().Format.Header = text.FormatDefault
	t.AppendHeader(table.Row{"secret in " + list.GCPProject, "version", "state", "used by"})
	for _, l := range list.Secrets {
		t.AppendRow(table.Row{l.Secret, l.Version, s.paint(colours[l.State], string(l.State)), strings.Join(l.UsedBy, ", ")})
	}
	t.Render()
}

// stateCommand returns the command that gives a version a state.
func stateCommand(verb string, state secret.VersionState, short string) *cobra.Command {
	var f vaultFlags
	cmd := &cobra.Command{
		Use:     verb + " NAME VERSION",
		Short:   short,
		Long:    short + ", in the embedded Secret Manager of the server\nthat runs on this machine.",
		Example: "  sealpost secrets " + verb + " payments-database-url 2",
		Args:    words("NAME", "VERSION"),
	}
	f.register(cmd)
	asJSON := cmd.Flags().Bool("json", false, "print the result as JSON")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		number, err := strconv.ParseInt(args[1], 10, 64)
		if err != nil || number < 1 {
			return usage(cmd, "VERSION must be the number of a version")
		}
		return withVault(cmd, f, func(v vault) error {
			source, err := v.sourceNamed(cmd, args[0])
			if err != nil {
				return err
			}
			if err := v.remote.SetState(cmd.Context(), source, secret.Version(number), state); err != nil {
				return err
			}
			changed := listedSecret{Secret: source.Secret, Version: secret.Version(number), State: state, UsedBy: v.takers(source.Secret)}
			if *asJSON {
				return printJSON(cmd.OutOrStdout(), changed)
			}
			newScreen(cmd.OutOrStdout(), plain(cmd)).printf("Version %d of %s is %s.\n", number, source.Secret, state)
			return nil
		})
	}
	return cmd
}
