package bayeux

import (
	"errors"
	"log/slog"
	"runtime/debug"
	"slices"
	"sync"
)

// Bounds on what a server may send; bytes are bounded by MaxReply.
const (
	clientMaxDepth = 64
	clientMaxBatch = 1 << 16
	// maxPendingReplies is how many replies of MaxReply wait for their handlers.
	maxPendingReplies = 4
)

var errBehind = errors.New("bayeux: handlers fall behind")

// incoming passes on everything that came together, and gives the replies to reply.
func (c *Client) incoming(b []byte, reply func(*Message)) error {
	msgs, err := c.parseIncoming(b)
	if err != nil {
		return err
	}
	for _, m := range msgs {
		isReply, err := c.receive(m)
		if err != nil {
			return err
		}
		if isReply {
			reply(m)
		}
	}
	return nil
}

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
	if !c.events.add(event{f: func() { c.hand(m, c.handlersOf(m.Channel)) }, delivery: true, bytes: m.footprint()}) {
		return false, errBehind
	}
	if len(c.handlersOf(m.Channel)) > 0 {
		c.handled.Add(1)
	}
	return false, nil
}

// footprint is about how many bytes m takes in memory.
func (m *Message) footprint() int {
	const message, entry = 512, 64 // of m itself, and of each part of a list or map
	n := message + len(m.ID) + len(m.Data)
	for _, s := range []string{m.Channel, m.ClientID, m.Version, m.MinimumVersion, m.ConnectionType, m.Error, m.Timestamp} {
		n += len(s)
	}
	for _, list := range [][]string{m.SupportedConnectionTypes, m.Subscription} {
		for _, s := range list {
			n += entry + len(s)
		}
	}
	for name, v := range m.Ext {
		n += entry + len(name) + len(v)
	}
	if m.Advice != nil {
		n += entry + len(m.Advice.Reconnect)
	}
	return n
}

// handler is one call of Subscribe.
type handler struct{ f func(*Message) }

// hand calls handlers with one delivery, until Close. One that ends its goroutine, as
// t.FailNow does, keeps it from none of the others.
func (c *Client) hand(m *Message, handlers []*handler) {
	if len(handlers) == 0 || c.life.Err() != nil {
		return
	}
	defer c.hand(m, handlers[1:])
	c.events.safely("handler", func() { handlers[0].f(m.shallowClone()) })
}

func (c *Client) handlersOf(channel string) (handlers []*handler) {
	if !validChannel(channel) || isWild(channel) {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	matching(channel, func(pattern string) { handlers = append(handlers, c.subs[pattern]...) })
	return handlers
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
	limit, maxBytes int // of deliveries that wait
	logger          *slog.Logger

	mu      sync.Mutex
	queue   []event
	bytes   int
	running bool
	closed  bool
}

// event is what a dispatcher runs: a delivery, or a change of state.
type event struct {
	f        func()
	delivery bool
	bytes    int
}

// add queues e. It refuses a delivery when too many or too large ones wait; after
// close it drops it.
func (d *dispatcher) add(e event) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if e.delivery {
		if d.closed {
			return true
		}
		if len(d.queue) >= d.limit || d.bytes+e.bytes > d.maxBytes && d.bytes > 0 {
			return false
		}
	}
	d.queue = append(d.queue, e)
	d.bytes += e.bytes
	if !d.running {
		d.running = true
		go d.run()
	}
	return true
}

// close drops the deliveries that wait, and those to come.
func (d *dispatcher) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	d.queue = slices.DeleteFunc(d.queue, func(e event) bool { return e.delivery })
	d.bytes = 0
}

func (d *dispatcher) run() {
	goesOn := true
	defer func() {
		if goesOn { // what was called has ended this goroutine
			go d.run()
		}
	}()
	for goesOn {
		var e event
		if e, goesOn = d.take(); goesOn {
			d.safely("listener", e.f)
		}
	}
}

// take returns the next event; without one the dispatcher comes to rest.
func (d *dispatcher) take() (e event, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.queue) == 0 {
		d.running = false
		d.queue = nil
		return event{}, false
	}
	e = d.queue[0]
	d.queue[0] = event{}
	d.queue = d.queue[1:]
	d.bytes -= e.bytes
	return e, true
}

// safely keeps a panic of code that is not ours from ending the process. It
// reports whether f returned. A runtime.Goexit in f passes: where the goroutine is
// ours, what has to be done at its end is deferred.
func (d *dispatcher) safely(what string, f func()) (returned bool) {
	defer func() {
		if returned {
			return
		}
		v := recover()
		if v == nil {
			v = "runtime.Goexit"
		}
		d.logger.Error("bayeux: panic", "in", what, "value", v, "stack", string(debug.Stack()))
	}()
	f()
	return true
}
