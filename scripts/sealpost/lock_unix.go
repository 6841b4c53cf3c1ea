//go:build unix

package main

import (
	"errors"
	"os"
	"syscall"
)

// openLocked opens the file, or makes it, and locks it until it is closed. It
// returns errLocked at once if another process has the lock. The lock is the
// open file's: see flock(2).
func openLocked(path string) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		err = syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		switch {
		case err == nil:
			return file, nil
		case errors.Is(err, syscall.EINTR):
			continue
		case errors.Is(err, syscall.EWOULDBLOCK):
			err = errLocked
		}
		return nil, errors.Join(err, file.Close())
	}
}
