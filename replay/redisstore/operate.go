package redisstore

import (
	"context"
	"errors"
	"fmt"
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

// Promise says in a line, for a log or an operator, what the server that was checked
// last keeps and what becomes of the store when it starts again; empty while no
// server was found fit.
func (s *Store) Promise() string {
	srv := s.server.Load()
	if srv == nil {
		return ""
	}
	kept := "in memory alone, or in snapshots"
	switch {
	case !srv.info.aof:
	case srv.sync == "always", s.cfg.Synced:
		kept = "in an append-only file that is synced before each answer"
	case srv.sync == "":
		kept = "in an append-only file, synced as this account may not see"
	default:
		kept = "in an append-only file that is not synced before each answer"
	}
	restart := "when the server starts again, all that was issued before is refused"
	if s.cfg.KeepOnRestart {
		restart = "when the server starts again, the store goes on with what it finds (KeepOnRestart)"
	}
	if s.cfg.Replicas > 0 {
		kept += fmt.Sprintf(", and by %d replicas", s.cfg.Replicas)
	}
	return fmt.Sprintf("Redis %.16s keeps records %s; %s", srv.info.version, kept, restart)
}
