package bayeux

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// readBuffers are for connections that are not idle. Longer frames are read past them.
var readBuffers = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, 1<<10) }}

// idleAfter is how long a connection must be silent to be taken for idle.
const idleAfter = 100 * time.Millisecond

// frameBytes is about how much one frame holds, and with it what a client that does
// not read takes of memory; a longer message is a frame of its own.
const frameBytes = 64 << 10

// socket is one open WebSocket. One goroutine reads. One goroutine at a time writes:
// the read loop with the replies it made, or one that lives as long as there is
// something to write. A slow reader holds up its own connection only: publishers
// queue in the session and never write.
type socket struct {
	server  *Server
	out     *frameWriter
	req     *http.Request
	ctx     context.Context
	cancel  context.CancelFunc
	browser owner
	// cookieless: the upgrade had no cookie, and browser is new.
	cookieless bool
	session    atomic.Pointer[ServerSession]
	deadline   time.Time // for the next message; read loop only

	wmu     sync.Mutex
	replies [][]byte      // to be written next
	writing bool          // somebody is the writer
	again   bool          // there is more for the writer
	written chan struct{} // closed when the present write ends; nil if nobody waits
}

func (s *Server) serveSocket(w http.ResponseWriter, r *http.Request) {
	if !wellFormedUpgrade(r) {
		w.Header().Set("Sec-WebSocket-Version", "13")
		httpError(w, http.StatusBadRequest)
		return
	}
	if !modestHeader(r) {
		httpError(w, http.StatusRequestHeaderFieldsTooLarge)
		return
	}
	sock := &socket{server: s, browser: ownerOf(r)}
	if !s.reserveSocket(sock) {
		httpError(w, http.StatusServiceUnavailable)
		return
	}
	var cookie *http.Cookie
	if sock.browser.id == "" {
		cookie = s.newBrowserCookie(r)
		cookie.Name = socketCookie
		sock.browser.id, sock.cookieless = cookie.Value, true
	}
	// The handler's context ends when it returns; the socket outlives it.
	ctx, cancel := context.WithCancel(context.WithoutCancel(r.Context()))
	sock.req = r.WithContext(ctx)
	sock.req.Body = http.NoBody
	sock.ctx, sock.cancel = context.WithValue(ctx, requestKey{}, sock.req), cancel
	nc, early, err := hijack(w)
	if err != nil {
		s.closeSocket(sock)
		httpError(w, http.StatusBadRequest) // HTTP/2, or a wrapper that hides the connection
		return
	}
	_ = nc.SetDeadline(time.Now().Add(s.cfg.WriteTimeout))
	if _, err := nc.Write(upgradeReply(r.Header.Get("Sec-WebSocket-Key"), cookie)); err != nil {
		s.closeSocket(sock)
		_ = nc.Close()
		return
	}
	sock.deadline = time.Now().Add(s.cfg.HandshakeTimeout)
	_ = nc.SetReadDeadline(sock.deadline)
	out := &frameWriter{conn: nc, timeout: s.cfg.WriteTimeout}
	if !s.socketOpen(sock, out) {
		s.closeSocket(sock)
		out.close(closeGoingAway)
		return
	}
	// A goroutine of its own lets net/http's, with its buffers, go.
	go sock.await(&frameReader{limit: s.cfg.MaxBody, masked: true,
		pong: func(payload []byte) error { return out.write(opPong, payload) }}, early)
}

// hijack takes the connection over, with what the client sent early.
func hijack(w http.ResponseWriter) (nc net.Conn, early []byte, err error) {
	nc, brw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return nil, nil, err
	}
	nc, early, _ = takeEarly(nc, brw.Reader)
	return nc, early, nil
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
func (s *Server) socketOpen(sock *socket, out *frameWriter) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	sock.out = out
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

// await waits for a message, on a fresh stack and without a buffer: a stack on which a
// message was handled is twice as large for the rest of its goroutine's life. What came
// with the upgrade is there already.
func (c *socket) await(f *frameReader, early []byte) {
	if len(early) == 0 {
		early = make([]byte, 1)
		if _, err := io.ReadFull(c.out.conn, early); err != nil {
			c.end(err)
			return
		}
	}
	c.loop(f, early)
}

// loop handles messages, the first of which begins with early, until none comes for a
// while, or a handler ends its goroutine.
func (c *socket) loop(f *frameReader, early []byte) {
	f.src = readBuffers.Get().(*bufio.Reader)
	f.src.Reset(io.MultiReader(bytes.NewReader(early), c.out.conn))
	err := error(closeError(closeInternal))
	defer func() {
		f.src.Reset(nil)
		readBuffers.Put(f.src)
		f.src = nil
		if err != nil {
			c.end(err)
			return
		}
		go c.await(f, nil)
	}()
	c.server.safely("websocket", func() { err = c.read(f) })
}

// read is nil when the connection is idle.
func (c *socket) read(f *frameReader) error {
	for !c.resting(f.src) {
		if err := f.one(c.receive); err != nil {
			return err
		}
	}
	return nil
}

// resting reports whether no message began within idleAfter.
func (c *socket) resting(src *bufio.Reader) bool {
	if src.Buffered() > 0 {
		return false
	}
	_ = c.out.conn.SetReadDeadline(earlier(c.deadline, time.Now().Add(idleAfter)))
	_, err := src.Peek(1)
	c.extendDeadline()
	return errors.Is(err, os.ErrDeadlineExceeded)
}

func (c *socket) end(err error) {
	code, ok := err.(closeError)
	if !ok {
		code = closeGoingAway
	}
	c.out.close(code)
	c.detach()
	c.server.closeSocket(c)
}

// detach leaves the session to its maxInterval: its client may come back.
func (c *socket) detach() {
	sess := c.session.Load()
	if sess == nil {
		return
	}
	sess.mu.Lock()
	if sess.socket == c {
		sess.socket = nil
		sess.takePoll(pollGone)
	}
	sess.mu.Unlock()
	sess.arm()
}

// adopt makes sess, fresh from its handshake, the connection's session. An
// older one is left to lapse.
func (c *socket) adopt(sess *ServerSession) {
	c.release(sess)
	sess.mu.Lock()
	sess.socket, sess.strayed = c, true
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
	msgs, err := parseMessages(b, c.server.cfg.MaxDepth, c.server.cfg.MaxBatch)
	if err != nil {
		c.server.observe(CountBad, 1)
		c.server.cfg.Logger.Debug("bayeux: websocket message refused", "error", err)
		return closeError(closePolicy)
	}
	x := c.handle(msgs)
	c.flush(x.replies)
	if !c.extendDeadline() {
		return closeError(closeGoingAway)
	}
	if x.astray {
		return closeError(closeTryAgain)
	}
	return nil
}

// handle has as long as the session of a silent client lives: nothing is read meanwhile,
// so that nobody sees the client go, and who waits for the context of what never ends
// would keep the socket's place. A handshake, which comes alone, has its own time.
func (c *socket) handle(msgs []*Message) *exchange {
	if !hasHandshake(msgs) {
		cfg := &c.server.cfg
		defer time.AfterFunc(cfg.Timeout+cfg.Interval+cfg.MaxInterval, c.abort).Stop()
	}
	x := &exchange{server: c.server, ctx: c.ctx, req: c.req, socket: c, browser: c.browser}
	x.run(msgs)
	return x
}

// extendDeadline: a living client connects at least once in this time. Without a
// session it has no more than it had when it lost it, which it reports to be over by false.
func (c *socket) extendDeadline() bool {
	if c.lives() {
		cfg := &c.server.cfg
		c.deadline = time.Now().Add(cfg.Timeout + cfg.Interval + cfg.MaxInterval + cfg.WriteTimeout)
	}
	_ = c.out.conn.SetReadDeadline(c.deadline)
	return time.Now().Before(c.deadline)
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// lives reports whether the socket's session is there.
func (c *socket) lives() bool {
	sess := c.session.Load()
	if sess == nil {
		return false
	}
	sess.mu.Lock()
	defer sess.mu.Unlock()
	return !sess.removed
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

// writeOnce writes the replies, and before them the session's messages: most often
// all in one frame. What does not fit stays in the queue, where its bytes are shared
// with other sessions, until the client has read what came before.
func (c *socket) writeOnce() {
	c.wmu.Lock()
	replies := c.replies
	c.replies = nil
	c.wmu.Unlock()
	sess := c.session.Load()
	if sess == nil {
		_ = c.writeFrames(nil, nil, replies)
		return
	}
	news, rest := sess.take(c, frameBytes)
	for rest > 0 {
		if c.writeFrames(sess, news, nil) != nil {
			return
		}
		waited := rest
		news, rest = sess.take(c, frameBytes)
		rest = min(rest, waited-sizeOf(news)) // replies don't wait for what came since
	}
	_ = c.writeFrames(sess, news, replies)
}

// writeFrames writes one frame of sess's messages, and then replies in that frame and
// as many more as they need.
func (c *socket) writeFrames(sess *ServerSession, news, replies [][]byte) error {
	out := append(news, replies...)
	for first := true; len(out) > 0; first = false {
		n := leading(out, frameBytes)
		err := c.out.writeBatch(out[:n])
		if first && len(news) > 0 {
			sess.wrote(c, news, err)
		}
		if err != nil {
			return err
		}
		out = out[n:]
	}
	return nil
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
	c.out.close(closeGoingAway)
}

// abort drops the connection without ceremony, and ends the context of what is being
// handled. It does not wait: TLS would, to say good-bye.
func (c *socket) abort() {
	c.cancel()
	conn := c.out.conn
	if t, ok := conn.(interface{ NetConn() net.Conn }); ok {
		conn = t.NetConn()
	}
	_ = conn.Close()
}
