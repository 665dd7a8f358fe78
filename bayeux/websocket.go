package bayeux

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lxzan/gws"
)

// Control frames cost the sender nothing: more than so many between two
// messages in one window end the connection.
const (
	controlLimit  = 64
	controlWindow = 10 * time.Second
)

// socketReadBuffer is what an idle connection has for reading: more than a connect
// of most clients. Longer frames are read past it.
const socketReadBuffer = 512

// socket is one open WebSocket. One goroutine reads. One goroutine at a time writes: the read loop with the replies it made, or one
// that lives as long as there is something to write. A slow reader holds up its
// own connection only: publishers queue in the session and never write.
type socket struct {
	server  *Server
	conn    *gws.Conn
	req     *http.Request
	ctx     context.Context
	cancel  context.CancelFunc
	browser string
	session atomic.Pointer[ServerSession]

	wmu     sync.Mutex
	replies [][]byte      // to be written next
	writing bool          // somebody is the writer
	again   bool          // there is more for the writer
	written chan struct{} // closed when the present write ends; nil if nobody waits

	controls    int // read loop only
	windowStart time.Time
}

func newUpgrader(cfg *Config) *gws.Upgrader {
	return gws.NewUpgrader(gws.BuiltinEventHandler{}, &gws.ServerOption{
		WriteMaxPayloadSize: 1 << 30, // bounded by the session's queue
		HandshakeTimeout:    cfg.WriteTimeout,
		Logger:              quiet{},
		NewSession:          func() gws.SessionStorage { return noStore{} },
		// Compression stays off: it would mix secrets with what a stranger
		// chose, and let a small frame cost much memory.
	})
}

// isUpgrade reports whether r asks for a WebSocket.
func isUpgrade(r *http.Request) bool {
	return r.Method == http.MethodGet && strings.EqualFold(r.Header.Get("Upgrade"), "websocket")
}

func (s *Server) serveSocket(w http.ResponseWriter, r *http.Request) {
	if !wellFormedUpgrade(r) {
		w.Header().Set("Sec-WebSocket-Version", "13")
		httpError(w, http.StatusBadRequest)
		return
	}
	sock := &socket{server: s, browser: browserID(r)}
	if !s.reserveSocket(sock) {
		httpError(w, http.StatusServiceUnavailable)
		return
	}
	extra := "Cache-Control: no-store\r\n"
	if sock.browser == "" {
		c := s.newBrowserCookie(r)
		sock.browser = c.Value
		extra += "Set-Cookie: " + c.String() + "\r\n"
	}
	// The handler's context ends when it returns; the socket outlives it.
	ctx, cancel := context.WithCancel(context.WithoutCancel(r.Context()))
	sock.req = r.WithContext(ctx)
	sock.req.Body = http.NoBody
	sock.ctx, sock.cancel = context.WithValue(ctx, requestKey{}, sock.req), cancel
	nc, br, err := hijack(w)
	if err != nil {
		s.closeSocket(sock)
		httpError(w, http.StatusBadRequest) // HTTP/2, or a wrapper that hides the connection
		return
	}
	conn, err := s.upgrader.UpgradeFromConn(&socketConn{Conn: nc, extra: extra, timeout: s.cfg.WriteTimeout}, br, r)
	if err != nil {
		s.closeSocket(sock)
		return
	}
	_ = conn.SetReadDeadline(time.Now().Add(s.cfg.HandshakeTimeout))
	if !s.socketOpen(sock, conn) {
		s.closeSocket(sock)
		_ = conn.WriteClose(closeGoingAway, nil)
		return
	}
	// A goroutine of its own lets net/http's, with its buffers, go.
	go sock.loop(br)
}

func wellFormedUpgrade(r *http.Request) bool {
	if r.Header.Get("Sec-WebSocket-Version") != "13" || r.Header.Get("Sec-WebSocket-Key") == "" || r.ProtoMajor != 1 {
		return false
	}
	for _, v := range r.Header.Values("Connection") {
		for token := range strings.SplitSeq(v, ",") {
			if strings.EqualFold(strings.TrimSpace(token), "upgrade") {
				return true
			}
		}
	}
	return false
}

// hijack takes the connection over, with what the client sent early.
func hijack(w http.ResponseWriter) (net.Conn, *bufio.Reader, error) {
	nc, brw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return nil, nil, err
	}
	var src io.Reader = nc
	if n := brw.Reader.Buffered(); n > 0 {
		early, _ := brw.Reader.Peek(n)
		src = io.MultiReader(bytes.NewReader(bytes.Clone(early)), nc)
	}
	return nc, bufio.NewReaderSize(src, socketReadBuffer), nil
}

// reserveSocket counts a socket in before its upgrade, so that the limit holds.
func (s *Server) reserveSocket(sock *socket) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || len(s.sockets) >= s.cfg.MaxSessions {
		return false
	}
	s.sockets[sock] = false
	s.idle.Add(1)
	s.observe(GaugeSockets, 1)
	return true
}

// socketOpen gives sock its connection, from where on Shutdown looks after it.
func (s *Server) socketOpen(sock *socket, conn *gws.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	sock.conn = conn
	s.sockets[sock] = true
	return !s.closed
}

func (s *Server) closeSocket(sock *socket) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, open := s.sockets[sock]; open {
		delete(s.sockets, sock)
		s.idle.Done()
		s.observe(GaugeSockets, -1)
	}
	if sock.cancel != nil {
		sock.cancel()
	}
}

func (c *socket) loop(src *bufio.Reader) {
	defer c.server.closeSocket(c)
	defer c.detach()
	code := closeError(closeInternal)
	c.server.safely("websocket", func() { code = c.read(src) })
	_ = c.conn.WriteClose(uint16(code), nil)
	_ = c.conn.NetConn().Close()
}

// read handles messages until the connection ends, and returns its close code.
func (c *socket) read(src *bufio.Reader) closeError {
	f := &frameReader{src: src, limit: c.server.cfg.MaxBody, control: c.control}
	for {
		// Nothing is set aside for a connection that is idle.
		if _, err := src.Peek(1); err != nil {
			return closeGoingAway
		}
		buf := messageBuffers.Get().(*[]byte)
		message, err := f.next((*buf)[:0])
		if err == nil {
			err = c.receive(message)
		}
		if *buf = message; cap(message) <= maxPooledBuffer {
			messageBuffers.Put(buf)
		}
		if code, ok := err.(closeError); ok {
			return code
		}
		if err != nil {
			return closeGoingAway
		}
	}
}

// messageBuffers are for messages while they are read and handled.
var messageBuffers = sync.Pool{New: func() any { return new([]byte) }}

const maxPooledBuffer = 64 << 10

// detach leaves the session to its maxInterval: its client may come back.
func (c *socket) detach() {
	sess := c.session.Load()
	if sess == nil {
		return
	}
	sess.mu.Lock()
	var p *poll
	if sess.socket == c {
		sess.socket = nil
		p = sess.takePoll(pollGone)
	}
	sess.mu.Unlock()
	if p != nil {
		p.timer.Stop()
	}
	sess.arm()
}

// adopt makes sess, fresh from its handshake, the connection's session. An
// older one is left to lapse.
func (c *socket) adopt(sess *ServerSession) {
	c.release(sess)
	sess.mu.Lock()
	sess.socket = c
	sess.mu.Unlock()
	c.session.Store(sess)
}

// bind follows a session whose connect came by this connection.
func (c *socket) bind(sess *ServerSession) {
	if c.session.Load() != sess {
		c.release(sess)
		c.session.Store(sess)
	}
}

func (c *socket) release(next *ServerSession) {
	if old := c.session.Load(); old != nil && old != next {
		c.detach()
	}
}

// receive handles one message of the read loop. It does not keep b.
func (c *socket) receive(b []byte) error {
	c.controls = 0
	c.extendDeadline()
	msgs, err := parseMessages(b, c.server.cfg.MaxDepth, c.server.cfg.MaxBatch)
	if err != nil {
		c.server.observe(CountBad, 1)
		c.server.cfg.Logger.Debug("bayeux: websocket message refused", "error", err)
		return closeError(closePolicy)
	}
	x := &exchange{server: c.server, ctx: c.ctx, req: c.req, socket: c, browser: c.browser}
	x.run(msgs)
	c.flush(x.replies)
	return nil
}

// extendDeadline: a living client connects at least once in this time.
func (c *socket) extendDeadline() {
	cfg := &c.server.cfg
	_ = c.conn.SetReadDeadline(time.Now().Add(cfg.Timeout + cfg.Interval + cfg.MaxInterval + cfg.WriteTimeout))
}

// control answers a ping, unless there are too many of them.
func (c *socket) control(opcode byte, payload []byte) error {
	now := time.Now()
	if now.Sub(c.windowStart) > controlWindow {
		c.windowStart, c.controls = now, 0
	}
	if c.controls++; c.controls > controlLimit {
		return closeError(closePolicy)
	}
	if opcode == opPing {
		return c.conn.WritePong(payload)
	}
	return nil
}

// post queues replies from outside the read loop.
func (c *socket) post(replies [][]byte) {
	if len(replies) == 0 {
		return
	}
	c.wmu.Lock()
	c.replies = append(c.replies, replies...)
	c.wmu.Unlock()
	c.kick()
}

// kick sees to it that what waits is written soon.
func (c *socket) kick() {
	c.wmu.Lock()
	defer c.wmu.Unlock()
	if c.writing {
		c.again = true
		return
	}
	c.writing = true
	go c.write(true)
}

// flush writes replies, and what waits for the session. While another goroutine
// writes it leaves them to that one, but waits for the write in progress: a
// client that sends without reading is not read any further.
func (c *socket) flush(replies [][]byte) {
	c.wmu.Lock()
	c.replies = append(c.replies, replies...)
	if !c.writing {
		c.writing = true
		c.wmu.Unlock()
		c.write(false)
		return
	}
	c.again = true
	if c.written == nil {
		c.written = make(chan struct{})
	}
	done := c.written
	c.wmu.Unlock()
	<-done
}

// write is the writer: it writes until there is nothing left, or, unless told
// to stay, leaves the rest to another goroutine. That there is one at a time
// keeps messages in order.
func (c *socket) write(stay bool) {
	for {
		c.writeOnce()
		c.wmu.Lock()
		if c.written != nil {
			close(c.written)
			c.written = nil
		}
		c.writing, c.again = c.again, false
		more := c.writing
		c.wmu.Unlock()
		switch {
		case !more:
			return
		case !stay:
			go c.write(true)
			return
		}
	}
}

// writeOnce puts the session's messages and the replies into one frame.
func (c *socket) writeOnce() {
	var out [][]byte
	sess := c.session.Load()
	if sess != nil {
		out = sess.take(c)
	}
	news := len(out)
	c.wmu.Lock()
	out = append(out, c.replies...)
	c.replies = nil
	c.wmu.Unlock()
	if len(out) == 0 {
		return
	}
	if c.conn.WriteMessage(gws.OpcodeText, joinBatch(out)) != nil && news > 0 {
		sess.putBack(out[:news])
	}
}

// goAway writes what waits and closes. The session is removed already: nothing
// is added any more.
func (c *socket) goAway() {
	for idle := false; !idle; {
		c.flush(nil)
		c.wmu.Lock()
		idle = !c.writing && len(c.replies) == 0
		c.wmu.Unlock()
	}
	_ = c.conn.WriteClose(closeGoingAway, nil)
}

// abort drops the connection without ceremony.
func (c *socket) abort() { _ = c.conn.NetConn().Close() }

// noStore is the smallest thing gws takes as its per-connection storage.
type noStore struct{}

func (noStore) Len() int                     { return 0 }
func (noStore) Load(string) (any, bool)      { return nil, false }
func (noStore) Delete(string)                {}
func (noStore) Store(string, any)            {}
func (noStore) Range(func(string, any) bool) {}

// quiet drops gws' own log lines, which quote peers.
type quiet struct{}

func (quiet) Error(...any) {}

// socketConn gives each write its deadline, and puts extra header lines into
// the first, the answer to the upgrade: gws has no per-request headers.
type socketConn struct {
	net.Conn
	extra   string
	timeout time.Duration
}

func (c *socketConn) Write(b []byte) (int, error) {
	if err := c.Conn.SetWriteDeadline(time.Now().Add(c.timeout)); err != nil {
		return 0, err
	}
	if c.extra == "" {
		return c.Conn.Write(b)
	}
	head, found := bytes.CutSuffix(b, []byte("\r\n"))
	if !found || !bytes.HasPrefix(b, []byte("HTTP/1.1 101 ")) {
		return c.Conn.Write(b)
	}
	full := append(append(bytes.Clone(head), c.extra...), "\r\n"...)
	c.extra = ""
	if n, err := c.Conn.Write(full); err != nil {
		return min(n, len(b)), err
	}
	return len(b), nil
}
