package session_test

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealedblob/sealedblob/replay"
	"github.com/sealedblob/sealedblob/replay/filestore"
	"github.com/sealedblob/sealedblob/session"
)

const epochPolicy = `{"version":1,"session":{"idle":"30m","absolute":"12h"},"attributes":{"cart":{},"login":{},"role":{"rollback":"refuse"},
	"ticket":{"ttl":"10m","once":true},"reset":{"ttl":"10m","once":true,"max_bytes":64},"invite":{"ttl":"10m","once":true}}}`

// The store's epoch is raised while nodes live on, past their clocks. A node that is
// refused something for that asks for it again: what it seals until its clock has come
// there restores, and its rights can be taken.
func TestEpochRaisedUnderALivingNode(t *testing.T) {
	type world struct {
		m     *session.Manager
		s     *session.Session // logged in, on m
		b     *browser
		other session.Presented // lives elsewhere
		grant string
	}
	for what, refused := range map[string]func(ctx context.Context, w world) error{
		"restore": func(ctx context.Context, w world) error { _, err := w.m.Restore(ctx, w.other); return err },
		"take":    func(ctx context.Context, w world) error { return w.s.Take(ctx, "ticket", owner(), new(string)) },
		"protect": func(ctx context.Context, w world) error { return w.s.Set(ctx, "role", "admin") },
		"renew":   func(ctx context.Context, w world) error { _, err := w.s.Renew(ctx); return err },
		"claim": func(ctx context.Context, w world) error {
			_, err := session.TakeGrant(ctx, w.m, reset, w.grant, owner(), nil)
			return err
		},
		"acknowledge": func(ctx context.Context, w world) error {
			must(t, w.s.Acknowledge(ctx, w.b, &session.Version{Fence: 7, Gen: 7}))
			return replay.ErrBeforeEpoch // it has none of its own
		},
	} {
		synctest.Test(t, func(t *testing.T) {
			store, err := filestore.Open(filepath.Join(t.TempDir(), "spent"), filestore.Config{})
			must(t, err)
			defer store.Close()
			c := newCluster(t).with(epochPolicy)
			c.store = store
			time.Sleep(pastEpoch + 100*time.Millisecond)
			elsewhere, b := shopping(t, c.node())
			w := world{m: c.node(), other: b.set(elsewhere.Holder())}
			w.grant = issue(t, w.m)
			w.s, w.b = shopping(t, w.m)
			w.s = w.b.login(t, w.s, "ada")
			must(t, w.s.Save(t.Context()))
			must(t, store.RaiseEpoch(t.Context()))
			if err := refused(t.Context(), w); !errors.Is(err, replay.ErrBeforeEpoch) {
				t.Errorf("%s: %v", what, err)
			}
			later, b := shopping(t, w.m)
			r, err := c.node().Restore(t.Context(), b.set(later.Holder()))
			if err != nil {
				t.Errorf("after a %s: what is sealed since: %v", what, err)
				return
			}
			must(t, r.Session.Take(t.Context(), "ticket", replay.Owner{1}, new(string)))
		})
	}
}

// raising is a cluster whose store can be told to begin anew, and that it began a while ago.
func raising(t *testing.T, policy string) (*cluster, *filestore.Store) {
	t.Helper()
	store, err := filestore.Open(filepath.Join(t.TempDir(), "spent"), filestore.Config{})
	must(t, err)
	t.Cleanup(func() { store.Close() })
	c := newCluster(t).with(policy)
	c.store = store
	time.Sleep(pastEpoch)
	return c, store
}

// What one node seals at a new epoch another one takes that has not heard of it, however
// little leeway there is.
func TestEpochIsLearntFromWhatIsSealedAtIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, store := raising(t, strings.Replace(epochPolicy, `"idle"`, `"leeway":"1s","idle"`, 1))
		unaware := c.node()
		must(t, store.RaiseEpoch(t.Context()))
		aware := c.node()
		s, b := shopping(t, aware)
		r, err := unaware.Restore(t.Context(), b.set(s.Holder()))
		must(t, err)
		must(t, r.Session.Take(t.Context(), "ticket", owner(), new(string)))
		if _, err := session.TakeGrant(t.Context(), unaware, reset, issue(t, unaware), owner(), nil); err != nil {
			t.Errorf("what it issues since: %v", err)
		}
	})
}

// A node that runs hears of a new epoch though nobody is refused anything.
func TestEpochIsAskedForByTheWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, store := raising(t, epochPolicy)
		m := c.node()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go m.Run(ctx)
		must(t, store.RaiseEpoch(t.Context()))
		time.Sleep(1100 * time.Millisecond)
		s, b := shopping(t, m)
		_, err := c.node().Restore(t.Context(), b.set(s.Holder()))
		must(t, err)
		_, err = session.TakeGrant(t.Context(), c.node(), reset, issue(t, m), owner(), nil)
		must(t, err)
	})
}

// What a node whose clock is ahead, but within the leeway, has sealed is of no use
// until the store's clock comes near: its user is told to try again, and is right to.
func TestSealedByAClockThatIsAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j, c := &journal{}, newCluster(t).with(epochPolicy)
		time.Sleep(pastEpoch)
		s, b := shopping(t, c.node())
		set := c.forge(b.set(s.Holder()), func(f *forgery) { f.manifest.IssuedAt += 20 })
		m := c.observed(j, session.Early{})
		j.told(t, "restore unavailable dated_ahead", func() {
			if _, err := m.Restore(t.Context(), set); !errors.Is(err, replay.ErrAhead) || session.Outward(err) != session.ErrUnavailable {
				t.Errorf("Restore = %v", err)
			}
		})
		time.Sleep(20*time.Second - replay.MaxAhead)
		_, err := m.Restore(t.Context(), set)
		must(t, err)
	})
}

// Who presents old sets does not have the epoch asked for each time.
func TestEpochIsAskedForOnceASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		s, b := shopping(t, c.node())
		time.Sleep(5 * time.Second)
		c.store = replay.NewMemory(replay.MemoryConfig{})
		time.Sleep(pastEpoch)
		store := c.tallied()
		m := c.node()
		store.asked = 0
		for range 10 {
			if _, err := m.Restore(t.Context(), b.set(s.Holder())); !errors.Is(err, replay.ErrBeforeEpoch) {
				t.Errorf("an older set: %v", err)
			}
		}
		if store.asked != 11 {
			t.Errorf("the store was asked %d times about 10 sets, want 11", store.asked)
		}
	})
}
