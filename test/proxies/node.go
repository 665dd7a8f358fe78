package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sealedblob/sealedblob/bayeux"
)

// hold is how long a node holds a connect: less than the proxies wait.
var hold = time.Second

// userHeader says who a client is; middleware of the node takes it for granted.
const userHeader = "X-User"

type userKey struct{}

// node is one of our servers. What is published on /proxies/up comes back to all on
// /proxies/down.
type node struct {
	bayeux *bayeux.Server
	addr   string
	web    *http.Server
	polls  atomic.Int64
	app    *http.ServeMux // with bayeux alone at first

	mu       sync.Mutex
	conns    map[net.Conn]struct{}
	users    map[string]map[string]bool // by connection: whose requests net/http read from it
	requests []*http.Request
	wrong    error // a message was handled in another's name
}

func startNode(cfg bayeux.Config) (*node, error) {
	n := &node{app: http.NewServeMux(), conns: make(map[net.Conn]struct{}), users: make(map[string]map[string]bool)}
	cfg.Observer = n
	if cfg.Timeout == 0 {
		cfg.Timeout = hold
	}
	cfg.SecureCookie = true
	cfg.Logger = slog.New(slog.DiscardHandler)
	var err error
	if n.bayeux, err = bayeux.NewServer(cfg); err != nil {
		return nil, err
	}
	n.bayeux.AddExtension(n)
	n.app.Handle("/bayeux", n.bayeux)
	n.app.Handle("/bayeux/", n.bayeux)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	n.addr = ln.Addr().String()
	n.web = &http.Server{Handler: http.HandlerFunc(n.serve), ReadHeaderTimeout: 10 * time.Second, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)}
	go n.web.Serve(listener{ln, n})
	return n, nil
}

// serve is the middleware: who a request is from goes with its context.
func (n *node) serve(w http.ResponseWriter, r *http.Request) {
	user := r.Header.Get(userHeader)
	n.mu.Lock()
	n.requests = append(n.requests, r)
	if n.users[r.RemoteAddr] == nil {
		n.users[r.RemoteAddr] = make(map[string]bool)
	}
	n.users[r.RemoteAddr][user] = true
	n.mu.Unlock()
	n.app.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), userKey{}, user)))
}

// Observe implements [bayeux.Observer].
func (n *node) Observe(e bayeux.Event) {
	if e.Kind == bayeux.GaugePolls {
		n.polls.Add(int64(e.N))
	}
}

// Handshake notes whose session it is.
func (n *node) Handshake(ctx context.Context, h *bayeux.Handshake) {
	h.Session.SetAttribute("user", ctx.Value(userKey{}))
}

// Incoming implements [bayeux.Extension].
func (n *node) Incoming(ctx context.Context, from *bayeux.ServerSession, m *bayeux.Message) bool {
	if from != nil && (from.Attribute("user") != ctx.Value(userKey{}) || bayeux.HTTPRequest(ctx).Header.Get(userHeader) != ctx.Value(userKey{})) {
		n.mu.Lock()
		n.wrong = fmt.Errorf("a message of %v was handled as %v's", from.Attribute("user"), ctx.Value(userKey{}))
		n.mu.Unlock()
	}
	if m.Channel == "/proxies/up" {
		_ = n.bayeux.Publish("/proxies/down", m.Data) // raw JSON that was parsed: it cannot fail
	}
	return true
}

// Outgoing implements [bayeux.Extension].
func (*node) Outgoing(*bayeux.ServerSession, *bayeux.Message) bool { return true }

// shared is how many connections brought requests of several users.
func (n *node) shared() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	count := 0
	for _, users := range n.users {
		if len(users) > 1 {
			count++
		}
	}
	return count
}

// seen is what net/http read.
func (n *node) seen() []*http.Request {
	n.mu.Lock()
	defer n.mu.Unlock()
	return append([]*http.Request(nil), n.requests...)
}

// kill ends all connections without a word, and takes no more.
func (n *node) kill() {
	_ = n.web.Close()
	n.mu.Lock()
	defer n.mu.Unlock()
	for c := range n.conns {
		_ = c.(*net.TCPConn).SetLinger(0)
		_ = c.Close()
	}
}

// end is how a program ends; see docs/bayeux.md.
func (n *node) end(ctx context.Context) error {
	return errors.Join(n.bayeux.Shutdown(ctx), n.web.Shutdown(ctx))
}

// listener notes connections: web does not know of those that were taken over.
type listener struct {
	net.Listener
	node *node
}

func (l listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	l.node.mu.Lock()
	defer l.node.mu.Unlock()
	l.node.conns[c] = struct{}{}
	return c, nil
}

// place is a proxy with two nodes behind it.
type place struct {
	trial trial
	proxy *proxy
	nodes [2]*node
}

func newPlace(ctx context.Context, t trial) (*place, error) {
	p := &place{trial: t}
	var addrs [2]string
	for i := range p.nodes {
		cfg := t.check.config
		cfg.ParkPolls, cfg.RepeatPolls = t.park, t.park
		n, err := startNode(cfg)
		if err != nil {
			return nil, err
		}
		p.nodes[i], addrs[i] = n, n.addr
	}
	var err error
	p.proxy, err = startProxy(ctx, t.proxy, addrs, t.check.edits[t.proxy.name]...)
	return p, err
}

func (p *place) close() {
	p.proxy.stop()
	for _, n := range p.nodes {
		n.kill()
	}
}

// fault is what nodes saw that must not be.
func (p *place) fault() error {
	for _, n := range p.nodes {
		n.mu.Lock()
		err := n.wrong
		n.mu.Unlock()
		if err != nil {
			return err
		}
	}
	return nil
}

// home is the node with this session.
func (p *place) home(id string) (*node, *bayeux.ServerSession, error) {
	for _, n := range p.nodes {
		if s := n.bayeux.Session(id); s != nil {
			return n, s, nil
		}
	}
	return nil, nil, errors.New("no node has the session " + id)
}

// polls is how many connects are held.
func (p *place) polls() int64 { return p.nodes[0].polls.Load() + p.nodes[1].polls.Load() }

// until waits until is holds.
func until(ctx context.Context, what string, is func() bool) error {
	for !is() {
		select {
		case <-ctx.Done():
			return errors.New("waited for " + what)
		case <-time.After(5 * time.Millisecond):
		}
	}
	return nil
}
