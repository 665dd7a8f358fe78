package session_test

import (
	"context"
	"maps"
	"sync"
	"testing"
	"time"

	"github.com/sealedblob/sealedblob/replay"
)

// counted is a store that counts its round trips, and before each asks a hook
// that may answer in its place: an error of the hook is the answer.
type counted struct {
	replay.Store
	mu    sync.Mutex
	calls map[string]int
	hook  func(ctx context.Context, op string) error
	lost  string // the operation that happens, but whose answer is lost once
}

func (c *cluster) counted() *counted {
	s := &counted{Store: c.store, calls: map[string]int{}}
	c.store = s
	return s
}

func (s *counted) before(ctx context.Context, op string) error {
	s.mu.Lock()
	s.calls[op]++
	s.mu.Unlock()
	if s.hook != nil {
		return s.hook(ctx, op)
	}
	return nil
}

// after loses the answer, once, if that was asked for.
func (s *counted) after(op string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lost != op {
		return nil
	}
	s.lost = ""
	return errDisk
}

// since runs f and expects those round trips and no others.
func (s *counted) since(t testing.TB, what string, want map[string]int, f func()) {
	t.Helper()
	s.mu.Lock()
	s.calls = map[string]int{}
	s.mu.Unlock()
	f()
	s.mu.Lock()
	defer s.mu.Unlock()
	if !maps.Equal(s.calls, want) {
		t.Errorf("%s: the store was asked %v, want %v", what, s.calls, want)
	}
}

func (s *counted) Claim(ctx context.Context, owner replay.Owner, rights ...replay.Right) (replay.Outcome, error) {
	if err := s.before(ctx, "claim"); err != nil {
		return replay.Lost, err
	}
	outcome, err := s.Store.Claim(ctx, owner, rights...)
	if lost := s.after("claim"); lost != nil {
		return replay.Lost, lost
	}
	return outcome, err
}

func (s *counted) Spent(ctx context.Context, ids ...replay.ID) ([]bool, error) {
	if err := s.before(ctx, "spent"); err != nil {
		return nil, err
	}
	return s.Store.Spent(ctx, ids...)
}

func (s *counted) Restore(ctx context.Context, r replay.RestoreRequest) (replay.Restored, error) {
	if err := s.before(ctx, "restore"); err != nil {
		return replay.Restored{}, err
	}
	answer, err := s.Store.Restore(ctx, r)
	if lost := s.after("restore"); lost != nil {
		return replay.Restored{}, lost
	}
	return answer, err
}

func (s *counted) Protect(ctx context.Context, at replay.Place) (replay.Verdict, error) {
	if err := s.before(ctx, "protect"); err != nil {
		return replay.Refused, err
	}
	v, err := s.Store.Protect(ctx, at)
	if lost := s.after("protect"); lost != nil {
		return replay.Refused, lost
	}
	return v, err
}

func (s *counted) Take(ctx context.Context, by replay.Place, owner replay.Owner, right replay.Right) (replay.Verdict, replay.Outcome, error) {
	if err := s.before(ctx, "take"); err != nil {
		return replay.Refused, replay.Lost, err
	}
	v, outcome, err := s.Store.Take(ctx, by, owner, right)
	if lost := s.after("take"); lost != nil {
		return replay.Refused, replay.Lost, lost
	}
	return v, outcome, err
}

func (s *counted) Acknowledge(ctx context.Context, held ...replay.Place) ([]replay.Verdict, error) {
	if err := s.before(ctx, "acknowledge"); err != nil {
		return nil, err
	}
	return s.Store.Acknowledge(ctx, held...)
}

func (s *counted) Renew(ctx context.Context, old replay.Place, next replay.ID) (replay.Verdict, error) {
	if err := s.before(ctx, "renew"); err != nil {
		return replay.Refused, err
	}
	v, err := s.Store.Renew(ctx, old, next)
	if lost := s.after("renew"); lost != nil {
		return replay.Refused, lost
	}
	return v, err
}

func (s *counted) Revoke(ctx context.Context, id replay.ID, keepUntil time.Time) error {
	if err := s.before(ctx, "revoke"); err != nil {
		return err
	}
	return s.Store.Revoke(ctx, id, keepUntil)
}

func (s *counted) RevokeSubject(ctx context.Context, subject replay.ID, before, keepUntil time.Time) error {
	if err := s.before(ctx, "revoke subject"); err != nil {
		return err
	}
	return s.Store.RevokeSubject(ctx, subject, before, keepUntil)
}

func (s *counted) SubjectCut(ctx context.Context, subject replay.ID) (time.Time, error) {
	if err := s.before(ctx, "cut"); err != nil {
		return time.Time{}, err
	}
	return s.Store.SubjectCut(ctx, subject)
}

// floorSpy counts the floors that it is asked to raise.
type floorSpy struct {
	replay.Store
	floors int
}

func (s *floorSpy) Acknowledge(ctx context.Context, held ...replay.Place) ([]replay.Verdict, error) {
	for _, p := range held {
		if p.Version.Gen > 0 {
			s.floors++
		}
	}
	return s.Store.Acknowledge(ctx, held...)
}
