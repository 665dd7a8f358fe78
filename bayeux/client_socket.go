package bayeux

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"
)

// closeTimeout bounds the sending of a close frame.
const closeTimeout = time.Second

// errNotSent marks failures before anything was sent.
var errNotSent = errors.New("bayeux: connection lost")

// errUpgradeRefused marks failures that another transport may get around.
var errUpgradeRefused = errors.New("bayeux: no WebSocket")

// socketLink is the WebSocket transport. Replies are matched to the batches
// that wait for them.
type socketLink struct {
	client *Client
	out    frameWriter
	turn   chan struct{} // full while something is written

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
	resp, src, err := c.upgrade(ctx, nc)
	if err != nil {
		nc.Close()
		if resp != nil {
			return nil, fmt.Errorf("%w: %w", errUpgradeRefused, statusError(resp))
		}
		return nil, fmt.Errorf("bayeux: websocket: %w", err)
	}
	l := &socketLink{client: c, turn: make(chan struct{}, 1), out: frameWriter{conn: nc, timeout: c.cfg.RequestTimeout, masks: true}}
	go l.loop(src)
	return l, nil
}

// upgrade has the connection become a WebSocket. Its answer's cookies count, whatever
// it says.
func (c *Client) upgrade(ctx context.Context, nc net.Conn) (*http.Response, *bufio.Reader, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.endpoint.String(), nil)
	if err != nil {
		return nil, nil, err
	}
	if c.cfg.Header != nil {
		req.Header = c.cfg.Header.Clone()
	}
	for _, ck := range c.http.Jar.Cookies(c.endpoint) {
		req.AddCookie(ck) // as net/http does
	}
	if u := c.endpoint.User; u != nil && req.Header.Get("Authorization") == "" {
		password, _ := u.Password()
		req.SetBasicAuth(u.Username(), password)
	}
	resp, src, err := askUpgrade(nc, req)
	if resp != nil {
		c.http.Jar.SetCookies(c.endpoint, resp.Cookies())
	}
	return resp, src, err
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

func (l *socketLink) loop(src *bufio.Reader) {
	f := &frameReader{src: src, limit: l.client.cfg.MaxReply, pong: l.pong}
	err := error(closeError(closeInternal))
	defer func() { // also if an extension has ended this goroutine
		if code, ok := err.(closeError); ok {
			l.sayWhy(code)
		}
		l.fail(err)
	}()
	l.client.events.safely("websocket", func() { err = f.each(l.receive) })
}

func (l *socketLink) pong(payload []byte) error {
	l.turn <- struct{}{}
	defer func() { <-l.turn }()
	return l.out.write(opPong, payload)
}

// sayWhy sends a close frame, if that can be done soon: callers wait for the end of
// the link.
func (l *socketLink) sayWhy(code closeError) {
	select {
	case l.turn <- struct{}{}:
		defer func() { <-l.turn }()
		defer time.AfterFunc(closeTimeout, func() { _ = l.out.conn.Close() }).Stop()
		l.out.close(code)
	default:
	}
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
	_ = l.out.conn.Close()
	for _, w := range waiting {
		w.err = err
		close(w.done)
	}
}

func (l *socketLink) exchange(ctx context.Context, msgs []*Message) ([]*Message, error) {
	select {
	case l.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	w := &socketCall{call: newCall(msgs), done: make(chan struct{})}
	l.mu.Lock()
	if l.err != nil {
		l.mu.Unlock()
		<-l.turn
		return nil, errNotSent
	}
	l.waiting = append(l.waiting, w)
	l.mu.Unlock()
	go l.write(renderBatch(msgs))
	select {
	case <-w.done:
		return w.replies, w.err
	case <-ctx.Done():
		l.abandon(w)
		return nil, ctx.Err()
	}
}

// write sends one batch. It runs beside the caller, whose context may end while the
// server does not read; what was begun must then be sent to its end.
func (l *socketLink) write(batch []byte) {
	defer func() { <-l.turn }()
	err := error(closeError(closeInternal))
	defer func() {
		if err != nil {
			l.fail(err)
		}
	}()
	l.client.events.safely("websocket", func() { err = l.out.write(opText, batch) })
}

func (l *socketLink) abandon(w *socketCall) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waiting = slices.DeleteFunc(l.waiting, func(other *socketCall) bool { return other == w })
}

// receive takes one WebSocket message; it does not keep b.
func (l *socketLink) receive(b []byte) error { return l.client.incoming(b, l.answer) }

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
