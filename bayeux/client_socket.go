package bayeux

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/lxzan/gws"
)

// errNotSent marks failures before anything was sent.
var errNotSent = errors.New("bayeux: connection lost")

// errUpgradeRefused marks failures that another transport may get around.
var errUpgradeRefused = errors.New("bayeux: no WebSocket")

// maxUpgradeReply bounds the answer to an upgrade.
const maxUpgradeReply = 64 << 10

// socketLink is the WebSocket transport. Replies are matched to the batches
// that wait for them.
type socketLink struct {
	gws.BuiltinEventHandler
	client *Client
	conn   *gws.Conn

	mu      sync.Mutex
	waiting []*socketCall
	err     error // why the link is dead
}

type socketCall struct {
	*call
	done chan struct{}
	err  error
}

func (c *Client) dialSocket(ctx context.Context) (link, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.RequestTimeout)
	defer cancel()
	nc, err := c.dialTCP(ctx)
	if err != nil {
		return nil, err
	}
	defer context.AfterFunc(ctx, func() { nc.Close() })()
	bounded := &clientConn{Conn: nc, left: maxUpgradeReply, timeout: c.cfg.RequestTimeout}
	l := &socketLink{client: c}
	conn, resp, err := gws.NewClientFromConn(l, &gws.ClientOption{
		Addr:                "ws" + strings.TrimPrefix(c.endpoint.String(), "http"),
		RequestHeader:       c.upgradeHeader(),
		HandshakeTimeout:    c.cfg.RequestTimeout,
		ReadMaxPayloadSize:  c.cfg.MaxReply,
		WriteMaxPayloadSize: 1 << 30,
		Logger:              quiet{},
	}, bounded)
	if resp != nil {
		c.http.Jar.SetCookies(c.endpoint, resp.Cookies())
	}
	if err != nil {
		nc.Close()
		if resp != nil {
			return nil, fmt.Errorf("%w: HTTP status %d", errUpgradeRefused, resp.StatusCode)
		}
		return nil, fmt.Errorf("bayeux: websocket: %w", err)
	}
	bounded.open()
	l.conn = conn
	go l.loop()
	return l, nil
}

func (c *Client) upgradeHeader() http.Header {
	h := c.cfg.Header.Clone()
	if h == nil {
		h = make(http.Header)
	}
	var cookies []string
	for _, ck := range c.http.Jar.Cookies(c.endpoint) {
		cookies = append(cookies, ck.Name+"="+ck.Value)
	}
	if len(cookies) > 0 {
		h.Set("Cookie", strings.Join(append(h.Values("Cookie"), cookies...), "; "))
	}
	return h
}

// dialTCP connects as the HTTP client would. Where it cannot know how, the
// WebSocket counts as refused.
func (c *Client) dialTCP(ctx context.Context) (net.Conn, error) {
	rt := c.http.Transport
	if rt == nil {
		rt = http.DefaultTransport
	}
	t, ok := rt.(*http.Transport)
	if !ok {
		return nil, fmt.Errorf("%w: unknown RoundTripper", errUpgradeRefused)
	}
	if t.Proxy != nil {
		proxy, err := t.Proxy(&http.Request{Method: http.MethodGet, URL: c.endpoint, Header: http.Header{}})
		if err != nil || proxy != nil {
			return nil, fmt.Errorf("%w: through a proxy", errUpgradeRefused)
		}
	}
	secure := c.endpoint.Scheme == "https"
	if secure && t.DialTLSContext != nil {
		return t.DialTLSContext(ctx, "tcp", hostPort(c.endpoint))
	}
	dial := t.DialContext
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	nc, err := dial(ctx, "tcp", hostPort(c.endpoint))
	if err != nil || !secure {
		return nc, err
	}
	conf := t.TLSClientConfig.Clone()
	if conf == nil {
		conf = new(tls.Config)
	}
	if conf.ServerName == "" {
		conf.ServerName = c.endpoint.Hostname()
	}
	conf.NextProtos = []string{"http/1.1"}
	tc := tls.Client(nc, conf)
	if err := tc.HandshakeContext(ctx); err != nil {
		nc.Close()
		return nil, err
	}
	return tc, nil
}

func hostPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return net.JoinHostPort(u.Hostname(), port)
}

func (l *socketLink) kind() string { return WebSocket }

func (l *socketLink) alive() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err == nil
}

func (l *socketLink) close() { l.fail(net.ErrClosed) }

func (l *socketLink) loop() {
	defer l.fail(io.ErrUnexpectedEOF)
	l.client.events.safely("websocket", l.conn.ReadLoop)
}

// fail ends the link, and everything that waits on it, once.
func (l *socketLink) fail(err error) {
	l.mu.Lock()
	if l.err != nil {
		l.mu.Unlock()
		return
	}
	l.err = err
	waiting := l.waiting
	l.waiting = nil
	l.mu.Unlock()
	_ = l.conn.NetConn().Close()
	for _, w := range waiting {
		w.err = err
		close(w.done)
	}
}

func (l *socketLink) exchange(ctx context.Context, msgs []*Message) ([]*Message, error) {
	w := &socketCall{call: newCall(msgs), done: make(chan struct{})}
	l.mu.Lock()
	if l.err != nil {
		l.mu.Unlock()
		return nil, errNotSent
	}
	l.waiting = append(l.waiting, w)
	l.mu.Unlock()
	if err := l.conn.WriteMessage(gws.OpcodeText, renderBatch(msgs)); err != nil {
		l.fail(err)
	}
	select {
	case <-w.done:
		return w.replies, w.err
	case <-ctx.Done():
		l.abandon(w)
		return nil, ctx.Err()
	}
}

func (l *socketLink) abandon(w *socketCall) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waiting = slices.DeleteFunc(l.waiting, func(other *socketCall) bool { return other == w })
}

// OnMessage implements gws' callback; it runs on the read loop.
func (l *socketLink) OnMessage(_ *gws.Conn, m *gws.Message) {
	defer m.Close()
	l.client.events.safely("websocket message", func() {
		if err := l.receive(m); err != nil {
			l.fail(err)
		}
	})
}

// OnPing answers a ping. A flood only slows down its sender's own messages.
func (l *socketLink) OnPing(conn *gws.Conn, payload []byte) { _ = conn.WritePong(payload) }

// OnPong is of no interest.
func (l *socketLink) OnPong(*gws.Conn, []byte) {}

func (l *socketLink) receive(m *gws.Message) error {
	if m.Opcode != gws.OpcodeText {
		return errShape
	}
	incoming, err := parseMessages(m.Bytes(), clientMaxDepth, clientMaxBatch)
	if err != nil {
		return err
	}
	for _, m := range incoming {
		isReply, err := l.client.receive(m)
		if err != nil {
			return err
		}
		if isReply {
			l.answer(m)
		}
	}
	return nil
}

// answer gives m to the oldest batch that waits for it.
func (l *socketLink) answer(m *Message) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, w := range l.waiting {
		if !w.offer(m) {
			continue
		}
		if w.left == 0 {
			l.waiting = slices.Delete(l.waiting, i, i+1)
			close(w.done)
		}
		return
	}
}

// clientConn bounds the answer to the upgrade, which is read before gws' own
// limits hold, and gives each write its deadline.
type clientConn struct {
	net.Conn
	timeout time.Duration
	mu      sync.Mutex
	left    int // bytes that may still be read; negative: no bound
}

var errUpgradeTooLarge = errors.New("bayeux: answer to the upgrade too large")

func (c *clientConn) Read(b []byte) (int, error) {
	c.mu.Lock()
	left := c.left
	c.mu.Unlock()
	if left == 0 {
		return 0, errUpgradeTooLarge
	}
	if left > 0 && len(b) > left {
		b = b[:left]
	}
	n, err := c.Conn.Read(b)
	if left > 0 {
		c.mu.Lock()
		c.left = max(0, c.left-n)
		c.mu.Unlock()
	}
	return n, err
}

// open lifts the bound.
func (c *clientConn) open() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.left = -1
}

func (c *clientConn) Write(b []byte) (int, error) {
	if err := c.Conn.SetWriteDeadline(time.Now().Add(c.timeout)); err != nil {
		return 0, err
	}
	return c.Conn.Write(b)
}
