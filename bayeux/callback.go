package bayeux

import (
	"bytes"
	"errors"
	"net/http"
	"net/url"
	"slices"
)

const (
	// defaultCallback is the function's name when the request gives none
	// (Bayeux 1.0, section 6.2.2).
	defaultCallback   = "jsonpcallback"
	maxCallbackLength = 64
)

// serveCallback is the callback-polling transport: the batch in the URL, the
// answer a script that calls a function of the page with it.
func (s *Server) serveCallback(w http.ResponseWriter, r *http.Request) {
	rc := http.NewResponseController(w)
	if !s.checkReferer(r) {
		httpError(w, http.StatusForbidden)
		return
	}
	callback, msgs, status := s.readQuery(r)
	if status != 0 {
		httpError(w, status)
		return
	}
	clearDeadlines(rc)
	s.serveBatch(w, r, rc, msgs, callback, true)
}

// readQuery returns the callback and the batch, or an HTTP status that refuses
// them. A parameter that comes twice could mean one thing here and another to a
// filter in front of the server.
func (s *Server) readQuery(r *http.Request) (callback string, msgs []*Message, status int) {
	if len(r.URL.RawQuery) > s.cfg.MaxBody {
		return "", nil, http.StatusRequestURITooLong
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil || len(query["jsonp"]) > 1 {
		return "", nil, http.StatusBadRequest
	}
	callback = defaultCallback
	if query.Has("jsonp") {
		callback = query.Get("jsonp")
	}
	if !validCallback(callback) {
		return "", nil, http.StatusBadRequest
	}
	msgs, err = s.parseForm(query)
	switch {
	case errors.Is(err, errTooMany):
		s.observe(CountBad, 1)
		return "", nil, http.StatusRequestEntityTooLarge
	case err != nil:
		s.observe(CountBad, 1)
		s.cfg.Logger.Debug("bayeux: request refused", "error", err)
		return "", nil, http.StatusBadRequest
	}
	return callback, msgs, 0
}

// validCallback reports whether name is an identifier of JavaScript, or several
// with dots between them, in ASCII. It is the one thing of a request that becomes
// code.
func validCallback(name string) bool {
	if name == "" || len(name) > maxCallbackLength {
		return false
	}
	start := true
	for i := 0; i < len(name); i++ {
		c := name[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c == '_', c == '$':
			start = false
		case c >= '0' && c <= '9':
			if start {
				return false
			}
		case c == '.':
			if start {
				return false
			}
			start = true
		default:
			return false
		}
	}
	return !start
}

// checkReferer stands in for the check of the Origin, which browsers do not send
// when they load a script: a page of another origin must be on the list. A
// browser says by Sec-Fetch-Site that a page did it, but to a server without TLS, as
// old ones do, by the Referer alone: who sends neither is refused.
func (s *Server) checkReferer(r *http.Request) bool {
	if r.Header.Get("Origin") != "" {
		return true // checked as everywhere
	}
	if r.Header.Get("Sec-Fetch-Site") == "same-origin" {
		return true
	}
	referers := r.Header.Values("Referer")
	if len(referers) != 1 {
		return false
	}
	u, err := url.Parse(referers[0])
	if err != nil {
		return false
	}
	origin, ok := canonicalOrigin(u.Scheme + "://" + u.Host)
	return ok && (s.sameOrigin(origin, r) || slices.Contains(s.cfg.AllowedOrigins, origin))
}

// lineSeparators are legal in JSON, and were none in JavaScript before 2019.
var lineSeparators = [2][2][]byte{
	{[]byte("\u2028"), []byte(`\u2028`)},
	{[]byte("\u2029"), []byte(`\u2029`)},
}

// callScript makes the script. The comment in front keeps the answer from being
// read as another format that begins with the caller's own bytes.
func callScript(callback string, batch []byte) []byte {
	for _, r := range lineSeparators {
		batch = bytes.ReplaceAll(batch, r[0], r[1])
	}
	b := make([]byte, 0, len(batch)+len(callback)+8)
	b = append(b, "/**/"...)
	b = append(b, callback...)
	b = append(b, '(')
	b = append(b, batch...)
	return append(b, ");"...)
}
