package demo

import (
	"os/exec"
	"syscall"
)

// dieWithParent leaves no node behind when the demonstration itself is killed.
func dieWithParent(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
