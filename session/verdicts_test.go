package session_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealedblob/sealedblob/policy"
	"github.com/sealedblob/sealedblob/replay"
	"github.com/sealedblob/sealedblob/seal"
	"github.com/sealedblob/sealedblob/session"
)

// Only a grant restores; what is no answer is "try again", never a pass.
func TestRestoreAndTheVerdict(t *testing.T) {
	for name, test := range map[string]struct {
		verdict       replay.Verdict
		err           error
		want, outward error
	}{
		"superseded":     {replay.Superseded, nil, session.ErrSuperseded, session.ErrRejected},
		"rolled back":    {replay.RolledBack, nil, session.ErrRolledBack, session.ErrRejected},
		"revoked":        {replay.Revoked, nil, session.ErrRevoked, session.ErrRejected},
		"spent":          {replay.Spent, nil, replay.ErrReplayed, session.ErrRejected},
		"no verdict":     {replay.Refused, nil, session.ErrUnavailable, session.ErrUnavailable},
		"unknown":        {99, nil, session.ErrUnavailable, session.ErrUnavailable},
		"broken":         {replay.Granted, errDisk, errDisk, session.ErrUnavailable},
		"full":           {replay.Granted, replay.ErrFull, replay.ErrFull, session.ErrUnavailable},
		"closed":         {replay.Granted, replay.ErrClosed, replay.ErrClosed, session.ErrUnavailable},
		"no store":       {replay.Granted, replay.ErrNoStore, replay.ErrNoStore, session.ErrUnavailable},
		"before epoch":   {replay.Granted, replay.ErrBeforeEpoch, replay.ErrBeforeEpoch, session.ErrRejected},
		"beyond horizon": {replay.Granted, replay.ErrBeyondHorizon, replay.ErrBeyondHorizon, session.ErrRejected},
	} {
		c := newCluster(t)
		spy := c.spied()
		s, b := shopping(t, c.node())
		spy.restore = func(context.Context) (replay.Restored, error, bool) {
			return replay.Restored{Verdict: test.verdict, Fence: 1, Spent: []bool{false}}, test.err, true
		}
		m := c.node()
		r, err := m.Restore(t.Context(), b.set(s.Holder()))
		if r.Session != nil || !errors.Is(err, test.want) || session.Outward(err) != test.outward {
			t.Errorf("%s: Restore = %v, %v (outside: %v); want %v (%v)", name, r.Session, err, session.Outward(err), test.want, test.outward)
		}
		if _, live := m.Live(s.Holder()); live {
			t.Errorf("%s: the session lives", name)
		}
	}
}

// Every refusal looks alike from outside; whatever is not known to be one does not.
func TestOutward(t *testing.T) {
	for _, refusal := range []error{
		seal.ErrMalformed, seal.ErrUnknownKey, seal.ErrAuth, policy.ErrExpired, policy.ErrNotYetValid, policy.ErrBinding, policy.ErrNotAllowed,
		session.ErrIncomplete, session.ErrSuperseded, session.ErrRolledBack, session.ErrRevoked,
		replay.ErrReplayed, replay.ErrBeforeEpoch, replay.ErrBeyondHorizon,
	} {
		if got := session.Outward(fmt.Errorf("wrapped: %w", refusal)); got != session.ErrRejected {
			t.Errorf("%v looks like %v", refusal, got)
		}
	}
	for _, unclear := range []error{errDisk, replay.ErrFull, replay.ErrClosed, replay.ErrNoStore, seal.ErrNoPrimary, seal.ErrRing, context.Canceled, context.DeadlineExceeded, session.ErrUnavailable} {
		if got := session.Outward(unclear); got != session.ErrUnavailable {
			t.Errorf("%v looks like %v", unclear, got)
		}
	}
	if session.Outward(nil) != nil {
		t.Error("success looks like an error")
	}
}

// What the store is told: the authentic version and time, never the client's
// hint, and how long it must remember.
func TestWhatTheStoreIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		spy := c.spied()
		time.Sleep(pastEpoch)
		s, b := shopping(t, c.node())
		set, sealed := b.set(s.Holder()), time.Now()
		time.Sleep(5 * time.Second)
		set.Holder.Fence = 7 // a hint, from the cookie
		r, err := c.node().Restore(t.Context(), set)
		must(t, err)
		const leeway = time.Second
		keep := s.Expires().Add(2 * leeway)
		got := spy.restores[0]
		if got.Set != (session.Version{Fence: 0, Gen: 1}) || got.Attempt != set.Attempt || !got.Issued.Equal(sealed) || !got.KeepUntil.Equal(keep) || len(got.Look) != 1 {
			t.Errorf("restore: %+v; want the set 0.1 of %v, kept until %v, and one right looked at", got, sealed, keep)
		}
		must(t, r.Session.Take(t.Context(), "ticket", replay.Owner{1}, new(string)))
		right, end := spy.takes[0], sealed.Add(10*time.Minute)
		if !right.Issued.Equal(sealed) || !right.KeepUntil.Equal(end.Add(2*leeway)) || right.ID != got.Look[0] {
			t.Errorf("take: %+v; want the right of %v that was looked at, kept until %v", right, sealed, end.Add(2*leeway))
		}
		must(t, r.Session.Logout(t.Context()))
		if !spy.renewals[0].Equal(keep) {
			t.Errorf("logout is remembered until %v, want %v", spy.renewals[0], keep)
		}
	})
}

// Applications and tenants that share a store share no record in it.
func TestStoreRecordsAreApart(t *testing.T) {
	c := newCluster(t)
	spy := c.spied()
	id, records := seal.NewID(), map[replay.ID][2]string{}
	epoch, err := c.store.Epoch(t.Context())
	must(t, err)
	now := epoch.Unix()
	for _, scope := range [][2]string{{"shop", ""}, {"shop", "t"}, {"shopt", ""}, {"sho", "pt"}, {"4:shop", "t"}} {
		v := c.verifier()
		v.Scope = seal.Scope{App: scope[0], Tenant: scope[1]}
		sealer, err := c.ring.NewSealer(v.Scope, time.Now())
		must(t, err)
		text, err := sealer.Attribute(&seal.Claims{
			JTI: id, UID: id, Once: true, IssuedAt: now, Expires: now + 60, AbsoluteExpires: now + 60,
			Session: id, Name: "ticket", Policy: "1", Value: []byte("1"),
		})
		must(t, err)
		_, _, err = v.Take(t.Context(), text, id, time.Unix(now, 0), replay.Owner{1})
		must(t, err)
		record := spy.claims[len(spy.claims)-1].ID
		if other, twice := records[record]; twice {
			t.Errorf("%q and %q share a record", scope, other)
		}
		records[record] = scope
	}
	// A session and a right of one id are two records.
	s, b := shopping(t, c.node())
	set := c.forge(b.set(s.Holder()), func(f *forgery) { f.item("ticket").claims.UID = s.ID() })
	_, err = c.node().Restore(t.Context(), set)
	must(t, err)
	if r := spy.restores[len(spy.restores)-1]; r.Session == r.Look[0] {
		t.Error("a right is a session")
	}
}

// A store that hangs is not waited for longer than configured.
func TestHangingStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		spy := c.spied()
		s, b := shopping(t, c.node())
		hang := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
		spy.restore = func(ctx context.Context) (replay.Restored, error, bool) { return replay.Restored{}, hang(ctx), true }
		spy.take = func(ctx context.Context) (replay.Verdict, replay.Outcome, error, bool) { return 0, 0, hang(ctx), true }
		spy.renew = func(ctx context.Context) (error, bool) { return hang(ctx), true }
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		for name, call := range map[string]func() error{
			"restore": func() error { _, err := c.node().Restore(ctx, b.set(s.Holder())); return err },
			"take":    func() error { return s.Take(ctx, "ticket", replay.Owner{1}, new(string)) },
			"logout":  func() error { return s.Logout(ctx) },
		} {
			start := time.Now()
			if err := call(); session.Outward(err) != session.ErrUnavailable || time.Since(start) > 3*time.Second {
				t.Errorf("%s: %v after %v; want to be told to try again after 3s", name, err, time.Since(start))
			}
		}
	})
}

// A store that began later can't know what happened before, and says so.
func TestWipedStoreRefusesOlderSets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		s, b := shopping(t, c.node())
		time.Sleep(5 * time.Second)
		c.store = replay.NewMemory(replay.MemoryConfig{})
		if _, err := c.node().Restore(t.Context(), b.set(s.Holder())); !errors.Is(err, replay.ErrBeforeEpoch) {
			t.Errorf("Restore = %v, want ErrBeforeEpoch", err)
		}
		ticket := c.envelopeOf(b.set(s.Holder()), "ticket")
		if _, _, err := c.verifier().Take(t.Context(), ticket, s.ID(), time.Now(), replay.Owner{1}); !errors.Is(err, replay.ErrBeforeEpoch) {
			t.Errorf("Take of an older right: %v, want ErrBeforeEpoch", err)
		}
		if _, err := c.verifier().Verify(t.Context(), ticket, s.ID(), time.Now()); !errors.Is(err, replay.ErrBeforeEpoch) {
			t.Errorf("Verify of an older right: %v, want ErrBeforeEpoch", err)
		}
		s2, b2 := shopping(t, c.node()) // in the very second in which the store was made
		if _, err := c.node().Restore(t.Context(), b2.set(s2.Holder())); err != nil {
			t.Errorf("a set of the store's first second: %v", err)
		}
	})
}

type noEpoch struct{ replay.Store }

func (noEpoch) Epoch(context.Context) (time.Time, error) { return time.Time{}, errDisk }

func TestNewNeedsEverything(t *testing.T) {
	c := newCluster(t)
	for name, change := range map[string]func(*session.Config){
		"keys":         func(c *session.Config) { c.Keys = nil },
		"policy":       func(c *session.Config) { c.Policy = nil },
		"store":        func(c *session.Config) { c.Store = nil },
		"application":  func(c *session.Config) { c.App = "" },
		"store's time": func(c *session.Config) { c.Store = noEpoch{c.Store} },
	} {
		cfg := session.Config{Keys: c.ring, Policy: c.policy, Store: c.store, App: "shop"}
		change(&cfg)
		if m, err := session.New(t.Context(), cfg); m != nil || err == nil {
			t.Errorf("without %s: New = %v, %v", name, m, err)
		}
	}
}

// Without a store there is nothing to revoke: the session ends here alone.
func TestLogoutWithoutAStore(t *testing.T) {
	c := newCluster(t).with(`{"version":1,"session":{"idle":"30m","absolute":"12h"},"attributes":{"cart":{}}}`)
	c.store = replay.None{}
	m := c.node()
	s, err := m.Start()
	must(t, err)
	must(t, s.Set(t.Context(), "cart", 1))
	must(t, s.Save(t.Context()))
	b := connected(t, s)
	if err := s.Logout(t.Context()); err != nil || !b.ended {
		t.Errorf("Logout = %v, the client was told %t", err, b.ended)
	}
	if _, live := m.Live(s.Holder()); live {
		t.Error("the session lives")
	}
}

// Of many restores of one set at one node one is carried out; the others join it.
func TestOneRestoreAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		spy := c.spied()
		s, b := shopping(t, c.node())
		spy.restore = func(context.Context) (replay.Restored, error, bool) {
			time.Sleep(time.Second)
			return replay.Restored{}, nil, false
		}
		m := c.node()
		type result struct {
			r   session.Restored
			err error
		}
		results := make(chan result)
		const n = 8
		for range n {
			set := b.set(s.Holder()) // an attempt of its own
			go func() { r, err := m.Restore(t.Context(), set); results <- result{r, err} }()
		}
		sessions, joined := map[*session.Session]bool{}, 0
		for range n {
			got := <-results
			if got.err != nil {
				t.Error(got.err)
			}
			sessions[got.r.Session] = true
			if got.r.Joined {
				joined++
			}
		}
		if len(sessions) != 1 || joined != n-1 || len(spy.restores) != 1 {
			t.Errorf("%d sessions, %d joined, the store asked %d times; want 1, %d, 1", len(sessions), joined, len(spy.restores), n-1)
		}
	})
}

// However often a client brings one set at once, the node verifies and keeps 16 of them,
// and asks the store for one. The others are told at once to try again, unread. Neither
// another visitor nor one who guesses the session's id is in the way of its holder.
func TestRestoresOfOneHolderAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		spy := c.spied()
		home := c.node()
		s, b := shopping(t, home)
		other, b2 := shopping(t, home)
		answer := make(chan struct{})
		spy.restore = func(context.Context) (replay.Restored, error, bool) {
			<-answer
			return replay.Restored{}, nil, false
		}
		keys := &asked{ring: c.ring, hold: make(chan struct{})}
		m, err := session.New(t.Context(), session.Config{Keys: keys, Policy: c.policy, Store: c.store, App: "shop"})
		must(t, err)
		var mu sync.Mutex
		got := map[error]int{}
		storm := func(n int, p session.Presented) {
			for i := range n {
				q := p
				q.Holder.Fence = uint64(i % 2) // a hint is no other holder
				go func() {
					_, err := m.Restore(t.Context(), q)
					mu.Lock()
					defer mu.Unlock()
					got[session.Outward(err)]++
				}()
			}
			synctest.Wait()
		}
		want := func(what string, looked, asked, granted, later, refused int) {
			t.Helper()
			if keys.n != looked || len(spy.restores) != asked || got[nil] != granted || got[session.ErrUnavailable] != later || got[session.ErrRejected] != refused {
				t.Errorf("%s: %d sets looked at, the store asked %d times, %v; want %d, %d, %d granted, %d later, %d refused",
					what, keys.n, len(spy.restores), got, looked, asked, granted, later, refused)
			}
		}
		guess := b2.set(other.Holder())
		guess.Holder.Session = s.ID()
		storm(16, guess)
		storm(1000, b.set(s.Holder()))
		want("while the sets are looked at", 32, 0, 0, 984, 0)
		close(keys.hold)
		synctest.Wait()
		storm(100, b.set(s.Holder()))
		want("while the store is asked", 32, 1, 0, 1084, 16)
		storm(1, b2.set(other.Holder()))
		want("another visitor", 33, 2, 0, 1084, 16)
		close(answer)
		synctest.Wait()
		want("when it answers", 33, 2, 17, 1084, 16)
		storm(1, b.set(s.Holder()))
		want("when the places are free again", 34, 2, 18, 1084, 16)
	})
}

func TestWaitingRestoreEndsWithItsCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		spy := c.spied()
		s, b := shopping(t, c.node())
		spy.restore = func(context.Context) (replay.Restored, error, bool) {
			time.Sleep(2 * time.Second)
			return replay.Restored{}, nil, false
		}
		m := c.node()
		done := make(chan error)
		go func() { _, err := m.Restore(t.Context(), b.set(s.Holder())); done <- err }()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		if r, err := m.Restore(ctx, b.set(s.Holder())); r.Session != nil || session.Outward(err) != session.ErrUnavailable || time.Since(start) != time.Second {
			t.Errorf("Restore = %v, %v after %v", r.Session, err, time.Since(start))
		}
		must(t, <-done)
		if len(spy.restores) != 1 {
			t.Errorf("the store was asked %d times", len(spy.restores))
		}
	})
}

// A session that lives here saves nobody from the checks of a presented set.
func TestJoiningVerifiesTheSet(t *testing.T) {
	c := newCluster(t)
	m := c.node()
	s, b := shopping(t, m)
	for name, change := range map[string]func(*session.Presented){
		"a flipped bit": func(p *session.Presented) { p.Manifest = flip(p.Manifest) },
		"no blobs":      func(p *session.Presented) { p.Blobs = nil },
		"nothing":       func(p *session.Presented) { p.Manifest, p.Blobs = "", nil },
	} {
		p := b.set(s.Holder())
		change(&p)
		if r, err := m.Restore(t.Context(), p); err == nil || r.Session != nil {
			t.Errorf("%s: Restore = %+v, %v", name, r, err)
		}
	}
	if _, live := m.Live(s.Holder()); !live {
		t.Error("the refusals ended the session")
	}
}

// asked is a keyring that counts how often it is asked for, and can fail.
type asked struct {
	mu   sync.Mutex
	hold chan struct{} // until it is closed
	ring *seal.Ring
	n    int
	err  error
}

func (a *asked) Ring(context.Context) (*seal.Ring, error) {
	a.mu.Lock()
	a.n++
	a.mu.Unlock()
	if a.hold != nil {
		<-a.hold
	}
	return a.ring, a.err
}

// Sizes are checked before anything is parsed, decoded or derived.
func TestSizesComeFirst(t *testing.T) {
	c := newCluster(t).with(strings.Replace(shopPolicy, `"leeway":"1s"`, `"leeway":"1s","max_attributes":3`, 1))
	s, b := shopping(t, c.node())
	keys := &asked{ring: c.ring}
	m, err := session.New(t.Context(), session.Config{Keys: keys, Policy: c.policy, Store: c.store, App: "shop"})
	must(t, err)
	const slot = "AAAAAAAAAAAA"
	for name, change := range map[string]func(*session.Presented){
		"a long slot":         func(p *session.Presented) { p.Blobs = map[string]string{slot + "A": "A"} },
		"a short slot":        func(p *session.Presented) { p.Blobs = map[string]string{slot[1:]: "A"} },
		"a long envelope":     func(p *session.Presented) { p.Blobs = map[string]string{slot: strings.Repeat("A", 16<<10+1)} },
		"a long manifest":     func(p *session.Presented) { p.Manifest = strings.Repeat("A", 256<<10) },
		"more than the rules": func(p *session.Presented) { p.Blobs[slot] = "A" },
	} {
		p := b.set(s.Holder())
		change(&p)
		keys.n = 0
		if r, err := m.Restore(t.Context(), p); r.Session != nil || !errors.Is(err, seal.ErrMalformed) || keys.n != 0 {
			t.Errorf("%s: Restore = %v, %v; the keyring was asked %d times", name, r.Session, err, keys.n)
		}
	}
	if _, err := m.Restore(t.Context(), b.set(s.Holder())); err != nil || keys.n == 0 {
		t.Errorf("the good set: %v", err)
	}
}

// A keyring that can't be told is no reason to refuse for good, nor to go on.
func TestKeyringUnavailable(t *testing.T) {
	c := newCluster(t)
	s, b := shopping(t, c.node())
	keys := &asked{ring: c.ring}
	m, err := session.New(t.Context(), session.Config{Keys: keys, Policy: c.policy, Store: c.store, App: "shop"})
	must(t, err)
	s2, b2 := shopping(t, m)
	keys.ring, keys.err = nil, errDisk
	if r, err := m.Restore(t.Context(), b.set(s.Holder())); r.Session != nil || !errors.Is(err, session.ErrUnavailable) {
		t.Errorf("Restore = %v, %v", r.Session, err)
	}
	must(t, s2.Set(t.Context(), "cart", 1))
	if err := s2.Save(t.Context()); !errors.Is(err, session.ErrUnavailable) {
		t.Errorf("Save = %v", err)
	}
	keys.ring, keys.err = c.ring, nil
	pushes := len(b2.pushes)
	must(t, s2.Save(t.Context()))
	if len(b2.pushes) != pushes+1 {
		t.Error("what could not be sealed was forgotten")
	}
}

// Today's limits and requirements hold for the whole set.
func TestSetUnderTodaysLimits(t *testing.T) {
	c := newCluster(t)
	s, b := shopping(t, c.node())
	for name, test := range map[string]struct {
		policy string
		want   error
	}{
		"fewer bytes in all":  {strings.Replace(shopPolicy, `"leeway":"1s"`, `"leeway":"1s","max_bytes":10`, 1), policy.ErrNotAllowed},
		"fewer attributes":    {strings.Replace(shopPolicy, `"leeway":"1s"`, `"leeway":"1s","max_attributes":2`, 1), seal.ErrMalformed},
		"required, and there": {strings.Replace(shopPolicy, `"cart":{"ttl":"1h"`, `"cart":{"required":true,"on_expiry":"refuse","ttl":"1h"`, 1), nil},
	} {
		if _, err := c.with(test.policy).node().Restore(t.Context(), b.set(s.Holder())); !errors.Is(err, test.want) || (err == nil) != (test.want == nil) {
			t.Errorf("%s: Restore = %v, want %v", name, err, test.want)
		}
	}
}

// A full node takes its own session back, in place of the stale copy.
func TestFullNodeTakesItsOwnBack(t *testing.T) {
	c := newCluster(t)
	m, err := session.New(t.Context(), session.Config{Keys: c.ring, Policy: c.policy, Store: c.store, App: "shop", MaxSessions: 1})
	must(t, err)
	s, b := shopping(t, m)
	r, err := c.node().Restore(t.Context(), b.set(s.Holder()))
	must(t, err)
	b2 := connected(t, r.Session)
	h := r.Session.Holder()
	h.Fence = 0 // without the hint the stale copy is not let go beforehand
	back, err := m.Restore(t.Context(), b2.set(h))
	if err != nil || back.Joined {
		t.Fatalf("Restore = %+v, %v", back, err)
	}
	// What the dead copy still does must not end the living one.
	if err := s.Acknowledge(t.Context(), b, &session.Version{Fence: 9}); !errors.Is(err, session.ErrMoved) {
		t.Errorf("the dead copy: %v", err)
	}
	if live, ok := m.Live(back.Session.Holder()); !ok || live != back.Session {
		t.Error("the dead copy took the living session out of memory")
	}
	if !b.detached || b.ended {
		t.Errorf("the stale copy's client: detached %t, ended %t", b.detached, b.ended)
	}
}

// A set of which nothing is left is sealed anew all the same: its client must
// not go on holding a set of the old fence.
func TestNothingLeftIsSealedToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		time.Sleep(pastEpoch)
		s, err := c.node().Start()
		must(t, err)
		must(t, s.Set(t.Context(), "login", "ada"))
		must(t, s.Save(t.Context()))
		b := connected(t, s)
		time.Sleep(2 * time.Minute)
		r, err := c.node().Restore(t.Context(), b.set(s.Holder()))
		must(t, err)
		b2 := connected(t, r.Session)
		if b2.version == nil || b2.version.Fence != 1 || b2.manifest == "" || len(b2.blobs) != 0 {
			t.Errorf("the client holds %v with %d blobs, want an empty set of fence 1", b2.version, len(b2.blobs))
		}
		if _, err := c.node().Restore(t.Context(), b2.set(r.Session.Holder())); err != nil {
			t.Errorf("the empty set: %v", err)
		}
	})
}

// Reasons go to the log; blobs, values and the cookie's secret do not.
func TestLogOfARestore(t *testing.T) {
	c := newCluster(t)
	s, b := shopping(t, c.node())
	var out bytes.Buffer
	m, err := session.New(t.Context(), session.Config{Keys: c.ring, Policy: c.policy, Store: c.store, App: "shop", Logger: slog.New(slog.NewTextHandler(&out, nil))})
	must(t, err)
	good := b.set(s.Holder())
	bad := good
	bad.Manifest = flip(good.Manifest)
	_, err = m.Restore(t.Context(), bad)
	if err == nil || !strings.Contains(out.String(), "restore refused") || !strings.Contains(out.String(), err.Error()) {
		t.Errorf("the reason %v is not in the log: %s", err, out.String())
	}
	_, err = m.Restore(t.Context(), good)
	must(t, err)
	secret := strings.Split(session.CookieValueForTest(s.Holder()), ".")[1]
	for what, text := range map[string]string{
		"the secret": secret, "a manifest": good.Manifest[:40], "a spoilt one": bad.Manifest[len(bad.Manifest)-40:],
		"a blob": first(good.Blobs)[:40], "a value": "row 7", "the whole id": s.ID().String(),
	} {
		if strings.Contains(out.String(), text) {
			t.Errorf("the log shows %s: %s", what, out.String())
		}
	}
}
