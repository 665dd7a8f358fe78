package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/sealedblob/sealedblob/policy"
	"github.com/sealedblob/sealedblob/seal"
	"github.com/sealedblob/sealedblob/session"
)

// kit is what our own systems work with.
type kit struct {
	ring   *seal.Ring
	policy *policy.Policy
	scope  seal.Scope
	names  []string // of the attributes
}

const (
	attributes  = 10
	maxEnvelope = 128 << 10 // room for 64 KiB, which no attribute may have
)

func newKit() (*kit, error) {
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	ring, err := seal.InitRing(dir, seal.A256GCM, time.Now())
	if err != nil {
		return nil, err
	}
	k := &kit{ring: ring.WithMaxEnvelope(maxEnvelope), scope: seal.Scope{App: "shop"}}
	var rules []policy.Declaration
	for i := range attributes {
		k.names = append(k.names, fmt.Sprintf("cart.%d", i))
		rules = append(rules, policy.Rule{Name: k.names[i], TTL: lifetime, MaxBytes: policy.MaxValueBytes})
	}
	k.policy, err = policy.New(1, policy.SessionRule{Idle: lifetime, Absolute: 12 * time.Hour}, rules...)
	return k, err
}

// sealer is a sealer that is replaced when its derived key is used up.
type sealer struct {
	ring  *seal.Ring
	scope seal.Scope
	*seal.Sealer
}

func (s *sealer) renew() (err error) {
	s.Sealer, err = s.ring.NewSealer(s.scope, time.Now())
	return err
}

func (k *kit) sealer() (*sealer, error) {
	s := &sealer{ring: k.ring, scope: k.scope}
	return s, s.renew()
}

// envelope is the bare envelope: no claims, no padding, buffers used again.
func (k *kit) envelope() (system, error) {
	s, err := k.sealer()
	if err != nil {
		return system{}, err
	}
	opener := k.ring.NewOpener(k.scope, time.Now())
	text := make([]byte, 0, 2*maxEnvelope)
	plain := make([]byte, 0, maxEnvelope)
	sealIt := func(in []byte) ([]byte, error) {
		out, err := s.AppendSeal(text, seal.ForAttribute, in)
		if errors.Is(err, seal.ErrExhausted) {
			if err = s.renew(); err == nil {
				out, err = s.AppendSeal(text, seal.ForAttribute, in)
			}
		}
		return out, err
	}
	open := func(in string) ([]byte, error) { return opener.AppendOpen(plain, seal.ForAttribute, in) }
	return entry("envelope", false, sealIt, open), nil
}

// claims are those that a session gives an attribute.
func (k *kit) claims(sid seal.ID, name string, value []byte) seal.Claims {
	now := time.Now().Unix()
	return seal.Claims{
		JTI: seal.NewID(), IssuedAt: now, Expires: now + int64(lifetime/time.Second), Session: sid, Gen: 1,
		Name: name, Policy: k.policy.Version(), Value: value,
	}
}

// judge asks today's policy, as a restore does.
func (k *kit) judge(c *seal.Claims, now time.Time) error {
	d := k.policy.Judge(policy.Facts{
		Now: now, Name: c.Name, IssuedAt: time.Unix(c.IssuedAt, 0), Expires: time.Unix(c.Expires, 0),
		Once: c.Once, Bytes: len(c.Value),
	})
	if d.Verdict != policy.AcceptAttribute {
		return d.Err()
	}
	return nil
}

// attributeSeal seals a whole attribute: a fresh jti, claims, padding; the buffer
// is used again.
func (k *kit) attributeSeal() (func([]byte) ([]byte, error), error) {
	s, err := k.sealer()
	if err != nil {
		return nil, err
	}
	sid, room := seal.NewID(), make([]byte, 0, 2*seal.MaxEnvelope)
	return func(plain []byte) ([]byte, error) {
		c := k.claims(sid, k.names[0], plain)
		text, err := s.AppendAttribute(room, &c)
		if errors.Is(err, seal.ErrExhausted) {
			if err = s.renew(); err == nil {
				text, err = s.AppendAttribute(room, &c)
			}
		}
		return text, err
	}, nil
}

// attribute opens with an opener that has seen the session's salt before, as
// it has for all but the first of a set; buffers are used again.
func (k *kit) attribute() (system, error) {
	sealIt, err := k.attributeSeal()
	if err != nil {
		return system{}, err
	}
	opener, room := k.ring.NewOpener(k.scope, time.Now()), make([]byte, 0, seal.MaxEnvelope)
	var c seal.Claims
	open := func(text string) ([]byte, error) {
		if _, _, err := opener.AppendAttribute(room, &c, text); err != nil {
			return nil, err
		}
		return c.Value, k.judge(&c, time.Now())
	}
	return entry("attribute", true, sealIt, open), nil
}

// verifier opens a single envelope with nothing prepared: the shape is checked
// in full and the keys are derived each time.
func (k *kit) verifier() (system, error) {
	sealIt, err := k.attributeSeal()
	if err != nil {
		return system{}, err
	}
	v := session.Verifier{Keys: k.ring, Policy: k.policy, Scope: k.scope}
	open := func(text string) ([]byte, error) {
		out, err := v.Verify(context.Background(), text, seal.ID{}, time.Now())
		if err != nil {
			return nil, err
		}
		return out.Claims.Value, nil
	}
	return entry("attribute-cold", true, sealIt, open), nil
}
