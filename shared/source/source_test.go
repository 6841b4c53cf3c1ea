package source_test

import (
	"testing"

	"github.com/sealpost/sealpost/shared/secret"
	"github.com/sealpost/sealpost/shared/source"
	"github.com/sealpost/sealpost/shared/source/sourcetest"
	"github.com/sealpost/sealpost/shared/syncer"
)

func TestEnvFileKeepsTheContract(t *testing.T) {
	t.Parallel()
	sourcetest.Run(t, sourcetest.Harness{
		Open: func(_ *testing.T, values map[secret.Source]secret.Value) (syncer.Sources, sourcetest.Admin) {
			byName := map[string]secret.Value{}
			for s, v := range values {
				byName[s.Secret] = v
			}
			return source.EnvFile(byName), nil
		},
	})
}

func TestEnvFileKeepsWhatItWasGiven(t *testing.T) {
	t.Parallel()
	values := map[string]secret.Value{"TOKEN": secret.NewValue("first")}
	file := source.EnvFile(values)
	values["TOKEN"] = secret.NewValue("second")
	got, err := file.Value(t.Context(), secret.Source{Secret: "TOKEN"}, 0)
	if err != nil || got.Reveal() != "first" {
		t.Errorf("got another value, or %v", err)
	}
}
