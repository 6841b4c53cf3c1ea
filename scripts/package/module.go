package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sealpost/sealpost/scripts/package/buildpack"
)

// moduleFile is what `go mod edit -json` says of a go.mod.
type moduleFile struct {
	Module    struct{ Path string }
	Go        string
	Toolchain string
	Replace   []json.RawMessage
	Tool      []json.RawMessage
}

// addModuleFiles puts in a go.mod and a go.sum for these sources alone. The
// buildpack runs `go mod tidy` before it builds. It is run here, so that there
// it changes nothing, and so that a new version of a module that the function
// does not link leaves the zip alone. All versions stay those of the checkout.
func (s sources) addModuleFiles(ctx context.Context, root string) error {
	checkout, err := readModule(ctx, root)
	if err != nil {
		return err
	}
	if err := checkout.check(); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "sealpost-package-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := s.tidy(ctx, root, dir, checkout.Module.Path); err != nil {
		return err
	}
	if err := s.read(dir, "go.mod", "go.sum"); err != nil {
		return err
	}
	return s.checkSums(root)
}

// checkSums holds go.sum to that of the checkout, which has one sum for each
// module that is used: so nothing comes in here that was not tested there.
func (s sources) checkSums(root string) error {
	known, err := os.ReadFile(filepath.Join(root, "go.sum"))
	if err != nil {
		return err
	}
	lines := strings.Split(string(known), "\n")
	for _, line := range strings.Split(string(s["go.sum"]), "\n") {
		if !slices.Contains(lines, line) {
			return fmt.Errorf("it needs a module that go.sum does not know, %q: run go mod tidy", line)
		}
	}
	return nil
}

// check refuses what the buildpack could not build.
func (m moduleFile) check() error {
	switch {
	case len(m.Tool) > 0:
		return fmt.Errorf("go.mod has a tool directive, which go mod tidy could not resolve in the zip")
	case len(m.Replace) > 0:
		return fmt.Errorf("go.mod has a replace directive, which may point outside of the zip")
	case m.Toolchain != "" || filepath.Ext(m.Go) != ".0":
		return fmt.Errorf("go.mod asks for Go %s%s; a function's runtime may lag the newest patch, so ask for a .0", m.Go, m.Toolchain)
	}
	return nil
}

// tidy lays the sources out in a directory as the buildpack would, with the
// checkout's go.mod and go.sum, and has the go command tidy these.
func (s sources) tidy(ctx context.Context, root, dir, module string) error {
	layout := sources{buildpack.MainDir + "/main.go": buildpack.Main(module)}
	for name, content := range s {
		layout[name] = content
	}
	if err := layout.read(root, "go.mod", "go.sum"); err != nil {
		return err
	}
	if err := layout.writeTo(dir); err != nil {
		return err
	}
	_, err := goCommand(ctx, dir, "mod", "tidy")
	return err
}

// read takes in files that lie at the top of a directory.
func (s sources) read(dir string, names ...string) error {
	for _, name := range names {
		content, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return err
		}
		s[name] = content
	}
	return nil
}

// writeTo lays the sources out below a directory.
func (s sources) writeTo(dir string) error {
	for name, content := range s {
		file := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(file, content, 0o644); err != nil {
			return err
		}
	}
	return nil
}

func readModule(ctx context.Context, dir string) (moduleFile, error) {
	var m moduleFile
	out, err := goCommand(ctx, dir, "mod", "edit", "-json")
	if err != nil {
		return m, err
	}
	if err := json.Unmarshal(out, &m); err != nil {
		return m, fmt.Errorf("read what go mod edit says of %s: %w", dir, err)
	}
	return m, nil
}
