// Package faultproxy stands between a client and a server on loopback and does to
// their connections what networks do: delays, lost replies, cuts, requests that
// arrive twice or late, silence, flapping. It knows where a request and its reply
// end, so that a test says exactly which of them a fault meets.
package faultproxy

import (
	"bufio"
	"net"
	"sync"
	"testing"
	"time"
)

// Fault is what becomes of one request. The zero Fault lets it pass.
type Fault struct {
	// Delay is waited before the request goes on, and all behind it in its connection.
	Delay time.Duration
	Kind  Kind
}

// Kind is what happens to a request and its reply. A stream loses nothing out of
// its middle: where a reply is lost, the connection is.
type Kind int

// The kinds of faults.
const (
	Pass      Kind = iota
	CutBefore      // the connection ends and the server gets nothing
	CutWithin      // half of the request reaches the server
	LoseReply      // the server carries it out; the connection ends in place of the reply
	CutReply       // half of the reply reaches the client
	CutAfter       // the connection ends behind the reply
	Twice          // the server gets it twice; the client sees the first reply only
	Hang           // nothing moves in this connection until Heal; then the request goes on, however late
	HangReply      // the server carries it out; nothing comes back until Heal, which ends the connection
)

// Request is one request as a [Rule] sees it.
type Request struct {
	// Number counts the requests of the proxy, from 1; those that open a session
	// with PostgreSQL are not counted.
	Number int
	// Bytes are the request as it is on the wire.
	Bytes []byte
}

// Rule decides on each request. It is called by one goroutine at a time.
type Rule func(Request) Fault

// Proxy forwards connections to one server.
type Proxy struct {
	// Addr is where clients connect: host:port.
	Addr string

	target   string
	protocol Protocol
	listener net.Listener
	tasks    sync.WaitGroup

	mu       sync.Mutex
	rule     Rule
	requests int
	down     bool
	closed   bool
	healed   chan struct{} // closed by Heal
	conns    map[net.Conn]bool
}

// New starts a proxy to target, host:port, that lets everything pass, and ends
// with the test.
func New(tb testing.TB, target string, protocol Protocol) *Proxy {
	tb.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	p := &Proxy{Addr: listener.Addr().String(), target: target, protocol: protocol, listener: listener,
		healed: make(chan struct{}), conns: map[net.Conn]bool{}}
	p.tasks.Go(p.accept)
	tb.Cleanup(p.close)
	return p
}

// Set gives the rule for all requests that come from now on.
func (p *Proxy) Set(rule Rule) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rule = rule
}

// Down ends all connections, and each new one at once, until Up or Heal.
func (p *Proxy) Down() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = true
	p.cutAll()
}

// Up accepts connections again.
func (p *Proxy) Up() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = false
}

// Flap goes down and up, each for a while, until stop is called; then it is up.
func (p *Proxy) Flap(down, up time.Duration) (stop func()) {
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			p.Down()
			rest(end, down)
			p.Up()
			if rest(end, up) {
				return
			}
		}
	}()
	return sync.OnceFunc(func() { close(end); <-ended })
}

// rest waits, and reports whether end came first or at the same time.
func rest(end <-chan struct{}, d time.Duration) bool {
	select {
	case <-end:
		return true
	case <-time.After(d):
		return false
	}
}

// Heal lets everything pass from now on: it forgets the rule, is up, and lets go
// of what hangs.
func (p *Proxy) Heal() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rule, p.down = nil, false
	close(p.healed)
	p.healed = make(chan struct{})
}

// Requests is how many requests there were.
func (p *Proxy) Requests() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.requests
}

func (p *Proxy) close() {
	p.mu.Lock()
	p.closed = true
	p.cutAll()
	close(p.healed)
	p.mu.Unlock()
	p.listener.Close()
	p.tasks.Wait()
}

// cutAll is called under mu.
func (p *Proxy) cutAll() {
	for conn := range p.conns {
		cut(conn)
	}
}

// cut ends a connection with a reset, as when a host is gone.
func cut(conn net.Conn) {
	_ = conn.(*net.TCPConn).SetLinger(0)
	conn.Close()
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.tasks.Go(func() { p.serve(client) })
	}
}

// serve is one client's connection, to its end.
func (p *Proxy) serve(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", p.target)
	if err != nil {
		return
	}
	defer server.Close()
	if !p.enter(client, server) {
		cut(client)
		return
	}
	defer p.leave(client, server)
	l := &link{proxy: p, client: client.(*net.TCPConn), server: server.(*net.TCPConn),
		fromClient: bufio.NewReader(client), fromServer: bufio.NewReader(server), sent: make(chan sent, 1<<16)}
	if greet := p.protocol.greet; greet == nil || greet(l) {
		l.run()
	}
}

func (p *Proxy) enter(conns ...net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.down || p.closed {
		return false
	}
	for _, c := range conns {
		p.conns[c] = true
	}
	return true
}

func (p *Proxy) leave(conns ...net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range conns {
		delete(p.conns, c)
	}
}

// decide asks the rule, and returns what tells that the network is healed.
func (p *Proxy) decide(bytes []byte) (Fault, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.requests++
	if p.rule == nil {
		return Fault{}, p.healed
	}
	return p.rule(Request{p.requests, bytes}), p.healed
}
