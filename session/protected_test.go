package session_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealedblob/sealedblob/policy"
	"github.com/sealedblob/sealedblob/replay"
	"github.com/sealedblob/sealedblob/seal"
	"github.com/sealedblob/sealedblob/session"
)

const (
	refusing    = `{"version":1,"session":{"idle":"30m","absolute":"12h"},"attributes":{"role":{"rollback":"refuse"},"cart":{}}}`
	withholding = `{"version":1,"session":{"idle":"30m","absolute":"12h"},"attributes":{"role":{"rollback":"drop"},"cart":{}}}`
)

// ranked makes a session with a role and a cart, and its browser.
func ranked(t testing.TB, m *session.Manager) (*session.Session, *browser) {
	t.Helper()
	s, err := m.Start()
	must(t, err)
	must(t, s.Set(t.Context(), "role", "admin"))
	must(t, s.Set(t.Context(), "cart", "tea"))
	must(t, s.Save(t.Context()))
	return s, connected(t, s)
}

// A set from before a protected change is refused, or goes on without the
// attribute, though nobody acknowledged anything newer.
func TestProtectedChangeIsNotRolledBack(t *testing.T) {
	changes := map[string]func(*testing.T, *session.Session) error{
		"set":    func(t *testing.T, s *session.Session) error { return s.Set(t.Context(), "role", "guest") },
		"delete": func(t *testing.T, s *session.Session) error { return s.Delete(t.Context(), "role") },
		"update": func(t *testing.T, s *session.Session) error {
			return session.Update(session.NewContext(t.Context(), s), policy.Attr[string]("role"), func(string) (string, error) { return "guest", nil })
		},
	}
	for name, change := range changes {
		c := newCluster(t).with(refusing)
		s, b := ranked(t, c.node())
		old := b.set(s.Holder())
		must(t, change(t, s))
		if _, err := c.node().Restore(t.Context(), old); !errors.Is(err, session.ErrRolledBack) {
			t.Errorf("%s, not yet sealed: the older set: %v", name, err)
		}
		must(t, s.Save(t.Context()))
		if _, err := c.node().Restore(t.Context(), old); !errors.Is(err, session.ErrRolledBack) {
			t.Errorf("%s: the older set: %v", name, err)
		}
		r, err := c.node().Restore(t.Context(), b.set(s.Holder()))
		must(t, err)
		if v, _ := get(t, r.Session, "role"); v == "admin" {
			t.Errorf("%s: undone", name)
		}

		c = newCluster(t).with(withholding)
		s, b = ranked(t, c.node())
		old = b.set(s.Holder())
		must(t, change(t, s))
		r, err = c.node().Restore(t.Context(), old)
		must(t, err)
		if _, err := get(t, r.Session, "role"); !errors.Is(err, session.ErrNoAttribute) {
			t.Errorf("%s: the role came back: %v", name, err)
		}
		if v, err := get(t, r.Session, "cart"); err != nil || v != "tea" {
			t.Errorf("%s: the cart: %q, %v", name, v, err)
		}
		if len(r.Dropped) != 1 || r.Dropped[0].Name != "role" || !errors.Is(r.Dropped[0].Reason, policy.ErrNotAllowed) {
			t.Errorf("%s: dropped %v", name, r.Dropped)
		}
		again, err := c.node().Restore(t.Context(), old) // the same attempt
		must(t, err)
		if _, err := get(t, again.Session, "role"); !errors.Is(err, session.ErrNoAttribute) {
			t.Errorf("%s: the role came back at the second try: %v", name, err)
		}
	}
}

// The store knows of the change before anybody sees it, and without the store
// there is no change.
func TestProtectedChangeAsksFirst(t *testing.T) {
	c := newCluster(t).with(refusing)
	store := c.counted()
	s, b := ranked(t, c.node())
	was := "admin"
	store.hook = func(_ context.Context, op string) error {
		if v, err := get(t, s, "role"); v != was || err != nil {
			t.Errorf("the change was seen before the store knew: %q, %v", v, err)
		}
		was = "nobody"
		return nil
	}
	store.since(t, "a protected change", map[string]int{"protect": 1}, func() { must(t, s.Set(t.Context(), "role", "guest")) })
	was = "guest"
	store.since(t, "two of one request", map[string]int{"protect": 2}, func() {
		must(t, s.Set(t.Context(), "role", "nobody"))
		must(t, s.Delete(t.Context(), "role"))
	})
	store.since(t, "nothing is there to delete", nil, func() { must(t, s.Delete(t.Context(), "role")) })
	store.since(t, "ordinary changes", nil, func() {
		must(t, s.Set(t.Context(), "cart", "coffee"))
		must(t, s.Save(t.Context()))
	})
	store.hook = func(_ context.Context, op string) error { return errDisk }
	for what, err := range map[string]error{"Set": s.Set(t.Context(), "role", "root"), "Update": session.Update(session.NewContext(t.Context(), s), policy.Attr[string]("role"), func(string) (string, error) { return "root", nil })} {
		if !errors.Is(err, session.ErrUnavailable) {
			t.Errorf("%s without an answer: %v", what, err)
		}
	}
	if _, err := get(t, s, "role"); !errors.Is(err, session.ErrNoAttribute) {
		t.Errorf("an unanswered change took place: %v", err)
	}
	store.hook = nil
	must(t, s.Save(t.Context()))
	if _, err := c.node().Restore(t.Context(), b.set(s.Holder())); err != nil {
		t.Errorf("the newest set: %v", err)
	}
}

// A watermark whose answer was lost does not lock the owner out.
func TestLostAnswerOfAProtectedChange(t *testing.T) {
	c := newCluster(t).with(refusing)
	store := c.counted()
	s, b := ranked(t, c.node())
	store.lost = "protect"
	if err := s.Set(t.Context(), "role", "guest"); !errors.Is(err, session.ErrUnavailable) {
		t.Fatalf("Set = %v", err)
	}
	if v, _ := get(t, s, "role"); v != "admin" {
		t.Errorf("the role is %q", v)
	}
	must(t, s.Save(t.Context())) // the end of the request
	r, err := c.node().Restore(t.Context(), b.set(s.Holder()))
	must(t, err)
	if v, _ := get(t, r.Session, "role"); v != "admin" {
		t.Errorf("the role is %q", v)
	}
}

// Nobody can roll back to before the first set: a visitor's first request asks
// nobody. A restored session has older sets elsewhere.
func TestFirstProtectedChangeIsFree(t *testing.T) {
	c := newCluster(t).with(refusing)
	store := c.counted()
	m := c.node()
	s, err := m.Start()
	must(t, err)
	store.since(t, "a new session", nil, func() {
		must(t, s.Set(t.Context(), "role", "admin"))
		must(t, s.Set(t.Context(), "role", "guest"))
		must(t, s.Save(t.Context()))
	})
	b := connected(t, s)
	r, err := c.node().Restore(t.Context(), b.set(s.Holder()))
	must(t, err)
	store.since(t, "a restored one", map[string]int{"protect": 1}, func() { must(t, r.Session.Set(t.Context(), "role", "nobody")) })
	if err := s.Set(t.Context(), "role", "admin"); !errors.Is(err, session.ErrMoved) {
		t.Errorf("on the node that it left: %v", err)
	}
	if _, live := m.Live(s.Holder()); live {
		t.Error("the copy that was left behind goes on")
	}
}

// A generation that is sealed while the store is asked would lie on the wrong
// side of the watermark.
func TestSavesWaitForAProtectedChange(t *testing.T) {
	c := newCluster(t).with(refusing)
	store := c.counted()
	s, b := ranked(t, c.node())
	old := s.Version()
	saved := make(chan error, 1)
	store.hook = func(_ context.Context, op string) error {
		if op == "protect" {
			must(t, s.Set(t.Context(), "cart", "coffee"))
			go func() { saved <- s.Save(t.Context()) }()
			select {
			case err := <-saved:
				t.Error("a set was sealed in between")
				saved <- err
			case <-time.After(50 * time.Millisecond):
			}
		}
		return nil
	}
	must(t, s.Set(t.Context(), "role", "guest"))
	must(t, <-saved)
	if v := s.Version(); v.Gen != old.Gen+1 {
		t.Errorf("sealed %v after %v", v, old)
	}
	r, err := c.node().Restore(t.Context(), b.set(s.Holder()))
	must(t, err)
	if v, _ := get(t, r.Session, "role"); v != "guest" {
		t.Errorf("the role is %q", v)
	}
}

// A caller that gives up does not wait for another's change.
func TestChangeEndsWithItsCaller(t *testing.T) {
	c := newCluster(t).with(refusing)
	store := c.counted()
	s, _ := ranked(t, c.node())
	inside, release := make(chan struct{}), make(chan struct{})
	store.hook = func(_ context.Context, op string) error {
		close(inside)
		<-release
		return nil
	}
	first := make(chan error, 1)
	go func() { first <- s.Set(t.Context(), "role", "guest") }()
	<-inside
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Set(ctx, "role", "root"); !errors.Is(err, session.ErrUnavailable) {
		t.Errorf("Set = %v", err)
	}
	if err := s.Set(t.Context(), "cart", "coffee"); err != nil { // an ordinary one waits for nobody
		t.Error(err)
	}
	close(release)
	must(t, <-first)
}

// A store that grants what it was asked to refuse is no pass.
func TestStrictRestoreThatWasGranted(t *testing.T) {
	c := newCluster(t).with(refusing)
	spy := c.spied()
	s, b := ranked(t, c.node())
	spy.restore = func(context.Context) (replay.Restored, error, bool) {
		return replay.Restored{Verdict: replay.Granted, Fence: 1, BehindWatermark: true}, nil, true
	}
	if _, err := c.node().Restore(t.Context(), b.set(s.Holder())); !errors.Is(err, session.ErrRolledBack) {
		t.Errorf("Restore = %v", err)
	}
	if !spy.restores[0].Strict {
		t.Error("not asked strictly")
	}
}

// Whose rule keeps it on the server never leaves it.
func TestServerAttributeIsNeverSealed(t *testing.T) {
	c := newCluster(t).with(`{"version":1,"session":{"idle":"30m","absolute":"12h"},"attributes":{"role":{"authority":"server"},"cart":{}}}`)
	s, b := ranked(t, c.node())
	if len(b.blobs) != 1 {
		t.Errorf("the client holds %d blobs", len(b.blobs))
	}
	if v, err := get(t, s, "role"); v != "admin" || err != nil {
		t.Errorf("here: %q, %v", v, err)
	}
	pushes := len(b.pushes)
	must(t, s.Set(t.Context(), "role", "guest"))
	must(t, s.Save(t.Context()))
	must(t, s.Delete(t.Context(), "role"))
	must(t, s.Save(t.Context()))
	if len(b.pushes) != pushes {
		t.Error("a change of it was pushed")
	}
	must(t, s.Set(t.Context(), "role", "guest"))
	s = b.login(t, s, "ada")
	if v, err := get(t, s, "role"); v != "guest" || err != nil {
		t.Errorf("after a login: %q, %v", v, err)
	}
	must(t, s.Save(t.Context()))
	r, err := c.node().Restore(t.Context(), b.set(s.Holder()))
	must(t, err)
	if _, err := get(t, r.Session, "role"); !errors.Is(err, session.ErrNoAttribute) {
		t.Errorf("elsewhere: %v", err)
	}
}

const burning = `{"version":1,"session":{"idle":"30m","absolute":"12h"},"attributes":{"ticket":{"ttl":"10m","once":true,"burn":"restore"},"cart":{}}}`

// A right that burns when it is restored comes to one node, once.
func TestRightThatARestoreBurns(t *testing.T) {
	c := newCluster(t).with(burning)
	m := c.node()
	s, err := m.Start()
	must(t, err)
	must(t, s.Set(t.Context(), "ticket", "row 7"))
	must(t, s.Set(t.Context(), "cart", "tea"))
	must(t, s.Save(t.Context()))
	b := connected(t, s)
	first := b.set(s.Holder())
	right := c.envelopeOf(first, "ticket")
	r, err := c.node().Restore(t.Context(), first)
	must(t, err)
	if v, err := get(t, r.Session, "ticket"); v != "row 7" || err != nil {
		t.Errorf("restored: %q, %v", v, err)
	}
	b2 := connected(t, r.Session)
	if len(b2.blobs) != 1 {
		t.Errorf("a spent right was sealed again: %d blobs", len(b2.blobs))
	}
	if _, _, err := c.verifier().Take(t.Context(), right, seal.ID{}, time.Now().Add(time.Second), replay.Owner{9}); !errors.Is(err, replay.ErrReplayed) {
		t.Errorf("its envelope alone: %v", err)
	}
	again, err := c.node().Restore(t.Context(), first) // the very attempt, after a crash: it holds the right
	must(t, err)
	if err := r.Session.Take(t.Context(), "ticket", replay.Owner{1}, new(string)); !errors.Is(err, session.ErrMoved) {
		t.Errorf("on the node that it left: %v", err)
	}
	var seat string
	must(t, again.Session.Take(t.Context(), "ticket", replay.Owner{1}, &seat))
	if err := again.Session.Take(t.Context(), "ticket", replay.Owner{1}, &seat); !errors.Is(err, session.ErrNoAttribute) {
		t.Errorf("a second time: %v", err)
	}
}

// Another attempt with the same right gets the rest of the set.
func TestRightBurntByAnotherRestore(t *testing.T) {
	c := newCluster(t).with(burning)
	s, err := c.node().Start()
	must(t, err)
	must(t, s.Set(t.Context(), "ticket", "row 7"))
	must(t, s.Set(t.Context(), "cart", "tea"))
	must(t, s.Save(t.Context()))
	b := connected(t, s)
	must(t, s.Take(t.Context(), "ticket", replay.Owner{1}, new(string)))
	r, err := c.node().Restore(t.Context(), b.set(s.Holder()))
	must(t, err)
	if len(r.Dropped) != 1 || !errors.Is(r.Dropped[0].Reason, replay.ErrReplayed) {
		t.Errorf("dropped %v", r.Dropped)
	}
	if _, err := get(t, r.Session, "cart"); err != nil {
		t.Error(err)
	}
}

// A store that answers less than it was asked is no pass.
func TestShortAnswer(t *testing.T) {
	for name, text := range map[string]string{"a right to burn": burning, "a right to look at": shopPolicy} {
		c := newCluster(t).with(text)
		spy := c.spied()
		s, err := c.node().Start()
		must(t, err)
		must(t, s.Set(t.Context(), "ticket", "row 7"))
		must(t, s.Save(t.Context()))
		b := connected(t, s)
		spy.restore = func(context.Context) (replay.Restored, error, bool) {
			return replay.Restored{Verdict: replay.Granted, Fence: 1}, nil, true
		}
		if _, err := c.node().Restore(t.Context(), b.set(s.Holder())); session.Outward(err) != session.ErrUnavailable {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Of a right from before the store's memory the store can't tell.
func TestRightFromBeforeTheEpoch(t *testing.T) {
	for word, refused := range map[string]bool{"refuse": true, "drop": false} {
		text := `{"version":1,"session":{"idle":"30m","absolute":"12h"},"attributes":{"ticket":{"ttl":"10m","once":true,"store_down":"` + word + `"},"cart":{}}}`
		synctest.Test(t, func(t *testing.T) {
			c := newCluster(t).with(text)
			s, err := c.node().Start()
			must(t, err)
			must(t, s.Set(t.Context(), "ticket", "row 7"))
			time.Sleep(10 * time.Second)
			c.store = replay.NewMemory(replay.MemoryConfig{}) // begins with nothing
			time.Sleep(pastEpoch)
			must(t, s.Set(t.Context(), "cart", "tea"))
			must(t, s.Save(t.Context()))
			b := connected(t, s)
			r, err := c.node().Restore(t.Context(), b.set(s.Holder()))
			if refused {
				if !errors.Is(err, policy.ErrStoreDown) || session.Outward(err) != session.ErrUnavailable {
					t.Errorf("%s: %v", word, err)
				}
				return
			}
			must(t, err)
			if len(r.Dropped) != 1 || !errors.Is(r.Dropped[0].Reason, policy.ErrStoreDown) || len(r.Session.Attributes()) != 1 {
				t.Errorf("%s: dropped %v", word, r.Dropped)
			}
		})
	}
}

// Rules that need a memory are refused without one.
func TestRulesThatNeedAStore(t *testing.T) {
	for name, text := range map[string]string{"refuse": refusing, "drop": withholding, "burn": burning, "once": shopPolicy} {
		c := newCluster(t).with(text)
		if _, err := session.New(t.Context(), session.Config{Keys: c.ring, Policy: c.policy, Store: replay.None{}, App: "shop"}); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
