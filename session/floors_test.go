package session_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealedblob/sealedblob/replay"
	"github.com/sealedblob/sealedblob/session"
)

// What no client has, or what one client lacks, must not become the floor:
// its owner would be locked out of the only set that exists.
func TestFloorNeedsEveryClient(t *testing.T) {
	for name, test := range map[string]struct {
		act func(t *testing.T, s *session.Session, b *browser)
		old bool // the older set restores still
	}{
		"all acknowledged": {func(t *testing.T, s *session.Session, b *browser) {
			must(t, s.Acknowledge(t.Context(), b, b.version))
		}, false},
		"not yet acknowledged": {func(*testing.T, *session.Session, *browser) {}, true},
		"a client that has said nothing yet": {func(t *testing.T, s *session.Session, b *browser) {
			must(t, s.Attach(&browser{}))
			must(t, s.Acknowledge(t.Context(), b, b.version))
		}, true},
		"a client that holds nothing": {func(t *testing.T, s *session.Session, b *browser) {
			other := &browser{deaf: true}
			must(t, s.Attach(other))
			must(t, s.Acknowledge(t.Context(), other, nil))
			must(t, s.Acknowledge(t.Context(), b, b.version))
		}, true},
		"the last client left before": {func(t *testing.T, s *session.Session, b *browser) {
			s.Detach(b)
		}, true},
		"a client that boasts": {func(t *testing.T, s *session.Session, b *browser) {
			older := session.Version{Fence: 0, Gen: 1}
			must(t, s.Acknowledge(t.Context(), b, &older))
			boaster := &browser{}
			must(t, s.Attach(boaster))
			must(t, s.Acknowledge(t.Context(), boaster, &session.Version{Fence: 0, Gen: 99}))
		}, true},
	} {
		synctest.Test(t, func(t *testing.T) {
			c := newCluster(t)
			m := c.node()
			s, b := shopping(t, m)
			older := b.set(s.Holder())
			must(t, s.Set(t.Context(), "cart", []string{"paid"}))
			must(t, s.Save(t.Context()))
			newer := b.set(s.Holder())
			test.act(t, s, b)
			runFor(t, m, 2500*time.Millisecond)
			_, err := c.node().Restore(t.Context(), older)
			if test.old && err != nil || !test.old && !errors.Is(err, session.ErrSuperseded) {
				t.Errorf("%s: the older set: %v", name, err)
			}
			if !test.old {
				if _, err := c.node().Restore(t.Context(), newer); err != nil {
					t.Errorf("%s: the newest set: %v", name, err)
				}
			}
		})
	}
}

// Without a store the client's word is all there is.
func TestHigherFenceWithoutAStore(t *testing.T) {
	c := newCluster(t).with(`{"version":1,"session":{"idle":"30m","absolute":"12h"},"attributes":{"cart":{}}}`)
	c.store = replay.None{}
	s, err := c.node().Start()
	must(t, err)
	if err := s.Acknowledge(t.Context(), connected(t, s), &session.Version{Fence: 1, Gen: 1}); !errors.Is(err, session.ErrMoved) {
		t.Errorf("Acknowledge = %v, want ErrMoved", err)
	}
}

// A client with a set of a higher fence has learnt that the session moved.
func TestHigherFenceLetsGo(t *testing.T) {
	c := newCluster(t)
	m := c.node()
	s, b := shopping(t, m)
	_, err := c.node().Restore(t.Context(), b.set(s.Holder()))
	must(t, err)
	if err := s.Acknowledge(t.Context(), b, &session.Version{Fence: 1, Gen: 1}); !errors.Is(err, session.ErrMoved) {
		t.Errorf("Acknowledge = %v, want ErrMoved", err)
	}
	if _, live := m.Live(s.Holder()); live || !b.detached || b.ended {
		t.Errorf("live %t, the client detached %t, ended %t; it must keep its blobs", live, b.detached, b.ended)
	}
	if err := s.Attach(&browser{}); !errors.Is(err, session.ErrMoved) {
		t.Errorf("Attach = %v, want ErrMoved", err)
	}
	s2, _ := shopping(t, m)
	h := s2.Holder()
	h.Fence++
	if _, live := m.Live(h); live {
		t.Error("handed out in spite of the cookie's higher fence")
	}
	if err := s2.Get("cart", new(any)); !errors.Is(err, session.ErrMoved) {
		t.Errorf("Get = %v, want ErrMoved", err)
	}
}

// Whoever is not attached is told nothing and counts for nothing.
func TestStrangersAcknowledgement(t *testing.T) {
	c := newCluster(t)
	s, b := shopping(t, c.node())
	stranger := &browser{}
	_ = s.Acknowledge(t.Context(), stranger, nil)
	must(t, s.Set(t.Context(), "cart", 1))
	must(t, s.Save(t.Context()))
	if len(stranger.pushes) != 0 {
		t.Errorf("a stranger was pushed %d sets", len(stranger.pushes))
	}
	s.Detach(stranger)
	s.Detach(b)
	pushes := len(b.pushes)
	must(t, s.Set(t.Context(), "cart", 2))
	must(t, s.Save(t.Context()))
	_ = s.Acknowledge(t.Context(), b, nil)
	if len(b.pushes) != pushes {
		t.Error("a client that left is still pushed")
	}
}

// A client is sent the newest set whenever it holds another one, newer ones
// of its own invention included; and nothing if it holds that very one.
func TestWhatAnAcknowledgementBrings(t *testing.T) {
	c := newCluster(t)
	s, b := shopping(t, c.node())
	for name, test := range map[string]struct {
		held *session.Version
		sent bool
	}{
		"nothing": {nil, true}, "the newest": {&session.Version{Gen: 1}, false},
		"an older one": {&session.Version{}, true}, "a newer one": {&session.Version{Gen: 9}, true},
	} {
		pushes := len(b.pushes)
		must(t, s.Acknowledge(t.Context(), b, test.held))
		if sent := len(b.pushes) > pushes; sent != test.sent || sent && b.pushes[pushes].Delta {
			t.Errorf("%s: sent %t, want %t", name, sent, test.sent)
		}
	}
}

// Only a session whose last client holds everything is let go.
func TestLapse(t *testing.T) {
	for name, test := range map[string]struct {
		leave func(t *testing.T, s *session.Session, b *browser)
		live  bool
	}{
		"it holds the newest set": {func(t *testing.T, s *session.Session, b *browser) {
			must(t, s.Acknowledge(t.Context(), b, b.version))
			s.Detach(b)
		}, false},
		"it holds an older set": {func(t *testing.T, s *session.Session, b *browser) {
			must(t, s.Acknowledge(t.Context(), b, b.version))
			b.deaf = true
			must(t, s.Set(t.Context(), "cart", 1))
			must(t, s.Save(t.Context()))
			s.Detach(b)
		}, true},
		"it never said what it holds": {func(t *testing.T, s *session.Session, b *browser) {
			must(t, s.Acknowledge(t.Context(), b, b.version))
			s.Detach(b)
			silent := &browser{}
			must(t, s.Attach(silent))
			s.Detach(silent)
		}, true},
		"it came back": {func(t *testing.T, s *session.Session, b *browser) {
			must(t, s.Acknowledge(t.Context(), b, b.version))
			s.Detach(b)
			must(t, s.Attach(b))
		}, true},
		"another one stays": {func(t *testing.T, s *session.Session, b *browser) {
			must(t, s.Attach(&browser{}))
			must(t, s.Acknowledge(t.Context(), b, b.version))
			s.Detach(b)
		}, true},
		"the session changed since": {func(t *testing.T, s *session.Session, b *browser) {
			must(t, s.Acknowledge(t.Context(), b, b.version))
			s.Detach(b)
			must(t, s.Set(t.Context(), "cart", 1))
			must(t, s.Save(t.Context()))
		}, true},
	} {
		synctest.Test(t, func(t *testing.T) {
			c := newCluster(t)
			m := c.node()
			s, b := shopping(t, m)
			test.leave(t, s, b)
			runFor(t, m, 2*time.Minute)
			if _, live := m.Live(s.Holder()); live != test.live {
				t.Errorf("%s: live %t, want %t", name, live, test.live)
			}
			if b.ended {
				t.Errorf("%s: the client was told to drop its set", name)
			}
		})
	}
}

// ackStore notes acknowledgements and fails the first ones.
type ackStore struct {
	replay.Store
	fail []error
	acks []replay.Place
}

func (s *ackStore) Acknowledge(ctx context.Context, acks ...replay.Place) ([]replay.Verdict, error) {
	s.acks = append(s.acks, acks...)
	if len(s.fail) > 0 {
		err := s.fail[0]
		s.fail = s.fail[1:]
		verdicts := make([]replay.Verdict, len(acks))
		for i := range verdicts {
			verdicts[i] = replay.Granted // beside an error it says nothing
		}
		return verdicts, err
	}
	return s.Store.Acknowledge(ctx, acks...)
}

// A floor that the store could not note is told again, one that it knows is not.
func TestFloorIsToldUntilItIsKnown(t *testing.T) {
	for name, fail := range map[string]error{"broken": errDisk, "full": replay.ErrFull} {
		synctest.Test(t, func(t *testing.T) {
			c := newCluster(t)
			store := &ackStore{Store: c.store, fail: []error{fail, fail}}
			c.store = store
			m := c.node()
			s, b := shopping(t, m)
			older := b.set(s.Holder())
			must(t, s.Set(t.Context(), "cart", []string{"paid"}))
			must(t, s.Save(t.Context()))
			must(t, s.Acknowledge(t.Context(), b, b.version))
			runFor(t, m, 5500*time.Millisecond)
			if len(store.acks) != 3 {
				t.Errorf("%s: told %d times, want twice in vain and once more", name, len(store.acks))
			}
			for _, ack := range store.acks {
				if ack.Version != *b.version || !ack.KeepUntil.Equal(s.Expires().Add(2*time.Second)) {
					t.Errorf("%s: told %+v", name, ack)
				}
			}
			if _, err := c.node().Restore(t.Context(), older); !errors.Is(err, session.ErrSuperseded) {
				t.Errorf("%s: the older set: %v", name, err)
			}
		})
	}
}
