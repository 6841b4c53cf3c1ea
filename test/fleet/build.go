package fleet

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/sealpost/sealpost/shared/catalogue"
	"github.com/sealpost/sealpost/shared/clock"
	"github.com/sealpost/sealpost/test/program"
)

// zips are what scripts/package made of the checkout, by function. A test binary
// makes them once: the sources do not change while it runs.
var zips struct {
	sync.Mutex
	made map[string][]byte
}

// build returns the program of each function, as the buildpack would make it of
// the function's zip. A program stays in the user's cache under the hash of its
// zip, so that only what has changed is built.
func build(t testing.TB) map[string]string {
	t.Helper()
	zips.Lock()
	defer zips.Unlock()
	if zips.made == nil {
		zips.made = makeZips(t)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(cache, "sealpost-test", "functions-"+runtime.Version())
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	prune(t, dir)
	programs := map[string]string{}
	var building sync.WaitGroup
	for _, row := range catalogue.Functions() {
		zipped := zips.made[row.Name]
		file := filepath.Join(dir, fmt.Sprintf("%s-%x", row.Name, sha256.Sum256(zipped)))
		programs[row.Name] = file
		if now := clock.Real().Now(); os.Chtimes(file, now, now) != nil { // it is not there
			building.Go(func() { buildAt(t, file, zipped) })
		}
	}
	building.Wait()
	if t.Failed() {
		t.FailNow()
	}
	return programs
}

func makeZips(t testing.TB) map[string][]byte {
	t.Helper()
	dist := t.TempDir()
	program.Go(t, program.Root(t), "run", "./scripts/package", "-out", dist)
	made := map[string][]byte{}
	for _, row := range catalogue.Functions() {
		zipped, err := os.ReadFile(filepath.Join(dist, row.Name+".zip"))
		if err != nil {
			t.Fatal(err)
		}
		made[row.Name] = zipped
	}
	return made
}

// buildAt builds a program and then moves it into its place, so that nobody finds
// half of one there.
func buildAt(t testing.TB, file string, zipped []byte) {
	t.Helper()
	archive, err := zip.NewReader(bytes.NewReader(zipped), int64(len(zipped)))
	if err != nil {
		t.Error(err)
		return
	}
	program, err := os.ReadFile(program.BuildFunction(t, archive))
	if err != nil {
		t.Error(err)
		return
	}
	aside := fmt.Sprintf("%s.%d", file, os.Getpid())
	if err := errors.Join(os.WriteFile(aside, program, 0o700), os.Rename(aside, file)); err != nil {
		t.Error(err)
	}
}

// keep is how long a program stays in the cache that nobody has asked for.
const keep = 6 * time.Hour

// prune removes what nobody asks for any more: no test runs that long.
func prune(t testing.TB, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if info, err := entry.Info(); err == nil && clock.Real().Now().Sub(info.ModTime()) > keep {
			_ = os.Remove(filepath.Join(dir, entry.Name())) // another may have been faster
		}
	}
}
