package bayeux

import (
	"crypto/rand"
	"crypto/subtle"
	"net/http"
	"strings"
)

// browserCookie binds the sessions that came by HTTP to the browser they came
// from, so that a clientId alone is worth nothing. The name is CometD's, and a
// value that another node or server gave is kept.
const browserCookie = "BAYEUX_BROWSER"

// socketCookie is set by an upgrade that came without any. Faye, among others, opens
// its WebSocket while it shakes hands by HTTP: neither answer may undo the other's
// cookie, and who has both is the owner of both's sessions.
const socketCookie = "BAYEUX_SOCKET"

// owner is whom a request comes from, by its cookies. They are read once: a batch
// has many messages, and a WebSocket many batches.
type owner struct {
	id    string // what a new session of it gets, or ""
	other string // of a session that was made by a WebSocket without cookies, or ""
}

func ownerOf(r *http.Request) owner {
	o := owner{cookieID(r, browserCookie), cookieID(r, socketCookie)}
	if o.id == "" {
		o.id = o.other
	}
	return o
}

// owns reports whether sess was made by this browser.
func (o owner) owns(sess *ServerSession) bool {
	return sameSecret(sess.browser, o.id) || sameSecret(sess.browser, o.other)
}

// cookieID returns a cookie's value if it has the form of one, or "". It keeps nothing
// else of the header.
func cookieID(r *http.Request, name string) string {
	for _, c := range r.CookiesNamed(name) {
		if wellFormedBrowserID(c.Value) {
			return strings.Clone(c.Value)
		}
	}
	return ""
}

func wellFormedBrowserID(v string) bool {
	if len(v) < 16 || len(v) > 64 {
		return false
	}
	for i := 0; i < len(v); i++ {
		c := v[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_') {
			return false
		}
	}
	return true
}

func (s *Server) newBrowserCookie(r *http.Request) *http.Cookie {
	return &http.Cookie{
		Name:     browserCookie,
		Value:    randomID(),
		Path:     "/",
		HttpOnly: true,
		Secure:   s.cfg.SecureCookie || r.TLS != nil || s.cfg.CookieSameSite == http.SameSiteNoneMode,
		SameSite: s.cfg.CookieSameSite,
	}
}

const idLength = 26

// randomID has 26 characters of base32: 130 random bits, lower-cased letters
// and digits only.
func randomID() string {
	b := []byte(rand.Text())
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}

func sameSecret(a, b string) bool {
	return a != "" && subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1
}
