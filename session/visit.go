package session

import (
	"context"
	"fmt"
	"time"

	"github.com/sealedblob/sealedblob/policy"
	"github.com/sealedblob/sealedblob/replay"
	"github.com/sealedblob/sealedblob/seal"
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
	if err := s.heed(answer.Verdict, err); err != nil {
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

// What claims and manifest have beside their texts, at most: SPEC §4 and §5.
const (
	claimsBytes   = len(`{"jti":"","iat":1234567890,"exp":1234567890,"axp":1234567890,"sid":"","gen":1234567890123456,"name":"","pv":"","val":}`) + 2*22
	onceBytes     = len(`,"uid":"","once":true`) + 22
	padBytes      = len(`,"pad":1234567`)
	manifestBytes = len(`{"sid":"","sub":"","sat":1234567890,"fence":1234567890123456,"gen":1234567890123456,"iat":1234567890,"exp":1234567890,"axp":1234567890,"bnd":"","pv":"","set":[]}`) + 22
	entryBytes    = len(`{"slot":"","jti":"","exp":1234567890},`) + seal.SlotLen + 22
)

// fits refuses a value of n bytes with which the set's text would be over its
// limit. It is told the worst of the two profiles, so that it refuses at most 70
// characters an attribute too early, and never too late. s.mu is held.
func (v *visit) fits(s *Session, rule policy.Rule, n int) error {
	if v == nil {
		return nil
	}
	total, entries := v.room(rule, n), 1
	for name, a := range s.attrs {
		if name != rule.Name {
			other, _ := s.m.cfg.Policy.Rule(name)
			total, entries = total+v.room(other, len(a.value)), entries+1
		}
	}
	subject := 2 * len(s.login.subject) // each of its bytes may be escaped
	total += seal.EnvelopeLen(seal.A256CBCHS512, manifestBytes+subject+len(s.binding)+len(s.m.cfg.Policy.Version())+entries*entryBytes, 0)
	if total > v.st.maxText {
		return fmt.Errorf("%w: a set of %d characters with %s, the limit is %d", ErrTooLarge, total, rule.Name, v.st.maxText)
	}
	return nil
}

// room is what an attribute with a value of n bytes takes of the set's text.
func (v *visit) room(rule policy.Rule, n int) int {
	n += claimsBytes + len(rule.Name) + len(v.st.m.cfg.Policy.Version())
	if rule.Once {
		n += onceBytes
	}
	pad := padding(rule)
	if pad != 0 {
		n += padBytes
	}
	return 1 + seal.SlotLen + seal.EnvelopeLen(seal.A256CBCHS512, n, pad)
}
