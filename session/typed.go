package session

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/sealedblob/sealedblob/policy"
	"github.com/sealedblob/sealedblob/replay"
)

// ErrNoSession says that the context has no session: it is not of a request within
// [Manager.Middleware] or [Stateless.Middleware], nor of [NewContext].
var ErrNoSession = errors.New("session: no session in this context")

// Get reads an attribute of the context's session. Reading a right does not
// spend it. The errors are those of [Session.Get], and [ErrNoSession]; the value
// is the zero value then.
func Get[T any](ctx context.Context, a policy.Typed[T]) (value T, err error) {
	s, err := inContext(ctx)
	if err != nil {
		return value, err
	}
	if err := s.Get(a.Name(), &value); err != nil {
		var none T
		return none, err
	}
	return value, nil
}

// Set stores an attribute in the context's session, as [Session.Set] does and
// with its errors, and [ErrNoSession].
func Set[T any](ctx context.Context, a policy.Typed[T], value T) error {
	s, err := inContext(ctx)
	if err != nil {
		return err
	}
	return s.Set(ctx, a.Name(), value)
}

// Delete removes an attribute from the context's session, as [Session.Delete]
// does and with its errors, and [ErrNoSession].
func Delete[T any](ctx context.Context, a policy.Typed[T]) error {
	s, err := inContext(ctx)
	if err != nil {
		return err
	}
	return s.Delete(ctx, a.Name())
}

// Update changes an attribute of the context's session in one step: change gets
// the present value, or the zero value if there is none at this time, and returns
// the new one. It is called under the session's lock: it must not use the session
// and must not wait for anything. An error of change leaves the attribute as it
// was and is returned; if it panics, the attribute is as it was too. Otherwise the errors are those of [Session.Set], and
// [ErrNoSession].
func Update[T any](ctx context.Context, a policy.Attribute[T], change func(T) (T, error)) error {
	s, err := inContext(ctx)
	if err != nil {
		return err
	}
	rule, err := s.m.rule(a.Name())
	if err != nil {
		return err
	}
	return s.change(ctx, rule, func(present []byte) ([]byte, error) {
		var value T
		if present != nil {
			if err := json.Unmarshal(present, &value); err != nil {
				return nil, fmt.Errorf("session: decoding %s: %w", rule.Name, err)
			}
		}
		value, err := change(value)
		if err != nil {
			return nil, err
		}
		return encode(rule.Name, value)
	})
}

// Take spends a right of the context's session, as [Session.Take] does and with
// its errors, and [ErrNoSession]; the value is the zero value then.
func Take[T any](ctx context.Context, a policy.OnceAttribute[T], owner replay.Owner) (value T, err error) {
	s, err := inContext(ctx)
	if err != nil {
		return value, err
	}
	if err := s.Take(ctx, a.Name(), owner, &value); err != nil {
		var none T
		return none, err
	}
	return value, nil
}

// TakeTx spends a right of the context's session in a transaction of the
// caller's own, as [Session.TakeTx] does and with its errors, and [ErrNoSession];
// the value is the zero value then.
func TakeTx[T any](ctx context.Context, spender replay.Spender, a policy.OnceAttribute[T], owner replay.Owner) (value T, outcome replay.Outcome, err error) {
	s, err := inContext(ctx)
	if err != nil {
		return value, replay.Lost, err
	}
	if outcome, err = s.TakeTx(ctx, spender, a.Name(), owner, &value); err != nil {
		var none T
		return none, outcome, err
	}
	return value, outcome, nil
}

func inContext(ctx context.Context) (*Session, error) {
	if s := FromContext(ctx); s != nil {
		return s, nil
	}
	return nil, ErrNoSession
}
