package session_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealedblob/sealedblob/policy"
	"github.com/sealedblob/sealedblob/replay"
	"github.com/sealedblob/sealedblob/seal"
	"github.com/sealedblob/sealedblob/session"
)

var (
	reset  = policy.Once[string]("reset", policy.TTL(10*time.Minute), policy.MaxBytes(64))
	invite = policy.Once[string]("invite", policy.TTL(10*time.Minute))
)

const grantPolicy = `{"version":1,"session":{"idle":"30m","absolute":"12h","leeway":"1s"},"attributes":{"cart":{"ttl":"1h"},
	"reset":{"ttl":"10m","once":true,"max_bytes":64},"invite":{"ttl":"10m","once":true},"ticket":{"ttl":"10m","once":true}}}`

func granting(t testing.TB) (*cluster, *spy, *session.Manager) {
	t.Helper()
	c := newCluster(t).with(grantPolicy)
	s := c.spied()
	return c, s, c.node()
}

func issue(t testing.TB, m *session.Manager) string {
	t.Helper()
	text, err := session.IssueGrant(t.Context(), m, reset, "ada", 0)
	must(t, err)
	return text
}

func owner() replay.Owner { return replay.Owner(seal.NewID()) }

func TestGrantIsSpentOnce(t *testing.T) {
	c, _, m := granting(t)
	text, mine := issue(t, m), owner()
	if strings.Trim(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-") != "" {
		t.Errorf("not safe in a URL: %s", text)
	}
	for range 3 {
		if v, err := session.ReadGrant(t.Context(), m, reset, text); err != nil || v != "ada" {
			t.Fatalf("ReadGrant = %q, %v", v, err)
		}
	}
	other := c.node()
	for range 2 { // the second is the repetition of a lost answer
		if v, err := session.TakeGrant(t.Context(), other, reset, text, mine, nil); err != nil || v != "ada" {
			t.Fatalf("TakeGrant = %q, %v", v, err)
		}
	}
	if v, err := session.TakeGrant(t.Context(), m, reset, text, owner(), nil); !errors.Is(err, replay.ErrReplayed) || v != "" {
		t.Errorf("somebody else's TakeGrant = %q, %v", v, err)
	}
	if v, err := session.ReadGrant(t.Context(), m, reset, text); !errors.Is(err, replay.ErrReplayed) || v != "" {
		t.Errorf("ReadGrant of a spent one = %q, %v", v, err)
	}
}

// Who forgets the owner would take the grant again and again: as the same one.
func TestNothingIsTakenWithoutAnOwner(t *testing.T) {
	c, _, m := granting(t)
	text := issue(t, m)
	for range 2 {
		if v, err := session.TakeGrant(t.Context(), m, reset, text, replay.Owner{}, nil); !errors.Is(err, replay.ErrNoOwner) || v != "" {
			t.Errorf("TakeGrant = %q, %v", v, err)
		}
		// A store of others may know nothing of the rule.
		if _, err := session.TakeGrant(t.Context(), m, reset, text, replay.Owner{}, lenient{c.store}); !errors.Is(err, replay.ErrNoOwner) {
			t.Errorf("TakeGrant from a store that grants = %v", err)
		}
	}
	s, err := m.Start()
	must(t, err)
	must(t, s.Set(t.Context(), "ticket", "row 7"))
	var seat string
	for _, store := range []replay.Spender{c.store, lenient{c.store}} {
		if out, err := s.TakeTx(t.Context(), store, "ticket", replay.Owner{}, &seat); !errors.Is(err, replay.ErrNoOwner) || out.Granted() {
			t.Errorf("TakeTx = %v, %v", out, err)
		}
	}
	if err := s.Take(t.Context(), "ticket", replay.Owner{}, &seat); !errors.Is(err, replay.ErrNoOwner) {
		t.Errorf("Take = %v", err)
	}
	must(t, s.Take(t.Context(), "ticket", owner(), &seat)) // nothing was spent
	if _, err := session.TakeGrant(t.Context(), m, reset, text, owner(), nil); err != nil {
		t.Error(err)
	}
}

// lenient is a transaction that grants everything.
type lenient struct{ of replay.Store }

func (x lenient) Of() replay.Store { return x.of }

func (lenient) Claim(context.Context, replay.Owner, ...replay.Right) (replay.Outcome, error) {
	return replay.Won, nil
}

func (lenient) Take(context.Context, replay.Place, replay.Owner, replay.Right) (replay.Verdict, replay.Outcome, error) {
	return replay.Granted, replay.Won, nil
}

func TestGrantRaceHasOneWinner(t *testing.T) {
	c, _, m := granting(t)
	text := issue(t, m)
	nodes := []*session.Manager{m, c.node(), c.node()}
	var won atomic.Int32
	var all sync.WaitGroup
	for i := range 64 {
		all.Go(func() {
			switch _, err := session.TakeGrant(t.Context(), nodes[i%3], reset, text, owner(), nil); {
			case err == nil:
				won.Add(1)
			case !errors.Is(err, replay.ErrReplayed):
				t.Error(err)
			}
		})
	}
	all.Wait()
	if won.Load() != 1 {
		t.Errorf("%d winners", won.Load())
	}
}

// What is not this right's grant is refused before the store is asked.
func TestGrantRefusals(t *testing.T) {
	c, spy, m := granting(t)
	_, b := func() (*session.Session, *browser) {
		s, err := m.Start()
		must(t, err)
		must(t, s.Set(t.Context(), "reset", "ada"))
		must(t, s.Save(t.Context()))
		return s, connected(t, s)
	}()
	var attribute string
	for _, attribute = range b.blobs {
	}
	foreign, err := session.IssueGrant(t.Context(), m, invite, "ada", 0)
	must(t, err)
	elsewhere, err := session.IssueGrant(t.Context(), c.nodeOf("other", ""), reset, "ada", 0)
	must(t, err)
	tenant, err := session.IssueGrant(t.Context(), c.nodeOf("shop", "acme"), reset, "ada", 0)
	must(t, err)
	good := issue(t, m)
	for name, bad := range map[string]struct {
		text string
		want error
	}{
		"an attribute of a session": {attribute, seal.ErrAuth},
		"a manifest":                {b.manifest, seal.ErrAuth},
		"another right's":           {foreign, policy.ErrNotAllowed},
		"another app's":             {elsewhere, seal.ErrAuth},
		"a tenant's":                {tenant, seal.ErrAuth},
		"a changed letter":          {good[:200] + flipped(good[200:201]) + good[201:], seal.ErrAuth},
		"nothing":                   {"", seal.ErrMalformed},
	} {
		v, err := session.ReadGrant(t.Context(), m, reset, bad.text)
		if !errors.Is(err, bad.want) || v != "" {
			t.Errorf("%s: ReadGrant = %q, %v, want %v", name, v, err, bad.want)
		}
		v, err = session.TakeGrant(t.Context(), m, reset, bad.text, owner(), nil)
		if !errors.Is(err, bad.want) || v != "" || len(err.Error()) > 200 {
			t.Errorf("%s: TakeGrant = %q, %v, want %v", name, v, err, bad.want)
		}
	}
	wrong := policy.Once[int]("reset", policy.TTL(10*time.Minute))
	if v, err := session.TakeGrant(t.Context(), m, wrong, good, owner(), nil); err == nil || v != 0 {
		t.Errorf("a text as a number: %v, %v", v, err)
	}
	if len(spy.claims) != 0 {
		t.Errorf("%d claims for what was refused", len(spy.claims))
	}
	if _, err := session.TakeGrant(t.Context(), m, reset, good, owner(), nil); err != nil {
		t.Errorf("after all that: %v", err)
	}
}

func flipped(c string) string {
	if c == "A" {
		return "B"
	}
	return "A"
}

// The other direction: a grant in the place of a session's attribute.
func TestGrantIsNoAttribute(t *testing.T) {
	c, _, m := granting(t)
	s, err := m.Start()
	must(t, err)
	must(t, s.Set(t.Context(), "reset", "ada"))
	must(t, s.Save(t.Context()))
	set := connected(t, s).set(s.Holder())
	grant := issue(t, m)
	for slot := range set.Blobs {
		set.Blobs[slot] = grant
	}
	if _, err := c.node().Restore(t.Context(), set); !errors.Is(err, seal.ErrAuth) {
		t.Errorf("a grant was restored: %v", err)
	}
	if _, err := c.verifier().Verify(t.Context(), grant, seal.ID{}, time.Now()); !errors.Is(err, seal.ErrAuth) {
		t.Errorf("a grant was verified as an attribute: %v", err)
	}
}

func TestIssueRefuses(t *testing.T) {
	_, _, m := granting(t)
	for name, issue := range map[string]func() (string, error){
		"undeclared": func() (string, error) {
			return session.IssueGrant(t.Context(), m, policy.Once[int]("nobody", policy.TTL(time.Minute)), 1, 0)
		},
		"an attribute in the policy's eyes": func() (string, error) {
			return session.IssueGrant(t.Context(), m, policy.Once[int]("cart", policy.TTL(time.Minute)), 1, 0)
		},
		"longer than its ttl": func() (string, error) {
			return session.IssueGrant(t.Context(), m, reset, "ada", 10*time.Minute+time.Second)
		},
		"no time at all":  func() (string, error) { return session.IssueGrant(t.Context(), m, reset, "ada", time.Millisecond) },
		"a negative life": func() (string, error) { return session.IssueGrant(t.Context(), m, reset, "ada", -time.Minute) },
		"too deep": func() (string, error) {
			deep := policy.Once[any]("reset", policy.TTL(time.Minute))
			var v any = 1
			for range 17 {
				v = []any{v}
			}
			return session.IssueGrant(t.Context(), m, deep, v, 0)
		},
	} {
		if text, err := issue(); !errors.Is(err, policy.ErrNotAllowed) || text != "" {
			t.Errorf("%s: %q, %v", name, text, err)
		}
	}
	if _, err := session.IssueGrant(t.Context(), m, reset, strings.Repeat("x", 63), 0); !errors.Is(err, session.ErrTooLarge) {
		t.Errorf("65 bytes where 64 are allowed: %v", err)
	}
	if _, err := session.IssueGrant(t.Context(), m, reset, strings.Repeat("x", 62), 0); err != nil {
		t.Errorf("64 bytes: %v", err)
	}
}

// Today's policy decides: a right that can't be granted any more is not honoured.
func TestGrantUnderAnotherPolicy(t *testing.T) {
	c, spy, m := granting(t)
	text := issue(t, m)
	for _, rule := range []string{`"once":true,"burn":"restore"`, `"once":true,"binding":"key"`} {
		strict := c.with(strings.Replace(grantPolicy, `"reset":{"ttl":"10m","once":true`, `"reset":{"ttl":"10m",`+rule, 1)).node()
		if _, err := session.TakeGrant(t.Context(), strict, reset, text, owner(), nil); !errors.Is(err, policy.ErrNotAllowed) {
			t.Errorf("%s: taken: %v", rule, err)
		}
		if _, err := session.IssueGrant(t.Context(), strict, reset, "ada", 0); !errors.Is(err, policy.ErrNotAllowed) {
			t.Errorf("%s: issued: %v", rule, err)
		}
	}
	if len(spy.claims) != 0 {
		t.Error("the store was asked")
	}
}

func TestGrantEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, _, m := granting(t)
		long := issue(t, m)
		short, err := session.IssueGrant(t.Context(), m, reset, "ada", time.Minute)
		must(t, err)
		time.Sleep(59 * time.Second)
		if _, err := session.ReadGrant(t.Context(), m, reset, short); err != nil {
			t.Errorf("in its last second: %v", err)
		}
		time.Sleep(pastEpoch)
		if _, err := session.TakeGrant(t.Context(), m, reset, short, owner(), nil); !errors.Is(err, policy.ErrExpired) {
			t.Errorf("after its life: %v", err)
		}
		if _, err := session.TakeGrant(t.Context(), m, reset, long, owner(), nil); err != nil {
			t.Errorf("within the ttl: %v", err)
		}
	})
}

// A store that can't tell is no pass; one that could write is asked again by
// the same owner.
func TestGrantAndABrokenStore(t *testing.T) {
	_, spy, m := granting(t)
	text, mine := issue(t, m), owner()
	spy.broken = errors.New("the cable")
	if v, err := session.ReadGrant(t.Context(), m, reset, text); session.Outward(err) != session.ErrUnavailable || v != "" {
		t.Errorf("ReadGrant = %q, %v", v, err)
	}
	if v, err := session.TakeGrant(t.Context(), m, reset, text, mine, nil); session.Outward(err) != session.ErrUnavailable || v != "" {
		t.Errorf("TakeGrant = %q, %v", v, err)
	}
	spy.broken = nil
	if _, err := session.TakeGrant(t.Context(), m, reset, text, mine, nil); err != nil {
		t.Errorf("again: %v", err)
	}
}

// elsewhere spends where the caller says, such as in a transaction of his own.
type elsewhere struct {
	replay.Spender
	of     replay.Store
	claims []replay.Right
}

func (e *elsewhere) Of() replay.Store { return e.of }

func (e *elsewhere) Claim(_ context.Context, _ replay.Owner, rights ...replay.Right) (replay.Outcome, error) {
	e.claims = append(e.claims, rights...)
	return replay.Won, nil
}

func TestGrantIsSpentWhereTheCallerSays(t *testing.T) {
	_, spy, m := granting(t)
	tx := &elsewhere{of: spy}
	if _, err := session.TakeGrant(t.Context(), m, reset, issue(t, m), owner(), tx); err != nil || len(tx.claims) != 1 || len(spy.claims) != 0 {
		t.Errorf("TakeGrant: %v; %d claims in the transaction, %d in the store", err, len(tx.claims), len(spy.claims))
	}
}
