package local

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"

	"github.com/sealpost/sealpost/shared/fault"
)

// socketFile is where other commands of this machine's owner reach the embedded
// Secret Manager.
const socketFile = "secret-manager.sock"

// maxSocketPath is the longest path in bytes that a socket can have everywhere:
// 108 on Linux and 104 on macOS, with a zero byte at the end.
// Source: unix(7), and sys/un.h of macOS.
const maxSocketPath = 103

// listenAtSocket listens at a unix socket that its owner alone can open, in the
// state directory. Where the path would be too long, the socket is in a
// directory of its own under the system's one for temporary files. It returns
// the socket's whole path and what removes that directory.
func listenAtSocket(ctx context.Context, stateDir string) (net.Listener, string, func() error, error) {
	path, remove, err := socketPath(stateDir)
	if err != nil {
		return nil, "", nil, fault.New(fault.ConfigInvalid, "there is no place for a socket").WithCause(err)
	}
	if err := clearSocket(ctx, path); err != nil {
		return nil, "", nil, err
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "unix", path)
	if err != nil {
		return nil, "", nil, fault.New(fault.ConfigInvalid, "the socket %s cannot be made", path).WithCause(errors.Join(err, remove()))
	}
	if err := os.Chmod(path, 0o600); err != nil {
		err = errors.Join(err, listener.Close(), remove())
		return nil, "", nil, fault.New(fault.ConfigInvalid, "the socket %s cannot be closed to others", path).WithCause(err)
	}
	return listener, path, remove, nil
}

func socketPath(stateDir string) (path string, remove func() error, err error) {
	if path, err = filepath.Abs(filepath.Join(stateDir, socketFile)); err != nil || len(path) <= maxSocketPath {
		return path, func() error { return nil }, err
	}
	dir, err := os.MkdirTemp("", "sealpost-") // mode 0700
	return filepath.Join(dir, socketFile), func() error { return os.RemoveAll(dir) }, err
}

// clearSocket removes the socket that a server left behind which was killed. One
// that somebody answers at belongs to a server that runs: two of them would
// overwrite each other's secrets.
func clearSocket(ctx context.Context, path string) error {
	conn, err := new(net.Dialer).DialContext(ctx, "unix", path)
	if err == nil {
		_ = conn.Close()
		return fault.New(fault.ConfigInvalid, "another server runs with the state directory %s", filepath.Dir(path)).
			WithRemedy("Stop the other server, or take another directory.", "sealpost serve --state-dir DIRECTORY")
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fault.New(fault.ConfigInvalid, "the socket %s of an earlier server cannot be removed", path).WithCause(err)
	}
	return nil
}
