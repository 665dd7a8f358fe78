package pgstore

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5/pgtype"

	"github.com/sealedblob/sealedblob/replay"
)

// Restore implements [replay.Sessions].
func (s *Store) Restore(ctx context.Context, r replay.RestoreRequest) (replay.Restored, error) {
	if r.Attempt == (replay.Owner{}) {
		return replay.Restored{}, replay.ErrNoOwner
	}
	if !fits(r.Set.Fence, r.Set.Gen) {
		return replay.Restored{}, errTooLarge
	}
	var burn listed
	var required []bool
	for _, b := range r.Burn {
		burn.add(b.Right)
		required = append(required, b.Required)
	}
	subject, since := login(r.Login)
	args := []any{
		s.witness.arg(), s.wait(ctx), uuid(r.Session), r.Issued.Unix(), ceil(r.KeepUntil), subject, since,
		int64(r.Set.Fence), int64(r.Set.Gen), uuid(r.Attempt), r.Strict, burn.ids, burn.issued, burn.keep, required, uuids(r.Look),
	}
	var verdict, refused int16
	var fence int64
	var behind bool
	var burnt []int16
	var looked []bool
	if err := s.call(ctx, "restore", sqlRestore, args, &verdict, &refused, &fence, &behind, &burnt, &looked); err != nil {
		return replay.Restored{}, err
	}
	v, err := judged(verdict, refused)
	if err != nil || v != replay.Granted {
		return replay.Restored{Verdict: v}, err
	}
	if len(burnt) != len(r.Burn) || len(looked) != len(r.Look) {
		return replay.Restored{}, errAnswer
	}
	got := replay.Restored{Verdict: v, Fence: uint64(fence), BehindWatermark: behind, Spent: looked}
	for _, b := range burnt {
		o, err := outcomeOf(b)
		if err != nil {
			return replay.Restored{}, err
		}
		got.Burnt = append(got.Burnt, o)
	}
	return got, nil
}

// judged is the verdict, or why there is none.
func judged(verdict, refused int16) (replay.Verdict, error) {
	if refused != 0 {
		return replay.Refused, refusal(refused)
	}
	return verdictOf(verdict)
}

// Protect implements [replay.Sessions].
func (s *Store) Protect(ctx context.Context, at replay.Place) (replay.Verdict, error) {
	if !fits(at.Version.Fence, at.Version.Gen) {
		return replay.Refused, errTooLarge
	}
	subject, since := login(at.Login)
	args := []any{
		s.witness.arg(), s.wait(ctx), uuid(at.Session), int64(at.Version.Fence), int64(at.Version.Gen), ceil(at.KeepUntil), subject, since,
	}
	var verdict, refused int16
	if err := s.call(ctx, "protect", sqlProtect, args, &verdict, &refused); err != nil {
		return replay.Refused, err
	}
	return judged(verdict, refused)
}

// Take implements [replay.Sessions].
func (s *Store) Take(ctx context.Context, by replay.Place, owner replay.Owner, right replay.Right) (replay.Verdict, replay.Outcome, error) {
	if err := s.ready(ctx); err != nil {
		return replay.Refused, replay.Lost, err
	}
	epoch := s.witness.under()
	v, o, err := take(ctx, s, s.call, false, by, owner, right)
	if o == replay.Won {
		s.witness.prove(epoch, right)
	}
	return v, o, err
}

// caller runs a statement: [Store.call], or that of a caller's own transaction.
type caller func(ctx context.Context, op, sql string, args []any, dest ...any) error

func take(ctx context.Context, s *Store, call caller, hold bool, by replay.Place, owner replay.Owner, right replay.Right) (replay.Verdict, replay.Outcome, error) {
	if !fits(by.Version.Fence) {
		return replay.Refused, replay.Lost, errTooLarge
	}
	subject, since := login(by.Login)
	args := []any{
		s.witness.arg(), s.wait(ctx), hold, uuid(by.Session), int64(by.Version.Fence), ceil(by.KeepUntil), subject, since,
		uuid(owner), uuid(right.ID), right.Issued.Unix(), ceil(right.KeepUntil),
	}
	var verdict, answer, refused int16
	if err := call(ctx, "take", sqlTake, args, &verdict, &answer, &refused); err != nil {
		return replay.Refused, replay.Lost, err
	}
	v, err := judged(verdict, refused)
	if err != nil {
		return replay.Refused, replay.Lost, err
	}
	o, err := outcomeOf(answer)
	if err != nil {
		return replay.Refused, replay.Lost, err
	}
	return v, o, nil
}

// Acknowledge implements [replay.Sessions]. It never answers [replay.ErrFull] but
// when the disk is full, and then without verdicts.
func (s *Store) Acknowledge(ctx context.Context, held ...replay.Place) ([]replay.Verdict, error) {
	if err := s.ready(ctx); err != nil {
		return nil, err
	}
	if len(held) == 0 {
		return nil, nil
	}
	var ids, subjects []pgtype.UUID
	var fences, gens, keeps []int64
	var sinces []pgtype.Int8
	for _, p := range held {
		if !fits(p.Version.Fence, p.Version.Gen) {
			return nil, errTooLarge
		}
		subject, since := login(p.Login)
		ids, subjects, sinces = append(ids, uuid(p.Session)), append(subjects, subject), append(sinces, since)
		fences, gens = append(fences, int64(p.Version.Fence)), append(gens, int64(p.Version.Gen))
		keeps = append(keeps, ceil(p.KeepUntil))
	}
	var got []int16
	args := []any{s.witness.arg(), s.wait(ctx), ids, fences, gens, keeps, subjects, sinces}
	if err := s.call(ctx, "acknowledge", sqlAcknowledge, args, &got); err != nil {
		return nil, err
	}
	if len(got) != len(held) {
		return nil, errAnswer
	}
	verdicts := make([]replay.Verdict, len(got))
	for i, n := range got {
		v, err := verdictOf(n)
		if err != nil {
			return nil, err
		}
		verdicts[i] = v
	}
	return verdicts, nil
}

// Renew implements [replay.Sessions].
func (s *Store) Renew(ctx context.Context, old replay.Place, next replay.ID) (replay.Verdict, error) {
	if !fits(old.Version.Fence) {
		return replay.Refused, errTooLarge
	}
	subject, since := login(old.Login)
	args := []any{
		s.witness.arg(), s.wait(ctx), uuid(old.Session), int64(old.Version.Fence), ceil(old.KeepUntil), subject, since, uuid(next),
	}
	var verdict, refused int16
	if err := s.call(ctx, "renew", sqlRenew, args, &verdict, &refused); err != nil {
		return replay.Refused, err
	}
	return judged(verdict, refused)
}

// Revoke implements [replay.Sessions].
func (s *Store) Revoke(ctx context.Context, session replay.ID, keepUntil time.Time) error {
	var refused int16
	args := []any{s.witness.arg(), s.wait(ctx), uuid(session), ceil(keepUntil)}
	if err := s.call(ctx, "revoke", sqlRevoke, args, &refused); err != nil || refused == 0 {
		return err
	}
	return refusal(refused)
}

// RevokeSubject implements [replay.Subjects].
func (s *Store) RevokeSubject(ctx context.Context, subject replay.ID, before, keepUntil time.Time) error {
	if err := s.ready(ctx); err != nil {
		return err
	}
	if subject == (replay.ID{}) {
		return errNoSubject
	}
	var refused int16
	args := []any{s.witness.arg(), s.wait(ctx), uuid(subject), before.Unix(), ceil(keepUntil), before.After(keepUntil)}
	if err := s.call(ctx, "revoke subject", sqlRevokeSubject, args, &refused); err != nil || refused == 0 {
		return err
	}
	return refusal(refused)
}

// SubjectCut implements [replay.Subjects].
func (s *Store) SubjectCut(ctx context.Context, subject replay.ID) (time.Time, error) {
	var cut pgtype.Int8
	if err := s.call(ctx, "subject cut", sqlSubjectCut, []any{s.witness.arg(), uuid(subject)}, &cut); err != nil || !cut.Valid {
		return time.Time{}, err
	}
	return time.Unix(cut.Int64, 0), nil
}
