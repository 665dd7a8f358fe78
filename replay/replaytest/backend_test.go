package replaytest

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/sealedblob/sealedblob/replay"
)

// backend is a volatile store's memory with a clock and a switch to break it, so
// that all hooks of a Config can be tried, and faults be built in.
type backend struct {
	mu     sync.Mutex
	ledger *replay.Ledger
	ahead  time.Duration
	broken bool
	latest time.Time // for a fault
}

var errBroken = errors.New("backend is broken")

func newBackend(room Bounds) *backend {
	return &backend{ledger: replay.NewLedger(replay.LedgerConfig{
		Epoch: replay.FirstEpoch(time.Now()), MaxRights: room.Rights, MaxSessions: room.Sessions, MaxSubjects: room.Subjects,
	})}
}

func (b *backend) now() time.Time { return time.Now().Add(b.ahead) }

// do runs f on the ledger, alone.
func (b *backend) do(f func(l *replay.Ledger, now time.Time) error) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.broken {
		return errBroken
	}
	return f(b.ledger, b.now())
}

// epoch is the ledger's; at it everything may be dated.
func (b *backend) epoch() (at time.Time) {
	b.do(func(l *replay.Ledger, _ time.Time) error {
		at = l.Epoch()
		return nil
	})
	return at
}

// state returns a session's record.
func (b *backend) state(id replay.ID) (c replay.Change) {
	b.do(func(l *replay.Ledger, _ time.Time) error {
		c = replay.Change{ID: id, Kind: replay.SessionRecord, KeepUntil: b.now().Add(time.Hour)}
		for rec := range l.All() {
			if rec.Kind == replay.SessionRecord && rec.ID == id {
				c = rec
			}
		}
		return nil
	})
	return c
}

// edit changes a session's record behind the table's back.
func (b *backend) edit(id replay.ID, f func(s *replay.State)) {
	c := b.state(id)
	f(&c.State)
	b.do(func(l *replay.Ledger, _ time.Time) error {
		l.Apply(c)
		return nil
	})
}

// forget starts the ledger anew, without a horizon, with what keep says of each record.
func (b *backend) forget(keep func(replay.Change) bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ledger = copied(b.ledger, time.Time{}, keep)
}

func copied(old *replay.Ledger, horizon time.Time, keep func(replay.Change) bool) *replay.Ledger {
	l := replay.NewLedger(replay.LedgerConfig{Epoch: old.Epoch(), Horizon: horizon})
	for c := range old.All() {
		if keep(c) {
			l.Apply(c)
		}
	}
	return l
}

// spender works in a transaction: it has the backend to itself until it ends.
type spender struct {
	b    *backend
	over bool
}

var errTxOver = errors.New("the transaction is over")

// begin starts a transaction that copies the ledger and puts it back.
func (b *backend) begin() Tx {
	b.mu.Lock()
	before := copied(b.ledger, b.ledger.Horizon(), func(replay.Change) bool { return true })
	in := &spender{b: b}
	end := func(undo bool) error {
		if in.over {
			return errTxOver
		}
		if in.over = true; undo {
			b.ledger = before
		}
		b.mu.Unlock()
		return nil
	}
	return Tx{in, func() error { return end(false) }, func() error { return end(true) }}
}

func (in *spender) Claim(_ context.Context, o replay.Owner, rights ...replay.Right) (replay.Outcome, error) {
	return in.b.ledger.Claim(in.b.now(), o, rights)
}

func (in *spender) Take(_ context.Context, by replay.Place, o replay.Owner, r replay.Right) (replay.Verdict, replay.Outcome, error) {
	return in.b.ledger.Take(in.b.now(), by, o, r)
}

// front is a store on a backend.
type front struct {
	b      *backend
	mu     sync.Mutex
	closed bool
}

func (s *front) do(ctx context.Context, f func(l *replay.Ledger, now time.Time) error) error {
	s.mu.Lock()
	closed := s.closed
	s.mu.Unlock()
	if closed {
		return replay.ErrClosed
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return s.b.do(f)
}

func (s *front) Claim(ctx context.Context, o replay.Owner, rights ...replay.Right) (out replay.Outcome, err error) {
	err = s.do(ctx, func(l *replay.Ledger, now time.Time) (err error) {
		out, err = l.Claim(now, o, rights)
		return err
	})
	return out, err
}

func (s *front) Spent(ctx context.Context, ids ...replay.ID) (spent []bool, err error) {
	err = s.do(ctx, func(l *replay.Ledger, _ time.Time) error {
		spent = l.Spent(ids)
		return nil
	})
	return spent, err
}

func (s *front) Restore(ctx context.Context, r replay.RestoreRequest) (got replay.Restored, err error) {
	err = s.do(ctx, func(l *replay.Ledger, now time.Time) (err error) {
		got, err = l.Restore(now, r)
		return err
	})
	return got, err
}

func (s *front) Protect(ctx context.Context, at replay.Place) (v replay.Verdict, err error) {
	err = s.do(ctx, func(l *replay.Ledger, now time.Time) (err error) {
		v, err = l.Protect(now, at)
		return err
	})
	return v, err
}

func (s *front) Take(ctx context.Context, by replay.Place, o replay.Owner, r replay.Right) (v replay.Verdict, out replay.Outcome, err error) {
	err = s.do(ctx, func(l *replay.Ledger, now time.Time) (err error) {
		v, out, err = l.Take(now, by, o, r)
		return err
	})
	return v, out, err
}

func (s *front) Acknowledge(ctx context.Context, acks ...replay.Place) (verdicts []replay.Verdict, err error) {
	err = s.do(ctx, func(l *replay.Ledger, now time.Time) (err error) {
		verdicts, err = l.Acknowledge(now, acks)
		return err
	})
	return verdicts, err
}

func (s *front) Revoke(ctx context.Context, id replay.ID, keep time.Time) error {
	return s.do(ctx, func(l *replay.Ledger, now time.Time) error { return l.Revoke(now, id, keep) })
}

func (s *front) Renew(ctx context.Context, old replay.Place, next replay.ID) (v replay.Verdict, err error) {
	err = s.do(ctx, func(l *replay.Ledger, now time.Time) (err error) {
		v, err = l.Renew(now, old, next)
		return err
	})
	return v, err
}

func (s *front) RevokeSubject(ctx context.Context, id replay.ID, before, keep time.Time) error {
	return s.do(ctx, func(l *replay.Ledger, now time.Time) error { return l.RevokeSubject(now, id, before, keep) })
}

func (s *front) SubjectCut(ctx context.Context, id replay.ID) (cut time.Time, err error) {
	err = s.do(ctx, func(l *replay.Ledger, _ time.Time) error {
		cut = l.SubjectCut(id)
		return nil
	})
	return cut, err
}

func (s *front) Epoch(ctx context.Context) (epoch time.Time, err error) {
	err = s.do(ctx, func(l *replay.Ledger, _ time.Time) error {
		epoch = l.Epoch()
		return nil
	})
	return epoch, err
}

func (s *front) Status(ctx context.Context) (status replay.Status, err error) {
	err = s.do(ctx, func(l *replay.Ledger, _ time.Time) error {
		status = l.Status()
		return nil
	})
	return status, err
}

func (s *front) Purge(ctx context.Context) error {
	return s.do(ctx, func(l *replay.Ledger, now time.Time) error {
		l.Purge(now)
		return nil
	})
}

func (s *front) RaiseEpoch(ctx context.Context) error {
	return s.do(ctx, func(l *replay.Ledger, now time.Time) error {
		l.RaiseEpoch(replay.FirstEpoch(now))
		return nil
	})
}

func (s *front) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return replay.ErrClosed
	}
	s.closed = true
	return nil
}

// wrapper puts a fault on a store on b.
type wrapper func(s replay.Store, b *backend) replay.Store

// configWith is a Config with every hook, whose stores are wrapped.
func configWith(wrap wrapper) Config {
	var current *backend
	backends := make(map[replay.Store]*backend)
	on := func(b *backend) replay.Store {
		s := wrap(&front{b: b}, b)
		backends[s], current = b, b
		return s
	}
	return Config{
		New:        func(testing.TB) replay.Store { return on(newBackend(Bounds{})) },
		NewBounded: func(_ testing.TB, room Bounds) replay.Store { return on(newBackend(room)) },
		Begin: func(_ testing.TB, s replay.Store) Tx {
			if f, bent := s.(*faulty); bent && f.begin != nil {
				return f.begin()
			}
			return backends[s].begin()
		},
		Reopen:      func(_ testing.TB, old replay.Store) replay.Store { return on(backends[old]) },
		Break:       func(_ testing.TB, s replay.Store) { backends[s].setBroken() },
		FastForward: func(d time.Duration) { current.shift(d) },
		StepBack:    func(d time.Duration) { current.shift(-d) },
		Steps:       400,
	}
}

func (b *backend) setBroken() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.broken = true
}

func (b *backend) shift(d time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ahead += d
}

// recorder is a test that may fail without failing the real one.
type recorder struct {
	testing.TB
	mu       sync.Mutex
	failures []string
	cleanups []func()
}

func (r *recorder) note(s string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failures = append(r.failures, s)
}

func (r *recorder) Helper()                           {}
func (r *recorder) Logf(string, ...any)               {}
func (r *recorder) Error(args ...any)                 { r.note(fmt.Sprint(args...)) }
func (r *recorder) Errorf(format string, args ...any) { r.note(fmt.Sprintf(format, args...)) }
func (r *recorder) Cleanup(f func())                  { r.cleanups = append(r.cleanups, f) }

func (r *recorder) Fatal(args ...any) {
	r.Error(args...)
	runtime.Goexit()
}

func (r *recorder) Fatalf(format string, args ...any) {
	r.Errorf(format, args...)
	runtime.Goexit()
}

// failures runs c as Run would and returns how it failed.
func failures(t *testing.T, c check, cfg Config) []string {
	r := &recorder{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() {
			for _, f := range r.cleanups {
				f()
			}
		}()
		c.run(&kit{TB: r, cfg: cfg})
	}()
	<-done
	return r.failures
}
