package config_test

import (
	"errors"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/sealpost/sealpost/shared/auth"
	"github.com/sealpost/sealpost/shared/catalogue"
	"github.com/sealpost/sealpost/shared/config"
	"github.com/sealpost/sealpost/shared/envfile"
	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/pace"
)

// env is an environment.
type env map[string]string

func (e env) lookup(name string) (string, bool) { v, ok := e[name]; return v, ok }

// with returns a copy with other values, where "" takes one away.
func (e env) with(pairs ...string) env {
	c := maps.Clone(e)
	for i := 0; i < len(pairs); i += 2 {
		c[pairs[i]] = pairs[i+1]
	}
	return c
}

var complete = env{
	"SEALPOST_ENV": "prod", "LOG_LEVEL": "debug", "GCP_PROJECT_ID": "acme-sealpost",
	"GITHUB_APP_ID": "123", "GITHUB_APP_PRIVATE_KEY": "projects/acme/secrets/app-key/versions/latest",
	"GITHUB_API_URL": "https://github.acme.example/api/v3/", "SEALPOST_PACE": "fast",
	"SEALPOST_AUDIENCE": "https://sealpost.acme.example", "SEALPOST_ISSUERS": `[{"issuer":"https://accounts.google.com","kind":"google"}]`,
	"SEALPOST_ROLE_BINDINGS":   `{"email:alice@acme.example":{"*":["operator"]}}`,
	"SEALPOST_FINGERPRINT_KEY": "projects/acme/secrets/fp/versions/3",
}

func TestLoad(t *testing.T) {
	t.Parallel()
	c, err := config.Load("sync-secrets", complete.lookup)
	if err != nil {
		t.Fatal(err)
	}
	switch {
	case c.Environment != config.Prod, c.LogLevel != slog.LevelDebug, c.GCPProject != "acme-sealpost",
		c.StateDatabase != "sealpost-state", c.AuditDatabase != "sealpost-audit", c.AuditRetentionDays != 400,
		!c.UsesApp(), c.UsesToken(), c.GitHubAppID != 123, c.GitHubAppPrivateKey.Resource != "projects/acme/secrets/app-key/versions/latest",
		c.GitHubAPI != "https://github.acme.example/api/v3", c.Pace != pace.Fast,
		len(c.Issuers) != 1 || c.Issuers[0] != auth.Issuer{URL: auth.GoogleURL, Audience: "https://sealpost.acme.example", Kind: auth.Google},
		len(c.Bindings) != 1, c.FingerprintKey.Resource != "projects/acme/secrets/fp/versions/3":
		t.Errorf("config = %+v", c)
	}
}

func TestReadersReadTheirOwnOnly(t *testing.T) {
	t.Parallel()
	c, err := config.Load("health", env{"SEALPOST_ENV": "dev", "GCP_PROJECT_ID": "acme-sealpost", "SEALPOST_ISSUERS": "nonsense", "GITHUB_TOKEN": "x"}.lookup)
	if err != nil || c.UsesToken() || c.Issuers != nil {
		t.Errorf("health = %+v, %v", c, err)
	}
	c, err = config.Load(config.CLI, env{}.lookup)
	if err != nil || c.GitHubAPI != "https://api.github.com" || c.Pace != pace.Polite || c.LogLevel != slog.LevelInfo || c.UsesApp() || c.UsesToken() {
		t.Errorf("the command with nothing set = %+v, %v", c, err)
	}
	c, err = config.Load(config.CLI, env{"GITHUB_APP_ID": "1", "GITHUB_APP_PRIVATE_KEY": "file:app.pem"}.lookup)
	if err != nil || c.GitHubAppPrivateKey.File != "app.pem" {
		t.Errorf("the command with an App = %+v, %v", c, err)
	}
	c, err = config.Load(config.CLI, env{"GITHUB_TOKEN": " canary-token\n", "GITHUB_APP_ID": " "}.lookup)
	if err != nil || c.GitHubToken.Reveal() != "canary-token" {
		t.Errorf("the command with a token = %v", err)
	}
}

func TestReadersAreTheCatalogues(t *testing.T) {
	t.Parallel()
	names := []string{config.CLI}
	for _, f := range catalogue.Functions() {
		names = append(names, f.Name)
	}
	seen := map[string]bool{}
	for _, s := range config.Settings() {
		if len(s.Readers) == 0 || s.Doc == "" || s.Type == "" || seen[s.Name] {
			t.Errorf("%s is not complete", s.Name)
		}
		seen[s.Name] = true
		for _, r := range s.Readers {
			if !slices.Contains(names, r) {
				t.Errorf("%s is read by %s, which does not exist", s.Name, r)
			}
		}
		if s.Required && s.Default != "" {
			t.Errorf("%s is required and has a default", s.Name)
		}
	}
}

func TestFaults(t *testing.T) {
	t.Parallel()
	const reference = "is neither projects/<id>/secrets/<name>/versions/<number or latest> nor file:<path>"
	for name, c := range map[string]struct {
		set  []string
		want string
	}{
		"none":                {nil, ""},
		"environment":         {[]string{"SEALPOST_ENV", "canary"}, "SEALPOST_ENV is none of [dev staging prod]"},
		"no environment":      {[]string{"SEALPOST_ENV", ""}, "SEALPOST_ENV is not set"},
		"level":               {[]string{"LOG_LEVEL", "canary"}, "LOG_LEVEL is none of [debug info warn error]"},
		"project":             {[]string{"GCP_PROJECT_ID", "Canary Project"}, "GCP_PROJECT_ID is not the id of a Google Cloud project"},
		"database":            {[]string{"FIRESTORE_DATABASE_STATE", "Canary"}, "FIRESTORE_DATABASE_STATE is not the id of a Firestore database"},
		"emulator in prod":    {[]string{"FIRESTORE_EMULATOR_HOST", "127.0.0.1:8080"}, "FIRESTORE_EMULATOR_HOST is set, which prod refuses"},
		"emulator's address":  {[]string{"FIRESTORE_EMULATOR_HOST", "canary", "SEALPOST_ENV", "dev"}, "FIRESTORE_EMULATOR_HOST is not host:port"},
		"stand-in in staging": {[]string{"SECRET_MANAGER_ENDPOINT", "127.0.0.1:1", "SEALPOST_ENV", "staging"}, "SECRET_MANAGER_ENDPOINT is set, which staging refuses"},
		"stand-in elsewhere":  {[]string{"SECRET_MANAGER_ENDPOINT", "canary.example:1", "SEALPOST_ENV", "dev"}, "SECRET_MANAGER_ENDPOINT is not host:port on this machine; there is no TLS and no credential on it"},
		"GitHub's URL":        {[]string{"GITHUB_API_URL", "https://u:canary@x"}, "GITHUB_API_URL is not a URL of the form https://host[/path]"},
		"GitHub in the clear": {[]string{"GITHUB_API_URL", "http://canary.example"}, "GITHUB_API_URL is not https, which prod refuses"},
		"App id":              {[]string{"GITHUB_APP_ID", "canary"}, "GITHUB_APP_ID is not a whole number from 1 to 9007199254740992"},
		"App key":             {[]string{"GITHUB_APP_PRIVATE_KEY", "-----BEGIN canary"}, "GITHUB_APP_PRIVATE_KEY " + reference},
		"App key in a file":   {[]string{"GITHUB_APP_PRIVATE_KEY", "file:/canary"}, "GITHUB_APP_PRIVATE_KEY is a file, which prod refuses"},
		"half an App":         {[]string{"GITHUB_APP_PRIVATE_KEY", ""}, "GITHUB_APP_ID and GITHUB_APP_PRIVATE_KEY go together"},
		"the other half":      {[]string{"GITHUB_APP_ID", ""}, "GITHUB_APP_ID and GITHUB_APP_PRIVATE_KEY go together"},
		"neither":             {[]string{"GITHUB_APP_ID", "", "GITHUB_APP_PRIVATE_KEY", ""}, "neither GITHUB_APP_ID with GITHUB_APP_PRIVATE_KEY nor GITHUB_TOKEN is set"},
		"both":                {[]string{"GITHUB_TOKEN", "canary"}, "GITHUB_TOKEN and GITHUB_APP_ID exclude each other"},
		"token with a break":  {[]string{"GITHUB_TOKEN", "canary\r\ncanary", "GITHUB_APP_ID", "", "GITHUB_APP_PRIVATE_KEY", ""}, "GITHUB_TOKEN has a character that no token has"},
		"pace":                {[]string{"SEALPOST_PACE", "canary"}, "SEALPOST_PACE is none of [polite fast off]"},
		"no audience":         {[]string{"SEALPOST_AUDIENCE", ""}, "SEALPOST_ISSUERS is at fault: issuer 1 has no audience"},
		"issuers":             {[]string{"SEALPOST_ISSUERS", "canary"}, `SEALPOST_ISSUERS is at fault: want a JSON list of {"issuer", "audience", "kind"}: the JSON is not well formed at byte 1`},
		"local in prod":       {[]string{"SEALPOST_ISSUERS", `[{"issuer":"http://127.0.0.1/canary","kind":"local"}]`}, "SEALPOST_ISSUERS has an issuer of kind local, which prod refuses"},
		"local in staging":    {[]string{"SEALPOST_ENV", "staging", "SEALPOST_ISSUERS", `[{"issuer":"http://127.0.0.1/canary","kind":"local"}]`}, "SEALPOST_ISSUERS has an issuer of kind local, which staging refuses"},
		"local in dev":        {[]string{"SEALPOST_ENV", "dev", "SEALPOST_ISSUERS", `[{"issuer":"http://127.0.0.1/x","kind":"local"}]`}, ""},
		"bindings":            {[]string{"SEALPOST_ROLE_BINDINGS", `{"canary":{}}`}, "SEALPOST_ROLE_BINDINGS is at fault: member 1 is neither email:<address> nor repository:<numeric id>"},
		"fingerprint key":     {[]string{"SEALPOST_FINGERPRINT_KEY", "canary"}, "SEALPOST_FINGERPRINT_KEY " + reference},
		"key file in prod":    {[]string{"SEALPOST_FINGERPRINT_KEY", "file:canary"}, "SEALPOST_FINGERPRINT_KEY is a file, which prod refuses"},
		"retention":           {[]string{"SEALPOST_AUDIT_RETENTION_DAYS", "0"}, "SEALPOST_AUDIT_RETENTION_DAYS is not a whole number from 1 to 3650"},
		"several": {[]string{"SEALPOST_ENV", "canary", "GCP_PROJECT_ID", "", "SEALPOST_PACE", "canary"},
			"SEALPOST_ENV is none of [dev staging prod]; GCP_PROJECT_ID is not set; SEALPOST_PACE is none of [polite fast off]"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := config.Load("sync-secrets", complete.with(c.set...).lookup)
			if c.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if fault.CodeOf(err) != fault.ConfigInvalid || fault.Detail(err) != c.want || strings.Contains(err.Error(), "canary") {
				t.Errorf("Load = %v\nwant   %s", err, c.want)
			}
			if got.Environment != "" || got.GitHubAppID != 0 {
				t.Errorf("a config came with the faults: %+v", got)
			}
		})
	}
}

func TestNoFaultRepeatsAValue(t *testing.T) {
	t.Parallel()
	settings := config.Settings()
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.SampledFrom(settings).Draw(t, "setting").Name
		value := rapid.SampledFrom([]string{"", "file:", "http://", "[", `[{"issuer":"`, `{"email:`, "projects/"}).Draw(t, "start") + "canary" + rapid.StringMatching(`[ -~]{0,20}`).Draw(t, "rest")
		for _, reader := range []string{"sync-secrets", "audit-log", config.CLI} {
			if _, err := config.Load(reader, complete.with(name, value).lookup); err != nil && (!errors.Is(err, fault.ConfigInvalid) || strings.Contains(err.Error(), "canary")) {
				t.Fatalf("%s: %v", reader, err)
			}
		}
	})
}

// TestExampleWorks loads .env.example itself, as somebody would who copied it.
func TestExampleWorks(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../.env.example")
	if err != nil {
		t.Fatal(err)
	}
	entries, err := envfile.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	example := env{}
	for _, e := range entries {
		example[e.Name] = e.Value.Reveal()
	}
	readers := []string{config.CLI}
	for _, f := range catalogue.Functions() {
		readers = append(readers, f.Name)
	}
	for _, reader := range readers {
		if _, err := config.Load(reader, example.lookup); err != nil {
			t.Errorf("%s: %v", reader, err)
		}
	}
}

func TestGeneratedFilesAreCurrent(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]string{"../../.env.example": config.EnvExample(), "settings.md": config.Markdown()} {
		if got, err := os.ReadFile(path); err != nil || string(got) != want {
			t.Errorf("%s is not what the table says (%v): run go run ./scripts/generate", path, err)
		}
	}
}
