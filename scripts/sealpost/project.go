package main

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"os/user"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/sealpost/sealpost/scripts/sealpost/local"
	"github.com/sealpost/sealpost/shared/audit"
	"github.com/sealpost/sealpost/shared/clock"
	"github.com/sealpost/sealpost/shared/config"
	"github.com/sealpost/sealpost/shared/docstore/sqlitedoc"
	"github.com/sealpost/sealpost/shared/envfile"
	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/gcp/gsm"
	"github.com/sealpost/sealpost/shared/ghapi"
	"github.com/sealpost/sealpost/shared/manifest"
	"github.com/sealpost/sealpost/shared/project"
	"github.com/sealpost/sealpost/shared/provisioning"
	"github.com/sealpost/sealpost/shared/secret"
	"github.com/sealpost/sealpost/shared/source"
	"github.com/sealpost/sealpost/shared/syncer"
	"github.com/sealpost/sealpost/shared/telemetry"
)

// projectFlags are the flags of the commands that work on a manifest from this
// machine.
type projectFlags struct {
	manifest  string
	envFile   string
	gitHubURL string
	pace      string
	stateDir  string
	secrets   []string
	scopes    []string
	force     bool
	prune     bool
	deletions int
}

func (f *projectFlags) register(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVarP(&f.manifest, "file", "f", "sealpost.yaml", "the manifest")
	flags.StringVar(&f.stateDir, "state-dir", "", "where ledger, audit and fingerprint key are kept (default .sealpost beside the manifest)")
}

func (f *projectFlags) registerSync(cmd *cobra.Command) {
	f.register(cmd)
	flags := cmd.Flags()
	flags.StringVar(&f.envFile, "env-file", "", "the values, for a manifest without a source")
	flags.StringVar(&f.gitHubURL, "github-url", "", "GitHub's address, for GitHub Enterprise Server (default GITHUB_API_URL, else https://api.github.com)")
	flags.StringVar(&f.pace, "pace", "", "polite, fast or off: a write a second, near GitHub's documented limit, or no limit (default SEALPOST_PACE, else polite)")
	flags.StringSliceVar(&f.secrets, "secret", nil, "only these secrets")
	flags.StringSliceVar(&f.scopes, "scope", nil, "only these scopes")
	flags.BoolVar(&f.force, "force", false, "take over targets that Sealpost did not write")
	flags.BoolVar(&f.prune, "prune", false, "delete what Sealpost wrote and the manifest does not name any more")
	flags.IntVar(&f.deletions, "max-deletions", 0, "allow that many deletions (default 5, and at most a fifth of the targets)")
}

// workspace is the engine on one machine: state in a directory, values from an
// env file or Secret Manager, and the real GitHub.
type workspace struct {
	manifest  manifest.Manifest
	store     *sqlitedoc.Store
	engine    *syncer.Engine
	registrar *provisioning.Registrar
	closers   []func() error
}

func (w *workspace) close() {
	for i := len(w.closers) - 1; i >= 0; i-- {
		_ = w.closers[i]() // everything that counts was committed before
	}
}

// openState opens the manifest and the state beside it.
func openState(f projectFlags) (*workspace, error) {
	m, err := readManifest(f.manifest)
	if err != nil {
		return nil, err
	}
	w := &workspace{manifest: m}
	dir := f.stateDir
	if dir == "" {
		dir = filepath.Join(filepath.Dir(f.manifest), ".sealpost")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fault.New(fault.ConfigInvalid, "the state directory %s cannot be made", dir).WithCause(err)
	}
	clk := clock.Real()
	if w.store, err = sqlitedoc.Open(filepath.Join(dir, "sealpost.db"), clk); err != nil {
		return nil, err
	}
	w.closers = append(w.closers, w.store.Close)
	log, err := w.openLog(filepath.Join(dir, "sealpost.log"))
	if err != nil {
		w.close()
		return nil, err
	}
	recorder := audit.NewRecorder(log, audit.NewStore(w.store, 0), audit.NewLogSink(log.Handler()))
	key := filepath.Join(dir, "fingerprint.key")
	w.engine = &syncer.Engine{
		Store: w.store, Audit: recorder, Clock: clk, Log: log,
		Fingerprints: func(context.Context) (secret.FingerprintKey, error) { return local.FingerprintKey(key) },
	}
	w.registrar = &provisioning.Registrar{Store: w.store, Audit: recorder, Clock: clk}
	return w, nil
}

func (w *workspace) openLog(path string) (*slog.Logger, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fault.New(fault.ConfigInvalid, "the log %s cannot be written", path).WithCause(err)
	}
	w.closers = append(w.closers, file.Close)
	return telemetry.NewLogger(file, telemetry.Options{}), nil
}

func readManifest(path string) (manifest.Manifest, error) {
	content, err := readFile(path, "manifest")
	if err != nil {
		return manifest.Manifest{}, err
	}
	return manifest.Parse(content)
}

func readFile(path, what string) ([]byte, error) {
	content, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fault.New(fault.UsageInvalid, "there is no %s at %s", what, path)
	case err != nil:
		return nil, fault.New(fault.UsageInvalid, "the %s at %s cannot be read", what, path).WithCause(err)
	}
	return content, nil
}

// open opens the workspace with all that a plan or a sync needs.
func open(ctx context.Context, f projectFlags) (*workspace, error) {
	c, err := loadConfig(map[string]string{"GITHUB_API_URL": f.gitHubURL, "SEALPOST_PACE": f.pace})
	if err != nil {
		return nil, err
	}
	w, err := openState(f)
	if err != nil {
		return nil, err
	}
	if err := w.connect(ctx, f, c); err != nil {
		w.close()
		return nil, err
	}
	return w, nil
}

// loadConfig reads the environment; a flag that was given stands over it.
func loadConfig(flags map[string]string) (config.Config, error) {
	return config.Load(config.CLI, func(name string) (string, bool) {
		if text := flags[name]; text != "" {
			return text, true
		}
		return config.Environ(name)
	})
}

func (w *workspace) connect(ctx context.Context, f projectFlags, c config.Config) error {
	if !c.UsesApp() && !c.UsesToken() {
		return fault.New(fault.ConfigInvalid, "there are no credentials for GitHub: neither GITHUB_TOKEN nor GITHUB_APP_ID with GITHUB_APP_PRIVATE_KEY is set").
			WithRemedy("Set a token, for example that of the GitHub CLI.", "export GITHUB_TOKEN=$(gh auth token)")
	}
	var err error
	if w.engine.Sources, err = w.sources(ctx, f); err != nil {
		return err
	}
	credentials, err := gitHubCredentials(c)
	if err != nil {
		return err
	}
	client, err := ghapi.New(ghapi.Config{BaseURL: c.GitHubAPI, Credentials: credentials, Mode: c.Pace, Clock: w.engine.Clock})
	if err != nil {
		return err
	}
	w.closers = append(w.closers, func() error { client.Close(); return nil })
	w.engine.Targets, w.engine.Mode, w.registrar.Directory = client, c.Pace, client
	return nil
}

func gitHubCredentials(c config.Config) (ghapi.Credentials, error) {
	credentials := ghapi.Credentials{Token: c.GitHubToken}
	if !c.UsesApp() {
		return credentials, nil
	}
	if c.GitHubAppPrivateKey.File == "" {
		return credentials, fault.New(fault.ConfigInvalid, "GITHUB_APP_PRIVATE_KEY must be file:<path> for this command")
	}
	key, err := readFile(c.GitHubAppPrivateKey.File, "App's private key")
	if err != nil {
		return credentials, err
	}
	credentials.App = &ghapi.App{ID: c.GitHubAppID, PrivateKey: secret.NewValue(string(key))}
	return credentials, nil
}

// sources returns where the values come from: the env file, or Secret Manager
// where the manifest names a source.
func (w *workspace) sources(ctx context.Context, f projectFlags) (syncer.Sources, error) {
	switch {
	case w.manifest.Source != nil && f.envFile != "":
		return nil, fault.New(fault.UsageInvalid, "the manifest names a source, so --env-file has no use: leave one of them out")
	case w.manifest.Source != nil:
		client, err := gsm.Open(ctx, gsm.Config{Clock: w.engine.Clock})
		if err != nil {
			return nil, err
		}
		w.closers = append(w.closers, client.Close)
		return client, nil
	case f.envFile == "":
		return nil, fault.New(fault.UsageInvalid, "the manifest names no source, so --env-file must say where the values are")
	}
	content, err := readFile(f.envFile, "env file")
	if err != nil {
		return nil, err
	}
	entries, err := envfile.Parse(content)
	if err != nil {
		return nil, err
	}
	values := make(map[string]secret.Value, len(entries))
	for _, e := range entries {
		values[e.Name] = e.Value
	}
	return source.EnvFile(values), nil
}

// resolve returns the project as the manifest has it now, without storing it.
func resolve(ctx context.Context, w *workspace) (project.Project, error) {
	old, err := project.Get(ctx, w.store, w.manifest.Project)
	if errors.Is(err, fault.ProjectNotFound) {
		return w.registrar.Resolve(ctx, w.manifest, nil)
	}
	if err != nil {
		return project.Project{}, err
	}
	return w.registrar.Resolve(ctx, w.manifest, &old)
}

// request returns the request that the flags make.
func (f projectFlags) request() (syncer.Request, error) {
	req := syncer.Request{Force: f.force, Prune: f.prune, MaxDeletions: f.deletions, Actor: actor(), CorrelationID: audit.NewID(clock.Real().Now())}
	if f.deletions < 0 {
		return req, fault.New(fault.UsageInvalid, "--max-deletions is below 0")
	}
	if f.deletions > 0 && !f.prune {
		return req, fault.New(fault.UsageInvalid, "--max-deletions goes with --prune")
	}
	for _, text := range f.secrets {
		name, err := secret.ParseName(text)
		if err != nil {
			return req, err
		}
		req.Secrets = append(req.Secrets, name)
	}
	for _, text := range f.scopes {
		scope, err := secret.ParseScope(text)
		if err != nil {
			return req, err
		}
		req.Scopes = append(req.Scopes, scope)
	}
	return req, nil
}

// actor names whoever runs the command, for the audit.
func actor() string {
	if u, err := user.Current(); err == nil && u.Username != "" {
		return "cli:" + u.Username
	}
	return "cli"
}
