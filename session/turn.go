package session

import (
	"context"
	"fmt"
)

// turn lets one caller at a time through; the others give up with their context,
// which a mutex would not let them.
type turn chan struct{}

func newTurn() turn { return make(turn, 1) }

// wait takes the turn; the error is [ErrUnavailable].
func (t turn) wait(ctx context.Context) error {
	select {
	case t <- struct{}{}:
		return nil
	default:
	}
	select {
	case t <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", ErrUnavailable, ctx.Err())
	}
}

func (t turn) done() { <-t }
