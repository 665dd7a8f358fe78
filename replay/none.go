package replay

import (
	"context"
	"errors"
	"time"
)

// ErrNoStore says that [None] was asked for something only a memory can do.
var ErrNoStore = errors.New("replay: this mode keeps no memory")

// None is the deliberate storeless mode: session.New(…, replay.None{}, …).
//
// It promises nothing that needs a memory. Every authentic, unexpired set
// restores, on every node, as often as it is shown; an old one too, and one of
// a session that was logged out. What a client holds is then bounded by expiry
// alone. It cannot spend a right, protect a change or revoke a session, so all
// these are errors, and a policy with a once-only attribute or with rollback
// refused or dropped must not be loaded with it; session.New refuses that.
type None struct{}

var _ Store = None{}

// Claim returns [ErrNoStore].
func (None) Claim(context.Context, Owner, ...Right) (Outcome, error) { return Lost, ErrNoStore }

// Spent returns [ErrNoStore].
func (None) Spent(context.Context, ...ID) ([]bool, error) { return nil, ErrNoStore }

// Restore grants the set under the next fence. It does not know whether the set
// was used, superseded or revoked. It returns [ErrNoStore] if rights are to be
// burnt or looked at, or if the request is Strict.
func (None) Restore(ctx context.Context, r RestoreRequest) (Restored, error) {
	if len(r.Burn) > 0 || len(r.Look) > 0 || r.Strict {
		return Restored{}, ErrNoStore
	}
	if err := ctx.Err(); err != nil {
		return Restored{}, err
	}
	return Restored{Verdict: Granted, Fence: r.Set.Fence + 1}, nil
}

// Protect returns [ErrNoStore].
func (None) Protect(context.Context, Place) (Verdict, error) { return Refused, ErrNoStore }

// Take returns [ErrNoStore].
func (None) Take(context.Context, Place, Owner, Right) (Verdict, Outcome, error) {
	return Refused, Lost, ErrNoStore
}

// Acknowledge notes nothing and answers [Granted] for each: it knows of no other
// node and of no logout.
func (None) Acknowledge(_ context.Context, held ...Place) ([]Verdict, error) {
	verdicts := make([]Verdict, len(held))
	for i := range verdicts {
		verdicts[i] = Granted
	}
	return verdicts, nil
}

// Renew returns [ErrNoStore]: the sets of the old ID stay good until they expire.
func (None) Renew(context.Context, Place, ID) (Verdict, error) { return Refused, ErrNoStore }

// Revoke returns [ErrNoStore]: the sets of the session stay good until they expire.
func (None) Revoke(context.Context, ID, time.Time) error { return ErrNoStore }

// RevokeSubject returns [ErrNoStore]: the subject's sets stay good until they expire.
func (None) RevokeSubject(context.Context, ID, time.Time, time.Time) error { return ErrNoStore }

// SubjectCut is the zero time: no login is void.
func (None) SubjectCut(context.Context, ID) (time.Time, error) { return time.Time{}, nil }

// Epoch is the zero time: nothing is refused for its age.
func (None) Epoch(context.Context) (time.Time, error) { return time.Time{}, nil }

// Close does nothing.
func (None) Close() error { return nil }
