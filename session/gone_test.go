package session_test

import (
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealedblob/sealedblob/replay"
	"github.com/sealedblob/sealedblob/session"
)

// verdictOn makes a request with a holder's cookie, and says what came of it at
// once: "anew", "here", "restore" or "later". Anything that waits fails.
func verdictOn(t *testing.T, m *session.Manager, h session.Holder, status ...string) string {
	t.Helper()
	r, w, began, anew := request("GET", "/", cookieOf(t, h)), httptest.NewRecorder(), time.Now(), false
	for _, value := range status {
		r.Header.Set(session.StatusHeader, value)
	}
	m.Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		anew = session.FromContext(r.Context()).New()
	})).ServeHTTP(w, r)
	required := w.Header().Get(session.StatusHeader) == session.StatusRequired
	if waited := time.Since(began); waited > 0 && !required {
		t.Errorf("answered after %v", waited)
	}
	if deleted := len(w.Result().Cookies()) > 0; deleted != anew {
		t.Errorf("the cookie is deleted %t, a new visitor %t", deleted, anew)
	}
	switch {
	case w.Code == 200 && anew:
		return "anew"
	case w.Code == 200:
		return "here"
	case w.Code != 503 || w.Header().Get("Retry-After") != "1":
		t.Errorf("%d %v", w.Code, w.Header())
	case required:
		return "restore"
	}
	return "later"
}

func wantVerdicts(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s: %s, want %s", what, got, want)
	}
}

// A request beside a login, with the old cookie, gets no session that would take
// the login's cookie from the client. It is told to come again, at once.
func TestRequestBesideALogin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newCluster(t).waiting(session.Early{})
		s, b := shopping(t, m)
		old, set := s.Holder(), b.set(s.Holder())
		s = login(t, s, "ada")
		wantVerdicts(t, "the old cookie", verdictOn(t, m, old), "later")
		wantVerdicts(t, "with nothing to restore", verdictOn(t, m, old, session.StatusNone), "later")
		wantVerdicts(t, "the new cookie", verdictOn(t, m, s.Holder()), "here")
		for what, request := range map[string]session.WireRequest{"a set": wireOf(set), "no set": {V: session.WireVersion}} {
			if got, reply := m.Present(t.Context(), presenting(t, old), request); got != nil || reply.State != session.StateRetry {
				t.Errorf("%s with the old cookie: %v, %+v; its client would drop what it holds", what, got, reply)
			}
		}
		time.Sleep(10 * time.Second) // the login's answer is not on its way any more
		wantVerdicts(t, "the old cookie, later", verdictOn(t, m, old), "anew")
		if _, reply := m.Present(t.Context(), presenting(t, old), wireOf(set)); reply.State != session.StateRefused {
			t.Errorf("the old set, later: %+v", reply)
		}
	})
}

func presenting(t *testing.T, h session.Holder) *http.Request {
	return request("POST", session.RestorePath, cookieOf(t, h))
}

// A login on another node is not taken for a logout: clients of the copy that was
// left behind keep the set that the login may have given them meanwhile.
func TestLoginElsewhereIsNoEnd(t *testing.T) {
	for what, learns := range map[string]func(*testing.T, *session.Manager, *session.Session, *browser) error{
		"by a take": func(t *testing.T, _ *session.Manager, s *session.Session, _ *browser) error {
			return s.Take(t.Context(), "ticket", replay.Owner{1}, new(string))
		},
		"by a restore": func(t *testing.T, m *session.Manager, s *session.Session, b *browser) error {
			_, err := m.Restore(t.Context(), b.set(s.Holder()))
			if !errors.Is(err, session.ErrRevoked) {
				t.Errorf("Restore = %v, want ErrRevoked", err)
			}
			return s.Err()
		},
		"in the background": func(t *testing.T, m *session.Manager, s *session.Session, b *browser) error {
			time.Sleep(15 * time.Second)
			must(t, s.Acknowledge(t.Context(), b, b.version))
			runFor(t, m, 2500*time.Millisecond)
			return s.Err()
		},
	} {
		synctest.Test(t, func(t *testing.T) {
			c := newCluster(t)
			left, right := c.waiting(session.Early{}), c.waiting(session.Early{})
			s, b := shopping(t, left)
			r, err := right.Restore(t.Context(), b.set(s.Holder()))
			must(t, err)
			login(t, r.Session, "ada")
			if err := learns(t, left, s, b); !errors.Is(err, session.ErrMoved) {
				t.Errorf("%s: %v, want ErrMoved", what, err)
			}
			if b.ended || !b.detached {
				t.Errorf("%s: the client was told of an end %t, sent away %t", what, b.ended, b.detached)
			}
			wantVerdicts(t, what, verdictOn(t, left, s.Holder()), "later")
			time.Sleep(10 * time.Second)
			wantVerdicts(t, what+", later", verdictOn(t, left, s.Holder()), "anew")
		})
	}
}

// Who comes back after the idle end, or after a logout, begins anew at once, and not
// after a wait for a restore that can't come.
func TestEndedSessionsAreRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		m, other := c.waiting(session.Early{}), c.node()
		idle, _ := shopping(t, m)
		moved, b := shopping(t, m)
		out, _ := shopping(t, m)
		must(t, out.Logout(t.Context()))
		wantVerdicts(t, "after a logout", verdictOn(t, m, out.Holder()), "anew")
		wantVerdicts(t, "who guesses an ID", verdictOn(t, m, session.HolderForTest(out.ID())), "restore")
		r, err := other.Restore(t.Context(), b.set(moved.Holder()))
		must(t, err)
		for range 31 { // it is in use there
			time.Sleep(time.Minute)
			must(t, r.Session.Acknowledge(t.Context(), connected(t, r.Session), nil))
		}
		runFor(t, m, 1500*time.Millisecond)
		if n := m.Stats().Sessions; n != 0 {
			t.Fatalf("%d sessions were not swept", n)
		}
		wantVerdicts(t, "in use elsewhere", verdictOn(t, m, moved.Holder()), "restore")
		later := idle.Holder()
		later.Fence++
		wantVerdicts(t, "a cookie of a later fence", verdictOn(t, m, later), "restore")
		wantVerdicts(t, "after the idle end", verdictOn(t, m, idle.Holder()), "anew")
		wantVerdicts(t, "once more", verdictOn(t, m, idle.Holder()), "anew")
	})
}

// Of a session that expired here the store may know a login on another node since.
func TestExpiredHereRenewedElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		m := c.waiting(session.Early{})
		s, b := shopping(t, m)
		time.Sleep(20 * time.Minute)
		r, err := c.node().Restore(t.Context(), b.set(s.Holder()))
		must(t, err)
		time.Sleep(11 * time.Minute)
		runFor(t, m, 1500*time.Millisecond)
		login(t, r.Session, "ada")
		wantVerdicts(t, "at once", verdictOn(t, m, s.Holder()), "later")
		wantVerdicts(t, "again", verdictOn(t, m, s.Holder()), "later")
		time.Sleep(10 * time.Second)
		wantVerdicts(t, "later", verdictOn(t, m, s.Holder()), "anew")
	})
}

// A store that can't say whether another node has the session makes nobody a new visitor.
func TestEndedSessionNeedsTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		answer := true
		c.store = &tongue{c.store, &answer}
		m := c.waiting(session.Early{})
		s, _ := shopping(t, m)
		time.Sleep(31 * time.Minute)
		answer = false
		wantVerdicts(t, "with a mute store", verdictOn(t, m, s.Holder()), "restore")
		answer = true
		wantVerdicts(t, "when it answers", verdictOn(t, m, s.Holder()), "anew")
	})
}

// tongue is a store that may be told not to answer acknowledgements.
type tongue struct {
	replay.Store
	answers *bool
}

func (s *tongue) Acknowledge(ctx context.Context, held ...replay.Place) ([]replay.Verdict, error) {
	if !*s.answers {
		return nil, errDisk
	}
	return s.Store.Acknowledge(ctx, held...)
}

// What is remembered is bounded: the oldest are forgotten first.
func TestEndedSessionsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		m, err := session.New(t.Context(), session.Config{Keys: c.ring, Policy: c.policy, Store: c.store, App: "shop", MaxSessions: 24})
		must(t, err)
		holders := make([]session.Holder, 9)
		for i := range holders {
			s, _ := shopping(t, m)
			holders[i] = s.Holder()
			must(t, s.Logout(t.Context()))
		}
		for i, want := range []string{"restore", "restore", "restore", "anew", "anew", "anew", "anew", "anew", "anew"} {
			wantVerdicts(t, "in the order of their ends", verdictOn(t, m, holders[i]), want)
		}
	})
}

// A session that came back, as without a store it may, is not taken for ended.
func TestReturnedSessionIsNotGone(t *testing.T) {
	c := newCluster(t)
	c.store = replay.None{}
	m := c.with(`{"version":1,"session":{"idle":"30m","absolute":"12h"},"attributes":{"cart":{}}}`).node()
	s, err := m.Start()
	must(t, err)
	must(t, s.Set(t.Context(), "cart", "tea"))
	must(t, s.Save(t.Context()))
	b := connected(t, s)
	set := b.set(s.Holder())
	must(t, s.Logout(t.Context()))
	_, err = m.Restore(t.Context(), set)
	must(t, err)
	m.Drain(ended(t))
	wantVerdicts(t, "let go", verdictOn(t, m, s.Holder()), "restore")
}

func ended(t *testing.T) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}

func wireOf(p session.Presented) session.WireRequest {
	return session.WireRequest{
		V: session.WireVersion, Attempt: base64.RawURLEncoding.EncodeToString(p.Attempt[:]), Manifest: p.Manifest, Blobs: p.Blobs,
	}
}

// What a login leaves a client with is no attack on its binding.
func TestSetOfTheFormerID(t *testing.T) {
	m := newCluster(t).node()
	s, b := shopping(t, m)
	set := b.set(s.Holder())
	set.Holder = login(t, s, "ada").Holder()
	if _, err := m.Restore(t.Context(), set); !errors.Is(err, session.ErrSuperseded) {
		t.Errorf("Restore = %v, want ErrSuperseded", err)
	}
}
