package session_test

import (
	"errors"
	"testing"
	"time"

	"github.com/sealedblob/sealedblob/session"
)

// A node that is full refuses before it asks the store: it must fence nobody
// out of the node on which there is room.
func TestFullNodeFencesNobody(t *testing.T) {
	c := newCluster(t)
	s, b := shopping(t, c.node())
	spy := c.spied()
	full, err := session.New(t.Context(), session.Config{Keys: c.ring, Policy: c.policy, Store: c.store, App: "shop", MaxSessions: 1})
	must(t, err)
	_, err = full.Start()
	must(t, err)
	if r, err := full.Restore(t.Context(), b.set(s.Holder())); r.Session != nil || !errors.Is(err, session.ErrUnavailable) {
		t.Errorf("Restore on a full node = %v, %v", r.Session, err)
	}
	if len(spy.restores) != 0 {
		t.Error("the store was asked")
	}
	if _, err := c.node().Restore(t.Context(), b.set(s.Holder())); err != nil { // with an attempt of its own
		t.Errorf("elsewhere afterwards: %v", err)
	}
}

// Why a session ended is not forgotten when something else would end it too.
func TestTheFirstEndStays(t *testing.T) {
	c := newCluster(t)
	s, b := shopping(t, c.node())
	must(t, s.Logout(t.Context()))
	b.ended, b.detached = false, false
	_ = s.Acknowledge(t.Context(), b, &session.Version{Fence: 9}) // "it moved"
	if err := s.Get("cart", new(any)); !errors.Is(err, session.ErrEnded) {
		t.Errorf("Get = %v, want ErrEnded", err)
	}
	if err := s.Logout(t.Context()); err != nil || b.ended || b.detached {
		t.Errorf("a second logout: %v; its client was told again: %t, %t", err, b.ended, b.detached)
	}
}

// A session in use is sealed again in steps of a quarter of its idle time, so
// that the set a browser holds does not grow old beside a living session.
func TestUseIsSealedInSteps(t *testing.T) {
	lives(t, func(t *testing.T, c *cluster, _ *session.Manager, s *session.Session) {
		must(t, s.Set(t.Context(), "plain", 1))
		must(t, s.Save(t.Context()))
		b := connected(t, s)
		for range 100 { // by the minute
			time.Sleep(time.Minute)
			must(t, s.Acknowledge(t.Context(), b, b.version))
		}
		if n := len(b.pushes); n < 100*60/450-1 || n > 100*60/450+2 {
			t.Errorf("%d pushes in 100 minutes, want one in 7.5", n)
		}
		old := b.set(s.Holder())
		time.Sleep(22 * time.Minute) // three quarters, at the least, are left
		if _, err := c.node().Restore(t.Context(), old); err == nil {
			t.Error("restored beyond the session's absolute end")
		}
	})
	lives(t, func(t *testing.T, c *cluster, _ *session.Manager, s *session.Session) {
		must(t, s.Set(t.Context(), "plain", 1))
		must(t, s.Save(t.Context()))
		b := connected(t, s)
		for range 6 {
			time.Sleep(10 * time.Minute)
			must(t, s.Acknowledge(t.Context(), b, b.version))
		}
		set := b.set(s.Holder())
		time.Sleep(22 * time.Minute)
		if _, err := c.node().Restore(t.Context(), set); err != nil {
			t.Errorf("22 of 30 idle minutes after the last use: %v", err)
		}
	})
}
