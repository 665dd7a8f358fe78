// Package demo runs the demonstration: three real node processes and a front
// on loopback, and a client that is honest and one that is not.
package demo

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/sealedblob/sealedblob/seal"
)

// policyFile has a short login, so that one can watch it expire.
const policyFile = `{
  "version": 1,
  "session": {"idle": "30m", "absolute": "12h", "leeway": "1s"},
  "attributes": {
    "login":  {"ttl": %q, "on_expiry": "drop"},
    "cart":   {"ttl": "1h"},
    "ticket": {"ttl": "10m", "once": true}
  }
}
`

const nodes = 3

// cluster is a folder with keys, policy and replay store, and the nodes on it.
type cluster struct {
	program string
	dir     string
	flags   []string // of each node, beside those that start gives it
	nodes   [nodes]*node

	mu      sync.Mutex
	stopped bool
}

// node is one child process.
type node struct {
	name string
	log  *journal

	mu      sync.Mutex
	url     string // empty while it is down
	process *os.Process
	exited  chan struct{}
}

// startCluster makes a temporary folder and starts the nodes.
func startCluster(ctx context.Context, program string, loginTTL time.Duration, flags ...string) (*cluster, error) {
	dir, err := os.MkdirTemp("", "sealedblob-demo-")
	if err != nil {
		return nil, err
	}
	c := &cluster{program: program, dir: dir, flags: flags}
	if err := c.prepare(loginTTL); err != nil {
		return nil, errors.Join(err, c.close())
	}
	for i := range c.nodes {
		c.nodes[i] = &node{name: fmt.Sprintf("node-%d", i+1), log: newJournal()}
	}
	for _, n := range c.nodes {
		if err := c.start(ctx, n); err != nil {
			return nil, errors.Join(err, c.close())
		}
	}
	return c, nil
}

func (c *cluster) prepare(loginTTL time.Duration) error {
	if _, err := seal.InitRing(filepath.Join(c.dir, "keys"), seal.A256GCM, time.Now()); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(c.dir, "policy.json"), fmt.Appendf(nil, policyFile, loginTTL.String()), 0o600)
}

// start runs one node and waits for the line with its URL.
func (c *cluster) start(ctx context.Context, n *node) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stopped {
		return errors.New("the demonstration is over")
	}
	cmd := exec.Command(c.program, append([]string{"serve", "--listen", "127.0.0.1:0", "--name", n.name, "--app", "shop", "--spread", "0s",
		"--keyring", filepath.Join(c.dir, "keys"), "--policy", filepath.Join(c.dir, "policy.json"), "--replay", "file:" + filepath.Join(c.dir, "replay")}, c.flags...)...)
	cmd.Stderr = n.log
	dieWithParent(cmd)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	exited := make(chan struct{})
	url, err := readURL(ctx, out)
	go func() {
		_ = cmd.Wait()
		n.mu.Lock()
		n.url = ""
		n.mu.Unlock()
		close(exited)
	}()
	n.mu.Lock()
	n.url, n.process, n.exited = url, cmd.Process, exited
	n.mu.Unlock()
	if err != nil {
		_ = cmd.Process.Kill()
		return fmt.Errorf("%s did not start: %w: %s", n.name, err, n.log.tail())
	}
	return nil
}

func readURL(ctx context.Context, out io.Reader) (string, error) {
	line := make(chan string, 1)
	go func() {
		text, _ := bufio.NewReader(out).ReadString('\n')
		line <- strings.TrimSuffix(strings.TrimSpace(text), "/")
		_, _ = io.Copy(io.Discard, out)
	}()
	select {
	case url := <-line:
		if url == "" {
			return "", errors.New("it printed no URL")
		}
		return url, nil
	case <-ctx.Done():
		return "", ctx.Err()
	case <-time.After(15 * time.Second):
		return "", errors.New("it took over 15 s")
	}
}

func (n *node) address() (url string, up bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.url, n.url != ""
}

// kill is kill -9, and returns when the process is gone.
func (n *node) kill() error {
	n.mu.Lock()
	process, exited := n.process, n.exited
	n.mu.Unlock()
	if err := process.Kill(); err != nil {
		return err
	}
	<-exited
	return nil
}

// close ends the nodes that we started and removes the folder.
func (c *cluster) close() error {
	c.mu.Lock()
	c.stopped = true
	c.mu.Unlock()
	for _, n := range c.nodes {
		if n == nil {
			continue
		}
		if _, up := n.address(); up {
			_ = n.kill()
		}
	}
	return os.RemoveAll(c.dir)
}

// journal reads a node's log and remembers what it refused and why.
type journal struct {
	mu      sync.Mutex
	partial []byte
	lines   []logLine
	last    string
}

type logLine struct {
	Msg     string   `json:"msg"`
	Reason  string   `json:"reason"`
	Dropped []string `json:"dropped"`
}

func newJournal() *journal { return &journal{} }

// Write implements io.Writer for a child's standard error.
func (j *journal) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.partial = append(j.partial, b...)
	for {
		line, rest, ok := strings.Cut(string(j.partial), "\n")
		if !ok {
			return len(b), nil
		}
		j.partial, j.last = []byte(rest), line
		var l logLine
		if json.Unmarshal([]byte(line), &l) == nil {
			j.lines = append(j.lines, l)
		}
	}
}

func (j *journal) mark() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return len(j.lines)
}

// since finds the first line with one of the messages after mark.
func (j *journal) since(mark int, msgs ...string) (logLine, bool) {
	for deadline := time.Now().Add(2 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		j.mu.Lock()
		for _, l := range j.lines[mark:] {
			for _, msg := range msgs {
				if l.Msg == msg {
					j.mu.Unlock()
					return l, true
				}
			}
		}
		j.mu.Unlock()
		if time.Now().After(deadline) {
			return logLine{}, false
		}
	}
}

func (j *journal) tail() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.last
}
