package session_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealedblob/sealedblob/replay"
	"github.com/sealedblob/sealedblob/session"
)

// perPlace is a store that takes its time for each session it is told of.
type perPlace struct {
	replay.Store
	answered [][]replay.Place
}

func (p *perPlace) Acknowledge(ctx context.Context, held ...replay.Place) ([]replay.Verdict, error) {
	select {
	case <-time.After(time.Duration(len(held)) * 2 * time.Millisecond):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	p.answered = append(p.answered, held)
	return p.Store.Acknowledge(ctx, held...)
}

// recordOf is the session's name in the store.
func recordOf(s *session.Session) replay.ID {
	id := s.ID()
	return replay.NewID("4:shop", "session", id[:])
}

// With many sessions one call would take longer than a store may, and none would
// ever learn that it was logged out elsewhere.
func TestManySessionsAreReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		store := &perPlace{Store: c.store}
		c.store = store
		time.Sleep(pastEpoch)
		m := c.node()
		start := func(n int) (all []*session.Session) {
			for range n {
				s, err := m.Start()
				must(t, err)
				all = append(all, s)
			}
			return all
		}
		const many = 1500
		first := start(many)
		time.Sleep(5 * time.Second)
		last := start(many)
		time.Sleep(20 * time.Second)
		for _, s := range append(first, last...) { // they are in use
			b := &browser{}
			must(t, s.Attach(b))
			must(t, s.Acknowledge(t.Context(), b, nil))
		}
		must(t, store.Revoke(t.Context(), recordOf(last[0]), time.Now().Add(13*time.Hour)))
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go m.Run(ctx)
		time.Sleep(9500 * time.Millisecond)
		cancel()
		synctest.Wait() // nothing is under way
		if len(store.answered) < 3 {
			t.Fatalf("%d calls were answered", len(store.answered))
		}
		oldest := make(map[replay.ID]bool, many)
		for _, s := range first {
			oldest[recordOf(s)] = true
		}
		for _, p := range store.answered[0] {
			if !oldest[p.Session] {
				t.Fatal("a younger session came before an older one")
			}
		}
		if last[0].Err() == nil || first[0].Err() != nil {
			t.Errorf("logged out elsewhere: %v; not so: %v", last[0].Err(), first[0].Err())
		}
	})
}
