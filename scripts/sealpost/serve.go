package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sealpost/sealpost/scripts/sealpost/local"
	"github.com/sealpost/sealpost/shared/auth"
	"github.com/sealpost/sealpost/shared/catalogue"
	"github.com/sealpost/sealpost/shared/clock"
	"github.com/sealpost/sealpost/shared/config"
	"github.com/sealpost/sealpost/shared/embedded/issuer"
	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/ghapi"
	"github.com/sealpost/sealpost/shared/pace"
)

const (
	defaultAddress  = "127.0.0.1:8080"
	defaultStateDir = ".sealpost"
	serverFile      = "server.json"
	logFile         = "server.log"
	issuerKeyFile   = "issuer.pem"
	tokenLifetime   = 12 * time.Hour
)

func serveCommand() *cobra.Command {
	var address, stateDir string
	var demo bool
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the whole system in one process on loopback",
		Long: `Run every function at its route in one process on loopback, over an embedded
store, Secret Manager and GitHub. With GITHUB_TOKEN, or an App, GitHub is the
real one. Everything is kept in the state directory, for the next start.`,
		Example: `  sealpost serve
  sealpost serve --demo
  sealpost serve --addr 127.0.0.1:0 --state-dir /tmp/sealpost`,
		Args: noArguments,
	}
	cmd.Flags().StringVar(&address, "addr", defaultAddress, "address on loopback; port 0 takes a free one")
	cmd.Flags().StringVar(&stateDir, "state-dir", defaultStateDir, "where everything is kept")
	cmd.Flags().BoolVar(&demo, "demo", false, "register a demo project and sync it")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		options, release, err := serverOptions(cmd.Context(), address, stateDir, demo)
		if err != nil {
			return err
		}
		defer release()
		s, err := local.Start(cmd.Context(), options)
		if err != nil {
			return err
		}
		return serveUntilDone(cmd, s, stateDir, demo)
	}
	return cmd
}

// serverOptions prepares the server, and takes the state directory for it once
// nothing else stands against the start. Its log goes to a file there, so that
// the terminal stays for people.
func serverOptions(ctx context.Context, address, stateDir string, demo bool) (_ local.Options, release func(), err error) {
	if err := local.CheckAddress(address); err != nil {
		return local.Options{}, nil, err
	}
	c, err := loadConfig(nil)
	if err != nil {
		return local.Options{}, nil, err
	}
	o := local.Options{
		StateDir: stateDir, Address: address, Clock: clock.Real(),
		GitHub: ghapi.Config{BaseURL: c.GitHubAPI, Mode: c.Pace},
	}
	if o.GitHub.Credentials, err = gitHubCredentials(ctx, c); err != nil {
		return local.Options{}, nil, err
	}
	if embedded := !usesGitHub(c); embedded {
		o.GitHub.Mode = pace.Fast // the embedded one has GitHub's documented limits
		if demo {
			o.World, o.Latency = demoWorld(), demoLatency
		}
	} else if demo {
		return local.Options{}, nil, fault.New(fault.UsageInvalid, "--demo is for the embedded GitHub: unset GITHUB_TOKEN and GITHUB_APP_ID")
	}
	if err := makeState(stateDir); err != nil {
		return local.Options{}, nil, err
	}
	unlock, err := lockState(stateDir)
	if err != nil {
		return local.Options{}, nil, err
	}
	if err := sessionOf(ctx).openLog(filepath.Join(stateDir, logFile), c.LogLevel); err != nil {
		unlock()
		return local.Options{}, nil, err
	}
	o.Log = sessionOf(ctx).log
	return o, unlock, nil
}

func usesGitHub(c config.Config) bool { return c.UsesApp() || c.UsesToken() }

func serveUntilDone(cmd *cobra.Command, s *local.Server, stateDir string, demo bool) (err error) {
	ctx := cmd.Context()
	screen := newScreen(cmd.OutOrStdout(), plain(cmd))
	served := false
	defer func() {
		closeErr := s.Close()
		switch {
		case err == nil && closeErr != nil:
			err = fault.Wrap(fault.Internal, "close the server", closeErr)
		case served:
			screen.printf("Stopped. Everything is kept in %s for the next start.\n", stateDir)
		}
	}()
	if err := writeServerFile(stateDir, serverInfo{URL: s.URL, SecretsSocket: s.SecretsSocket}); err != nil {
		return err
	}
	defer func() { _ = os.Remove(filepath.Join(stateDir, serverFile)) }()
	if demo {
		if err := runDemo(ctx, cmd, s, screen); err != nil {
			if ctx.Err() != nil {
				screen.printf("\nInterrupted before the demo was synced. The next start goes on from there.\n")
				return outcome(exitInterrupted)
			}
			return err
		}
	}
	token, err := s.Token("you", auth.Grants{auth.AllProjects: {catalogue.Operator}}, tokenLifetime)
	if err != nil {
		return err
	}
	announce(screen, s.URL, stateDir, token, demo)
	s.Watch(screen.line)
	<-ctx.Done()
	screen.printf("\nStopping: what is under way ends first.\n")
	served = true
	return nil
}

// line prints what has just happened.
func (s screen) line(text string) {
	s.printf("%s %s\n", s.paint(quiet, clock.Real().Now().Local().Format(time.TimeOnly)), text)
}

// announce says where the functions are and how to call one.
func announce(s screen, url, stateDir, token string, demo bool) {
	s.printf("\nServing at %s\n", url)
	for _, f := range catalogue.Functions() {
		for _, r := range f.Routes {
			s.printf("  %-7s %-30s %-14s role %s\n", r.Method, r.Path, f.Name, r.Role)
		}
	}
	id, source := "PROJECT", "NAME"
	if demo {
		id, source = demoProject, demoSource
	}
	s.printf("\nA token with the role operator, for %s:\n\n  export TOKEN=%s\n", strings.TrimSuffix(tokenLifetime.String(), "0m0s"), token)
	s.printf("\nCall a function with it:\n\n  curl -s -H \"Authorization: Bearer $TOKEN\" '%s/github/secrets/sync/status?projectId=%s'\n", url, id)
	s.printf("  curl -s -H \"Authorization: Bearer $TOKEN\" -H 'Content-Type: application/json' -d '{\"projectId\":\"%s\",\"dryRun\":true}' %s/github/secrets/sync\n", id, url)
	s.printf("\nFrom another terminal, a new version of a secret, and another token:\n\n")
	s.printf("  %s\n", pasteable("sealpost secrets set "+source+" --state-dir "+stateDir))
	s.printf("  %s\n", pasteable("sealpost token --role viewer --state-dir "+stateDir))
	s.printf("\nThe log is %s. Ctrl-C stops.\n", filepath.Join(stateDir, logFile))
}

// serverInfo tells other commands of the server that runs on this machine.
type serverInfo struct {
	URL           string `json:"url"`
	SecretsSocket string `json:"secretsSocket"` // whole path
}

func writeServerFile(stateDir string, info serverInfo) error {
	content, err := json.Marshal(info)
	if err == nil {
		err = os.WriteFile(filepath.Join(stateDir, serverFile), content, 0o600)
	}
	if err != nil {
		return fault.Wrap(fault.Internal, "note the server's address", err)
	}
	return nil
}

// runningServer returns where the server is that uses the state directory.
func runningServer(stateDir string) (info serverInfo, err error) {
	content, err := os.ReadFile(filepath.Join(stateDir, serverFile))
	if err == nil {
		err = json.Unmarshal(content, &info)
	}
	if err != nil {
		return serverInfo{}, noServer(stateDir, err)
	}
	return info, nil
}

func noServer(stateDir string, cause error) error {
	return fault.New(fault.UsageInvalid, "no server runs with the state directory %s", stateDir).
		WithRemedy("Start one in another terminal: make run has a demo, sealpost serve has none.", "make run").WithCause(cause)
}

func tokenCommand() *cobra.Command {
	var stateDir, project string
	var roles []string
	cmd := &cobra.Command{
		Use:   "token",
		Short: "Print a token for the server that runs on this machine",
		Long: `Print a token for the server that runs on this machine. It is good for 12 hours
and for that server only.`,
		Example: `  sealpost token
  sealpost token --role viewer --project payments-api
  curl -H "Authorization: Bearer $(sealpost token)" http://127.0.0.1:8080/projects/payments-api`,
		Args: noArguments,
	}
	cmd.Flags().StringVar(&stateDir, "state-dir", defaultStateDir, "the server's state directory")
	cmd.Flags().StringSliceVar(&roles, "role", []string{string(catalogue.Operator)}, "viewer, syncer, operator, breakglass or internal")
	cmd.Flags().StringVar(&project, "project", auth.AllProjects, "for one project only")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		token, err := localToken(stateDir, auth.Grants{project: toRoles(roles)})
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(cmd.OutOrStdout(), token)
		return err
	}
	return cmd
}

func toRoles(texts []string) []catalogue.Role {
	roles := make([]catalogue.Role, 0, len(texts))
	for _, t := range texts {
		roles = append(roles, catalogue.Role(t))
	}
	return roles
}

// localToken mints a token with the key of the server that runs on this machine.
func localToken(stateDir string, grants auth.Grants) (string, error) {
	server, err := runningServer(stateDir)
	if err != nil {
		return "", err
	}
	i, err := issuer.New(server.URL+"/issuer", filepath.Join(stateDir, issuerKeyFile), clock.Real())
	if err != nil {
		return "", err
	}
	token, err := i.Mint(actor(), local.Audience, grants, tokenLifetime)
	if err != nil {
		return "", fault.New(fault.UsageInvalid, "the role is none of %v, or the project's id cannot be one", catalogue.Roles()).WithCause(err)
	}
	return token, nil
}
