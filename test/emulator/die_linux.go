package emulator

import (
	"os/exec"
	"syscall"
)

// dieWithParent lets the kernel kill the child when its parent ends.
func dieWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
