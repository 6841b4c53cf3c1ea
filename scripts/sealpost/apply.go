package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sealpost/sealpost/shared/auth"
	"github.com/sealpost/sealpost/shared/catalogue"
	"github.com/sealpost/sealpost/shared/config"
	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/httpx"
)

func applyCommand() *cobra.Command {
	var file, server, stateDir string
	cmd := &cobra.Command{
		Use:   "apply",
		Short: "Register a project at a server, or change it, from its manifest",
		Long: `Register a project at a server, or change it, from its manifest. The server is
the one that runs on this machine, unless --server names another; then
SEALPOST_TOKEN holds the identity token.`,
		Example: `  sealpost apply -f sealpost.yaml
  SEALPOST_TOKEN=$(gcloud auth print-identity-token) sealpost apply -f sealpost.yaml --server https://sealpost.acme.example`,
		Args: noArguments,
	}
	cmd.Flags().StringVarP(&file, "file", "f", "sealpost.yaml", "the manifest")
	cmd.Flags().StringVar(&server, "server", "", "the server's address (default: the one on this machine)")
	cmd.Flags().StringVar(&stateDir, "state-dir", defaultStateDir, "the state directory of the server on this machine")
	asJSON := jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		m, err := readManifest(cmd.Context(), file)
		if err != nil {
			return err
		}
		c, err := newClient(server, stateDir)
		if err != nil {
			return err
		}
		verb, answer, err := c.apply(cmd.Context(), m.Project, m.Render())
		if err != nil {
			return err
		}
		if *asJSON {
			_, err = cmd.OutOrStdout().Write(answer)
			return err
		}
		newScreen(cmd.OutOrStdout(), plain(cmd)).printf("The project %s was %s at %s.\n", m.Project, verb, c.base)
		return nil
	}
	return cmd
}

// client calls a server's functions.
type client struct {
	base  string
	token string
}

// newClient returns a client of the server named, or of the one on this machine.
func newClient(server, stateDir string) (client, error) {
	if server == "" {
		running, err := runningServer(stateDir)
		if err != nil {
			return client{}, err
		}
		token, err := localToken(stateDir, auth.Grants{auth.AllProjects: {catalogue.Operator}})
		return client{base: running.URL, token: token}, err
	}
	u, err := url.Parse(server)
	if err != nil || u.Host == "" || u.Scheme != "https" && !auth.IsLoopbackAddress(u.Host) {
		return client{}, fault.New(fault.UsageInvalid, "--server must be https://host, or http on loopback: a token travels with the request")
	}
	token, ok := config.Environ("SEALPOST_TOKEN")
	if !ok || token == "" {
		return client{}, fault.New(fault.UsageInvalid, "SEALPOST_TOKEN is not set").
			WithRemedy("Set it to an identity token for the server.", "export SEALPOST_TOKEN=$(gcloud auth print-identity-token)")
	}
	return client{base: strings.TrimRight(server, "/"), token: token}, nil
}

// apply replaces the project, or registers it if there is none.
func (c client) apply(ctx context.Context, id string, manifest []byte) (verb string, answer []byte, err error) {
	answer, problem, err := c.send(ctx, http.MethodPut, "/projects/"+id, manifest)
	if err == nil && problem != nil && problem.Code == fault.ProjectNotFound {
		answer, problem, err = c.send(ctx, http.MethodPost, "/projects", manifest)
		verb = "registered"
	}
	if err == nil && problem != nil {
		err = problem.asError()
	}
	return cmp.Or(verb, "brought up to date"), answer, err
}

const (
	callTime       = 2 * time.Minute
	maxAnswerBytes = 8 << 20
)

// problem is a failure as the server describes it.
type problem httpx.Problem

func (p problem) asError() error {
	if _, known := fault.Lookup(p.Code); !known {
		switch p.Status {
		case http.StatusUnauthorized:
			return fault.New(fault.AuthInvalid, "the server answered with status 401, and not as a server of Sealpost does: check --server, then SEALPOST_TOKEN")
		case http.StatusForbidden:
			return fault.New(fault.AuthDenied, "the server answered with status 403, and not as a server of Sealpost does: check --server, then SEALPOST_TOKEN")
		}
		return fault.New(fault.UpstreamFailed, "the server answered with status %d", p.Status)
	}
	err := fault.New(p.Code, "%s", p.Detail)
	for _, remedy := range p.Remediation {
		if entry, _ := fault.Lookup(p.Code); remedy.Action != entry.Remedy {
			err = err.WithRemedy(remedy.Action, remedy.Command)
		}
	}
	return err
}

func (c client) send(ctx context.Context, method, path string, body []byte) ([]byte, *problem, error) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, bytes.NewReader(body))
	if err != nil {
		return nil, nil, fault.Wrap(fault.Internal, method+" "+path, err)
	}
	req.Header.Set("Authorization", "Bearer "+c.token)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-Correlation-Id", sessionOf(ctx).id)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, nil, fault.New(fault.Unreachable, "the server at %s does not answer", c.base).WithCause(err)
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswerBytes))
	if err != nil {
		return nil, nil, fault.New(fault.Unreachable, "the answer of %s broke off", c.base).WithCause(err)
	}
	if resp.StatusCode < 400 {
		return answer, nil, nil
	}
	p := &problem{Status: resp.StatusCode}
	_ = json.Unmarshal(answer, p) // an answer that is no problem is told by its status
	return nil, p, nil
}
