package bayeux

import (
	"bytes"
	"context"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// ServeHTTP implements [http.Handler] for all transports.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	dressed := len(h) > 0
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	if s.cfg.RepeatPolls && dressed {
		r = r.WithContext(context.WithValue(r.Context(), dressedKey{}, true))
	}
	callback := s.cfg.CallbackPolling && r.Method == http.MethodGet && !isUpgrade(r)
	cross, ok := s.checkOrigin(r, callback)
	if !ok {
		h.Add("Vary", "Origin")
		httpError(w, http.StatusForbidden)
		return
	}
	setCORS(h, cross)
	if s.isClosed() {
		h.Set("Connection", "close")
		httpError(w, http.StatusServiceUnavailable)
		return
	}
	served := s.safely("server", func() {
		switch {
		case isUpgrade(r):
			s.serveSocket(w, r)
		case callback:
			s.serveCallback(w, r)
		case r.Method == http.MethodPost:
			s.servePost(w, r)
		case r.Method == http.MethodOptions:
			s.preflight(w)
		default:
			h.Set("Allow", s.allow())
			httpError(w, http.StatusMethodNotAllowed)
		}
	})
	if !served {
		httpError(w, http.StatusInternalServerError)
	}
}

func (s *Server) allow() string {
	if s.cfg.CallbackPolling {
		return "GET, POST, OPTIONS"
	}
	return "POST, OPTIONS"
}

// httpError answers with the status' own text: nothing of the request is echoed.
func httpError(w http.ResponseWriter, code int) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(code)
	_, _ = io.WriteString(w, http.StatusText(code)+"\n")
}

// servePost is the long-polling transport: a batch per request, and a lone
// connect held until there is news.
func (s *Server) servePost(w http.ResponseWriter, r *http.Request) {
	rc := http.NewResponseController(w)
	msgs, whole, status := s.readPost(w, r, rc)
	if status != 0 {
		_ = rc.SetWriteDeadline(time.Now().Add(s.cfg.WriteTimeout))
		httpError(w, status)
		return
	}
	s.serveBatch(w, r, rc, msgs, "", whole)
}

// serveBatch handles a batch that came by HTTP. A callback means that the answer
// is a script.
func (s *Server) serveBatch(w http.ResponseWriter, r *http.Request, rc *http.ResponseController, msgs []*Message, callback string, whole bool) {
	x := &exchange{server: s, req: r, browser: ownerOf(r)}
	x.ctx = context.WithValue(r.Context(), requestKey{}, r)
	if x.browser.id == "" && hasHandshake(msgs) {
		c := s.newBrowserCookie(r)
		x.browser.id = c.Value
		http.SetCookie(w, c)
	}
	x.run(msgs)
	if x.hold == nil {
		x.respond(w, rc, callback)
		return
	}
	s.hold(w, r, rc, x.hold, callback, whole)
}

// hold answers a connect once it ends. It refers to nothing else of the request,
// so that what it was read into is free while it waits.
func (s *Server) hold(w http.ResponseWriter, r *http.Request, rc *http.ResponseController, p *poll, callback string, whole bool) {
	s.observe(GaugePolls, 1)
	if s.cfg.ParkPolls && whole && s.park(w, r, rc, p, callback) {
		return
	}
	here := p.wait(r.Context())
	s.observe(GaugePolls, -1)
	p.release()
	if here {
		s.write(w, rc, p.response(), callback)
	}
}

func hasHandshake(msgs []*Message) bool {
	for _, m := range msgs {
		if m.Channel == MetaHandshake {
			return true
		}
	}
	return false
}

// respond writes the replies and, if there was a connect, what waits for its
// session. Other responses take no messages along: a client has one connect at a
// time but may have several other requests, whose responses overtake each other.
func (x *exchange) respond(w http.ResponseWriter, rc *http.ResponseController, callback string) {
	if x.ctx.Err() != nil {
		return // nobody reads it: the messages wait for the next response
	}
	x.server.write(w, rc, x.batch(), callback)
}

// batch is what waits for the sessions that connected, and the replies.
func (x *exchange) batch() [][]byte {
	var out [][]byte
	if x.carried != nil {
		out, _ = x.carried.take(nil, x.server.cfg.MaxQueueBytes)
	}
	return append(out, x.replies...)
}

func (s *Server) write(w http.ResponseWriter, rc *http.ResponseController, batch [][]byte, callback string) {
	_ = rc.SetWriteDeadline(time.Now().Add(s.cfg.WriteTimeout))
	b := body(batch, callback)
	setBodyHeaders(w.Header(), callback)
	if w.Header().Get("Content-Encoding") == "" { // or a handler around this one sends another body
		w.Header().Set("Content-Length", strconv.Itoa(len(b))) // or net/http sends long ones in chunks
	}
	_, _ = w.Write(b)
}

// body is the answer: JSON, or a script if there is a callback.
func body(batch [][]byte, callback string) []byte {
	if callback == "" {
		return joinBatch(batch)
	}
	return callScript(callback, joinBatch(batch))
}

func setBodyHeaders(h http.Header, callback string) {
	if callback == "" {
		h.Set("Content-Type", "application/json;charset=UTF-8")
		return
	}
	h.Set("Content-Type", "text/javascript;charset=UTF-8")
	h.Set("Content-Disposition", `attachment; filename="bayeux.js"`) // not to be opened as a page
}

// readPost returns the batch, or an HTTP status that refuses it. Whole says that the body
// is known to be all of what the client sent as such: what another handler kept back of it,
// or a chunked body's end, must not be taken for the next request.
func (s *Server) readPost(w http.ResponseWriter, r *http.Request, rc *http.ResponseController) (msgs []*Message, whole bool, status int) {
	form, ok := contentType(r)
	if !ok {
		return nil, false, http.StatusUnsupportedMediaType
	}
	limit := int64(s.cfg.MaxBody)
	if r.ContentLength > limit {
		return nil, false, http.StatusRequestEntityTooLarge
	}
	_ = rc.SetReadDeadline(time.Now().Add(s.cfg.ReadTimeout))
	buf := messageBuffers.Get().(*[]byte)
	body, err := readAll((*buf)[:0], http.MaxBytesReader(w, r.Body, limit))
	defer func() {
		if *buf = body; cap(body) <= maxPooledBuffer {
			messageBuffers.Put(buf)
		}
	}()
	if err != nil {
		if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
			return nil, false, http.StatusRequestEntityTooLarge
		}
		return nil, false, http.StatusBadRequest
	}
	clearDeadlines(rc)
	msgs, err = s.parseBody(body, form)
	switch {
	case errors.Is(err, errTooMany):
		s.observe(CountBad, 1)
		return nil, false, http.StatusRequestEntityTooLarge
	case err != nil:
		s.observe(CountBad, 1)
		s.cfg.Logger.Debug("bayeux: request refused", "error", err)
		return nil, false, http.StatusBadRequest
	}
	return msgs, int64(len(body)) == r.ContentLength, 0
}

// readAll appends all of src to buf, which grows as it comes.
func readAll(buf []byte, src io.Reader) ([]byte, error) {
	for {
		buf = slices.Grow(buf, bytes.MinRead)
		n, err := src.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if err == io.EOF {
			return buf, nil
		}
		if err != nil {
			return buf, err
		}
	}
}

// clearDeadlines: from here on net/http reads only to see whether the client goes
// away, and would take its own deadline for that. respond sets the one for writing.
func clearDeadlines(rc *http.ResponseController) {
	_ = rc.SetReadDeadline(time.Time{})
	_ = rc.SetWriteDeadline(time.Time{})
}

func (s *Server) parseBody(body []byte, form bool) ([]*Message, error) {
	if !form {
		return parseMessages(body, s.cfg.MaxDepth, s.cfg.MaxBatch)
	}
	values, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, errSyntax
	}
	return s.parseForm(values)
}

// parseForm reads the batches of all parameters called "message".
func (s *Server) parseForm(values url.Values) ([]*Message, error) {
	if len(values["message"]) == 0 {
		return nil, errShape
	}
	var all []*Message
	for _, v := range values["message"] {
		msgs, err := parseMessages([]byte(v), s.cfg.MaxDepth, s.cfg.MaxBatch-len(all))
		if err != nil {
			return nil, err
		}
		if all = append(all, msgs...); len(all) > s.cfg.MaxBatch {
			return nil, errTooMany
		}
	}
	return all, nil
}

// contentType tells a form from JSON; anything else, another charset or an
// encoded body is not ok. No type at all is taken for JSON.
func contentType(r *http.Request) (form, ok bool) {
	if enc := r.Header.Get("Content-Encoding"); enc != "" && enc != "identity" {
		return false, false
	}
	value := r.Header.Get("Content-Type")
	switch value {
	case "", "application/json", "application/json;charset=UTF-8", "application/json; charset=utf-8":
		return false, true // what nearly all clients send
	}
	kind, params, err := mime.ParseMediaType(value)
	if err != nil {
		return false, false
	}
	if cs := params["charset"]; cs != "" && !strings.EqualFold(cs, "utf-8") {
		return false, false
	}
	switch kind {
	case "application/json", "text/json":
		return false, true
	case "application/x-www-form-urlencoded":
		return true, true
	}
	return false, false
}
