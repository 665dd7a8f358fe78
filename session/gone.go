package session

import (
	"context"
	"sync"
	"time"

	"github.com/sealedblob/sealedblob/replay"
	"github.com/sealedblob/sealedblob/seal"
)

// settles is how long a request with an ID that was renewed, or that the store
// calls revoked, is told to come again: the answer with the new cookie may be on
// its way to the client, whom a new session would take it from. After that it was
// lost, or there was none.
const settles = 10 * time.Second

// gone remembers which sessions ended here, so that who still has their cookie
// begins anew at once, instead of waiting for a restore that can't come. It holds
// the newest few in two halves: when one is full, the older one is forgotten.
type gone struct {
	mu         sync.Mutex
	half       int // entries of one half
	young, old map[seal.ID]departed
}

// departed is what is left of a session.
type departed struct {
	binding string       // of the holder
	at      replay.Place // generation 0: what to ask the store
	how     ending
	since   time.Time
}

// ending is why a session is no longer here.
type ending int

const (
	expired   ending = iota // unused for too long here; another node may have it by now
	loggedOut               // on this node: over for certain
	replaced                // renewed, here or elsewhere, or logged out elsewhere: the store's word tells no difference
)

func (g *gone) add(id seal.ID, d departed) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.young) >= g.half {
		g.old, g.young = g.young, nil
	}
	if g.young == nil {
		g.young = make(map[seal.ID]departed)
	}
	g.young[id] = d
}

// forget is for a session that came back.
func (g *gone) forget(id seal.ID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.young, id)
	delete(g.old, id)
}

// of finds what is left of h's session; a stranger finds nothing.
func (g *gone) of(h Holder) (d departed, known bool) {
	g.mu.Lock()
	d, known = g.young[h.Session]
	if !known {
		d, known = g.old[h.Session]
	}
	g.mu.Unlock()
	return d, known && h.holds(d.binding)
}

// depart removes a session and remembers how it left.
func (m *Manager) depart(s *Session, how ending) {
	why := ErrEnded
	if how == replaced {
		why = ErrMoved
	}
	if m.remove(s, why) {
		m.remember(s, how)
	}
}

func (m *Manager) remember(s *Session, how ending) {
	if s.visit != nil {
		return // nothing of it stays here
	}
	s.mu.Lock()
	at := s.place(0)
	s.mu.Unlock()
	m.gone.add(s.id, departed{s.binding, at, how, time.Now()})
	m.arrivals.tell(s.holder)
}

// revoked lets go of a session of which the store says so, and says what it
// means: a login that was ended is over; else the session was logged out, or
// renewed by a login, on another node. Its clients are not told an end then: they
// shake hands again, with what they have by now, and learn it there.
func (m *Manager) revoked(ctx context.Context, s *Session) error {
	s.mu.Lock()
	l := s.login
	s.mu.Unlock()
	how := replaced
	if l.subject != "" {
		// Asked also for a caller that leaves: the session goes now, and its clients are told why only once.
		if cut, err := m.cut(context.WithoutCancel(ctx), l.subject); err == nil && cut.Unix() >= l.since {
			how = loggedOut
		}
	}
	m.depart(s, how)
	return s.Err()
}

// left says what becomes of a request whose session is not here: settling, if it
// should just come again; over, if it may begin anew; else elsewhere.
func (m *Manager) left(ctx context.Context, h Holder) state {
	switch d, known := m.gone.of(h); {
	case !known, d.how == expired && h.Fence > d.at.Version.Fence:
		return elsewhere
	case d.how == expired:
		return m.stayed(ctx, h, d)
	case d.settling():
		return settling
	}
	return over
}

// settling reports that the answer with the cookie that takes the place of the
// session's may be on its way.
func (d departed) settling() bool { return d.how == replaced && time.Since(d.since) < settles }

// replacing is left for who must not ask the store.
func (m *Manager) replacing(h Holder) bool {
	d, known := m.gone.of(h)
	return known && d.settling()
}

// stayed asks the store whether a session that expired here has stayed under this
// node's fence, so that nobody has it. A store that can't tell makes no new visitor.
func (m *Manager) stayed(ctx context.Context, h Holder, d departed) state {
	if m.storeless {
		return over
	}
	ctx, cancel := context.WithTimeout(ctx, m.cfg.StoreTimeout)
	defer cancel()
	verdicts, err := m.cfg.Store.Acknowledge(ctx, d.at) // generation 0: a question
	if err != nil || len(verdicts) != 1 {
		return elsewhere
	}
	switch verdicts[0] {
	case replay.Granted, replay.Refused: // of a session out of the store's reach no set restores
		return over
	case replay.Revoked:
		d.how, d.since = replaced, time.Now()
		m.gone.add(h.Session, d)
		return settling
	}
	m.gone.forget(h.Session)
	return elsewhere
}
