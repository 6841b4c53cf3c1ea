package manifest_test

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"

	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/manifest"
)

// TestSpecification runs the cases of testdata: each is a file case/manifest
// with either case/rendered or case/faults after it.
func TestSpecification(t *testing.T) {
	t.Parallel()
	paths, _ := filepath.Glob("testdata/*.txtar")
	if len(paths) == 0 {
		t.Fatal("no cases found")
	}
	for _, path := range paths {
		archive, err := txtar.ParseFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for pair := range slices.Chunk(archive.Files, 2) {
			name, _ := strings.CutSuffix(pair[0].Name, "/manifest")
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				got, kind := outcome(manifest.Parse(pair[0].Data))
				if pair[1].Name != name+"/"+kind || got != string(pair[1].Data) {
					t.Errorf("%s:\n%s\nwant %s:\n%s", kind, got, pair[1].Name, pair[1].Data)
				}
			})
		}
	}
}

func outcome(m manifest.Manifest, err error) (text, kind string) {
	if err != nil {
		return fault.Detail(err) + "\n", "faults"
	}
	var b bytes.Buffer
	if err := json.Indent(&b, m.Render(), "", "  "); err != nil {
		return err.Error(), "unreadable"
	}
	return b.String() + "\n", "rendered"
}
