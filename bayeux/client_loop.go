package bayeux

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/go-json-experiment/json/jsontext"
)

// Bounds on what a server can make the client do by its advice.
const (
	maxAdvisedInterval = 10 * time.Minute
	maxAdvisedTimeout  = 10 * time.Minute
	// A server that ends this many connects in a row at once, without anything for
	// a handler, is slowed down; so is one that keeps asking for handshakes.
	maxQuickConnects = 8
	quickConnect     = 100 * time.Millisecond
	// maxClientID bounds a clientId, in bytes: it goes with every message. Ours
	// and the known servers' have fewer than 50.
	maxClientID = 256
)

var (
	errClientID = errors.New("bayeux: unacceptable clientId")
	errPanicked = errors.New("bayeux: panic or runtime.Goexit in the connection")
)

// next is what a step of the loop leads to.
type next int

const (
	nextConnect next = iota
	nextHandshake
	nextStop
)

// step is the outcome of one handshake or connect.
type step struct {
	next  next
	delay time.Duration // the server's interval
	err   error         // nil if the server said yes
}

// start makes the first steps up to a successful connect. One node may give the
// session and another not know it: a few handshakes are tried.
func (c *Client) start(ctx context.Context) error {
	var s step
	for range 3 {
		if s = c.establish(ctx); s.err == nil || s.next != nextHandshake || ctx.Err() != nil {
			break
		}
		var no *Error
		if !errors.As(s.err, &no) || s.delay > c.cfg.RequestTimeout {
			break // no server there, or not soon: the caller decides whether to go on
		}
		if err := sleep(ctx, max(s.delay, c.backoff(1))); err != nil {
			return err
		}
	}
	if s.err != nil && ctx.Err() != nil {
		return errors.Join(ctx.Err(), s.err)
	}
	return s.err
}

// keep keeps the connection until ctx ends or the server says stop.
func (c *Client) keep(ctx context.Context, done chan struct{}) {
	defer close(done)
	returned := false
	defer func() {
		if !returned {
			c.stopped(errPanicked)
		}
	}()
	// A RoundTripper, a dialer and extensions are code that is not ours.
	returned = c.events.safely("connection", func() { c.loop(ctx) })
}

func (c *Client) loop(ctx context.Context) {
	s := step{next: nextConnect}
	var failures, handshakes, quick int
	for {
		delay := s.delay
		switch {
		case s.next == nextStop:
			c.stopped(s.err)
			return
		case s.next == nextHandshake && handshakes > 0:
			delay = max(delay, c.backoff(handshakes))
		case s.next == nextHandshake: // told so, maybe, with all the clients of a server
			delay += rand.N(c.cfg.Backoff)
		case failures > 0:
			delay = max(delay, c.backoff(failures))
		case quick > maxQuickConnects:
			delay = max(delay, c.backoff(quick-maxQuickConnects))
		}
		if sleep(ctx, delay) != nil || c.isClosing() {
			return
		}
		began, news := time.Now(), c.handled.Load()
		if s.next == nextHandshake {
			handshakes++
			s = c.establish(ctx)
		} else {
			s = c.reconnect(ctx)
			switch {
			case s.err == nil && (time.Since(began) >= quickConnect || s.delay >= quickConnect):
				handshakes, quick = 0, 0
			case s.err == nil && c.handled.Load() != news:
				quick = 0
			case s.err == nil:
				quick++
			}
		}
		if ctx.Err() != nil {
			return
		}
		if errors.Is(s.err, ErrClosed) {
			c.stopped(s.err)
			return
		}
		if s.err == nil {
			failures = 0
			continue
		}
		failures++
		c.cfg.Logger.Debug("bayeux: connection lost", "error", s.err)
		if s.next != nextStop {
			c.setState(StateBroken, nil)
		}
	}
}

// stopped ends a client that the server told to stop. If Close is under way
// that is the server's answer, and Close sees to the rest.
func (c *Client) stopped(cause error) {
	if c.isClosing() {
		return
	}
	c.setState(StateClosed, cause)
	c.dropLink()
}

// backoff is the wait before try n+1: exponential, the upper half random.
func (c *Client) backoff(n int) time.Duration {
	d := c.cfg.Backoff
	for i := 1; i < n && d < c.cfg.MaxBackoff; i++ {
		d *= 2
	}
	d = min(d, c.cfg.MaxBackoff)
	return d/2 + rand.N(d/2+1)
}

func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// establish shakes hands over the first transport that works, renews the
// subscriptions and makes the first connect.
func (c *Client) establish(ctx context.Context) step {
	c.setState(StateHandshaking, nil)
	if c.isClosing() { // in this order: Close says good-bye only to a state before this one
		return step{err: ErrClosed}
	}
	c.dropLink()
	var failed []error
	for _, kind := range c.cfg.Transports {
		l, err := c.open(ctx, kind)
		if err != nil {
			failed = append(failed, err)
			continue
		}
		r, err := c.handshake(ctx, l)
		if err != nil {
			l.close()
			failed = append(failed, err)
			if ctx.Err() != nil {
				break
			}
			continue
		}
		return c.established(ctx, l, r)
	}
	return step{next: nextHandshake, err: errors.Join(failed...)}
}

func (c *Client) handshake(ctx context.Context, l link) (*Message, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.RequestTimeout)
	defer cancel()
	m := &Message{
		Channel:                  MetaHandshake,
		ID:                       c.newID(),
		Version:                  "1.0",
		MinimumVersion:           "1.0",
		SupportedConnectionTypes: c.cfg.Transports,
	}
	if c.cfg.Acknowledge {
		_ = m.SetExt(extAck, true) // a bool: it cannot fail
	}
	replies, err := c.exchange(ctx, l, []*Message{m})
	if err != nil {
		return nil, err
	}
	return replies[0], nil
}

// established goes on from the server's answer r to a handshake over l.
func (c *Client) established(ctx context.Context, l link, r *Message) step {
	interval := c.heed(r)
	if err := handshakeError(r); err != nil {
		l.close()
		s := step{next: nextHandshake, delay: interval, err: err}
		if r.Advice != nil && r.Advice.Reconnect == ReconnectNone {
			s.next = nextStop
		}
		return s
	}
	if err := c.adopt(l); err != nil {
		return step{next: nextHandshake, err: err}
	}
	c.mu.Lock()
	c.id, c.types = r.ClientID, r.SupportedConnectionTypes
	c.mu.Unlock()
	c.startAck(r)
	if !slices.Contains(r.SupportedConnectionTypes, l.kind()) {
		var err error
		if l, err = c.relink(ctx); err != nil {
			return step{next: nextHandshake, err: err}
		}
	}
	if err := c.resubscribe(ctx, l, r.ClientID); err != nil {
		return step{next: nextHandshake, err: err}
	}
	return c.connect(ctx, l, true)
}

func handshakeError(r *Message) error {
	switch {
	case r.Successful == nil || !*r.Successful:
		return refusal(r)
	case !validClientID(r.ClientID):
		return errClientID
	}
	return nil
}

// validClientID reports whether id can be sent with every message from now on.
func validClientID(id string) bool {
	return id != "" && len(id) <= maxClientID && !strings.ContainsFunc(id, unicode.IsControl)
}

// adopt makes l the client's link, unless Close has begun: it would not close l.
func (c *Client) adopt(l link) error {
	c.mu.Lock()
	closing := c.closing
	if !closing {
		c.link = l
	}
	c.mu.Unlock()
	if closing {
		l.close()
		return ErrClosed
	}
	return nil
}

// relink replaces the link, the session staying the same: over the first
// transport both sides speak. Only a WebSocket that the server, or the way to
// it, refuses makes way for the next transport.
func (c *Client) relink(ctx context.Context) (link, error) {
	c.mu.Lock()
	types := c.types
	c.mu.Unlock()
	c.dropLink()
	err := errors.New("bayeux: no common transport")
	for _, kind := range c.cfg.Transports {
		if !slices.Contains(types, kind) {
			continue
		}
		var l link
		if l, err = c.open(ctx, kind); err == nil {
			return l, c.adopt(l)
		}
		if !errors.Is(err, errUpgradeRefused) {
			break
		}
	}
	return nil, err
}

// resubscribe renews the subscriptions in the new session id. A refused one is
// logged: its handlers stay, as the next session may allow it.
func (c *Client) resubscribe(ctx context.Context, l link, id string) error {
	c.mu.Lock()
	msgs := make([]*Message, 0, len(c.subs))
	for ch := range c.subs {
		msgs = append(msgs, &Message{Channel: MetaSubscribe, Subscription: []string{ch}})
	}
	c.mu.Unlock()
	for len(msgs) > 0 {
		chunk := msgs[:fitting(msgs)]
		msgs = msgs[len(chunk):]
		for _, m := range chunk {
			m.ClientID, m.ID = id, c.newID()
		}
		cctx, cancel := context.WithTimeout(ctx, c.cfg.RequestTimeout)
		replies, err := c.exchange(cctx, l, chunk)
		cancel()
		if err != nil {
			return err
		}
		for _, r := range replies {
			if r.failed() {
				c.cfg.Logger.Warn("bayeux: subscription not renewed", "error", refusal(r))
			}
		}
	}
	return nil
}

// reconnect makes the next connect, over a new link if the old one broke.
func (c *Client) reconnect(ctx context.Context) step {
	c.mu.Lock()
	l := c.link
	again := c.state != StateConnected
	c.mu.Unlock()
	if l == nil || !l.alive() {
		var err error
		if l, err = c.relink(ctx); err != nil {
			return step{next: nextConnect, err: err}
		}
	}
	return c.connect(ctx, l, again)
}

// connect makes one connect over l. With now the server is asked to answer at once.
func (c *Client) connect(ctx context.Context, l link, now bool) step {
	c.mu.Lock()
	id, hold := c.id, c.timeout
	c.mu.Unlock()
	m := &Message{Channel: MetaConnect, ClientID: id, ID: c.newID(), ConnectionType: l.kind()}
	if now {
		hold = 0
		m.Advice = &Advice{Timeout: ptr[int64](0)}
	}
	c.tellAck(m)
	ctx, cancel := context.WithTimeout(ctx, hold+c.cfg.RequestTimeout)
	defer cancel()
	replies, err := c.exchange(ctx, l, []*Message{m})
	if err != nil {
		l.close()
		s := step{next: nextConnect, err: err}
		if c.acknowledges() && unreadable(err) {
			s.next = nextHandshake // the server would send it again, for ever
		}
		return s
	}
	return c.connected(replies[0])
}

// connected goes by the advice of this very reply: one that came earlier, with
// another message, must not stall the client.
func (c *Client) connected(r *Message) step {
	s := step{delay: c.heed(r)}
	reconnect := ""
	if r.Advice != nil {
		reconnect = r.Advice.Reconnect
	}
	if r.Successful == nil || !*r.Successful {
		s.err = refusal(r)
		if reconnect == "" {
			reconnect = ReconnectHandshake
		}
	}
	switch reconnect {
	case ReconnectNone:
		s.next = nextStop
		if s.err == nil {
			s.err = refusal(r)
		}
	case ReconnectHandshake:
		s.next = nextHandshake
	}
	if s.err == nil {
		c.noteAck(r)
		c.setState(StateConnected, nil)
	}
	return s
}

// heed stores a reply's timers, within bounds, and returns the interval that
// now holds.
func (c *Client) heed(r *Message) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	if a := r.Advice; a != nil {
		if a.Interval != nil {
			c.interval = millis(*a.Interval, maxAdvisedInterval)
		}
		if a.Timeout != nil {
			c.timeout = millis(*a.Timeout, maxAdvisedTimeout)
		}
	}
	return c.interval
}

// call is one batch waiting for its replies.
type call struct {
	msgs    []*Message
	replies []*Message
	left    int
}

func newCall(msgs []*Message) *call {
	return &call{msgs: msgs, replies: make([]*Message, len(msgs)), left: len(msgs)}
}

// offer takes m if it answers a message of the call: same channel, and same id
// unless the server left it out.
func (c *call) offer(m *Message) bool {
	for i, sent := range c.msgs {
		if c.replies[i] == nil && sent.Channel == m.Channel && (m.ID == nil || sameID(sent.ID, m.ID)) {
			c.replies[i] = m
			c.left--
			return true
		}
	}
	return false
}

// sameID lets a server turn a string id into a number.
func sameID(a, b jsontext.Value) bool { return bareID(a) == bareID(b) }

func bareID(v jsontext.Value) string {
	if len(v) >= 2 && v[0] == '"' {
		return string(v[1 : len(v)-1])
	}
	return string(v)
}
