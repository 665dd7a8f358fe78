// Package racing has other processes use a store, for the stores' tests: they are
// killed in the middle of it, or race for the same rights.
package racing

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
)

const (
	roleEnv  = "SEALEDBLOB_TEST_ROLE"
	placeEnv = "SEALEDBLOB_TEST_PLACE"
	isReady  = "ready"
)

// Roles are what the test program can be when it is started again, by name. Each
// is given where its store is: a folder, an address. The tests of this package use
// "load", which calls [Load], and "race", which calls [Claim].
type Roles map[string]func(place string) error

// Main does what the role says if the program was started in one, and ends it then.
// It is called first in TestMain.
func Main(roles Roles) {
	name, again := os.LookupEnv(roleEnv)
	if !again {
		return
	}
	err := fmt.Errorf("racing: no role %q", name)
	if role := roles[name]; role != nil {
		err = role(os.Getenv(placeEnv))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// Command is the test program in that role, to be started.
func Command(role, place string) *exec.Cmd {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), roleEnv+"="+role, placeEnv+"="+place)
	return cmd
}

// Ready is called in a role, once: [Start] waits for it.
func Ready() { fmt.Println(isReady) }

// Process is the test program in a role.
type Process struct {
	cmd  *exec.Cmd
	in   io.Closer
	said *bufio.Scanner
}

// Start starts the test program in that role, and waits until it is ready.
func Start(role, place string) (*Process, error) {
	cmd := Command(role, place)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &Process{cmd: cmd, in: in, said: bufio.NewScanner(out)}
	if p.said.Scan() && p.said.Text() == isReady {
		return p, nil
	}
	return nil, fmt.Errorf("racing: %s said %q and not that it is ready: %w", role, p.said.Text(), errors.Join(p.Kill(), p.said.Err()))
}

// Kill ends the process with SIGKILL. It is an error if it had ended by itself.
func (p *Process) Kill() error {
	_ = p.cmd.Process.Kill() // fails if it has ended
	return p.killed()
}

// killed waits for the end of a process that is being killed.
func (p *Process) killed() error {
	err := p.cmd.Wait()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.Exited() {
		return fmt.Errorf("racing: the process ended by itself: %w", err)
	}
	return nil
}

// facts reads what the process was told, until it ends, and calls first beside the
// first of it.
func (p *Process) facts(first func()) (all []Fact, err error) {
	for p.said.Scan() {
		f, err := parse(p.said.Text())
		if err != nil {
			return all, err
		}
		if len(all) == 0 {
			first()
		}
		all = append(all, f)
	}
	return all, p.said.Err()
}
