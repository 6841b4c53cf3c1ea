package program

import (
	"archive/zip"
	"go/parser"
	"go/token"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sealpost/sealpost/scripts/package/buildpack"
	"github.com/sealpost/sealpost/shared/catalogue"
)

// BuildFunction does what the buildpack does with a function's zip and returns
// the program. It works offline: what the function links is in the module cache.
func BuildFunction(t testing.TB, archive *zip.Reader) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, archive); err != nil {
		t.Fatal(err)
	}
	checkRoot(t, dir)
	main := filepath.Join(dir, filepath.FromSlash(buildpack.MainDir))
	if err := os.MkdirAll(main, 0o755); err != nil {
		t.Fatal(err)
	}
	source := buildpack.Main(strings.TrimSpace(Go(t, dir, "list", "-m")))
	if err := os.WriteFile(filepath.Join(main, "main.go"), source, 0o644); err != nil {
		t.Fatal(err)
	}
	Go(t, dir, "mod", "tidy", "-diff")
	binary := filepath.Join(dir, "program")
	// Without the directory's name in it, what is compiled serves the next run.
	Go(t, dir, "build", "-mod=readonly", "-trimpath", "-ldflags=-s -w", "-o", binary, "./"+buildpack.MainDir)
	return binary
}

// checkRoot holds the top of the zip to what the buildpack reads there: one
// package, which imports the framework itself. What it finds there decides
// which program it generates.
func checkRoot(t testing.TB, dir string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	names, imports := map[string]bool{}, map[string]bool{}
	for _, file := range files {
		syntax, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		names[syntax.Name.Name] = true
		for _, spec := range syntax.Imports {
			imports[strings.Trim(spec.Path.Value, `"`)] = true
		}
	}
	if len(names) != 1 || !imports["github.com/GoogleCloudPlatform/functions-framework-go/functions"] {
		t.Fatalf("the top of the zip has the packages %v, which import %v", names, imports)
	}
}

// StartFunction runs a function's program and returns its address when it
// takes connections.
func StartFunction(t testing.TB, binary string, row catalogue.Function, env ...string) (url string, p *Process) {
	t.Helper()
	return StartServer(t, Call{Path: binary, Env: append([]string{"FUNCTION_TARGET=" + row.EntryPoint}, env...)})
}

// StartServer runs a program that serves under the Functions Framework, and
// returns its address when it takes connections.
func StartServer(t testing.TB, call Call) (url string, p *Process) {
	t.Helper()
	address := freeAddress(t)
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	call.Env = append([]string{"PORT=" + port, "LOCAL_ONLY=true"}, call.Env...)
	p = Start(t, call)
	p.awaitListening(t, address)
	return "http://" + address, p
}

func freeAddress(t testing.TB) string {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	return listener.Addr().String()
}

func (p *Process) awaitListening(t testing.TB, address string) {
	t.Helper()
	retry := time.NewTicker(5 * time.Millisecond)
	defer retry.Stop()
	limit := time.After(patience)
	for {
		connection, err := new(net.Dialer).DialContext(t.Context(), "tcp", address)
		if err == nil {
			_ = connection.Close()
			return
		}
		select {
		case <-p.ended:
			t.Fatalf("the program ended before it listened:\n%s%s", p.Stdout, p.Stderr)
		case <-limit:
			t.Fatalf("nothing listens at %s: %v", address, err)
		case <-retry.C:
		}
	}
}
