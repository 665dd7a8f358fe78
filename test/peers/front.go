package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// front is the address that clients know: it passes bytes on to the server of
// the moment, and can do what a network does: cut, refuse, and lose an answer.
type front struct {
	addr string

	mu      sync.Mutex
	ln      net.Listener
	backend string
	conns   map[net.Conn]struct{}
	marker  []byte // the next answer with these bytes is lost, with its connection
	lost    chan struct{}
}

// newConnection is how long the first answer on a connection takes, as over a real
// network: what a client begins at the same time finds no cookie yet.
const newConnection = 100 * time.Millisecond

func newFront() (*front, error) {
	f := &front{addr: "127.0.0.1:0", conns: make(map[net.Conn]struct{})}
	return f, f.open()
}

// open listens, at the same address as before.
func (f *front) open() error {
	ln, err := net.Listen("tcp", f.addr)
	if err != nil {
		return err
	}
	f.mu.Lock()
	f.ln, f.addr = ln, ln.Addr().String()
	f.mu.Unlock()
	go f.accept(ln)
	return nil
}

func (f *front) accept(ln net.Listener) {
	for {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		go f.pass(c)
	}
}

// shut refuses connections until open is called, and cuts those there are.
func (f *front) shut() {
	f.mu.Lock()
	f.ln.Close()
	f.mu.Unlock()
	f.cut()
}

func (f *front) cut() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for c := range f.conns {
		c.Close()
	}
}

func (f *front) to(backend string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.backend = backend
}

// keep notes a connection, so that cut finds it.
func (f *front) keep(c net.Conn) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.conns[c] = struct{}{}
}

func (f *front) drop(c net.Conn) {
	c.Close()
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.conns, c)
}

func (f *front) pass(client net.Conn) {
	f.keep(client)
	defer f.drop(client)
	f.mu.Lock()
	backend := f.backend
	f.mu.Unlock()
	server, err := net.DialTimeout("tcp", backend, 5*time.Second)
	if err != nil {
		return
	}
	f.keep(server)
	defer f.drop(server)
	done := make(chan struct{}, 2)
	go func() { f.copy(server, client, false); done <- struct{}{} }()
	go func() { f.copy(client, server, true); done <- struct{}{} }()
	<-done
}

func (f *front) copy(to, from net.Conn, answers bool) {
	buf, wait := make([]byte, 64<<10), newConnection
	for {
		n, err := from.Read(buf)
		if answers {
			time.Sleep(wait)
			wait = 0
		}
		if answers && f.loses(buf[:n]) {
			return
		}
		if n > 0 {
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

func (f *front) loses(answer []byte) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.marker == nil || !bytes.Contains(answer, f.marker) {
		return false
	}
	f.marker = nil
	close(f.lost)
	return true
}

// lose arms the front; the channel is closed when the answer was lost.
func (f *front) lose(marker string) <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.marker, f.lost = []byte(marker), make(chan struct{})
	return f.lost
}

// wait fails when nothing was lost.
func wait(lost <-chan struct{}) error {
	select {
	case <-lost:
		return nil
	case <-time.After(10 * time.Second):
		return errors.New("no answer with the marker came")
	}
}

func (f *front) url() string { return fmt.Sprintf("http://%s/bayeux", f.addr) }
