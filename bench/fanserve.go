package main

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime/pprof"
	"strconv"
	"strings"
	"time"

	"github.com/sealedblob/sealedblob/bayeux"
)

// profileVariable names the file for a CPU profile of our server.
const profileVariable = "SEALEDBLOB_BENCH_PROFILE"

// oursFan is the name of this project's server in the tables: as it comes, with
// ParkPolls, and with RepeatPolls.
const (
	oursFan    = "bayeux"
	oursPark   = "bayeux+park"
	oursRepeat = "bayeux+repeat"
)

// fanServer is a server that is compared, and what it speaks.
type fanServer struct {
	name       string
	transports []string
	command    []string // nil: this program
}

// fanServers are those with a public protocol. The jars and classes of CometD for Java
// are where ci/bench.sh puts them.
var fanServers = []fanServer{
	{oursFan, []string{polling, websocket}, nil},
	{oursRepeat, []string{polling}, nil},
	{"Faye", []string{polling, websocket}, []string{"node", "fanout/node.js", "faye"}},
	{"cometd-nodejs-server", []string{polling}, []string{"node", "fanout/node.js", "cometd"}},
	{"CometD Java", []string{polling, websocket}, []string{"java", "-cp", "../.cache/peers/lib/*:../.cache/bench", "Fanout"}},
}

// start runs s in a process of its own.
func (s fanServer) start(env ...string) (*program, error) {
	if s.command != nil {
		return startProgram(s.command, env...)
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return startProgram([]string{self}, append(env, serveVariable+"="+s.name)...)
}

// mute reports whether s holds connections and says nothing.
func (s fanServer) mute() bool { return s.name == bareHeld || s.name == bareHijacked }

// program is a server in a process of its own. It ends with its standard input.
type program struct {
	cmd  *exec.Cmd
	stop io.Closer
	addr *net.TCPAddr
}

func startProgram(command []string, env ...string) (*program, error) {
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stderr = os.Stderr
	stop, err := cmd.StdinPipe()
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
	p := &program{cmd: cmd, stop: stop}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err == nil {
		port, _ := strings.CutPrefix(strings.TrimSpace(line), "ready ")
		p.addr, err = net.ResolveTCPAddr("tcp", "127.0.0.1:"+port)
	}
	if err != nil {
		p.close()
		return nil, fmt.Errorf("%s: %w", command, err)
	}
	return p, nil
}

func (p *program) close() {
	p.stop.Close()
	_ = p.cmd.Wait()
}

// tick is the unit of /proc/PID/stat on Linux.
const tick = 10 * time.Millisecond

// used is the CPU time of the process up to now, threads that have ended included.
func (p *program) used() (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	var total time.Duration
	for _, f := range fields[11:13] { // utime and stime
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, err
		}
		total += time.Duration(n) * tick
	}
	return total, nil
}

// resident is the memory of the process, in bytes.
func (p *program) resident() (int, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(text), "VmRSS:")
	var kib int
	if _, err := fmt.Sscan(rest, &kib); err != nil {
		return 0, err
	}
	return kib << 10, nil
}

// The limits of idle memory: what a connection costs that net/http serves, or one that
// was taken from it.
const (
	bareHeld     = "net/http, handler that waits"
	bareHijacked = "hijacked connection, goroutine that reads"
)

// fanHandler is one of the servers that are this program.
func fanHandler(name string) (http.Handler, error) {
	switch name {
	case oursFan, oursPark, oursRepeat:
		return bayeux.NewServer(bayeux.Config{
			ParkPolls: name != oursFan, RepeatPolls: name == oursRepeat,
			Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
		})
	case bareHeld:
		return http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			<-r.Context().Done()
		}), nil
	case bareHijacked:
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err == nil {
				_, err = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\n\r\n")
			}
			if err != nil {
				panic(err)
			}
			go func() {
				defer conn.Close()
				var b [1]byte
				for err := error(nil); err == nil; {
					_, err = conn.Read(b[:])
				}
			}()
		}), nil
	}
	return socketHandler(name)
}

// serveFan runs h until standard input ends.
func serveFan(h http.Handler) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	stop := func() {}
	if file := os.Getenv(profileVariable); file != "" {
		f, err := os.Create(file)
		if err != nil {
			return err
		}
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		stop = func() { pprof.StopCPUProfile(); f.Close() }
	}
	fmt.Println("ready", l.Addr().(*net.TCPAddr).Port)
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		stop()
		os.Exit(0)
	}()
	return http.Serve(l, h)
}
