package session

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/sealedblob/sealedblob/replay"
	"github.com/sealedblob/sealedblob/seal"
)

// Session is one user's state on this node. It is safe for concurrent use. A session
// lives on one node at a time: its methods return [ErrMoved] when this one has learnt
// that it lives elsewhere by now, and [ErrEnded] when it is over.
type Session struct {
	m        *Manager
	id       seal.ID
	holder   Holder    // its Fence is not used; see Version
	binding  string    // of the holder; that of the manifest names the key as well
	absolute time.Time // axp: never moves
	former   Version   // the newest of the sessions that renewals put this one in the place of
	formerID seal.ID   // of the last of them

	// What asks the store takes its turn, so that s.mu is not held meanwhile. A
	// generation is sealed in a change's turn: a watermark names the next one.
	changing turn
	taking   turn
	unsure   map[string]doubt // rights of which a Take could not tell; nil: none; guarded by taking

	visit *visit // the one request of a [Stateless] session; nil for all others

	mu           sync.Mutex
	begin        func() error // non-nil until the session exists outside this request
	ended        error        // why it is no longer usable here
	login        login
	key          string // thumbprint; empty: none
	formerKey    bool   // it was proved before the last renewal, and by nobody since
	next         Holder // drawn for a renewal, and kept for its repetition
	underRenewal bool
	renewed      bool // it goes on as another session, of the ID of next
	version      Version
	matters      Version // the newest that did more than to move idle ends
	used         time.Time
	attrs        map[string]*attribute
	replica      replica
	clients      map[Client]*Version // what each connected client holds; nil: nothing known
	stored       Version             // the floor that the store knows
	checked      time.Time           // when the store last said that the session lives here
	alone        time.Time           // when the last client left
	kept         Version             // what the last client that left held
	leaving      departure
}

// login is who is logged in, and since when in Unix seconds; zero if nobody is.
type login struct {
	subject string
	since   int64
}

// session makes h's session, of which nothing is known yet, with room for some attributes.
func (m *Manager) session(h Holder, binding string, now time.Time, room int) *Session {
	return &Session{
		m: m, id: h.Session, holder: h, binding: binding, changing: newTurn(), taking: newTurn(),
		used: now, checked: now, attrs: make(map[string]*attribute, room), clients: map[Client]*Version{},
	}
}

// newSession makes a session that nobody knows yet; begin is called, under the
// session's lock, when its first attribute is set.
func (m *Manager) newSession(begin func(*Session) error) *Session {
	now := m.now()
	h := newHolder()
	s := m.session(h, h.binding(), now, 0)
	s.absolute = now.Add(m.cfg.Policy.Session().Absolute)
	s.begin = func() error { return begin(s) }
	return s
}

// Start makes a session outside HTTP, for programs that carry the holder's
// cookie themselves. Within a request use [FromContext]. [ErrUnavailable] says that
// memory is full ([Config.MaxSessions]) or the node is being drained.
func (m *Manager) Start() (*Session, error) {
	s := m.newSession(func(*Session) error { return nil })
	s.begin = nil
	return s, m.add(s)
}

// ID is the session's identifier. It is no secret, but it is personal data.
func (s *Session) ID() seal.ID { return s.id }

// Holder returns what the session cookie proves, at the present fence.
func (s *Session) Holder() Holder {
	h := s.holder
	h.Fence = s.Version().Fence
	return h
}

// Version is the fence and generation of the newest sealed set. Until this node has
// sealed one it is where the session came from; zero for a new one.
func (s *Session) Version() Version {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.version
}

// Expires is when the session ends whatever its use.
func (s *Session) Expires() time.Time { return s.absolute }

// Err is nil while the session can be used here, and then [ErrEnded] or
// [ErrMoved].
func (s *Session) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ended
}

// Subject is who is logged in; empty if nobody is. See [Session.Login].
func (s *Session) Subject() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.login.subject
}

// start makes the session known outside its first request. s.mu is held.
func (s *Session) start() error {
	if s.begin == nil {
		return nil
	}
	if err := s.begin(); err != nil {
		return err
	}
	s.begin = nil
	return nil
}

// place is the session as it is here, at generation gen. s.mu is held.
func (s *Session) place(gen uint64) replay.Place {
	p := replay.Place{Session: s.m.sessionKey(s.id), Version: Version{Fence: s.version.Fence, Gen: gen}, KeepUntil: s.m.keepUntil(s.absolute)}
	if s.login.subject != "" {
		p.Login = replay.Login{Subject: s.m.subjectKey(s.login.subject), Since: time.Unix(s.login.since, 0)}
	}
	return p
}

// heed does what the store says of a session that it does not grant something,
// and returns why.
func (s *Session) heed(ctx context.Context, v replay.Verdict, err error) error {
	switch {
	case err != nil:
		return fmt.Errorf("%w: %w", Outward(err), err)
	case v == replay.Revoked && s.renewing(ctx):
		return errRenewing
	case v == replay.Revoked:
		return s.m.revoked(ctx, s)
	case v != replay.Granted:
		s.m.passivate(s)
		return ErrMoved
	}
	return nil
}

// unborn reports that nobody but this request knows the session.
func (s *Session) unborn() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.begin != nil
}

// kill makes the session unusable here and tells its clients if it has ended; it
// reports whether it was usable until then.
func (s *Session) kill(why error) bool {
	s.mu.Lock()
	if s.ended != nil {
		s.mu.Unlock()
		return false
	}
	tell := s.end(why)
	s.mu.Unlock()
	tell()
	return true
}

// end makes a usable session unusable here. s.mu is held; tell, which informs
// its clients, is for when it is not.
func (s *Session) end(why error) (tell func()) {
	s.ended = why
	s.replica.wipe()
	clients := s.clients
	s.clients = nil
	end := Push{Version: s.version, End: true}
	return func() {
		for c := range clients {
			if errors.Is(why, ErrEnded) {
				c.Push(end)
			}
			c.Detached()
		}
	}
}

// over reports that the session is no longer to be used: it ended, its time is
// up, or something that its policy requires has expired.
func (s *Session) over(now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.isOver(now)
}

// isOver is over; s.mu is held.
func (s *Session) isOver(now time.Time) bool {
	if s.ended != nil || !now.Before(s.absolute) || !now.Before(s.used.Add(s.m.cfg.Policy.Session().Idle)) {
		return true
	}
	for name, a := range s.attrs {
		if rule, _ := s.m.cfg.Policy.Rule(name); rule.Required && a.expired(now) {
			return true
		}
	}
	return false
}

// touch counts as a use of the session.
func (s *Session) touch() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.used = s.m.now()
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}
