package bayeux

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// Server is a Bayeux server. Mount it with and without a trailing slash: it
// answers at every path below its own alike.
//
// Middleware that wraps the ResponseWriter must give it an Unwrap method, or held
// requests end with the http.Server's WriteTimeout and WebSockets are refused.
//
// A Server is safe for concurrent use once extensions and service handlers are
// registered. It has no goroutine of its own while nothing happens but one for
// each open WebSocket, with Config.ParkPolls one for each held connect and each listener,
// and two with a Config.Broker.
type Server struct {
	cfg         Config
	extensions  []Extension
	authorizers []authorizerEntry
	lazy        map[string]bool // Config.LazyChannels
	cluster     *cluster        // nil without a broker
	registry    registry
	unsent      skipped

	mu       sync.Mutex
	closed   bool
	sessions map[string]*ServerSession
	leaving  int              // sessions that are gone but for their OnRemove functions
	left     sync.Cond        // tells of each that is gone for good
	later    []func()         // work of the server's own goroutine, in order
	atWork   bool             // there is that goroutine
	browsers map[string]int   // sessions of each
	polls    map[string]int   // connects held over HTTP/1 for each
	sockets  map[*socket]bool // false while the upgrade is under way
	services map[string]serviceHandler
	doors    map[doorKey]*door    // of those with parked polls
	repeats  map[*parked]struct{} // connections that take their next connects
	idle     sync.WaitGroup       // open sockets, and parked polls
}

type serviceHandler func(ctx context.Context, from *ServerSession, m *Message)

// NewServer checks cfg and returns a server that is ready to serve.
func NewServer(cfg Config) (*Server, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Server{
		cfg:      cfg,
		registry: registry{channels: make(map[string]map[*ServerSession]struct{})},
		sessions: make(map[string]*ServerSession),
		browsers: make(map[string]int),
		polls:    make(map[string]int),
		lazy:     make(map[string]bool),
		sockets:  make(map[*socket]bool),
		doors:    make(map[doorKey]*door),
		repeats:  make(map[*parked]struct{}),
		services: make(map[string]serviceHandler),
	}
	s.left.L = &s.mu
	for _, ch := range cfg.LazyChannels {
		s.lazy[ch] = true
	}
	s.join()
	return s, nil
}

// HandleService calls f for each message clients publish on channel, an exact
// name below /service/. Such messages go to f alone. from may be answered with
// [ServerSession.Deliver]. ctx ends with the request. On a WebSocket nothing is read
// meanwhile: there ctx ends Timeout + Interval + MaxInterval ([Config]) after the message
// came, when a client that says nothing has no session any more, and the connection is
// closed.
//
// HandleService panics if channel is not such a name or has a handler already.
func (s *Server) HandleService(channel string, f func(ctx context.Context, from *ServerSession, m *Message)) {
	if !strings.HasPrefix(channel, "/service/") || !validChannel(channel) || isWild(channel) {
		panic(fmt.Sprintf("bayeux: %q is not a service channel", channel))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.services[channel] != nil {
		panic(fmt.Sprintf("bayeux: %q has a handler already", channel))
	}
	s.services[channel] = f
}

func (s *Server) serviceHandler(channel string) serviceHandler {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.services[channel]
}

// Session returns the session with this clientId, or nil.
func (s *Server) Session(id string) *ServerSession {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sessions[id]
}

// Publish sends data to every session subscribed to channel or to a wildcard
// that covers it, once to each. It waits for nobody: a loop that publishes without a
// pause fills the queues of healthy clients too, and by QueueDisconnect they lose
// their sessions ([CountOverflowed]). data is encoded as by [ServerSession.Deliver].
// It returns an error wrapping [ErrChannel] for a meta or service channel, or
// [ErrTooLarge]; then nobody got the message.
func (s *Server) Publish(channel string, data any) error {
	if err := checkPublish(channel); err != nil || !isBroadcast(channel) {
		return ErrChannel
	}
	raw, err := encodeValue(data)
	if err != nil {
		return err
	}
	return s.broadcast(&Message{Channel: channel, Data: raw, Lazy: s.isLazy(channel)})
}

// PublishMessage is Publish for a message with Ext, or a lazy one. Channel, Data,
// Ext and Lazy are sent, whatever else m holds is not. m is not changed, and may
// be changed afterwards.
func (s *Server) PublishMessage(m *Message) error {
	if !isBroadcast(m.Channel) {
		return ErrChannel
	}
	out, err := s.delivery(m)
	if err != nil {
		return err
	}
	return s.broadcast(out)
}

// delivery makes the message that m asks for.
func (s *Server) delivery(m *Message) (*Message, error) {
	out, err := m.publication()
	if err != nil {
		return nil, err
	}
	out.Lazy = m.Lazy || s.isLazy(m.Channel)
	return out, nil
}

// isLazy reports whether the configuration calls the channel lazy.
func (s *Server) isLazy(channel string) (lazy bool) {
	if len(s.lazy) > 0 {
		matching(channel, func(pattern string) { lazy = lazy || s.lazy[pattern] })
	}
	return lazy
}

// broadcast sends m to its subscribers here and on other nodes, once to each.
func (s *Server) broadcast(m *Message) error {
	if !s.outgoing(s.extensions, nil, m) {
		return nil
	}
	if err := checkPublish(m.Channel); err != nil { // the extensions may have changed it
		return err
	}
	rendered := m.appendTo(nil)
	if !s.fits(m, rendered) {
		return ErrTooLarge
	}
	s.observe(CountPublished, 1)
	s.fanOut(m, rendered)
	s.forward(rendered, m.Lazy)
	return nil
}

// fits reports whether all can take m: queues, and our clients and nodes, which
// would refuse what came with it as well.
func (s *Server) fits(m *Message, rendered []byte) bool {
	return len(rendered) <= s.cfg.MaxQueueBytes && m.readable(s.cfg.MaxDepth)
}

// fanOut shares what is rendered among all subscribers but those whose own
// extensions change it. A session that cannot take it is no concern of the
// sender's.
func (s *Server) fanOut(m *Message, rendered []byte) {
	var own []byte
	for _, sess := range s.registry.subscribers(m.Channel) {
		extensions := sess.ownExtensions()
		if len(extensions) == 0 {
			_ = sess.enqueue(rendered, m.Lazy)
			continue
		}
		c := m.shallowClone()
		if !s.outgoing(extensions, sess, c) {
			continue
		}
		switch own = c.appendTo(own[:0]); {
		case bytes.Equal(own, rendered):
			_ = sess.enqueue(rendered, c.Lazy) // they only looked
		case s.fits(c, own):
			_ = sess.enqueue(bytes.Clone(own), c.Lazy)
		default:
			s.unsendable(c)
		}
	}
}

// unsendable notes that what an extension made of a message is not sent.
func (s *Server) unsendable(m *Message) {
	s.observe(CountDropped, 1)
	s.unsent.tell(s.cfg.Logger, slog.LevelError, "bayeux: message not sent: an extension made it too large", "channel", m.Channel)
}

// Shutdown ends all sessions: held connects are answered with the advice to
// shake hands again, elsewhere, and WebSockets are closed. Requests after that
// get 503. It waits for the WebSockets, for OnRemove functions, and then for the
// broker to take what waits for other nodes, until ctx ends; what it did not take is
// counted ([CountBroker]). Held requests end with the http.Server's own Shutdown.
//
// It returns ctx's error if not all of that was done. A service handler or OnRemove
// function that calls it must give it a context that ends: it waits for these.
func (s *Server) Shutdown(ctx context.Context) error {
	sessions, sockets := s.close()
	for _, sess := range sessions {
		s.removeElsewhere(sess, pollLost, CountEnded)
	}
	for _, sock := range sockets {
		go sock.goAway()
	}
	s.endRepeats()
	done := make(chan struct{})
	go func() { s.idle.Wait(); s.awaitRemovals(); close(done) }()
	defer s.shutDoors()
	select {
	case <-done:
		return s.leave(ctx)
	case <-ctx.Done():
		for _, sock := range sockets {
			sock.abort()
		}
		_ = s.leave(ctx)
		return ctx.Err()
	}
}

// close lets nobody in any more, and lists who is there.
func (s *Server) close() (sessions []*ServerSession, sockets []*socket) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for sock, open := range s.sockets {
		if open {
			sockets = append(sockets, sock)
		}
	}
	return slices.Collect(maps.Values(s.sessions)), sockets
}

func (s *Server) isClosed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

// admit creates a session unless a limit is reached.
func (s *Server) admit(browser string) (*ServerSession, bool) {
	sess := newSession(s, browser)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || len(s.sessions)+s.leaving >= s.cfg.MaxSessions || s.browsers[browser] >= s.cfg.MaxSessionsPerBrowser {
		return nil, false
	}
	s.sessions[sess.id] = sess
	s.browsers[browser]++
	s.observe(GaugeSessions, 1)
	return sess, true
}

func (s *Server) forget(sess *ServerSession) {
	s.registry.dropAll(sess)
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sessions, sess.id)
	s.leaving++
	if s.browsers[sess.browser]--; s.browsers[sess.browser] <= 0 {
		delete(s.browsers, sess.browser)
	}
}

// handshakeAdvice sends a client to a handshake, after a random share of
// HandshakeSpread.
func (s *Server) handshakeAdvice() *Advice {
	a := &Advice{Reconnect: ReconnectHandshake, Interval: ptr[int64](0)}
	if s.cfg.HandshakeSpread > 0 {
		*a.Interval = rand.N(s.cfg.HandshakeSpread).Milliseconds()
	}
	return a
}

// holdPoll counts a connect about to be held, unless its browser has as many as it
// may: the rest of its few connections are for other requests (Bayeux 1.0,
// section 8.1).
func (s *Server) holdPoll(browser string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.polls[browser] >= s.cfg.MaxPollsPerBrowser {
		return false
	}
	s.polls[browser]++
	return true
}

func (s *Server) releasePoll(browser string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.polls[browser]--; s.polls[browser] <= 0 {
		delete(s.polls, browser)
	}
}

// pollAdvice has a client ask now and then instead of being held.
func (s *Server) pollAdvice() *Advice {
	a := s.retryAdvice()
	a.MultipleClients = true
	a.Interval = ptr(s.cfg.MultiSessionInterval.Milliseconds())
	return a
}

func (s *Server) retryAdvice() *Advice {
	return &Advice{
		Reconnect:   ReconnectRetry,
		Interval:    ptr(s.cfg.Interval.Milliseconds()),
		Timeout:     ptr(s.cfg.Timeout.Milliseconds()),
		MaxInterval: ptr(s.cfg.MaxInterval.Milliseconds()),
	}
}

// render passes a reply through the extensions. Nil means it was deleted, or that
// they made it what its client cannot read.
func (s *Server) render(to *ServerSession, m *Message) []byte {
	if to != nil && !s.extendOutgoing(to, m) {
		return nil
	}
	if !m.readable(s.cfg.MaxDepth) {
		s.unsendable(m)
		return nil
	}
	return m.appendTo(nil)
}

type requestKey struct{}

// HTTPRequest returns the HTTP request behind the context of a server-side
// callback: the one that carried the message, or opened its WebSocket. Nil if
// ctx is not such a context.
func HTTPRequest(ctx context.Context) *http.Request {
	r, _ := ctx.Value(requestKey{}).(*http.Request)
	return r
}

// millis bounds a client's number of milliseconds to [0, limit].
func millis(n int64, limit time.Duration) time.Duration {
	if n < 0 {
		return 0
	}
	if n > limit.Milliseconds() {
		return limit
	}
	return time.Duration(n) * time.Millisecond
}
