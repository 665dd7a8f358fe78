package session

import (
	"context"
	"errors"
	"time"

	"github.com/sealedblob/sealedblob/replay"
)

// visit is the one request of a [Stateless] session; nil for all others.
type visit struct {
	st      *Stateless
	header  *headerHook
	asked   time.Time    // when the store last said that the session is good
	attempt replay.Owner // of the request
	brought Version      // of the set that it came with
	issued  time.Time    // of that set
	fenced  bool         // no older set of the session is good any more
}

// renewed is the visit of a session that a renewal put in the place of v's: no
// older set of its ID exists.
func (v *visit) renewed() *visit {
	if v == nil {
		return nil
	}
	n := *v
	n.fenced = true
	return &n
}

// changeable says whether the session can be changed: it has not ended, and the
// response that would carry the change has not begun. s.mu is held.
func (s *Session) changeable() error {
	if s.ended == nil && s.visit != nil && s.visit.header.committed.Load() {
		return ErrTooLate
	}
	return s.ended
}

// fence makes every older set worthless before a protected change is seen. With
// nobody to acknowledge a set there is no watermark to be compared with: the
// session moves on to its next fence, as in a restore, and what is sealed by
// this request is the only set under it. Of two requests that try, one wins. It
// runs in a change's turn.
func (s *Session) fence(ctx context.Context) error {
	v := s.visit
	if v.fenced {
		return nil
	}
	s.mu.Lock()
	at := s.place(v.brought.Gen)
	s.replica.dirty = true // whatever comes of it, the client needs the newer set
	s.mu.Unlock()
	answer, err := s.m.cfg.Store.Restore(ctx, replay.RestoreRequest{
		Session: at.Session, Set: v.brought, Issued: v.issued, KeepUntil: at.KeepUntil, Login: at.Login, Attempt: v.attempt, Strict: true,
	})
	if err := s.heed(ctx, answer.Verdict, err); err != nil {
		return err
	}
	v.fenced = true
	s.mu.Lock()
	s.version.Fence = answer.Fence
	s.mu.Unlock()
	return nil
}

// sealedAs is the time of a manifest that is sealed now. In a stateless set it
// is when the store last said that the session is good, so that changing the
// session does not put off the next question.
func (s *Session) sealedAs(now time.Time) time.Time {
	if s.visit != nil {
		return s.visit.asked
	}
	return now
}

// newest asks once more, before the client is told to carry what was sealed,
// whether the session still is under its fence. If another request of the client
// moved it on, and was answered first, this set would lock the client out; if
// another renewed it, as a login does, this set would throw the new one away.
func (v *visit) newest(ctx context.Context, s *Session) error {
	if v.fenced || !v.st.asksAlways() || v.brought == (Version{}) {
		return nil // no other request can have moved it on, or it was chosen not to look
	}
	s.mu.Lock()
	at := s.place(0)
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, s.m.cfg.StoreTimeout)
	defer cancel()
	verdicts, err := s.m.cfg.Store.Acknowledge(ctx, at) // generation 0: a question
	switch {
	case err != nil || len(verdicts) != 1:
		return errors.Join(ErrUnavailable, err)
	case verdicts[0] != replay.Granted:
		return ErrMoved
	}
	return nil
}
