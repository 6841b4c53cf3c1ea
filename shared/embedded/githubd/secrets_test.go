package githubd_test

import (
	"net/url"
	"strings"
	"testing"

	"github.com/sealpost/sealpost/shared/embedded/githubd"
	"github.com/sealpost/sealpost/shared/secret"
)

func escape(name string) string { return url.PathEscape(name) }

func TestRepositorySecretsInEveryFamily(t *testing.T) {
	t.Parallel()
	server, client := start(t, githubd.Config{})
	for _, f := range families(server, client) {
		t.Run(f.scope, func(t *testing.T) {
			t.Parallel()
			target := githubd.Target{Container: container, Scope: secret.Scope(f.scope), Name: "DATABASE_URL"}

			wantStatus(t, f.mustWrite(t, "database_url", "one"), nil, 201)
			wantStatus(t, f.mustWrite(t, "DATABASE_URL", "two\n\u00e9"), nil, 204)
			if got, ok := server.Value(target); !ok || got != "two\n\u00e9" {
				t.Fatalf("the server holds %q, %v", got, ok)
			}
			shown, answer, err := f.get(t.Context(), "Database_Url")
			wantStatus(t, answer, err, 200)
			if shown.Name != "DATABASE_URL" || shown.CreatedAt.IsZero() || shown.UpdatedAt.Nanosecond() != 0 {
				t.Errorf("shown as %+v", shown)
			}
			list, answer, err := f.list(t.Context(), nil)
			wantStatus(t, answer, err, 200)
			if list.TotalCount != 1 || len(list.Secrets) != 1 || list.Secrets[0].Name != "DATABASE_URL" {
				t.Errorf("listed as %+v", list)
			}
			answer, err = f.delete(t.Context(), "database_url")
			wantStatus(t, answer, err, 204)
			answer, err = f.delete(t.Context(), "database_url")
			wantStatus(t, answer, err, 404)
			_, answer, err = f.get(t.Context(), "DATABASE_URL")
			wantStatus(t, answer, err, 404)
			if _, ok := server.Value(target); ok {
				t.Error("the value is still there")
			}
		})
	}
}

func TestPutRefusals(t *testing.T) {
	t.Parallel()
	server, client := start(t, githubd.Config{})
	f := actions(server, client)
	key, _, err := f.key(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	good := seal(t, key, "GOOD", "value")

	stale := *good
	stale.KeyID = "1"
	garbage := *good
	garbage.EncryptedValue = "bm90IGEgc2VhbGVkIGJveA=="
	notBase64 := *good
	notBase64.EncryptedValue = "plain text!"
	noKey := *good
	noKey.KeyID = ""

	for _, c := range []struct {
		name  string
		write func() error
		words string
	}{
		{"stale key", func() error { _, err := f.put(t.Context(), &stale); return err }, "improperly encrypted secret"},
		{"not a sealed box", func() error { _, err := f.put(t.Context(), &garbage); return err }, "improperly encrypted secret"},
		{"not base64", func() error { _, err := f.put(t.Context(), &notBase64); return err }, "plain text! does not match"},
		{"prefix", func() error { _, err := f.write(t, "github_x", "v"); return err }, "must not start with GITHUB_"},
		{"leading digit", func() error { _, err := f.write(t, "1X", "v"); return err }, "can only contain alphanumeric"},
		{"dash", func() error { _, err := f.write(t, "A-B", "v"); return err }, "can only contain alphanumeric"},
		{"too large", func() error { _, err := f.write(t, "BIG", strings.Repeat("x", 48*1024+1)); return err }, "too large"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := c.write()
			if err == nil || !strings.Contains(err.Error(), " 422 ") || !strings.Contains(err.Error(), c.words) {
				t.Errorf("got %v; want a 422 with %q", err, c.words)
			}
		})
	}
	if got := server.Counts().Writes(); got != 0 {
		t.Errorf("%d writes took effect", got)
	}
	f.mustWrite(t, "BIG", strings.Repeat("x", 48*1024))
}
