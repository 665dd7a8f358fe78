package bayeux

import (
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// ServerSession is the server's side of one client, from its handshake until
// it disconnects or lapses. It is safe for concurrent use.
type ServerSession struct {
	id      string
	browser string // the browser cookie's value at the handshake
	server  *Server

	mu         sync.Mutex
	connected  bool // a /meta/connect was seen: messages may flow
	removed    bool
	adviceDue  bool          // the next connect reply must say "retry"
	interval   time.Duration // between two connects, as last advised
	queue      queue
	poll       *poll    // the connect that is held, or nil
	socket     *socket  // the WebSocket the session lives on, or nil
	strayed    bool     // no WebSocket without a cookie may be this client's; see strays
	subs       []string // sorted: most sessions have a few, for which a map is large
	onRemove   []func(expired bool)
	timer      *time.Timer // ends a held connect, or the session
	deadline   time.Time   // when it is to do so; it may come early
	expired    bool
	dismissed  bool                        // removed with the wish that the client gives up
	ack        *acknowledgement            // nil unless the client asked for it
	extensions atomic.Pointer[[]Extension] // never changed in place
	attributes map[string]any
}

// poll is a /meta/connect that is held. It ends once: whoever takes it from
// its session under the session's lock finishes it afterwards without.
type poll struct {
	session *ServerSession
	channel string // of the reply, and its id
	id      jsontext.Value
	advice  *Advice
	request *Message // for extensions; nil if there are none
	why     pollEnd
	wake    chan struct{} // closed at the end; nil on a WebSocket
	conn    net.Conn      // of a parked poll; set under the session's lock while it is held
	socket  *socket
	counted bool // among the polls of its browser
	bare    bool // another connect of the batch takes the messages along
}

type pollEnd int

const (
	pollTimeout    pollEnd = iota
	pollNews               // messages wait
	pollReplaced           // another connect of the same client came
	pollDisconnect         // the session ended
	pollLost               // the server ends, or gave the session up
	pollGone               // the client went away
)

func newSession(s *Server, browser string) *ServerSession {
	sess := &ServerSession{
		id:       randomID(),
		browser:  browser,
		server:   s,
		interval: s.cfg.Interval,
	}
	return sess
}

// ID returns the clientId: a secret between the client and the server.
func (s *ServerSession) ID() string { return s.id }

// Deliver sends data on channel to this client alone, whatever it subscribed
// to. Any channel but a meta channel or a wildcard will do. data is encoded as
// JSON; a jsontext.Value or json.RawMessage is taken as it is.
//
// Messages to one session arrive in order. Deliver does not wait for the
// client, and its return does not mean that the
// client has the message: what was written to a dying connection is lost. It
// returns an error wrapping [ErrChannel], [ErrTooLarge], [ErrSessionClosed], or
// [ErrQueueFull] when the message did not fit and the session was removed.
func (s *ServerSession) Deliver(channel string, data any) error {
	if err := checkPublish(channel); err != nil {
		return err
	}
	raw, err := encodeValue(data)
	if err != nil {
		return err
	}
	return s.send(&Message{Channel: channel, Data: raw, Lazy: s.server.isLazy(channel)})
}

// DeliverMessage is Deliver for a message with Ext, or a lazy one. Channel, Data,
// Ext and Lazy are sent, whatever else m holds is not. m is not changed, and may
// be changed afterwards.
func (s *ServerSession) DeliverMessage(m *Message) error {
	out, err := s.server.delivery(m)
	if err != nil {
		return err
	}
	return s.send(out)
}

// OnRemove calls f once the session is gone: with true if it lapsed, with false
// after a disconnect, an overflow or a shutdown. If it is gone already, f is
// called at once.
//
// f is called by who ends the session: within Disconnect, Dismiss or Reopen, or by a
// goroutine of the request that brought the client's disconnect or of the time that
// ran out. It is never called within Publish or Deliver: after an overflow or a
// shutdown a goroutine of the server calls such functions, one after the other, so that
// one that waits holds up others. Until f returned the session counts for
// [Config.MaxSessions].
func (s *ServerSession) OnRemove(f func(expired bool)) {
	s.mu.Lock()
	if !s.removed {
		s.onRemove = append(s.onRemove, f)
		s.mu.Unlock()
		return
	}
	expired := s.expired
	s.mu.Unlock()
	s.server.safely("OnRemove", func() { f(expired) })
}

// Disconnect ends the session. A held connect is answered, with the messages
// that wait and the advice not to come back. A client that is between two
// connects finds itself unknown at the next, and shakes hands again.
func (s *ServerSession) Disconnect() { s.server.remove(s, pollDisconnect, CountEnded) }

// send runs the extensions for this session and queues the message.
func (s *ServerSession) send(m *Message) error {
	if !s.server.extendOutgoing(s, m) {
		return nil
	}
	if err := checkPublish(m.Channel); err != nil { // the extensions may have changed it
		return err
	}
	rendered := m.appendTo(nil)
	if !s.server.fits(m, rendered) {
		return ErrTooLarge
	}
	return s.enqueue(rendered, m.Lazy)
}

// move has the session live on to, nil meaning HTTP. It returns the WebSocket that it
// lived on if that one is to be aborted: it is still writing messages, that nothing may
// overtake, and a client that came again has a network that may hang. The caller holds
// s.mu, and aborts when it does not.
func (s *ServerSession) move(to *socket) (left *socket) {
	if s.socket != nil && s.socket != to && s.queue.away {
		left = s.socket
	}
	s.socket = to
	return left
}

// takePoll ends the held connect, if any; the caller holds s.mu, and calls
// finish on the result once it does not.
func (s *ServerSession) takePoll(why pollEnd) *poll {
	p := s.poll
	if p != nil {
		p.why = why
		s.poll = nil
		s.deadline = time.Now().Add(s.life()) // who holds it arms the session, but may be slow
	}
	return p
}

// life is how long the session outlives its last sign of life.
func (s *ServerSession) life() time.Duration { return s.interval + s.server.cfg.MaxInterval }

// endPoll ends p unless it ended already.
func (s *ServerSession) endPoll(p *poll, why pollEnd) {
	s.mu.Lock()
	if s.poll != p {
		s.mu.Unlock()
		return
	}
	s.takePoll(why)
	s.mu.Unlock()
	p.finish()
}

// uncount gives p's place among its browser's polls free, unless another poll
// took it over.
func (s *ServerSession) uncount(p *poll) {
	s.mu.Lock()
	counted := p.counted
	p.counted = false
	s.mu.Unlock()
	if counted {
		s.server.releasePoll(s.browser)
	}
}

// finish lets the response go out. A nil poll is nothing to do.
func (p *poll) finish() {
	if p == nil {
		return
	}
	if p.wake != nil {
		if p.conn != nil {
			_ = p.conn.SetReadDeadline(longAgo)
		}
		close(p.wake)
		return
	}
	p.socket.post(p.answer())
	p.session.arm()
}

// answer completes the connect reply by what ended the poll, and renders it,
// with the messages that only a connect reply takes along.
func (p *poll) answer() [][]byte {
	m := &Message{Channel: p.channel, ID: p.id, ClientID: p.session.id, Successful: ptr(true), Advice: p.advice, request: p.request}
	switch p.why {
	case pollReplaced:
		// Two pages with one clientId: the older one gets a session of its own.
		m.Successful, m.Error = ptr(false), errorConnectReplaced
		m.Advice = &Advice{Reconnect: ReconnectHandshake, Interval: ptr[int64](0)}
	case pollDisconnect:
		m.Advice = &Advice{Reconnect: ReconnectNone}
	case pollLost:
		m.Successful, m.Error = ptr(false), errorSessionUnknown
		m.Advice = p.session.server.handshakeAdvice()
	}
	var out [][]byte
	if p.why != pollReplaced && !p.bare {
		out = p.session.sendUnacknowledged(m)
	}
	if b := p.session.server.render(p.session, m); b != nil {
		out = append(out, b)
	}
	return out
}

// arm gives the session its time to live from now, unless a connect is held.
func (s *ServerSession) arm() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.removed && s.poll == nil {
		s.wakeIn(s.life())
	}
}

// wakeIn sets the session's one timer; the caller holds s.mu.
func (s *ServerSession) wakeIn(d time.Duration) {
	s.deadline = time.Now().Add(d)
	if s.timer == nil {
		s.timer = time.AfterFunc(d, s.due)
		return
	}
	s.timer.Reset(d)
}

// due answers the held connect whose time is over, or removes the session.
func (s *ServerSession) due() {
	s.mu.Lock()
	if s.removed {
		s.mu.Unlock()
		return
	}
	if left := time.Until(s.deadline); left > 0 {
		s.timer.Reset(left) // it was set anew while this call began
		s.mu.Unlock()
		return
	}
	p := s.takePoll(pollTimeout)
	if p != nil {
		s.timer.Reset(s.life()) // until who holds it arms the session, if it lives to do so
		s.mu.Unlock()
		p.finish()
		return
	}
	s.mu.Unlock()
	s.server.remove(s, pollLost, CountExpired)
}
