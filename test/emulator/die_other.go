//go:build !linux

package emulator

import "os/exec"

// dieWithParent does nothing: only Linux ties a child to its parent.
func dieWithParent(*exec.Cmd) {}
