package session

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"html"
	"net/http"
	"strings"
)

// NotHerePage is an [Early.NotHere] for people. A browser that navigates (GET, with
// text/html in Accept) gets a small page instead of a bare 503: it brings the set if it
// can, loads the address again up to three times within some ten seconds, and then offers to begin
// anew, as "Sealed-Session: none" does. All other requests get the bare 503. The
// zero value, which is the default, brings no set.
//
// The page needs JavaScript for that, without which it says to come back. Its
// Content-Security-Policy is its own. Not promised: words in the reader's language.
type NotHerePage struct {
	// Modules is where client.Files are served on this origin, with a slash at both
	// ends: "/sealedblob/". Empty: the page brings no set.
	Modules string
	// Store is the key of the BlobStore that the other pages use. Empty: "default".
	Store string
}

//go:embed nothere.html
var notHereHTML string

//go:embed nothere.js
var notHereScript string

var notHerePolicy = func() string {
	sum := sha256.Sum256([]byte(notHereScript))
	return "default-src 'none'; script-src 'self' 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; connect-src 'self'; base-uri 'none'; form-action 'none'"
}()

// ServeHTTP implements http.Handler; the status is 503.
func (p NotHerePage) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet || !strings.Contains(r.Header.Get("Accept"), "text/html") {
		http.Error(w, "the session is not here yet", http.StatusServiceUnavailable)
		return
	}
	if p.Store == "" {
		p.Store = "default"
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", notHerePolicy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Add("Vary", "Accept")
	w.WriteHeader(http.StatusServiceUnavailable)
	_, _ = w.Write([]byte(notHereHTML + `<script data-modules="` + html.EscapeString(p.Modules) + `" data-store="` + html.EscapeString(p.Store) + `">` + notHereScript + "</script>\n</html>\n"))
}
