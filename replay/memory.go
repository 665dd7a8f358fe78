package replay

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// MemoryConfig sets up a [Memory]. Its zero value is usable.
type MemoryConfig struct {
	// MaxRights, MaxSessions and MaxSubjects bound the live records; when one is
	// reached, what needs another record is refused with [ErrFull]. Zero means
	// [DefaultMaxRights], [DefaultMaxSessions] and [DefaultMaxSubjects], about
	// 32, 200 and 100 bytes each. Acknowledgements leave the last eighth of
	// MaxSessions to the others. From 32768 rights on they are kept in parts that
	// fill alike within a few percent; the first part that is full refuses.
	MaxRights, MaxSessions, MaxSubjects int
}

// Memory is a volatile store: exact, bounded, and gone with the process.
//
// It is for tests, for demonstrations and for an application that runs as one
// process. It starts empty, so its epoch is the [FirstEpoch] of
// [NewMemory], and what was issued before is refused: a restart never makes a
// spent right usable, it makes every older one unusable. But two that begin in the
// same second have one epoch. Two processes must not each have a Memory for the
// same application: a right could be spent once in each.
//
// Memory forgets records past their KeepUntil as it writes others. It starts no
// goroutine. It keeps ids in full and 64 bits of an owner's keyed cipher.
type Memory struct {
	rights *shards // each under its own lock
	closed atomic.Bool

	mu     sync.Mutex // taken before those of rights
	ledger *Ledger    // but for its rights under mu
}

var _ Store = (*Memory)(nil)

// NewMemory returns an empty volatile store, whose memory ends with the process.
func NewMemory(cfg MemoryConfig) *Memory {
	rights := newShards(orDefault(cfg.MaxRights, DefaultMaxRights))
	return &Memory{rights: rights, ledger: newLedger(LedgerConfig{
		Epoch:       FirstEpoch(time.Now()),
		MaxSessions: cfg.MaxSessions,
		MaxSubjects: cfg.MaxSubjects,
	}, rights)}
}

// with runs f on the ledger, alone, with the rights of l locked.
func (m *Memory) with(ctx context.Context, l locks, f func(l *Ledger, now time.Time) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.withRights(&l, f)
}

// withRights is with for what needs the rights alone.
func (m *Memory) withRights(l *locks, f func(l *Ledger, now time.Time) error) error {
	m.rights.lock(l)
	defer m.rights.unlock(l)
	if m.closed.Load() {
		return ErrClosed
	}
	return f(m.ledger, time.Now())
}

// Claim implements [Rights].
func (m *Memory) Claim(ctx context.Context, owner Owner, rights ...Right) (outcome Outcome, err error) {
	if err := ctx.Err(); err != nil {
		return Lost, err
	}
	if len(rights) == 1 { // one lock, no set of them
		shard := &m.rights.all[m.rights.index(rights[0].ID)]
		shard.Lock()
		defer shard.Unlock()
		return m.claim(owner, rights)
	}
	var of locks
	for i := range rights {
		of.add(m.rights.index(rights[i].ID))
	}
	m.rights.lock(&of)
	defer m.rights.unlock(&of)
	return m.claim(owner, rights)
}

// claim is Claim with the rights locked.
func (m *Memory) claim(owner Owner, rights []Right) (Outcome, error) {
	if m.closed.Load() {
		return Lost, ErrClosed
	}
	return m.ledger.claim(time.Now(), owner, rights)
}

// Spent implements [Rights].
func (m *Memory) Spent(ctx context.Context, ids ...ID) (spent []bool, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	var of locks
	for _, id := range ids {
		of.add(m.rights.index(id))
	}
	err = m.withRights(&of, func(l *Ledger, _ time.Time) error {
		spent = l.Spent(ids)
		return nil
	})
	return spent, err
}

// Restore implements [Sessions].
func (m *Memory) Restore(ctx context.Context, r RestoreRequest) (restored Restored, err error) {
	var of locks
	for i := range r.Burn {
		of.add(m.rights.index(r.Burn[i].ID))
	}
	for _, id := range r.Look {
		of.add(m.rights.index(id))
	}
	err = m.with(ctx, of, func(l *Ledger, now time.Time) (err error) {
		restored, err = l.Restore(now, r)
		return err
	})
	return restored, err
}

// Protect implements [Sessions].
func (m *Memory) Protect(ctx context.Context, at Place) (v Verdict, err error) {
	err = m.with(ctx, locks{}, func(l *Ledger, now time.Time) (err error) {
		v, err = l.Protect(now, at)
		return err
	})
	return v, err
}

// Take implements [Sessions].
func (m *Memory) Take(ctx context.Context, by Place, owner Owner, right Right) (v Verdict, outcome Outcome, err error) {
	var of locks
	of.add(m.rights.index(right.ID))
	err = m.with(ctx, of, func(l *Ledger, now time.Time) (err error) {
		v, outcome, err = l.Take(now, by, owner, right)
		return err
	})
	return v, outcome, err
}

// Acknowledge implements [Sessions].
func (m *Memory) Acknowledge(ctx context.Context, held ...Place) (verdicts []Verdict, err error) {
	err = m.with(ctx, locks{}, func(l *Ledger, now time.Time) (err error) {
		verdicts, err = l.Acknowledge(now, held)
		return err
	})
	return verdicts, err
}

// Renew implements [Sessions].
func (m *Memory) Renew(ctx context.Context, old Place, next ID) (v Verdict, err error) {
	err = m.with(ctx, locks{}, func(l *Ledger, now time.Time) (err error) {
		v, err = l.Renew(now, old, next)
		return err
	})
	return v, err
}

// Revoke implements [Sessions].
func (m *Memory) Revoke(ctx context.Context, session ID, keepUntil time.Time) error {
	return m.with(ctx, locks{}, func(l *Ledger, now time.Time) error { return l.Revoke(now, session, keepUntil) })
}

// RevokeSubject implements [Subjects].
func (m *Memory) RevokeSubject(ctx context.Context, subject ID, before, keepUntil time.Time) error {
	return m.with(ctx, locks{}, func(l *Ledger, now time.Time) error { return l.RevokeSubject(now, subject, before, keepUntil) })
}

// SubjectCut implements [Subjects].
func (m *Memory) SubjectCut(ctx context.Context, subject ID) (cut time.Time, err error) {
	err = m.with(ctx, locks{}, func(l *Ledger, _ time.Time) error {
		cut = l.SubjectCut(subject)
		return nil
	})
	return cut, err
}

// Epoch implements [Store].
func (m *Memory) Epoch(ctx context.Context) (epoch time.Time, err error) {
	err = m.with(ctx, locks{}, func(l *Ledger, _ time.Time) error {
		epoch = l.Epoch()
		return nil
	})
	return epoch, err
}

// Status counts the records and tells epoch and horizon.
func (m *Memory) Status(ctx context.Context) (status Status, err error) {
	err = m.with(ctx, m.rights.every(), func(l *Ledger, _ time.Time) error {
		status = l.Status()
		return nil
	})
	return status, err
}

// Purge forgets all records that are past their KeepUntil, at once.
func (m *Memory) Purge(ctx context.Context) error {
	return m.with(ctx, m.rights.every(), func(l *Ledger, now time.Time) error {
		l.Purge(now)
		return nil
	})
}

// Close implements [Store]; the records are gone.
func (m *Memory) Close() error {
	if m.closed.Swap(true) {
		return ErrClosed
	}
	every := m.rights.every()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.rights.lock(&every) // what runs has ended
	defer m.rights.unlock(&every)
	m.rights.drop()
	*m.ledger = Ledger{}
	return nil
}
