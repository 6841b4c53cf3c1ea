package main

import (
	"errors"
	"os"
	"path/filepath"

	"github.com/sealpost/sealpost/shared/fault"
)

// lockFile is locked by the server that uses the state directory. It stays when
// the server stops: a file that is removed could be locked twice, under one name.
const lockFile = "server.lock"

// errLocked says that another process has the lock.
var errLocked = errors.New("locked by another process")

// lockState takes the state directory for one server and returns what gives it
// back. The kernel gives it back when the process ends, however it does: two
// servers over one directory would overwrite each other's secrets.
func lockState(dir string) (unlock func(), err error) {
	file, err := openLocked(filepath.Join(dir, lockFile))
	switch {
	case err == nil:
		return func() { _ = file.Close() }, nil
	case !errors.Is(err, errLocked):
		return nil, notUsable(dir, err)
	}
	where := ""
	if running, infoErr := runningServer(dir); infoErr == nil {
		where = " at " + running.URL
	}
	return nil, fault.New(fault.ConfigInvalid, "a server runs%s with the state directory %s already", where, dir).
		WithRemedy("Use that one, or stop it first, or take another directory with --state-dir.", "")
}

// makeState makes the state directory, for its owner only.
func makeState(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return notUsable(dir, err)
	}
	return nil
}

// notUsable says why a state directory, or a file in it, cannot be used.
func notUsable(path string, err error) error {
	reason := "cannot be used"
	if errors.Is(err, os.ErrPermission) {
		reason = "cannot be used: permission denied"
	}
	return fault.New(fault.ConfigInvalid, "the state directory %s %s", path, reason).
		WithRemedy("Take a directory that you may write, with --state-dir, or have this one's owner and mode corrected.", "").WithCause(err)
}
