package main

import (
	"cmp"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strings"

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
	warnings  []string // of the state's own
}

func (w *workspace) close() {
	for i := len(w.closers) - 1; i >= 0; i-- {
		_ = w.closers[i]() // everything that counts was committed before
	}
}

// stateOf returns the state directory: by default beside the manifest.
func (f *projectFlags) stateOf() string {
	return cmp.Or(f.stateDir, filepath.Join(filepath.Dir(f.manifest), ".sealpost"))
}

// findState returns a [fault.ProjectNotFound] if there is no state to look at
// yet, and makes none.
func (f *projectFlags) findState(ctx context.Context) error {
	m, err := readManifest(ctx, f.manifest)
	if err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(f.stateOf(), local.DatabaseFile)); errors.Is(err, fs.ErrNotExist) {
		return fault.New(fault.ProjectNotFound, "the project %s has no state in %s", m.Project, f.stateOf())
	}
	return nil
}

// openState opens the manifest and the state beside it.
func openState(ctx context.Context, f projectFlags, c config.Config) (*workspace, error) {
	m, err := readManifest(ctx, f.manifest)
	if err != nil {
		return nil, err
	}
	w := &workspace{manifest: m}
	dir := f.stateOf()
	if err := makeState(dir); err != nil {
		return nil, err
	}
	if err := sessionOf(ctx).openLog(filepath.Join(dir, "sealpost.log"), c.LogLevel); err != nil {
		return nil, err
	}
	clk := clock.Real()
	if w.store, err = sqlitedoc.Open(filepath.Join(dir, local.DatabaseFile), clk); err != nil {
		return nil, err
	}
	w.closers = append(w.closers, w.store.Close)
	log := sessionOf(ctx).log
	recorder := audit.NewRecorder(log, audit.NewStore(w.store, 0), audit.NewLogSink(log.Handler()))
	w.engine = &syncer.Engine{Store: w.store, Audit: recorder, Clock: clk, Log: log}
	w.registrar = &provisioning.Registrar{Store: w.store, Audit: recorder, Clock: clk}
	return w, nil
}

// openKey reads the key of the fingerprints, or makes it: a key that cannot be
// read is told of before anything is planned.
func (w *workspace) openKey(path string) error {
	key, err := local.FingerprintKey(path)
	if err != nil {
		return err
	}
	w.engine.Fingerprints = func(context.Context) (secret.FingerprintKey, error) { return key, nil }
	if local.ReadableByOthers(path) {
		w.warnings = append(w.warnings, path+" can be read by others, who can then try values against fingerprints: chmod 600 it")
	}
	return nil
}

func readManifest(ctx context.Context, path string) (manifest.Manifest, error) {
	content, err := readFile(ctx, path, "manifest")
	if err != nil {
		return manifest.Manifest{}, err
	}
	return manifest.Parse(content)
}

// maxFileBytes is the largest file that is read: many times what a manifest or
// an env file can need.
const maxFileBytes = 4 << 20

// readFile reads a file, which may be a pipe that somebody else writes. The end
// of ctx ends the wait; what is left waiting then ends with the process.
func readFile(ctx context.Context, path, what string) ([]byte, error) {
	type outcome struct {
		content []byte
		err     error
	}
	read := make(chan outcome, 1)
	go func() {
		content, err := readBounded(path)
		read <- outcome{content, err}
	}()
	select {
	case <-ctx.Done():
		return nil, fault.Wrap(fault.Canceled, "read the "+what, ctx.Err())
	case o := <-read:
		switch {
		case errors.Is(o.err, fs.ErrNotExist):
			return nil, fault.New(fault.UsageInvalid, "there is no %s at %s", what, path)
		case errors.Is(o.err, fs.ErrPermission):
			return nil, fault.New(fault.UsageInvalid, "the %s at %s cannot be read: permission denied", what, path).WithCause(o.err)
		case o.err != nil:
			return nil, fault.New(fault.UsageInvalid, "the %s at %s cannot be read", what, path).WithCause(o.err)
		case len(o.content) > maxFileBytes:
			return nil, fault.New(fault.UsageInvalid, "the %s at %s is larger than %d MiB", what, path, maxFileBytes>>20)
		}
		return o.content, nil
	}
}

// readBounded reads at most one byte more than maxFileBytes.
func readBounded(path string) (content []byte, err error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	return io.ReadAll(io.LimitReader(file, maxFileBytes+1))
}

// open opens the workspace with all that a plan or a sync needs.
func open(ctx context.Context, f projectFlags) (*workspace, error) {
	c, err := loadConfig([]override{{"GITHUB_API_URL", "--github-url", f.gitHubURL}, {"SEALPOST_PACE", "--pace", f.pace}})
	if err != nil {
		return nil, err
	}
	w, err := openState(ctx, f, c)
	if err != nil {
		return nil, err
	}
	if err := w.openKey(filepath.Join(f.stateOf(), "fingerprint.key")); err != nil {
		w.close()
		return nil, err
	}
	if err := w.connect(ctx, f, c); err != nil {
		w.close()
		return nil, err
	}
	return w, nil
}

// override is a flag that stands over a variable of the environment where it is given.
type override struct{ variable, flag, value string }

// loadConfig reads the environment and what stands over it. What is wrong with
// a flag is told by the flag's name.
func loadConfig(flags []override) (config.Config, error) {
	given := map[string]string{}
	var names []string // a variable and its flag, in turn
	for _, o := range flags {
		if o.value != "" {
			given[o.variable] = o.value
			names = append(names, o.variable, o.flag)
		}
	}
	c, err := config.Load(config.CLI, func(name string) (string, bool) {
		if text, ok := given[name]; ok {
			return text, true
		}
		return config.Environ(name)
	})
	if err == nil {
		return c, nil
	}
	if detail := strings.NewReplacer(names...).Replace(fault.Detail(err)); detail != fault.Detail(err) {
		return c, fault.New(fault.UsageInvalid, "%s", detail)
	}
	return c, err
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
	credentials, err := gitHubCredentials(ctx, c)
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

func gitHubCredentials(ctx context.Context, c config.Config) (ghapi.Credentials, error) {
	credentials := ghapi.Credentials{Token: c.GitHubToken}
	if !c.UsesApp() {
		return credentials, nil
	}
	if c.GitHubAppPrivateKey.File == "" {
		return credentials, fault.New(fault.ConfigInvalid, "GITHUB_APP_PRIVATE_KEY must be file:<path> for this command")
	}
	key, err := readFile(ctx, c.GitHubAppPrivateKey.File, "App's private key")
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
	content, err := readFile(ctx, f.envFile, "env file")
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
	req := syncer.Request{Force: f.force, Prune: f.prune, MaxDeletions: f.deletions, Actor: actor()}
	for flag, given := range map[string]bool{"secret": f.secrets != nil && len(f.secrets) == 0, "scope": f.scopes != nil && len(f.scopes) == 0} {
		if given {
			return req, fault.New(fault.UsageInvalid, "--%s is empty, which would mean all: name one, or leave the flag out", flag)
		}
	}
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
