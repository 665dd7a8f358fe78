// Package replaytest is the conformance kit that every replay store passes:
//
//	func TestConformance(t *testing.T) {
//		replaytest.Run(t, replaytest.Config{New: func(t testing.TB) replay.Store { … }})
//	}
//
// It checks the contract of [replay.Store], clause by clause, and the session
// table: claims, batches, subjects, epoch, horizon and bounds, races, several
// instances on one backend, and a random walk beside a reference model. Its own
// tests run it on stores with one deliberate fault each and expect every check to
// find those that it is there for.
//
// A store on a server gives New, Reopen and Break, and the kit lets short real
// times pass, about half a minute in all.
package replaytest

import (
	"context"
	"crypto/rand"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealedblob/sealedblob/replay"
)

// Config tells the kit how to make and handle a store. Only New is required; a
// hook that is nil skips the checks that need it, with the reason.
type Config struct {
	// New returns a store on a fresh backend of its own. The kit closes it.
	New func(t testing.TB) replay.Store

	// NewBounded is New with so much room. Nil is for stores without bounds of
	// their own.
	NewBounded func(t testing.TB, room Bounds) replay.Store

	// Reopen returns another store on the backend of old, which may be closed or
	// still in use. Nil is for volatile stores. The kit closes it.
	Reopen func(t testing.TB, old replay.Store) replay.Store

	// Break makes the backend of s fail from now on: unreachable, or unable to
	// write. The kit expects errors that do not pretend to know.
	Break func(t testing.TB, s replay.Store)

	// Begin starts a transaction of the caller's on the backend of s. Nil is for
	// stores that can't take part in one.
	Begin func(t testing.TB, s replay.Store) Tx

	// Operator returns who may tend the backend of s. Nil is for stores that are
	// [replay.Operable] themselves, or not at all.
	Operator func(t testing.TB, s replay.Store) replay.Operable

	// FakeTime runs each check inside a testing/synctest bubble. It is for stores
	// that go by time.Now in this process and do not use the network.
	FakeTime bool

	// FastForward moves the clock of the stores on. Nil means that they go by the
	// real clock, or by that of the bubble, and the kit sleeps. With each New the
	// clock starts at the real time again.
	FastForward func(d time.Duration)

	// StepBack sets the clock of the stores back.
	StepBack func(d time.Duration)

	// Steps is the length of the random walk; zero means 2000.
	Steps int

	// Seed repeats a random walk; zero draws one and logs it.
	Seed uint64
}

// Bounds is how many records of each kind a store may hold.
type Bounds struct{ Rights, Sessions, Subjects int }

// check is one promise under test.
type check struct {
	name   string
	clause int // of the contract of replay.Store; 0: the comment of an operation
	needs  need
	run    func(k *kit)
}

// need is what a check needs of the Config.
type need uint8

const (
	bounds need = 1 << iota
	reopen
	stepBack
	broken
	begin
)

// missing names the hook that cfg lacks for n.
func (cfg Config) missing(n need) string {
	switch {
	case n&bounds != 0 && cfg.NewBounded == nil:
		return "NewBounded"
	case n&reopen != 0 && cfg.Reopen == nil:
		return "Reopen"
	case n&stepBack != 0 && cfg.StepBack == nil:
		return "StepBack"
	case n&broken != 0 && cfg.Break == nil:
		return "Break"
	case n&begin != 0 && cfg.Begin == nil:
		return "Begin"
	}
	return ""
}

// checks is the whole kit, in the order in which it runs.
func checks() []check {
	var all []check
	for _, topic := range [][]check{rightChecks, timeChecks, boundChecks, restoreChecks, ackChecks, burnChecks, fenceChecks, renewChecks, subjectChecks, spenderChecks, operateChecks, instanceChecks, failureChecks, walkChecks} {
		all = append(all, topic...)
	}
	return all
}

// Run checks the stores that cfg makes, one subtest for each promise. It fails if
// nothing was checked.
func Run(t *testing.T, cfg Config) {
	if cfg.New == nil {
		t.Fatal("replaytest: Config.New is missing")
	}
	var ran atomic.Int64
	for _, c := range checks() {
		t.Run(c.name, func(t *testing.T) {
			if hook := cfg.missing(c.needs); hook != "" {
				t.Skipf("Config.%s is not set", hook)
			}
			ran.Add(1)
			if cfg.FakeTime {
				synctest.Test(t, func(t *testing.T) { c.run(&kit{TB: t, cfg: cfg}) })
				return
			}
			c.run(&kit{TB: t, cfg: cfg})
		})
	}
	if ran.Load() == 0 {
		t.Error("replaytest: no check ran")
	}
}

// kit is the surroundings of one check: the test, the store's clock, and short
// ways to say what is expected. A failed expectation ends the check.
type kit struct {
	testing.TB
	cfg    Config
	ahead  time.Duration // how far the store's clock is ahead of time.Now
	issued time.Time     // the epoch, or now if that is later
}

// now is the store's clock.
func (k *kit) now() time.Time { return time.Now().Add(k.ahead) }

// advance lets d pass for the store.
func (k *kit) advance(d time.Duration) {
	if k.cfg.FastForward == nil {
		time.Sleep(d)
		return
	}
	k.cfg.FastForward(d)
	k.ahead += d
}

// stepBack sets the store's clock back by d.
func (k *kit) stepBack(d time.Duration) {
	k.cfg.StepBack(d)
	k.ahead -= d
}

// open returns a store on a fresh backend.
func (k *kit) open() store { return k.adopt(k.cfg.New(k.TB)) }

// bounded returns a store with little room.
func (k *kit) bounded(room Bounds) store { return k.adopt(k.cfg.NewBounded(k.TB, room)) }

// reopen returns another store on the backend of s.
func (k *kit) reopen(s store) store { return k.adopt(k.cfg.Reopen(k.TB, s.Store)) }

func (k *kit) adopt(s replay.Store) store {
	k.Helper()
	k.Cleanup(func() {
		if err := s.Close(); err != nil && !errors.Is(err, replay.ErrClosed) {
			k.Errorf("Close() = %v", err)
		}
	})
	epoch, err := s.Epoch(k.Context())
	if err != nil {
		k.Fatalf("Epoch() = %v", err)
	}
	k.issued = time.Unix(max(epoch.Unix(), k.now().Unix()), 0)
	return store{Store: s, k: k}
}

// right is a new right that is good for an hour.
func (k *kit) right() replay.Right { return k.rightUntil(k.now().Add(time.Hour)) }

func (k *kit) rightUntil(keep time.Time) replay.Right {
	return replay.Right{ID: newID("uid"), Issued: k.issued, KeepUntil: keep}
}

// request asks for the set (fence, gen) of session, with a new attempt.
func (k *kit) request(session replay.ID, fence, gen uint64) replay.RestoreRequest {
	return replay.RestoreRequest{
		Session:   session,
		Set:       replay.Version{Fence: fence, Gen: gen},
		Issued:    k.issued,
		KeepUntil: k.keep(),
		Attempt:   newOwner(),
	}
}

// keep is late enough for any session of a check.
func (k *kit) keep() time.Time { return k.now().Add(2 * time.Hour) }

func newID(kind string) replay.ID { return replay.NewID("replaytest", kind, random16()) }

func newOwner() (o replay.Owner) {
	copy(o[:], random16())
	return o
}

func random16() []byte {
	b := make([]byte, 16)
	rand.Read(b)
	return b
}

// store is a store under test, with expectations.
type store struct {
	replay.Store
	k *kit
}

// claim expects an outcome.
func (s store) claim(want replay.Outcome, owner replay.Owner, rights ...replay.Right) {
	s.k.Helper()
	if got, err := s.Claim(s.k.Context(), owner, rights...); got != want || err != nil {
		s.k.Fatalf("Claim = %v, %v, want %v", got, err, want)
	}
}

// denied expects an error that wraps want, and with it no outcome.
func (s store) denied(want error, owner replay.Owner, rights ...replay.Right) {
	s.k.Helper()
	if got, err := s.Claim(s.k.Context(), owner, rights...); got != replay.Lost || !errors.Is(err, want) {
		s.k.Fatalf("Claim = %v, %v, want %v, %v", got, err, replay.Lost, want)
	}
}

// spent expects which of ids are spent.
func (s store) spent(want bool, ids ...replay.ID) {
	s.k.Helper()
	got, err := s.Spent(s.k.Context(), ids...)
	if err != nil || len(got) != len(ids) {
		s.k.Fatalf("Spent = %v, %v, want %d answers", got, err, len(ids))
	}
	for i := range got {
		if got[i] != want {
			s.k.Fatalf("Spent[%d] = %v, want %v", i, got[i], want)
		}
	}
}

// restore expects a verdict, and that all but a grant says nothing else.
func (s store) restore(want replay.Verdict, r replay.RestoreRequest) replay.Restored {
	s.k.Helper()
	got, err := s.Restore(s.k.Context(), r)
	if got.Verdict != want || err != nil {
		s.k.Fatalf("Restore(%d.%d) = %v, %v, want %v", r.Set.Fence, r.Set.Gen, got.Verdict, err, want)
	}
	if want != replay.Granted && !bare(got) {
		s.k.Fatalf("Restore = %+v, want nothing beside the verdict", got)
	}
	if want == replay.Granted && (len(got.Burnt) != len(r.Burn) || len(got.Spent) != len(r.Look)) {
		s.k.Fatalf("Restore = %+v, want %d Burnt and %d Spent", got, len(r.Burn), len(r.Look))
	}
	return got
}

// granted expects a restore to win under fence.
func (s store) granted(fence uint64, r replay.RestoreRequest) replay.Restored {
	s.k.Helper()
	got := s.restore(replay.Granted, r)
	if got.Fence != fence {
		s.k.Fatalf("Restore(%d.%d) = fence %d, want %d", r.Set.Fence, r.Set.Gen, got.Fence, fence)
	}
	return got
}

// restoreDenied expects an error that wraps want and nothing beside it.
func (s store) restoreDenied(want error, r replay.RestoreRequest) {
	s.k.Helper()
	if got, err := s.Restore(s.k.Context(), r); got.Verdict != replay.Refused || !bare(got) || !errors.Is(err, want) {
		s.k.Fatalf("Restore = %+v, %v, want nothing but %v", got, err, want)
	}
}

func bare(r replay.Restored) bool {
	return r.Fence == 0 && !r.BehindWatermark && len(r.Burnt) == 0 && len(r.Spent) == 0
}

// protect expects a verdict on a protected change.
func (s store) protect(want replay.Verdict, session replay.ID, fence, gen uint64) {
	s.k.Helper()
	got, err := s.Protect(s.k.Context(), s.k.place(session, fence, gen))
	if got != want || err != nil {
		s.k.Fatalf("Protect(%d.%d) = %v, %v, want %v", fence, gen, got, err, want)
	}
}

// take expects a verdict and an outcome.
func (s store) take(want replay.Verdict, outcome replay.Outcome, session replay.ID, fence uint64, owner replay.Owner, r replay.Right) {
	s.k.Helper()
	v, o, err := s.Take(s.k.Context(), s.k.place(session, fence, 0), owner, r)
	if v != want || o != outcome || err != nil {
		s.k.Fatalf("Take(fence %d) = %v, %v, %v, want %v, %v", fence, v, o, err, want, outcome)
	}
}

// revoke logs a session out.
func (s store) revoke(session replay.ID) {
	s.k.Helper()
	if err := s.Revoke(s.k.Context(), session, s.k.keep()); err != nil {
		s.k.Fatalf("Revoke = %v", err)
	}
}

// cancelled is a context that was given up.
func (k *kit) cancelled() context.Context {
	ctx, cancel := context.WithCancel(k.Context())
	cancel()
	return ctx
}
