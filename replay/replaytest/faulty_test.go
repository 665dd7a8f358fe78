package replaytest

import (
	"context"
	"time"

	"github.com/sealedblob/sealedblob/replay"
)

// faulty is a store of which some operations are replaced.
type faulty struct {
	replay.Store
	claim       func(ctx context.Context, o replay.Owner, rights []replay.Right) (replay.Outcome, error)
	spent       func(ctx context.Context, ids []replay.ID) ([]bool, error)
	restore     func(ctx context.Context, r replay.RestoreRequest) (replay.Restored, error)
	protect     func(ctx context.Context, at replay.Place) (replay.Verdict, error)
	take        func(ctx context.Context, by replay.Place, o replay.Owner, r replay.Right) (replay.Verdict, replay.Outcome, error)
	acknowledge func(ctx context.Context, acks []replay.Place) ([]replay.Verdict, error)
	renew       func(ctx context.Context, old replay.Place, next replay.ID) (replay.Verdict, error)
	revoke      func(ctx context.Context, id replay.ID, keep time.Time) error
	subject     func(ctx context.Context, id replay.ID, before, keep time.Time) error
	cut         func(ctx context.Context, id replay.ID) (time.Time, error)
	begin       func() Tx
	epoch       func(ctx context.Context) (time.Time, error)
	status      func(ctx context.Context) (replay.Status, error)
	purge       func(ctx context.Context) error
	raise       func(ctx context.Context) error
	close       func() error
}

func (f *faulty) Claim(ctx context.Context, o replay.Owner, rights ...replay.Right) (replay.Outcome, error) {
	if f.claim != nil {
		return f.claim(ctx, o, rights)
	}
	return f.Store.Claim(ctx, o, rights...)
}

func (f *faulty) Spent(ctx context.Context, ids ...replay.ID) ([]bool, error) {
	if f.spent != nil {
		return f.spent(ctx, ids)
	}
	return f.Store.Spent(ctx, ids...)
}

func (f *faulty) Restore(ctx context.Context, r replay.RestoreRequest) (replay.Restored, error) {
	if f.restore != nil {
		return f.restore(ctx, r)
	}
	return f.Store.Restore(ctx, r)
}

func (f *faulty) Protect(ctx context.Context, at replay.Place) (replay.Verdict, error) {
	if f.protect != nil {
		return f.protect(ctx, at)
	}
	return f.Store.Protect(ctx, at)
}

func (f *faulty) Take(ctx context.Context, by replay.Place, o replay.Owner, r replay.Right) (replay.Verdict, replay.Outcome, error) {
	if f.take != nil {
		return f.take(ctx, by, o, r)
	}
	return f.Store.Take(ctx, by, o, r)
}

func (f *faulty) Acknowledge(ctx context.Context, acks ...replay.Place) ([]replay.Verdict, error) {
	if f.acknowledge != nil {
		return f.acknowledge(ctx, acks)
	}
	return f.Store.Acknowledge(ctx, acks...)
}

func (f *faulty) Renew(ctx context.Context, old replay.Place, next replay.ID) (replay.Verdict, error) {
	if f.renew != nil {
		return f.renew(ctx, old, next)
	}
	return f.Store.Renew(ctx, old, next)
}

func (f *faulty) RevokeSubject(ctx context.Context, id replay.ID, before, keep time.Time) error {
	if f.subject != nil {
		return f.subject(ctx, id, before, keep)
	}
	return f.Store.RevokeSubject(ctx, id, before, keep)
}

func (f *faulty) SubjectCut(ctx context.Context, id replay.ID) (time.Time, error) {
	if f.cut != nil {
		return f.cut(ctx, id)
	}
	return f.Store.SubjectCut(ctx, id)
}

func (f *faulty) Revoke(ctx context.Context, id replay.ID, keep time.Time) error {
	if f.revoke != nil {
		return f.revoke(ctx, id, keep)
	}
	return f.Store.Revoke(ctx, id, keep)
}

func (f *faulty) Epoch(ctx context.Context) (time.Time, error) {
	if f.epoch != nil {
		return f.epoch(ctx)
	}
	return f.Store.Epoch(ctx)
}

func (f *faulty) Status(ctx context.Context) (replay.Status, error) {
	if f.status != nil {
		return f.status(ctx)
	}
	return f.Store.(replay.Operable).Status(ctx)
}

func (f *faulty) Purge(ctx context.Context) error {
	if f.purge != nil {
		return f.purge(ctx)
	}
	return f.Store.(replay.Operable).Purge(ctx)
}

func (f *faulty) RaiseEpoch(ctx context.Context) error {
	if f.raise != nil {
		return f.raise(ctx)
	}
	return f.Store.(replay.Operable).RaiseEpoch(ctx)
}

func (f *faulty) Close() error {
	if f.close != nil {
		return f.close()
	}
	return f.Store.Close()
}

// onRights lets a fault bend the rights of every claim.
func onRights(bend func(b *backend, r *replay.Right)) func(f *faulty, b *backend) {
	return func(f *faulty, b *backend) {
		f.claim = func(ctx context.Context, o replay.Owner, rights []replay.Right) (replay.Outcome, error) {
			bent := append([]replay.Right(nil), rights...)
			for i := range bent {
				bend(b, &bent[i])
			}
			return f.Store.Claim(ctx, o, bent...)
		}
	}
}

// onRequest lets a fault bend every restore.
func onRequest(bend func(b *backend, r *replay.RestoreRequest)) func(f *faulty, b *backend) {
	return func(f *faulty, b *backend) {
		f.restore = func(ctx context.Context, r replay.RestoreRequest) (replay.Restored, error) {
			r.Burn = append([]replay.Burn(nil), r.Burn...)
			bend(b, &r)
			return f.Store.Restore(ctx, r)
		}
	}
}

// onOutcome lets a fault bend the answer to every claim.
func onOutcome(bend func(o replay.Outcome, err error) (replay.Outcome, error)) func(f *faulty, b *backend) {
	return func(f *faulty, _ *backend) {
		f.claim = func(ctx context.Context, o replay.Owner, rights []replay.Right) (replay.Outcome, error) {
			return bend(f.Store.Claim(ctx, o, rights...))
		}
	}
}

// onRestored lets a fault bend the answer to every restore.
func onRestored(bend func(b *backend, r replay.RestoreRequest, got *replay.Restored, err *error)) func(f *faulty, b *backend) {
	return func(f *faulty, b *backend) {
		f.restore = func(ctx context.Context, r replay.RestoreRequest) (replay.Restored, error) {
			got, err := f.Store.Restore(ctx, r)
			bend(b, r, &got, &err)
			return got, err
		}
	}
}

// onVerdict lets a fault bend each answer to an acknowledgement.
func onVerdict(bend func(b *backend, a replay.Place, v replay.Verdict) replay.Verdict) func(f *faulty, b *backend) {
	return func(f *faulty, b *backend) {
		f.acknowledge = func(ctx context.Context, acks []replay.Place) ([]replay.Verdict, error) {
			verdicts, err := f.Store.Acknowledge(ctx, acks...)
			for i := range verdicts {
				verdicts[i] = bend(b, acks[i], verdicts[i])
			}
			return verdicts, err
		}
	}
}

// onAcknowledged lets a fault bend all the answers.
func onAcknowledged(bend func(b *backend, acks []replay.Place, verdicts []replay.Verdict, err error) ([]replay.Verdict, error)) func(f *faulty, b *backend) {
	return func(f *faulty, b *backend) {
		f.acknowledge = func(ctx context.Context, acks []replay.Place) ([]replay.Verdict, error) {
			verdicts, err := f.Store.Acknowledge(ctx, acks...)
			return bend(b, acks, verdicts, err)
		}
	}
}
