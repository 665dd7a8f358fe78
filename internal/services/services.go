// Package services runs a real Redis or PostgreSQL on loopback for a test.
//
// Its servers die with the test, and with the test process however that ends.
// A missing program fails the test: one that skipped would look green.
package services

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// startLimit is for a server to come up on a loaded machine, and to recover its data.
const startLimit = 30 * time.Second

// Server is one server, or one database of a server that tests share.
type Server struct {
	// Addr is host:port.
	Addr string
	// DSN is PostgreSQL's URL, with a superuser's password; empty for Redis.
	DSN string
	// Dir holds the data, configuration and log; empty if the server is shared.
	Dir string

	tb      testing.TB
	kind    kind
	command []string // the program with its arguments
	process *process // nil: not running, or not ours
}

// kind is what differs between the programs.
type kind struct {
	name  string
	stop  string // the signal for an orderly end
	ready func(s *Server) bool
}

// Start starts the server again on its data and port, and waits until it serves.
func (s *Server) Start() {
	s.tb.Helper()
	s.own("Start")
	var err error
	// The port may be in use for a moment, by a client's end of a connection, and
	// PostgreSQL waits for the last process of the one that was killed.
	for limit := time.Now().Add(startLimit); time.Now().Before(limit); time.Sleep(100 * time.Millisecond) {
		if err = s.start(); err == nil {
			return
		}
	}
	s.tb.Fatalf("services: %v", err)
}

// Kill ends the server with SIGKILL, as a crash would.
func (s *Server) Kill() {
	s.tb.Helper()
	s.own("Kill")
	s.process.end("KILL")
	s.process = nil
}

// Stop ends the server in order; it may still write to its files.
func (s *Server) Stop() {
	s.tb.Helper()
	s.own("Stop")
	s.process.end(s.kind.stop)
	s.process = nil
}

// Running says that the server has not ended.
func (s *Server) Running() bool { return s.process.running() }

// Save copies the data of a server that does not run, and returns the copy's
// folder for [Server.PutBack].
func (s *Server) Save() (folder string) {
	s.tb.Helper()
	folder = s.Dir + "." + strconv.FormatInt(time.Now().UnixNano(), 36)
	s.tb.Cleanup(func() { os.RemoveAll(folder) })
	s.copy(s.Dir, folder)
	return folder
}

// PutBack puts an older copy of the data in place of a stopped server's.
func (s *Server) PutBack(folder string) {
	s.tb.Helper()
	if err := os.RemoveAll(s.Dir); err != nil {
		s.tb.Fatal(err)
	}
	s.copy(folder, s.Dir)
}

func (s *Server) copy(from, to string) {
	s.tb.Helper()
	s.own("copying")
	if s.Running() {
		s.tb.Fatal("services: copying a running server's data")
	}
	if out, err := exec.Command("cp", "-a", from, to).CombinedOutput(); err != nil {
		s.tb.Fatalf("services: %v: %s", err, out)
	}
}

func (s *Server) own(what string) {
	s.tb.Helper()
	if s.Dir == "" {
		s.tb.Fatalf("services: %s of a server that is shared", what)
	}
}

// host and port of Addr.
func (s *Server) hostPort() (host, port string) {
	host, port, _ = net.SplitHostPort(s.Addr)
	return host, port
}

// begin starts a new server on a port that is free, tries others if somebody
// takes it first, and ends it with the test.
func (s *Server) begin(command func(port string) []string) {
	s.tb.Helper()
	var err error
	for range 5 {
		port := FreePort(s.tb)
		s.Addr, s.command = net.JoinHostPort("127.0.0.1", port), command(port)
		if err = s.start(); err == nil {
			return
		}
	}
	s.tb.Fatalf("services: %v", err)
}

func (s *Server) start() (err error) {
	s.process, err = run(s.command, s.Dir)
	if err != nil {
		return err
	}
	for limit := time.Now().Add(startLimit); time.Now().Before(limit); time.Sleep(5 * time.Millisecond) {
		if !s.process.running() {
			break
		}
		if s.kind.ready(s) {
			return nil
		}
	}
	s.process.end("KILL")
	s.process = nil
	return fmt.Errorf("%s does not serve at %s: %s", s.kind.name, s.Addr, tail(s.log()))
}

// discard ends the server and removes its data.
func (s *Server) discard() {
	s.process.end("KILL")
	os.RemoveAll(s.Dir)
}

// await waits for a condition of a server that runs.
func (s *Server) await(what string, holds func() bool) {
	s.tb.Helper()
	for limit := time.Now().Add(startLimit); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(limit) {
			s.tb.Fatalf("services: waited in vain for %s at %s: %s", what, s.Addr, tail(s.log()))
		}
	}
}

func (s *Server) log() string { return filepath.Join(s.Dir, "services.log") }

// folder makes a server's folder, away from the test's own: another user may
// have to enter it.
func folder(tb testing.TB, name string) string {
	tb.Helper()
	dir, err := os.MkdirTemp("", "sealedblob-"+name+"-")
	if err != nil {
		tb.Fatal(err)
	}
	return dir
}

// FreePort is a port that nobody listened on a moment ago.
func FreePort(tb testing.TB) string {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

// program finds a server's program, or fails the test.
func program(tb testing.TB, names ...string) string {
	tb.Helper()
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	tb.Fatalf("services: %s is missing; make need installs it", names[len(names)-1])
	return ""
}

// tail is the end of a log.
func tail(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	return string(bytes.TrimSpace(text[max(0, len(text)-1000):]))
}

// guard runs a program and ends it with the signal that it reads. When its input
// ends, the test process is gone: then it kills the program and removes DIR.
const guard = `
exec 3<&0
"$@" </dev/null >>"$DIR/services.log" 2>&1 3<&- &
server=$!
echo $server
exec >/dev/null 2>&1
{ read how <&3 || { how=KILL; : >"$DIR/orphan"; }; kill -s $how $server; } &
reader=$!
wait $server
kill $reader
[ ! -e "$DIR/orphan" ] || rm -rf "$DIR"
`

// process is a program under its guard.
type process struct {
	pid   int
	input io.WriteCloser
	done  chan struct{}
}

// run starts a program whose output is appended to the log in dir.
func run(command []string, dir string) (*process, error) {
	cmd := exec.Command("sh", append([]string{"-c", guard, "guard"}, command...)...)
	cmd.Env = append(os.Environ(), "DIR="+dir)
	input, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	output, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	line, _ := bufio.NewReader(output).ReadString('\n')
	p := &process{input: input, done: make(chan struct{})}
	p.pid, err = strconv.Atoi(strings.TrimSpace(line))
	go func() {
		_ = cmd.Wait() // how the shell ended says nothing of the server
		close(p.done)
	}()
	return p, err
}

func (p *process) running() bool {
	if p == nil {
		return false
	}
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// end sends the signal and waits until the program is gone.
func (p *process) end(signal string) {
	if p == nil {
		return
	}
	_, _ = io.WriteString(p.input, signal+"\n") // fails if the program has ended
	<-p.done
}
