package bayeux

import (
	"context"
	"errors"
	"strings"
	"time"
)

var errDeleted = errors.New("bayeux: message deleted by an extension")

// link is one way to the server. Everything that comes is passed to
// Client.receive in order, replies included.
type link interface {
	kind() string
	// exchange sends a batch and returns when every message of it is answered:
	// replies[i] belongs to msgs[i].
	exchange(ctx context.Context, msgs []*Message) (replies []*Message, err error)
	// alive is false when only a new link can help.
	alive() bool
	close()
}

// send sends msgs together and returns, for each, the server's refusal or what
// else failed.
func (c *Client) send(ctx context.Context, msgs []*Message) []error {
	errs := make([]error, len(msgs))
	all := make([]int, len(msgs))
	for i := range all {
		all[i] = i
	}
	used := c.sendOnce(ctx, msgs, all, errs)
	if again := those(errs, notSent); len(again) > 0 {
		used = c.sendOnce(ctx, msgs, again, errs)
	}
	if again := those(errs, unknownSession); len(again) > 0 && c.awaitNewSession(ctx, used) {
		c.sendOnce(ctx, msgs, again, errs)
	}
	return errs
}

// those returns the indexes of the errors that match.
func those(errs []error, match func(error) bool) (list []int) {
	for i, err := range errs {
		if match(err) {
			list = append(list, i)
		}
	}
	return list
}

// sendOnce sends the messages of list and sets their errors. It returns the
// clientId they went under.
func (c *Client) sendOnce(ctx context.Context, msgs []*Message, list []int, errs []error) (usedID string) {
	l, id, err := c.ready(ctx)
	var out []*Message
	var sent []int
	for _, i := range list {
		if errs[i] = err; err != nil {
			continue
		}
		m := msgs[i].shallowClone() // extensions may change it, and see it again
		m.ClientID, m.ID = id, c.newID()
		if !c.extendOutgoing(m) {
			errs[i] = errDeleted
			continue
		}
		out, sent = append(out, m), append(sent, i)
	}
	if len(out) == 0 {
		return id
	}
	ctx, cancel := context.WithTimeout(ctx, c.cfg.RequestTimeout)
	defer cancel()
	replies, err := l.exchange(ctx, out)
	if err != nil && c.life.Err() != nil {
		err = ErrClosed
	}
	for n, i := range sent {
		switch {
		case err != nil:
			errs[i] = err
		case replies[n].failed():
			errs[i] = refusal(replies[n])
		}
	}
	return id
}

// exchange runs the extensions over msgs, and sends them unless one is deleted.
func (c *Client) exchange(ctx context.Context, l link, msgs []*Message) ([]*Message, error) {
	for _, m := range msgs {
		if !c.extendOutgoing(m) {
			return nil, errDeleted
		}
	}
	return l.exchange(ctx, msgs)
}

// ready waits for a connected link, as long as ctx and RequestTimeout allow.
func (c *Client) ready(ctx context.Context) (link, string, error) {
	var l link
	var id string
	err := c.await(ctx, func() bool {
		l, id = c.link, c.id
		return c.state == StateConnected && l != nil && l.alive()
	})
	return l, id, err
}

// awaitNewSession waits until the session is another than old.
func (c *Client) awaitNewSession(ctx context.Context, old string) bool {
	return c.await(ctx, func() bool { return c.state == StateConnected && c.id != old }) == nil
}

// await waits until cond, called with c.mu held, is true.
func (c *Client) await(ctx context.Context, cond func() bool) error {
	var timeout <-chan time.Time
	for {
		c.mu.Lock()
		if c.closing || c.state == StateClosed {
			cause := c.cause
			c.mu.Unlock()
			return closedError(cause)
		}
		if cond() {
			c.mu.Unlock()
			return nil
		}
		idle, changed := c.state == StateIdle, c.changed
		c.mu.Unlock()
		if idle {
			return ErrNotConnected
		}
		if timeout == nil {
			t := time.NewTimer(c.cfg.RequestTimeout)
			defer t.Stop()
			timeout = t.C
		}
		select {
		case <-changed:
		case <-timeout:
			return ErrNotConnected
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// closedError is ErrClosed, with the server's refusal if that was the reason.
func closedError(cause error) error {
	if cause == nil || errors.Is(cause, ErrClosed) {
		return ErrClosed
	}
	return errors.Join(ErrClosed, cause)
}

func notSent(err error) bool { return errors.Is(err, errNotSent) }

// unknownSession recognises CometD's 402 and Faye's 401 "unknown client". Only
// calls use it, to decide on a second try; the loop goes by advice.
func unknownSession(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && (e.Code() == 402 && strings.Contains(e.Text, "unknown") || e.Code() == 401)
}
