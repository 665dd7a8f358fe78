package bayeux

import (
	"context"
	"errors"
	"slices"
)

// What the client puts into one request at most: half of what servers of this
// package take by default.
const (
	maxClientBatch      = 500
	maxClientBatchBytes = 256 << 10
)

// Batch collects what goes to the server together; see [Client.Batch]. It is for
// the function that it was given to, and not safe for concurrent use.
type Batch struct {
	client *Client
	calls  []batchCall
	errs   []error
}

type batchCall struct {
	m      *Message
	failed func() // may be nil
}

// Batch runs f and sends what f put into the batch, in its order, in one request
// or, if that were too large, in several. It returns the errors of all that
// failed, joined, as the methods of [Client] with the same names do; those of
// one message do not keep the others from being sent.
func (c *Client) Batch(ctx context.Context, f func(b *Batch)) error {
	b := &Batch{client: c}
	f(b)
	msgs := make([]*Message, len(b.calls))
	for i, call := range b.calls {
		msgs[i] = call.m
	}
	for len(msgs) > 0 {
		n := fitting(msgs)
		for i, err := range c.send(ctx, msgs[:n]) {
			if err == nil {
				continue
			}
			b.errs = append(b.errs, err)
			if failed := b.calls[i].failed; failed != nil {
				failed()
			}
		}
		msgs, b.calls = msgs[n:], b.calls[n:]
	}
	if len(b.errs) == 1 {
		return b.errs[0]
	}
	return errors.Join(b.errs...)
}

// fitting returns how many of msgs, which have no clientId and id yet, go into the
// next request.
func fitting(msgs []*Message) int {
	most := min(len(msgs), maxClientBatch)
	if most == 1 {
		return 1
	}
	var buf []byte
	size := 0
	for i, m := range msgs[:most] {
		buf = m.appendTo(buf[:0])
		if size += len(buf) + maxClientID; size > maxClientBatchBytes {
			return max(1, i)
		}
	}
	return most
}

func (b *Batch) refuse(err error) { b.errs = append(b.errs, err) }

// Publish puts [Client.Publish] into the batch.
func (b *Batch) Publish(channel string, data any) {
	if err := checkPublish(channel); err != nil {
		b.refuse(err)
		return
	}
	raw, err := encodeValue(data)
	if err != nil {
		b.refuse(err)
		return
	}
	b.calls = append(b.calls, batchCall{m: &Message{Channel: channel, Data: raw}})
}

// PublishMessage puts [Client.PublishMessage] into the batch.
func (b *Batch) PublishMessage(m *Message) {
	out, err := m.publication()
	if err != nil {
		b.refuse(err)
		return
	}
	b.calls = append(b.calls, batchCall{m: out})
}

// Subscribe puts [Client.Subscribe] into the batch.
func (b *Batch) Subscribe(channel string, f func(*Message)) {
	c := b.client
	if !validChannel(channel) || isMeta(channel) || f == nil {
		b.refuse(ErrChannel)
		return
	}
	c.mu.Lock()
	if c.closing || c.state == StateClosed {
		cause := c.cause
		c.mu.Unlock()
		b.refuse(closedError(cause))
		return
	}
	h := &handler{f}
	c.subs[channel] = append(c.subs[channel], h)
	idle := c.state == StateIdle
	c.mu.Unlock()
	if idle {
		return
	}
	// Even where the channel has a handler already: this one needs its own answer.
	m := &Message{Channel: MetaSubscribe, Subscription: []string{channel}}
	b.calls = append(b.calls, batchCall{m, func() { c.forget(channel, h) }})
}

// Unsubscribe puts [Client.Unsubscribe] into the batch.
func (b *Batch) Unsubscribe(channel string) {
	c := b.client
	c.mu.Lock()
	_, have := c.subs[channel]
	idle := c.state == StateIdle
	delete(c.subs, channel)
	c.mu.Unlock()
	if have && !idle {
		b.calls = append(b.calls, batchCall{m: &Message{Channel: MetaUnsubscribe, Subscription: []string{channel}}})
	}
}

func (c *Client) forget(channel string, h *handler) {
	c.mu.Lock()
	defer c.mu.Unlock()
	left := slices.DeleteFunc(slices.Clone(c.subs[channel]), func(other *handler) bool { return other == h })
	if len(left) > 0 {
		c.subs[channel] = left
	} else {
		delete(c.subs, channel)
	}
}
