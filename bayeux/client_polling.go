package bayeux

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
)

var (
	errNoReply       = errors.New("bayeux: the server left a message unanswered")
	errReplyTooLarge = errors.New("bayeux: reply too large")
)

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
	waiting := newCall(msgs)
	if err := l.client.incoming(body, func(m *Message) { waiting.offer(m) }); err != nil {
		return nil, err
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
		return nil, statusError(resp)
	}
	limit := int64(c.cfg.MaxReply)
	reply, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(reply)) > limit {
		return nil, errReplyTooLarge
	}
	return reply, nil
}

// statusError tells of an HTTP status, and, of a redirect, where it leads: the URL
// that the client was given is then not quite the server's. A query may hold
// secrets, and is left out.
func statusError(resp *http.Response) error {
	to, err := resp.Location()
	if err != nil {
		return fmt.Errorf("bayeux: HTTP status %d", resp.StatusCode)
	}
	plain := url.URL{Scheme: to.Scheme, Host: to.Host, Path: to.Path}
	return fmt.Errorf("bayeux: HTTP status %d, Location %.100q", resp.StatusCode, plain.String())
}

func renderBatch(msgs []*Message) []byte {
	list := make([][]byte, len(msgs))
	for i, m := range msgs {
		list[i] = m.appendTo(nil)
	}
	return joinBatch(list)
}
