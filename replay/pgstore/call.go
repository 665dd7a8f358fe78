package pgstore

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/sealedblob/sealedblob/replay"
)

// The statements, one for each operation. Each connection prepares all of them.
const (
	sqlEpoch         = "SELECT epoch, ARRAY[epoch, 0] FROM sealedblob.recall($1)"
	sqlClaim         = "SELECT answers, mark FROM sealedblob.claim($1, $2, $3, $4, $5)"
	sqlClaimAll      = "SELECT answer, mark FROM sealedblob.claim_all($1, $2, $3, $4, $5, $6, $7)"
	sqlSpent         = "SELECT spent, mark FROM sealedblob.spent($1, $2)"
	sqlRestore       = "SELECT verdict, refused, coalesce(fence, 0), coalesce(behind, false), burnt, looked, mark FROM sealedblob.restore($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)"
	sqlProtect       = "SELECT verdict, refused, mark FROM sealedblob.protect($1, $2, $3, $4, $5, $6, $7, $8)"
	sqlTake          = "SELECT verdict, answer, refused, mark FROM sealedblob.take($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)"
	sqlAcknowledge   = "SELECT verdicts, mark FROM sealedblob.acknowledge($1, $2, $3, $4, $5, $6, $7, $8)"
	sqlRenew         = "SELECT verdict, refused, mark FROM sealedblob.renew($1, $2, $3, $4, $5, $6, $7, $8)"
	sqlRevoke        = "SELECT refused, mark FROM sealedblob.revoke($1, $2, $3, $4)"
	sqlRevokeSubject = "SELECT refused, mark FROM sealedblob.revoke_subject($1, $2, $3, $4, $5, $6)"
	sqlSubjectCut    = "SELECT cut, mark FROM sealedblob.subject_cut($1, $2)"
	sqlPurge         = "SELECT sealedblob.purge($1, $2)"
	sqlStatus        = "SELECT rights, sessions, subjects, epoch, horizon, bytes FROM sealedblob.status()"
)

var statements = []string{
	sqlEpoch, sqlClaim, sqlClaimAll, sqlSpent, sqlRestore, sqlProtect, sqlTake, sqlAcknowledge, sqlRenew,
	sqlRevoke, sqlRevokeSubject, sqlSubjectCut, sqlPurge, sqlStatus,
}

// witness is the newest transaction of this process that the server said it
// committed, under which epoch, and when that server was started. A server that has not
// come so far went back, and so did one that was started later and began before it, or
// that lacks one of the rights that this process heard are spent.
type witness struct {
	mu                  sync.Mutex
	epoch, xid, started int64
	spent               []spent // the last one, and before it those that are kept for longer
}

type spent struct {
	right replay.ID
	until int64
}

// mostSpent bounds what a call says of them.
const mostSpent = 8

func (w *witness) arg() []int64 { return w.argAt(0) }

// argAt is for a transaction that must be at that place; 0 is any.
func (w *witness) argAt(place int64) []int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	half := func(b []byte) int64 { return int64(binary.BigEndian.Uint64(b)) }
	arg := []int64{w.epoch, w.xid, w.started, place}
	for _, s := range w.spent {
		arg = append(arg, half(s.right[:8]), half(s.right[8:]), s.until)
	}
	return arg
}

// under is the epoch so far, for prove.
func (w *witness) under() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.epoch
}

// prove notes a right of which the server said that it is spent, to somebody who asked
// when the epoch was that. Under a later one it may have been put back since. A copy
// that lacks an earlier one lacks it too, so that they count only once it is past.
func (w *witness) prove(epoch int64, right replay.Right) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if epoch != w.epoch {
		return
	}
	last := spent{right.ID, ceil(right.KeepUntil)}
	w.spent = slices.DeleteFunc(w.spent, func(s spent) bool { return s.until <= last.until })
	w.spent = append(w.spent[:min(len(w.spent), mostSpent-1)], last)
}

// note takes the mark of a transaction that is committed. Those that wrote
// nothing tell the epoch alone.
func (w *witness) note(mark []int64) {
	if len(mark) < 2 {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if mark[0] > w.epoch {
		w.epoch, w.xid, w.started, w.spent = mark[0], 0, 0, nil
	}
	if len(mark) == 3 && mark[0] == w.epoch && mark[1] > w.xid {
		w.xid, w.started = mark[1], mark[2]
	}
}

// ready is what every operation asks first.
func (s *Store) ready(ctx context.Context) error {
	if s.closed.Load() {
		return replay.ErrClosed
	}
	return ctx.Err()
}

// brief is for how long a lock is waited for in any place, in milliseconds.
const brief lockWait = 20

// call runs one statement that ends with a mark, and notes it. One that another
// transaction holds up gives its place back soon, and stands in line with others
// like it for a half of the places, so that they leave room for the rest.
func (s *Store) call(ctx context.Context, op, sql string, args []any, dest ...any) error {
	wait, locks := lockWait(0), false
	if len(args) > 1 {
		wait, locks = args[1].(lockWait)
	}
	if !locks || wait <= brief {
		return s.once(ctx, op, sql, args, nil, dest...)
	}
	began := time.Now()
	args = slices.Clone(args)
	args[1] = brief
	err := s.once(ctx, op, sql, args, nil, dest...)
	if !errors.Is(err, replay.ErrHeld) {
		return err
	}
	if !s.stand(ctx, wait.duration()) {
		return cmp.Or(ctx.Err(), err)
	}
	args[1] = max(1, wait-lockWait(time.Since(began).Milliseconds()))
	return s.once(ctx, op, sql, args, func() { <-s.held }, dest...)
}

// once is one try of a call. Ended, if not nil, is called when the statement is over,
// though its caller may have left before, or when it was not begun.
func (s *Store) once(ctx context.Context, op, sql string, args []any, ended func(), dest ...any) error {
	return s.run(ctx, op, ended, func(ctx context.Context) error {
		var mark []int64
		err := s.pool.QueryRow(ctx, sql, args...).Scan(append(dest, &mark)...)
		if err == nil {
			s.witness.note(mark)
		}
		return err
	})
}

// stand waits in the line of what is held up. It reports whether it is its turn.
func (s *Store) stand(ctx context.Context, most time.Duration) bool {
	patience := time.NewTimer(most)
	defer patience.Stop()
	select {
	case s.held <- struct{}{}:
		return true
	case <-ctx.Done():
	case <-patience.C:
	case <-s.quit:
	}
	return false
}

// query runs one statement that returns one row.
func (s *Store) query(ctx context.Context, op, sql string, args []any, dest ...any) error {
	return s.run(ctx, op, nil, func(ctx context.Context) error { return s.pool.QueryRow(ctx, sql, args...).Scan(dest...) })
}

// run carries out a statement where there is a place for it. Who leaves while the
// server works on it ends his wait and not the statement: to break that off would
// cost the connection, and the next caller a login. It keeps its place, so that
// no more of them are left than there are places. What the statement sets may be read
// after nil alone.
func (s *Store) run(ctx context.Context, op string, ended func(), statement func(context.Context) error) error {
	if ended == nil {
		ended = func() {}
	}
	if err := s.ready(ctx); err != nil {
		ended()
		return err
	}
	own, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.timeout)
	if err := s.enter(ctx, own); err != nil {
		cancel()
		ended()
		return s.fault(ctx, op, err)
	}
	done := make(chan error, 1)
	go func() {
		defer cancel()
		defer ended()
		err := statement(own)
		<-s.alone
		done <- err
	}()
	select {
	case err := <-done:
		return s.fault(ctx, op, err)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// enter waits for a place until one of the contexts ends.
func (s *Store) enter(ctx, own context.Context) error {
	select {
	case s.alone <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-own.Done():
		return own.Err()
	case <-s.quit:
		return replay.ErrClosed
	}
}

// fault is what a caller is told of err.
func (s *Store) fault(ctx context.Context, op string, err error) error {
	if err == nil {
		return nil
	}
	if ended := ctx.Err(); ended != nil {
		return ended
	}
	if s.closed.Load() && state(err) == "" {
		return replay.ErrClosed
	}
	return fmt.Errorf("replay/pgstore: %s: %w", op, plain(err))
}

// lockWait is how many milliseconds a statement may wait for a lock.
type lockWait int32

func (w lockWait) duration() time.Duration { return time.Duration(w) * time.Millisecond }

// wait is less than ctx has left, so that the server gives up first and the
// connection lives on.
func (s *Store) wait(ctx context.Context) lockWait {
	wait := s.lockWait
	if deadline, ok := ctx.Deadline(); ok {
		left := time.Until(deadline)
		wait = min(wait, left-left/8)
	}
	return lockWait(max(wait.Milliseconds(), 1))
}
