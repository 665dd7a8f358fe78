package session

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/sealedblob/sealedblob/policy"
	"github.com/sealedblob/sealedblob/seal"
)

// attribute is one value and the life it was given.
type attribute struct {
	value    []byte // JSON
	uid      seal.ID
	issued   time.Time
	expires  time.Time
	absolute time.Time     // zero: none
	grace    time.Duration // leeway for another node's clock, which set the times
	dirty    bool          // differs from what is sealed
	slot     string        // where it is sealed; empty: never was
	jti      seal.ID
	shown    bool // it is in a set that a client was given
	local    bool // it is never sealed
	burnt    bool // the restore that brought it spent the right: its use is another
	former   bool // bound to the key of before the last renewal
}

func (a *attribute) expired(now time.Time) bool { return !now.Before(a.expires.Add(a.grace)) }

// Get decodes the attribute's JSON value into the pointer into and counts as
// a use of the session, not of a right: only [Session.Take] spends. It returns
// [ErrNoAttribute] if there is none at this time, [ErrEnded] or [ErrMoved] if the
// session is over here.
func (s *Session) Get(name string, into any) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	a, err := s.live(name)
	if err != nil {
		return err
	}
	s.extendIdle(name, a)
	return json.Unmarshal(a.value, into)
}

// live finds an attribute that is there at this time. s.mu is held.
func (s *Session) live(name string) (*attribute, error) {
	if s.ended != nil {
		return nil, s.ended
	}
	a := s.attrs[name]
	if a == nil || a.expired(time.Now()) {
		return nil, fmt.Errorf("%w: %s", ErrNoAttribute, name)
	}
	return a, nil
}

// Info describes an attribute without its value.
type Info struct {
	Name            string
	Issued, Expires time.Time // when it was set, and when it ends unless it is used or set again
	Once            bool      // it is a right
	Bytes           int       // of its value, encoded as JSON
}

// Attributes lists the attributes that are there at this time, by name.
func (s *Session) Attributes() []Info {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []Info
	for name, a := range s.attrs {
		if !a.expired(time.Now()) && s.ended == nil {
			out = append(out, Info{name, a.issued, a.expires, a.uid != seal.ID{}, len(a.value)})
		}
	}
	slices.SortFunc(out, func(a, b Info) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	return out
}

// put replaces the value; the slot stays, and so does absolute expiry.
func (s *Session) put(rule policy.Rule, encoded []byte) {
	now := s.m.now()
	local := rule.Authority == policy.AuthorityServer
	a := &attribute{value: encoded, issued: now, expires: s.absolute, dirty: !local, local: local}
	if old := s.attrs[rule.Name]; old != nil {
		a.slot = old.slot
		if !old.expired(now) {
			a.absolute = old.absolute
		}
	}
	if rule.TTL > 0 {
		a.expires = earlier(a.expires, now.Add(rule.TTL))
	}
	if rule.Idle > 0 {
		a.expires = earlier(a.expires, now.Add(rule.Idle))
	}
	switch {
	case rule.Once:
		a.uid, a.absolute = seal.NewID(), a.expires
	case rule.Absolute > 0 && a.absolute.IsZero():
		a.absolute = now.Add(rule.Absolute)
	}
	if !a.absolute.IsZero() {
		a.expires = earlier(a.expires, a.absolute)
	}
	s.attrs[rule.Name] = a
}

// extendIdle moves the end of an attribute with an idle limit, in steps of a
// quarter of it, so that reading does not seal at each request.
func (s *Session) extendIdle(name string, a *attribute) {
	rule, _ := s.m.cfg.Policy.Rule(name)
	if rule.Idle == 0 {
		return
	}
	end := earlier(s.absolute, s.m.now().Add(rule.Idle))
	if rule.TTL > 0 {
		end = earlier(end, a.issued.Add(rule.TTL))
	}
	if !a.absolute.IsZero() {
		end = earlier(end, a.absolute)
	}
	if end.Sub(a.expires) >= rule.Idle/4 {
		a.expires, a.dirty = end, !a.local
	}
}

// fits checks the policy's size limits, and that of a set's text, with encoded in
// place.
func (s *Session) fits(rule policy.Rule, encoded []byte) error {
	total, count := len(encoded), 1
	for name, a := range s.attrs {
		if name != rule.Name {
			total, count = total+len(a.value), count+1
		}
	}
	limits := s.m.cfg.Policy.Session()
	switch {
	case len(encoded) > rule.MaxBytes:
		return fmt.Errorf("%w: %s has %d bytes, its limit is %d", ErrTooLarge, rule.Name, len(encoded), rule.MaxBytes)
	case count > limits.MaxAttributes:
		return fmt.Errorf("%w: %d attributes, the limit is %d", ErrTooLarge, count, limits.MaxAttributes)
	case total > limits.MaxBytes:
		return fmt.Errorf("%w: %d bytes in all, the limit is %d", ErrTooLarge, total, limits.MaxBytes)
	}
	return s.sealedFits(rule, len(encoded))
}

// drop removes an attribute and remembers the slot for the next push.
func (s *Session) drop(name string) {
	if a := s.attrs[name]; a != nil {
		delete(s.attrs, name)
		if !a.local {
			s.replica.gone(a.slot)
		}
	}
}
