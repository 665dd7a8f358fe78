package session

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"time"

	"github.com/sealedblob/sealedblob/policy"
	"github.com/sealedblob/sealedblob/replay"
	"github.com/sealedblob/sealedblob/seal"
)

// Take spends a once-only attribute and decodes its value into the pointer
// into, whose content is undefined after an error. The right is claimed in the
// store before Take returns: of all calls with its uid, on all nodes and whoever
// makes them, at most one succeeds. Repeat a Take that returned
// [ErrUnavailable] with the same owner: it learns whether the first try won.
// This is at most once: if the node dies between the claim and the effect, the
// right is spent without one, and no owner gets it again. [Session.TakeTx] makes
// claim and effect one.
//
// It returns an error wrapping [replay.ErrReplayed] if the right is spent,
// [ErrNoAttribute] if there is none at this time, [ErrMoved] if the session
// lives elsewhere, [replay.ErrNoOwner] for the zero owner, [ErrEnded], or [ErrUnavailable] if the store could not tell.
func (s *Session) Take(ctx context.Context, name string, owner replay.Owner, into any) (err error) {
	defer func() { s.m.note(ctx, KindTake, s.id, name, err) }()
	if err := s.taking.wait(ctx); err != nil { // who loses in the store must not take the winner's value away
		return err
	}
	defer s.taking.done()
	right, err := s.ownRight(name, owner, into)
	if err != nil {
		return err
	}
	if right.of.burnt {
		right.ID = useOf(s.m.scope, right.of.uid) // the restore holds the right itself, and may be repeated
	}
	outcome, err := s.claim(ctx, s.m.cfg.Store, owner, right)
	if err != nil {
		if errors.Is(err, ErrUnavailable) {
			if s.unsure == nil {
				s.unsure = map[string]doubt{}
			}
			s.unsure[name] = doubt{right.of, owner} // the store may have noted the owner: keep the value for his repetition
		}
		return err
	}
	s.forget(name, right.of)
	if outcome.Granted() || s.unsure[name].owner == owner {
		delete(s.unsure, name)
	}
	if !outcome.Granted() {
		return fmt.Errorf("%w: %s", replay.ErrReplayed, name)
	}
	return nil
}

// TakeTx is [Session.Take] within a transaction of the caller's own, of which
// the store made spender: effect and spending commit or roll back together, so
// that the effect happens exactly once. [replay.Won] says that it is this
// transaction that spends the right, if it commits; [replay.Mine] that owner did
// so before, in a transaction that has committed or in this very one: then the
// effect is there, and must not be repeated. With an error the outcome is
// [replay.Lost].
//
// The session keeps the attribute, since the transaction may yet be rolled back.
// [Session.Delete] it when it has committed; before, others who want the right
// wait or are told to try again. A session that was restored meanwhile goes on
// without the attribute: whether the effect is there says the caller's database.
//
// Spender must be of the manager's store, the very one in its Config: what another
// one spends could be taken here again. Else the error is [ErrOtherStore]. A store
// of your own around it has a method Unwrap() replay.Store.
//
// A right that burns when it is restored is no longer there to be taken in a
// transaction: the error wraps [replay.ErrReplayed]. The other errors are those of Take.
func (s *Session) TakeTx(ctx context.Context, spender replay.Spender, name string, owner replay.Owner, into any) (out replay.Outcome, err error) {
	defer func() { s.m.note(ctx, KindTake, s.id, name, err) }()
	if err := s.m.ours(spender); err != nil {
		return replay.Lost, err
	}
	if err := s.taking.wait(ctx); err != nil {
		return replay.Lost, err
	}
	defer s.taking.done()
	right, err := s.ownRight(name, owner, into)
	if err != nil {
		return replay.Lost, err
	}
	outcome, err := s.claim(ctx, spender, owner, right)
	if err != nil {
		return replay.Lost, err
	}
	if !outcome.Granted() {
		s.forget(name, right.of)
		return replay.Lost, fmt.Errorf("%w: %s", replay.ErrReplayed, name)
	}
	return outcome, nil
}

// ours checks that spender is the manager's store, or a transaction of it.
func (m *Manager) ours(spender replay.Spender) error {
	of, _ := spender.(replay.Store)
	if tx, ok := spender.(replay.TxSpender); ok {
		of = tx.Of()
	}
	if of == nil || !reflect.ValueOf(of).Comparable() {
		return ErrOtherStore
	}
	for store := m.store; store != of; {
		around, ok := store.(interface{ Unwrap() replay.Store })
		if !ok {
			return ErrOtherStore
		}
		store = around.Unwrap()
	}
	return nil
}

// claim asks for the right under the session's fence.
func (s *Session) claim(ctx context.Context, spender replay.Spender, owner replay.Owner, r ownRight) (replay.Outcome, error) {
	if owner == (replay.Owner{}) {
		return replay.Lost, replay.ErrNoOwner
	}
	ctx, cancel := context.WithTimeout(ctx, s.m.cfg.StoreTimeout)
	defer cancel()
	verdict, outcome, err := spender.Take(ctx, r.at, owner, r.Right)
	if err := s.heed(ctx, verdict, err); err != nil {
		return replay.Lost, err
	}
	return outcome, nil
}

// forget removes a right that is spent, unless another has taken its place.
func (s *Session) forget(name string, of *attribute) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if a := s.attrs[name]; a != nil && a.uid == of.uid {
		s.drop(name)
	}
}

// doubt is a right that a Take could not tell about, and whose Take that was.
type doubt struct {
	of    *attribute
	owner replay.Owner
}

// ownRight is a right, the attribute that it is of, and where.
type ownRight struct {
	replay.Right
	of *attribute
	at replay.Place
}

func (s *Session) ownRight(name string, owner replay.Owner, into any) (ownRight, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a, err := s.live(name)
	// A repetition is about the right that its first try was about, though that is
	// gone from the session or replaced; for others the store decides.
	repeated := owner == s.unsure[name].owner
	if doubt := s.unsure[name].of; doubt != nil && (repeated || errors.Is(err, ErrNoAttribute)) && !doubt.expired(time.Now()) {
		a, err = doubt, nil
	}
	if err != nil {
		return ownRight{}, err
	}
	if a.uid == (seal.ID{}) {
		return ownRight{}, fmt.Errorf("%w: %s is not once-only", policy.ErrNotAllowed, name)
	}
	if err := json.Unmarshal(a.value, into); err != nil {
		return ownRight{}, fmt.Errorf("session: decoding %s: %w", name, err)
	}
	return ownRight{right(s.m.scope, s.m.cfg.Policy, a.uid, a.issued, a.absolute), a, s.place(0)}, nil
}
