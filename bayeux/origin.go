package bayeux

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// canonicalOrigin lower-cases an origin and drops its scheme's default port. It
// refuses everything that is not exactly scheme://host[:port].
func canonicalOrigin(o string) (string, bool) {
	u, err := url.Parse(o)
	if err != nil || u.Host == "" || u.Hostname() == "" {
		return "", false
	}
	if u.Scheme != "http" && u.Scheme != "https" {
		return "", false
	}
	bare := url.URL{Scheme: u.Scheme, Host: u.Host}
	if !strings.EqualFold(bare.String(), o) {
		return "", false
	}
	return u.Scheme + "://" + canonicalHost(u.Scheme, u.Host), true
}

func canonicalHost(scheme, host string) string {
	host = strings.ToLower(host)
	if scheme == "https" {
		return strings.TrimSuffix(host, ":443")
	}
	return strings.TrimSuffix(host, ":80")
}

// checkOrigin decides whether r may be served. cross is the origin to name in
// CORS headers, "" for a same-origin request or one without an Origin. Whether a
// script without an Origin may be served is for checkReferer to say.
func (s *Server) checkOrigin(r *http.Request, script bool) (cross string, ok bool) {
	values := r.Header.Values("Origin")
	if len(values) == 0 {
		// Browsers send Origin with every POST and WebSocket; one that hides it
		// still tells a cross-site request by this header.
		return "", script || r.Header.Get("Sec-Fetch-Site") != "cross-site"
	}
	if len(values) > 1 {
		return "", false
	}
	origin, ok := canonicalOrigin(values[0])
	if !ok {
		return "", false
	}
	if s.sameOrigin(origin, r) {
		return "", true
	}
	return values[0], slices.Contains(s.cfg.AllowedOrigins, origin)
}

// sameOrigin compares with the request's Host. Without TLS here the scheme is
// not known, as a proxy may have ended it; with TLS, or where SecureCookie says
// that there is some in front, a plain page is another origin.
func (s *Server) sameOrigin(origin string, r *http.Request) bool {
	scheme, host, _ := strings.Cut(origin, "://")
	if (r.TLS != nil || s.cfg.SecureCookie) && scheme != "https" {
		return false
	}
	return host == canonicalHost(scheme, r.Host)
}

func setCORS(h http.Header, origin string) {
	h.Add("Vary", "Origin")
	if origin != "" {
		h.Set("Access-Control-Allow-Origin", origin)
		h.Set("Access-Control-Allow-Credentials", "true")
	}
}

// preflight answers a browser's question whether it may POST JSON.
func (s *Server) preflight(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Access-Control-Allow-Methods", "POST")
	h.Set("Access-Control-Allow-Headers", strings.Join(append([]string{"Content-Type"}, s.cfg.AllowedHeaders...), ", "))
	h.Set("Access-Control-Max-Age", "600")
	w.WriteHeader(http.StatusNoContent)
}

// validHeaderName is narrower than RFC 9110, section 5.1: an asterisk would be CORS's
// wildcard.
func validHeaderName(name string) bool {
	return name != "" && !strings.ContainsFunc(name, func(c rune) bool {
		return !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_')
	})
}
