// Package shop is the demonstration application that every node serves: a
// small ticket shop whose sessions outlive their server.
package shop

import (
	"context"
	"embed"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/sealedblob/sealedblob/bayeux"
	"github.com/sealedblob/sealedblob/bayeux/sessionext"
	"github.com/sealedblob/sealedblob/client"
	"github.com/sealedblob/sealedblob/policy"
	"github.com/sealedblob/sealedblob/replay"
	"github.com/sealedblob/sealedblob/seal"
	"github.com/sealedblob/sealedblob/session"
)

//go:embed page
var pages embed.FS

// Config says what a node serves with.
type Config struct {
	Name        string // shown to visitors
	Keys        seal.Source
	Policy      *policy.Policy // must declare login, cart and ticket
	Store       replay.Store
	App, Tenant string
	Timeout     time.Duration // Bayeux: how long a connect is held; zero: the default
	MaxInterval time.Duration // Bayeux: how long a silent client is remembered; zero: the default
	MaxSessions int           // kept in memory; zero: the default
	Spread      time.Duration // Bayeux: over how long clients that must go elsewhere spread their handshakes; zero: at once
	Logger      *slog.Logger
}

// Node is one server of the application.
type Node struct {
	name     string
	sessions *session.Manager
	bayeux   *bayeux.Server
	mux      *http.ServeMux
	draining atomic.Bool
}

// New puts a node together: this is all that an application does.
func New(ctx context.Context, cfg Config) (*Node, error) {
	for _, name := range []string{"login", "cart", "ticket"} {
		if _, ok := cfg.Policy.Rule(name); !ok {
			return nil, errors.New("the shop needs a policy that declares login, cart and ticket")
		}
	}
	sessions, err := session.New(ctx, session.Config{
		Keys: cfg.Keys, Policy: cfg.Policy, Store: cfg.Store, App: cfg.App, Tenant: cfg.Tenant,
		MaxSessions: cfg.MaxSessions, Logger: cfg.Logger,
	})
	if err != nil {
		return nil, err
	}
	messages, err := bayeux.NewServer(bayeux.Config{Timeout: cfg.Timeout, MaxInterval: cfg.MaxInterval, HandshakeSpread: cfg.Spread, Logger: cfg.Logger})
	if err != nil {
		return nil, err
	}
	messages.AddExtension(sessionext.New(sessions, cfg.Logger))
	n := &Node{name: cfg.Name, sessions: sessions, bayeux: messages, mux: http.NewServeMux()}
	n.routes()
	return n, nil
}

func (n *Node) routes() {
	page, err := fs.Sub(pages, "page")
	if err != nil {
		panic(err) // the files are part of the program
	}
	n.mux.Handle("/bayeux", n.bayeux)
	n.mux.Handle("/bayeux/", n.bayeux)
	n.mux.Handle(session.RestorePath, n.sessions.RestoreHandler())
	n.mux.HandleFunc("GET /healthz", n.health)
	n.mux.Handle("/api/", http.NewCrossOriginProtection().Handler(n.sessions.Middleware(n.api())))
	n.mux.Handle("/sealedblob/", static(http.StripPrefix("/sealedblob/", http.FileServerFS(client.Files))))
	n.mux.Handle("/", static(http.FileServerFS(page)))
}

// static sets the headers that keep a page of secrets to itself.
func static(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-cache")
		next.ServeHTTP(w, r)
	})
}

// ServeHTTP implements http.Handler.
func (n *Node) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Sealed-Node", n.name)
	if !strings.HasPrefix(r.URL.Path, "/bayeux") { // Bayeux has a limit of its own, and holds polls
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTimeout))
	}
	n.mux.ServeHTTP(w, r)
}

// Run does the node's background work until ctx ends.
func (n *Node) Run(ctx context.Context) { n.sessions.Run(ctx) }

// health is what a front asks before it sends somebody here.
func (n *Node) health(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	if n.draining.Load() {
		http.Error(w, "draining", http.StatusServiceUnavailable)
		return
	}
	_, _ = io.WriteString(w, "ready\n")
}

// Drain tells the front that the node is not ready, and then brings every
// session to its clients; see [session.Manager.Drain].
func (n *Node) Drain(ctx context.Context) session.Drained {
	n.draining.Store(true)
	return n.sessions.Drain(ctx)
}

// Shutdown answers held polls and closes WebSockets.
func (n *Node) Shutdown(ctx context.Context) error { return n.bayeux.Shutdown(ctx) }
