package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"sync"
	"time"
)

// patience bounds every single thing a program is asked for.
const patience = 30 * time.Second

// notes keeps the end of what a program printed.
type notes struct {
	mu  sync.Mutex
	buf []byte
}

const maxNotes = 8 << 10

func (n *notes) Write(p []byte) (int, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.buf = append(n.buf, p...)
	if len(n.buf) > maxNotes {
		n.buf = bytes.Clone(n.buf[len(n.buf)-maxNotes:])
	}
	return len(p), nil
}

func (n *notes) String() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return strings.TrimSpace(string(n.buf))
}

// child is a server in a process of its own. It says "ready PORT" on its
// standard output, then answers each line of its standard input with one line
// that starts with "done". It ends when its standard input does.
type child struct {
	cmd   *exec.Cmd
	stdin io.WriteCloser
	lines chan string
	notes *notes
	addr  string
	mu    sync.Mutex // one question at a time
}

func startServer(ctx context.Context, argv []string) (*child, error) {
	c := &child{cmd: exec.CommandContext(ctx, argv[0], argv[1:]...), lines: make(chan string, 16), notes: new(notes)}
	c.cmd.Stderr = c.notes
	c.cmd.WaitDelay = 5 * time.Second
	stdin, err := c.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	c.stdin = stdin
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		defer close(c.lines)
		for scan := bufio.NewScanner(stdout); scan.Scan(); {
			c.lines <- scan.Text()
		}
	}()
	port, err := c.line("ready ")
	if err != nil {
		c.kill()
		return nil, err
	}
	c.addr = "127.0.0.1:" + port
	return c, nil
}

// line returns what follows prefix on the next line.
func (c *child) line(prefix string) (string, error) {
	select {
	case line, ok := <-c.lines:
		rest, found := strings.CutPrefix(line, prefix)
		if !ok || !found {
			return "", fmt.Errorf("server said %q, not %q: %s", line, prefix, c.notes)
		}
		return rest, nil
	case <-time.After(patience):
		return "", fmt.Errorf("server did not say %q: %s", prefix, c.notes)
	}
}

func (c *child) ask(question string) (string, error) {
	if strings.ContainsAny(question, "\r\n") {
		return "", errors.New("a question is one line")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, err := io.WriteString(c.stdin, question+"\n"); err != nil {
		return "", err
	}
	rest, err := c.line("done")
	return strings.TrimSpace(rest), err
}

// kill ends the process at once (SIGKILL) and waits for that.
func (c *child) kill() {
	_ = c.cmd.Process.Kill()
	_ = c.cmd.Wait()
}
