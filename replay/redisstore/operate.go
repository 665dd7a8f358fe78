package redisstore

import (
	"context"
	"errors"
	"time"

	"github.com/sealedblob/sealedblob/replay"
)

// none is the horizon of a store that purged nothing.
const none = -1 << 53

// Status counts the records and tells epoch and horizon. It writes nothing.
func (s *Store) Status(ctx context.Context) (replay.Status, error) {
	got, err := s.do(ctx, question{operation: "status"})
	if err != nil {
		return replay.Status{}, err
	}
	var n [5]int64
	for i := range n {
		v, errNumber := got.number(i)
		n[i], err = v, errors.Join(err, errNumber)
	}
	if err != nil {
		return replay.Status{}, s.wrap(errAnswer)
	}
	status := replay.Status{Epoch: time.Unix(n[0], 0), Rights: int(n[2]), Sessions: int(n[3]), Subjects: int(n[4])}
	if n[1] != none {
		status.Horizon = time.Unix(n[1], 0)
	}
	return status, nil
}

// Epoch implements [replay.Store].
func (s *Store) Epoch(ctx context.Context) (time.Time, error) {
	status, err := s.Status(ctx)
	return status.Epoch, err
}

// Purge forgets all records that are past their KeepUntil, some thousand in each
// round trip. Without LeavePurge every write does so with a few.
func (s *Store) Purge(ctx context.Context) error {
	for {
		got, err := s.do(ctx, question{operation: "purge"})
		if err != nil {
			return err
		}
		more, err := got.number(0)
		if err != nil || more == 0 {
			return s.wrap(err)
		}
	}
}
