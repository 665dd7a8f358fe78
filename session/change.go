package session

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/sealedblob/sealedblob/policy"
	"github.com/sealedblob/sealedblob/replay"
	"github.com/sealedblob/sealedblob/seal"
)

// Set stores value, encoded as JSON, and marks the attribute dirty: it is
// sealed and pushed when the request ends. It returns an error wrapping
// policy.ErrNotAllowed for a name that the policy does not declare,
// [ErrNoKey], [ErrTooLarge], [ErrTooLate], [ErrEnded] or [ErrMoved]; nothing is
// changed then.
//
// Setting a once-only attribute makes a new right, and first spends the one that
// it replaces, so that no older set brings that back. An attribute whose rule
// says rollback refuse or drop is changed only after the store knows of it, for
// the same reason. Both take one round trip each; [ErrUnavailable] says that the
// store could not tell, and that the session has the attribute as it was; but a
// right that was to be replaced or deleted may be spent then: it can be read, and
// [Session.Take] says replay.ErrReplayed. Repeat the change, which goes through. Values that change together
// belong into one attribute. Not promised: that the client has the change before
// the request ended and its answer to the push came back. Until then a crash
// loses it, and with rollback refuse the session.
//
// An attribute with authority server stays in this node's memory: it is gone when
// the session moves.
func (s *Session) Set(ctx context.Context, name string, value any) error {
	rule, err := s.m.rule(name)
	if err != nil {
		return err
	}
	encoded, err := encode(name, value)
	if err != nil {
		return err
	}
	return s.change(ctx, rule, func([]byte) ([]byte, error) { return encoded, nil })
}

// Delete removes an attribute; it is no error if there is none. It asks the store
// as [Session.Set] does, spends the right that it removes, and has the same errors.
func (s *Session) Delete(ctx context.Context, name string) error {
	rule, err := s.m.rule(name)
	if err != nil {
		return err
	}
	return s.change(ctx, rule, func([]byte) ([]byte, error) { return nil, nil })
}

func (m *Manager) rule(name string) (policy.Rule, error) {
	rule, known := m.cfg.Policy.Rule(name)
	if !known {
		return rule, fmt.Errorf("%w: the policy declares no attribute %.64q", policy.ErrNotAllowed, name)
	}
	return rule, nil
}

// encode returns the JSON of a value that can be sealed.
func encode(name string, value any) ([]byte, error) {
	encoded, err := json.Marshal(value)
	if err != nil {
		return nil, fmt.Errorf("session: encoding %s: %w", name, err)
	}
	if !seal.ValidValue(encoded) {
		return nil, fmt.Errorf("%w: %s is nested too deeply or has duplicate members", policy.ErrNotAllowed, name)
	}
	return encoded, nil
}

// edit makes an attribute's next value of the present one; nil is none.
type edit func(present []byte) (next []byte, err error)

// change is the one way in which an application changes an attribute.
func (s *Session) change(ctx context.Context, rule policy.Rule, e edit) error {
	if !rule.Once && !rule.Protected() {
		s.mu.Lock()
		defer s.mu.Unlock()
		next, err := s.edited(rule, e)
		if err != nil {
			return err
		}
		return s.apply(rule, next)
	}
	if err := s.changing.wait(ctx); err != nil {
		return err
	}
	defer s.changing.done()
	next, n, err := s.prepare(rule, e)
	if err != nil {
		return err
	}
	if err := s.tell(ctx, n); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.changeable(); err != nil {
		return err
	}
	return s.apply(rule, next)
}

// prepare calls e and says what the store must know first. The lock is given back
// whatever e does, as the application's functions may panic.
func (s *Session) prepare(rule policy.Rule, e edit) (next []byte, n notice, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if next, err = s.edited(rule, e); err != nil {
		return nil, n, err
	}
	return next, s.notice(rule, next), nil
}

// edited returns what e makes of the attribute. s.mu is held.
func (s *Session) edited(rule policy.Rule, e edit) (next []byte, err error) {
	if err := s.changeable(); err != nil {
		return nil, err
	}
	a, err := s.live(rule.Name)
	if err != nil && !errors.Is(err, ErrNoAttribute) {
		return nil, err
	}
	var present []byte
	if a != nil {
		present = a.value
	}
	if next, err = e(present); err != nil || next == nil {
		return nil, err
	}
	if rule.Binding == policy.BindingKey && s.key == "" {
		return nil, fmt.Errorf("%w: %s", ErrNoKey, rule.Name)
	}
	return next, s.fits(rule, next)
}

// apply puts next in the attribute's place. s.mu is held.
func (s *Session) apply(rule policy.Rule, next []byte) error {
	if next == nil {
		s.drop(rule.Name)
		return nil
	}
	if err := s.fits(rule, next); err != nil {
		return err // others grew meanwhile
	}
	if err := s.start(); err != nil {
		return err
	}
	s.put(rule, next)
	return nil
}

// notice is what the store must know before a change is seen.
type notice struct {
	at      replay.Place  // with the generation in which the change will be sealed
	spend   *replay.Right // the right that goes, if it ever left this node
	protect bool
}

// notice says what the store must know before next is put in the attribute's
// place. What was never sealed is in no older set. s.mu is held.
func (s *Session) notice(rule policy.Rule, next []byte) (n notice) {
	old := s.attrs[rule.Name]
	if old != nil && old.expired(time.Now()) {
		old = nil
	}
	if old != nil && rule.Once && old.shown {
		r := right(s.m.scope, s.m.cfg.Policy, old.uid, old.issued, old.absolute)
		if old.burnt {
			r.ID = useOf(s.m.scope, old.uid)
		}
		n.spend = &r
	}
	n.protect = rule.Protected() && s.version != (Version{}) && (old != nil || next != nil)
	n.at = s.place(s.version.Gen + 1)
	return n
}

// tell tells the store. Without a notice it is not asked.
func (s *Session) tell(ctx context.Context, n notice) error {
	ctx, cancel := context.WithTimeout(ctx, s.m.cfg.StoreTimeout)
	defer cancel()
	if n.spend != nil {
		if err := s.spend(ctx, n); err != nil {
			return err
		}
	}
	if !n.protect {
		return nil
	}
	if s.visit != nil {
		return s.fence(ctx)
	}
	// Whatever comes of it, the next set must not be below this watermark: that
	// would lock its owner out.
	s.mu.Lock()
	s.replica.dirty = true
	s.mu.Unlock()
	verdict, err := s.m.cfg.Store.Protect(ctx, n.at)
	return s.heed(ctx, verdict, err)
}

// spend makes a right of no use to anybody. It is no matter who spent it.
func (s *Session) spend(ctx context.Context, n notice) error {
	nobody := replay.NewOwner()
	verdict, _, err := s.m.cfg.Store.Take(ctx, n.at, nobody, *n.spend)
	if final(err) { // the right, or the session?
		if _, alone := s.m.cfg.Store.Claim(ctx, nobody, *n.spend); final(alone) {
			return nil // nobody can spend it any more
		}
	}
	return s.heed(ctx, verdict, err)
}

// final says that a store refused for good.
func final(err error) bool {
	return errors.Is(err, replay.ErrBeforeEpoch) || errors.Is(err, replay.ErrBeyondHorizon)
}
