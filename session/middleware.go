package session

import (
	"context"
	"errors"
	"net/http"
	"time"
)

// StatusHeader tells a client, with status 503, that its session exists but is
// not on this node yet: restore it (shake hands, with the blobs) and repeat the
// request. A request that carries it with the value "none" says that the client
// has nothing to restore from; the middleware then starts a new session instead, but not
// on a node that is being drained.
const (
	StatusHeader   = "Sealed-Session"
	StatusRequired = "required"
	StatusNone     = "none"
)

type contextKey struct{}

// FromContext returns the request's session, or nil outside [Manager.Middleware],
// [Stateless.Middleware] and [NewContext]. A new visitor's session comes to life with the first
// [Session.Set]. After a [Session.Login] it is the renewed one.
func FromContext(ctx context.Context) *Session {
	switch v := ctx.Value(contextKey{}).(type) {
	case *headerHook:
		return v.session.Load()
	case *Session:
		return v
	}
	return nil
}

// request is the response writer of ctx's request, if s is its session; else nil.
func (s *Session) request(ctx context.Context) *headerHook {
	rw, _ := ctx.Value(contextKey{}).(*headerHook)
	if rw != nil && rw.session.Load() == s {
		return rw
	}
	return nil
}

// end ends a session for good, at the word of ctx's request.
func (m *Manager) end(ctx context.Context, s *Session) {
	m.depart(s, loggedOut)
	if rw := s.request(ctx); rw != nil && !s.isRenewed() { // the client has the new cookie by now
		rw.ended.Store(true)
	}
}

// NewContext returns a context with s, for code that was not called by
// [Manager.Middleware]. It seals nothing: call [Session.Save] after changes.
func NewContext(ctx context.Context, s *Session) context.Context {
	return context.WithValue(ctx, contextKey{}, s)
}

// New reports that the visitor has no session yet: nobody but this request knows
// of it. It is never true because a session is on another node; see [Early].
func (s *Session) New() bool { return s.unborn() }

// Middleware gives each request its session and saves it at the request's end.
//
// A request whose cookie names a session that is not on this node waits for it
// as [Config.Early] says, and is then answered with 503, Retry-After and
// [StatusHeader]; never with an empty session. Who comes back to a session that
// ended here, by its idle time or a logout, is a new visitor at once, while this node remembers. For ten
// seconds after a renewal its old cookie is answered 503 with Retry-After alone, since the new one
// may be on its way. So next can tell a visitor
// without a session, for whom [Session.New] is true, from one whose session is
// not here yet, who does not come to it. The response writer that handlers get
// implements Unwrap, Flush and Hijack.
//
// A handler that panics has what it changed before sealed, and the cookie of a session that
// it began or renewed set in the response's header, for whoever recovers and answers:
// the old ID may be over already. If nobody does, that cookie is lost.
func (m *Manager) Middleware(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rw := &responseWriter{r: r}
		rw.ResponseWriter, rw.before = w, rw.setCookie
		s, where := m.forRequest(rw, r)
		if where != here {
			m.notHere(w, r, where)
			return
		}
		rw.session.Store(s)
		defer func() { rw.session.Load().leave() }() // it may have been renewed
		defer func() {
			rw.commit() // after a panic too, for whoever recovers and answers
			m.saveAfter(r.Context(), rw.session.Load())
		}()
		next.ServeHTTP(rw, r.WithContext(context.WithValue(r.Context(), contextKey{}, &rw.headerHook)))
	})
}

// saveAfter seals even when the client went away in the middle.
func (m *Manager) saveAfter(ctx context.Context, s *Session) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), m.cfg.StoreTimeout)
	defer cancel()
	m.unsealed(ctx, s, s.Save(ctx)) // the next request tries again
}

// unsealed tells of changes that were not sealed, if err says so.
func (m *Manager) unsealed(ctx context.Context, s *Session, err error) {
	if err == nil || errors.Is(err, ErrEnded) {
		return
	}
	m.note(ctx, KindUnsealed, s.id, "", err)
	if errors.Is(err, ErrMoved) {
		m.log.Warn("session moved during a request; its changes are lost", "session", short(s.id))
		return
	}
	m.log.Error("session not sealed", "session", short(s.id), "error", err)
}

// forRequest finds the request's session, which it must leave again, or makes a
// new one; where is not here if the session lives elsewhere.
func (m *Manager) forRequest(rw *responseWriter, r *http.Request) (s *Session, where state) {
	h, has := m.Holder(r)
	if has {
		s, where = m.enter(r.Context(), h)
	}
	// While this node is drained nothing begins here, and what has left is only moving.
	anew := r.Header.Get(StatusHeader) == StatusNone && !m.draining.Load()
	if !has && m.repeated(r) && !anew {
		return nil, elsewhere // somebody put a second cookie there: not an empty session
	}
	if has {
		if !anew && (where == elsewhere || where == departing) {
			s, where = m.await(r.Context(), h)
		}
		switch {
		case where == here:
			s.touch()
			rw.held = h
			return s, here
		case where == settling, where == unsure, where != over && !anew:
			return nil, where
		}
	}
	rw.ended.Store(has || m.repeated(r)) // what it brought is over, or given up
	s = m.newSession(func(s *Session) error {
		if rw.committed.Load() {
			return ErrTooLate
		}
		return m.add(s)
	})
	return s, s.enter()
}

// responseWriter sets the session's cookie just before the header is sent.
type responseWriter struct {
	headerHook
	r    *http.Request
	held Holder // what the request's cookie said; zero if it was not used
}

// setCookie writes the cookie if the client's differs from the session's, and
// deletes it in the request that ended the session, found it ended or gave it up,
// unless another session began: it would only meet 503 from then on. In any other response it
// leaves it alone when the session is over: the client may have a newer one.
func (w *responseWriter) setCookie() {
	s := w.session.Load()
	switch lives := s.Err() == nil && !s.unborn(); {
	case lives && s.Holder() != w.held:
		http.SetCookie(w.ResponseWriter, s.m.cookie(w.r, s.Holder().cookieValue(), s.secondsLeft()))
	case !lives && w.ended.Load():
		http.SetCookie(w.ResponseWriter, s.m.cookie(w.r, "", -1))
	default:
		return
	}
	private(w.Header(), "Cookie")
}

// private keeps a response with something of the session's in its header out of
// shared caches.
func private(h http.Header, vary string) {
	if h.Get("Cache-Control") == "" {
		h.Set("Cache-Control", "no-store")
	}
	h.Add("Vary", vary)
}

// secondsLeft is the cookie's life: until the session's absolute expiry.
func (s *Session) secondsLeft() int { return max(1, int(time.Until(s.absolute)/time.Second)) }
