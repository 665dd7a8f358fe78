package session

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/sealedblob/sealedblob/replay"
)

// turnStore lets one call about a session, or about a right by itself, into the
// store at a time. A transaction that an application keeps open ([Session.TakeTx])
// makes all others of its session wait in the store; they would take its connections
// from the other sessions. Acknowledge, which waits for nobody, goes by.
type turnStore struct {
	replay.Store
	patience time.Duration

	mu    sync.Mutex
	lines map[replay.ID]*line // by session or right; only those that have callers
}

// line is who is in the store or waits for it.
type line struct {
	turn
	callers int
}

func newTurnStore(store replay.Store, patience time.Duration) *turnStore {
	return &turnStore{Store: store, patience: patience, lines: map[replay.ID]*line{}}
}

// enter waits for the turn, until ctx ends or the patience does: then the error is
// [replay.ErrBusy], and the store was not asked.
func (t *turnStore) enter(ctx context.Context, id replay.ID) (leave func(), err error) {
	t.mu.Lock()
	l := t.lines[id]
	if l == nil {
		l = &line{turn: newTurn()}
		t.lines[id] = l
	}
	l.callers++
	t.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, t.patience)
	defer cancel()
	if err := l.wait(ctx); err != nil {
		t.depart(id, l)
		return nil, fmt.Errorf("%w: %w", replay.ErrBusy, err)
	}
	return func() { l.done(); t.depart(id, l) }, nil
}

func (t *turnStore) depart(id replay.ID, l *line) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if l.callers--; l.callers == 0 {
		delete(t.lines, id)
	}
}

// Claim takes the turn of the first right; the session package claims one at a time.
func (t *turnStore) Claim(ctx context.Context, owner replay.Owner, rights ...replay.Right) (replay.Outcome, error) {
	if len(rights) == 0 {
		return t.Store.Claim(ctx, owner)
	}
	leave, err := t.enter(ctx, rights[0].ID)
	if err != nil {
		return replay.Lost, err
	}
	defer leave()
	return t.Store.Claim(ctx, owner, rights...)
}

func (t *turnStore) Take(ctx context.Context, by replay.Place, owner replay.Owner, right replay.Right) (replay.Verdict, replay.Outcome, error) {
	leave, err := t.enter(ctx, by.Session)
	if err != nil {
		return replay.Refused, replay.Lost, err
	}
	defer leave()
	return t.Store.Take(ctx, by, owner, right)
}

func (t *turnStore) Restore(ctx context.Context, r replay.RestoreRequest) (replay.Restored, error) {
	leave, err := t.enter(ctx, r.Session)
	if err != nil {
		return replay.Restored{}, err
	}
	defer leave()
	return t.Store.Restore(ctx, r)
}

func (t *turnStore) Protect(ctx context.Context, at replay.Place) (replay.Verdict, error) {
	leave, err := t.enter(ctx, at.Session)
	if err != nil {
		return replay.Refused, err
	}
	defer leave()
	return t.Store.Protect(ctx, at)
}

func (t *turnStore) Renew(ctx context.Context, old replay.Place, next replay.ID) (replay.Verdict, error) {
	leave, err := t.enter(ctx, old.Session)
	if err != nil {
		return replay.Refused, err
	}
	defer leave()
	return t.Store.Renew(ctx, old, next)
}

func (t *turnStore) Revoke(ctx context.Context, session replay.ID, keepUntil time.Time) error {
	leave, err := t.enter(ctx, session)
	if err != nil {
		return err
	}
	defer leave()
	return t.Store.Revoke(ctx, session, keepUntil)
}
