package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
)

// sources are the files of a zip by their path in it, with slashes.
type sources map[string][]byte

// listed is what the go command says of one package.
type listed struct {
	ImportPath string
	Dir        string
	GoFiles    []string
	EmbedFiles []string
	Module     *struct {
		Main bool
		Dir  string
	}
}

// stage collects a function's files as Google's Go buildpack wants them: the
// function's package at the root, with go.mod and go.sum beside it, and below
// shared/ the packages of ours that it depends on, no others, so that a change
// elsewhere leaves the zip alone. Tests stay out: an external test package at
// the root would be a second package there, which the buildpack refuses.
// Source: github.com/GoogleCloudPlatform/buildpacks, cmd/go/functions_framework.
func stage(ctx context.Context, root, name string) (sources, error) {
	packages, err := list(ctx, root, "./functions/"+name)
	if err != nil {
		return nil, err
	}
	staged := sources{}
	for _, p := range packages {
		if p.Module == nil || !p.Module.Main {
			continue // the standard library's, or in the module cache
		}
		if err := staged.add(p, name); err != nil {
			return nil, err
		}
	}
	return staged, staged.addModuleFiles(ctx, root)
}

// add puts a package's files where they belong in the zip.
func (s sources) add(p listed, name string) error {
	dir, err := filepath.Rel(p.Module.Dir, p.Dir)
	if err != nil {
		return err
	}
	dir = filepath.ToSlash(dir)
	switch {
	case dir == "functions/"+name:
		dir = ""
	case dir != "shared" && !strings.HasPrefix(dir, "shared/"):
		return fmt.Errorf("it depends on %s, which is neither its own package nor below shared/", p.ImportPath)
	}
	for _, file := range append(p.GoFiles, p.EmbedFiles...) {
		content, err := os.ReadFile(filepath.Join(p.Dir, file))
		if err != nil {
			return err
		}
		s[path.Join(dir, filepath.ToSlash(file))] = content
	}
	return nil
}

// list returns a package and all that it depends on, as the runtime will
// compile it: for Linux, without C.
func list(ctx context.Context, root, pattern string) ([]listed, error) {
	out, err := goCommand(ctx, root, "list", "-deps", "-json=ImportPath,Dir,GoFiles,EmbedFiles,Module", pattern)
	if err != nil {
		return nil, err
	}
	var packages []listed
	decoder := json.NewDecoder(bytes.NewReader(out))
	for {
		var p listed
		switch err := decoder.Decode(&p); {
		case errors.Is(err, io.EOF):
			return packages, nil
		case err != nil:
			return nil, fmt.Errorf("read what go list says of %s: %w", pattern, err)
		}
		packages = append(packages, p)
	}
}

// goCommand runs the go command and returns its output.
func goCommand(ctx context.Context, dir string, args ...string) ([]byte, error) {
	command := exec.CommandContext(ctx, "go", args...)
	command.Dir = dir
	command.Env = append(command.Environ(), "GOOS=linux", "GOARCH=amd64", "CGO_ENABLED=0", "GOFLAGS=", "GOWORK=off")
	var stderr bytes.Buffer
	command.Stderr = &stderr
	out, err := command.Output()
	if err != nil {
		return nil, fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, stderr.Bytes())
	}
	return out, nil
}
