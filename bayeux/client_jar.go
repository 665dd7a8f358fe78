package bayeux

import (
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"slices"
	"sync"
)

// Bounds on the cookies of one server; net/http/cookiejar has none.
const (
	maxCookies     = 50
	maxCookieBytes = 4 << 10 // name and value (RFC 6265, section 6.1)
)

// boundedJar keeps few cookies, so that a server can't make the client keep, and
// send, ever more.
type boundedJar struct {
	*cookiejar.Jar
	mu sync.Mutex
}

func newBoundedJar() (*boundedJar, error) {
	jar, err := cookiejar.New(nil)
	return &boundedJar{Jar: jar}, err
}

// SetCookies takes those that fit, and that go with requests to u.
func (j *boundedJar) SetCookies(u *url.URL, cookies []*http.Cookie) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, ck := range cookies {
		if len(ck.Name)+len(ck.Value) > maxCookieBytes {
			continue
		}
		have := j.Cookies(u)
		known := slices.ContainsFunc(have, func(old *http.Cookie) bool { return old.Name == ck.Name })
		if !known && len(have) >= maxCookies {
			continue
		}
		j.Jar.SetCookies(u, []*http.Cookie{ck})
		if !slices.ContainsFunc(j.Cookies(u), func(now *http.Cookie) bool { return now.Name == ck.Name && now.Value == ck.Value }) {
			// For another path, or for TLS alone: nothing would count it.
			gone := *ck
			gone.MaxAge = -1
			j.Jar.SetCookies(u, []*http.Cookie{&gone})
		}
	}
}
