package local

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sealpost/sealpost/shared/fault"
)

func listenIn(t *testing.T, dir string) (net.Listener, string, func() error) {
	t.Helper()
	listener, path, remove, err := listenAtSocket(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	return listener, path, remove
}

// The socket is its owner's alone, wherever it is, and leaves nothing behind.
func TestSocketIsPrivate(t *testing.T) {
	t.Parallel()
	for name, dir := range map[string]string{
		"short": t.TempDir(),
		"long":  filepath.Join(t.TempDir(), strings.Repeat("d", 100)),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if err := os.MkdirAll(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			listener, path, remove := listenIn(t, dir)
			if !filepath.IsAbs(path) || len(path) > maxSocketPath || (filepath.Dir(path) == dir) != (name == "short") {
				t.Errorf("the socket of %s is %s", dir, path)
			}
			info, err := os.Stat(path)
			if err != nil || info.Mode() != fs.ModeSocket|0o600 {
				t.Errorf("mode %v, %v", info.Mode(), err)
			}
			if above, err := os.Stat(filepath.Dir(path)); name == "long" && (err != nil || above.Mode().Perm() != 0o700) {
				t.Errorf("its directory has mode %v, %v", above.Mode(), err)
			}
			if err := errors.Join(listener.Close(), remove()); err != nil {
				t.Error(err)
			}
			left := path
			if name == "long" {
				left = filepath.Dir(path)
			}
			if _, err := os.Stat(left); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s is left: %v", left, err)
			}
		})
	}
}

// The socket of a server that was killed is taken over, that of one that runs
// is not.
func TestSocketOfAnEarlierServer(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	killed, path, _ := listenIn(t, dir)
	killed.(*net.UnixListener).SetUnlinkOnClose(false)
	if err := killed.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Fatal(err)
	}
	running, _, _ := listenIn(t, dir)
	defer running.Close()
	_, _, _, err := listenAtSocket(t.Context(), dir)
	if !errors.Is(err, fault.ConfigInvalid) || !strings.Contains(fault.Detail(err), "another server") {
		t.Errorf("a second server: %v", err)
	}
	if conn, err := net.Dial("unix", path); err != nil {
		t.Errorf("the first one is cut off: %v", err)
	} else {
		_ = conn.Close()
	}
}
