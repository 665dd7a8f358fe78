package replay

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// The errors of a [Guard] that did not ask the store. Like all that a store says
// but its final refusals, they mean that it is not known what became of a right:
// the caller tries again, with the same owner.
var (
	// ErrNotAsked says that the store did not answer lately, and is let alone for
	// a moment.
	ErrNotAsked = errors.New("replay: the store does not answer")
	// ErrBusy says that too many calls of the store are under way.
	ErrBusy = errors.New("replay: too many calls of the store are under way")
)

// Circuit says whether a [Guard] lets calls through to its store.
type Circuit int32

// The states of a circuit.
const (
	CircuitClosed   Circuit = iota // calls go through
	CircuitHalfOpen                // one call goes through, to see whether the store is back
	CircuitOpen                    // no call goes through
)

// String returns the state in words.
func (c Circuit) String() string {
	switch c {
	case CircuitClosed:
		return "closed"
	case CircuitHalfOpen:
		return "half open"
	}
	return "open"
}

// GuardConfig says what a [Guard] bears.
type GuardConfig struct {
	// Timeout bounds each call. Zero: 3 s.
	Timeout time.Duration
	// InFlight bounds the calls under way; more get [ErrBusy] at once. Zero: 4096.
	InFlight int
	// Failures is how many calls in a row must fail to open the circuit. Zero: 5.
	Failures int
	// Pause is for how long an open circuit lets the store alone. Zero: 250 ms.
	Pause time.Duration
	// Changed, if not nil, is told when the circuit opens, with the error that
	// opened it, and when it closes, with nil; in that order, and not of the probes
	// in between. It must be quick.
	Changed func(cause error)
}

// Guard keeps callers from piling up behind a store that is slow or away. Each
// call is bounded in time, and so are the calls under way. After several calls in
// a row that could not tell, the circuit opens: calls get [ErrNotAsked] at once.
// After a pause one call goes through as a probe, and the first answer closes the
// circuit. An open circuit that nobody calls stays open.
//
// An answer is what the contract calls final too: a right that is spent, a set
// that is refused, a store that is full. So are [ErrHeld] and [ErrAhead]: whoever keeps a
// transaction of his own open, or whose clock is wrong, shuts nobody else out. A caller that leaves says nothing about
// the store. A store that does not heed an ended ctx (clause 10) keeps its callers,
// but not more than InFlight.
//
// The session package puts a guard around every store. Status, Purge and
// RaiseEpoch are not guarded: ask the store itself.
type Guard struct {
	store Store
	cfg   GuardConfig

	inFlight atomic.Int64
	failures atomic.Int64
	circuit  atomic.Int32 // written under mu

	mu     sync.Mutex
	next   time.Time // when the next probe may go
	reason error     // what callers get while it is open
}

var _ Store = (*Guard)(nil)

// NewGuard guards store. Negative numbers are as zero.
func NewGuard(store Store, cfg GuardConfig) *Guard {
	cfg.Timeout = positive(cfg.Timeout, 3*time.Second)
	cfg.InFlight = positive(cfg.InFlight, 4096)
	cfg.Failures = positive(cfg.Failures, 5)
	cfg.Pause = positive(cfg.Pause, 250*time.Millisecond)
	return &Guard{store: store, cfg: cfg}
}

func positive[T int | time.Duration](value, otherwise T) T {
	if value > 0 {
		return value
	}
	return otherwise
}

// Unwrap returns the store behind the guard.
func (g *Guard) Unwrap() Store { return g.store }

// Circuit is the state at this moment.
func (g *Guard) Circuit() Circuit { return Circuit(g.circuit.Load()) }

// do calls the store, unless there are too many calls or the circuit is open.
func (g *Guard) do(ctx context.Context, call func(context.Context) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	defer g.inFlight.Add(-1)
	if g.inFlight.Add(1) > int64(g.cfg.InFlight) {
		return ErrBusy
	}
	probe, err := g.admit()
	if err != nil {
		return err
	}
	told := unknown // also of a store that panics
	defer func() { g.learn(told, probe, err) }()
	limited, left := ctx, g.cfg.Timeout
	end, ends := ctx.Deadline()
	if ends {
		left = time.Until(end)
	}
	if !ends || left > g.cfg.Timeout {
		var cancel context.CancelFunc
		limited, cancel = context.WithTimeout(ctx, g.cfg.Timeout)
		defer cancel()
	}
	err = call(limited)
	told = classify(ctx, err)
	if told == failed && left < g.cfg.Timeout/3 && !time.Now().Before(end) {
		told = unknown // the caller had little time; the store may only be slower than that
	}
	return err
}

// news is what a call tells of the store.
type news int

const (
	unknown news = iota
	answered
	failed
)

// classify says what an error tells of the store.
func classify(caller context.Context, err error) news {
	switch {
	case err == nil:
		return answered
	case errors.Is(caller.Err(), context.Canceled), errors.Is(err, ErrArgument):
		return unknown
	}
	for _, told := range []error{ErrFull, ErrHeld, ErrAhead, ErrBeforeEpoch, ErrBeyondHorizon, ErrNoOwner, ErrNoStore, ErrClosed} {
		if errors.Is(err, told) {
			return answered
		}
	}
	return failed
}

// admit reports whether a call may go through, and whether it is the probe.
func (g *Guard) admit() (probe bool, err error) {
	if g.Circuit() == CircuitClosed {
		return false, nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.Circuit() == CircuitClosed {
		return false, nil
	}
	now := time.Now()
	if now.Before(g.next) {
		return false, g.reason
	}
	g.circuit.Store(int32(CircuitHalfOpen))
	g.next = now.Add(g.cfg.Timeout + g.cfg.Pause) // should the probe never come back
	return true, nil
}

// learn notes what a call told.
func (g *Guard) learn(told news, probe bool, err error) {
	switch {
	case told == answered:
		if g.failures.Load() != 0 || g.Circuit() != CircuitClosed {
			g.close()
		}
	case probe:
		g.again(told)
	case told == failed:
		if g.failures.Add(1) >= int64(g.cfg.Failures) {
			g.open(err)
		}
	}
}

func (g *Guard) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.failures.Store(0)
	if g.Circuit() != CircuitClosed {
		g.circuit.Store(int32(CircuitClosed))
		g.tell(nil)
	}
}

func (g *Guard) open(cause error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.Circuit() != CircuitClosed {
		return // by another call; this one began before
	}
	g.circuit.Store(int32(CircuitOpen))
	g.next = time.Now().Add(g.cfg.Pause)
	g.reason = fmt.Errorf("%w: %v", ErrNotAsked, cause)
	g.tell(cause)
}

// again opens the circuit after a probe that got no answer. One that told nothing
// leaves its turn to the next caller.
func (g *Guard) again(told news) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.Circuit() != CircuitHalfOpen {
		return // an older call was answered
	}
	g.circuit.Store(int32(CircuitOpen))
	g.next = time.Now()
	if told == failed {
		g.next = g.next.Add(g.cfg.Pause)
	}
}

// tell is called under mu, so that the news keep their order.
func (g *Guard) tell(cause error) {
	if g.cfg.Changed != nil {
		g.cfg.Changed(cause)
	}
}

// Claim implements [Rights].
func (g *Guard) Claim(ctx context.Context, owner Owner, rights ...Right) (out Outcome, err error) {
	err = g.do(ctx, func(ctx context.Context) (err error) {
		out, err = g.store.Claim(ctx, owner, rights...)
		return err
	})
	return out, err
}

// Spent implements [Rights].
func (g *Guard) Spent(ctx context.Context, ids ...ID) (out []bool, err error) {
	err = g.do(ctx, func(ctx context.Context) (err error) {
		out, err = g.store.Spent(ctx, ids...)
		return err
	})
	return out, err
}

// Restore implements [Sessions].
func (g *Guard) Restore(ctx context.Context, r RestoreRequest) (out Restored, err error) {
	err = g.do(ctx, func(ctx context.Context) (err error) {
		out, err = g.store.Restore(ctx, r)
		return err
	})
	return out, err
}

// Protect implements [Sessions].
func (g *Guard) Protect(ctx context.Context, at Place) (out Verdict, err error) {
	err = g.do(ctx, func(ctx context.Context) (err error) {
		out, err = g.store.Protect(ctx, at)
		return err
	})
	return out, err
}

// Take implements [Sessions].
func (g *Guard) Take(ctx context.Context, by Place, owner Owner, right Right) (v Verdict, out Outcome, err error) {
	err = g.do(ctx, func(ctx context.Context) (err error) {
		v, out, err = g.store.Take(ctx, by, owner, right)
		return err
	})
	return v, out, err
}

// Acknowledge implements [Sessions].
func (g *Guard) Acknowledge(ctx context.Context, held ...Place) (out []Verdict, err error) {
	err = g.do(ctx, func(ctx context.Context) (err error) {
		out, err = g.store.Acknowledge(ctx, held...)
		return err
	})
	return out, err
}

// Renew implements [Sessions].
func (g *Guard) Renew(ctx context.Context, old Place, next ID) (out Verdict, err error) {
	err = g.do(ctx, func(ctx context.Context) (err error) {
		out, err = g.store.Renew(ctx, old, next)
		return err
	})
	return out, err
}

// Revoke implements [Sessions].
func (g *Guard) Revoke(ctx context.Context, session ID, keepUntil time.Time) error {
	return g.do(ctx, func(ctx context.Context) error { return g.store.Revoke(ctx, session, keepUntil) })
}

// RevokeSubject implements [Subjects].
func (g *Guard) RevokeSubject(ctx context.Context, subject ID, before, keepUntil time.Time) error {
	return g.do(ctx, func(ctx context.Context) error { return g.store.RevokeSubject(ctx, subject, before, keepUntil) })
}

// SubjectCut implements [Subjects].
func (g *Guard) SubjectCut(ctx context.Context, subject ID) (out time.Time, err error) {
	err = g.do(ctx, func(ctx context.Context) (err error) {
		out, err = g.store.SubjectCut(ctx, subject)
		return err
	})
	return out, err
}

// Epoch implements [Store].
func (g *Guard) Epoch(ctx context.Context) (out time.Time, err error) {
	err = g.do(ctx, func(ctx context.Context) (err error) {
		out, err = g.store.Epoch(ctx)
		return err
	})
	return out, err
}

// Close closes the store.
func (g *Guard) Close() error { return g.store.Close() }
