package session

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"strconv"
	"unicode/utf8"
)

// RestorePath is where clients look for [Manager.RestoreHandler].
const RestorePath = "/sealed/restore"

// maxRestoreBody bounds a restore's body: the largest set, and JSON around it.
const maxRestoreBody = MaxHandshake + 16<<10

// restoreReply is the answer of [Manager.RestoreHandler].
type restoreReply struct {
	WireReply
	Push *WirePush `json:"push,omitempty"` // the newest set, complete
}

// RestoreHandler restores a session over plain HTTP, for clients whose request
// met a 503 with [StatusHeader] and that don't wait for a Bayeux handshake, or
// have none. Mount it at [RestorePath], not inside [Manager.Middleware].
//
// It takes POST with the request of a handshake as application/json, and gives
// its reply, with the set that the client is to keep from now on
// (docs/SPEC.md §10.1). The status is 200, 401 for a refusal, or 503 with
// Retry-After for "try again"; requests of other origins, and what is no such
// request, get 4xx. A request with the version held, and no set, asks for the
// newest set; what it says is no acknowledgement in the sense of
// [Session.Acknowledge]: it raises no floor, because another client may hold less.
func (m *Manager) RestoreHandler() http.Handler {
	return http.NewCrossOriginProtection().Handler(http.HandlerFunc(m.serveRestore))
}

func (m *Manager) serveRestore(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	if r.Method != http.MethodPost {
		h.Set("Allow", http.MethodPost)
		refuseHTTP(w, http.StatusMethodNotAllowed)
		return
	}
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		refuseHTTP(w, http.StatusUnsupportedMediaType)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRestoreBody))
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		refuseHTTP(w, http.StatusRequestEntityTooLarge)
		return
	} else if err != nil {
		refuseHTTP(w, http.StatusBadRequest)
		return
	}
	request, err := parseRequest(body)
	held, ok := request.Held()
	if err != nil || !ok || request.Gen != "" && request.Presents() {
		refuseHTTP(w, http.StatusBadRequest)
		return
	}
	m.answerRestore(w, r, request, held)
}

// refuseHTTP answers with the status' own text: nothing of the request is echoed.
func refuseHTTP(w http.ResponseWriter, status int) { http.Error(w, http.StatusText(status), status) }

func (m *Manager) answerRestore(w http.ResponseWriter, r *http.Request, request WireRequest, held *Version) {
	s, reply := m.Present(r.Context(), r, request)
	answer := restoreReply{WireReply: reply}
	if s != nil {
		push, err := m.hand(r, s, held)
		switch gone := errors.Is(err, ErrMoved) || errors.Is(err, ErrEnded); {
		case err == nil:
			answer.Gen, answer.Push = FormatVersion(s.Version()), push
			m.renewCookie(w, r, s)
		case gone && !request.Presents(): // none is here any more, as the answer says
		default: // without the new set the client would be left with one that restores no more
			m.log.Warn("restored, but not handed over", "session", short(s.id), "error", err)
			answer.WireReply = WireReply{V: WireVersion, State: StateRetry}
		}
	}
	writeRestore(w, answer)
}

// hand seals what is dirty and returns the newest set, nil if it is the one held.
func (m *Manager) hand(r *http.Request, s *Session, held *Version) (*WirePush, error) {
	if s.behind(held) {
		m.passivate(s)
		return nil, ErrMoved
	}
	s.touch()
	if err := s.Save(r.Context()); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if held != nil && *held == s.version {
		if len(s.clients) == 0 {
			s.kept = s.version // nobody is connected: this is the last that was heard
		}
		return nil, s.ended
	}
	if s.replica.manifest == "" {
		return nil, s.ended // nothing was ever set
	}
	push := s.whole().Wire()
	return &push, s.ended
}

// renewCookie brings the hint in the client's cookie up to date.
func (m *Manager) renewCookie(w http.ResponseWriter, r *http.Request, s *Session) {
	if h, _ := m.Holder(r); h != s.Holder() {
		http.SetCookie(w, m.cookie(r, s.Holder().cookieValue(), s.secondsLeft()))
		w.Header().Add("Vary", "Cookie")
	}
}

func writeRestore(w http.ResponseWriter, answer restoreReply) {
	status := http.StatusOK
	switch answer.State {
	case StateRefused:
		status = http.StatusUnauthorized
	case StateRetry:
		status = http.StatusServiceUnavailable
		w.Header().Set("Retry-After", "1")
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(answer) // the client is gone if this fails
}

var errRequest = errors.New("session: not a request of version 1")

// parseRequest reads a [WireRequest] strictly: one object of known members in
// exact case, each once, nothing behind it. (encoding/json by itself takes other
// cases and the last of several.)
func parseRequest(body []byte) (r WireRequest, err error) {
	if !utf8.Valid(body) {
		return r, errRequest
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	err = members(dec, func(name string) error {
		switch name {
		case "v":
			return number(dec, &r.V)
		case "attempt":
			return text(dec, &r.Attempt)
		case "manifest":
			return text(dec, &r.Manifest)
		case "gen":
			return text(dec, &r.Gen)
		case "proof":
			return text(dec, &r.Proof)
		case "blobs":
			r.Blobs = map[string]string{}
			return members(dec, func(slot string) error {
				var envelope string
				err := text(dec, &envelope)
				r.Blobs[slot] = envelope
				return err
			})
		}
		return errRequest
	})
	if err != nil {
		return WireRequest{}, err
	}
	if _, err := dec.Token(); err != io.EOF {
		return WireRequest{}, errRequest
	}
	return r, nil
}

// members reads an object and calls value for each member, which must read it.
func members(dec *json.Decoder, value func(name string) error) error {
	if open, err := dec.Token(); err != nil || open != json.Delim('{') {
		return errRequest
	}
	seen := map[string]bool{}
	for dec.More() {
		name, err := dec.Token()
		key, ok := name.(string)
		if err != nil || !ok || seen[key] {
			return errRequest
		}
		seen[key] = true
		if err := value(key); err != nil {
			return err
		}
	}
	if _, err := dec.Token(); err != nil { // the closing brace: nothing else is left
		return errRequest
	}
	return nil
}

func text(dec *json.Decoder, into *string) error {
	token, err := dec.Token()
	s, ok := token.(string)
	if err != nil || !ok {
		return errRequest
	}
	*into = s
	return nil
}

func number(dec *json.Decoder, into *int) error {
	token, err := dec.Token()
	n, ok := token.(json.Number)
	if err != nil || !ok {
		return errRequest
	}
	*into, err = strconv.Atoi(string(n))
	return err
}
