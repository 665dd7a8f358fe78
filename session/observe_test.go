package session_test

import (
	"context"
	"fmt"
	"net/http"
	"reflect"
	"slices"
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

// journal is an observer that keeps what it is told, but for the store's calls.
type journal struct {
	mu     sync.Mutex
	events []session.Event
}

func (j *journal) Observe(_ context.Context, e session.Event) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if e.Kind != session.KindStore {
		j.events = append(j.events, e)
	}
}

// read returns what was told since the last time, a word for each event.
func (j *journal) read() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	var out []string
	for _, e := range j.events {
		line := string(e.Kind) + " " + string(e.Result)
		for _, word := range []string{string(e.Reason), e.Attribute} {
			if word != "" {
				line += " " + word
			}
		}
		if e.Kind == session.KindDrain {
			line += fmt.Sprint(" ", e.Count)
		}
		out = append(out, line)
	}
	j.events = nil
	return strings.Join(out, ", ")
}

// told runs f and compares what the observer heard of it.
func (j *journal) told(t *testing.T, want string, f func()) {
	t.Helper()
	j.read()
	f()
	if got := j.read(); got != want {
		t.Errorf("told %q, want %q", got, want)
	}
}

// observed makes a node whose observer is o.
func (c *cluster) observed(o session.Observer, early session.Early) *session.Manager {
	c.t.Helper()
	m, err := session.New(context.Background(), session.Config{
		Keys: c.ring, Policy: c.policy, Store: c.store, App: "shop", Early: early, Observer: o,
	})
	must(c.t, err)
	return m
}

func TestRestoresAreObserved(t *testing.T) {
	j, c := &journal{}, newCluster(t)
	store := c.spied()
	first, second := c.node(), c.observed(j, session.Early{Wait: -1})
	s, b := shopping(t, first)
	set := b.set(s.Holder())
	ctx := t.Context()
	forged := set
	tag := len(forged.Manifest) - 10
	forged.Manifest = forged.Manifest[:tag] + flipped(forged.Manifest[tag:tag+1]) + forged.Manifest[tag+1:]
	j.told(t, "restore refused not_authentic", func() { _, _ = second.Restore(ctx, forged) })
	j.told(t, "restore refused malformed", func() { _, _ = second.Restore(ctx, session.Presented{Holder: s.Holder(), Manifest: "?"}) })
	j.told(t, "restore refused binding", func() { second.Present(ctx, request("POST", "/"), wire(set)) })
	store.restore = func(context.Context) (replay.Restored, error, bool) { return replay.Restored{}, replay.ErrFull, true }
	j.told(t, "restore unavailable store_full", func() { _, _ = second.Restore(ctx, set) })
	store.restore = nil
	must(t, s.Take(ctx, "ticket", owner(), new(string)))
	j.told(t, "restore granted, dropped dropped replayed ticket", func() { _, _ = second.Restore(ctx, set) })
	j.told(t, "restore joined", func() { _, _ = second.Restore(ctx, set) })
	third := c.observed(j, session.Early{Wait: -1})
	j.told(t, "restore refused superseded", func() {
		set.Attempt = owner()
		_, _ = third.Restore(ctx, set)
	})
}

func TestRollbackIsObservedAsSuch(t *testing.T) {
	j, c := &journal{}, newCluster(t).with(`{"version":1,"session":{"idle":"30m","absolute":"12h"},"attributes":{"cart":{"ttl":"1h"},"points":{"ttl":"1h","rollback":"drop"}}}`)
	s, err := c.node().Start()
	must(t, err)
	must(t, s.Set(t.Context(), "points", 1))
	must(t, s.Set(t.Context(), "cart", 1))
	must(t, s.Save(t.Context()))
	b := &browser{}
	must(t, s.Attach(b))
	must(t, s.Acknowledge(t.Context(), b, nil))
	set := b.set(s.Holder())
	must(t, s.Set(t.Context(), "points", 2))
	j.told(t, "restore granted, dropped dropped rolled_back points", func() {
		_, _ = c.observed(j, session.Early{}).Restore(t.Context(), set)
	})
}

func TestUsesAreObserved(t *testing.T) {
	j, c := &journal{}, newCluster(t)
	store := c.spied()
	m := c.observed(j, session.Early{})
	s, b := shopping(t, m)
	ctx, set := t.Context(), b.set(s.Holder())
	take := func(name string) func() { return func() { _ = s.Take(ctx, name, owner(), new(any)) } }
	store.take = func(context.Context) (replay.Verdict, replay.Outcome, error, bool) {
		return 0, replay.Lost, context.DeadlineExceeded, true
	}
	j.told(t, "take unavailable timeout ticket", take("ticket"))
	store.take = nil
	j.told(t, "take refused not_allowed cart", take("cart"))
	j.told(t, "take granted ticket", take("ticket"))
	j.told(t, "take refused no_attribute", take("an attacker's name"))
	j.told(t, "renew granted", func() { s = login(t, s, "ada") })
	store.renew = func(context.Context) (error, bool) { return replay.ErrClosed, true }
	j.told(t, "logout unavailable other", func() { _ = s.Logout(ctx) })
	store.renew = nil
	j.told(t, "logout granted", func() { must(t, s.Logout(ctx)) })
	j.told(t, "renew refused ended", func() { _, _ = s.Renew(ctx) })
	j.told(t, "end_logins granted", func() { must(t, m.EndLogins(ctx, "ada")) })
	j.told(t, "end_logins refused not_allowed", func() { _ = m.EndLogins(ctx, "") })
	j.told(t, "restore refused revoked", func() { _, _ = m.Restore(ctx, set) })
}

func TestGrantsAreObserved(t *testing.T) {
	j, c := &journal{}, newCluster(t).with(grantPolicy)
	m := c.observed(j, session.Early{})
	text := issue(t, m)
	take := func() { _, _ = session.TakeGrant(t.Context(), m, reset, text, owner(), nil) }
	j.told(t, "grant granted reset", take)
	j.told(t, "grant refused replayed reset", take)
}

func TestLostChangesAreObserved(t *testing.T) {
	j, c := &journal{}, newCluster(t)
	m, other := c.observed(j, session.Early{}), c.node()
	s, b := shopping(t, m)
	h := m.Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		must(t, s.Set(r.Context(), "cart", 2))
		_, err := other.Restore(r.Context(), b.set(s.Holder()))
		must(t, err)
		if err := s.Acknowledge(r.Context(), b, &session.Version{Fence: s.Version().Fence + 1}); err == nil {
			t.Error("the session did not move")
		}
	}))
	j.told(t, "unsealed refused moved", func() { <-later(h, request("GET", "/", cookieOf(t, s.Holder()))) })
}

func TestEarlyRequestsAreObserved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j, c := &journal{}, newCluster(t)
		s, b := shopping(t, c.node())
		m := c.observed(j, session.Early{ParkedPerSession: 1})
		h := m.Middleware(http.HandlerFunc(count))
		ask := func(ctx context.Context) func() {
			done := later(h, request("GET", "/", cookieOf(t, s.Holder())).WithContext(ctx))
			synctest.Wait()
			return func() { <-done }
		}
		ctx := t.Context()
		j.told(t, "early unavailable timeout", func() { ask(ctx)() })
		j.told(t, "early unavailable canceled", func() {
			gone, cancel := context.WithCancel(ctx)
			wait := ask(gone)
			cancel()
			wait()
		})
		j.told(t, "early unavailable not_parked, early unavailable nothing_to_restore", func() {
			wait := ask(ctx)
			ask(ctx)()
			if parked := m.Stats().Parked; parked != 1 {
				t.Errorf("%d parked, want 1", parked)
			}
			m.Present(ctx, request("POST", "/", cookieOf(t, s.Holder())), session.WireRequest{V: session.WireVersion})
			wait()
		})
		// The restore wakes the request before it tells of itself: either may be first.
		wait := ask(ctx)
		_, err := m.Restore(ctx, b.set(s.Holder()))
		must(t, err)
		wait()
		told := strings.Split(j.read(), ", ")
		slices.Sort(told)
		if want := []string{"early granted", "restore granted"}; !slices.Equal(told, want) {
			t.Errorf("told %q, want %q", told, want)
		}
		if stats := m.Stats(); stats != (session.Stats{Sessions: 1}) {
			t.Errorf("%+v", stats)
		}
	})
}

func TestDrainIsObserved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j, c := &journal{}, newCluster(t)
		m := c.observed(j, session.Early{})
		s, b := shopping(t, m)
		s.Detach(b)
		open(t, s)
		shopping(t, m) // its browser acknowledges nothing more
		j.told(t, "drain granted 1, drain unacknowledged 1", func() { <-drained(m, time.Second) })
		if stats := m.Stats(); stats != (session.Stats{Draining: true}) {
			t.Errorf("%+v", stats)
		}
		h := m.Middleware(http.HandlerFunc(count))
		j.told(t, "early unavailable draining", func() { <-later(h, request("GET", "/", cookieOf(t, s.Holder()))) })
	})
}

// Every call of the store is told, with its time and how it ended.
func TestStoreCallsAreObserved(t *testing.T) {
	contract := reflect.TypeFor[replay.Store]()
	for method := range contract.Methods() {
		if method.Name == "Epoch" || method.Name == "Close" { // before there is a manager, and after
			continue
		}
		for want, err := range map[string]error{
			"granted":             nil,
			"granted ":            replay.ErrNoStore,
			"refused":             replay.ErrBeforeEpoch,
			"unavailable":         replay.ErrClosed,
			"unavailable timeout": context.DeadlineExceeded,
		} {
			var events []session.Event
			store := session.ObservedForTest(answer{err}, observe(func(e session.Event) { events = append(events, e) }))
			call(t, store, method.Name)
			if len(events) != 1 {
				t.Fatalf("%s: %d events", method.Name, len(events))
			}
			e, result := events[0], strings.Fields(want)[0]
			if e.Kind != session.KindStore || string(e.Result) != result || strings.ReplaceAll(e.Operation, "_", "") != strings.ToLower(method.Name) || e.Duration <= 0 {
				t.Errorf("%s, %v: %+v", method.Name, err, e)
			}
			if (e.Reason == "") != (result == "granted") {
				t.Errorf("%s, %v: reason %q", method.Name, err, e.Reason)
			}
		}
	}
}

type observe func(session.Event)

func (f observe) Observe(_ context.Context, e session.Event) { f(e) }

// call calls a method with zero values and a context.
func call(t *testing.T, store replay.Store, name string) {
	m := reflect.ValueOf(store).MethodByName(name)
	var in []reflect.Value
	for i := range m.Type().NumIn() {
		if m.Type().IsVariadic() && i == m.Type().NumIn()-1 {
			break
		}
		in = append(in, reflect.Zero(m.Type().In(i)))
	}
	in[0] = reflect.ValueOf(t.Context())
	m.Call(in)
}

// Every refusal has a reason, and is told as what the outside sees.
func TestEveryRefusalHasAReason(t *testing.T) {
	seen := map[session.Reason]bool{}
	for _, err := range session.RefusalsForTest() {
		result, reason := session.OutcomeForTest(fmt.Errorf("an envelope: %w", err))
		if result != session.ResultRefused || reason == session.ReasonOther || seen[reason] {
			t.Errorf("%v: %s, %s", err, result, reason)
		}
		seen[reason] = true
	}
	for _, err := range []error{session.ErrUnavailable, replay.ErrFull, replay.ErrClosed, policy.ErrStoreDown, seal.ErrNoPrimary, context.Canceled} {
		if result, reason := session.OutcomeForTest(err); result != session.ResultUnavailable || reason == "" {
			t.Errorf("%v: %s, %s", err, result, reason)
		}
	}
}

// answer is a store that answers everything with one error, or none.
type answer struct{ err error }

func (a answer) Claim(context.Context, replay.Owner, ...replay.Right) (replay.Outcome, error) {
	return replay.Lost, a.err
}
func (a answer) Spent(context.Context, ...replay.ID) ([]bool, error) { return nil, a.err }
func (a answer) Restore(context.Context, replay.RestoreRequest) (replay.Restored, error) {
	return replay.Restored{}, a.err
}
func (a answer) Protect(context.Context, replay.Place) (replay.Verdict, error) { return 0, a.err }
func (a answer) Take(context.Context, replay.Place, replay.Owner, replay.Right) (replay.Verdict, replay.Outcome, error) {
	return 0, replay.Lost, a.err
}
func (a answer) Acknowledge(context.Context, ...replay.Place) ([]replay.Verdict, error) {
	return nil, a.err
}
func (a answer) Renew(context.Context, replay.Place, replay.ID) (replay.Verdict, error) {
	return 0, a.err
}
func (a answer) Revoke(context.Context, replay.ID, time.Time) error { return a.err }
func (a answer) RevokeSubject(context.Context, replay.ID, time.Time, time.Time) error {
	return a.err
}
func (a answer) SubjectCut(context.Context, replay.ID) (time.Time, error) { return time.Time{}, a.err }
func (a answer) Epoch(context.Context) (time.Time, error)                 { return time.Time{}, a.err }
func (a answer) Close() error                                             { return a.err }
