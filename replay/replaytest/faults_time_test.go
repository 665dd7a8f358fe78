package replaytest

import (
	"context"
	"errors"
	"time"

	"github.com/sealedblob/sealedblob/replay"
)

func earlier(t, u time.Time) time.Time {
	if t.Before(u) {
		return t
	}
	return u
}

func later(t, u time.Time) time.Time {
	if t.Before(u) {
		return u
	}
	return t
}

var timeFaults = []fault{
	{"forgets early", []string{cKeep}, onRights(func(b *backend, r *replay.Right) {
		if now := b.now(); r.KeepUntil.After(now) {
			r.KeepUntil = now
		}
	})},
	{"never past", []string{cKeep, cPast}, onRights(func(b *backend, r *replay.Right) { r.KeepUntil = b.now().Add(time.Hour) })},
	{"sessions are never past", []string{cKeep, cPast}, onRequest(func(b *backend, r *replay.RestoreRequest) { r.KeepUntil = b.now().Add(time.Hour) })},
	{"the horizon follows the clock", []string{cBack, "horizon/survives reopening under a clock that steps back"}, func(f *faulty, b *backend) {
		f.claim = func(ctx context.Context, o replay.Owner, rights []replay.Right) (replay.Outcome, error) {
			if now := b.now(); now.Before(b.latest) {
				b.forget(func(c replay.Change) bool { return c.KeepUntil.After(b.latest) })
			} else {
				b.latest = now
			}
			return f.Store.Claim(ctx, o, rights...)
		}
	}},
	{"epoch ignored for rights", []string{"epoch/rights issued before are refused"}, onRights(func(b *backend, r *replay.Right) { r.Issued = later(r.Issued, b.epoch()) })},
	{"epoch ignored for sets", []string{"epoch/sets issued before are refused"}, onRequest(func(b *backend, r *replay.RestoreRequest) { r.Issued = later(r.Issued, b.epoch()) })},
	{"rights may be dated ahead", []string{cAhead}, onRights(func(b *backend, r *replay.Right) { r.Issued = earlier(r.Issued, b.epoch()) })},
	{"sets may be dated ahead", []string{cAhead}, onRequest(func(b *backend, r *replay.RestoreRequest) { r.Issued = earlier(r.Issued, b.epoch()) })},
	{"burns may be dated ahead", []string{cAhead}, onRequest(func(b *backend, r *replay.RestoreRequest) {
		for i := range r.Burn {
			r.Burn[i].Issued = earlier(r.Burn[i].Issued, b.epoch())
		}
	})},
	{"a burn that is dated ahead is lost", []string{cAhead}, onRequest(func(b *backend, r *replay.RestoreRequest) {
		for i, burn := range r.Burn {
			if !burn.Required && burn.Issued.After(b.epoch()) {
				r.Burn[i].Issued = time.Time{}
			}
		}
	})},
	{"what is taken may be dated ahead", []string{cAhead}, func(f *faulty, b *backend) {
		f.take = func(ctx context.Context, by replay.Place, o replay.Owner, r replay.Right) (replay.Verdict, replay.Outcome, error) {
			r.Issued = earlier(r.Issued, b.epoch())
			return f.Store.Take(ctx, by, o, r)
		}
	}},
	{"what is dated ahead is spent", []string{cAhead}, func(f *faulty, b *backend) {
		f.claim = func(ctx context.Context, o replay.Owner, rights []replay.Right) (replay.Outcome, error) {
			got, err := f.Store.Claim(ctx, o, rights...)
			if errors.Is(err, replay.ErrAhead) {
				f.Store.Claim(ctx, newOwner(), replay.Right{ID: rights[0].ID, Issued: b.epoch(), KeepUntil: rights[0].KeepUntil})
			}
			return got, err
		}
	}},
	{"dated ahead is final", []string{cAhead}, onOutcome(func(o replay.Outcome, err error) (replay.Outcome, error) {
		if errors.Is(err, replay.ErrAhead) {
			err = replay.ErrBeforeEpoch
		}
		return o, err
	})},
	{"once ahead, for ever ahead", []string{cAhead}, func(f *faulty, _ *backend) {
		ahead := make(map[replay.ID]bool)
		f.claim = func(ctx context.Context, o replay.Owner, rights []replay.Right) (replay.Outcome, error) {
			got, err := f.Store.Claim(ctx, o, rights...)
			if ahead[rights[0].ID] = ahead[rights[0].ID] || errors.Is(err, replay.ErrAhead); ahead[rights[0].ID] {
				return replay.Lost, replay.ErrAhead
			}
			return got, err
		}
	}},
	{"nothing is dated after the epoch", []string{cAhead}, onRights(func(b *backend, r *replay.Right) {
		if r.Issued.After(b.epoch()) {
			r.Issued = b.now().Add(time.Hour)
		}
	})},
	{"a memory begins at once", []string{"epoch/whole seconds, and steady"}, func(f *faulty, _ *backend) {
		f.epoch = func(ctx context.Context) (time.Time, error) {
			at, err := f.Store.Epoch(ctx)
			return at.Add(-replay.MaxAhead), err
		}
	}},
	{"epoch refuses its own second", []string{"epoch/rights issued before are refused", "epoch/sets issued before are refused"}, func(f *faulty, b *backend) {
		onRights(func(_ *backend, r *replay.Right) { r.Issued = r.Issued.Add(-time.Second) })(f, b)
		onRequest(func(_ *backend, r *replay.RestoreRequest) { r.Issued = r.Issued.Add(-time.Second) })(f, b)
	}},
	{"epoch moves", []string{"epoch/whole seconds, and steady"}, func(f *faulty, b *backend) {
		f.epoch = func(context.Context) (time.Time, error) { return time.Unix(b.now().Unix(), 0), nil }
	}},
	{"epoch in fractions", []string{"epoch/whole seconds, and steady"}, func(f *faulty, _ *backend) {
		f.epoch = func(ctx context.Context) (time.Time, error) {
			at, err := f.Store.Epoch(ctx)
			return at.Add(time.Millisecond), err
		}
	}},
	{"the last KeepUntil counts", []string{"horizon/a longer record outlives shorter ones"}, func(f *faulty, b *backend) {
		f.revoke = func(ctx context.Context, id replay.ID, keep time.Time) error {
			b.forget(func(c replay.Change) bool { return c.ID != id })
			return f.Store.Revoke(ctx, id, keep)
		}
	}},
	{"revoke until the past is done", []string{cPast}, func(f *faulty, _ *backend) {
		f.revoke = func(ctx context.Context, id replay.ID, keep time.Time) error {
			err := f.Store.Revoke(ctx, id, keep)
			if errors.Is(err, replay.ErrBeyondHorizon) {
				return nil
			}
			return err
		}
	}},
	{"evicts when full", []string{cFull}, func(f *faulty, b *backend) {
		f.claim = func(ctx context.Context, o replay.Owner, rights []replay.Right) (replay.Outcome, error) {
			got, err := f.Store.Claim(ctx, o, rights...)
			if errors.Is(err, replay.ErrFull) {
				b.forget(func(c replay.Change) bool { return false })
				return f.Store.Claim(ctx, o, rights...)
			}
			return got, err
		}
	}},
	{"evicts sessions when full", []string{"bounds/full of sessions refuses and evicts nothing"}, func(f *faulty, b *backend) {
		f.restore = func(ctx context.Context, r replay.RestoreRequest) (replay.Restored, error) {
			got, err := f.Store.Restore(ctx, r)
			if errors.Is(err, replay.ErrFull) {
				b.forget(func(c replay.Change) bool { return c.Kind != replay.SessionRecord })
				return f.Store.Restore(ctx, r)
			}
			return got, err
		}
	}},
	{"full burns beside the restore", []string{"bounds/a restore that does not fit writes nothing"}, func(f *faulty, b *backend) {
		f.restore = func(ctx context.Context, r replay.RestoreRequest) (replay.Restored, error) {
			got, err := f.Store.Restore(ctx, r)
			if errors.Is(err, replay.ErrFull) {
				b.edit(r.Session, func(s *replay.State) { s.Fence++ })
			}
			return got, err
		}
	}},
	{"never makes room", []string{"bounds/what is past makes room"}, func(f *faulty, b *backend) {
		full := false
		f.claim = func(ctx context.Context, o replay.Owner, rights []replay.Right) (replay.Outcome, error) {
			if full {
				return replay.Lost, replay.ErrFull
			}
			got, err := f.Store.Claim(ctx, o, rights...)
			full = errors.Is(err, replay.ErrFull)
			return got, err
		}
	}},
}
