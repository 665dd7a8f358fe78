package session

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"unique"

	"github.com/sealedblob/sealedblob/seal"
)

// Names of the session cookie. The first is used unless the request is plainly
// on loopback without TLS, where not every client returns a Secure cookie.
// [Config.CookieSuffix] makes them longer.
const (
	CookieName         = "__Host-sealed-session"
	LoopbackCookieName = "sealed-session"
)

// Holder is what the session cookie proves: which session, and knowledge of a
// secret that never appears in a sealed set. Printing it shows the id alone.
type Holder struct {
	Session seal.ID
	// Fence is a hint, not authenticated: the holder's last known fence.
	Fence uint64
	// secret is behind a handle, which fmt prints as an address where it calls no
	// Format: for the verb p, and in an unexported field of somebody's struct (but
	// with a verb that does not fit pointers).
	secret unique.Handle[seal.ID]
	// bearer, in place of all that, is the binding of a set which proves itself:
	// see [Stateless].
	bearer string
}

// newHolder draws a fresh session ID and secret.
func newHolder() Holder { return Holder{Session: seal.NewID(), secret: unique.Make(seal.NewID())} }

// secretID is the secret; of the zero Holder it is zero.
func (h Holder) secretID() (id seal.ID) {
	if h.secret != (unique.Handle[seal.ID]{}) {
		id = h.secret.Value()
	}
	return id
}

// binding is what the manifest holds of the secret: its hash, so that neither
// set nor memory dump of a manifest gives the cookie away.
func (h Holder) binding() string {
	if h.bearer != "" {
		return h.bearer
	}
	var room [bindingLen]byte
	return string(h.appendBinding(room[:0]))
}

// bindingLen is the length of a binding to a cookie.
const bindingLen = len("cookie:") + 43

func (h Holder) appendBinding(b []byte) []byte {
	const label = "sealed-blob/v1/cookie\x00"
	id := h.secretID()
	var in [len(label) + len(id)]byte
	copy(in[copy(in[:], label):], id[:])
	sum := sha256.Sum256(in[:])
	return base64.RawURLEncoding.AppendEncode(append(b, "cookie:"...), sum[:])
}

// holds compares in constant time.
func (h Holder) holds(binding string) bool {
	if h.bearer != "" {
		return binding == h.bearer
	}
	var room [bindingLen]byte
	return subtle.ConstantTimeCompare(h.appendBinding(room[:0]), []byte(binding)) == 1
}

// Format implements fmt.Formatter: every verb prints the session's id alone.
func (h Holder) Format(f fmt.State, _ rune) { fmt.Fprint(f, h.Session.String()) }

// LogValue implements slog.LogValuer.
func (h Holder) LogValue() slog.Value { return slog.StringValue(h.Session.String()) }

func (h Holder) cookieValue() string {
	return h.Session.String() + "." + h.secretID().String() + "." + strconv.FormatUint(h.Fence, 10)
}

// Holder reads the session cookie of a request. A request with no cookie, or
// with a malformed or repeated one, has no holder. A Secure cookie is taken
// wherever it comes from; the other one on plain loopback only.
func (m *Manager) Holder(r *http.Request) (Holder, bool) {
	cookies := m.cookies(r)
	if len(cookies) != 1 {
		return Holder{}, false
	}
	parts := strings.Split(cookies[0].Value, ".")
	if len(parts) != 3 || len(cookies[0].Value) > 80 {
		return Holder{}, false
	}
	id, err1 := seal.ParseID(parts[0])
	secret, err2 := seal.ParseID(parts[1])
	fence, err3 := strconv.ParseUint(parts[2], 10, 53)
	if err1 != nil || err2 != nil || err3 != nil || strconv.FormatUint(fence, 10) != parts[2] { // no leading zeros
		return Holder{}, false
	}
	return Holder{Session: id, secret: unique.Make(secret), Fence: fence}, true
}

// suffix is what [Config.CookieSuffix] adds to the cookie's name.
func (m *Manager) suffix() string {
	if m.cfg.CookieSuffix == "" {
		return ""
	}
	return "-" + m.cfg.CookieSuffix
}

func (m *Manager) cookies(r *http.Request) []*http.Cookie {
	cookies := r.CookiesNamed(CookieName + m.suffix())
	if len(cookies) == 0 && m.plainLoopback(r) {
		cookies = r.CookiesNamed(LoopbackCookieName + m.suffix())
	}
	return cookies
}

func (m *Manager) repeated(r *http.Request) bool { return len(m.cookies(r)) > 1 }

// cookie makes the session cookie; it lives maxAge seconds, or not at all.
func (m *Manager) cookie(r *http.Request, value string, maxAge int) *http.Cookie {
	c := &http.Cookie{
		Name: CookieName + m.suffix(), Value: value, Path: "/", MaxAge: maxAge,
		HttpOnly: true, SameSite: http.SameSiteLaxMode, Secure: true,
	}
	if m.plainLoopback(r) {
		c.Name, c.Secure = LoopbackCookieName+m.suffix(), false
	}
	return c
}

// plainLoopback reports a request without TLS whose peer, host and page are all
// on this machine. A proxy on the same machine that rewrites Host shows itself
// by a forwarding header, or by the Origin or Referer of a page from outside;
// one that shows nothing needs [Config.SecureCookie].
func (m *Manager) plainLoopback(r *http.Request) bool {
	if m.cfg.SecureCookie || r.TLS != nil || !loopback(r.RemoteAddr) || !loopback(r.Host) {
		return false
	}
	for _, name := range []string{"Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-Ip"} {
		if r.Header.Get(name) != "" {
			return false
		}
	}
	return localPage(r.Header.Get("Origin")) && localPage(r.Header.Get("Referer"))
}

func localPage(page string) bool {
	if page == "" {
		return true
	}
	u, err := url.Parse(page)
	return err == nil && loopback(u.Host)
}

func loopback(hostport string) bool {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		host = strings.Trim(hostport, "[]")
	}
	if host == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback()
}
