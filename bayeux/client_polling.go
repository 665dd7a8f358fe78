package bayeux

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
)

var errNoReply = errors.New("bayeux: the server left a message unanswered")

// pollingLink is the long-polling transport: each batch is a request, and what
// happens to one is no matter to the others.
type pollingLink struct{ client *Client }

// open makes a link of this kind.
func (c *Client) open(ctx context.Context, kind string) (link, error) {
	if kind == WebSocket {
		return c.dialSocket(ctx)
	}
	return &pollingLink{c}, nil
}

func (l *pollingLink) kind() string { return LongPolling }
func (l *pollingLink) alive() bool  { return true }
func (l *pollingLink) close()       {}

func (l *pollingLink) exchange(ctx context.Context, msgs []*Message) ([]*Message, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(l.client.life, cancel)()
	body, err := l.post(ctx, renderBatch(msgs))
	if err != nil {
		return nil, err
	}
	incoming, err := parseMessages(body, clientMaxDepth, clientMaxBatch)
	if err != nil {
		return nil, err
	}
	waiting := newCall(msgs)
	for _, m := range incoming {
		isReply, err := l.client.receive(m)
		if err != nil {
			return nil, err
		}
		if isReply {
			waiting.offer(m)
		}
	}
	if waiting.left > 0 {
		return nil, errNoReply
	}
	return waiting.replies, nil
}

func (l *pollingLink) post(ctx context.Context, body []byte) ([]byte, error) {
	c := l.client
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.endpoint.String(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	for k, v := range c.cfg.Header {
		req.Header[k] = v
	}
	req.Header.Set("Content-Type", "application/json;charset=UTF-8")
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		// A little is read so that the connection can be used again.
		_, _ = io.CopyN(io.Discard, resp.Body, 4<<10)
		return nil, fmt.Errorf("bayeux: HTTP status %d", resp.StatusCode)
	}
	limit := int64(c.cfg.MaxReply)
	reply, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(reply)) > limit {
		return nil, errors.New("bayeux: reply too large")
	}
	return reply, nil
}

func renderBatch(msgs []*Message) []byte {
	list := make([][]byte, len(msgs))
	for i, m := range msgs {
		list[i] = m.appendTo(nil)
	}
	return joinBatch(list)
}
