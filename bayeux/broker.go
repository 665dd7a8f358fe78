package bayeux

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// Broker carries broadcasts to the other nodes of a cluster. A server calls
// Publish from one goroutine, and Receive from another; neither is in the way of
// local delivery.
//
// Who can publish at the broker can publish on every broadcast channel of every
// node: it belongs to the nodes alone.
type Broker interface {
	// Publish sends messages to all nodes, in their order. It may drop them, but
	// not send one twice. Its error is counted and logged, and the messages are
	// not tried again. ctx ends after Config.WriteTimeout.
	Publish(ctx context.Context, messages [][]byte) error
	// Receive calls f with each message that a node published, this one's own
	// included, in order and one at a time, until ctx ends or it loses its
	// connection; then it returns an error, and is called again later. f does not
	// keep the message.
	Receive(ctx context.Context, f func(message []byte)) error
}

const (
	brokerQueue = 1024        // messages that wait for Publish
	brokerBytes = 16 << 20    // of those, and of those that it has
	brokerBatch = 128         // messages of one call
	brokerPause = time.Second // between two calls of Receive
)

// What goes to the broker is a header, the node it comes from, and a message as
// its receivers get it.
const (
	brokerPlain = "bayeux1 "
	brokerLazy  = "bayeux1l"
)

var errBrokerMessage = errors.New("bayeux: not a broadcast of another node")

// cluster is a server's side of its broker.
type cluster struct {
	node string // random: tells this node's own messages
	stop context.CancelFunc
	sent chan struct{} // closed when nothing more will be sent

	refused skipped // messages of other nodes

	mu      sync.Mutex
	changed sync.Cond // of queue or closed
	queue   []broadcast
	bytes   int // of the queue, and of what is being sent
	sending int
	closed  bool
}

// broadcast waits for the broker. Its bytes are shared with sessions.
type broadcast struct {
	rendered []byte
	lazy     bool
}

// join starts the two goroutines that serve the broker, which end with leave.
func (s *Server) join() {
	if s.cfg.Broker == nil {
		return
	}
	ctx, stop := context.WithCancel(context.Background())
	s.cluster = &cluster{node: randomID(), stop: stop, sent: make(chan struct{})}
	s.cluster.changed.L = &s.cluster.mu
	go s.sendToBroker(ctx)
	go s.receiveFromBroker(ctx)
}

// leave gives the broker until ctx ends to take what waits, and counts what it does
// not take.
func (s *Server) leave(ctx context.Context) error {
	if s.cluster == nil {
		return nil
	}
	defer s.cluster.stop()
	if s.cluster.close() {
		return nil
	}
	select {
	case <-s.cluster.sent:
		return nil
	case <-ctx.Done():
		s.observe(CountBroker, s.cluster.drop())
		return ctx.Err()
	}
}

// forward queues a rendered broadcast for the other nodes. While the broker does
// not keep up they miss it: to wait would be to stop delivery here as well.
func (s *Server) forward(rendered []byte, lazy bool) {
	if s.cluster != nil && !s.cluster.push(broadcast{rendered, lazy}) {
		s.observe(CountBroker, 1)
	}
}

// push reports whether there is room. One message may be longer than all that may wait.
func (c *cluster) push(b broadcast) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || len(c.queue) >= brokerQueue || c.bytes > 0 && c.bytes+len(b.rendered) > brokerBytes {
		return false
	}
	c.queue = append(c.queue, b)
	c.bytes += len(b.rendered)
	c.changed.Signal()
	return true
}

// close lets nothing more in, and reports whether all was sent.
func (c *cluster) close() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	c.changed.Signal()
	return c.bytes == 0
}

// drop forgets what waits, and says how much it was.
func (c *cluster) drop() (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n, c.queue = len(c.queue), nil
	return n
}

// next waits for broadcasts after the last ones were sent, and makes the messages of
// one call. Nil: there will be none.
func (c *cluster) next() (batch [][]byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.bytes -= c.sending
	c.sending = 0
	for len(c.queue) == 0 && !c.closed {
		c.changed.Wait()
	}
	n := min(len(c.queue), brokerBatch)
	for _, b := range c.queue[:n] {
		batch = append(batch, c.envelope(b))
		c.sending += len(b.rendered)
	}
	c.queue = slices.Delete(c.queue, 0, n)
	return batch
}

func (c *cluster) envelope(b broadcast) []byte {
	header := brokerPlain
	if b.lazy {
		header = brokerLazy
	}
	out := make([]byte, 0, len(header)+len(c.node)+len(b.rendered))
	return append(append(append(out, header...), c.node...), b.rendered...)
}

func (s *Server) sendToBroker(ctx context.Context) {
	defer close(s.cluster.sent)
	down := false
	for batch := s.cluster.next(); len(batch) > 0; batch = s.cluster.next() {
		down = s.publishBatch(ctx, batch, down)
	}
}

// publishBatch reports whether it failed, and logs when that changes.
func (s *Server) publishBatch(ctx context.Context, batch [][]byte, down bool) bool {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.WriteTimeout)
	defer cancel()
	err := errors.New("panic")
	s.safely("broker", func() { err = s.cfg.Broker.Publish(ctx, batch) })
	switch {
	case err != nil && !down:
		s.cfg.Logger.Warn("bayeux: broker: broadcasts do not reach other nodes", "error", err)
	case err == nil && down:
		s.cfg.Logger.Info("bayeux: broker: broadcasts reach other nodes again")
	}
	if err != nil {
		s.observe(CountBroker, len(batch))
	}
	return err != nil
}

func (s *Server) receiveFromBroker(ctx context.Context) {
	down := false
	for ctx.Err() == nil {
		err, start := errors.New("panic"), time.Now()
		s.safely("broker", func() { err = s.cfg.Broker.Receive(ctx, s.fromBroker) })
		if ctx.Err() != nil {
			return
		}
		if again := down && time.Since(start) < 10*brokerPause; !again {
			s.cfg.Logger.Warn("bayeux: broker: nothing comes from other nodes", "error", err)
		}
		down = true
		select {
		case <-ctx.Done():
		case <-time.After(brokerPause):
		}
	}
}

// fromBroker delivers another node's broadcast here. The server's extensions and
// the policy had their say there.
func (s *Server) fromBroker(b []byte) {
	m, err := s.readBroadcast(b)
	switch {
	case err != nil:
		s.cluster.refused.tell(s.cfg.Logger, slog.LevelWarn, "bayeux: broker: message refused", "error", err)
	case m != nil:
		rendered := m.appendTo(nil)
		if len(rendered) > s.cfg.MaxQueueBytes {
			s.cluster.refused.tell(s.cfg.Logger, slog.LevelWarn, "bayeux: broker: message refused", "error", errors.New("longer than this node's MaxQueueBytes"))
			return
		}
		s.fanOut(m, rendered)
	}
}

// readBroadcast is as strict with other nodes as with clients. Nil without an
// error is a message of this very node.
func (s *Server) readBroadcast(b []byte) (*Message, error) {
	const head = len(brokerPlain) + idLength
	lazy := bytes.HasPrefix(b, []byte(brokerLazy))
	if len(b) < head || !lazy && !bytes.HasPrefix(b, []byte(brokerPlain)) {
		return nil, errBrokerMessage
	}
	if string(b[len(brokerPlain):head]) == s.cluster.node {
		return nil, nil
	}
	msgs, err := parseMessages(b[head:], highestMaxDepth, 1) // what its own limits let pass there
	if err != nil {
		return nil, err
	}
	if len(msgs) != 1 || checkPublish(msgs[0].Channel) != nil || !isBroadcast(msgs[0].Channel) || msgs[0].Data == nil {
		return nil, errBrokerMessage
	}
	m := msgs[0]
	return &Message{Channel: m.Channel, Data: m.Data, Ext: m.Ext, Timestamp: m.Timestamp, Lazy: lazy}, nil
}
