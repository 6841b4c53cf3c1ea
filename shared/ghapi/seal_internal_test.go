package ghapi

import (
	"crypto/rand"
	"encoding/base64"
	"strings"
	"testing"

	"golang.org/x/crypto/nacl/box"

	"github.com/sealpost/sealpost/shared/secret"
)

func TestSealedBoxesOpenForTheirRecipientOnly(t *testing.T) {
	t.Parallel()
	public, private, err := box.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	otherPublic, otherPrivate, err := box.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key := sealKey{id: "1", bytes: *public}
	seen := map[string]bool{}
	for _, text := range []string{"", "x", "two\nlines\n", strings.Repeat("é", 24<<10)} {
		for range 2 {
			sealed, err := key.seal(secret.NewValue(text))
			if err != nil {
				t.Fatal(err)
			}
			raw, err := base64.StdEncoding.DecodeString(sealed)
			if err != nil {
				t.Fatal(err)
			}
			if len(raw) != len(text)+box.AnonymousOverhead {
				t.Errorf("%d bytes were sealed to %d, not %d", len(text), len(raw), len(text)+box.AnonymousOverhead)
			}
			if opened, ok := box.OpenAnonymous(nil, raw, public, private); !ok || string(opened) != text {
				t.Errorf("what held %d bytes did not open", len(text))
			}
			if _, ok := box.OpenAnonymous(nil, raw, otherPublic, otherPrivate); ok {
				t.Error("another key opened it")
			}
			if ephemeral := string(raw[:keyBytes]); seen[ephemeral] {
				t.Error("an ephemeral key was used twice")
			} else {
				seen[ephemeral] = true
			}
		}
	}
}
