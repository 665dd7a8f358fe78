package bayeux

import (
	"slices"
	"time"
)

// QueuePolicy says what becomes of a message that does not fit into its session's
// queue.
type QueuePolicy int

// The queue policies.
const (
	// QueueDisconnect removes the session: its client shakes hands again, and
	// knows that it missed something.
	QueueDisconnect QueuePolicy = iota
	// QueueDropOldest drops what waited longest. The client is not told.
	QueueDropOldest
	// QueueRefuse drops the new message. The client is not told; who called
	// [ServerSession.Deliver] is, by [ErrQueueFull].
	QueueRefuse
)

// queue holds what waits for one session, in order. The rendered messages may be
// shared with other sessions and are never written to.
type queue struct {
	messages [][]byte
	bytes    int
	urgent   bool        // somebody is not content to wait for the next response
	away     bool        // a WebSocket is writing the oldest messages: they may come back
	batches  int         // calls of Batch that are under way
	late     *time.Timer // ends the wait of lazy messages; nil if none waits
}

func (q *queue) push(b []byte) {
	q.messages = append(q.messages, b)
	q.bytes += len(b)
}

// drop forgets the first n messages.
func (q *queue) drop(n int) {
	q.bytes -= sizeOf(q.messages[:n])
	q.messages = slices.Delete(q.messages, 0, n)
}

// settled notes that nothing in the queue is in a hurry any more.
func (q *queue) settled() {
	q.urgent = false
	if q.late != nil {
		q.late.Stop()
		q.late = nil
	}
}

// enqueue takes a rendered message that fits ([Server.fits]) and may be shared: it is
// never written to. A lazy one waits for the next response, or for MaxLazyTimeout.
func (s *ServerSession) enqueue(b []byte, lazy bool) error {
	s.mu.Lock()
	if s.removed {
		s.mu.Unlock()
		return ErrSessionClosed
	}
	if !s.makeRoom(len(b)) {
		return s.overflow()
	}
	s.server.observe(CountDelivered, 1)
	s.queue.push(b)
	if lazy {
		s.expectLater()
	} else {
		s.queue.urgent = true
	}
	tell := s.news()
	s.mu.Unlock()
	tell.now()
	return nil
}

// makeRoom reports whether n more bytes fit; the caller holds s.mu.
func (s *ServerSession) makeRoom(n int) bool {
	cfg, q := &s.server.cfg, &s.queue
	if cfg.QueueFull != QueueDropOldest {
		return len(q.messages) < cfg.MaxQueue && q.bytes+n <= cfg.MaxQueueBytes
	}
	over := 0
	for left := q.bytes; len(q.messages)-over >= cfg.MaxQueue || left+n > cfg.MaxQueueBytes; over++ {
		left -= len(q.messages[over])
	}
	s.discard(over)
	s.server.observe(CountDropped, over)
	return true
}

// overflow does with the session what the policy says. The caller holds s.mu,
// which overflow releases.
func (s *ServerSession) overflow() error {
	s.mu.Unlock()
	s.server.observe(CountDropped, 1)
	if s.server.cfg.QueueFull != QueueDisconnect {
		return ErrQueueFull
	}
	s.server.cfg.Logger.Debug("bayeux: session removed", "why", "queue full")
	s.server.removeElsewhere(s, pollLost, CountOverflowed)
	return ErrQueueFull
}

// expectLater makes lazy messages urgent after a while; the caller holds s.mu.
func (s *ServerSession) expectLater() {
	if s.queue.urgent || s.queue.late != nil {
		return
	}
	s.queue.late = time.AfterFunc(s.server.cfg.MaxLazyTimeout, func() {
		s.mu.Lock()
		s.queue.urgent = len(s.queue.messages) > 0
		tell := s.news()
		s.mu.Unlock()
		tell.now()
	})
}

// pressing reports whether a connect over via must be answered at once. A
// WebSocket needs no connect reply for its messages. The caller holds s.mu.
func (s *ServerSession) pressing(via *socket) bool {
	if s.ack != nil {
		return s.queue.urgent || len(s.ack.sent) > 0
	}
	return via == nil && s.queue.urgent
}

// listener is whom to tell that messages wait: a held connect, a WebSocket or
// nobody.
type listener struct {
	poll   *poll
	socket *socket
}

func (l listener) now() {
	l.poll.finish()
	if l.socket != nil {
		l.socket.kick()
	}
}

// news says whom to tell; the caller holds s.mu, and tells when it does not.
func (s *ServerSession) news() listener {
	if !s.queue.urgent || s.queue.batches > 0 || !s.connected || s.removed {
		return listener{}
	}
	if s.socket == nil || s.ack != nil {
		return listener{poll: s.takePoll(pollNews)}
	}
	return listener{socket: s.socket}
}

// Batch calls f, and lets what f delivers to this session go out in one response
// at its end, or with a response that goes out anyway. Calls may be nested.
func (s *ServerSession) Batch(f func()) {
	s.mu.Lock()
	s.queue.batches++
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.queue.batches--
		tell := s.news()
		s.mu.Unlock()
		tell.now()
	}()
	f()
}

// take gives what a response over via, nil meaning HTTP, takes along: the oldest
// messages, of no more than budget bytes or only one; rest is the bytes that still
// wait. Messages wait for the first connect, and those of a session on a WebSocket
// go there, which says by wrote what became of them: until then there is nothing for
// others. Acknowledged ones go with a connect reply, which numbers them.
func (s *ServerSession) take(via *socket, budget int) (taken [][]byte, rest int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q := &s.queue
	if !s.connected || s.socket != via || s.ack != nil || q.away {
		return nil, 0
	}
	q.away = via != nil && len(q.messages) > 0
	if q.bytes > budget && len(q.messages) > 1 {
		n := leading(q.messages, budget)
		taken = slices.Clone(q.messages[:n])
		q.drop(n)
		return taken, q.bytes
	}
	taken = q.messages
	q.messages, q.bytes = nil, 0
	q.settled()
	return taken, 0
}

// leading counts the first messages that have no more than budget bytes, one at
// least if there is any.
func leading(messages [][]byte, budget int) int {
	for i, b := range messages {
		if budget -= len(b); budget < 0 {
			return max(i, 1)
		}
	}
	return len(messages)
}

// wrote ends the writing of what take gave via. What could not be written goes back, in
// front. Where the session lives by then is told, as it has waited for this.
func (s *ServerSession) wrote(via *socket, messages [][]byte, err error) {
	s.mu.Lock()
	q := &s.queue
	q.away = false
	if err != nil {
		q.messages = append(messages[:len(messages):len(messages)], q.messages...)
		q.bytes += sizeOf(messages)
		q.urgent = true
	}
	var tell listener
	if s.socket != via {
		tell = s.news()
	}
	s.mu.Unlock()
	tell.now()
}

func sizeOf(messages [][]byte) (n int) {
	for _, b := range messages {
		n += len(b)
	}
	return n
}
