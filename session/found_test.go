package session_test

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealedblob/sealedblob/replay"
	"github.com/sealedblob/sealedblob/session"
)

// What random programs found, each in its shortest form.

// more, but not after it was used or given up.
func TestRightThatARestoreBurntIsUsedOnce(t *testing.T) {
	for what, use := range map[string]func(*testing.T, *session.Session){
		"taken": func(t *testing.T, s *session.Session) {
			must(t, s.Take(t.Context(), "ticket", replay.Owner{1}, new(string)))
		},
		"deleted":  func(t *testing.T, s *session.Session) { must(t, s.Delete(t.Context(), "ticket")) },
		"replaced": func(t *testing.T, s *session.Session) { must(t, s.Set(t.Context(), "ticket", "row 8")) },
	} {
		c := newCluster(t).with(burning)
		s, err := c.node().Start()
		must(t, err)
		must(t, s.Set(t.Context(), "ticket", "row 7"))
		must(t, s.Save(t.Context()))
		set := connected(t, s).set(s.Holder())
		first, err := c.node().Restore(t.Context(), set)
		must(t, err)
		use(t, first.Session)
		again, err := c.node().Restore(t.Context(), set)
		must(t, err)
		if len(again.Dropped) != 1 || !errors.Is(again.Dropped[0].Reason, replay.ErrReplayed) {
			t.Errorf("%s: dropped %v", what, again.Dropped)
		}
		if err := again.Session.Take(t.Context(), "ticket", replay.Owner{2}, new(string)); !errors.Is(err, session.ErrNoAttribute) {
			t.Errorf("%s, and taken after the restore was repeated: %v", what, err)
		}
	}
}

// A Take of a right that a restore burnt is repeated with its owner, like any.
func TestLostAnswerOfABurntRight(t *testing.T) {
	c := newCluster(t).with(burning)
	store := c.counted()
	s, err := c.node().Start()
	must(t, err)
	must(t, s.Set(t.Context(), "ticket", "row 7"))
	must(t, s.Save(t.Context()))
	r, err := c.node().Restore(t.Context(), connected(t, s).set(s.Holder()))
	must(t, err)
	store.lost = "take"
	if err := r.Session.Take(t.Context(), "ticket", replay.Owner{1}, new(string)); !errors.Is(err, session.ErrUnavailable) {
		t.Fatalf("Take = %v", err)
	}
	if err := r.Session.Take(t.Context(), "ticket", replay.Owner{2}, new(string)); !errors.Is(err, replay.ErrReplayed) {
		t.Errorf("another owner: %v", err)
	}
	must(t, r.Session.Take(t.Context(), "ticket", replay.Owner{1}, new(string)))
}

// sweep comes.
func TestAcknowledgementOfASessionThatIsOver(t *testing.T) {
	lives(t, func(t *testing.T, _ *cluster, m *session.Manager, s *session.Session) {
		must(t, s.Set(t.Context(), "plain", 1))
		must(t, s.Save(t.Context()))
		b := connected(t, s)
		time.Sleep(30 * time.Minute)
		if err := s.Acknowledge(t.Context(), b, b.version); !errors.Is(err, session.ErrEnded) {
			t.Errorf("Acknowledge = %v", err)
		}
		if _, live := m.Live(s.Holder()); live || !b.detached {
			t.Errorf("live %t, detached %t", live, b.detached)
		}
	})
}

// use elsewhere, whether the cookie tells of the move or not.
func TestIdleCopyOfASessionInUseElsewhere(t *testing.T) {
	for _, hinted := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			c := newCluster(t)
			time.Sleep(pastEpoch)
			m := c.node()
			s, b := shopping(t, m)
			h := s.Holder()
			r, err := c.node().Restore(t.Context(), b.set(h))
			must(t, err)
			if hinted {
				h = r.Session.Holder()
			}
			time.Sleep(31 * time.Minute)
			cookie := &http.Cookie{Name: session.LoopbackCookieName, Value: session.CookieValueForTest(h)}
			res := do(m.Middleware(http.HandlerFunc(handler)), request("GET", "/?cart=new", cookie))
			if res.StatusCode != http.StatusServiceUnavailable || len(res.Cookies()) != 0 {
				t.Errorf("hinted %t: %d, %v", hinted, res.StatusCode, res.Cookies())
			}
		})
	}
}

// A session that was never sealed is with nobody else: it does not lapse.
func TestSessionThatWasNeverSealedDoesNotLapse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t).with(`{"version":1,"session":{"idle":"30m","absolute":"12h"},"attributes":{"role":{"authority":"server"}}}`)
		m := c.node()
		s, err := m.Start()
		must(t, err)
		must(t, s.Set(t.Context(), "role", "admin"))
		b := connected(t, s)
		s.Detach(b)
		time.Sleep(time.Minute)
		runFor(t, m, 1500*time.Millisecond)
		if v, err := get(t, s, "role"); v != "admin" || err != nil {
			t.Errorf("the role is %q, %v", v, err)
		}
	})
}

// A client that saw none of two renewals follows them.
func TestClientThatMissedARenewal(t *testing.T) {
	c := newCluster(t)
	s, b := shopping(t, c.node())
	r, err := c.node().Restore(t.Context(), b.set(s.Holder()))
	must(t, err)
	b = connected(t, r.Session)
	held := *b.version
	b.deaf = true
	s = b.login(t, login(t, r.Session, "ada"), "ada")
	must(t, s.Save(t.Context()))
	b.deaf = false
	must(t, s.Acknowledge(t.Context(), b, &held))
	if last := b.pushes[len(b.pushes)-1]; last.Version != s.Version() || last.Over != held {
		t.Errorf("pushed %v over %v, want %v over %v", last.Version, last.Over, s.Version(), held)
	}
}

// An end of logins reaches the sessions of this node that were begun just after the
// one before.
func TestEndOfLoginsTwiceInASecond(t *testing.T) {
	c := newCluster(t).with(refusing)
	m := c.node()
	must(t, m.EndLogins(t.Context(), "ada"))
	s, err := m.Start()
	must(t, err)
	s = login(t, s, "ada")
	must(t, m.EndLogins(t.Context(), "ada"))
	if err := s.Set(t.Context(), "role", "admin"); !errors.Is(err, session.ErrEnded) {
		t.Errorf("Set = %v", err)
	}
}

// Also those that begin between its own beginning and the store's answer: all that the
// revocation ended, and none that came behind it.
func TestSecondEndOfLoginsDuringALogin(t *testing.T) {
	c := newCluster(t)
	store := c.counted()
	m := c.node()
	must(t, m.EndLogins(t.Context(), "ada"))
	s, b := shopping(t, m)
	store.hook = func(_ context.Context, op string) error {
		if op == "revoke subject" {
			store.hook = nil
			s = b.login(t, s, "ada")
			return s.Save(t.Context())
		}
		return nil
	}
	set := func() session.Presented { must(t, s.Acknowledge(t.Context(), b, b.version)); return b.set(s.Holder()) }
	must(t, m.EndLogins(t.Context(), "ada"))
	if !errors.Is(s.Err(), session.ErrEnded) || !b.ended {
		t.Errorf("a login that the second one ended: %v, its client was told %t", s.Err(), b.ended)
	}
	s, b = shopping(t, m)
	s = b.login(t, s, "ada")
	must(t, s.Save(t.Context()))
	if _, err := c.node().Restore(t.Context(), set()); err != nil || s.Err() != nil {
		t.Errorf("a login behind the second one: %v, restored elsewhere: %v", s.Err(), err)
	}
}

// Copies of the former ID that were left behind go on sealing: no version of theirs
// is one of the renewed session's.
func TestVersionsAfterARenewal(t *testing.T) {
	c := newCluster(t)
	s, b := shopping(t, c.node())
	r, err := c.node().Restore(t.Context(), b.set(s.Holder()))
	must(t, err)
	renewed := login(t, r.Session, "ada")
	must(t, renewed.Save(t.Context()))
	for range 3 {
		must(t, s.Set(t.Context(), "cart", []string{"coffee"}))
		must(t, s.Save(t.Context()))
		if s.Version() == renewed.Version() {
			t.Errorf("both have a set of version %v", s.Version())
		}
	}
}
