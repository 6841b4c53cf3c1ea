package gsm_test

import (
	"context"
	"errors"
	"testing"

	"go.uber.org/goleak"

	"github.com/sealpost/sealpost/shared/embedded/secretmanagerd"
	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/gcp/gsm"
	"github.com/sealpost/sealpost/shared/secret"
	"github.com/sealpost/sealpost/shared/source/sourcetest"
	"github.com/sealpost/sealpost/shared/syncer"
)

const project = "acme-secrets-prod"

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start runs a server and a client that talk through memory. The client's
// endpoint and dialer are filled in.
func start(t *testing.T, server secretmanagerd.Config, client gsm.Config) (*secretmanagerd.Server, *gsm.Client) {
	t.Helper()
	s, err := secretmanagerd.New(server)
	if err != nil {
		t.Fatal(err)
	}
	endpoint := s.ListenInMemory()
	t.Cleanup(endpoint.Close)
	client.Endpoint, client.Dial, client.Insecure = endpoint.Address, endpoint.Dial, true
	return s, open(t, client)
}

func open(t *testing.T, config gsm.Config) *gsm.Client {
	t.Helper()
	c, err := gsm.Open(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func source(id string) secret.Source { return secret.Source{Project: project, Secret: id} }

func put(t *testing.T, s *secretmanagerd.Server, id, value string) secret.Version {
	t.Helper()
	version, err := s.SetSecret(project, id, secret.NewValue(value), nil)
	if err != nil {
		t.Fatal(err)
	}
	return version
}

func TestClientKeepsTheContractOfSources(t *testing.T) {
	t.Parallel()
	sourcetest.Run(t, sourcetest.Harness{
		Project: project,
		Open: func(t *testing.T, values map[secret.Source]secret.Value) (syncer.Sources, sourcetest.Admin) {
			t.Helper()
			s, c := start(t, secretmanagerd.Config{}, gsm.Config{})
			for source, value := range values {
				if _, err := s.SetSecret(source.Project, source.Secret, value, nil); err != nil {
					t.Fatal(err)
				}
			}
			return c, admin{s, c}
		},
	})
}

type admin struct {
	server *secretmanagerd.Server
	client *gsm.Client
}

func (a admin) Create(t *testing.T, s secret.Source) {
	t.Helper()
	check(t, a.client.Create(t.Context(), s, nil))
}

func (a admin) Add(t *testing.T, s secret.Source, v secret.Value) secret.Version {
	t.Helper()
	version, err := a.client.AddVersion(t.Context(), s, v)
	check(t, err)
	return version
}

func (a admin) SetState(t *testing.T, s secret.Source, v secret.Version, state secret.VersionState) {
	t.Helper()
	set := map[secret.VersionState]func(string, string, secret.Version) error{
		secret.Enabled: a.server.EnableVersion, secret.Disabled: a.server.DisableVersion, secret.Destroyed: a.server.DestroyVersion,
	}
	check(t, set[state](s.Project, s.Secret, v))
}

func (a admin) Admit(t *testing.T, s secret.Source, ids ...int64) {
	t.Helper()
	value, err := a.client.Value(t.Context(), s, 1)
	check(t, err)
	_, err = a.server.SetSecret(s.Project, s.Secret, value, map[string]string{gsm.RepositoriesAnnotation: gsm.FormatRepositories(ids)})
	check(t, err)
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestClientOverTCP(t *testing.T) {
	t.Parallel()
	s, err := secretmanagerd.New(secretmanagerd.Config{})
	check(t, err)
	endpoint, err := s.Listen(t.Context(), "")
	check(t, err)
	t.Cleanup(endpoint.Close)
	put(t, s, "db-url", "v")
	c := open(t, gsm.Config{Endpoint: endpoint.Address, Insecure: true})
	value, err := c.Value(t.Context(), source("db-url"), 1)
	if err != nil || value.Reveal() != "v" {
		t.Errorf("got %v", err)
	}
}

func TestInsecureEndpointsAreOnLoopbackOnly(t *testing.T) {
	t.Parallel()
	for endpoint, allowed := range map[string]bool{
		"127.0.0.1:8085":                    true,
		"127.1.2.3:8085":                    true,
		"[::1]:8085":                        true,
		"localhost:8085":                    true,
		"localhost.example.com:8085":        false,
		"192.0.2.7:8085":                    false,
		"0.0.0.0:8085":                      false,
		"secretmanager.googleapis.com:443":  false,
		"127.0.0.1":                         false,
		"":                                  false,
		"http://127.0.0.1:8085":             false,
		"dns:///127.0.0.1:8085":             false,
		"unix:///tmp/secretmanager.sock:80": false,
	} {
		c, err := gsm.Open(t.Context(), gsm.Config{Endpoint: endpoint, Insecure: true})
		if allowed != (err == nil) || !allowed && !errors.Is(err, fault.ConfigInvalid) {
			t.Errorf("%q: got %v, want it allowed: %v", endpoint, err, allowed)
		}
		if c != nil {
			check(t, c.Close())
		}
	}
}

func TestInspectKeepsToTheSourcesItMayLookAt(t *testing.T) {
	t.Parallel()
	s, c := start(t, secretmanagerd.Config{
		Permit: func(r secretmanagerd.Request) bool { return r.Resource != "projects/"+project+"/secrets/private" },
	}, gsm.Config{})
	put(t, s, "open", "v")
	put(t, s, "private", "v")
	states, err := c.Inspect(t.Context(), []secret.Source{source("private"), source("open"), source("gone")})
	if err != nil || !states[source("private")].Denied || states[source("open")].Denied || !states[source("open")].Exists || states[source("gone")].Denied {
		t.Errorf("got %v, %v", states, err)
	}
}

func TestMissingRightsAreNamed(t *testing.T) {
	t.Parallel()
	s, c := start(t, secretmanagerd.Config{
		Permit: func(r secretmanagerd.Request) bool { return r.Permission != "secretmanager.versions.access" },
	}, gsm.Config{})
	put(t, s, "db-url", "v")
	_, err := c.Value(t.Context(), source("db-url"), 1)
	if !errors.Is(err, fault.SourceNotPermitted) || len(fault.Remedies(err)) != 2 {
		t.Errorf("got %v with the remedies %v", err, fault.Remedies(err))
	}
	if s.Calls("AccessSecretVersion") != 1 {
		t.Errorf("asked %d times", s.Calls("AccessSecretVersion"))
	}
}

func TestAServiceThatIsGoneIsUnavailable(t *testing.T) {
	t.Parallel()
	s, err := secretmanagerd.New(secretmanagerd.Config{})
	check(t, err)
	endpoint, err := s.Listen(t.Context(), "")
	check(t, err)
	c := open(t, gsm.Config{Endpoint: endpoint.Address, Insecure: true})
	endpoint.Close() // nobody listens there any more
	if _, err := c.Inspect(t.Context(), []secret.Source{source("db-url")}); !errors.Is(err, fault.Unavailable) || !errors.Is(err, fault.SourceUnavailable) {
		t.Errorf("got %v, want %s", err, fault.SourceUnavailable)
	}
}

func TestAddVersion(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		source secret.Source
		bytes  int
		want   error
	}{
		"one byte":          {source("bare"), 1, nil},
		"the largest":       {source("bare"), 64 << 10, nil},
		"one byte over":     {source("bare"), 64<<10 + 1, fault.ValueTooLarge},
		"empty":             {source("bare"), 0, fault.ValueEmpty},
		"no such secret":    {source("gone"), 1, fault.SourceMissing},
		"no project at all": {secret.Source{Secret: "bare"}, 1, fault.SourceMissing},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, c := start(t, secretmanagerd.Config{}, gsm.Config{})
			check(t, c.Create(t.Context(), source("bare"), []int64{42}))
			version, err := c.AddVersion(t.Context(), test.source, secret.NewValue(string(make([]byte, test.bytes))))
			if !errors.Is(err, test.want) || (test.want == nil) != (version == 1) {
				t.Errorf("got version %d and %v, want %v", version, err, test.want)
			}
		})
	}
}

func TestCreate(t *testing.T) {
	t.Parallel()
	_, c := start(t, secretmanagerd.Config{}, gsm.Config{})
	check(t, c.Create(t.Context(), source("db-url"), []int64{42, 7}))
	states, err := c.Inspect(t.Context(), []secret.Source{source("db-url")})
	if err != nil || len(states[source("db-url")].Repositories) != 2 {
		t.Errorf("got %v, %v", states, err)
	}
	if err := c.Create(t.Context(), source("db-url"), nil); !errors.Is(err, fault.Exists) {
		t.Errorf("the second time: %v", err)
	}
}

func TestNewestIsTheNewestEnabledVersion(t *testing.T) {
	t.Parallel()
	s, c := start(t, secretmanagerd.Config{}, gsm.Config{})
	ask := func(want secret.Version, wantErr error) {
		t.Helper()
		got, err := c.Newest(t.Context(), source("key"))
		if got != want || !errors.Is(err, wantErr) {
			t.Errorf("got %d and %v, want %d and %v", got, err, want, wantErr)
		}
	}
	ask(0, fault.SourceMissing)
	check(t, c.Create(t.Context(), source("key"), nil))
	ask(0, fault.SourceMissing)
	put(t, s, "key", "one")
	ask(1, nil)
	put(t, s, "key", "two")
	ask(2, nil)
	check(t, s.DisableVersion(project, "key", 2))
	ask(1, nil)
}

func TestAnEndedClientContextIsNotBlamedOnSecretManager(t *testing.T) {
	t.Parallel()
	s, c := start(t, secretmanagerd.Config{}, gsm.Config{})
	put(t, s, "db-url", "v")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Newest(ctx, source("db-url")); !errors.Is(err, fault.Canceled) {
		t.Errorf("Newest: %v", err)
	}
	if _, err := c.AddVersion(ctx, source("db-url"), secret.NewValue("w")); !errors.Is(err, fault.Canceled) {
		t.Errorf("AddVersion: %v", err)
	}
}

// A notified source is one whose changes are published where Sealpost listens.
func TestInspectTellsHowChangesBecomeKnown(t *testing.T) {
	t.Parallel()
	const ours, theirs = "projects/acme-ops/topics/secret-events", "projects/acme-ops/topics/audit"
	for name, test := range map[string]struct {
		topics []string
		listen string
		want   bool
	}{
		"no topic":             {nil, ours, false},
		"no topic, any counts": {nil, "", false},
		"ours":                 {[]string{ours}, ours, true},
		"ours among others":    {[]string{theirs, ours}, ours, true},
		"another's":            {[]string{theirs}, ours, false},
		"any counts":           {[]string{theirs}, "", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, c := start(t, secretmanagerd.Config{Topics: test.topics}, gsm.Config{Topic: test.listen})
			put(t, s, "db-url", "v")
			states, err := c.Inspect(t.Context(), []secret.Source{source("db-url"), source("gone")})
			check(t, err)
			if got := states[source("db-url")]; got.Notified != test.want || got.ProjectNumber != s.Number(project) {
				t.Errorf("got %t and project %q, want %t and %q", got.Notified, got.ProjectNumber, test.want, s.Number(project))
			}
			if got := states[source("gone")]; got.Notified || got.ProjectNumber != "" {
				t.Errorf("what does not exist is notified: %t, in project %q", got.Notified, got.ProjectNumber)
			}
		})
	}
}
