package session

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// late is the mark of a set in whose place a newer one should be: the start of its
// digest; empty for none. The client keeps it in a cookie, with the time at which it
// first brought the set in vain, so that nothing has to be remembered here. It is not
// authenticated: its holder can only harm himself with it.
type late string

// Names of the cookie, chosen as for the session's.
const (
	lateCookieName         = "__Host-sealed-late"
	loopbackLateCookieName = "sealed-late"
)

func newLate(set string) late {
	sum := sha256.Sum256([]byte(set))
	return late(base64.RawURLEncoding.EncodeToString(sum[:9]))
}

func (l late) cookieName(st *Stateless, r *http.Request) string {
	if st.m.plainLoopback(r) {
		return loopbackLateCookieName + st.m.suffix()
	}
	return lateCookieName + st.m.suffix()
}

// since is when the client first brought the set in vain, as it says.
func (l late) since(st *Stateless, r *http.Request) (at time.Time, known bool) {
	c, err := r.Cookie(l.cookieName(st, r))
	if err != nil {
		return at, false
	}
	mark, text, _ := strings.Cut(c.Value, ".")
	sec, err := strconv.ParseInt(text, 10, 64)
	at = time.Unix(sec, 0)
	return at, err == nil && mark == string(l) && !at.After(time.Now())
}

// settled reports that the newer set had its time to arrive, and did not.
func (l late) settled(st *Stateless, r *http.Request) bool {
	at, known := l.since(st, r)
	return known && time.Since(at) >= settles
}

// note has the client remember the set, unless it does.
func (l late) note(w *statelessWriter) {
	if _, known := l.since(w.st, w.r); l == "" || w.st.header || known {
		return
	}
	l.set(w, string(l)+"."+strconv.FormatInt(time.Now().Unix(), 10), int(w.st.m.cfg.Policy.Session().Idle/time.Second))
	private(w.ResponseWriter.Header(), "Cookie")
}

// drop has the client forget it.
func (l late) drop(w *statelessWriter) {
	if l != "" {
		l.set(w, "", -1)
	}
}

func (l late) set(w *statelessWriter, value string, age int) {
	c := w.st.m.cookie(w.r, value, age)
	c.Name = l.cookieName(w.st, w.r)
	http.SetCookie(w.ResponseWriter, c)
}
