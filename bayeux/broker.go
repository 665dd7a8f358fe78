package bayeux

import (
	"bytes"
	"context"
	"errors"
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
	node  string // random: tells this node's own messages
	queue chan []byte
	stop  context.CancelFunc
}

// join starts the two goroutines that serve the broker, which end with leave.
func (s *Server) join() {
	if s.cfg.Broker == nil {
		return
	}
	ctx, stop := context.WithCancel(context.Background())
	s.cluster = &cluster{node: randomID(), queue: make(chan []byte, brokerQueue), stop: stop}
	go s.sendToBroker(ctx)
	go s.receiveFromBroker(ctx)
}

func (s *Server) leave() {
	if s.cluster != nil {
		s.cluster.stop()
	}
}

// forward queues a rendered broadcast for the other nodes. While the broker does
// not keep up they miss it: to wait would be to stop delivery here as well.
func (s *Server) forward(rendered []byte, lazy bool) {
	if s.cluster == nil {
		return
	}
	header := brokerPlain
	if lazy {
		header = brokerLazy
	}
	b := make([]byte, 0, len(header)+len(s.cluster.node)+len(rendered))
	b = append(append(append(b, header...), s.cluster.node...), rendered...)
	select {
	case s.cluster.queue <- b:
	default:
		s.observe(CountBroker, 1)
	}
}

func (s *Server) sendToBroker(ctx context.Context) {
	for down := false; ; {
		batch := make([][]byte, 0, brokerBatch)
		select {
		case b := <-s.cluster.queue:
			batch = append(batch, b)
		case <-ctx.Done():
			return
		}
		for more := true; more && len(batch) < brokerBatch; {
			select {
			case b := <-s.cluster.queue:
				batch = append(batch, b)
			default:
				more = false
			}
		}
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
		s.cfg.Logger.Warn("bayeux: broker: message refused", "error", err)
	case m != nil:
		rendered := m.appendTo(nil)
		if len(rendered) > s.cfg.MaxQueueBytes {
			s.cfg.Logger.Warn("bayeux: broker: message longer than this node's MaxQueueBytes")
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
