package main

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	// Keeps in go.mod and go.sum what the program needs that Google's buildpack
	// generates around each function.
	_ "github.com/GoogleCloudPlatform/functions-framework-go/funcframework"
	"golang.org/x/tools/txtar"

	"github.com/sealpost/sealpost/shared/catalogue"
	"github.com/sealpost/sealpost/shared/config"
	"github.com/sealpost/sealpost/test/program"
)

// repository is where the checkout is, seen from this package.
const repository = "../.."

func TestContents(t *testing.T) {
	t.Parallel()
	zipped := mustZip(t, checkout(t, nil), "hello")
	archive, err := zip.NewReader(bytes.NewReader(zipped), int64(len(zipped)))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, file := range archive.File {
		names = append(names, file.Name)
		if !file.Modified.Equal(epoch) || file.Mode() != 0o644 {
			t.Errorf("%s: time %v, mode %v", file.Name, file.Modified, file.Mode())
		}
	}
	want := []string{
		"function.go", "go.mod", "go.sum", "shared/deep/deeper/deeper.go",
		"shared/greet/greet.go", "shared/greet/texts/greeting.txt",
	}
	if !slices.Equal(names, want) {
		t.Errorf("files %q, want %q", names, want)
	}
	if mod := read(t, archive, "go.mod"); strings.Contains(mod, "cobra") || !strings.Contains(mod, "functions-framework-go") {
		t.Errorf("go.mod should ask for what the function links and no more:\n%s", mod)
	}
}

// TestSameBytes makes the zip of one checkout and of others that differ from it
// in what must not matter, and in what must.
func TestSameBytes(t *testing.T) {
	t.Parallel()
	want := mustZip(t, checkout(t, nil), "hello")
	for _, c := range []struct {
		name string
		edit func(t *testing.T, root string)
		same bool
	}{
		{"elsewhere, at another time, with other modes", age, true},
		{"another shared package", write("shared/other/other.go", "package other\n"), true},
		{"a test", write("shared/greet/greet_test.go", "package greet\n\n// Changed.\n"), true},
		{"another function", write("functions/reaching/function.go", "package reaching\n"), true},
		{"a module that it does not link", modEdit("-droprequire=github.com/spf13/cobra"), true},
		{"its own code", write("functions/hello/more.go", "package hello\n"), false},
		{"a package below it", write("shared/deep/deeper/deeper.go", "package deeper\n\nconst a = 1\n"), false},
		{"an embedded file", write("shared/greet/texts/greeting.txt", "good evening\n"), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if got := mustZip(t, checkout(t, c.edit), "hello"); bytes.Equal(got, want) != c.same {
				t.Errorf("the same bytes: %v, want %v", !c.same, c.same)
			}
		})
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name     string
		function string
		edit     func(t *testing.T, root string)
		want     string
	}{
		{"beyond shared", "reaching", nil, "neither its own package nor below shared/"},
		{"no such function", "missing", nil, "functions/missing"},
		{"tool", "hello", modEdit("-tool=golang.org/x/tools/cmd/stringer"), "tool directive"},
		{"replace", "hello", modEdit("-replace=golang.org/x/mod=../mod"), "replace directive"},
		{"patch release", "hello", modEdit("-go=1.26.1"), "asks for Go 1.26.1"},
		{"toolchain", "hello", modEdit("-toolchain=go1.26.5"), "asks for Go 1.26.0go1.26.5"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, err := zipFunction(t.Context(), checkout(t, c.edit), c.function)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want one that says %q", err, c.want)
			}
		})
	}
}

func TestUsage(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"-nonsense"}, {"nonsense"}, {"-out"}} {
		var stdout, stderr bytes.Buffer
		if code := run(t.Context(), args, &stdout, &stderr); code != 2 || stderr.Len() == 0 || stdout.Len() > 0 {
			t.Errorf("%q: code %d, stdout %q, stderr %q", args, code, &stdout, &stderr)
		}
	}
}

// TestManifest packages a made-up function by the way that the command goes.
func TestManifest(t *testing.T) {
	t.Parallel()
	out := filepath.Join(t.TempDir(), "dist")
	packages, err := packageAll(t.Context(), checkout(t, nil), out, []catalogue.Function{{Name: "hello", EntryPoint: "Hello"}})
	if err != nil {
		t.Fatal(err)
	}
	var manifest []Package
	text, err := os.ReadFile(filepath.Join(out, manifestName))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &manifest); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(manifest, packages) || manifest[0].EntryPoint != "Hello" {
		t.Errorf("manifest %+v, returned %+v", manifest, packages)
	}
	zipped, err := os.ReadFile(filepath.Join(out, manifest[0].File))
	if err != nil || len(zipped) != manifest[0].Bytes {
		t.Errorf("zip of %d bytes (%v), manifest says %d", len(zipped), err, manifest[0].Bytes)
	}
	var table bytes.Buffer
	if err := report(&table, packages, false); err != nil || !strings.Contains(table.String(), manifest[0].SHA256) {
		t.Errorf("table %q (%v) lacks the hash", &table, err)
	}
}

// TestSampleAnswers takes the sample function through the buildpack's steps.
func TestSampleAnswers(t *testing.T) {
	t.Parallel()
	binary := build(t, mustZip(t, checkout(t, nil), "hello"))
	answer, body := ask(t, binary, catalogue.Function{EntryPoint: "Hello"}, http.MethodGet, "/")
	if answer.StatusCode != http.StatusOK || body != "good morning\n" {
		t.Errorf("%s: %q", answer.Status, body)
	}
}

// TestFunctionsAnswer takes the zip of every function through the buildpack's
// steps, starts what comes of it with the example settings alone, and asks
// without a token.
func TestFunctionsAnswer(t *testing.T) {
	t.Parallel()
	for _, row := range catalogue.Functions() {
		t.Run(row.Name, func(t *testing.T) {
			t.Parallel()
			if _, err := os.Stat(filepath.Join(repository, "functions")); errors.Is(err, os.ErrNotExist) {
				t.Skip("this checkout has no functions/ yet")
			}
			binary := build(t, mustZip(t, repository, row.Name))
			for _, route := range row.Routes {
				path := strings.ReplaceAll(route.Path, "{id}", "payments-api")
				answer, body := ask(t, binary, row, route.Method, path)
				if fault := answerFault(route, answer, body); fault != "" {
					t.Errorf("%s %s: %s: %s: %s", route.Method, path, fault, answer.Status, body)
				}
			}
		})
	}
}

// answerFault says what is wrong with an answer to a request without a token.
func answerFault(route catalogue.Route, answer *http.Response, body string) string {
	if route.Role == catalogue.Anyone {
		// Readiness may well be denied: nothing that it asks for is there.
		if answer.StatusCode != http.StatusOK && answer.StatusCode != http.StatusServiceUnavailable {
			return "want 200 or 503"
		}
		return ""
	}
	if answer.StatusCode != http.StatusUnauthorized {
		return "want 401"
	}
	if mediaType := answer.Header.Get("Content-Type"); mediaType != "application/problem+json" {
		return "want a problem, not " + mediaType
	}
	var problem struct{ Code, CorrelationID string }
	if err := json.Unmarshal([]byte(body), &problem); err != nil || problem.Code == "" || problem.CorrelationID == "" {
		return "want a code and a correlation id"
	}
	return ""
}

// build does what the buildpack does with a zip and returns the program.
func build(t *testing.T, zipped []byte) string {
	t.Helper()
	archive, err := zip.NewReader(bytes.NewReader(zipped), int64(len(zipped)))
	if err != nil {
		t.Fatal(err)
	}
	return program.BuildFunction(t, archive)
}

// ask starts a function's program on a port of its own and sends it one
// request.
func ask(t *testing.T, binary string, row catalogue.Function, method, path string) (*http.Response, string) {
	t.Helper()
	address, _ := program.StartFunction(t, binary, row, settings(row.Name)...)
	request, err := http.NewRequestWithContext(t.Context(), method, address+path, strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer, string(body)
}

// settings are the examples of what a function reads, with every external
// system where nobody listens: nothing leaves the machine.
func settings(function string) []string {
	env := map[string]string{}
	for _, s := range config.Settings() {
		if s.Example != "" && slices.Contains(s.Readers, function) {
			env[s.Name] = s.Example
		}
	}
	env["FIRESTORE_EMULATOR_HOST"] = "127.0.0.1:9"
	env["PUBSUB_EMULATOR_HOST"] = "127.0.0.1:9"
	env["SECRET_MANAGER_ENDPOINT"] = "127.0.0.1:9"
	env["GITHUB_API_URL"] = "http://127.0.0.1:9"
	var lines []string
	for name, value := range env {
		lines = append(lines, name+"="+value)
	}
	return lines
}

// checkout lays the sample out in a directory of its own, then edits it.
func checkout(t *testing.T, edit func(t *testing.T, root string)) string {
	t.Helper()
	root := t.TempDir()
	archive, err := txtar.ParseFile("testdata/checkout.txtar")
	if err != nil {
		t.Fatal(err)
	}
	files := sources{}
	for _, file := range archive.Files {
		files[file.Name] = file.Data
	}
	if err := files.read(repository, "go.mod", "go.sum"); err != nil {
		t.Fatal(err)
	}
	if err := files.writeTo(root); err != nil {
		t.Fatal(err)
	}
	if edit != nil {
		edit(t, root)
	}
	return root
}

func write(name, content string) func(*testing.T, string) {
	return func(t *testing.T, root string) {
		t.Helper()
		if err := (sources{name: []byte(content)}).writeTo(root); err != nil {
			t.Fatal(err)
		}
	}
}

// age changes what the file system says of the files, but not the files.
func age(t *testing.T, root string) {
	t.Helper()
	err := filepath.WalkDir(root, func(file string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		old := time.Date(2001, 2, 3, 4, 5, 6, 0, time.UTC)
		return errors.Join(os.Chmod(file, 0o600), os.Chtimes(file, old, old))
	})
	if err != nil {
		t.Fatal(err)
	}
}

func modEdit(edit string) func(*testing.T, string) {
	return func(t *testing.T, root string) {
		t.Helper()
		program.Go(t, root, "mod", "edit", edit)
	}
}

func mustZip(t *testing.T, root, name string) []byte {
	t.Helper()
	zipped, err := zipFunction(t.Context(), root, name)
	if err != nil {
		t.Fatal(err)
	}
	return zipped
}

func read(t *testing.T, archive *zip.Reader, name string) string {
	t.Helper()
	content, err := archive.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer content.Close()
	text, err := io.ReadAll(content)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
