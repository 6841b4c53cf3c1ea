package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sealpost/sealpost/scripts/sealpost/local"
	"github.com/sealpost/sealpost/shared/auth"
	"github.com/sealpost/sealpost/shared/catalogue"
	"github.com/sealpost/sealpost/shared/clock"
	"github.com/sealpost/sealpost/shared/embedded/githubd"
	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/ghapi"
	"github.com/sealpost/sealpost/shared/secret"
	"github.com/sealpost/sealpost/shared/syncer"
)

const (
	crowdSecrets = 20 // × 3 scopes
	crowdHTTP    = 50
	// slowWrite keeps the winner at work until the last of the crowd has come.
	slowWrite = 3 * time.Second
	// refusedWithin is how long one of the crowd may take to be told.
	refusedWithin = time.Second
)

// proveCrowd syncs one container many times at once: by requests to one local
// server, and by processes over one state directory.
func proveCrowd(ctx context.Context, l *lab) (_ string, err error) {
	h, err := l.startHub(ctx, 1, 0)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, h.process.stop()) }()
	slow := githubd.Fault{Name: "slow", Method: "PUT", Effect: githubd.EffectDelay, Delay: githubd.Duration(slowWrite)}
	if err := h.AddFault(ctx, slow); err != nil {
		return "", err
	}
	var f findings
	requests, err := crowdOfRequests(ctx, l, h, &f)
	if err != nil {
		return "", err
	}
	commands, err := crowdOfCommands(ctx, l, h, &f)
	if err != nil {
		return "", err
	}
	return requests + "; " + commands, f.err()
}

// turn is how one of a crowd fared.
type turn struct {
	won     bool
	refused bool // because another sync is in progress
	took    time.Duration
	said    string
}

// judge finds what is wrong with a crowd, and returns its figures.
func (h *hub) judge(ctx context.Context, what string, s site, turns []turn, f *findings) (string, error) {
	winners, slowest := 0, time.Duration(0)
	for _, t := range turns {
		switch {
		case t.won:
			winners++
		case !t.refused:
			f.add("%s: one was told %s", what, t.said)
		case t.took > refusedWithin:
			f.add("%s: one was refused only after %s", what, t.took)
		}
		if !t.won {
			slowest = max(slowest, t.took)
		}
	}
	if winners != 1 {
		f.add("%s: %d writers, not 1", what, winners)
	}
	log, err := h.Requests(ctx)
	if err != nil {
		return "", err
	}
	puts := map[secret.Target]int{}
	for _, r := range s.writes(log) {
		puts[s.target(r)]++
	}
	for t, n := range puts {
		if n != 1 {
			f.add("%s: %s was written %d times", what, t, n)
		}
	}
	if len(puts) != s.targets() {
		f.add("%s: %d of %d targets were written", what, len(puts), s.targets())
	}
	return fmt.Sprintf("%d %s: %d writer, the others refused in at most %d ms, %d targets written once each", len(turns), what, winners, slowest.Milliseconds(), len(puts)), nil
}

// crowdOfRequests syncs through the HTTP route of one local server.
func crowdOfRequests(ctx context.Context, l *lab, h *hub, f *findings) (_ string, err error) {
	s, err := h.site(ctx, crowdSecrets)
	if err != nil {
		return "", err
	}
	server, err := l.serve(ctx, s)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, server.process.stop()) }()
	turns := make([]turn, crowdHTTP)
	var group errgroup.Group
	for i := range turns {
		group.Go(func() error {
			started := now()
			status, body, err := server.post(ctx, "/github/secrets/sync", `{"projectId":"payments"}`)
			var problem struct{ Code fault.Code }
			if err == nil {
				err = json.Unmarshal(body, &problem)
			}
			turns[i] = turn{
				won: status == http.StatusOK, refused: status == http.StatusConflict && problem.Code == fault.SyncInProgress,
				took: now().Sub(started), said: fmt.Sprintf("%d %s", status, body),
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return "", err
	}
	return h.judge(ctx, "requests", s, turns, f)
}

// server is a local server in a process of its own.
type server struct {
	process *process
	URL     string
	Token   string
}

// serve starts a local server for the site and registers its project.
func (l *lab) serve(ctx context.Context, s site) (*server, error) {
	p, err := l.startChild(ctx, "serve", job{Site: s})
	if err != nil {
		return nil, err
	}
	v := &server{process: p}
	line, err := p.firstLine(ctx)
	if err == nil {
		err = json.Unmarshal([]byte(line), v)
	}
	if err == nil {
		err = v.register(ctx, s)
	}
	if err != nil {
		return nil, errors.Join(err, p.stop())
	}
	return v, nil
}

func (v *server) register(ctx context.Context, s site) error {
	var secrets []string
	for i := range s.Secrets {
		secrets = append(secrets, fmt.Sprintf(`{"name":%q,"from":%q}`, s.name(i), s.source(i).Secret))
	}
	manifest := fmt.Sprintf(`{"project":"payments","github":{"owner":%q,"repo":%q},"source":{"gcpProject":%q},"secrets":[%s]}`,
		owner, s.Repo, s.source(0).Project, strings.Join(secrets, ","))
	status, body, err := v.post(ctx, "/projects", manifest)
	if err == nil && status != http.StatusCreated {
		err = fmt.Errorf("register the project: status %d: %s", status, body)
	}
	return err
}

func (v *server) post(ctx context.Context, path, body string) (int, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, v.URL+path, strings.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Authorization", "Bearer "+v.Token)
	req.Header.Set("Content-Type", "application/json")
	answer, err := new(http.Client).Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer answer.Body.Close()
	content, err := io.ReadAll(answer.Body)
	return answer.StatusCode, content, err
}

// childServe runs a local server whose Secret Manager has the site's sources,
// prints where it is, and serves until it is told to stop.
func childServe(ctx context.Context, j job, stdout io.Writer) error {
	s, err := startLocal(ctx, j.Site, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	token, err := s.Token("alice", auth.Grants{auth.AllProjects: {catalogue.Operator}}, time.Hour)
	if err == nil {
		err = json.NewEncoder(stdout).Encode(server{URL: s.URL, Token: token})
	}
	if err == nil {
		<-ctx.Done()
	}
	return errors.Join(err, s.Close())
}

// startLocal starts a local server for the site in this process.
func startLocal(ctx context.Context, s site, log *slog.Logger) (*local.Server, error) {
	server, err := local.Start(ctx, local.Options{
		StateDir: s.StateDir, Address: "127.0.0.1:0", Log: log, Clock: clock.Real(),
		GitHub: ghapi.Config{BaseURL: s.Hub, Credentials: ghapi.Credentials{Token: secret.NewValue(s.Token)}, Mode: s.Mode},
	})
	if err != nil {
		return nil, err
	}
	consent := map[string]string{"sealpost-repositories": fmt.Sprint(s.ID)}
	for i := range s.Secrets {
		source := s.source(i)
		if _, err := server.Secrets.SetSecret(source.Project, source.Secret, secret.NewValue(valueOf(source, 1)), consent); err != nil {
			return nil, errors.Join(err, server.Close())
		}
	}
	return server, nil
}

// crowdOfCommands syncs by processes of the command over one state directory.
func crowdOfCommands(ctx context.Context, l *lab, h *hub, f *findings) (string, error) {
	s, err := h.site(ctx, crowdSecrets)
	if err != nil {
		return "", err
	}
	if err := s.writeFiles(); err != nil {
		return "", err
	}
	turns := make([]turn, l.pick(10, 6))
	var group errgroup.Group
	for i := range turns {
		group.Go(func() error {
			started := now()
			p, err := l.command(ctx, s, "sync", "--json")
			if err != nil {
				return err
			}
			stdout, stderr, code, err := p.wait()
			turns[i] = turn{
				won: code == 0, refused: code == 1 && bytes.Contains(stderr, []byte("another run holds the lease")),
				took: now().Sub(started), said: fmt.Sprintf("exit code %d: %s%s", code, stdout, stderr),
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return "", err
	}
	return h.judge(ctx, "commands", s, turns, f)
}

// Files for the command, in the site's state directory.
const (
	manifestFile = "sealpost.yaml"
	envFile      = "values.env"
)

// writeFiles writes the manifest and the env file of the site.
func (s site) writeFiles() error {
	manifest := fmt.Sprintf("project: payments\ngithub: {owner: %s, repo: %s}\nsecrets:\n", owner, s.Repo)
	values := ""
	for i := range s.Secrets {
		manifest += fmt.Sprintf("  - {name: %s, from: %s}\n", s.name(i), s.name(i))
		values += fmt.Sprintf("%s='%s'\n", s.name(i), valueOf(s.source(i), 1))
	}
	return errors.Join(
		os.WriteFile(filepath.Join(s.StateDir, manifestFile), []byte(manifest), 0o600),
		os.WriteFile(filepath.Join(s.StateDir, envFile), []byte(values), 0o600))
}

// command starts the command on the site's files.
func (l *lab) command(ctx context.Context, s site, name string, more ...string) (*process, error) {
	args := append([]string{name, "-f", manifestFile, "--env-file", envFile, "--github-url", s.Hub, "--state-dir", "state", "--pace", string(s.Mode)}, more...)
	return start(ctx, s.StateDir, []string{"GITHUB_TOKEN=" + s.Token}, nil, l.sealpost, args...)
}

// resultOf reads what the command printed with --json.
func resultOf(stdout []byte) (r syncer.Result, err error) {
	err = json.Unmarshal(stdout, &r)
	return r, err
}
