package replaytest

import (
	"context"
	"time"

	"github.com/sealedblob/sealedblob/replay"
)

const (
	cRaised    = "operate/a raised epoch refuses what is older"
	cRaisedAll = "operate/a raised epoch is that of all instances"
	cPurge     = "operate/purge forgets what is past alone"
)

var operateFaults = []fault{
	{"status counts nothing", []string{"operate/status counts"}, func(f *faulty, _ *backend) {
		f.status = func(context.Context) (replay.Status, error) { return replay.Status{}, nil }
	}},
	{"purge forgets everything", []string{cPurge}, func(f *faulty, b *backend) {
		f.purge = func(context.Context) error {
			b.forget(func(replay.Change) bool { return false })
			return nil
		}
	}},
	{"purge forgets the horizon", []string{cPurge}, func(f *faulty, b *backend) {
		f.purge = func(context.Context) error {
			now := b.now()
			b.forget(func(c replay.Change) bool { return c.KeepUntil.After(now) })
			b.shift(-time.Minute)
			return nil
		}
	}},
	{"the epoch is not raised", []string{cRaised, cRaisedAll}, func(f *faulty, _ *backend) {
		f.raise = func(context.Context) error { return nil }
	}},
	{"the epoch is raised to now", []string{cRaised, cRaisedAll}, func(f *faulty, b *backend) {
		f.raise = func(context.Context) error {
			return b.do(func(l *replay.Ledger, now time.Time) error {
				l.RaiseEpoch(later(now, l.Epoch()).Add(time.Second))
				return nil
			})
		}
	}},
	{"raising the epoch forgets", []string{cRaised, cRaisedAll}, func(f *faulty, b *backend) {
		f.raise = func(ctx context.Context) error {
			b.forget(func(replay.Change) bool { return false })
			return f.Store.(replay.Operable).RaiseEpoch(ctx)
		}
	}},
	{"a raised epoch is one instance's own", []string{cRaisedAll}, func(f *faulty, b *backend) {
		var own time.Time
		f.raise = func(context.Context) error {
			own = replay.FirstEpoch(b.now())
			return nil
		}
		f.epoch = func(ctx context.Context) (time.Time, error) {
			at, err := f.Store.Epoch(ctx)
			if own.After(at) {
				at = own
			}
			return at, err
		}
	}},
	{"the epoch goes back", []string{cRaised}, func(f *faulty, b *backend) {
		raised := 0
		f.raise = func(ctx context.Context) error {
			if raised++; raised == 1 {
				return f.Store.(replay.Operable).RaiseEpoch(ctx)
			}
			f.epoch = func(context.Context) (time.Time, error) { return time.Unix(1, 0), nil }
			return nil
		}
	}},
}
