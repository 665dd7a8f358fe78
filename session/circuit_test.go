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
