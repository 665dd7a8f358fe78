package bayeux

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"sync"
	"time"
)

// parked is a held connect that waits on its connection without net/http, whose
// buffers and goroutine take most of the memory of one that waits (Config.ParkPolls).
type parked struct {
	server   *Server
	conn     net.Conn
	early    []byte // of the next request
	poll     *poll  // nil between two connects
	callback string
	head     []byte // the response's header, but for what depends on when it is sent
	door     *door
	deadline time.Time // for writing, as last set
	repeat   *repeat   // nil if net/http is to read the next request
	one      [1]byte
}

// longAgo as a deadline ends a Read.
var longAgo = time.Unix(1, 0)

// park takes the connection over, and reports whether it could.
func (s *Server) park(w http.ResponseWriter, r *http.Request, rc *http.ResponseController, p *poll, callback string) bool {
	web, ok := r.Context().Value(http.ServerContextKey).(*http.Server)
	if !ok || !parkable(w.Header(), r) {
		return false
	}
	k := &parked{server: s, poll: p, callback: callback}
	addr, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if k.door = s.doorOf(web, addr); k.door == nil {
		return false // the server ends
	}
	conn, brw, err := rc.Hijack()
	if err != nil {
		s.idle.Done()
		return false
	}
	var known *requestHead
	k.conn, k.early, known = takeEarly(conn, brw.Reader)
	if known != nil && repeatable(w.Header(), r) {
		k.repeat = newRepeat(*known, r)
	}
	setBodyHeaders(w.Header(), callback)
	var head bytes.Buffer
	_ = w.Header().Write(&head)
	k.head = head.Bytes()
	go func() {
		returned := false
		defer func() {
			if !returned {
				_ = k.conn.Close()
			}
		}()
		returned = s.safely("parked connect", k.wait)
	}()
	return true
}

// parkable reports whether the response can be written without net/http, and the
// connection used again. A body that is not read to its end would be taken for the
// next request.
func parkable(h http.Header, r *http.Request) bool {
	if r.ProtoMajor != 1 || r.ProtoMinor < 1 || r.Close || r.Method != http.MethodPost && r.ContentLength != 0 {
		return false
	}
	for _, name := range []string{"Connection", "Content-Encoding", "Content-Length", "Date", "Trailer", "Transfer-Encoding", "Upgrade"} {
		if _, set := h[name]; set {
			return false
		}
	}
	return true
}

// wait answers the poll once it ends, and gives the connection back. It may take the
// client's next connects before.
func (k *parked) wait() {
	defer k.server.idle.Done()
	if k.server.cfg.RepeatPolls {
		k.server.addRepeat(k)
		defer k.server.dropRepeat(k)
	}
	for {
		here := k.watch()
		k.server.observe(GaugePolls, -1)
		k.poll.release()
		if !here || !k.respond(k.poll.response()) {
			_ = k.conn.Close()
			return
		}
		if !k.server.cfg.RepeatPolls {
			k.giveBack(nil)
			return
		}
		if !k.takeConnects() {
			return
		}
	}
}

// giveBack lets net/http read the next request. head is that of the one that was read
// already, as a whole; nil if there is none.
func (k *parked) giveBack(head *requestHead) {
	if k.conn.SetDeadline(time.Time{}) != nil {
		_ = k.conn.Close()
		return
	}
	k.door.enter(withEarly(k.conn, k.early, head))
}

// watch returns when the poll has ended, and reports false if it did because the
// client is gone. A client that sends its next request early gets the answer early:
// there is no place to keep all that it might send.
func (k *parked) watch() bool {
	p := k.poll
	if len(k.early) > 0 {
		p.session.endPoll(p, pollTimeout)
		<-p.wake
		return true
	}
	p.watchedBy(k.conn)
	n, err := k.conn.Read(k.one[:])
	here := true
	switch {
	case n > 0:
		k.early = k.one[:]
		p.session.endPoll(p, pollTimeout)
	case !errors.Is(err, os.ErrDeadlineExceeded):
		here = false
		p.session.endPoll(p, pollGone)
	}
	<-p.wake
	return here
}

// watchedBy lets the end of p interrupt a Read of conn.
func (p *poll) watchedBy(conn net.Conn) {
	p.session.mu.Lock()
	defer p.session.mu.Unlock()
	if p.session.poll == p {
		p.conn = conn
		return
	}
	_ = conn.SetReadDeadline(longAgo)
}

// respond reports whether the connection can be used again.
func (k *parked) respond(batch [][]byte) bool {
	last := k.server.isClosed() || k.door.isShut()
	buf := messageBuffers.Get().(*[]byte)
	b := append((*buf)[:0], "HTTP/1.1 200 OK\r\n"...)
	b = append(b, k.head...)
	b = append(b, "Date: "...)
	now := time.Now()
	b = now.UTC().AppendFormat(b, http.TimeFormat)
	if last {
		b = append(b, "\r\nConnection: close"...)
	}
	b = append(b, "\r\nContent-Length: "...)
	if k.callback == "" {
		b = strconv.AppendInt(b, int64(batchLength(batch)), 10)
		b = appendBatch(append(b, "\r\n\r\n"...), batch)
	} else {
		script := body(batch, k.callback)
		b = strconv.AppendInt(b, int64(len(script)), 10)
		b = append(append(b, "\r\n\r\n"...), script...)
	}
	k.extendDeadline(now)
	_, err := k.conn.Write(b)
	if *buf = b; cap(b) <= maxPooledBuffer {
		messageBuffers.Put(buf)
	}
	return err == nil && !last
}

// extendDeadline is as that of a [frameWriter].
func (k *parked) extendDeadline(now time.Time) {
	timeout := k.server.cfg.WriteTimeout
	if k.deadline.Sub(now) < timeout-timeout/4 {
		k.deadline = now.Add(timeout)
		_ = k.conn.SetWriteDeadline(k.deadline)
	}
}

// door is the listener by which an http.Server gets its connections back.
type door struct {
	addr  net.Addr
	conns chan net.Conn
	shut  chan struct{}
	once  sync.Once
}

// doorKey: a BaseContext may tell listeners apart by their address.
type doorKey struct {
	web  *http.Server
	addr string
}

// doorOf returns the door of web, and counts one parked poll in; nil if the server
// ends.
func (s *Server) doorOf(web *http.Server, addr net.Addr) *door {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	key := doorKey{web, ""}
	if addr != nil {
		key.addr = addr.String()
	}
	d := s.doors[key]
	if d == nil {
		d = &door{addr: addr, conns: make(chan net.Conn), shut: make(chan struct{})}
		s.doors[key] = d
		go func() {
			_ = web.Serve(d) // until it ends, or Shutdown shuts the door
			_ = d.Close()
			s.mu.Lock()
			delete(s.doors, key)
			s.mu.Unlock()
		}()
	}
	s.idle.Add(1)
	return d
}

func (s *Server) shutDoors() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range s.doors {
		_ = d.Close()
	}
}

func (d *door) enter(conn net.Conn) {
	select {
	case d.conns <- conn:
	case <-d.shut:
		_ = conn.Close()
	}
}

func (d *door) isShut() bool {
	select {
	case <-d.shut:
		return true
	default:
		return false
	}
}

// Accept implements [net.Listener].
func (d *door) Accept() (net.Conn, error) {
	select {
	case conn := <-d.conns:
		return conn, nil
	case <-d.shut:
		return nil, net.ErrClosed
	}
}

// Close implements [net.Listener].
func (d *door) Close() error {
	d.once.Do(func() { close(d.shut) })
	return nil
}

// Addr implements [net.Listener].
func (d *door) Addr() net.Addr { return d.addr }

// earlyConn gives what was read too early before what comes.
type earlyConn struct {
	net.Conn
	early []byte
	head  *requestHead // of the request that early was; nil if not known, or not the last
}

func (c *earlyConn) Read(b []byte) (int, error) {
	if len(c.early) > 0 {
		n := copy(b, c.early)
		c.early = c.early[n:]
		return n, nil
	}
	n, err := c.Conn.Read(b)
	if n > 0 {
		c.head = nil
	}
	return n, err
}

// earlyTLS lets net/http see the TLS beneath, for [http.Request.TLS].
type earlyTLS struct {
	*earlyConn
	tlsState
}

type tlsState interface{ ConnectionState() tls.ConnectionState }

func withEarly(conn net.Conn, early []byte, head *requestHead) net.Conn {
	if len(early) == 0 {
		return conn
	}
	e := &earlyConn{conn, early, head}
	if t, ok := conn.(tlsState); ok {
		return earlyTLS{e, t}
	}
	return e
}

// takeEarly undoes withEarly, so that wrappers do not pile up, and takes what br
// has read of the next request. head is that of the last request, if it is known.
func takeEarly(conn net.Conn, br *bufio.Reader) (under net.Conn, early []byte, head *requestHead) {
	b, _ := br.Peek(br.Buffered())
	early = slices.Clone(b)
	var e *earlyConn
	switch c := conn.(type) {
	case *earlyConn:
		e = c
	case earlyTLS:
		e = c.earlyConn
	default:
		return conn, early, nil
	}
	if len(e.early) > 0 {
		return conn, early, nil
	}
	if len(early) == 0 {
		head = e.head
	}
	return e.Conn, early, head
}
