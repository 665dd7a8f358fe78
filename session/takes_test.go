package session_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/sealedblob/sealedblob/policy"
	"github.com/sealedblob/sealedblob/replay"
	"github.com/sealedblob/sealedblob/seal"
	"github.com/sealedblob/sealedblob/session"
)

// A right is the same right in a session, in a restored one and by itself.
func TestOneRightManyWays(t *testing.T) {
	var seat string
	alone := func(t *testing.T, c *cluster, envelope string) error {
		_, _, err := c.verifier().Take(t.Context(), envelope, seal.ID{}, time.Now().Add(time.Second), replay.Owner{7})
		return err
	}
	t.Run("alone, then in the session", func(t *testing.T) {
		c := newCluster(t)
		s, b := shopping(t, c.node())
		must(t, alone(t, c, c.envelopeOf(b.set(s.Holder()), "ticket")))
		if err := s.Take(t.Context(), "ticket", replay.Owner{1}, &seat); !errors.Is(err, replay.ErrReplayed) {
			t.Errorf("Take = %v, want ErrReplayed", err)
		}
		if err := s.Get("ticket", &seat); !errors.Is(err, session.ErrNoAttribute) {
			t.Errorf("a spent right is still there: %v", err)
		}
	})
	t.Run("in the session, then alone", func(t *testing.T) {
		c := newCluster(t)
		s, b := shopping(t, c.node())
		envelope := c.envelopeOf(b.set(s.Holder()), "ticket")
		must(t, s.Take(t.Context(), "ticket", replay.Owner{1}, &seat))
		if err := alone(t, c, envelope); !errors.Is(err, replay.ErrReplayed) {
			t.Errorf("Take = %v, want ErrReplayed", err)
		}
	})
	t.Run("restored and sealed again, then the old envelope", func(t *testing.T) {
		c := newCluster(t)
		s, b := shopping(t, c.node())
		envelope := c.envelopeOf(b.set(s.Holder()), "ticket")
		r, err := c.node().Restore(t.Context(), b.set(s.Holder()))
		must(t, err)
		b2 := connected(t, r.Session)
		if c.envelopeOf(b2.set(r.Session.Holder()), "ticket") == envelope {
			t.Fatal("not sealed again")
		}
		must(t, r.Session.Take(t.Context(), "ticket", replay.Owner{1}, &seat))
		if err := alone(t, c, envelope); !errors.Is(err, replay.ErrReplayed) {
			t.Errorf("Take = %v, want ErrReplayed", err)
		}
	})
	t.Run("set again it is a new one", func(t *testing.T) {
		c := newCluster(t)
		s, _ := shopping(t, c.node())
		for i, row := range []string{"row 7", "row 8", "row 9"} {
			must(t, s.Set(t.Context(), "ticket", row))
			if err := s.Take(t.Context(), "ticket", replay.Owner{byte(i + 1)}, &seat); err != nil || seat != row {
				t.Errorf("%s: %q, %v", row, seat, err)
			}
		}
	})
}

// A take whose answer was lost is repeated by its owner, and by nobody else.
func TestTakeIsRepeatedByItsOwnerAlone(t *testing.T) {
	for owner, want := range map[replay.Owner]error{{1}: nil, {2}: replay.ErrReplayed} {
		c := newCluster(t)
		spy := c.spied()
		s, _ := shopping(t, c.node())
		spy.take = func(ctx context.Context) (replay.Verdict, replay.Outcome, error, bool) { // won, but the answer is lost
			spy.take = nil
			_, err := spy.Store.Claim(ctx, replay.Owner{1}, spy.takes[0])
			must(t, err)
			return replay.Granted, replay.Won, errDisk, true
		}
		var seat string
		if err := s.Take(t.Context(), "ticket", replay.Owner{1}, &seat); !errors.Is(err, session.ErrUnavailable) {
			t.Fatalf("the lost answer: %v", err)
		}
		if err := s.Take(t.Context(), "ticket", owner, &seat); !errors.Is(err, want) || (err == nil) != (want == nil) {
			t.Errorf("owner %x again: %v, want %v", owner[:1], err, want)
		}
	}
}

// What the store answers decides, and nothing but a grant is a pass.
func TestTakeAndTheVerdict(t *testing.T) {
	for name, test := range map[string]struct {
		verdict replay.Verdict
		outcome replay.Outcome
		err     error
		want    error
		live    bool // the session goes on here
		ended   bool // its clients drop their sets
	}{
		"won":            {replay.Granted, replay.Won, nil, nil, true, false},
		"won before":     {replay.Granted, replay.Mine, nil, nil, true, false},
		"lost":           {replay.Granted, replay.Lost, nil, replay.ErrReplayed, true, false},
		"no outcome":     {replay.Granted, 77, nil, replay.ErrReplayed, true, false},
		"moved":          {replay.Superseded, replay.Won, nil, session.ErrMoved, false, false},
		"rolled back":    {replay.RolledBack, replay.Won, nil, session.ErrMoved, false, false},
		"no verdict":     {replay.Refused, replay.Won, nil, session.ErrMoved, false, false},
		"logged out":     {replay.Revoked, replay.Won, nil, session.ErrMoved, false, false},
		"broken":         {replay.Granted, replay.Won, errDisk, session.ErrUnavailable, true, false},
		"full":           {replay.Granted, replay.Won, replay.ErrFull, session.ErrUnavailable, true, false},
		"before epoch":   {replay.Granted, replay.Won, replay.ErrBeforeEpoch, session.ErrRejected, true, false},
		"beyond horizon": {replay.Granted, replay.Won, replay.ErrBeyondHorizon, session.ErrRejected, true, false},
	} {
		c := newCluster(t)
		spy := c.spied()
		m := c.node()
		s, b := shopping(t, m)
		spy.take = func(context.Context) (replay.Verdict, replay.Outcome, error, bool) {
			return test.verdict, test.outcome, test.err, true
		}
		var seat string
		if err := s.Take(t.Context(), "ticket", replay.Owner{1}, &seat); !errors.Is(err, test.want) || (err == nil) != (test.want == nil) {
			t.Errorf("%s: Take = %v, want %v", name, err, test.want)
		}
		if _, live := m.Live(s.Holder()); live != test.live || b.ended != test.ended || b.detached == live {
			t.Errorf("%s: live %t, the client ended %t, detached %t", name, live, b.ended, b.detached)
		}
	}
}

// A session that was logged out elsewhere learns it when it spends a right. It may
// have been renewed there as well: its client keeps its set, and asks.
func TestTakeAfterLogoutElsewhere(t *testing.T) {
	c := newCluster(t)
	m := c.node()
	s, b := shopping(t, m)
	r, err := c.node().Restore(t.Context(), b.set(s.Holder()))
	must(t, err)
	must(t, r.Session.Logout(t.Context()))
	if err := s.Take(t.Context(), "ticket", replay.Owner{1}, new(string)); !errors.Is(err, session.ErrMoved) {
		t.Errorf("Take = %v, want ErrMoved", err)
	}
	if _, live := m.Live(s.Holder()); live || b.ended || !b.detached {
		t.Errorf("live %t, the client was told of an end %t, sent away %t", live, b.ended, b.detached)
	}
	for what, err := range map[string]error{"Get": s.Get("cart", new(any)), "Set": s.Set(t.Context(), "cart", 1), "Login": second(s.Login(t.Context(), "ada", trusted)), "Delete": s.Delete(t.Context(), "cart"), "Save": s.Save(t.Context()), "Attach": s.Attach(&browser{})} {
		if !errors.Is(err, session.ErrMoved) {
			t.Errorf("%s after the end = %v", what, err)
		}
	}
	if len(s.Attributes()) != 0 {
		t.Error("an ended session lists attributes")
	}
}

func second[T any](_ T, err error) error { return err }

func TestTakeWantsARight(t *testing.T) {
	c := newCluster(t)
	spy := c.spied()
	s, _ := shopping(t, c.node())
	for name, test := range map[string]struct {
		attribute string
		into      any
		want      error
	}{
		"an ordinary attribute": {"cart", new([]string), policy.ErrNotAllowed},
		"none":                  {"note", new(string), session.ErrNoAttribute},
		"undeclared":            {"admin", new(string), session.ErrNoAttribute},
	} {
		if err := s.Take(t.Context(), test.attribute, replay.Owner{1}, test.into); !errors.Is(err, test.want) {
			t.Errorf("%s: Take = %v, want %v", name, err, test.want)
		}
	}
	if err := s.Take(t.Context(), "ticket", replay.Owner{1}, new(int)); err == nil {
		t.Error("a text was decoded into a number")
	}
	if len(spy.takes) != 0 {
		t.Errorf("the store was asked %d times: a right that can't be used must not be spent", len(spy.takes))
	}
}

// A right that is set while the older one is being spent stays.
func TestTakeDropsOnlyWhatItSpent(t *testing.T) {
	c := newCluster(t)
	spy := c.spied()
	s, _ := shopping(t, c.node())
	must(t, s.Set(t.Context(), "ticket", "row 7")) // was never sealed: to replace it asks no store
	spy.take = func(context.Context) (replay.Verdict, replay.Outcome, error, bool) {
		spy.take = nil
		must(t, s.Set(t.Context(), "ticket", "row 8"))
		return 0, 0, nil, false
	}
	var seat string
	_ = s.Take(t.Context(), "ticket", replay.Owner{1}, &seat)
	if err := s.Get("ticket", &seat); err != nil || seat != "row 8" {
		t.Errorf("the new right: %q, %v", seat, err)
	}
	must(t, s.Take(t.Context(), "ticket", replay.Owner{2}, &seat))
}

// A bad envelope burns nothing: every other check comes before the claim.
func TestVerifierClaimsLast(t *testing.T) {
	c := newCluster(t)
	s, b := shopping(t, c.node())
	foreign, fb := shopping(t, newCluster(t).node())
	set := b.set(s.Holder())
	ticket, now := c.envelopeOf(set, "ticket"), time.Now().Add(time.Second)
	spy := c.spied()
	v := c.verifier()
	elsewhere := v
	elsewhere.Scope.App = "other"
	for name, test := range map[string]struct {
		verifier session.Verifier
		text     string
		session  seal.ID
		now      time.Time
		want     error
	}{
		"a flipped bit":         {v, flip(ticket), seal.ID{}, now, seal.ErrAuth},
		"not an envelope":       {v, "ticket", seal.ID{}, now, seal.ErrMalformed},
		"another ring's":        {v, first(fb.set(foreign.Holder()).Blobs), seal.ID{}, now, seal.ErrUnknownKey},
		"another session":       {v, ticket, seal.NewID(), now, policy.ErrBinding},
		"expired":               {v, ticket, s.ID(), now.Add(11 * time.Minute), policy.ErrExpired},
		"too early":             {v, ticket, s.ID(), now.Add(-time.Hour), policy.ErrNotYetValid},
		"the manifest":          {v, set.Manifest, s.ID(), now, seal.ErrAuth},
		"no longer a right":     {c.with(strings.Replace(shopPolicy, `,"once":true`, ``, 1)).verifier(), ticket, s.ID(), now, policy.ErrNotAllowed},
		"another application's": {elsewhere, ticket, s.ID(), now, seal.ErrAuth},
	} {
		out, outcome, err := test.verifier.Take(t.Context(), test.text, test.session, test.now, replay.Owner{1})
		if !errors.Is(err, test.want) || outcome.Granted() || out.Claims != nil {
			t.Errorf("%s: Take = %+v, %v, %v; want %v", name, out, outcome, err, test.want)
		}
		if out, err := test.verifier.Verify(t.Context(), test.text, test.session, test.now); !errors.Is(err, test.want) || out.Claims != nil {
			t.Errorf("%s: Verify = %+v, %v; want %v", name, out, err, test.want)
		}
		if len(spy.claims) != 0 {
			t.Fatalf("%s: the store was asked to spend", name)
		}
	}
	if _, outcome, err := v.Take(t.Context(), c.envelopeOf(set, "cart"), s.ID(), now, replay.Owner{1}); !errors.Is(err, policy.ErrNotAllowed) || outcome.Granted() || len(spy.claims) != 0 {
		t.Errorf("an ordinary attribute: %v, %v", outcome, err)
	}
	if out, err := v.Verify(t.Context(), c.envelopeOf(set, "cart"), s.ID(), now); err != nil || out.ReplayChecked {
		t.Errorf("Verify of the cart = %+v, %v", out, err)
	}
	if out, err := v.Verify(t.Context(), ticket, s.ID(), now); err != nil || !out.ReplayChecked || out.Claims.Name != "ticket" {
		t.Errorf("Verify of the unspent ticket = %+v, %v", out, err)
	}
	if out, outcome, err := v.Take(t.Context(), ticket, s.ID(), now, replay.Owner{1}); err != nil || outcome != replay.Won || !out.ReplayChecked {
		t.Errorf("after all that Take = %+v, %v, %v", out, outcome, err)
	}
	if _, outcome, err := v.Take(t.Context(), ticket, s.ID(), now, replay.Owner{1}); err != nil || outcome != replay.Mine {
		t.Errorf("the same owner again: %v, %v", outcome, err)
	}
	if out, outcome, err := v.Take(t.Context(), ticket, s.ID(), now, replay.Owner{2}); !errors.Is(err, replay.ErrReplayed) || outcome.Granted() || out.Claims != nil {
		t.Errorf("another owner: %+v, %v, %v", out, outcome, err)
	}
	if out, err := v.Verify(t.Context(), ticket, s.ID(), now); !errors.Is(err, replay.ErrReplayed) || out.Claims != nil {
		t.Errorf("Verify of the spent ticket = %+v, %v", out, err)
	}
	spy.broken = errDisk
	if out, err := v.Verify(t.Context(), ticket, s.ID(), now); !errors.Is(err, errDisk) || out.Claims != nil {
		t.Errorf("Verify with a broken store = %+v, %v", out, err)
	}
	if out, outcome, err := v.Take(t.Context(), ticket, s.ID(), now, replay.Owner{1}); !errors.Is(err, errDisk) || outcome.Granted() || out.Claims != nil {
		t.Errorf("Take with a broken store = %+v, %v, %v", out, outcome, err)
	}
	v.Store = nil
	if _, outcome, err := v.Take(t.Context(), ticket, s.ID(), now, replay.Owner{1}); err == nil || outcome.Granted() {
		t.Errorf("Take without a store = %v, %v", outcome, err)
	}
}
