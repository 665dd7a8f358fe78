package replay

import (
	"context"
	"time"
)

// Status is what an operator may want to know of a store.
type Status struct {
	// Rights, Sessions and Subjects count the records, those not yet purged
	// included.
	Rights, Sessions, Subjects int
	// Epoch is when the memory begins; what was issued before is refused.
	Epoch time.Time
	// Horizon is the largest KeepUntil purged, zero if none; what is kept no
	// longer than that is refused.
	Horizon time.Time
	// Bytes is the size on disk, zero if there is none.
	Bytes int64
}

// Operable is what an operator tends with blobctl: a store that outlives the
// processes that use it.
type Operable interface {
	// Status counts the records and tells epoch and horizon. It writes nothing.
	Status(ctx context.Context) (Status, error)
	// Purge forgets all records that are past their KeepUntil, at once.
	Purge(ctx context.Context) error
	// RaiseEpoch makes the epoch [FirstEpoch] of now, or a second later than it was, so
	// that everything granted before is refused for good: after the store was put back
	// from a backup it can't know what was spent since. The epoch never goes back.
	RaiseEpoch(ctx context.Context) error
}

// Status counts the records and tells epoch and horizon.
func (l *Ledger) Status() Status {
	s := Status{Epoch: l.Epoch(), Horizon: l.Horizon()}
	s.Rights, s.Sessions, s.Subjects = l.Len()
	return s
}
