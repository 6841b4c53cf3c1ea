package main

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/sealpost/sealpost/scripts/package/buildpack"
	"github.com/sealpost/sealpost/shared/audit"
	"github.com/sealpost/sealpost/shared/auth"
	"github.com/sealpost/sealpost/shared/catalogue"
	"github.com/sealpost/sealpost/shared/clock"
	"github.com/sealpost/sealpost/shared/embedded/issuer"
	"github.com/sealpost/sealpost/shared/gcp/firedoc"
	"github.com/sealpost/sealpost/shared/pace"
	"github.com/sealpost/sealpost/shared/syncer"
	"github.com/sealpost/sealpost/test/emulator"
)

// memory measures the command and the function in processes of their own.
func memory(ctx context.Context, l *lab) (trial, error) {
	t, err := l.commandMemory(ctx)
	if errors.Is(err, errNoPeak) {
		return trial{lacks: err.Error()}, nil
	}
	if err != nil {
		return t, err
	}
	peak, err := l.functionMemory(ctx)
	var missing emulator.Missing
	switch {
	case errors.As(err, &missing):
		t.lacks = "the function, which needs Firestore: " + missing.Error()
	case err != nil:
		return t, err
	default:
		t.figures[functionPeak] = mebibytes(peak)
	}
	return t, nil
}

func mebibytes(n int64) float64 { return float64(n) / (1 << 20) }

// commandMemory runs `sealpost sync` as a user does.
func (l *lab) commandMemory(ctx context.Context) (t trial, err error) {
	h, err := l.startHub(ctx)
	if err != nil {
		return t, err
	}
	defer func() { err = errors.Join(err, h.process.stop()) }()
	dir, err := l.directory()
	if err != nil {
		return t, err
	}
	work := newLoad(100, "", repositoryScopes...)
	err = errors.Join(
		os.WriteFile(filepath.Join(dir, "sealpost.yaml"), work.manifest(), 0o600),
		os.WriteFile(filepath.Join(dir, ".env"), work.envFile(), 0o600))
	if err != nil {
		return t, err
	}
	started := clock.Real().Now()
	p, err := startProcess(ctx, dir, []string{"GITHUB_TOKEN=" + hubToken, "HOME=" + dir}, l.sealpost,
		"sync", "--env-file", ".env", "--github-url", h.url, "--pace", string(pace.Off), "--json")
	if err != nil {
		return t, err
	}
	peak, err := p.peakUntilEnd(ctx)
	took := clock.Real().Now().Sub(started)
	if err := errors.Join(err, p.stop()); err != nil {
		return t, err
	}
	if p.err != nil {
		return t, fmt.Errorf("sealpost sync: %w: %s", p.err, p.text())
	}
	if err := allRight(ctx, work, h); err != nil {
		return t, err
	}
	t.figures = figures{commandMemory: mebibytes(peak)}
	t.notes = []string{fmt.Sprintf("the command, from its start to its end, took %.2f s", took.Seconds())}
	return t, nil
}

// allRight is an error unless the hub holds every value.
func allRight(ctx context.Context, work load, h *hub) error {
	n, err := work.right(ctx, h)
	if want := len(work.names) * len(work.scopes); err == nil && n != want {
		err = fmt.Errorf("%d of %d targets are right", n, want)
	}
	return err
}

// Settings of the function. Its databases are those of the defaults.
const (
	function    = "sync-secrets"
	gcpProject  = "acme-sealpost-dev"
	stateStore  = "sealpost-state"
	auditStore  = "sealpost-audit"
	audience    = "sealpost"
	fingerprint = "projects/" + sourceProject + "/secrets/fingerprint-key/versions/1"
	nobody      = "127.0.0.1:9" // where Pub/Sub would be: a sync that is waited for publishes nothing
)

// functionMemory starts the function as it is built from its zip, lets it make
// a first sync, and returns its peak. The Firestore emulator stands for
// Firestore; it returns an [emulator.Missing] where there is none.
func (l *lab) functionMemory(ctx context.Context) (peak int64, err error) {
	firestore, err := emulator.Start(ctx, emulator.Firestore)
	if err != nil {
		return 0, err
	}
	defer firestore.Stop()
	h, err := l.startHub(ctx)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, h.process.stop()) }()
	work := newLoad(100, sourceProject, repositoryScopes...)
	repository, err := registerIn(ctx, firestore.Host, h, work)
	if err != nil {
		return 0, err
	}
	values, err := work.secretManager(repository)
	if err != nil {
		return 0, err
	}
	if err := addFingerprintKey(values); err != nil {
		return 0, err
	}
	endpoint, err := values.Listen(ctx, "")
	if err != nil {
		return 0, err
	}
	defer endpoint.Close()
	tokens, err := serveIssuer()
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, tokens.server.Close()) }()

	binary, err := l.buildFunction(ctx)
	if err != nil {
		return 0, err
	}
	port, err := freePort()
	if err != nil {
		return 0, err
	}
	p, err := startProcess(ctx, l.dir, []string{
		"FUNCTION_TARGET=" + catalogue.Lookup(function).EntryPoint, "PORT=" + port, "LOCAL_ONLY=true",
		"SEALPOST_ENV=dev", "GCP_PROJECT_ID=" + gcpProject, "FIRESTORE_EMULATOR_HOST=" + firestore.Host,
		"PUBSUB_EMULATOR_HOST=" + nobody,
		"SECRET_MANAGER_ENDPOINT=" + endpoint.Address, "SEALPOST_FINGERPRINT_KEY=" + fingerprint,
		"GITHUB_API_URL=" + h.url, "GITHUB_TOKEN=" + hubToken, "SEALPOST_PACE=" + string(pace.Off),
		"SEALPOST_ISSUERS=" + tokens.setting(),
	}, binary)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, p.stop()) }()
	if err := tokens.post(ctx, p, "http://127.0.0.1:"+port+"/github/secrets/sync"); err != nil {
		return 0, err
	}
	if err := allRight(ctx, work, h); err != nil {
		return 0, err
	}
	return p.peak()
}

// registerIn stores the project in Firestore and returns its repository's id.
func registerIn(ctx context.Context, host string, h *hub, work load) (_ int64, err error) {
	config := firedoc.Config{Project: gcpProject, Database: stateStore, EmulatorHost: host}
	state, err := firedoc.Open(ctx, config, clock.Real())
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, state.Close()) }()
	config.Database = auditStore
	events, err := firedoc.Open(ctx, config, clock.Real())
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, events.Close()) }()
	recorder := audit.NewRecorder(slog.New(slog.DiscardHandler), audit.NewStore(events, 0))
	p, err := register(ctx, h, state, recorder, work, clock.Real())
	return p.Repository.ID, err
}

// tokenServer is an issuer that serves its key.
type tokenServer struct {
	issuer *issuer.Issuer
	server *http.Server
}

func serveIssuer() (tokenServer, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return tokenServer{}, err
	}
	s := tokenServer{}
	if s.issuer, err = issuer.New("http://"+listener.Addr().String(), "", clock.Real()); err != nil {
		return s, errors.Join(err, listener.Close())
	}
	s.server = &http.Server{Handler: s.issuer.Handler(), ReadHeaderTimeout: time.Second}
	go func() { _ = s.server.Serve(listener) }() // until Close
	return s, nil
}

// setting is the function's setting that accepts the issuer.
func (s tokenServer) setting() string {
	return fmt.Sprintf(`[{"issuer":%q,"audience":%q,"kind":%q}]`, s.issuer.URL(), audience, auth.Local)
}

// post asks the function for a sync, as soon as it listens, and checks what it
// says.
func (s tokenServer) post(ctx context.Context, p *process, url string) error {
	token, err := s.issuer.Mint("bench", audience, auth.Grants{projectID: {catalogue.Syncer}}, time.Hour)
	if err != nil {
		return err
	}
	for {
		result, err := send(ctx, url, token)
		switch {
		case err == nil && result.Status != syncer.StatusSucceeded:
			return fmt.Errorf("the function's sync ended %q", result.Status)
		case err == nil:
			return nil
		case p.ended():
			return fmt.Errorf("the function ended: %w: %s", p.err, p.text())
		case !errors.Is(err, syscall.ECONNREFUSED):
			return err
		}
		if err := clock.Real().Sleep(ctx, 10*time.Millisecond); err != nil {
			return err
		}
	}
}

// send asks once.
func send(ctx context.Context, url, token string) (result syncer.Result, err error) {
	body := fmt.Sprintf(`{"projectId":%q}`, projectID)
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		return result, err
	}
	request.Header.Set("Authorization", "Bearer "+token)
	request.Header.Set("Content-Type", "application/json")
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return result, err
	}
	defer func() { err = errors.Join(err, answer.Body.Close()) }()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return result, err
	}
	if answer.StatusCode != http.StatusOK {
		return result, fmt.Errorf("the function answered %s: %s", answer.Status, text)
	}
	err = json.Unmarshal(text, &result)
	return result, err
}

// buildFunction makes the function's zip, and of it the program that runs it.
func (l *lab) buildFunction(ctx context.Context) (string, error) {
	dir, err := l.directory()
	if err != nil {
		return "", err
	}
	if _, err := goCommand(ctx, l.root, "run", "./scripts/package", "-out", dir, function); err != nil {
		return "", err
	}
	zipped, err := os.ReadFile(filepath.Join(dir, function+".zip"))
	if err != nil {
		return "", err
	}
	archive, err := zip.NewReader(bytes.NewReader(zipped), int64(len(zipped)))
	if err != nil {
		return "", err
	}
	module, program := filepath.Join(dir, "module"), filepath.Join(dir, "program")
	if err := os.CopyFS(module, archive); err != nil {
		return "", err
	}
	path, err := goCommand(ctx, module, "list", "-m")
	if err != nil {
		return "", err
	}
	app := filepath.Join(module, filepath.FromSlash(buildpack.MainDir))
	source := buildpack.Main(strings.TrimSpace(path))
	err = errors.Join(os.MkdirAll(app, 0o700), os.WriteFile(filepath.Join(app, "main.go"), source, 0o600))
	if err != nil {
		return "", err
	}
	_, err = goCommand(ctx, module, "build", "-o", program, "./"+buildpack.MainDir)
	return program, err
}

func freePort() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	_, port, err := net.SplitHostPort(listener.Addr().String())
	return port, errors.Join(err, listener.Close())
}
