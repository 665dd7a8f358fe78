package session_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealedblob/sealedblob/replay"
	"github.com/sealedblob/sealedblob/session"
)

// A hundred clients move to a node while the store hangs. All hear within its time
// that it can't be told, later ones at once; when the store is back each of them
// restores with the same attempt.
func TestStoreThatHangsAndComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j, c := &journal{}, newCluster(t)
		store := c.spied()
		first, second := c.node(), c.observed(j, session.Early{Wait: -1})
		const clients = 100
		sets := make([]session.Presented, clients)
		for i := range sets {
			s, b := shopping(t, first)
			sets[i] = b.set(s.Holder())
			sets[i].Attempt = replay.Owner{1, byte(i)}
		}
		store.restore = func(ctx context.Context) (replay.Restored, error, bool) {
			<-ctx.Done()
			return replay.Restored{}, ctx.Err(), true
		}
		restoreAll := func(want error) (took time.Duration) {
			t.Helper()
			began := time.Now()
			var all sync.WaitGroup
			for _, set := range sets {
				all.Go(func() {
					if _, err := second.Restore(t.Context(), set); !errors.Is(err, want) {
						t.Errorf("%v, want %v", err, want)
					}
				})
			}
			all.Wait()
			return time.Since(began)
		}
		if state := second.Stats().Circuit; state != replay.CircuitClosed {
			t.Errorf("%v at first", state)
		}
		if took := restoreAll(context.DeadlineExceeded); took != 3*time.Second {
			t.Errorf("they heard after %v, want 3 s", took)
		}
		if state := second.Stats().Circuit; state != replay.CircuitOpen {
			t.Errorf("%v while the store hangs", state)
		}
		asked := len(store.restores)
		j.told(t, "restore unavailable circuit_open", func() { _, _ = second.Restore(t.Context(), sets[0]) })
		if took := restoreAll(replay.ErrNotAsked); took != 0 || len(store.restores) != asked {
			t.Errorf("while it is open they waited %v and asked %d times", took, len(store.restores)-asked)
		}
		store.restore = nil
		time.Sleep(250 * time.Millisecond)
		j.told(t, "circuit granted, restore granted", func() { _, _ = second.Restore(t.Context(), sets[0]) })
		if took := restoreAll(nil); took != 0 {
			t.Errorf("after %v", took)
		}
		if got := second.Stats(); got.Circuit != replay.CircuitClosed || got.Sessions != clients {
			t.Errorf("at last %+v", got)
		}
	})
}

// Whoever presents what is refused does not open the circuit for others.
func TestRefusalsLeaveTheCircuitClosed(t *testing.T) {
	j, c := &journal{}, newCluster(t)
	store := c.spied()
	first, second := c.node(), c.observed(j, session.Early{Wait: -1})
	s, b := shopping(t, first)
	set := b.set(s.Holder())
	store.restore = func(context.Context) (replay.Restored, error, bool) {
		return replay.Restored{}, replay.ErrBeforeEpoch, true
	}
	for range 20 {
		j.told(t, "restore refused before_epoch", func() { _, _ = second.Restore(t.Context(), set) })
	}
	store.restore = nil
	j.told(t, "restore granted", func() { _, _ = second.Restore(t.Context(), set) })
}

// Without a store there is no circuit.
func TestCircuitWithoutStore(t *testing.T) {
	c := newCluster(t).with(`{"version": 1, "session": {"idle": "30m", "absolute": "12h"}, "attributes": {"cart": {"ttl": "1h"}}}`)
	c.store = replay.None{}
	if state := c.node().Stats().Circuit; state != replay.CircuitClosed {
		t.Error(state)
	}
}

// Of those who want something of one session at once the store meets one; the
// others wait no longer than for an answer of the store's, and spoil it for nobody.
func TestStoreMeetsOneCallOfASession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		store := c.spied()
		m := c.node()
		s, _ := shopping(t, m)
		store.renew = func(ctx context.Context) (error, bool) {
			select {
			case <-ctx.Done():
				return ctx.Err(), true
			case <-time.After(2 * time.Second):
				return replay.ErrHeld, true
			}
		}
		began := time.Now()
		var all sync.WaitGroup
		for range 50 {
			all.Go(func() {
				if err := s.Logout(t.Context()); !errors.Is(err, session.ErrUnavailable) {
					t.Error(err)
				}
			})
		}
		time.Sleep(time.Second)
		other, _ := shopping(t, m)
		var seat string
		must(t, other.Take(t.Context(), "ticket", replay.Owner{1}, &seat))
		if took := time.Since(began); took != time.Second {
			t.Errorf("another session waited until %v", took)
		}
		all.Wait()
		if took, asked := time.Since(began), len(store.renewals); took != 3*time.Second || asked > 10 { // those whose time ends as their turn comes
			t.Errorf("the store was asked %d times in %v, want a few times in 3 s", asked, took)
		}
		if state := m.Stats().Circuit; state != replay.CircuitClosed {
			t.Errorf("the circuit is %v", state)
		}
	})
}

// Who presents one set many times over while the store hangs keeps none of them in
// memory for longer than the others.
func TestRestoresOfOneSessionWaitBoundedly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		store := c.spied()
		s, b := shopping(t, c.node())
		set, m := b.set(s.Holder()), c.node()
		store.restore = func(ctx context.Context) (replay.Restored, error, bool) {
			<-ctx.Done()
			return replay.Restored{}, ctx.Err(), true
		}
		began := time.Now()
		var all sync.WaitGroup
		for range 4 { // too few to open the circuit
			all.Go(func() {
				if _, err := m.Restore(t.Context(), set); session.Outward(err) != session.ErrUnavailable {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if took := time.Since(began); took > 6*time.Second {
			t.Errorf("the last waited %v, want at most a turn and an answer", took)
		}
	})
}
