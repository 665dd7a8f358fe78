//go:build linux

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime"
	"runtime/debug"
	"sync"
	"syscall"
	"time"

	"github.com/sealedblob/sealedblob/bayeux"
)

// sample is the state of the server's process. Memory is in bytes, after a
// collection.
type sample struct {
	RSS        int64
	Heap       int64 // of live objects, and garbage since the collection
	Stacks     int64
	Objects    int64
	Goroutines int64
	Files      int64
	Gauges     map[bayeux.EventKind]int64 // and counters
}

// serveMain is the server's process. It prints its address, and a sample for each
// line of its standard input: "look", or "settle" to give free memory back to the
// system first. It ends with its standard input.
func serveMain(args []string) int {
	flags := flag.NewFlagSet("serve", flag.ContinueOnError)
	timeout := flags.Duration("timeout", 20*time.Second, "")
	lapse := flags.Duration("lapse", 10*time.Second, "")
	leak := flags.String("leak", "", "")
	park := flags.Bool("park", false, "")
	if flags.Parse(args) != nil {
		return 2
	}
	counts := &tally{m: make(map[bayeux.EventKind]int64)}
	s, err := bayeux.NewServer(bayeux.Config{
		Timeout: *timeout, MaxInterval: *lapse,
		HandshakeTimeout: 10 * time.Second, ReadTimeout: 5 * time.Second, WriteTimeout: 5 * time.Second,
		MaxQueue: 200, MaxQueueBytes: 128 << 10, Observer: counts, ParkPolls: *park, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if *leak != "" {
		s.AddExtension(&leaker{what: *leak, kept: make(map[string]struct{})})
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	web := &http.Server{Handler: s, ReadHeaderTimeout: 20 * time.Second, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0)}
	web.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		if tcp, ok := c.(*net.TCPConn); ok {
			_ = tcp.SetWriteBuffer(64 << 10) // who does not read is noticed soon
		}
		return ctx
	}
	go web.Serve(ln)
	fmt.Println(ln.Addr())
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		out, err := json.Marshal(look(in.Text() == "settle", counts))
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		fmt.Println(string(out))
	}
	return 0
}

func look(settle bool, counts *tally) sample {
	runtime.GC()
	if settle {
		debug.FreeOSMemory() // and a second collection, which empties pools
	}
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	out := sample{
		Heap: int64(mem.HeapAlloc), Stacks: int64(mem.StackInuse), Objects: int64(mem.HeapObjects),
		Goroutines: int64(runtime.NumGoroutine()), Gauges: counts.copy(),
	}
	if b, err := os.ReadFile("/proc/self/statm"); err == nil {
		var size, resident int64
		fmt.Sscan(string(b), &size, &resident)
		out.RSS = resident * int64(os.Getpagesize())
	}
	if list, err := os.ReadDir("/proc/self/fd"); err == nil {
		out.Files = int64(len(list)) - 1 // without the folder's own
	}
	return out
}

// tally counts all events.
type tally struct {
	mu sync.Mutex
	m  map[bayeux.EventKind]int64
}

func (t *tally) Observe(e bayeux.Event) {
	t.mu.Lock()
	t.m[e.Kind] += int64(e.N)
	if e.Kind == bayeux.GaugeSessions && e.N > 0 {
		t.m["served"] += int64(e.N)
	}
	t.mu.Unlock()
}

func (t *tally) copy() map[bayeux.EventKind]int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := make(map[bayeux.EventKind]int64, len(t.m))
	for k, v := range t.m {
		c[k] = v
	}
	return c
}

// leaker is what soak must notice: it keeps something of each session for good.
type leaker struct {
	what string
	mu   sync.Mutex
	kept map[string]struct{}
}

func (l *leaker) Incoming(context.Context, *bayeux.ServerSession, *bayeux.Message) bool { return true }
func (l *leaker) Outgoing(*bayeux.ServerSession, *bayeux.Message) bool                  { return true }

func (l *leaker) Handshake(_ context.Context, h *bayeux.Handshake) {
	switch l.what {
	case "goroutine":
		go func() { <-make(chan struct{}) }()
	case "entry":
		l.mu.Lock()
		l.kept[h.Session.ID()] = struct{}{}
		l.mu.Unlock()
	case "descriptor":
		_, _ = syscall.Dup(0)
	}
}
