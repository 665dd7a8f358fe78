package bayeux

import (
	"context"
	"errors"
	"strings"
	"time"
)

// maxClientBatch is what the client puts into one request at most: half of what
// servers of this package take by default.
const maxClientBatch = 500

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

// call sends m and returns the server's refusal, if any. In a batch it only
// queues m.
func (c *Client) call(ctx context.Context, m *Message, refused func()) error {
	c.mu.Lock()
	if c.batching > 0 {
		c.batched = append(c.batched, batched{m, refused})
		c.mu.Unlock()
		return nil
	}
	c.mu.Unlock()
	used, err := c.callOnce(ctx, m.shallowClone())
	if errors.Is(err, errNotSent) {
		used, err = c.callOnce(ctx, m.shallowClone())
	}
	var no *Error
	if errors.As(err, &no) && unknownSession(no) && c.awaitNewSession(ctx, used) {
		_, err = c.callOnce(ctx, m.shallowClone())
	}
	return err
}

func (c *Client) callOnce(ctx context.Context, m *Message) (usedID string, err error) {
	l, id, err := c.ready(ctx)
	if err != nil {
		return "", err
	}
	m.ClientID, m.ID = id, c.newID()
	ctx, cancel := context.WithTimeout(ctx, c.cfg.RequestTimeout)
	defer cancel()
	replies, err := c.exchange(ctx, l, []*Message{m})
	if err != nil {
		if c.life.Err() != nil {
			err = ErrClosed
		}
		return id, err
	}
	if replies[0].failed() {
		return id, refusal(replies[0])
	}
	return id, nil
}

func (c *Client) sendBatch(list []batched) {
	for len(list) > 0 {
		n := min(len(list), maxClientBatch)
		if err := c.sendSome(list[:n]); err != nil {
			c.cfg.Logger.Warn("bayeux: batch not sent", "messages", len(list), "error", err)
			return
		}
		list = list[n:]
	}
}

func (c *Client) sendSome(list []batched) error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*c.cfg.RequestTimeout)
	defer cancel()
	l, id, err := c.ready(ctx)
	if err != nil {
		return err
	}
	msgs := make([]*Message, len(list))
	for i, b := range list {
		msgs[i] = b.m
		b.m.ClientID, b.m.ID = id, c.newID()
	}
	ctx, stop := context.WithTimeout(ctx, c.cfg.RequestTimeout)
	defer stop()
	replies, err := c.exchange(ctx, l, msgs)
	if err != nil {
		return err
	}
	for i, r := range replies {
		if !r.failed() {
			continue
		}
		c.cfg.Logger.Warn("bayeux: refused in a batch", "error", refusal(r))
		if list[i].refused != nil {
			list[i].refused()
		}
	}
	return nil
}

// exchange runs the extensions over a copy of msgs and sends what they leave.
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

// unknownSession recognises CometD's 402 and Faye's 401 "unknown client". Only
// calls use it, to decide on a second try; the loop goes by advice.
func unknownSession(e *Error) bool {
	return e.Code() == 402 && strings.Contains(e.Text, "unknown") || e.Code() == 401
}
