package main

import (
	"errors"
	"os"
	"syscall"
)

// sharingViolation is ERROR_SHARING_VIOLATION.
// Source: learn.microsoft.com, "System Error Codes (0-499)".
const sharingViolation = syscall.Errno(32)

// openLocked opens the file, or makes it, so that nobody else can open it until
// it is closed: no access is shared. It returns errLocked at once if another
// process has it open. Source: learn.microsoft.com, CreateFileW, dwShareMode.
func openLocked(path string) (*os.File, error) {
	name, err := syscall.UTF16PtrFromString(path)
	if err != nil {
		return nil, err
	}
	const shared = 0
	handle, err := syscall.CreateFile(name, syscall.GENERIC_READ|syscall.GENERIC_WRITE, shared, nil, syscall.OPEN_ALWAYS, syscall.FILE_ATTRIBUTE_NORMAL, 0)
	if errors.Is(err, sharingViolation) {
		return nil, errLocked
	}
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(handle), path), nil
}
