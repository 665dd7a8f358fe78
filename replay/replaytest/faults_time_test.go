package replaytest

import (
	"context"
	"errors"
	"time"

	"github.com/sealedblob/sealedblob/replay"
)

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
	{"epoch ignored for rights", []string{"epoch/rights issued before are refused"}, onRights(func(b *backend, r *replay.Right) { r.Issued = b.now().Add(time.Minute) })},
	{"epoch ignored for sets", []string{"epoch/sets issued before are refused"}, onRequest(func(b *backend, r *replay.RestoreRequest) { r.Issued = b.now().Add(time.Minute) })},
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
