package session

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sealedblob/sealedblob/seal"
)

// drainEvery is how often a drain looks at the sessions that are left.
const drainEvery = 20 * time.Millisecond

// errDraining is why nothing begins on a node that is being emptied.
var errDraining = fmt.Errorf("%w: this node is being drained", ErrUnavailable)

// Drained says how a drain ended.
type Drained struct {
	// Sessions is how many have left with everything that they were.
	Sessions int
	// Unacknowledged are the others: what their clients hold is older, or not known.
	Unacknowledged []Unacknowledged
}

// Unacknowledged is a session that was let go though its newest set may be with
// no client. It restores from an older set, if a client has one.
type Unacknowledged struct {
	Session seal.ID
	Newest  Version
	Clients int // that were connected
}

// departure is a session's part in a drain. It is guarded by the session's lock.
type departure struct {
	requests int      // under way in the middleware
	since    *Version // the newest set when the drain first saw the session
	still    bool     // new requests wait until it has left
	noRoom   bool     // the store could not note a floor, being full
}

// Drain empties this node, for good: it begins no session and restores none any
// more, pushes the newest set of each to its clients, waits until all of them
// have acknowledged it and the store knows it as the session's floor, unless it is too
// full to, and then lets the session go, so that its clients shake hands elsewhere. It returns
// when nothing is left, or when ctx ends; then it lets go of the rest as it is.
//
// Requests are served until their session leaves. Once its clients have shown
// that they answer, new ones wait for that moment, so that the newest set stays
// the newest; [Config.Early] bounds them. A session that no client is connected
// to waits for one while it is in use, up to [Config.Lapse] after its last use.
//
// Take the node out of the front first, so that new visitors go elsewhere, and
// go on serving while Drain runs: it needs the clients' answers. It does not
// wait for requests outside [Manager.Middleware].
func (m *Manager) Drain(ctx context.Context) (out Drained) {
	defer func() { m.noteDrain(ctx, out) }()
	m.mu.Lock()
	m.draining.Store(true)
	m.mu.Unlock()
	tick := time.NewTicker(drainEvery)
	defer tick.Stop()
	for {
		m.drainOnce(ctx, &out)
		if m.empty() {
			return out
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			m.letGo(&out, (*Session).abandon)
			return out
		}
	}
}

func (m *Manager) empty() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.sessions) == 0 && len(m.restores) == 0
}

// drainOnce brings every session one step closer to its leaving.
func (m *Manager) drainOnce(ctx context.Context, out *Drained) {
	now := time.Now()
	for _, s := range m.all() {
		if !s.busy() { // or the end of the request seals
			if err := s.Save(ctx); err != nil && !errors.Is(err, ErrMoved) && !errors.Is(err, ErrEnded) {
				m.log.Error("session not sealed, will retry", "session", short(s.id), "error", err)
			}
		}
		s.holdStill()
	}
	m.flush(ctx, now)
	m.letGo(out, func(s *Session) (func(), *Unacknowledged) { return s.depart(now) })
}

// letGo lets all those sessions go of which leave gives a way to tell their
// clients. leave makes the session unusable in the same step in which it judges
// it, so that no change falls between.
func (m *Manager) letGo(out *Drained, leave func(*Session) (tell func(), behind *Unacknowledged)) {
	for _, s := range m.all() {
		tell, behind := leave(s)
		if tell == nil {
			continue
		}
		m.remove(s, ErrMoved)
		tell()
		if behind == nil {
			out.Sessions++
			continue
		}
		out.Unacknowledged = append(out.Unacknowledged, *behind)
		m.log.Warn("session let go with its newest set not acknowledged", "session", short(s.id), "version", FormatVersion(behind.Newest), "clients", behind.Clients)
	}
}

// enter counts a request in, unless the session is about to leave.
func (s *Session) enter() state {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.ended != nil:
		return elsewhere
	case s.leaving.still:
		return departing
	}
	s.leaving.requests++
	return here
}

// leave counts a request out.
func (s *Session) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leaving.requests--
}

func (s *Session) busy() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.leaving.requests > 0
}

// holdStill makes new requests wait once every client has acknowledged
// something in this drain: then the rest takes a moment. A client that is mute
// must not keep the others from their session.
func (s *Session) holdStill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.leaving.since == nil {
		v := s.version
		s.leaving.since = &v
	}
	s.leaving.still = s.leaving.still || len(s.clients) > 0 && !s.floor().Less(*s.leaving.since)
}

// depart makes the session unusable here if its time has come: nothing is under
// way or unsealed, and its clients and the store know its newest set, or there
// is nobody to wait for. tell is nil if not.
func (s *Session) depart(now time.Time) (tell func(), behind *Unacknowledged) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended != nil || s.leaving.requests > 0 || s.changed(now) {
		return nil, nil
	}
	abandoned := len(s.clients) == 0 && now.Sub(s.used) >= s.m.cfg.Lapse && now.Sub(s.alone) >= s.m.cfg.Lapse
	if known := s.acknowledged() && (len(s.clients) == 0 || s.floorKnown() || s.leaving.noRoom); !known && !abandoned {
		return nil, nil
	}
	behind = s.unacknowledged()
	return s.end(ErrMoved), behind
}

// abandon makes the session unusable here as it is.
func (s *Session) abandon() (tell func(), behind *Unacknowledged) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended != nil {
		return nil, nil
	}
	behind = s.unacknowledged()
	if behind == nil && s.changed(time.Now()) {
		behind = &Unacknowledged{s.id, s.version, len(s.clients)}
	}
	return s.end(ErrMoved), behind
}

// acknowledged reports whether every client that is connected, or the last one
// that was, holds the newest set. s.mu is held.
func (s *Session) acknowledged() bool {
	if len(s.clients) == 0 {
		return s.kept == s.version
	}
	return s.floor() == s.version
}

// unacknowledged describes the session if it is. s.mu is held.
func (s *Session) unacknowledged() *Unacknowledged {
	if s.acknowledged() {
		return nil
	}
	return &Unacknowledged{s.id, s.version, len(s.clients)}
}
