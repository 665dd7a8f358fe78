package bayeux

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"os"
	"slices"
	"sync"
	"time"
	"unicode/utf8"
)

// repeat is what lets a parked connection take its client's next connects without
// net/http (Config.RepeatPolls): the head of a request that net/http read, and that all
// handlers let through. A request with the same head is from the same client, of the same
// origin, with the same cookies.
type repeat struct {
	head    requestHead
	ctx     context.Context
	req     *http.Request
	browser owner
}

func newRepeat(head requestHead, r *http.Request) *repeat {
	ctx := context.WithoutCancel(r.Context()) // net/http's ended when the connection was taken over
	req := r.WithContext(ctx)
	req.Body = http.NoBody
	return &repeat{head, context.WithValue(ctx, requestKey{}, req), req, ownerOf(r)}
}

// repeatableHeaders are those of our responses that say nothing about one request.
var repeatableHeaders = []string{
	"Access-Control-Allow-Credentials", "Access-Control-Allow-Origin", "Cache-Control", "Content-Type", "Vary", "X-Content-Type-Options",
}

// dressedKey marks a request to whose response a handler around this one set headers.
type dressedKey struct{}

// repeatable reports whether what comes with r's head may be answered with h. A handler
// around this one that sets headers must see each request.
func repeatable(h http.Header, r *http.Request) bool {
	form, ok := contentType(r)
	if form || !ok || r.Method != http.MethodPost || r.Header.Get("Expect") != "" || r.Context().Value(dressedKey{}) != nil {
		return false
	}
	for name := range h {
		if !slices.Contains(repeatableHeaders, name) {
			return false
		}
	}
	return true
}

// repeatBuffer is room for a request with a connect. A longer one is for net/http.
const repeatBuffer = 4096

// repeatBuffers are their own: who waits for a silent client must not hold what a large
// message was written from.
var repeatBuffers = sync.Pool{New: func() any { return new([repeatBuffer]byte) }}

// takeConnects handles the client's next requests until one of them is to be held.
// Otherwise it reports false, and the connection was given back or closed.
func (k *parked) takeConnects() (held bool) {
	buf := repeatBuffers.Get().(*[repeatBuffer]byte)
	defer repeatBuffers.Put(buf)
	for k.poll = nil; k.poll == nil; {
		b, err := k.nextRequest(buf[:0])
		if err != nil {
			_ = k.conn.Close()
			return false
		}
		if !k.takeConnect(b) {
			k.early = slices.Clone(b)
			k.giveBack(splitHead(b))
			return false
		}
	}
	return true
}

// nextRequest waits for what the client sends next, as long as its session would live,
// and appends it to b. What comes together is taken for a request. Nothing, without an
// error, is for net/http to wait on.
func (k *parked) nextRequest(b []byte) ([]byte, error) {
	cfg := &k.server.cfg
	// The connect that comes may be held within the same deadline.
	patience := max(cfg.Interval, cfg.MultiSessionInterval) + cfg.MaxInterval + cfg.Timeout
	_ = k.conn.SetReadDeadline(time.Now().Add(patience))
	if k.server.isClosed() {
		return nil, http.ErrServerClosed // endRepeats may have come before that deadline
	}
	b = append(b, k.early...)
	k.early = nil
	if len(b) > 1 { // more than the byte that ended the wait
		return b, nil
	}
	n, err := k.conn.Read(b[len(b):repeatBuffer])
	if n > 0 || errors.Is(err, os.ErrDeadlineExceeded) && !k.server.isClosed() {
		err = nil
	}
	return b[:len(b)+n], err
}

// takeConnect handles a request that is a lone connect under the known head, and reports
// whether it was that.
func (k *parked) takeConnect(request []byte) bool {
	s := k.server
	if k.repeat == nil {
		return false
	}
	body, ok := k.repeat.head.body(request)
	if !ok || len(body) > s.cfg.MaxBody {
		return false
	}
	msgs, err := parseMessages(body, s.cfg.MaxDepth, s.cfg.MaxBatch)
	if err != nil || len(msgs) != 1 || msgs[0].Channel != MetaConnect {
		return false
	}
	ctx, cancel := context.WithTimeout(k.repeat.ctx, s.cfg.Timeout) // nobody watches the client meanwhile
	defer cancel()
	x := &exchange{server: s, ctx: ctx, req: k.repeat.req, browser: k.repeat.browser}
	x.run(msgs)
	if k.poll = x.hold; k.poll != nil {
		s.observe(GaugePolls, 1)
	} else if !k.respond(x.batch()) {
		_ = k.conn.Close()
	}
	return true
}

// addRepeat has the connection closed by Shutdown, wherever it is.
func (s *Server) addRepeat(k *parked) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.repeats[k] = struct{}{}
}

func (s *Server) dropRepeat(k *parked) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.repeats, k)
}

// endRepeats ends the wait for next requests. The server is closed already.
func (s *Server) endRepeats() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for k := range s.repeats {
		_ = k.conn.SetReadDeadline(longAgo)
	}
}

// requestHead is a request's head, but for the digits of its Content-Length.
type requestHead struct{ before, after []byte }

const headEnd = "\r\n\r\n"

var lengthName = []byte("\r\ncontent-length:")

// splitHead returns the head of the request that b is; nil unless it is one whole request
// with a Content-Length, and nothing more.
func splitHead(b []byte) *requestHead {
	head, _, _ := bytes.Cut(b, []byte(headEnd))
	if bytes.ContainsFunc(head, func(r rune) bool { return r >= utf8.RuneSelf }) {
		return nil // in lower case it may have another length
	}
	lower := bytes.ToLower(head)
	at := bytes.Index(lower, lengthName)
	if at < 0 || bytes.Count(lower, lengthName[2:]) != 1 || bytes.Contains(lower, []byte("\ntransfer-encoding")) ||
		bytes.Count(head, []byte("\n")) != bytes.Count(head, []byte("\r\n")) {
		return nil // net/http may see another request, or two
	}
	at += len(lengthName)
	for at < len(head) && head[at] == ' ' {
		at++
	}
	rest := b[at+countDigits(b[at:]):]
	end := bytes.Index(rest, []byte(headEnd))
	if end < 0 {
		return nil
	}
	h := &requestHead{bytes.Clone(b[:at]), bytes.Clone(rest[:end+len(headEnd)])}
	if _, ok := h.body(b); !ok {
		return nil
	}
	return h
}

func countDigits(b []byte) int {
	n := 0
	for n < len(b) && b[n] >= '0' && b[n] <= '9' {
		n++
	}
	return n
}

// body returns the body of a request with this head. It is not ok if there is less or more
// of it than the head says.
func (h *requestHead) body(request []byte) (body []byte, ok bool) {
	rest, same := bytes.CutPrefix(request, h.before)
	digits := countDigits(rest)
	if !same || digits == 0 || digits > 6 || rest[0] == '0' {
		return nil, false
	}
	length := 0
	for _, c := range rest[:digits] {
		length = 10*length + int(c-'0')
	}
	body, same = bytes.CutPrefix(rest[digits:], h.after)
	return body, same && len(body) == length
}
