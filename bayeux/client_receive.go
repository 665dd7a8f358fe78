package bayeux

import (
	"errors"
	"log/slog"
	"runtime/debug"
	"sync"
)

// Bounds on what a server may send; bytes are bounded by MaxReply.
const (
	clientMaxDepth = 64
	clientMaxBatch = 1 << 16
)

var errBehind = errors.New("bayeux: handlers fall behind")

// receive passes one message from the server through the extensions and, if it
// is a delivery, on to its handlers. It reports whether m is a reply that
// somebody waits for.
func (c *Client) receive(m *Message) (isReply bool, err error) {
	if !c.extendIncoming(m) {
		return false, nil
	}
	if m.IsMeta() || m.Successful != nil {
		return true, nil
	}
	if m.Data == nil {
		return false, nil
	}
	if !c.events.add(func() { c.hand(m) }, true) {
		return false, errBehind
	}
	return false, nil
}

// handler is one call of Subscribe.
type handler struct{ f func(*Message) }

// hand calls the handlers of one delivery.
func (c *Client) hand(m *Message) {
	if !validChannel(m.Channel) || isWild(m.Channel) {
		return
	}
	var handlers []*handler
	c.mu.Lock()
	matching(m.Channel, func(pattern string) { handlers = append(handlers, c.subs[pattern]...) })
	c.mu.Unlock()
	for _, h := range handlers {
		c.events.safely("handler", func() { h.f(m.shallowClone()) })
	}
}

func (c *Client) extendIncoming(m *Message) bool {
	c.inMu.Lock()
	defer c.inMu.Unlock()
	for _, e := range c.cfg.Extensions {
		ok := false
		c.events.safely("extension", func() { ok = e.Incoming(m) })
		if !ok {
			return false
		}
	}
	return true
}

func (c *Client) extendOutgoing(m *Message) bool {
	c.outMu.Lock()
	defer c.outMu.Unlock()
	for i := len(c.cfg.Extensions) - 1; i >= 0; i-- {
		ok := false
		c.events.safely("extension", func() { ok = c.cfg.Extensions[i].Outgoing(m) })
		if !ok {
			return false
		}
	}
	return true
}

// dispatcher runs handlers one at a time and in order, on a goroutine that
// lives only while there is something to run: whoever receives never waits for
// a handler, so that a handler may wait for a reply.
type dispatcher struct {
	limit  int
	logger *slog.Logger

	mu      sync.Mutex
	queue   []func()
	running bool
	total   uint64
}

// add queues f. With bounded it refuses when limit functions wait.
func (d *dispatcher) add(f func(), bounded bool) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if bounded {
		if len(d.queue) >= d.limit {
			return false
		}
		d.total++
	}
	d.queue = append(d.queue, f)
	if !d.running {
		d.running = true
		go d.run()
	}
	return true
}

// count says how many deliveries came so far.
func (d *dispatcher) count() uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.total
}

func (d *dispatcher) run() {
	for {
		d.mu.Lock()
		if len(d.queue) == 0 {
			d.running = false
			d.queue = nil
			d.mu.Unlock()
			return
		}
		f := d.queue[0]
		d.queue[0] = nil
		d.queue = d.queue[1:]
		d.mu.Unlock()
		d.safely("listener", f)
	}
}

func (d *dispatcher) safely(what string, f func()) {
	returned := false
	defer func() {
		if !returned {
			d.logger.Error("bayeux: panic", "in", what, "value", recover(), "stack", string(debug.Stack()))
		}
	}()
	f()
	returned = true
}
