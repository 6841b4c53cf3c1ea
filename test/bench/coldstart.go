package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/sealpost/sealpost/scripts/package/buildpack"
	"github.com/sealpost/sealpost/shared/auth"
	"github.com/sealpost/sealpost/shared/catalogue"
	"github.com/sealpost/sealpost/shared/clock"
)

// Names of the figures of cold starts, each the worst of all functions.
const (
	startRatio  = "start to first answer, of the bare one's"
	memoryRatio = "resident memory, of the bare one's"
	sizeRatio   = "size, of the bare one's"
)

// coldStarts is how often each program is started; the quickest start counts.
const coldStarts = 7

// sdks are the clients of other systems that a function may link. A bare program
// links those of them that the function links, and nothing else of it.
var sdks = []string{
	"cloud.google.com/go/firestore", "cloud.google.com/go/secretmanager", "cloud.google.com/go/pubsub", "github.com/google/go-github",
}

// cold is what one program was measured at.
type cold struct {
	start  time.Duration
	memory int64
	size   int64
}

// coldStart measures the program of each function against one of the Functions
// Framework's with the same clients linked, built and started in the same way.
func coldStart(ctx context.Context, l *lab) (t trial, err error) {
	programs, err := l.buildPrograms(ctx)
	if err != nil {
		return t, err
	}
	measured := map[string]cold{} // by path
	for range coldStarts {
		for _, f := range catalogue.Functions() {
			p := programs[f.Name]
			paths := []string{p.function}
			if !slices.Contains(paths, p.bare) {
				paths = append(paths, p.bare)
			}
			for i, path := range paths {
				entry := f.EntryPoint
				if i > 0 {
					entry = bareEntry
				}
				once, err := l.startCold(ctx, path, entry, f.Routes[0].Path)
				if errors.Is(err, errNoPeak) {
					return trial{lacks: err.Error()}, nil
				}
				if err != nil {
					return t, err
				}
				measured[path] = measured[path].better(once)
			}
		}
	}
	t.figures = figures{}
	for _, f := range catalogue.Functions() {
		mine, bare := measured[programs[f.Name].function], measured[programs[f.Name].bare]
		for figure, ratio := range map[string]float64{
			startRatio:  mine.start.Seconds() / bare.start.Seconds(),
			memoryRatio: float64(mine.memory) / float64(bare.memory),
			sizeRatio:   float64(mine.size) / float64(bare.size),
		} {
			t.figures[figure] = max(t.figures[figure], ratio)
		}
		t.notes = append(t.notes, fmt.Sprintf("%s: %s; bare: %s", f.Name, mine.text(), bare.text()))
	}
	return t, nil
}

// better returns the lower of each.
func (c cold) better(o cold) cold {
	if c.size == 0 {
		return o
	}
	return cold{min(c.start, o.start), min(c.memory, o.memory), o.size}
}

func (c cold) text() string {
	return fmt.Sprintf("%.0f ms, %.1f MiB, %.1f MiB of program", c.start.Seconds()*1000, mebibytes(c.memory), mebibytes(c.size))
}

// program is where a function's program and its bare counterpart are.
type program struct{ function, bare string }

// buildPrograms builds all programs at once, in a module of their own beside
// the checkout.
func (l *lab) buildPrograms(ctx context.Context) (map[string]program, error) {
	dir, err := l.directory()
	if err != nil {
		return nil, err
	}
	module, err := goCommand(ctx, l.root, "list", "-m")
	if err != nil {
		return nil, err
	}
	ours := strings.TrimSpace(module)
	if err := l.borrowModule(dir, ours); err != nil {
		return nil, err
	}
	programs := map[string]program{}
	for _, f := range catalogue.Functions() {
		deps, err := goCommand(ctx, l.root, "list", "-deps", "./functions/"+f.Name)
		if err != nil {
			return nil, err
		}
		linked := clients(strings.Fields(deps))
		bare := bareName(linked)
		programs[f.Name] = program{filepath.Join(dir, "bin", f.Name), filepath.Join(dir, "bin", bare)}
		err = errors.Join(
			writeMain(dir, f.Name, buildpack.Main(ours+"/functions/"+f.Name)),
			writeMain(dir, bare, bareMain(linked)))
		if err != nil {
			return nil, err
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "bin"), 0o700); err != nil {
		return nil, err
	}
	_, err = goCommandIn(ctx, dir, []string{"CGO_ENABLED=0"}, "build", "-mod=mod", "-trimpath", "-ldflags=-s -w", "-o", "bin/", "./...")
	return programs, err
}

// borrowModule makes a module that takes ours from the checkout, and everything
// else in the versions that ours has.
func (l *lab) borrowModule(dir, ours string) error {
	text, err := os.ReadFile(filepath.Join(l.root, "go.mod"))
	if err != nil {
		return err
	}
	sums, err := os.ReadFile(filepath.Join(l.root, "go.sum"))
	if err != nil {
		return err
	}
	theirs := strings.Replace(string(text), "module "+ours, "module cold.example", 1) +
		fmt.Sprintf("\nrequire %s v0.0.0\n\nreplace %s => %s\n", ours, ours, l.root)
	return errors.Join(
		os.WriteFile(filepath.Join(dir, "go.mod"), []byte(theirs), 0o600),
		os.WriteFile(filepath.Join(dir, "go.sum"), sums, 0o600))
}

func writeMain(dir, name string, source []byte) error {
	at := filepath.Join(dir, name)
	return errors.Join(os.MkdirAll(at, 0o700), os.WriteFile(filepath.Join(at, "main.go"), source, 0o600))
}

// clients returns the packages of the clients among a function's dependencies.
func clients(deps []string) []string {
	var linked []string
	for _, path := range deps {
		ofClient := slices.ContainsFunc(sdks, func(sdk string) bool { return strings.HasPrefix(path, sdk) })
		if ofClient && !strings.Contains(path, "/internal") {
			linked = append(linked, path)
		}
	}
	slices.Sort(linked)
	return linked
}

// bareName names the bare program with these clients.
func bareName(linked []string) string {
	name := "bare"
	for i, sdk := range sdks {
		if slices.ContainsFunc(linked, func(path string) bool { return strings.HasPrefix(path, sdk) }) {
			name += fmt.Sprintf("-%d", i)
		}
	}
	return name
}

const bareEntry = "Bare"

// bareMain is a program of the Functions Framework that does nothing.
func bareMain(linked []string) []byte {
	var imports strings.Builder
	for _, path := range linked {
		fmt.Fprintf(&imports, "\t_ %q\n", path)
	}
	return fmt.Appendf(nil, `package main

import (
	"log"
	"net/http"
	"os"

%s
	"github.com/GoogleCloudPlatform/functions-framework-go/funcframework"
	"github.com/GoogleCloudPlatform/functions-framework-go/functions"
)

func main() {
	functions.HTTP(%q, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })
	log.Fatal(funcframework.Start(os.Getenv("PORT")))
}
`, &imports, bareEntry)
}

// startCold starts a program and asks it until it answers, whatever it says.
func (l *lab) startCold(ctx context.Context, path, entry, route string) (c cold, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return c, err
	}
	port, err := freePort()
	if err != nil {
		return c, err
	}
	issuers := fmt.Sprintf(`[{"issuer":"http://127.0.0.1:1","audience":%q,"kind":%q}]`, audience, auth.Local)
	began := clock.Real().Now()
	p, err := startProcess(ctx, l.dir, []string{
		"GOMAXPROCS=1", "FUNCTION_TARGET=" + entry, "PORT=" + port, "LOCAL_ONLY=true", "SEALPOST_ENV=dev", "GCP_PROJECT_ID=" + gcpProject,
		"FIRESTORE_EMULATOR_HOST=127.0.0.1:1", "PUBSUB_EMULATOR_HOST=127.0.0.1:1", "SECRET_MANAGER_ENDPOINT=127.0.0.1:1",
		"SEALPOST_FINGERPRINT_KEY=" + fingerprint, "GITHUB_TOKEN=" + hubToken, "SEALPOST_ISSUERS=" + issuers,
	}, path)
	if err != nil {
		return c, err
	}
	defer func() { err = errors.Join(err, p.stop()) }()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for {
		request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://127.0.0.1:"+port+route, http.NoBody)
		if err != nil {
			return c, err
		}
		answer, err := client.Do(request)
		if err == nil {
			c.start, c.size = clock.Real().Now().Sub(began), info.Size()
			if err := answer.Body.Close(); err != nil {
				return c, err
			}
			c.memory, err = p.peak()
			return c, err
		}
		if p.ended() {
			return c, fmt.Errorf("%s ended: %w: %s", filepath.Base(path), p.err, p.text())
		}
		if err := clock.Real().Sleep(ctx, time.Millisecond); err != nil {
			return c, err
		}
	}
}
