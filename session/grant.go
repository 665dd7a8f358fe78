package session

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/sealedblob/sealedblob/policy"
	"github.com/sealedblob/sealedblob/replay"
	"github.com/sealedblob/sealedblob/seal"
)

// IssueGrant seals a right that is in no session, for whoever holds its text: a
// one-time link, the confirmation of an e-mail address. Right must be a once-only
// attribute of m's policy; its TTL and size limit hold, and the grant is spent in
// m's store. Life shortens the TTL; zero leaves it; a part of a second is cut off.
//
// The text is an envelope: [A-Za-z0-9_.-], about 450 characters for a short
// value, safe in a URL. It is a secret until it is spent. A grant can't be called
// back: where it must die with something else, put that into the value (the
// version of the password that a reset link replaces) and compare it when the
// grant is taken.
//
// It returns an error wrapping policy.ErrNotAllowed for a right that can't be
// granted or a life that is not its, [ErrTooLarge], or [ErrUnavailable] if the
// keyring could not be had.
func IssueGrant[T any](ctx context.Context, m *Manager, right policy.OnceAttribute[T], value T, life time.Duration) (string, error) {
	encoded, err := json.Marshal(value)
	if err != nil {
		return "", fmt.Errorf("session: encoding %s: %w", right.Name(), err)
	}
	return m.issueGrant(ctx, right.Name(), encoded, life)
}

func (m *Manager) issueGrant(ctx context.Context, name string, value []byte, life time.Duration) (string, error) {
	if err := grantable(m.cfg.Policy, name); err != nil {
		return "", err
	}
	rule, _ := m.cfg.Policy.Rule(name)
	if life == 0 {
		life = rule.TTL
	}
	switch {
	case life < time.Second || life > rule.TTL:
		return "", fmt.Errorf("%w: a life of %v, want 1s to %v", policy.ErrNotAllowed, life, rule.TTL)
	case !seal.ValidValue(value):
		return "", fmt.Errorf("%w: %s is nested too deeply or has duplicate members", policy.ErrNotAllowed, name)
	case len(value) > rule.MaxBytes:
		return "", fmt.Errorf("%w: %s has %d bytes, its limit is %d", ErrTooLarge, name, len(value), rule.MaxBytes)
	}
	ring, err := m.cfg.Keys.Ring(ctx)
	if err != nil {
		return "", fmt.Errorf("%w: keyring: %w", ErrUnavailable, err)
	}
	now := m.now()
	sealer, err := ring.NewSealer(m.scope, now)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	defer sealer.Wipe()
	end := now.Add(life).Unix()
	return sealer.Grant(&seal.Claims{
		JTI: seal.NewID(), UID: seal.NewID(), Once: true, IssuedAt: now.Unix(), Expires: end, AbsoluteExpires: end,
		Session: seal.NewID(), Name: name, Policy: m.cfg.Policy.Version(), Pad: padding(rule), Value: value,
	})
}

// ReadGrant checks a grant and says what it is good for, without spending it:
// for the page that a link leads to. What it reads may be spent in the next moment.
//
// It refuses, beside what [Verifier.Verify] refuses, a grant of another right.
func ReadGrant[T any](ctx context.Context, m *Manager, right policy.OnceAttribute[T], text string) (value T, err error) {
	ctx, cancel := context.WithTimeout(ctx, m.cfg.StoreTimeout)
	defer cancel()
	out, err := m.grants(right.Name()).Verify(ctx, text, seal.ID{}, m.now())
	if err != nil {
		return value, err
	}
	return grantValue[T](out)
}

// TakeGrant checks a grant and spends it: of all calls with its text, on all
// nodes of the store and whoever makes them, one owner's succeed. Draw owner in
// the server, once for one effect, and repeat a call that ended in an error with
// the same one: it learns whether the first try won. Never let the client choose
// it, and never call this for a GET: links are followed by scanners and previews.
//
// Spender is where to spend: nil is m's store. A [replay.TxSpender] of the caller's
// own transaction makes effect and spending one; without it a crash between
// TakeGrant and the effect leaves the grant spent. It must be of m's store, as in
// [Session.TakeTx].
//
// The errors are those of [ReadGrant], [ErrOtherStore], and replay.ErrReplayed if the grant is
// spent, or replay.ErrNoOwner for the zero owner. Nothing is spent unless all other checks have passed. Any error that
// [Outward] maps to [ErrUnavailable] means that we could not tell.
func TakeGrant[T any](ctx context.Context, m *Manager, right policy.OnceAttribute[T], text string, owner replay.Owner, spender replay.Spender) (value T, err error) {
	defer func() { m.note(ctx, KindGrant, seal.ID{}, right.Name(), err) }()
	if spender == nil {
		spender = m.cfg.Store
	} else if err := m.ours(spender); err != nil {
		return value, err
	}
	ctx, cancel := context.WithTimeout(ctx, m.cfg.StoreTimeout)
	defer cancel()
	v := m.grants(right.Name())
	out, err := v.judge(ctx, text, seal.ID{}, m.now())
	if err != nil {
		return value, err
	}
	if value, err = grantValue[T](out); err != nil { // before it is spent
		return value, err
	}
	if _, err := v.spend(ctx, spender, &out, owner); err != nil {
		var none T
		return none, err
	}
	return value, nil
}

// grants verifies the grants of one right.
func (m *Manager) grants(name string) Verifier {
	return Verifier{Keys: m.cfg.Keys, Policy: m.cfg.Policy, Scope: m.scope, Store: m.cfg.Store, Purpose: seal.ForGrant, Name: name}
}

func grantValue[T any](v Verified) (value T, err error) {
	if err := json.Unmarshal(v.Claims.Value, &value); err != nil {
		var none T
		return none, fmt.Errorf("session: decoding %s: %w", v.Claims.Name, err)
	}
	return value, nil
}

// grantable refuses to grant, or to honour, what is no right, and a right that a
// restore spends: a grant is in no set, so that nothing would.
func grantable(p *policy.Policy, name string) error {
	rule, known := p.Rule(name)
	switch {
	case !known:
		return fmt.Errorf("%w: the policy declares no attribute %q", policy.ErrNotAllowed, name)
	case !rule.Once:
		return fmt.Errorf("%w: %s is not once-only and can't be granted", policy.ErrNotAllowed, name)
	case rule.Burn == policy.BurnOnRestore:
		return fmt.Errorf("%w: %s is burnt by a restore and can't be granted", policy.ErrNotAllowed, name)
	case rule.Binding == policy.BindingKey:
		return fmt.Errorf("%w: %s wants a proof of the session's key and can't be granted", policy.ErrNotAllowed, name)
	}
	return nil
}
