package session_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealedblob/sealedblob/policy"
	"github.com/sealedblob/sealedblob/replay"
	"github.com/sealedblob/sealedblob/seal"
	"github.com/sealedblob/sealedblob/session"
)

// A right that is deleted or replaced does not come back with an older set, nor
// by its envelope alone.
func TestReplacedRightIsSpent(t *testing.T) {
	for name, change := range map[string]func(*testing.T, *session.Session) error{
		"delete": func(t *testing.T, s *session.Session) error { return s.Delete(t.Context(), "ticket") },
		"set":    func(t *testing.T, s *session.Session) error { return s.Set(t.Context(), "ticket", "row 8") },
	} {
		c := newCluster(t)
		s, b := shopping(t, c.node())
		old := b.set(s.Holder())
		must(t, change(t, s))
		if _, _, err := c.verifier().Take(t.Context(), c.envelopeOf(old, "ticket"), seal.ID{}, time.Now().Add(time.Second), replay.Owner{9}); !errors.Is(err, replay.ErrReplayed) {
			t.Errorf("%s: the old envelope alone: %v", name, err)
		}
		r, err := c.node().Restore(t.Context(), old)
		must(t, err)
		if _, err := get(t, r.Session, "ticket"); !errors.Is(err, session.ErrNoAttribute) {
			t.Errorf("%s: the old right came back: %v", name, err)
		}
	}
}

// A Take whose answer was lost is repeated when the right was replaced meanwhile:
// it is about the old right, and leaves the new one to be taken.
func TestRepeatedTakeOfAReplacedRight(t *testing.T) {
	c := newCluster(t)
	store := &flaky{Store: c.store}
	c.store = store
	s, _ := shopping(t, c.node())
	mine := owner()
	var seat string
	store.fail = 1
	if err := s.Take(t.Context(), "ticket", mine, &seat); !errors.Is(err, session.ErrUnavailable) {
		t.Fatalf("Take = %v", err)
	}
	must(t, s.Set(t.Context(), "ticket", "row 8"))
	if err := s.Take(t.Context(), "ticket", mine, &seat); err != nil || seat != "row 7" {
		t.Errorf("the repetition: %q, %v", seat, err)
	}
	if err := s.Take(t.Context(), "ticket", owner(), &seat); err != nil || seat != "row 8" {
		t.Errorf("the new right: %q, %v", seat, err)
	}
}

// The store is asked about a right that goes only if somebody may have it.
func TestWhatReplacingARightCosts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		store := c.counted()
		m := c.node()
		s, err := m.Start()
		must(t, err)
		store.since(t, "never sealed", nil, func() {
			must(t, s.Set(t.Context(), "ticket", "row 1"))
			must(t, s.Set(t.Context(), "ticket", "row 2"))
			must(t, s.Delete(t.Context(), "ticket"))
			must(t, s.Set(t.Context(), "ticket", "row 3"))
		})
		must(t, s.Save(t.Context()))
		store.since(t, "sealed", map[string]int{"take": 1}, func() { must(t, s.Set(t.Context(), "ticket", "row 4")) })
		must(t, s.Save(t.Context()))
		must(t, s.Take(t.Context(), "ticket", replay.Owner{1}, new(string)))
		store.since(t, "taken", nil, func() { must(t, s.Set(t.Context(), "ticket", "row 5")) })
		must(t, s.Save(t.Context()))
		b := connected(t, s)
		r, err := c.node().Restore(t.Context(), b.set(s.Holder()))
		must(t, err)
		store.since(t, "restored", map[string]int{"take": 1}, func() { must(t, r.Session.Delete(t.Context(), "ticket")) })
		must(t, r.Session.Set(t.Context(), "ticket", "row 6"))
		must(t, r.Session.Save(t.Context()))
		time.Sleep(11 * time.Minute)
		store.since(t, "expired", nil, func() { must(t, r.Session.Delete(t.Context(), "ticket")) })
	})
}

// Nothing changes unless the store has the old right.
func TestReplacingARightWithoutAnAnswer(t *testing.T) {
	for what, test := range map[string]struct {
		err, want error
		there     bool // the old value
	}{
		"broken":       {errDisk, session.ErrUnavailable, true},
		"before epoch": {replay.ErrBeforeEpoch, nil, false}, // nobody can spend it any more
		"horizon":      {replay.ErrBeyondHorizon, nil, false},
	} {
		c := newCluster(t)
		store := c.counted()
		s, _ := shopping(t, c.node())
		store.hook = func(_ context.Context, op string) error { return test.err }
		if err := s.Set(t.Context(), "ticket", "row 8"); !errors.Is(err, test.want) || (err == nil) != (test.want == nil) {
			t.Errorf("%s: Set = %v", what, err)
		}
		if v, _ := get(t, s, "ticket"); (v == "row 7") != test.there {
			t.Errorf("%s: the ticket is %q", what, v)
		}
	}
	// The session is out of reach, the right is not: it is spent, and nothing changes.
	c := newCluster(t)
	store := c.counted()
	s, _ := shopping(t, c.node())
	store.hook = func(_ context.Context, op string) error {
		if op == "take" {
			return replay.ErrBeyondHorizon
		}
		return nil
	}
	if err := s.Set(t.Context(), "ticket", "row 8"); session.Outward(err) == nil {
		t.Error("changed in a session that the store does not know any more")
	}
	store.hook = nil
	if err := s.Take(t.Context(), "ticket", replay.Owner{1}, new(string)); !errors.Is(err, replay.ErrReplayed) {
		t.Errorf("Take = %v", err)
	}
}

// A right that was taken while it is being replaced is the taker's.
func TestReplacingARightThatIsBeingTaken(t *testing.T) {
	c := newCluster(t)
	store := c.counted()
	s, _ := shopping(t, c.node())
	store.lost = "take"
	if err := s.Take(t.Context(), "ticket", replay.Owner{1}, new(string)); !errors.Is(err, session.ErrUnavailable) {
		t.Fatalf("the lost answer: %v", err)
	}
	must(t, s.Delete(t.Context(), "ticket"))
	var seat string
	if err := s.Take(t.Context(), "ticket", replay.Owner{1}, &seat); err != nil || seat != "row 7" {
		t.Errorf("its owner again: %q, %v", seat, err)
	}
	if err := s.Take(t.Context(), "ticket", replay.Owner{2}, &seat); !errors.Is(err, session.ErrNoAttribute) {
		t.Errorf("somebody else: %v", err)
	}
}

// transaction is one of the caller's own over a store: what is claimed in it is
// claimed when it commits.
type transaction struct {
	replay.Store
	claims []func() error
}

func (x *transaction) Of() replay.Store { return x.Store }

func (x *transaction) Take(ctx context.Context, by replay.Place, owner replay.Owner, right replay.Right) (replay.Verdict, replay.Outcome, error) {
	spent, err := x.Store.Spent(ctx, right.ID)
	if err != nil {
		return replay.Refused, replay.Lost, err
	}
	if spent[0] { // by whom, only a claim says; it writes nothing then
		return x.Store.Take(ctx, by, owner, right)
	}
	x.claims = append(x.claims, func() error {
		_, _, err := x.Store.Take(context.WithoutCancel(ctx), by, owner, right)
		return err
	})
	return replay.Granted, replay.Won, nil
}

func (x *transaction) commit(t testing.TB) {
	t.Helper()
	for _, claim := range x.claims {
		must(t, claim())
	}
}

// A right is spent with the caller's transaction, or not at all.
func TestTakeInATransaction(t *testing.T) {
	c := newCluster(t)
	s, _ := shopping(t, c.node())
	ctx, ticket := session.NewContext(t.Context(), s), policy.Once[string]("ticket")
	take := func(what string, x replay.Spender, owner replay.Owner, want replay.Outcome, wantErr error) {
		t.Helper()
		seat, outcome, err := session.TakeTx(ctx, x, ticket, owner)
		if outcome != want || !errors.Is(err, wantErr) || (err == nil) != (wantErr == nil) || (err == nil) != (seat == "row 7") {
			t.Errorf("%s: %q, %v, %v; want %v, %v", what, seat, outcome, err, want, wantErr)
		}
	}
	rolledBack, committed := &transaction{Store: c.store}, &transaction{Store: c.store}
	take("rolled back later", rolledBack, replay.Owner{1}, replay.Won, nil)
	take("after it was rolled back", committed, replay.Owner{2}, replay.Won, nil)
	committed.commit(t)
	take("the answer was cut off", &transaction{Store: c.store}, replay.Owner{2}, replay.Mine, nil)
	take("another", &transaction{Store: c.store}, replay.Owner{3}, replay.Lost, replay.ErrReplayed)
	take("gone from the session", &transaction{Store: c.store}, replay.Owner{2}, replay.Lost, session.ErrNoAttribute)

	s, _ = shopping(t, c.node())
	ctx = session.NewContext(t.Context(), s)
	committed = &transaction{Store: c.store}
	take("won", committed, replay.Owner{1}, replay.Won, nil)
	committed.commit(t)
	must(t, session.Delete(ctx, ticket))
	take("deleted after the commit", committed, replay.Owner{1}, replay.Lost, session.ErrNoAttribute)
}

// around is a store of an application's own around the one that spends.
type around struct{ replay.Store }

func (a *around) Unwrap() replay.Store { return a.Store }

// What another store spends could be taken here again: it is refused, and spends
// nothing anywhere.
func TestTransactionOfAnotherStore(t *testing.T) {
	c, other := newCluster(t), replay.NewMemory(replay.MemoryConfig{})
	for what, x := range map[string]replay.Spender{
		"none":                   nil,
		"another store":          other,
		"another's transaction":  &transaction{Store: other},
		"a transaction of none":  &transaction{},
		"a spender of who knows": struct{ replay.Spender }{c.store},
		"one that can't be told": lenient{struct {
			replay.Store
			_ []int
		}{c.store, nil}},
	} {
		s, _ := shopping(t, c.node())
		var seat string
		if out, err := s.TakeTx(t.Context(), x, "ticket", replay.Owner{1}, &seat); !errors.Is(err, session.ErrOtherStore) || out != replay.Lost {
			t.Errorf("%s: TakeTx = %v, %v", what, out, err)
		}
		if tx, ok := x.(*transaction); ok && len(tx.claims) != 0 {
			t.Errorf("%s: the right was claimed", what)
		}
		must(t, s.Take(t.Context(), "ticket", replay.Owner{2}, &seat))
	}
	store := c.store
	for what, configured := range map[string]replay.Store{"a guard": replay.NewGuard(store, replay.GuardConfig{}), "the application's own": &around{&around{store}}} {
		c.store = configured
		s, _ := shopping(t, c.node())
		if out, err := s.TakeTx(t.Context(), &transaction{Store: store}, "ticket", replay.Owner{1}, new(string)); err != nil || out != replay.Won {
			t.Errorf("around it %s: TakeTx = %v, %v", what, out, err)
		}
	}
	_, spy, m := granting(t)
	text := issue(t, m)
	if v, err := session.TakeGrant(t.Context(), m, reset, text, owner(), other); !errors.Is(err, session.ErrOtherStore) || v != "" {
		t.Errorf("TakeGrant = %q, %v", v, err)
	}
	if _, err := session.TakeGrant(t.Context(), m, reset, text, owner(), &elsewhere{of: spy}); err != nil {
		t.Error(err)
	}
}

// A change of a right whose answer is lost: the session has the right as it was, but
// it may be spent. Nobody gets it any more, here or in an older set; a repetition of the change
// goes through.
func TestLostAnswerToTheChangeOfARight(t *testing.T) {
	for what, change := range map[string]func(context.Context, *session.Session) error{
		"set":    func(ctx context.Context, s *session.Session) error { return s.Set(ctx, "ticket", "row 8") },
		"delete": func(ctx context.Context, s *session.Session) error { return s.Delete(ctx, "ticket") },
	} {
		for _, repeats := range []bool{true, false} {
			c := newCluster(t)
			store := c.spied()
			m := c.node()
			s, b := shopping(t, m)
			old := b.set(s.Holder())
			store.take = func(ctx context.Context) (replay.Verdict, replay.Outcome, error, bool) {
				store.take = nil
				_, _, err := store.Store.Take(ctx, placeOf(s), replay.Owner{9}, store.takes[len(store.takes)-1])
				must(t, err)
				return replay.Refused, replay.Lost, errDisk, true
			}
			if err := change(t.Context(), s); !errors.Is(err, session.ErrUnavailable) {
				t.Fatalf("%s: %v", what, err)
			}
			if got, err := get(t, s, "ticket"); got != "row 7" || err != nil {
				t.Errorf("%s: then there is %q, %v", what, got, err)
			}
			var seat string
			want := error(replay.ErrReplayed)
			if repeats {
				must(t, change(t.Context(), s))
				if want = nil; what == "delete" {
					want = session.ErrNoAttribute
				}
			}
			if err := s.Take(t.Context(), "ticket", replay.Owner{1}, &seat); !errors.Is(err, want) || want == nil && seat != "row 8" {
				t.Errorf("%s, repeated %t: Take = %q, %v, want %v", what, repeats, seat, err, want)
			}
			r, err := c.node().Restore(t.Context(), old)
			must(t, err)
			if _, err := get(t, r.Session, "ticket"); !errors.Is(err, session.ErrNoAttribute) {
				t.Errorf("%s: an older set has the right: %v", what, err)
			}
		}
	}
}

// placeOf is the session as the store knows it.
func placeOf(s *session.Session) replay.Place {
	id := s.ID()
	return replay.Place{Session: replay.NewID("4:shop", "session", id[:]), Version: s.Version(), KeepUntil: s.Expires().Add(time.Minute)}
}
