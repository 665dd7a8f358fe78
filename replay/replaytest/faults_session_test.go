package replaytest

import (
	"context"
	"runtime"
	"time"

	"github.com/sealedblob/sealedblob/replay"
)

var sessionFaults = []fault{
	{"fence not raised", []string{cFork, "restore/raises the fence", "restore/race of 64 attempts", cWalk}, onRestored(func(b *backend, r replay.RestoreRequest, got *replay.Restored, err *error) {
		if got.Verdict == replay.Granted {
			b.edit(r.Session, func(s *replay.State) { s.Fence-- })
		}
	})},
	{"fence told wrongly", []string{"restore/raises the fence", cWalk}, onRestored(func(_ *backend, r replay.RestoreRequest, got *replay.Restored, _ *error) {
		if got.Verdict == replay.Granted {
			got.Fence = r.Set.Fence
		}
	})},
	{"fence not compared", []string{cFork, "restore/raises the fence", cWalk}, onRequest(func(b *backend, r *replay.RestoreRequest) {
		r.Set.Fence = b.state(r.Session).State.Fence
	})},
	{"restores read, then write", []string{"restore/race of 64 attempts"}, func(f *faulty, b *backend) {
		f.restore = func(_ context.Context, r replay.RestoreRequest) (replay.Restored, error) {
			next, v, _ := b.state(r.Session).State.Restore(r.Set, r.Attempt, r.Strict)
			runtime.Gosched()
			time.Sleep(time.Microsecond)
			if v != replay.Granted {
				return replay.Restored{Verdict: v}, nil
			}
			b.edit(r.Session, func(s *replay.State) { *s = next })
			return replay.Restored{Verdict: v, Fence: next.Fence}, nil
		}
	}},
	{"never won again", []string{cAgain, cWalk, cReopened}, onRequest(func(_ *backend, r *replay.RestoreRequest) {
		if len(r.Burn) == 0 || r.Set.Fence == 0 {
			r.Attempt = newOwner()
		}
	})},
	{"won again by anyone", []string{cFork, cAgain, cWalk}, onRequest(func(_ *backend, r *replay.RestoreRequest) { r.Attempt = replay.Owner{1} })},
	{"won again with any set", []string{"restore/not again with another set", cWalk}, onRequest(func(b *backend, r *replay.RestoreRequest) {
		if s := b.state(r.Session).State; s.Attempt == r.Attempt {
			r.Set = s.Set
		}
	})},
	{"won again after changes", []string{"restore/not again after a protected change", "restore/not again after an acknowledgement", cWalk}, onRequest(func(b *backend, r *replay.RestoreRequest) {
		if s := b.state(r.Session).State; s.Attempt == r.Attempt && s.Set == r.Set && s.Fence > 0 {
			b.edit(r.Session, func(s *replay.State) { s.Floor, s.Watermark = 0, 0 })
		}
	})},
	{"refusals say more", []string{cFork}, onRestored(func(b *backend, r replay.RestoreRequest, got *replay.Restored, _ *error) {
		got.Fence = b.state(r.Session).State.Fence
	})},
	{"sessions are one", []string{"restore/sessions are apart"}, onRequest(func(_ *backend, r *replay.RestoreRequest) { r.Session = replay.ID{} })},
	{"floor ignored", []string{"floor/below it is superseded", cWalk}, onRequest(func(b *backend, r *replay.RestoreRequest) {
		b.edit(r.Session, func(s *replay.State) { s.Floor = 0 })
	})},
	{"watermark ignored", []string{cStrict, "watermark/not strict is granted and told", "protect/race with a restore", cWalk}, func(f *faulty, _ *backend) {
		f.protect = func(ctx context.Context, _ replay.Place) (replay.Verdict, error) {
			return replay.Granted, ctx.Err()
		}
	}},
	{"strict ignored", []string{cStrict, cWalk}, onRequest(func(_ *backend, r *replay.RestoreRequest) { r.Strict = false })},
	{"always strict", []string{"watermark/not strict is granted and told", cWalk}, onRequest(func(_ *backend, r *replay.RestoreRequest) { r.Strict = true })},
	{"behind is not told", []string{"watermark/not strict is granted and told", cWalk}, onRestored(func(_ *backend, _ replay.RestoreRequest, got *replay.Restored, _ *error) {
		got.BehindWatermark = false
	})},
	{"behind is told once", []string{"watermark/the retry is told the same"}, func(f *faulty, b *backend) {
		f.restore = func(ctx context.Context, r replay.RestoreRequest) (replay.Restored, error) {
			got, err := f.Store.Restore(ctx, r)
			if got.Verdict == replay.Granted {
				b.edit(r.Session, func(s *replay.State) { s.Behind = false })
			}
			return got, err
		}
	}},
	{"watermark lowered", []string{"watermark/protect never lowers", cWalk}, func(f *faulty, b *backend) {
		f.protect = func(ctx context.Context, at replay.Place) (replay.Verdict, error) {
			v, err := f.Store.Protect(ctx, at)
			if v == replay.Granted {
				b.edit(at.Session, func(s *replay.State) { s.Watermark = at.Version.Gen })
			}
			return v, err
		}
	}},
	{"watermark before floor", []string{"watermark/floor decides before it"}, onRestored(func(b *backend, r replay.RestoreRequest, got *replay.Restored, _ *error) {
		if s := b.state(r.Session).State; r.Strict && got.Verdict == replay.Superseded && r.Set.Gen < s.Watermark {
			got.Verdict = replay.RolledBack
		}
	})},
	{"watermark outlives a restore", []string{"watermark/a restore starts anew", cWalk}, func(f *faulty, b *backend) {
		f.restore = func(ctx context.Context, r replay.RestoreRequest) (replay.Restored, error) {
			was := b.state(r.Session).State
			got, err := f.Store.Restore(ctx, r)
			if got.Verdict == replay.Granted {
				b.edit(r.Session, func(s *replay.State) { s.Watermark = was.Watermark })
			}
			return got, err
		}
	}},
	{"protect under any fence", []string{"protect/under another fence is superseded", cWalk}, func(f *faulty, b *backend) {
		f.protect = func(ctx context.Context, at replay.Place) (replay.Verdict, error) {
			at.Version.Fence = b.state(at.Session).State.Fence
			return f.Store.Protect(ctx, at)
		}
	}},
	{"take under any fence", []string{"take/under another fence spends nothing", cWalk}, func(f *faulty, b *backend) {
		f.take = func(ctx context.Context, by replay.Place, o replay.Owner, r replay.Right) (replay.Verdict, replay.Outcome, error) {
			by.Version.Fence = b.state(by.Session).State.Fence
			return f.Store.Take(ctx, by, o, r)
		}
	}},
	{"take spends before it looks", []string{"take/under another fence spends nothing", "revoke/refuses everything", "take/race with a restore", cWalk}, func(f *faulty, _ *backend) {
		f.take = func(ctx context.Context, by replay.Place, o replay.Owner, r replay.Right) (replay.Verdict, replay.Outcome, error) {
			f.Store.Claim(ctx, o, r)
			return f.Store.Take(ctx, by, o, r)
		}
	}},
	{"take marks", []string{"take/leaves the watermark alone"}, func(f *faulty, b *backend) {
		f.take = func(ctx context.Context, by replay.Place, o replay.Owner, r replay.Right) (replay.Verdict, replay.Outcome, error) {
			v, out, err := f.Store.Take(ctx, by, o, r)
			if v == replay.Granted {
				b.edit(by.Session, func(s *replay.State) { s.Watermark++ })
			}
			return v, out, err
		}
	}},
	{"take is won by all", []string{"take/spends under the fence", "take/race of 64 owners"}, func(f *faulty, _ *backend) {
		f.take = func(ctx context.Context, by replay.Place, o replay.Owner, r replay.Right) (replay.Verdict, replay.Outcome, error) {
			v, out, err := f.Store.Take(ctx, by, o, r)
			if v == replay.Granted {
				out = replay.Won
			}
			return v, out, err
		}
	}},
	{"revoke does nothing", []string{"revoke/refuses everything", "revoke/works on an absent record", cWalk}, func(f *faulty, _ *backend) {
		f.revoke = func(ctx context.Context, _ replay.ID, _ time.Time) error { return ctx.Err() }
	}},
	{"revoke needs a record", []string{"revoke/works on an absent record"}, func(f *faulty, b *backend) {
		f.revoke = func(ctx context.Context, id replay.ID, keep time.Time) error {
			if b.state(id).State == (replay.State{}) {
				return ctx.Err()
			}
			return f.Store.Revoke(ctx, id, keep)
		}
	}},
	{"the last winner outlives revocation", []string{"revoke/refuses everything"}, onRequest(func(b *backend, r *replay.RestoreRequest) {
		if s := b.state(r.Session).State; s.Attempt == r.Attempt && s.Set == r.Set && s.Fence > 0 {
			b.edit(r.Session, func(s *replay.State) { *s = replay.State{Fence: r.Set.Fence} })
		}
	})},
}
