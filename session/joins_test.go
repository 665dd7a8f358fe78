package session_test

import (
	"context"
	"errors"
	"testing"

	"github.com/sealedblob/sealedblob/replay"
	"github.com/sealedblob/sealedblob/session"
)

// The answer of the node that took the session over is lost, and the repetition
// comes to the node that had it before. Were the client told that its session
// lives there, it would give up the only token that still restores.
func TestJoiningAsksTheStore(t *testing.T) {
	c := newCluster(t)
	old, taker := c.node(), c.node()
	s, b := shopping(t, old)
	p := b.set(s.Holder())
	if _, err := taker.Restore(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	r, err := old.Restore(t.Context(), p)
	if err != nil || r.Joined || r.Session.Version().Fence != 2 {
		t.Fatalf("the repetition = %+v, %v, want a restore under fence 2", r, err)
	}
	if !errors.Is(s.Err(), session.ErrMoved) || !b.detached {
		t.Errorf("the copy left behind: %v, its client detached: %t", s.Err(), b.detached)
	}
	again, err := old.Restore(t.Context(), p)
	if err != nil || !again.Joined || again.Session != r.Session {
		t.Errorf("once more = %+v, %v, want the same session", again, err)
	}
}

func TestJoiningLearnsOfTheLogout(t *testing.T) {
	c := newCluster(t)
	old, taker := c.node(), c.node()
	s, b := shopping(t, old)
	p := b.set(s.Holder())
	r, err := taker.Restore(t.Context(), p)
	must(t, err)
	must(t, r.Session.Logout(t.Context()))
	if _, err := old.Restore(t.Context(), p); !errors.Is(err, session.ErrRevoked) {
		t.Errorf("Restore = %v, want ErrRevoked", err)
	}
	if !errors.Is(s.Err(), session.ErrMoved) { // or renewed: the store's word is the same
		t.Errorf("the copy left behind: %v", s.Err())
	}
}

// mute is a store that answers no acknowledgement.
type mute struct{ replay.Store }

func (mute) Acknowledge(context.Context, ...replay.Place) ([]replay.Verdict, error) {
	return nil, errors.New("store is down")
}

// Joining restores nothing, so a store that can't tell does not forbid it.
func TestJoiningNeedsNoStore(t *testing.T) {
	c := newCluster(t)
	c.store = mute{c.store}
	m := c.node()
	s, b := shopping(t, m)
	if r, err := m.Restore(t.Context(), b.set(s.Holder())); err != nil || !r.Joined {
		t.Errorf("Restore = %+v, %v, want joined", r, err)
	}
}
