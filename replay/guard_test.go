package replay_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealedblob/sealedblob/replay"
	"github.com/sealedblob/sealedblob/replay/replaytest"
)

// weak is a store that can be made to fail or to hang.
type weak struct {
	replay.Store
	mu      sync.Mutex
	fail    error         // the answer of each call
	hang    chan struct{} // each call waits for it, or for its ctx
	deaf    bool          // a hanging call does not heed its ctx
	late    bool          // a call that hung is carried out though its caller has gone
	calls   int
	waiting int
}

func (w *weak) set(change func(*weak)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change(w)
}

func (w *weak) counts() (calls, waiting int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.calls, w.waiting
}

func (w *weak) Claim(ctx context.Context, owner replay.Owner, rights ...replay.Right) (replay.Outcome, error) {
	w.mu.Lock()
	w.calls++
	fail, hang, deaf, late := w.fail, w.hang, w.deaf, w.late
	w.waiting++
	w.mu.Unlock()
	defer w.set(func(w *weak) { w.waiting-- })
	if hang != nil {
		ended := ctx.Done()
		if deaf {
			ended = nil
		}
		select {
		case <-hang:
		case <-ended:
			if late {
				_, _ = w.Store.Claim(context.WithoutCancel(ctx), owner, rights...)
			}
			return replay.Lost, ctx.Err()
		}
	}
	if fail != nil {
		return replay.Lost, fail
	}
	return w.Store.Claim(ctx, owner, rights...)
}

var errDown = errors.New("connection refused")

// guarded runs a test with a weak store behind a guard, in a time of its own.
func guarded(t *testing.T, cfg replay.GuardConfig, run func(t *testing.T, w *weak, g *replay.Guard)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &weak{Store: replay.NewMemory(replay.MemoryConfig{})}
		time.Sleep(replay.MaxAhead + time.Second) // past the epoch
		run(t, w, replay.NewGuard(w, cfg))
	})
}

// claim claims a right of the name for owner 1.
func claim(ctx context.Context, g *replay.Guard, name string) (replay.Outcome, error) {
	return g.Claim(ctx, owner(1), right(name, time.Now(), time.Now().Add(time.Hour)))
}

func expect(t *testing.T, g *replay.Guard, name string, want replay.Outcome, wantErr error) {
	t.Helper()
	if out, err := claim(t.Context(), g, name); out != want || !errors.Is(err, wantErr) {
		t.Errorf("Claim(%s) = %v, %v, want %v, %v", name, out, err, want, wantErr)
	}
}

func TestGuardKeepsTheContract(t *testing.T) {
	replaytest.Run(t, replaytest.Config{
		New: func(testing.TB) replay.Store {
			return replay.NewGuard(replay.NewMemory(replay.MemoryConfig{}), replay.GuardConfig{})
		},
		NewBounded: func(_ testing.TB, room replaytest.Bounds) replay.Store {
			return replay.NewGuard(replay.NewMemory(replay.MemoryConfig{MaxRights: room.Rights, MaxSessions: room.Sessions, MaxSubjects: room.Subjects}), replay.GuardConfig{})
		},
		FakeTime: true,
	})
}

// The fifth failure in a row opens the circuit: nobody asks any more but one probe
// a pause. The first answer closes it.
func TestGuardOpensAndCloses(t *testing.T) {
	var news []error
	cfg := replay.GuardConfig{Changed: func(cause error) { news = append(news, cause) }}
	guarded(t, cfg, func(t *testing.T, w *weak, g *replay.Guard) {
		w.set(func(w *weak) { w.fail = errDown })
		for i := range 5 {
			if state := g.Circuit(); state != replay.CircuitClosed {
				t.Fatalf("%v after %d failures", state, i)
			}
			expect(t, g, "a", replay.Lost, errDown)
		}
		if state := g.Circuit(); state != replay.CircuitOpen {
			t.Errorf("%v after 5 failures", state)
		}
		for range 100 {
			expect(t, g, "a", replay.Lost, replay.ErrNotAsked)
		}
		time.Sleep(250*time.Millisecond - 1)
		expect(t, g, "a", replay.Lost, replay.ErrNotAsked)
		if calls, _ := w.counts(); calls != 5 {
			t.Errorf("the store was asked %d times, want 5", calls)
		}
		time.Sleep(time.Nanosecond)
		expect(t, g, "a", replay.Lost, errDown) // the probe
		expect(t, g, "a", replay.Lost, replay.ErrNotAsked)
		time.Sleep(250 * time.Millisecond)
		w.set(func(w *weak) { w.fail = nil })
		expect(t, g, "a", replay.Won, nil)
		expect(t, g, "a", replay.Mine, nil)
		if state := g.Circuit(); state != replay.CircuitClosed {
			t.Errorf("%v after an answer", state)
		}
		if len(news) != 2 || !errors.Is(news[0], errDown) || news[1] != nil {
			t.Errorf("told %v", news)
		}
	})
}

// A successful call in between begins the count again.
func TestGuardCountsFailuresInARow(t *testing.T) {
	guarded(t, replay.GuardConfig{}, func(t *testing.T, w *weak, g *replay.Guard) {
		for i := range 20 {
			w.set(func(w *weak) { w.fail = nil })
			expect(t, g, fmt.Sprint(i), replay.Won, nil)
			w.set(func(w *weak) { w.fail = errDown })
			for range 4 {
				expect(t, g, "a", replay.Lost, errDown)
			}
		}
	})
}

// Refusals are answers: whoever replays rights, or holds one, shuts nobody out.
func TestGuardAnswersAreNoFailures(t *testing.T) {
	for _, final := range []error{nil, replay.ErrHeld, replay.ErrFull, replay.ErrBeforeEpoch, replay.ErrBeyondHorizon, replay.ErrNoOwner, replay.ErrNoStore, replay.ErrClosed, replay.ErrArgument} {
		guarded(t, replay.GuardConfig{}, func(t *testing.T, w *weak, g *replay.Guard) {
			expect(t, g, "a", replay.Won, nil)
			w.set(func(w *weak) { w.fail = final })
			for range 20 {
				out, err := g.Claim(t.Context(), owner(2), right("a", time.Now(), time.Now().Add(time.Hour)))
				if out != replay.Lost || !errors.Is(err, final) {
					t.Fatalf("%v, %v, want %v", out, err, final)
				}
			}
			if state := g.Circuit(); state != replay.CircuitClosed {
				t.Errorf("%v after %v", state, final)
			}
		})
	}
}

// A call has its time, whatever the caller gives; a store that hangs opens the
// circuit, and who comes later waits no more.
func TestGuardBoundsTime(t *testing.T) {
	guarded(t, replay.GuardConfig{Timeout: 2 * time.Second}, func(t *testing.T, w *weak, g *replay.Guard) {
		w.set(func(w *weak) { w.hang = make(chan struct{}) })
		began := time.Now()
		var all sync.WaitGroup
		for i := range 5 {
			all.Go(func() { expect(t, g, fmt.Sprint(i), replay.Lost, context.DeadlineExceeded) })
		}
		all.Wait()
		if took := time.Since(began); took != 2*time.Second {
			t.Errorf("after %v", took)
		}
		expect(t, g, "a", replay.Lost, replay.ErrNotAsked)
		if took := time.Since(began); took != 2*time.Second {
			t.Errorf("the next one after %v", took)
		}
	})
}

// However many come, no more are under way than the bound, also behind a store
// that heeds nothing; and all is as before when it is back.
func TestGuardBoundsCallsUnderWay(t *testing.T) {
	for _, deaf := range []bool{false, true} {
		guarded(t, replay.GuardConfig{InFlight: 10}, func(t *testing.T, w *weak, g *replay.Guard) {
			back := make(chan struct{})
			w.set(func(w *weak) { w.hang, w.deaf = back, deaf })
			var all sync.WaitGroup
			var mu sync.Mutex
			busy := 0
			for i := range 100 {
				all.Go(func() {
					if _, err := claim(t.Context(), g, fmt.Sprint(i)); errors.Is(err, replay.ErrBusy) {
						mu.Lock()
						busy++
						mu.Unlock()
					}
				})
			}
			synctest.Wait()
			if calls, waiting := w.counts(); calls != 10 || waiting != 10 || busy != 90 {
				t.Errorf("deaf %v: %d calls, %d wait, %d were told; want 10, 10, 90", deaf, calls, waiting, busy)
			}
			if !deaf {
				time.Sleep(3 * time.Second)
			}
			close(back)
			all.Wait()
			time.Sleep(250 * time.Millisecond)
			for i := range 20 {
				expect(t, g, fmt.Sprint("later", i), replay.Won, nil)
			}
		})
	}
}

// Of all who call at the end of the pause, one asks.
func TestGuardProbesWithOneCall(t *testing.T) {
	guarded(t, replay.GuardConfig{}, func(t *testing.T, w *weak, g *replay.Guard) {
		trip(t, w, g)
		back := make(chan struct{})
		w.set(func(w *weak) { w.hang = back })
		time.Sleep(250 * time.Millisecond)
		before, _ := w.counts()
		var all sync.WaitGroup
		for i := range 100 {
			all.Go(func() { _, _ = claim(t.Context(), g, fmt.Sprint(i)) })
		}
		synctest.Wait()
		if calls, waiting := w.counts(); calls-before != 1 || waiting != 1 {
			t.Errorf("%d asked, %d wait, want 1", calls-before, waiting)
		}
		if state := g.Circuit(); state != replay.CircuitHalfOpen {
			t.Errorf("%v during the probe", state)
		}
		close(back)
		all.Wait()
		if state := g.Circuit(); state != replay.CircuitClosed {
			t.Errorf("%v after the probe", state)
		}
	})
}

// trip opens the circuit, and has the store answer again.
func trip(t *testing.T, w *weak, g *replay.Guard) {
	t.Helper()
	w.set(func(w *weak) { w.fail = errDown })
	for range 5 {
		expect(t, g, "trip", replay.Lost, errDown)
	}
	w.set(func(w *weak) { w.fail = nil })
}

// Callers that leave open no circuit, and a probe whose caller leaves closes none:
// the next call is the probe.
func TestGuardCallersThatLeave(t *testing.T) {
	guarded(t, replay.GuardConfig{}, func(t *testing.T, w *weak, g *replay.Guard) {
		leave := func() {
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(time.Second, cancel)
			if _, err := claim(ctx, g, "left"); !errors.Is(err, context.Canceled) {
				t.Errorf("%v, want the caller's", err)
			}
		}
		hang := make(chan struct{})
		w.set(func(w *weak) { w.hang = hang })
		for range 20 {
			leave()
		}
		if state := g.Circuit(); state != replay.CircuitClosed {
			t.Errorf("%v", state)
		}
		w.set(func(w *weak) { w.hang = nil })
		trip(t, w, g)
		time.Sleep(250 * time.Millisecond)
		w.set(func(w *weak) { w.hang = hang })
		leave()
		w.set(func(w *weak) { w.hang = nil })
		if state := g.Circuit(); state != replay.CircuitOpen {
			t.Errorf("%v after a probe that told nothing", state)
		}
		expect(t, g, "a", replay.Won, nil)
	})
}

// Whoever gives a store less time than it takes opens no circuit for the others; but
// a store that does not answer in a third of the time of a call, or refuses, does fail.
func TestGuardCallersInAHurry(t *testing.T) {
	for _, c := range []struct {
		given time.Duration
		fail  error
		want  replay.Circuit
	}{
		{time.Millisecond, nil, replay.CircuitClosed},
		{time.Second - 1, nil, replay.CircuitClosed},
		{time.Second, nil, replay.CircuitOpen},
		{3*time.Second - 1, nil, replay.CircuitOpen}, // as the session package does
		{time.Millisecond, errDown, replay.CircuitOpen},
	} {
		guarded(t, replay.GuardConfig{}, func(t *testing.T, w *weak, g *replay.Guard) {
			w.set(func(w *weak) {
				if w.fail = c.fail; c.fail == nil {
					w.hang = make(chan struct{})
				}
			})
			want := c.fail
			if want == nil {
				want = context.DeadlineExceeded
			}
			for range 5 {
				ctx, cancel := context.WithTimeout(t.Context(), c.given)
				if _, err := claim(ctx, g, "hurry"); !errors.Is(err, want) {
					t.Errorf("%v: %v, want %v", c.given, err, want)
				}
				cancel()
			}
			if state := g.Circuit(); state != c.want {
				t.Errorf("%v for a caller's %v, %v, want %v", state, c.given, c.fail, c.want)
			}
		})
	}
}

// A context that is over asks nobody, and is no failure of the store.
func TestGuardOverBeforeItBegan(t *testing.T) {
	guarded(t, replay.GuardConfig{}, func(t *testing.T, w *weak, g *replay.Guard) {
		ctx, cancel := context.WithTimeout(t.Context(), 0)
		defer cancel()
		for range 20 {
			if _, err := claim(ctx, g, "a"); !errors.Is(err, context.DeadlineExceeded) {
				t.Fatal(err)
			}
		}
		if calls, _ := w.counts(); calls != 0 || g.Circuit() != replay.CircuitClosed {
			t.Errorf("%d calls, %v", calls, g.Circuit())
		}
	})
}

// A probe that never comes back does not keep the circuit open for ever.
func TestGuardProbeThatIsLost(t *testing.T) {
	guarded(t, replay.GuardConfig{}, func(t *testing.T, w *weak, g *replay.Guard) {
		trip(t, w, g)
		never := make(chan struct{})
		defer close(never)
		w.set(func(w *weak) { w.hang, w.deaf = never, true })
		time.Sleep(250 * time.Millisecond)
		go func() { _, _ = claim(context.Background(), g, "lost") }()
		synctest.Wait()
		w.set(func(w *weak) { w.hang = nil })
		time.Sleep(3*time.Second + 250*time.Millisecond - 1)
		expect(t, g, "a", replay.Lost, replay.ErrNotAsked)
		time.Sleep(time.Nanosecond)
		expect(t, g, "a", replay.Won, nil)
	})
}

type panics struct{ replay.Store }

func (panics) Spent(context.Context, ...replay.ID) ([]bool, error) { panic("a bug") }

// A store that panics gives its places back.
func TestGuardPanic(t *testing.T) {
	g := replay.NewGuard(panics{replay.NewMemory(replay.MemoryConfig{})}, replay.GuardConfig{InFlight: 1})
	for range 10 {
		func() {
			defer func() {
				if recover() != "a bug" {
					t.Error("the panic was kept")
				}
			}()
			_, _ = g.Spent(t.Context(), id("a"))
		}()
	}
	if _, err := g.Epoch(t.Context()); err != nil {
		t.Error(err)
	}
}

// Who won but was not told learns it later, as the same owner; others lose.
func TestGuardOwnerLearnsTheTruth(t *testing.T) {
	guarded(t, replay.GuardConfig{}, func(t *testing.T, w *weak, g *replay.Guard) {
		w.set(func(w *weak) { w.hang, w.late = make(chan struct{}), true })
		issued := time.Now()
		ticket := right("ticket", issued, issued.Add(time.Hour))
		if out, err := g.Claim(t.Context(), owner(1), ticket); out != replay.Lost || !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("%v, %v", out, err)
		}
		for range 4 {
			_, _ = claim(t.Context(), g, "others")
		}
		w.set(func(w *weak) { w.hang = nil })
		if out, err := g.Claim(t.Context(), owner(1), ticket); out != replay.Lost || !errors.Is(err, replay.ErrNotAsked) {
			t.Fatalf("while it is open: %v, %v", out, err)
		}
		time.Sleep(250 * time.Millisecond)
		for o, want := range map[byte]replay.Outcome{1: replay.Mine, 2: replay.Lost} {
			if out, err := g.Claim(t.Context(), owner(o), ticket); out != want || err != nil {
				t.Errorf("owner %d: %v, %v, want %v", o, out, err, want)
			}
		}
	})
}

// An open circuit's error is none of the final ones, and says what happened.
func TestGuardErrorIsNotFinal(t *testing.T) {
	guarded(t, replay.GuardConfig{}, func(t *testing.T, w *weak, g *replay.Guard) {
		trip(t, w, g)
		_, err := claim(t.Context(), g, "a")
		for _, final := range []error{replay.ErrReplayed, replay.ErrFull, replay.ErrBeforeEpoch, replay.ErrBeyondHorizon, replay.ErrNoOwner, replay.ErrClosed} {
			if errors.Is(err, final) {
				t.Errorf("%v is %v", err, final)
			}
		}
		if want := "replay: the store does not answer: connection refused"; err.Error() != want {
			t.Errorf("%q, want %q", err, want)
		}
	})
}

// Every operation goes through the circuit.
func TestGuardCoversEveryOperation(t *testing.T) {
	guarded(t, replay.GuardConfig{}, func(t *testing.T, w *weak, g *replay.Guard) {
		trip(t, w, g)
		ctx, until := t.Context(), time.Now().Add(time.Hour)
		for name, call := range map[string]func() error{
			"Claim":         func() error { _, err := claim(ctx, g, "a"); return err },
			"Spent":         func() error { _, err := g.Spent(ctx, id("a")); return err },
			"Restore":       func() error { _, err := g.Restore(ctx, replay.RestoreRequest{}); return err },
			"Protect":       func() error { _, err := g.Protect(ctx, replay.Place{}); return err },
			"Take":          func() error { _, _, err := g.Take(ctx, replay.Place{}, owner(1), replay.Right{}); return err },
			"Acknowledge":   func() error { _, err := g.Acknowledge(ctx); return err },
			"Renew":         func() error { _, err := g.Renew(ctx, replay.Place{}, id("a")); return err },
			"Revoke":        func() error { return g.Revoke(ctx, id("a"), until) },
			"RevokeSubject": func() error { return g.RevokeSubject(ctx, id("a"), until, until) },
			"SubjectCut":    func() error { _, err := g.SubjectCut(ctx, id("a")); return err },
			"Epoch":         func() error { _, err := g.Epoch(ctx); return err },
		} {
			if err := call(); !errors.Is(err, replay.ErrNotAsked) {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

func BenchmarkGuard(b *testing.B) {
	m := replay.NewMemory(replay.MemoryConfig{})
	ids := []replay.ID{id("a")}
	for name, s := range map[string]replay.Store{"bare": m, "guarded": replay.NewGuard(m, replay.GuardConfig{})} {
		b.Run(name, func(b *testing.B) {
			b.RunParallel(func(pb *testing.PB) {
				ctx, cancel := context.WithTimeout(b.Context(), 2*time.Second) // as the session package does
				defer cancel()
				for pb.Next() {
					if _, err := s.Spent(ctx, ids...); err != nil {
						b.Fatal(err)
					}
				}
			})
		})
	}
}
