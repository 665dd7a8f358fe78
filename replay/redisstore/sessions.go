package redisstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sealedblob/sealedblob/replay"
)

var errNoSubject = fmt.Errorf("%w: revocation of no subject", replay.ErrArgument)

// run is do with arguments that may be out of range.
func (s *Store) run(ctx context.Context, operation string, a args) (reply, error) {
	if err := s.usable(ctx, true); err != nil {
		return reply{}, err
	}
	if a.err != nil {
		return reply{}, s.wrap(a.err)
	}
	return s.do(ctx, question{operation: operation, args: a.list})
}

// decide is run for an operation that answers with a verdict.
func (s *Store) decide(ctx context.Context, operation string, a args) (replay.Verdict, reply, error) {
	got, err := s.run(ctx, operation, a)
	if err != nil {
		return replay.Refused, got, err
	}
	v, err := got.verdict()
	return v, got, s.wrap(err)
}

// Restore implements [replay.Sessions].
func (s *Store) Restore(ctx context.Context, r replay.RestoreRequest) (replay.Restored, error) {
	if r.Attempt == (replay.Owner{}) {
		return replay.Restored{}, replay.ErrNoOwner
	}
	v, got, err := s.decide(ctx, "restore", s.restoreArgs(r))
	if err != nil || v != replay.Granted {
		return replay.Restored{Verdict: v}, err
	}
	out, err := restored(got, len(r.Burn), len(r.Look))
	if err != nil {
		return replay.Restored{}, s.wrap(err)
	}
	return out, nil
}

func (s *Store) restoreArgs(r replay.RestoreRequest) (a args) {
	a.text(string(r.Session[:]))
	a.number(r.Set.Fence)
	a.number(r.Set.Gen)
	a.second(r.Issued)
	a.keep(r.KeepUntil)
	a.login(r.Login)
	a.text(string(r.Attempt[:]))
	a.flag(r.Strict)
	a.count(s.cfg.MaxRights)
	a.count(s.cfg.MaxSessions)
	a.count(len(r.Burn))
	for _, b := range r.Burn {
		a.right(b.Right)
		a.flag(b.Required)
	}
	a.ids(r.Look)
	return a
}

// restored reads what comes after the verdict: fence, behind, burnt, looked.
func restored(got reply, burns, looks int) (out replay.Restored, err error) {
	fence, errFence := got.number(1)
	behind, errBehind := got.number(2)
	burnt, errBurnt := got.numbers(3, int64(replay.Won))
	looked, errLooked := got.numbers(4, 1)
	if errors.Join(errFence, errBehind, errBurnt, errLooked) != nil || fence < 1 || len(burnt) != burns || len(looked) != looks {
		return out, errAnswer
	}
	out = replay.Restored{Verdict: replay.Granted, Fence: uint64(fence), BehindWatermark: behind == 1, Spent: bools(looked)}
	for _, o := range burnt {
		out.Burnt = append(out.Burnt, replay.Outcome(o))
	}
	return out, nil
}

// Protect implements [replay.Sessions].
func (s *Store) Protect(ctx context.Context, at replay.Place) (replay.Verdict, error) {
	var a args
	a.count(s.cfg.MaxSessions)
	a.place(at)
	v, _, err := s.decide(ctx, "protect", a)
	return v, err
}

// Take implements [replay.Sessions].
func (s *Store) Take(ctx context.Context, by replay.Place, owner replay.Owner, right replay.Right) (replay.Verdict, replay.Outcome, error) {
	var a args
	a.count(s.cfg.MaxRights)
	a.text(string(owner[:]))
	a.place(by)
	a.right(right)
	v, got, err := s.decide(ctx, "take", a)
	if err != nil {
		return replay.Refused, replay.Lost, err
	}
	word, err := got.text(1)
	outcome, errWord := outcomeOf(word)
	if err != nil || errWord != nil {
		return replay.Refused, replay.Lost, s.wrap(errAnswer)
	}
	return v, outcome, nil
}

// Acknowledge implements [replay.Sessions].
func (s *Store) Acknowledge(ctx context.Context, held ...replay.Place) ([]replay.Verdict, error) {
	var a args
	a.count(s.cfg.MaxSessions)
	a.count(len(held))
	for _, p := range held {
		a.place(p)
	}
	got, err := s.run(ctx, "acknowledge", a)
	if err != nil {
		return nil, err
	}
	list, errList := got.numbers(0, int64(replay.Granted))
	full, errFull := got.number(1)
	if errors.Join(errList, errFull) != nil || len(list) != len(held) {
		return nil, s.wrap(errAnswer)
	}
	verdicts := make([]replay.Verdict, len(list))
	for i, v := range list {
		verdicts[i] = replay.Verdict(v)
	}
	if full == 1 {
		return verdicts, replay.ErrFull
	}
	return verdicts, nil
}

// Renew implements [replay.Sessions].
func (s *Store) Renew(ctx context.Context, old replay.Place, next replay.ID) (replay.Verdict, error) {
	var a args
	a.count(s.cfg.MaxSessions)
	a.text(string(next[:]))
	a.place(old)
	v, _, err := s.decide(ctx, "renew", a)
	return v, err
}

// Revoke implements [replay.Sessions].
func (s *Store) Revoke(ctx context.Context, session replay.ID, keepUntil time.Time) error {
	var a args
	a.count(s.cfg.MaxSessions)
	a.text(string(session[:]))
	a.keep(keepUntil)
	_, err := s.run(ctx, "revoke", a)
	return err
}

// RevokeSubject implements [replay.Subjects].
func (s *Store) RevokeSubject(ctx context.Context, subject replay.ID, before, keepUntil time.Time) error {
	if subject == (replay.ID{}) {
		return errNoSubject
	}
	var a args
	a.count(s.cfg.MaxSubjects)
	a.text(string(subject[:]))
	a.second(before)
	a.keep(keepUntil)
	a.flag(before.After(keepUntil))
	_, err := s.run(ctx, "revoke_subject", a)
	return err
}

// SubjectCut implements [replay.Subjects].
func (s *Store) SubjectCut(ctx context.Context, subject replay.ID) (time.Time, error) {
	got, err := s.do(ctx, question{operation: "cut", args: []string{string(subject[:])}})
	if err != nil {
		return time.Time{}, err
	}
	if len(got.rest) == 1 && got.rest[0].IsNil() {
		return time.Time{}, nil
	}
	cut, err := got.number(0)
	if err != nil {
		return time.Time{}, s.wrap(err)
	}
	return time.Unix(cut, 0), nil
}
