package replaytest

import (
	"context"
	"errors"
	"time"

	"github.com/sealedblob/sealedblob/replay"
)

const (
	cOld      = "subject/an old login is revoked everywhere"
	cLater    = "subject/a later login lives, in the same second"
	cNever    = "subject/the cut never goes back"
	cEnds     = "renew/ends the old session"
	cNext     = "renew/again for the same successor"
	cTxCommit = "transaction/spends when it commits"
	cTxBack   = "transaction/rolled back, nothing is spent"
	cTxWait   = "transaction/nobody loses to what may roll back"
)

// nobody forgets the login in one of the operations.
func nobody(p replay.Place) replay.Place { return as(p, replay.Login{}) }

// onSubject lets a fault bend every revocation of a subject.
func onSubject(bend func(b *backend, id *replay.ID, before, keep *time.Time)) func(f *faulty, b *backend) {
	return func(f *faulty, b *backend) {
		f.subject = func(ctx context.Context, id replay.ID, before, keep time.Time) error {
			bend(b, &id, &before, &keep)
			return f.Store.RevokeSubject(ctx, id, before, keep)
		}
	}
}

var subjectFaults = []fault{
	{"a restore forgets the login", []string{cOld, cLater, cReopened, cWalk}, onRequest(func(_ *backend, r *replay.RestoreRequest) { r.Login = replay.Login{} })},
	{"the last winner outlives its login", []string{cOld}, onRequest(func(b *backend, r *replay.RestoreRequest) {
		if s := b.state(r.Session).State; s.Attempt == r.Attempt && s.Set == r.Set && s.Fence > 0 {
			r.Login = replay.Login{}
		}
	})},
	{"a protected change forgets the login", []string{cOld, cWalk}, func(f *faulty, _ *backend) {
		f.protect = func(ctx context.Context, at replay.Place) (replay.Verdict, error) {
			return f.Store.Protect(ctx, nobody(at))
		}
	}},
	{"a take forgets the login", []string{cOld, cWalk}, func(f *faulty, _ *backend) {
		f.take = func(ctx context.Context, by replay.Place, o replay.Owner, r replay.Right) (replay.Verdict, replay.Outcome, error) {
			return f.Store.Take(ctx, nobody(by), o, r)
		}
	}},
	{"a renewal forgets the login", []string{cOld, cWalk}, func(f *faulty, _ *backend) {
		f.renew = func(ctx context.Context, old replay.Place, next replay.ID) (replay.Verdict, error) {
			return f.Store.Renew(ctx, nobody(old), next)
		}
	}},
	{"an acknowledgement forgets the login", []string{cOld, cWalk}, func(f *faulty, _ *backend) {
		f.acknowledge = func(ctx context.Context, held []replay.Place) ([]replay.Verdict, error) {
			var all []replay.Place
			for _, p := range held {
				all = append(all, nobody(p))
			}
			return f.Store.Acknowledge(ctx, all...)
		}
	}},
	{"subjects are not revoked", []string{cOld, cLater, cNever}, func(f *faulty, _ *backend) {
		f.subject = func(ctx context.Context, _ replay.ID, _, _ time.Time) error { return ctx.Err() }
	}},
	{"the very second of the cut lives", []string{cNever}, onSubject(func(_ *backend, _ *replay.ID, before, _ *time.Time) { *before = before.Add(-time.Second) })},
	{"the cut stays where it is", []string{cNever, cLater, "subject/race of revocations"}, func(f *faulty, b *backend) {
		f.subject = func(ctx context.Context, id replay.ID, before, keep time.Time) error {
			if cut, err := f.Store.SubjectCut(ctx, id); err != nil || !before.After(cut) {
				return err
			}
			return f.Store.RevokeSubject(ctx, id, before, keep)
		}
	}},
	{"the cut goes back", []string{cNever}, func(f *faulty, b *backend) {
		f.subject = func(ctx context.Context, id replay.ID, before, keep time.Time) error {
			b.forget(func(c replay.Change) bool { return c.ID != id })
			return f.Store.RevokeSubject(ctx, id, before, keep)
		}
	}},
	{"subjects are read, then written", []string{"subject/race of revocations"}, func(f *faulty, b *backend) {
		f.subject = func(ctx context.Context, id replay.ID, before, keep time.Time) error {
			cut, err := f.Store.SubjectCut(ctx, id)
			if err != nil {
				return err
			}
			time.Sleep(time.Microsecond)
			if next := cut.Add(time.Second); next.After(before) {
				before = next
			}
			return b.do(func(l *replay.Ledger, _ time.Time) error {
				l.Apply(replay.Change{ID: id, Kind: replay.SubjectRecord, KeepUntil: keep, Cut: before})
				return nil
			})
		}
	}},
	{"a cut before the epoch", []string{"subject/a login at the epoch is revoked"}, func(f *faulty, b *backend) {
		f.subject = func(_ context.Context, id replay.ID, before, keep time.Time) error {
			return b.do(func(l *replay.Ledger, _ time.Time) error {
				l.Apply(replay.Change{ID: id, Kind: replay.SubjectRecord, KeepUntil: keep, Cut: before})
				return nil
			})
		}
	}},
	{"one cut for all subjects", []string{"subject/others are not touched"}, func(f *faulty, b *backend) {
		onSubject(func(_ *backend, id *replay.ID, _, _ *time.Time) { *id = replay.ID{1} })(f, b)
		onRequest(func(_ *backend, r *replay.RestoreRequest) {
			if r.Login.Subject != (replay.ID{}) {
				r.Login.Subject = replay.ID{1}
			}
		})(f, b)
	}},
	{"a subject's session is revoked too", []string{"subject/others are not touched"}, func(f *faulty, _ *backend) {
		f.subject = func(ctx context.Context, id replay.ID, before, keep time.Time) error {
			return errors.Join(f.Store.Revoke(ctx, id, keep), f.Store.RevokeSubject(ctx, id, before, keep))
		}
	}},
	{"the cut is told in fractions", []string{"subject/the cut is told in whole seconds"}, func(f *faulty, _ *backend) {
		f.cut = func(ctx context.Context, id replay.ID) (time.Time, error) {
			cut, err := f.Store.SubjectCut(ctx, id)
			return cut.Add(time.Millisecond), err
		}
	}},
	{"no cut is told", []string{cLater, cNever}, func(f *faulty, _ *backend) {
		f.cut = func(ctx context.Context, id replay.ID) (time.Time, error) {
			_, err := f.Store.SubjectCut(ctx, id)
			return time.Time{}, err
		}
	}},
	{"epoch ignored for logins", []string{"subject/a login before the epoch is refused"}, onRequest(func(b *backend, r *replay.RestoreRequest) {
		if r.Login.Subject != (replay.ID{}) && r.Login.Since.Before(b.ledger.Epoch()) {
			r.Login.Since = b.ledger.Epoch()
		}
	})},
	{"the last KeepUntil of a subject counts", []string{"subject/a longer record outlives shorter ones"}, func(f *faulty, b *backend) {
		f.subject = func(ctx context.Context, id replay.ID, before, keep time.Time) error {
			if cut, err := f.Store.SubjectCut(ctx, id); err == nil && !cut.IsZero() {
				before = cut.Add(time.Second)
			}
			b.forget(func(c replay.Change) bool { return c.ID != id })
			return f.Store.RevokeSubject(ctx, id, before, keep)
		}
	}},
	{"a subject until the past is done", []string{"subject/what is past is refused"}, func(f *faulty, _ *backend) {
		f.subject = func(ctx context.Context, id replay.ID, before, keep time.Time) error {
			err := f.Store.RevokeSubject(ctx, id, before, keep)
			if errors.Is(err, replay.ErrBeyondHorizon) {
				return nil
			}
			return err
		}
	}},
	{"subjects are evicted when full", []string{"subject/full refuses and evicts nothing"}, func(f *faulty, b *backend) {
		f.subject = func(ctx context.Context, id replay.ID, before, keep time.Time) error {
			err := f.Store.RevokeSubject(ctx, id, before, keep)
			if errors.Is(err, replay.ErrFull) {
				b.forget(func(c replay.Change) bool { return c.Kind != replay.SubjectRecord })
				return f.Store.RevokeSubject(ctx, id, before, keep)
			}
			return err
		}
	}},
}

var renewFaults = []fault{
	{"a renewal ends nothing", []string{cEnds, cNext, "renew/race of 64 successors", "renew/race with a restore", cWalk}, func(f *faulty, _ *backend) {
		f.renew = func(ctx context.Context, old replay.Place, _ replay.ID) (replay.Verdict, error) {
			v, err := f.Store.Acknowledge(ctx, old)
			if err != nil {
				return replay.Refused, err
			}
			return v[0], nil
		}
	}},
	{"a renewal is a plain revocation", []string{"renew/under another fence is superseded", cNext, "renew/of a revoked session is revoked", cWalk}, func(f *faulty, _ *backend) {
		f.renew = func(ctx context.Context, old replay.Place, _ replay.ID) (replay.Verdict, error) {
			if err := f.Store.Revoke(ctx, old.Session, old.KeepUntil); err != nil {
				return replay.Refused, err
			}
			return replay.Granted, nil
		}
	}},
	{"a renewal is not told again", []string{cNext, "instances/two on one backend agree", cReopened}, func(f *faulty, b *backend) {
		f.renew = func(ctx context.Context, old replay.Place, next replay.ID) (replay.Verdict, error) {
			return f.Store.Renew(ctx, old, newID("sid"))
		}
	}},
	{"a renewal is told under any fence", []string{cNext}, func(f *faulty, b *backend) {
		f.renew = func(ctx context.Context, old replay.Place, next replay.ID) (replay.Verdict, error) {
			if s := b.state(old.Session).State; s.Next == next {
				old.Version.Fence = s.Fence
			}
			return f.Store.Renew(ctx, old, next)
		}
	}},
	{"no successor is a successor", []string{"renew/of a revoked session is revoked"}, func(f *faulty, b *backend) {
		f.renew = func(ctx context.Context, old replay.Place, next replay.ID) (replay.Verdict, error) {
			if s := b.state(old.Session).State; s.Revoked && s.Next == next {
				return replay.Granted, ctx.Err()
			}
			return f.Store.Renew(ctx, old, next)
		}
	}},
	{"the successor is marked", []string{cEnds}, func(f *faulty, b *backend) {
		f.renew = func(ctx context.Context, old replay.Place, next replay.ID) (replay.Verdict, error) {
			b.edit(next, func(s *replay.State) { s.Fence = 1 })
			return f.Store.Renew(ctx, old, next)
		}
	}},
	{"renewals read, then write", []string{"renew/race of 64 successors"}, func(f *faulty, b *backend) {
		f.renew = func(_ context.Context, old replay.Place, next replay.ID) (replay.Verdict, error) {
			s, v := b.state(old.Session).State.Renew(old.Version.Fence, next)
			time.Sleep(time.Microsecond)
			if v == replay.Granted {
				b.edit(old.Session, func(was *replay.State) { *was = s })
			}
			return v, nil
		}
	}},
}

var spenderFaults = []fault{
	{"a transaction only looks", []string{cTxCommit, "transaction/takes under the fence"}, func(f *faulty, b *backend) {
		f.begin = func() Tx {
			tx := b.begin()
			return Tx{tx.Spender, tx.Rollback, tx.Rollback}
		}
	}},
	{"a rollback keeps what was spent", []string{cTxBack, cTxWait}, func(f *faulty, b *backend) {
		f.begin = func() Tx {
			tx := b.begin()
			return Tx{tx.Spender, tx.Commit, tx.Commit}
		}
	}},
	{"a transaction spends at once", []string{cTxBack, cTxWait}, func(f *faulty, _ *backend) {
		f.begin = func() Tx {
			none := func() error { return nil }
			return Tx{f.Store, none, none}
		}
	}},
	{"a transaction takes under any fence", []string{"transaction/takes under the fence"}, func(f *faulty, b *backend) {
		f.begin = func() Tx {
			tx := b.begin()
			tx.Spender = claimsOnly{tx.Spender}
			return tx
		}
	}},
}

// claimsOnly takes without a look at the session.
type claimsOnly struct{ replay.Spender }

func (c claimsOnly) Take(ctx context.Context, _ replay.Place, o replay.Owner, r replay.Right) (replay.Verdict, replay.Outcome, error) {
	out, err := c.Claim(ctx, o, r)
	return replay.Granted, out, err
}
