package replaytest

import (
	"context"
	"sync"
	"time"

	"github.com/sealedblob/sealedblob/replay"
)

var otherFaults = []fault{
	{"closing does nothing", []string{cClosed, "failure/close while claims run"}, func(f *faulty, _ *backend) {
		var once sync.Once
		stop := make(chan struct{})
		f.close = func() error {
			once.Do(func() { time.AfterFunc(20*time.Millisecond, func() { close(stop) }) })
			return nil
		}
		f.claim = func(ctx context.Context, o replay.Owner, rights []replay.Right) (replay.Outcome, error) {
			select {
			case <-stop:
				return replay.Lost, errNotAFact
			default:
				return f.Store.Claim(ctx, o, rights...)
			}
		}
	}},
	{"the context is ignored", []string{"failure/cancelled context"}, func(f *faulty, _ *backend) {
		f.claim = func(ctx context.Context, o replay.Owner, rights []replay.Right) (replay.Outcome, error) {
			return f.Store.Claim(context.WithoutCancel(ctx), o, rights...)
		}
	}},
	{"instances do not share", []string{"instances/two on one backend agree", "instances/race of claims", "instances/race of restores", cReopened}, func(f *faulty, _ *backend) {
		f.Store = &front{b: newBackend(Bounds{})}
	}},
	{"closing forgets", []string{cReopened, "instances/closing one leaves the other"}, func(f *faulty, b *backend) {
		f.close = func() error {
			b.forget(func(replay.Change) bool { return false })
			return f.Store.Close()
		}
	}},
}
