package pgstore

import (
	"context"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/sealedblob/sealedblob/replay"
)

// claim is a claim of one right; answer is what the server says to it.
type claim struct {
	owner replay.Owner
	right replay.Right
}

type answer int16

// Claim implements [replay.Rights]. Claims of one right each that are under way at
// the same time share a statement; one of several rights has its own.
func (s *Store) Claim(ctx context.Context, owner replay.Owner, rights ...replay.Right) (replay.Outcome, error) {
	if err := s.ready(ctx); err != nil {
		return replay.Lost, err
	}
	if err := claimable(owner, rights); err != nil {
		return replay.Lost, err
	}
	within, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	if len(rights) == 1 {
		got, err := s.claims.Do(within, claim{owner, rights[0]})
		if err != nil {
			return replay.Lost, s.fault(ctx, "claim", err)
		}
		if got != answerAlone {
			return outcomeOf(int16(got))
		}
	}
	epoch := s.witness.under()
	var got int16
	if err := s.call(within, "claim", sqlClaimAll, s.claimArgs(within, false, owner, rights), &got); err != nil {
		return replay.Lost, err
	}
	if got == answerWon {
		s.witness.prove(epoch, rights[0])
	}
	return outcomeOf(got)
}

// claimable refuses what must not read as done.
func claimable(owner replay.Owner, rights []replay.Right) error {
	if len(rights) == 0 {
		return errNoRights
	}
	if owner == (replay.Owner{}) {
		return replay.ErrNoOwner
	}
	return nil
}

func (s *Store) claimArgs(ctx context.Context, hold bool, owner replay.Owner, rights []replay.Right) []any {
	var l listed
	for _, r := range rights {
		l.add(r)
	}
	return []any{s.witness.arg(), s.wait(ctx), hold, uuid(owner), l.ids, l.issued, l.keep}
}

// claimTogether carries out many callers' claims in one statement. Where the
// server rolled it back because of one of them, each is to go alone.
func (s *Store) claimTogether(batch []claim, answers []answer) error {
	ctx, cancel := context.WithTimeout(context.Background(), s.timeout)
	defer cancel()
	var l listed
	owners := make([]pgtype.UUID, 0, len(batch))
	for _, c := range batch {
		l.add(c.right)
		owners = append(owners, uuid(c.owner))
	}
	epoch := s.witness.under()
	var got []int16
	var mark []int64
	err := s.pool.QueryRow(ctx, sqlClaim, s.witness.arg(), l.ids, owners, l.issued, l.keep).Scan(&got, &mark)
	switch state(err) {
	case stateLocked, stateDeadlock, statePurged:
		for i := range answers {
			answers[i] = answerAlone
		}
		return nil
	}
	if err != nil {
		return err
	}
	if len(got) != len(batch) {
		return errAnswer
	}
	s.witness.note(mark)
	for i := range answers {
		answers[i] = answer(got[i])
	}
	if i := slices.Index(got, answerWon); i >= 0 {
		s.witness.prove(epoch, batch[i].right)
	}
	return nil
}

// Spent implements [replay.Rights].
func (s *Store) Spent(ctx context.Context, ids ...replay.ID) ([]bool, error) {
	var spent []bool
	if err := s.call(ctx, "spent", sqlSpent, []any{s.witness.arg(), uuids(ids)}, &spent); err != nil {
		return nil, err
	}
	if len(spent) != len(ids) {
		return nil, errAnswer
	}
	return spent, nil
}

func uuids(ids []replay.ID) []pgtype.UUID {
	all := make([]pgtype.UUID, len(ids))
	for i, id := range ids {
		all[i] = uuid(id)
	}
	return all
}

// ClaimTx makes a [replay.TxSpender] of a transaction of the caller's own, for
// session.TakeTx: what it spends is spent if tx commits, together with whatever
// else tx does, and free again if it does not. It never commits or rolls back.
//
// Tx must be READ COMMITTED, PostgreSQL's default, on the Store's database, as a role
// that was admitted; another database is [ErrOtherDatabase]. If its commit were not to wait
// for the disk (synchronous_commit) it does from then on. Until it ends, who asks for the same right waits, and gets
// [replay.ErrHeld] after [Config.LockWait]; so does who restores, renews or revokes
// the session that took it. Keep it short. A right that others hold, or that is refused,
// leaves tx usable; any other error aborts it, and the end of ctx ends its connection.
func (s *Store) ClaimTx(tx pgx.Tx) replay.TxSpender { return &spender{s, tx} }

type spender struct {
	s  *Store
	tx pgx.Tx
}

// Of implements [replay.TxSpender].
func (x *spender) Of() replay.Store { return x.s }

// Claim implements [replay.Spender].
func (x *spender) Claim(ctx context.Context, owner replay.Owner, rights ...replay.Right) (replay.Outcome, error) {
	if err := x.s.ready(ctx); err != nil {
		return replay.Lost, err
	}
	if err := claimable(owner, rights); err != nil {
		return replay.Lost, err
	}
	var got int16
	if err := x.call(ctx, "claim", sqlClaimAll, x.s.claimArgs(ctx, true, owner, rights), &got); err != nil {
		return replay.Lost, err
	}
	return outcomeOf(got)
}

// Take implements [replay.Spender].
func (x *spender) Take(ctx context.Context, by replay.Place, owner replay.Owner, right replay.Right) (replay.Verdict, replay.Outcome, error) {
	if err := x.s.ready(ctx); err != nil {
		return replay.Refused, replay.Lost, err
	}
	return take(ctx, x.s, x.call, true, by, owner, right)
}

// call runs one statement in the transaction. Its mark is nobody's yet.
func (x *spender) call(ctx context.Context, op, sql string, args []any, dest ...any) error {
	var mark []int64
	args = append([]any{mode(x.tx)}, args...)
	args[1] = x.s.witness.argAt(x.s.place.Load())
	return x.s.fault(ctx, op, x.tx.QueryRow(ctx, sql, args...).Scan(append(dest, &mark)...))
}

// mode is how a caller's connection runs a statement: as its owner set it up, but
// never with values in the statement's text.
func mode(tx pgx.Tx) pgx.QueryExecMode {
	if cfg := tx.Conn().Config(); cfg.DefaultQueryExecMode == pgx.QueryExecModeCacheStatement && cfg.StatementCacheCapacity > 0 {
		return pgx.QueryExecModeCacheStatement
	}
	return pgx.QueryExecModeDescribeExec
}
