package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// host is one meeting under way: it has the server's process and the front, and
// does over HTTP what the client's program asks for.
type host struct {
	ctx     context.Context
	meeting meeting
	front   *front
	origin  string // of the pages that this host serves

	mu     sync.Mutex
	server *child
	steps  []string
	failed string
}

// meet runs m to its end and returns the steps that the client reported.
func meet(ctx context.Context, m meeting) (steps []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, 3*patience)
	defer cancel()
	h := &host{ctx: ctx, meeting: m}
	if h.front, err = newFront(); err != nil {
		return nil, err
	}
	defer h.front.shut()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	h.origin = "http://" + ln.Addr().String()
	web := &http.Server{Handler: h.routes(), ReadHeaderTimeout: patience}
	go web.Serve(ln)
	defer web.Close()
	if err := h.start(); err != nil {
		return nil, err
	}
	defer func() { h.current().kill() }()

	argv := append(m.clientArgv[:len(m.clientArgv):len(m.clientArgv)], h.origin, h.front.url(), m.transport)
	out, err := runClient(ctx, argv)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.failed != "" {
		err = errors.New(h.failed)
	}
	if err != nil {
		err = fmt.Errorf("%w\n%s\n%s", err, out, h.server.notes)
	}
	return h.steps, err
}

func (h *host) start() error {
	server, err := startServer(h.ctx, append(h.meeting.serverArgv[:len(h.meeting.serverArgv):len(h.meeting.serverArgv)], "0", h.origin))
	if err != nil {
		return err
	}
	h.mu.Lock()
	h.server = server
	h.mu.Unlock()
	h.front.to(server.addr)
	return nil
}

func (h *host) current() *child {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.server
}

// routes are what a client's program may ask for. A page's program gets its
// files here too.
func (h *host) routes() http.Handler {
	mux := http.NewServeMux()
	does := func(path string, f func(r *http.Request, body string) (string, error)) {
		mux.HandleFunc("POST "+path, func(w http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
			answer := ""
			if err == nil {
				answer, err = f(r, string(body))
			}
			if err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
			io.WriteString(w, answer)
		})
	}
	does("/step/{name}", func(r *http.Request, _ string) (string, error) { h.step(r.PathValue("name")); return "", nil })
	does("/fail", func(_ *http.Request, body string) (string, error) { h.fail(body); return "", nil })
	does("/publish", func(r *http.Request, body string) (string, error) {
		return h.current().ask("publish " + r.FormValue("channel") + " " + body)
	})
	does("/sessions", func(*http.Request, string) (string, error) { return h.current().ask("sessions") })
	does("/forget", func(*http.Request, string) (string, error) { return "", h.forget() })
	does("/restart", func(*http.Request, string) (string, error) { return "", h.restart() })
	does("/lose", func(r *http.Request, body string) (string, error) { return "", h.lose(r.FormValue("channel"), body) })
	// The server in the pages' own origin.
	mux.Handle("POST /bayeux", &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: "http", Host: h.front.addr})
			r.Out.Host = r.In.Host
		},
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError), // servers die here
	})
	mux.Handle("GET /", http.FileServer(http.Dir(filepath.Join("test", "peers", "node"))))
	return mux
}

func (h *host) step(name string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.steps = append(h.steps, name)
}

func (h *host) fail(why string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.failed == "" {
		h.failed = why
	}
}

// forget leaves the process alone and takes its memory. A WebSocket belongs to
// the memory that is gone, so it goes too; a held poll is answered in its time.
func (h *host) forget() error {
	if _, err := h.current().ask("forget"); err != nil {
		return err
	}
	if h.meeting.transport == "websocket" {
		h.front.cut()
	}
	return nil
}

// restart kills the server without a word, lets clients find nobody for a
// while, and starts another.
func (h *host) restart() error {
	h.current().kill()
	h.front.shut()
	time.Sleep(time.Second)
	if err := h.start(); err != nil {
		return err
	}
	return h.front.open()
}

// lose publishes data, a JSON string, and takes the answer that carries it out
// of the network.
func (h *host) lose(channel, data string) error {
	lost := h.front.lose(strings.Trim(data, `"`))
	if _, err := h.current().ask("publish " + channel + " " + data); err != nil {
		return err
	}
	return wait(lost)
}
