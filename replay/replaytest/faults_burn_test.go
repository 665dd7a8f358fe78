package replaytest

import (
	"context"
	"slices"
	"time"

	"github.com/sealedblob/sealedblob/replay"
)

var burnFaults = []fault{
	{"nothing is required", []string{"burn/required and spent refuses all", "burn/unknowable rights", cWalk}, onRequest(func(_ *backend, r *replay.RestoreRequest) {
		for i := range r.Burn {
			r.Burn[i].Required = false
		}
	})},
	{"everything is required", []string{"burn/not required is lost alone", cWalk}, onRequest(func(_ *backend, r *replay.RestoreRequest) {
		for i := range r.Burn {
			r.Burn[i].Required = true
		}
	})},
	{"burns before it decides", []string{"burn/a refused restore burns nothing", "burn/required and spent refuses all", cWalk}, func(f *faulty, _ *backend) {
		f.restore = func(ctx context.Context, r replay.RestoreRequest) (replay.Restored, error) {
			for _, b := range r.Burn {
				f.Store.Claim(ctx, r.Attempt, b.Right)
			}
			return f.Store.Restore(ctx, r)
		}
	}},
	{"a burn listed twice loses to itself", []string{"burn/listed twice"}, onRestored(func(_ *backend, r replay.RestoreRequest, got *replay.Restored, _ *error) {
		for i := range got.Burnt {
			if i > 0 && r.Burn[i].ID == r.Burn[0].ID {
				got.Burnt[i] = replay.Lost
			}
		}
	})},
	{"burns are read, then written", []string{"burn/race of sessions for one right"}, func(f *faulty, _ *backend) {
		f.restore = func(ctx context.Context, r replay.RestoreRequest) (replay.Restored, error) {
			r.Burn = slices.Clone(r.Burn)
			for i, b := range r.Burn {
				if spent, err := f.Store.Spent(ctx, b.ID); err != nil || spent[0] {
					return replay.Restored{Verdict: replay.Spent}, err
				}
				r.Burn[i].Required = false
			}
			time.Sleep(time.Microsecond)
			return f.Store.Restore(ctx, r)
		}
	}},
	{"burns nothing", []string{"burn/spends with the restore", cWalk}, func(f *faulty, _ *backend) {
		f.restore = func(ctx context.Context, r replay.RestoreRequest) (replay.Restored, error) {
			n := len(r.Burn)
			r.Burn = nil
			got, err := f.Store.Restore(ctx, r)
			for range n {
				if got.Verdict == replay.Granted {
					got.Burnt = append(got.Burnt, replay.Won)
				}
			}
			return got, err
		}
	}},
	{"one bad right refuses all", []string{"burn/unknowable rights"}, func(f *faulty, _ *backend) {
		f.restore = func(ctx context.Context, r replay.RestoreRequest) (replay.Restored, error) {
			epoch, _ := f.Store.Epoch(ctx)
			for _, b := range r.Burn {
				if b.Issued.Before(epoch) {
					return replay.Restored{}, replay.ErrBeforeEpoch
				}
			}
			return f.Store.Restore(ctx, r)
		}
	}},
	{"looking spends", []string{"look/reports and spends nothing", cWalk}, func(f *faulty, b *backend) {
		f.restore = func(ctx context.Context, r replay.RestoreRequest) (replay.Restored, error) {
			got, err := f.Store.Restore(ctx, r)
			for _, id := range r.Look {
				f.Store.Claim(ctx, newOwner(), replay.Right{ID: id, Issued: b.epoch(), KeepUntil: b.now().Add(time.Hour)})
			}
			return got, err
		}
	}},
	{"errors become grants", []string{"epoch/sets issued before are refused", cPast, cClosed, cBroken}, onRestored(func(_ *backend, r replay.RestoreRequest, got *replay.Restored, err *error) {
		if *err != nil {
			*got, *err = replay.Restored{Verdict: replay.Granted, Fence: r.Set.Fence + 1}, nil
		}
	})},
}
