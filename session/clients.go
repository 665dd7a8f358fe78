package session

import (
	"context"
	"time"

	"github.com/sealedblob/sealedblob/replay"
)

// maxClients bounds the clients of a session: each change is sent to each.
const maxClients = 64

// Attach connects a client to the session. What it holds is unknown until it
// says so ([Session.Acknowledge]); changes are pushed from now on. The error is
// [ErrEnded], [ErrMoved] or, if 64 others are attached, [ErrTooManyClients].
func (s *Session) Attach(c Client) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended != nil {
		return s.ended
	}
	if _, attached := s.clients[c]; !attached && len(s.clients) >= maxClients {
		return ErrTooManyClients
	}
	s.clients[c] = nil
	s.alone = time.Time{}
	return nil
}

// Detach forgets a client. If it was the last one, the session may be let go
// after [Config.Lapse].
func (s *Session) Detach(c Client) {
	s.mu.Lock()
	defer s.mu.Unlock()
	held, attached := s.clients[c]
	if !attached {
		return
	}
	delete(s.clients, c)
	if len(s.clients) == 0 {
		s.alone, s.kept = time.Now(), Version{}
		if held != nil {
			s.kept = *held
		}
	}
}

// Acknowledge notes which set a client holds (nil: none) and counts as a use
// of the session. If that is not the newest set, the newest is pushed in full:
// so a lost push is sent again. A client that says it holds a higher fence may have
// learnt that the session moved: the store is asked, and if it moved it is let go
// here and Acknowledge returns [ErrMoved]. A session that was idle for too long is over: [ErrEnded].
// What a client says that is not attached counts for nothing.
func (s *Session) Acknowledge(ctx context.Context, c Client, held *Version) error {
	if attached, err := s.attached(c); !attached {
		return err
	}
	if s.behind(held) && (s.m.storeless || !s.m.livesHere(ctx, s)) {
		s.m.passivate(s)
		return s.Err()
	}
	if s.over(time.Now()) { // and was not swept yet, or is gone
		s.m.depart(s, expired)
		return s.Err()
	}
	s.touch()
	if err := s.hold(c, held); err != nil {
		return err
	}
	return s.Save(ctx)
}

// attached also says why the session is no longer usable here.
func (s *Session) attached(c Client) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, attached := s.clients[c]
	return attached, s.ended
}

// behind reports that a client holds a set of a later fence: the session has
// moved. What it holds of the session's former ID says nothing.
func (s *Session) behind(held *Version) bool {
	return held != nil && held.Fence > s.Version().Fence && s.former.Less(*held)
}

// hold notes what c holds, and pushes the newest set if that is not it.
func (s *Session) hold(c Client, held *Version) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, attached := s.clients[c]; !attached {
		return s.ended
	}
	s.clients[c] = held
	if s.replica.manifest != "" && (held == nil || *held != s.version) {
		c.Push(s.whole())
	}
	return nil
}

// report is what to tell the store of a session.
type report struct {
	of      *Session
	at      replay.Place
	checked time.Time // when the store was last asked about it
}

// report says what to tell the store: the version that every connected client
// holds, if the store does not know it yet; or, for a session that is in use
// and was not asked about lately, its fence alone.
func (s *Session) report(now time.Time) (r report, due bool) {
	if !s.mu.TryLock() { // one session must not hold up all
		return report{}, false
	}
	defer s.mu.Unlock()
	if s.ended != nil || s.begin != nil {
		return report{}, false
	}
	if v := s.floor(); !s.floorKnown() && s.stored.Less(v) {
		return report{s, s.place(v.Gen), s.checked}, true
	}
	if s.used.After(s.checked) && now.Sub(s.checked) >= checkEvery {
		return report{s, s.place(0), s.checked}, true
	}
	return report{}, false
}

// floorKnown reports that the store knows all of the floor that matters: an
// older set would bring nothing back but an earlier idle end. s.mu is held.
func (s *Session) floorKnown() bool { return !s.stored.Less(s.matters) }

// floor is the version that every connected client holds under this fence, or
// nothing. s.mu is held.
func (s *Session) floor() Version {
	if len(s.clients) == 0 {
		return Version{}
	}
	lowest := s.version
	for _, held := range s.clients {
		if held == nil || held.Fence != s.version.Fence {
			return Version{}
		}
		if held.Less(lowest) {
			lowest = *held
		}
	}
	return lowest
}

func (s *Session) reported(now time.Time, v Version) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.checked = now
	if s.stored.Less(v) {
		s.stored = v
	}
}

// noRoom notes that the store is too full for the session's floor.
func (s *Session) noRoom() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leaving.noRoom = true
}

// due says why the session is to be let go: [ErrEnded] when it is over,
// [ErrMoved] when its last client left some time ago and holds everything; nil
// otherwise, or when somebody holds the session's lock: there is a next time.
func (s *Session) due(now time.Time, after time.Duration) error {
	if !s.mu.TryLock() {
		return nil
	}
	defer s.mu.Unlock()
	switch {
	case s.isOver(now):
		return ErrEnded
	case s.lapsed(now, after):
		return ErrMoved
	}
	return nil
}

// lapsed reports that the last client left some time ago and holds everything: of
// a session that was never sealed nobody holds anything. s.mu is held.
func (s *Session) lapsed(now time.Time, after time.Duration) bool {
	return len(s.clients) == 0 && !s.alone.IsZero() && s.kept == s.version && s.replica.manifest != "" && now.Sub(s.alone) >= after
}
