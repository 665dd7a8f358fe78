package session

import (
	"context"
	"net/http"
	"sync"
	"time"
)

// Early says what becomes of a request that comes before its session: when a
// client moves to this node, its requests may overtake the handshake that
// restores its session here.
type Early struct {
	// Wait is how long such a request waits. Zero: 2 s; negative: not at all, for
	// clients that restore by [Manager.RestoreHandler] alone and only after a 503.
	Wait time.Duration
	// Parked bounds the requests that wait on this node, and ParkedPerSession
	// those of one session; one too many is answered at once. Zero: 1,000 and 16.
	Parked, ParkedPerSession int
	// NotHere answers the requests whose session did not come. Nil: [NotHerePage].
	// [FromContext] gives it nil: the visitor has a session, elsewhere.
	// Retry-After, Cache-Control and, where restoring helps, [StatusHeader] are
	// set; it writes the status, and should write 503 unless it serves such a page.
	NotHere http.Handler
}

func (e Early) withDefaults() Early {
	if e.Wait == 0 {
		e.Wait = 2 * time.Second
	}
	if e.Parked == 0 {
		e.Parked = 1000
	}
	if e.ParkedPerSession == 0 {
		e.ParkedPerSession = 16
	}
	if e.NotHere == nil {
		e.NotHere = NotHerePage{}
	}
	return e
}

// arrivals are the requests that wait for their session, by holder: whoever
// knows no secret takes nobody's place but a stranger's.
type arrivals struct {
	mu       sync.Mutex
	parked   int
	byHolder map[Holder]*arrival
}

type arrival struct {
	news   chan struct{} // closed, and made anew, when the session came or left
	over   bool          // its client said that it has nothing to restore from
	parked int
}

// waiter is the holder without the hint.
func waiter(h Holder) Holder {
	h.Fence = 0
	return h
}

// park takes a place among those who wait for h's session. Nil: no room.
func (a *arrivals) park(h Holder, limits Early) *arrival {
	a.mu.Lock()
	defer a.mu.Unlock()
	at := a.byHolder[waiter(h)]
	if a.parked >= limits.Parked || at != nil && at.parked >= limits.ParkedPerSession {
		return nil
	}
	if at == nil {
		at = &arrival{news: make(chan struct{})}
		a.byHolder[waiter(h)] = at
	}
	a.parked++
	at.parked++
	return at
}

func (a *arrivals) leave(h Holder, at *arrival) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.parked--
	if at.parked--; at.parked == 0 {
		delete(a.byHolder, waiter(h))
	}
}

// next returns a channel that is closed at the next news of at, and whether
// waiting for it is of use.
func (a *arrivals) next(at *arrival) (news <-chan struct{}, useful bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return at.news, !at.over
}

// tell wakes those who wait for h's session: it came, or it left.
func (a *arrivals) tell(h Holder) { a.wake(h, false) }

// giveUp sends them away: their client restores nothing.
func (a *arrivals) giveUp(h Holder) { a.wake(h, true) }

func (a *arrivals) wake(h Holder, over bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if at := a.byHolder[waiter(h)]; at != nil {
		at.over = over
		close(at.news)
		at.news = make(chan struct{})
	}
}

// enter finds h's session for a request, which must leave it again. Of one that
// nobody used here for too long it asks the store: a copy left behind must not make
// an empty session of one that is in use on another node.
func (m *Manager) enter(ctx context.Context, h Holder) (*Session, state) {
	s, where := m.locate(h)
	if where != here {
		return nil, m.left(ctx, h)
	}
	if where = s.enter(); where != here {
		return nil, where
	}
	if m.unsure(s) {
		s.leave()
		return nil, unsure
	}
	return s, here
}

// await is enter for a request that may have come too early, or while its
// session is about to leave: it waits as far as [Config.Early] and ctx allow.
func (m *Manager) await(ctx context.Context, h Holder) (s *Session, where state) {
	began, why := time.Now(), ReasonNotParked
	defer func() { m.noteEarly(ctx, h, where, why, time.Since(began)) }()
	at := m.arrivals.park(h, m.cfg.Early)
	if at == nil {
		return m.enter(ctx, h)
	}
	defer m.arrivals.leave(h, at)
	timeout := time.NewTimer(m.cfg.Early.Wait)
	defer timeout.Stop()
	for {
		news, useful := m.arrivals.next(at) // before looking, so that nothing is missed
		s, where = m.enter(ctx, h)
		if where == here || where == over || where == settling || where == unsure || !useful || where == elsewhere && m.draining.Load() {
			why = ReasonNothingHere
			return s, where
		}
		select {
		case <-news:
		case <-timeout.C:
			why = ReasonTimeout
			return nil, where
		case <-ctx.Done():
			why = ReasonCanceled
			return nil, where
		}
	}
}

// notHere answers a request whose session did not come. One whose session is
// about to leave, or was renewed, comes too soon to bring the set: that is not the
// newest yet.
func (m *Manager) notHere(w http.ResponseWriter, r *http.Request, where state) {
	h := w.Header()
	if where == elsewhere {
		h.Set(StatusHeader, StatusRequired)
	}
	if m.draining.Load() {
		h.Set("Connection", "close") // the next try goes to another node
	}
	h.Set("Retry-After", "1")
	h.Set("Cache-Control", "no-store")
	m.cfg.Early.NotHere.ServeHTTP(w, r)
}
