package session_test

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealedblob/sealedblob/internal/testkit"
	"github.com/sealedblob/sealedblob/policy"
	"github.com/sealedblob/sealedblob/replay"
	"github.com/sealedblob/sealedblob/seal"
	"github.com/sealedblob/sealedblob/session"
)

func TestRestoreOnAnotherNode(t *testing.T) {
	c := newCluster(t)
	s, b := shopping(t, c.node())
	node2 := c.node()
	r, err := node2.Restore(t.Context(), b.set(s.Holder()))
	must(t, err)
	if r.Joined || len(r.Dropped) != 0 || r.Session.Version() != (session.Version{Fence: 1, Gen: 1}) {
		t.Errorf("restored %+v at %v", r, r.Session.Version())
	}
	must(t, r.Session.Save(t.Context())) // seals all of it as this node's own
	if r.Session.Version() != (session.Version{Fence: 1, Gen: 2}) {
		t.Errorf("saved at %v", r.Session.Version())
	}
	for name, want := range map[string]string{"cart": "tea", "login": "ada", "ticket": "row 7"} {
		if got, err := get(t, r.Session, name); got != want || err != nil {
			t.Errorf("%s = %q, %v; want %q", name, got, err, want)
		}
	}
	// The old node's copy is dead for everything protected.
	var seat string
	if err := s.Take(t.Context(), "ticket", replay.Owner{1}, &seat); !errors.Is(err, session.ErrMoved) {
		t.Errorf("Take on the old node = %v, want ErrMoved", err)
	}
	must(t, r.Session.Take(t.Context(), "ticket", replay.Owner{1}, &seat))
	if seat != "row 7" {
		t.Errorf("seat = %q", seat)
	}
}

func TestRestoreNeedsAnAttempt(t *testing.T) {
	c := newCluster(t)
	s, b := shopping(t, c.node())
	p := b.set(s.Holder())
	p.Attempt = replay.Owner{}
	if _, err := c.node().Restore(t.Context(), p); !errors.Is(err, seal.ErrMalformed) {
		t.Errorf("Restore without an attempt = %v", err)
	}
	p.Attempt = replay.Owner{1}
	if _, err := c.node().Restore(t.Context(), p); err != nil {
		t.Errorf("Restore = %v", err)
	}
}

func TestRestoreIsIdempotentForOneAttempt(t *testing.T) {
	c := newCluster(t)
	s, b := shopping(t, c.node())
	p := b.set(s.Holder())
	first, err := c.node().Restore(t.Context(), p)
	must(t, err)
	again, err := c.node().Restore(t.Context(), p) // the answer of the first was lost, and its node died
	must(t, err)
	if again.Session.Version().Fence != first.Session.Version().Fence+1 {
		t.Errorf("fences %v then %v", first.Session.Version(), again.Session.Version())
	}
	other := p
	other.Attempt = replay.Owner{9}
	if _, err := c.node().Restore(t.Context(), other); !errors.Is(err, session.ErrSuperseded) {
		t.Errorf("the same set by another attempt: %v, want ErrSuperseded", err)
	}
}

func TestRestoreJoinsALiveSession(t *testing.T) {
	c := newCluster(t)
	m := c.node()
	s, b := shopping(t, m)
	r, err := m.Restore(t.Context(), b.set(s.Holder()))
	must(t, err)
	if !r.Joined || r.Session != s {
		t.Errorf("a live session was not joined: %+v", r)
	}
}

// A session that moved away and came back must not find its old copy.
func TestRestoreReplacesAStaleCopy(t *testing.T) {
	c := newCluster(t)
	node1, node2 := c.node(), c.node()
	s, b := shopping(t, node1)
	r, err := node2.Restore(t.Context(), b.set(s.Holder()))
	must(t, err)
	b2 := &browser{}
	must(t, r.Session.Attach(b2))
	must(t, r.Session.Set(t.Context(), "cart", []string{"tea", "milk"}))
	must(t, r.Session.Acknowledge(t.Context(), b2, nil))
	h := r.Session.Holder()
	h.Fence = 0 // even without the hint in the cookie
	back, err := node1.Restore(t.Context(), b2.set(h))
	must(t, err)
	if got, _ := get(t, back.Session, "cart"); back.Joined || got != "milk" {
		t.Errorf("back on node 1: joined %t, cart %q", back.Joined, got)
	}
	if err := s.Set(t.Context(), "cart", 1); !errors.Is(err, session.ErrMoved) {
		t.Errorf("the stale copy still takes changes: %v", err)
	}
}

// Every way to spoil a set refuses the whole of it, burns nothing and leaves
// the good set restorable.
func TestRestoreRefusesSpoiledSets(t *testing.T) {
	c := newCluster(t)
	m := c.node()
	s, b := shopping(t, m)
	older := b.set(s.Holder())
	must(t, s.Set(t.Context(), "cart", []string{"tea", "milk"}))
	must(t, s.Set(t.Context(), "note", "x"))
	must(t, s.Save(t.Context()))
	good := b.set(s.Holder())
	foreign, fb := shopping(t, m)
	other := fb.set(foreign.Holder())
	slots := slices.Sorted(maps.Keys(good.Blobs))
	var shared, changed string // slots in both generations: unchanged, changed
	for _, slot := range slots {
		switch old, both := older.Blobs[slot]; {
		case both && old == good.Blobs[slot]:
			shared = slot
		case both:
			changed = slot
		}
	}
	if shared == "" || changed == "" {
		t.Fatal("no attribute stayed, or none changed")
	}
	spoil := func(f func(p *session.Presented)) session.Presented {
		p := good
		p.Blobs = maps.Clone(good.Blobs)
		f(&p)
		return p
	}
	otherTenant := newCluster(t)
	otherTenant.ring = c.ring
	ts, tb := shopping(t, otherTenant.nodeOf("shop", "acme"))
	foreignRing, rb := shopping(t, newCluster(t).node())
	for name, test := range map[string]struct {
		set  session.Presented
		want error
	}{
		"flipped bit":                 {spoil(func(p *session.Presented) { p.Blobs[shared] = flip(p.Blobs[shared]) }), seal.ErrAuth},
		"flipped bit in the manifest": {spoil(func(p *session.Presented) { p.Manifest = flip(p.Manifest) }), seal.ErrAuth},
		"left out":                    {spoil(func(p *session.Presented) { delete(p.Blobs, shared) }), session.ErrIncomplete},
		"all left out":                {spoil(func(p *session.Presented) { p.Blobs = nil }), session.ErrIncomplete},
		"no manifest":                 {spoil(func(p *session.Presented) { p.Manifest = "" }), seal.ErrMalformed},
		"an attribute as manifest":    {spoil(func(p *session.Presented) { p.Manifest = p.Blobs[shared] }), seal.ErrAuth},
		"manifest as an attribute":    {spoil(func(p *session.Presented) { p.Blobs[shared] = p.Manifest }), seal.ErrAuth},
		"two generations mixed":       {spoil(func(p *session.Presented) { p.Blobs[changed] = older.Blobs[changed] }), session.ErrIncomplete},
		"older manifest":              {spoil(func(p *session.Presented) { p.Manifest = older.Manifest }), session.ErrIncomplete},
		"exchanged":                   {spoil(func(p *session.Presented) { p.Blobs[shared], p.Blobs[changed] = p.Blobs[changed], p.Blobs[shared] }), session.ErrIncomplete},
		"doubled":                     {spoil(func(p *session.Presented) { p.Blobs["AAAAAAAAAAAA"] = p.Blobs[shared] }), session.ErrIncomplete},
		"copied over":                 {spoil(func(p *session.Presented) { p.Blobs[changed] = p.Blobs[shared] }), session.ErrIncomplete},
		"blob of another session":     {spoil(func(p *session.Presented) { p.Blobs["AAAAAAAAAAAA"] = first(other.Blobs) }), session.ErrIncomplete},
		"another session's set":       {spoil(func(p *session.Presented) { p.Manifest, p.Blobs = other.Manifest, other.Blobs }), policy.ErrBinding},
		"another holder":              {spoil(func(p *session.Presented) { p.Holder = other.Holder }), policy.ErrBinding},
		"no cookie":                   {spoil(func(p *session.Presented) { p.Holder = session.Holder{} }), policy.ErrBinding},
		"the id without the secret":   {spoil(func(p *session.Presented) { p.Holder = session.Holder{Session: p.Holder.Session} }), policy.ErrBinding},
		"another tenant":              {tb.set(ts.Holder()), seal.ErrAuth},
		"another ring":                {rb.set(foreignRing.Holder()), seal.ErrUnknownKey},
		"17 KiB envelope":             {spoil(func(p *session.Presented) { p.Blobs[shared] = strings.Repeat("A", 17<<10) }), seal.ErrMalformed},
		"long slot":                   {spoil(func(p *session.Presented) { p.Blobs[strings.Repeat("A", 1<<20)] = p.Blobs[shared] }), seal.ErrMalformed},
		"65 blobs": {spoil(func(p *session.Presented) {
			for i := range 65 {
				p.Blobs[strings.Repeat("A", 10)+string(rune('A'+i/26))+string(rune('A'+i%26))] = p.Blobs[shared]
			}
		}), seal.ErrMalformed},
	} {
		r, err := c.node().Restore(t.Context(), test.set)
		if !errors.Is(err, test.want) || r.Session != nil {
			t.Errorf("%s: Restore = %v, %v; want %v", name, r.Session, err, test.want)
		}
		if session.Outward(err) != session.ErrRejected {
			t.Errorf("%s: the outside sees %v", name, session.Outward(err))
		}
	}
	if r, err := c.node().Restore(t.Context(), good); err != nil || len(r.Dropped) != 0 {
		t.Errorf("after all that the good set: %v, %v", r, err)
	}
}

func flip(envelope string) string {
	i := len(envelope) - 30 // inside the tag's neighbourhood, never the last character of a part
	c := byte('A')
	if envelope[i] == 'A' {
		c = 'B'
	}
	if envelope[i] == '.' {
		i--
	}
	return envelope[:i] + string(c) + envelope[i+1:]
}

func first(blobs map[string]string) string { return blobs[slices.Sorted(maps.Keys(blobs))[0]] }

func TestExpiredLoginIsDroppedTheCartGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		time.Sleep(pastEpoch)
		s, b := shopping(t, c.node())
		time.Sleep(time.Minute + time.Second) // the login's ttl and the leeway
		r, err := c.node().Restore(t.Context(), b.set(s.Holder()))
		must(t, err)
		if len(r.Dropped) != 1 || r.Dropped[0].Name != "login" || !errors.Is(r.Dropped[0].Reason, policy.ErrExpired) {
			t.Errorf("dropped %+v, want the login", r.Dropped)
		}
		if _, err := get(t, r.Session, "login"); !errors.Is(err, session.ErrNoAttribute) {
			t.Errorf("login = %v, want ErrNoAttribute", err)
		}
		if got, err := get(t, r.Session, "cart"); got != "tea" {
			t.Errorf("cart = %q, %v", got, err)
		}
	})
}

func TestExpiryRefusesWhereTheRuleSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		time.Sleep(pastEpoch)
		s, b := shopping(t, c.node())
		must(t, s.Set(t.Context(), "pin", 1))
		must(t, s.Save(t.Context()))
		time.Sleep(time.Minute + 2*time.Second)
		if _, err := c.node().Restore(t.Context(), b.set(s.Holder())); !errors.Is(err, policy.ErrExpired) {
			t.Errorf("Restore = %v, want ErrExpired", err)
		}
	})
}

func TestIdleSetIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		time.Sleep(pastEpoch)
		s, b := shopping(t, c.node())
		time.Sleep(30*time.Minute + 2*time.Second)
		if _, err := c.node().Restore(t.Context(), b.set(s.Holder())); !errors.Is(err, policy.ErrExpired) {
			t.Errorf("Restore = %v, want ErrExpired", err)
		}
	})
}

// Restoring and sealing again must never lengthen an attribute's life.
func TestResealingMovesNoExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		s, b := shopping(t, c.node())
		before := s.Attributes()
		for range 5 {
			time.Sleep(5 * time.Second)
			r, err := c.node().Restore(t.Context(), b.set(s.Holder()))
			must(t, err)
			s, b = r.Session, &browser{}
			must(t, s.Attach(b))
			must(t, s.Acknowledge(t.Context(), b, nil))
		}
		if after := s.Attributes(); !slices.Equal(before, after) {
			t.Errorf("attributes were %+v, are %+v", before, after)
		}
		if s.Version().Fence != 5 {
			t.Errorf("fence %d, want 5", s.Version().Fence)
		}
	})
}

func TestTodaysPolicyJudgesYesterdaysSet(t *testing.T) {
	c := newCluster(t)
	s, b := shopping(t, c.node())
	for name, test := range map[string]struct {
		policy string
		want   error
	}{
		"name no longer allowed": {`{"version":2,"session":{"idle":"30m","absolute":"12h"},"attributes":{"cart":{},"login":{}}}`, policy.ErrNotAllowed},
		"now required":           {strings.Replace(shopPolicy, `"cart"`, `"mfa":{"required":true},"cart"`, 1), policy.ErrNotAllowed},
		"no longer once-only":    {strings.Replace(shopPolicy, `,"once":true`, ``, 1), policy.ErrNotAllowed},
		"smaller":                {strings.Replace(shopPolicy, `"cart":{`, `"cart":{"max_bytes":3,`, 1), policy.ErrNotAllowed},
	} {
		today := *c
		today.policy = testkit.Policy(t, test.policy)
		if _, err := today.node().Restore(t.Context(), b.set(s.Holder())); !errors.Is(err, test.want) {
			t.Errorf("%s: Restore = %v, want %v", name, err, test.want)
		}
	}
}

func TestSupersededByWhatWasAcknowledged(t *testing.T) {
	c := newCluster(t)
	m := c.node()
	s, b := shopping(t, m)
	old := b.set(s.Holder())
	must(t, s.Set(t.Context(), "cart", []string{"paid"}))
	must(t, s.Save(t.Context()))
	must(t, s.Acknowledge(t.Context(), b, b.version))
	runFor(t, m, 1500*time.Millisecond)
	if _, err := c.node().Restore(t.Context(), old); !errors.Is(err, session.ErrSuperseded) {
		t.Errorf("the set before the payment: %v, want ErrSuperseded", err)
	}
	if _, err := c.node().Restore(t.Context(), b.set(s.Holder())); err != nil {
		t.Errorf("the newest set: %v", err)
	}
}

// A second tab that lags behind must not be locked out by the first.
func TestFloorWaitsForEveryClient(t *testing.T) {
	c := newCluster(t)
	m := c.node()
	s, b := shopping(t, m)
	slow := &browser{}
	must(t, s.Attach(slow))
	must(t, s.Acknowledge(t.Context(), slow, nil))
	lag := slow.set(s.Holder())
	slow.deaf = true
	must(t, s.Set(t.Context(), "cart", []string{"more"}))
	must(t, s.Save(t.Context()))
	must(t, s.Acknowledge(t.Context(), b, b.version))
	runFor(t, m, 1500*time.Millisecond)
	if _, err := c.node().Restore(t.Context(), lag); err != nil {
		t.Errorf("the slow tab's set: %v", err)
	}
}

func runFor(t *testing.T, m *session.Manager, d time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	m.Run(ctx)
}

func TestLogoutIsEverywhere(t *testing.T) {
	c := newCluster(t)
	m := c.node()
	s, b := shopping(t, m)
	set := b.set(s.Holder())
	must(t, s.Logout(t.Context()))
	if !b.ended || len(b.blobs) != 0 {
		t.Error("the client was not told")
	}
	for name, node := range map[string]*session.Manager{"same node": m, "another node": c.node()} {
		if _, err := node.Restore(t.Context(), set); !errors.Is(err, session.ErrRevoked) {
			t.Errorf("%s: %v, want ErrRevoked", name, err)
		}
	}
	if err := s.Set(t.Context(), "cart", 1); !errors.Is(err, session.ErrEnded) {
		t.Errorf("Set after logout: %v", err)
	}
}

// A captured, older set still shows the ticket's envelope; the right is spent.
func TestOnceOnlySurvivesForks(t *testing.T) {
	c := newCluster(t)
	s, b := shopping(t, c.node())
	captured := b.set(s.Holder())
	var seat string
	must(t, s.Take(t.Context(), "ticket", replay.Owner{1}, &seat))
	r, err := c.node().Restore(t.Context(), captured) // the client never acknowledged anything newer
	must(t, err)
	if len(r.Dropped) != 1 || !errors.Is(r.Dropped[0].Reason, replay.ErrReplayed) {
		t.Errorf("dropped %+v, want the spent ticket", r.Dropped)
	}
	if err := r.Session.Take(t.Context(), "ticket", replay.Owner{2}, &seat); !errors.Is(err, session.ErrNoAttribute) {
		t.Errorf("Take = %v", err)
	}
}

func TestTakeRacesHaveOneWinner(t *testing.T) {
	c := newCluster(t)
	s, _ := shopping(t, c.node())
	errs := make(chan error, 32)
	for i := range cap(errs) {
		go func() {
			var seat string
			errs <- s.Take(t.Context(), "ticket", replay.Owner{byte(i + 1)}, &seat)
		}()
	}
	won := 0
	for range cap(errs) {
		switch err := <-errs; {
		case err == nil:
			won++
		case !errors.Is(err, replay.ErrReplayed) && !errors.Is(err, session.ErrNoAttribute):
			t.Errorf("a loser got %v", err)
		}
	}
	if won != 1 {
		t.Errorf("%d winners", won)
	}
}

type brokenStore struct{ replay.Store }

var errDisk = errors.New("disk on fire")

func (brokenStore) Restore(context.Context, replay.RestoreRequest) (replay.Restored, error) {
	return replay.Restored{}, errDisk
}
func (brokenStore) Take(context.Context, replay.Place, replay.Owner, replay.Right) (replay.Verdict, replay.Outcome, error) {
	return 0, 0, errDisk
}
func (brokenStore) Renew(context.Context, replay.Place, replay.ID) (replay.Verdict, error) {
	return replay.Refused, errDisk
}

func TestBrokenStoreIsNeverAPass(t *testing.T) {
	c := newCluster(t)
	s, b := shopping(t, c.node())
	broken := *c
	broken.store = brokenStore{c.store}
	_, err := broken.node().Restore(t.Context(), b.set(s.Holder()))
	if session.Outward(err) != session.ErrUnavailable || !errors.Is(err, errDisk) {
		t.Errorf("Restore = %v, outward %v", err, session.Outward(err))
	}
	s2, b2 := shopping(t, broken.node())
	var seat string
	if err := s2.Take(t.Context(), "ticket", replay.Owner{1}, &seat); !errors.Is(err, session.ErrUnavailable) {
		t.Errorf("Take = %v", err)
	}
	if err := s2.Logout(t.Context()); !errors.Is(err, session.ErrUnavailable) || b2.ended {
		t.Errorf("Logout = %v, ended %t", err, b2.ended)
	}
	if got, err := get(t, s2, "ticket"); got != "row 7" {
		t.Errorf("after a store error the ticket is gone: %v", err)
	}
}

func TestPolicyNeedsAStore(t *testing.T) {
	c := newCluster(t)
	_, err := session.New(t.Context(), session.Config{Keys: c.ring, Policy: c.policy, Store: replay.None{}, App: "shop"})
	if err == nil || !strings.Contains(err.Error(), "ticket") {
		t.Errorf("New without a store = %v, want a refusal that names the ticket", err)
	}
}
