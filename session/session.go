package session

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/sealedblob/sealedblob/policy"
	"github.com/sealedblob/sealedblob/replay"
	"github.com/sealedblob/sealedblob/seal"
)

// Session is one user's state on this node. It is safe for concurrent use.
type Session struct {
	m        *Manager
	id       seal.ID
	holder   Holder // its Fence is not used; see Version
	binding  string
	absolute time.Time // axp: never moves

	taking chan struct{}         // holds a token while a Take is under way
	unsure map[string]*attribute // rights of which a Take could not tell; guarded by taking

	mu      sync.Mutex
	begin   func() error // non-nil until the session exists outside this request
	ended   error        // why it is no longer usable here
	subject string
	since   int64 // when subject logged in, in Unix seconds; 0 without one
	version Version
	used    time.Time
	attrs   map[string]*attribute
	replica replica
	clients map[Client]*Version // what each connected client holds; nil: nothing known
	stored  Version             // the floor that the store knows
	checked time.Time           // when the store last said that the session lives here
	alone   time.Time           // when the last client left
	kept    Version             // what the last client that left held
	leaving departure
}

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
}

func (a *attribute) expired(now time.Time) bool { return !now.Before(a.expires.Add(a.grace)) }

// newSession makes a session that nobody knows yet; begin is called, under the
// session's lock, when its first attribute is set.
func (m *Manager) newSession(begin func(*Session) error) *Session {
	now := m.now()
	s := &Session{
		m: m, taking: make(chan struct{}, 1), unsure: map[string]*attribute{}, holder: newHolder(), absolute: now.Add(m.cfg.Policy.Session().Absolute),
		used: now, checked: now, attrs: map[string]*attribute{}, clients: map[Client]*Version{},
	}
	s.id, s.binding = s.holder.Session, s.holder.binding()
	s.begin = func() error { return begin(s) }
	return s
}

// Start makes a session outside HTTP, for programs that carry the holder's
// cookie themselves. Within a request use [FromContext].
func (m *Manager) Start() (*Session, error) {
	s := m.newSession(func(*Session) error { return nil })
	s.begin = nil
	return s, m.add(s)
}

// ID is the session's identifier. It is no secret, but it is personal data.
func (s *Session) ID() seal.ID { return s.id }

// Holder returns what the session cookie proves, at the present fence.
func (s *Session) Holder() Holder {
	h := s.holder
	h.Fence = s.Version().Fence
	return h
}

// Version is the fence and generation of the newest sealed set.
func (s *Session) Version() Version {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.version
}

// Expires is when the session ends whatever its use.
func (s *Session) Expires() time.Time { return s.absolute }

// Err is nil while the session can be used here, and then [ErrEnded] or
// [ErrMoved].
func (s *Session) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ended
}

// Subject is who is logged in; empty if nobody is.
func (s *Session) Subject() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.subject
}

// Get decodes the attribute's JSON value into the pointer into and counts as
// a use. It returns [ErrNoAttribute] if there is none at this time, [ErrEnded]
// or [ErrMoved] if the session is over here.
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

// Set stores value, encoded as JSON, and marks the attribute dirty: it is
// sealed and pushed when the request ends. Setting a once-only attribute makes
// a new right. It returns an error wrapping policy.ErrNotAllowed for a name
// that the policy does not declare, [ErrTooLarge], [ErrTooLate], [ErrEnded]
// or [ErrMoved]; nothing is changed then.
func (s *Session) Set(name string, value any) error {
	rule, known := s.m.cfg.Policy.Rule(name)
	if !known {
		return fmt.Errorf("%w: the policy declares no attribute %q", policy.ErrNotAllowed, name)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.set(rule, value)
}

// set is Set for a declared name. s.mu is held.
func (s *Session) set(rule policy.Rule, value any) error {
	if s.ended != nil {
		return s.ended
	}
	encoded, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("session: encoding %s: %w", rule.Name, err)
	}
	if !seal.ValidValue(encoded) {
		return fmt.Errorf("%w: %s is nested too deeply or has duplicate members", policy.ErrNotAllowed, rule.Name)
	}
	if err := s.fits(rule, encoded); err != nil {
		return err
	}
	if err := s.start(); err != nil {
		return err
	}
	s.put(rule, encoded)
	return nil
}

// start makes the session known outside its first request. s.mu is held.
func (s *Session) start() error {
	if s.begin == nil {
		return nil
	}
	if err := s.begin(); err != nil {
		return err
	}
	s.begin = nil
	return nil
}

// put replaces the value; the slot stays, and so does absolute expiry.
func (s *Session) put(rule policy.Rule, encoded []byte) {
	now := s.m.now()
	a := &attribute{value: encoded, issued: now, expires: s.absolute, dirty: true}
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
		a.expires, a.dirty = end, true
	}
}

// fits checks the policy's size limits with encoded in place.
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
	return nil
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

// Update changes an attribute in one step: change gets the present value, or
// the zero value if there is none at this time, and returns the new one. It is
// called under the session's lock: it must not use the session and must not
// wait for anything. An error of
// change leaves the attribute as it was and is returned. Otherwise the errors
// are those of [Session.Get] and [Session.Set].
func Update[T any](s *Session, name string, change func(T) (T, error)) error {
	rule, known := s.m.cfg.Policy.Rule(name)
	if !known {
		return fmt.Errorf("%w: the policy declares no attribute %q", policy.ErrNotAllowed, name)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var value T
	if a, err := s.live(name); err == nil {
		if err := json.Unmarshal(a.value, &value); err != nil {
			return fmt.Errorf("session: decoding %s: %w", name, err)
		}
	} else if !errors.Is(err, ErrNoAttribute) {
		return err
	}
	value, err := change(value)
	if err != nil {
		return err
	}
	return s.set(rule, value)
}

// Delete removes an attribute; it is no error if there is none.
func (s *Session) Delete(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drop(name)
}

// drop removes an attribute and remembers the slot for the next push.
func (s *Session) drop(name string) {
	if a := s.attrs[name]; a != nil {
		delete(s.attrs, name)
		s.replica.gone(a.slot)
	}
}

// SetSubject says who is logged in. It is sealed into the manifest, so that
// all sessions of a subject can be ended.
func (s *Session) SetSubject(subject string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended != nil {
		return s.ended
	}
	if !seal.ValidSubject(subject) {
		return fmt.Errorf("%w: a subject has at most %d bytes of UTF-8 without control characters", policy.ErrNotAllowed, seal.MaxSubject)
	}
	if err := s.start(); err != nil {
		return err
	}
	if s.subject != subject {
		s.subject, s.since, s.replica.dirty = subject, 0, true
		if subject != "" {
			s.since = s.m.now().Unix()
		}
	}
	return nil
}

// Info describes an attribute without its value.
type Info struct {
	Name            string
	Issued, Expires time.Time
	Once            bool
	Bytes           int
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

// Take spends a once-only attribute and decodes its value into the pointer
// into, whose content is undefined after an error. The right is claimed in the
// store before Take returns: of all calls with its uid, on all nodes and whoever
// makes them, at most one succeeds. Repeat a Take that returned
// [ErrUnavailable] with the same owner: it learns whether the first try won.
// This is at most once: if the node dies between the claim and the effect, the
// right is spent without one, and no owner gets it again.
//
// It returns an error wrapping [replay.ErrReplayed] if the right is spent,
// [ErrNoAttribute] if there is none at this time, [ErrMoved] if the session
// lives elsewhere, [ErrEnded], or [ErrUnavailable] if the store could not tell.
func (s *Session) Take(ctx context.Context, name string, owner replay.Owner, into any) error {
	select { // one at a time: who loses in the store must not take the winner's value away
	case s.taking <- struct{}{}:
		defer func() { <-s.taking }()
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", ErrUnavailable, ctx.Err())
	}
	right, fence, err := s.ownRight(name, into)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, s.m.cfg.StoreTimeout)
	defer cancel()
	verdict, outcome, err := s.m.cfg.Store.Take(ctx, s.place(fence), owner, right.Right)
	switch {
	case err != nil:
		s.unsure[name] = right.of // the store may have noted the owner: keep the value for his repetition
		return fmt.Errorf("%w: %w", Outward(err), err)
	case verdict == replay.Revoked:
		s.m.remove(s, ErrEnded)
		return ErrEnded
	case verdict != replay.Granted:
		s.m.passivate(s)
		return ErrMoved
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if a := s.attrs[name]; a != nil && a.uid == right.of.uid {
		s.drop(name)
	}
	if !outcome.Granted() {
		return fmt.Errorf("%w: %s", replay.ErrReplayed, name)
	}
	delete(s.unsure, name)
	return nil
}

// place is the session as it is here, under fence.
func (s *Session) place(fence uint64) replay.Place {
	return replay.Place{Session: s.m.sessionKey(s.id), Version: Version{Fence: fence}, KeepUntil: s.m.keepUntil(s.absolute)}
}

// ownRight is a right and the attribute that it is of.
type ownRight struct {
	replay.Right
	of *attribute
}

func (s *Session) ownRight(name string, into any) (ownRight, uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a, err := s.live(name)
	if doubt := s.unsure[name]; errors.Is(err, ErrNoAttribute) && doubt != nil && !doubt.expired(time.Now()) {
		a, err = doubt, nil // gone from the session, but perhaps this owner's
	}
	if err != nil {
		return ownRight{}, 0, err
	}
	if a.uid == (seal.ID{}) {
		return ownRight{}, 0, fmt.Errorf("%w: %s is not once-only", policy.ErrNotAllowed, name)
	}
	if err := json.Unmarshal(a.value, into); err != nil {
		return ownRight{}, 0, fmt.Errorf("session: decoding %s: %w", name, err)
	}
	return ownRight{right(s.m.scope, s.m.cfg.Policy, a.uid, a.issued, a.absolute), a}, s.version.Fence, nil
}

// Logout ends the session everywhere: when it returns nil, no set of the
// session restores on any node. If the store could not tell, it returns
// [ErrUnavailable] and the session goes on. With replay.None only the copy on
// this node ends, and its sets restore until they expire.
func (s *Session) Logout(ctx context.Context) error {
	if s.unborn() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, s.m.cfg.StoreTimeout)
	defer cancel()
	err := s.m.cfg.Store.Revoke(ctx, s.m.sessionKey(s.id), s.m.keepUntil(s.absolute))
	if err != nil && !errors.Is(err, replay.ErrNoStore) {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	s.m.remove(s, ErrEnded)
	return nil
}

// unborn reports that nobody but this request knows the session.
func (s *Session) unborn() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.begin != nil
}

// kill makes the session unusable here and tells its clients if it has ended.
func (s *Session) kill(why error) {
	s.mu.Lock()
	if s.ended != nil {
		s.mu.Unlock()
		return
	}
	tell := s.end(why)
	s.mu.Unlock()
	tell()
}

// end makes a usable session unusable here. s.mu is held; tell, which informs
// its clients, is for when it is not.
func (s *Session) end(why error) (tell func()) {
	s.ended = why
	s.replica.wipe()
	clients := s.clients
	s.clients = map[Client]*Version{}
	end := Push{Version: s.version, End: true}
	return func() {
		for c := range clients {
			if errors.Is(why, ErrEnded) {
				c.Push(end)
			}
			c.Detached()
		}
	}
}

// over reports that the session is no longer to be used: it ended, its time is
// up, or something that its policy requires has expired.
func (s *Session) over(now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.isOver(now)
}

// isOver is over; s.mu is held.
func (s *Session) isOver(now time.Time) bool {
	if s.ended != nil || !now.Before(s.absolute) || !now.Before(s.used.Add(s.m.cfg.Policy.Session().Idle)) {
		return true
	}
	for name, a := range s.attrs {
		if rule, _ := s.m.cfg.Policy.Rule(name); rule.Required && a.expired(now) {
			return true
		}
	}
	return false
}

// touch counts as a use of the session.
func (s *Session) touch() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.used = s.m.now()
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}
