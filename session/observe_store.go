package session

import (
	"context"
	"errors"
	"time"

	"github.com/sealedblob/sealedblob/replay"
)

// guardStore keeps requests from piling up behind a store that is slow or away.
func guardStore(cfg Config) *replay.Guard {
	return replay.NewGuard(cfg.Store, replay.GuardConfig{Timeout: cfg.StoreTimeout, Changed: func(cause error) {
		e := Event{Kind: KindCircuit}
		e.Result, e.Reason = outcome(cause)
		if cause == nil {
			cfg.Logger.Info("the store answers again")
		} else {
			e.Result = ResultUnavailable // whatever it was, nobody is refused for good
			cfg.Logger.Error("the store does not answer; calls are refused at once, but a few", "error", cause)
		}
		if cfg.Observer != nil {
			cfg.Observer.Observe(context.Background(), e)
		}
	}})
}

// observedStore tells an observer how long a store takes, and whether it answers.
type observedStore struct {
	replay.Store
	observer Observer
}

// tell is deferred with the time at which a call began.
func (o observedStore) tell(ctx context.Context, operation string, began time.Time, err *error) {
	e := Event{Kind: KindStore, Operation: operation, Duration: time.Since(began)}
	if e.Result, e.Reason = outcome(*err); errors.Is(*err, replay.ErrNoStore) {
		e.Result, e.Reason = ResultGranted, "" // as it was meant
	}
	o.observer.Observe(ctx, e)
}

func (o observedStore) Claim(ctx context.Context, owner replay.Owner, rights ...replay.Right) (out replay.Outcome, err error) {
	defer o.tell(ctx, "claim", time.Now(), &err)
	return o.Store.Claim(ctx, owner, rights...)
}

func (o observedStore) Spent(ctx context.Context, ids ...replay.ID) (out []bool, err error) {
	defer o.tell(ctx, "spent", time.Now(), &err)
	return o.Store.Spent(ctx, ids...)
}

func (o observedStore) Restore(ctx context.Context, r replay.RestoreRequest) (out replay.Restored, err error) {
	defer o.tell(ctx, "restore", time.Now(), &err)
	return o.Store.Restore(ctx, r)
}

func (o observedStore) Protect(ctx context.Context, at replay.Place) (out replay.Verdict, err error) {
	defer o.tell(ctx, "protect", time.Now(), &err)
	return o.Store.Protect(ctx, at)
}

func (o observedStore) Take(ctx context.Context, by replay.Place, owner replay.Owner, right replay.Right) (v replay.Verdict, out replay.Outcome, err error) {
	defer o.tell(ctx, "take", time.Now(), &err)
	return o.Store.Take(ctx, by, owner, right)
}

func (o observedStore) Acknowledge(ctx context.Context, held ...replay.Place) (out []replay.Verdict, err error) {
	defer o.tell(ctx, "acknowledge", time.Now(), &err)
	return o.Store.Acknowledge(ctx, held...)
}

func (o observedStore) Renew(ctx context.Context, old replay.Place, next replay.ID) (out replay.Verdict, err error) {
	defer o.tell(ctx, "renew", time.Now(), &err)
	return o.Store.Renew(ctx, old, next)
}

func (o observedStore) Revoke(ctx context.Context, session replay.ID, keepUntil time.Time) (err error) {
	defer o.tell(ctx, "revoke", time.Now(), &err)
	return o.Store.Revoke(ctx, session, keepUntil)
}

func (o observedStore) RevokeSubject(ctx context.Context, subject replay.ID, before, keepUntil time.Time) (err error) {
	defer o.tell(ctx, "revoke_subject", time.Now(), &err)
	return o.Store.RevokeSubject(ctx, subject, before, keepUntil)
}

func (o observedStore) SubjectCut(ctx context.Context, subject replay.ID) (out time.Time, err error) {
	defer o.tell(ctx, "subject_cut", time.Now(), &err)
	return o.Store.SubjectCut(ctx, subject)
}
