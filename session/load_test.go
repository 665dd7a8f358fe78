package session_test

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealedblob/sealedblob/session"
)

// The store's whole load: nothing for a request, one round trip for a restore,
// one for a client that joins, one for a right, and in the background one for all.
func TestLoadOnTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		store := c.counted()
		here, there := c.node(), c.node()
		h := here.Middleware(http.HandlerFunc(handler))
		s, b := shopping(t, here)
		store.since(t, "a thousand requests", nil, func() {
			for range 500 {
				do(h, request("GET", "/", cookieOf(t, s.Holder())))
				do(h, request("GET", "/?cart=coffee", cookieOf(t, s.Holder())))
				must(t, s.Acknowledge(t.Context(), b, b.version))
			}
		})
		var others []*session.Session
		for range 99 {
			other, ob := shopping(t, here)
			must(t, other.Acknowledge(t.Context(), ob, ob.version))
			others = append(others, other)
		}
		store.since(t, "what a hundred clients acknowledged", map[string]int{"acknowledge": 1}, func() { runFor(t, here, 5500*time.Millisecond) })
		var r session.Restored
		store.since(t, "a restore", map[string]int{"restore": 1}, func() {
			var err error
			r, err = there.Restore(t.Context(), b.set(s.Holder()))
			must(t, err)
			must(t, r.Session.Save(t.Context()))
		})
		b2 := connected(t, r.Session)
		store.since(t, "a second tab", map[string]int{"acknowledge": 1}, func() {
			joined, err := there.Restore(t.Context(), b2.set(r.Session.Holder()))
			if must(t, err); !joined.Joined {
				t.Error("not joined")
			}
		})
		store.since(t, "a right", map[string]int{"take": 1}, func() {
			must(t, r.Session.Take(t.Context(), "ticket", session.Owner{1}, new(string)))
		})
		store.since(t, "a login", map[string]int{"cut": 2, "renew": 1}, func() { login(t, others[0], "ada") })
		store.since(t, "a logout", map[string]int{"renew": 1}, func() { must(t, others[1].Logout(t.Context())) })
		store.since(t, "the end of a subject's logins", map[string]int{"revoke subject": 1}, func() { must(t, here.EndLogins(t.Context(), "ada")) })
	})
}

// A page that is open keeps its session alive by its connects alone. What this
// moves is nothing that must not be undone: the store hears of it as little as of reading.
func TestConnectsKeepASessionAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t).with(`{"version":1,"session":{"idle":"30m","absolute":"12h"},"attributes":{"cart":{},"seen":{"idle":"20m"}}}`)
		store := &floorSpy{Store: c.store}
		c.store = store
		m := c.node()
		s, err := m.Start()
		must(t, err)
		must(t, s.Set(t.Context(), "cart", "tea"))
		must(t, s.Set(t.Context(), "seen", 1))
		must(t, s.Save(t.Context()))
		b := connected(t, s)
		runFor(t, m, 1500*time.Millisecond)
		if store.floors != 1 {
			t.Errorf("%d floors were raised by two changes of one request, want 1", store.floors)
		}
		for range 180 { // 90 minutes, three times the idle limit
			time.Sleep(28 * time.Second)
			must(t, s.Get("seen", new(int)))
			must(t, s.Acknowledge(t.Context(), b, b.version))
			runFor(t, m, 2*time.Second)
		}
		if _, live := m.Live(s.Holder()); !live {
			t.Error("the session ended")
		}
		if v := s.Version(); v.Gen < 10 || store.floors != 1 {
			t.Errorf("at %v, and %d floors were raised: want the idle ends moved, and 1", v, store.floors)
		}
		r, err := c.node().Restore(t.Context(), b.set(s.Holder()))
		if err != nil || r.Session.Expires() != s.Expires() {
			t.Errorf("its newest set: %v", err)
		}
	})
}
