package session_test

import (
	"errors"
	"testing"

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
