package session

import (
	"sync"
	"time"

	"github.com/sealedblob/sealedblob/seal"
)

// shared are the derived keys of a [Stateless]. A session that stays on a node has
// keys of its own; one that comes with each request would have them derived anew
// each time, for most of what the request costs. So here a salt serves all
// sessions that are sealed on this node for a while.
type shared struct {
	scope   seal.Scope
	most    int       // sealings of a whole set under one salt
	openers sync.Pool // of *sharedOpener

	mu     sync.Mutex
	sealer *seal.Sealer
	left   int
	until  time.Time
}

const (
	// saltLife is how long sessions are sealed under one salt: as long can two
	// visitors who compare their sets see that they have the same attributes.
	saltLife = 10 * time.Minute
	// openerLife is how long derived keys are kept for opening, and how late a
	// change of the primary key is noticed.
	openerLife = time.Second
	// saltSeals is the limit of SPEC §2 for one derived key.
	saltSeals = 1 << 20
)

func newShared(scope seal.Scope, attributes int) *shared {
	return &shared{scope: scope, most: saltSeals / (attributes + 1)}
}

// sealFor returns the sealer for one whole set.
func (s *shared) sealFor(ring *seal.Ring, now time.Time) (*seal.Sealer, error) {
	primary, err := ring.Primary(now)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sealer == nil || s.left == 0 || !now.Before(s.until) || s.sealer.KeyID() != primary.ID() {
		// The old one is not wiped: another request may be sealing with it.
		if s.sealer, err = ring.NewSealer(s.scope, now); err != nil {
			return nil, err
		}
		s.left, s.until = s.most, now.Add(saltLife)
	}
	s.left--
	return s.sealer, nil
}

// sharedOpener is an opener with what it was made for.
type sharedOpener struct {
	*seal.Opener
	ring  *seal.Ring
	until time.Time
}

// open returns an opener that no other goroutine uses until it is given back.
func (s *shared) open(ring *seal.Ring, now time.Time) *sharedOpener {
	if o, _ := s.openers.Get().(*sharedOpener); o != nil {
		if o.ring == ring && now.Before(o.until) {
			return o
		}
		o.Wipe()
	}
	return &sharedOpener{ring.NewOpener(s.scope, now), ring, now.Add(openerLife)}
}

// sealer seals one session's set. It is the session's own unless it is shared.
func (m *Manager) sealer(ring *seal.Ring, now time.Time) (*seal.Sealer, error) {
	if m.shared != nil {
		return m.shared.sealFor(ring, now)
	}
	return ring.NewSealer(m.scope, now)
}

// opener opens one set; done is for when it is open.
func (m *Manager) opener(ring *seal.Ring, now time.Time) (o *seal.Opener, done func()) {
	if m.shared != nil {
		o := m.shared.open(ring, now)
		return o.Opener, func() { m.shared.openers.Put(o) }
	}
	o = ring.NewOpener(m.scope, now)
	return o, o.Wipe
}
