package session

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"github.com/sealedblob/sealedblob/replay"
)

// epochStore knows its store's epoch, and asks for it again: it may have been raised
// since, past this node's clock, and what is issued below it is void.
type epochStore struct {
	replay.Store
	seconds atomic.Int64 // the epoch, as Unix seconds
	asked   atomic.Int64 // the second in which it was asked for again
}

// newEpochStore asks the store for its epoch.
func newEpochStore(ctx context.Context, store replay.Store) (*epochStore, error) {
	e := &epochStore{Store: store}
	return e, e.ask(ctx)
}

func (e *epochStore) ask(ctx context.Context) error {
	epoch, err := e.Store.Epoch(ctx)
	if err != nil {
		return err
	}
	for known := e.seconds.Load(); known < epoch.Unix() && !e.seconds.CompareAndSwap(known, epoch.Unix()); {
		known = e.seconds.Load()
	}
	return nil
}

// heed asks for the epoch if something looks as if it had been raised, at most once a
// second: who presents old sets must not have it asked each time. If there is no answer
// the next one to heed asks.
func (e *epochStore) heed(ctx context.Context, before bool) {
	if now := time.Now().Unix(); before && e.asked.Swap(now) != now {
		_ = e.ask(ctx)
	}
}

func (e *epochStore) heedError(ctx context.Context, err error) {
	e.heed(ctx, errors.Is(err, replay.ErrBeforeEpoch))
}

// Claim implements [replay.Rights]. It and the ones below are all that the store refuses so.
func (e *epochStore) Claim(ctx context.Context, owner replay.Owner, rights ...replay.Right) (outcome replay.Outcome, err error) {
	outcome, err = e.Store.Claim(ctx, owner, rights...)
	e.heedError(ctx, err)
	return outcome, err
}

func (e *epochStore) Take(ctx context.Context, by replay.Place, owner replay.Owner, right replay.Right) (verdict replay.Verdict, outcome replay.Outcome, err error) {
	verdict, outcome, err = e.Store.Take(ctx, by, owner, right)
	e.heedError(ctx, err)
	return verdict, outcome, err
}

func (e *epochStore) Restore(ctx context.Context, r replay.RestoreRequest) (answer replay.Restored, err error) {
	answer, err = e.Store.Restore(ctx, r)
	e.heedError(ctx, err)
	return answer, err
}

func (e *epochStore) Protect(ctx context.Context, at replay.Place) (verdict replay.Verdict, err error) {
	verdict, err = e.Store.Protect(ctx, at)
	e.heedError(ctx, err)
	return verdict, err
}

func (e *epochStore) Renew(ctx context.Context, old replay.Place, next replay.ID) (verdict replay.Verdict, err error) {
	verdict, err = e.Store.Renew(ctx, old, next)
	e.heedError(ctx, err)
	return verdict, err
}

// Acknowledge says of single sessions that they are out of the store's reach.
func (e *epochStore) Acknowledge(ctx context.Context, held ...replay.Place) (verdicts []replay.Verdict, err error) {
	verdicts, err = e.Store.Acknowledge(ctx, held...)
	e.heed(ctx, slices.Contains(verdicts, replay.Refused))
	return verdicts, err
}
