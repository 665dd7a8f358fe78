package session_test

import (
	"errors"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/sealedblob/sealedblob/replay"
	"github.com/sealedblob/sealedblob/replay/filestore"
	"github.com/sealedblob/sealedblob/seal"
	"github.com/sealedblob/sealedblob/session"
)

// 64 callers on three nodes want one right: by the session, by the copies that
// it left behind, and by its envelope alone. The answer to the first who reaches
// the store is cut off. One wins, and his repetition learns that he did.
func TestRaceForARight(t *testing.T) {
	folder := func() replay.Store {
		store, err := filestore.Open(filepath.Join(t.TempDir(), "spent"), filestore.Config{})
		must(t, err)
		t.Cleanup(func() { _ = store.Close() })
		return store
	}
	for name, test := range map[string]struct {
		store  replay.Store
		rounds int
	}{
		"memory": {replay.NewMemory(replay.MemoryConfig{}), 1000},
		"file":   {folder(), 20},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t)
			c.store = test.store
			store := c.counted()
			nodes := []*session.Manager{c.node(), c.node(), c.node()}
			for i := range test.rounds {
				store.lost = []string{"take", "claim"}[i%2]
				raceForARight(t, c, nodes)
			}
		})
	}
}

func raceForARight(t *testing.T, c *cluster, nodes []*session.Manager) {
	t.Helper()
	s, b := shopping(t, nodes[0])
	envelope := c.envelopeOf(b.set(s.Holder()), "ticket")
	copies := []*session.Session{s}
	for _, node := range nodes[1:] {
		r, err := node.Restore(t.Context(), b.set(s.Holder()))
		must(t, err)
		copies, b = append(copies, r.Session), connected(t, r.Session)
	}
	take := func(i int) error {
		owner := replay.Owner{byte(i), 1}
		if i%2 == 0 {
			var seat string
			err := copies[i/2%len(copies)].Take(t.Context(), "ticket", owner, &seat)
			if err == nil && seat != "row 7" {
				t.Errorf("won %q", seat)
			}
			return err
		}
		_, _, err := c.verifier().Take(t.Context(), envelope, seal.ID{}, time.Now().Add(time.Second), owner)
		return err
	}
	const callers = 64
	var wg sync.WaitGroup
	errs := make([]error, callers)
	start := make(chan struct{})
	for i := range callers {
		wg.Go(func() {
			<-start
			if errs[i] = take(i); session.Outward(errs[i]) == session.ErrUnavailable && !errors.Is(errs[i], session.ErrMoved) && !errors.Is(errs[i], session.ErrNoAttribute) {
				errs[i] = take(i) // with the same token
			}
		})
	}
	close(start)
	wg.Wait()
	winners, winner := 0, replay.Owner{}
	for i, err := range errs {
		switch {
		case err == nil:
			winners, winner = winners+1, replay.Owner{byte(i), 1}
		case errors.Is(err, replay.ErrReplayed), errors.Is(err, session.ErrMoved), errors.Is(err, session.ErrNoAttribute):
		default:
			t.Errorf("caller %d: %v", i, err)
		}
	}
	if winners != 1 {
		t.Fatalf("%d winners: %v", winners, errs)
	}
	if _, outcome, err := c.verifier().Take(t.Context(), envelope, seal.ID{}, time.Now().Add(time.Second), winner); outcome != replay.Mine || err != nil {
		t.Fatalf("the winner again: %v, %v; want mine", outcome, err)
	}
}
