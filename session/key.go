package session

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/sealedblob/sealedblob/policy"
	"github.com/sealedblob/sealedblob/seal"
)

// ErrNoKey says that an attribute's rule binds it to the session's key, and that
// no client has registered one yet: it does when it next shakes hands or restores.
var ErrNoKey = errors.New("session: no key is registered")

// beforeKey stands in a manifest's binding between what the cookie and what the
// key's thumbprint is compared with.
const beforeKey = ":k:"

func joinBinding(holder, key string) string {
	if key == "" {
		return holder
	}
	return holder + beforeKey + key
}

func splitBinding(binding string) (holder, key string) {
	holder, key, _ = strings.Cut(binding, beforeKey)
	return holder, key
}

// Key is the thumbprint of the public key that the session is bound to (RFC 7638
// with SHA-256, 43 characters of base64url); empty if there is none. A client
// registers one if the policy binds an attribute to it, and it stays until the session
// is renewed ([Session.Login], [Session.Renew]). Then the next one that is proved takes its
// place: the former may be of whoever planted the session. If it is another, attributes
// that are bound to a key and were set before the renewal are dropped.
func (s *Session) Key() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.key
}

// bind binds the session to a key that its client proved, if it has none yet or
// nobody proved it since the last renewal.
func (s *Session) bind(key string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.ended != nil:
		return s.ended
	case s.key != key && s.key != "" && !s.formerKey:
		return errOtherKey
	case s.key != key:
		s.exchangeKey(key)
	}
	s.formerKey = false
	return nil
}

// exchangeKey puts a key in the place of the former one, or of none. What is sealed
// does not name it: no client has a set of it, as each would have had to prove a key,
// and none gets one. s.mu is held.
func (s *Session) exchangeKey(key string) {
	if s.key != "" {
		for name, a := range s.attrs {
			if a.former {
				s.drop(name)
			}
		}
	}
	s.key = key
	s.replica.manifest, s.replica.dirty, s.replica.full = "", true, true
}

var errOtherKey = fmt.Errorf("%w: the proof is of another key than the session's", policy.ErrBinding)

// prove checks the proof of the key that the manifest names, whatever today's
// policy says. Who is not even the holder gets no challenge: the policy refuses.
func (set *verified) prove(m *Manager, ring *seal.Ring, p Presented) error {
	holder, key := splitBinding(set.manifest.Binding)
	if key == "" || !p.Holder.holds(holder) {
		return nil
	}
	proved, err := m.proven(ring, set.now, set.manifest.Session, p.Proof, about(text64(p.Attempt[:]), p.Manifest))
	if err == nil && proved != key {
		err = errOtherKey
	}
	if err == nil {
		set.key = key
	}
	return err
}

// connectable finds the session that lives here for a client that brings no set,
// or a bad one. If sets are bound to a key the client must prove it, for from
// then on it gets them; the first key that is proved becomes the session's.
func (m *Manager) connectable(ctx context.Context, h Holder, request WireRequest) (*Session, error) {
	s, _ := m.Live(h)
	if s == nil || s.Key() == "" && !m.cfg.Policy.NeedsKey() {
		return s, nil
	}
	if request.V != WireVersion {
		return nil, fmt.Errorf("%w: the request is not of version 1", seal.ErrMalformed)
	}
	ring, err := m.cfg.Keys.Ring(ctx)
	if err != nil {
		return nil, fmt.Errorf("%w: keyring: %w", ErrUnavailable, err)
	}
	key, err := m.proven(ring, m.now(), s.id, request.Proof, about(request.Attempt, request.Manifest))
	if err != nil {
		return nil, err
	}
	if err := s.bind(key); err != nil {
		return nil, err
	}
	return s, nil
}

// retry is the answer to what could not be told, with a challenge if that is
// what is missing.
func (m *Manager) retry(ctx context.Context, h Holder, why error) WireReply {
	reply := WireReply{V: WireVersion, State: StateRetry}
	if !errors.Is(why, ErrProofRequired) {
		return reply
	}
	ring, err := m.cfg.Keys.Ring(ctx)
	if err == nil {
		reply.Challenge, err = ring.Challenge(m.scope, h.Session, m.now())
	}
	if err != nil {
		m.log.Error("no challenge", "error", err)
	}
	return reply
}
