package bayeux_test

import (
	"fmt"
	"math"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealedblob/sealedblob/bayeux"
)

func TestNewClientChecksItsArguments(t *testing.T) {
	for _, u := range []string{"", "x", "ws://a/b", "ftp://a", "http://", "://"} {
		if c, err := bayeux.NewClient(u, bayeux.ClientConfig{}); err == nil || c != nil {
			t.Errorf("NewClient(%q) = %v, %v", u, c, err)
		}
	}
	for name, cfg := range map[string]bayeux.ClientConfig{
		"transport": {Transports: []string{"carrier-pigeon"}},
		"none":      {Transports: []string{}},
		"backoff":   {Backoff: -1},
		"reply":     {MaxReply: -1},
	} {
		if c, err := bayeux.NewClient("http://a", cfg); err == nil || c != nil {
			t.Errorf("%s: NewClient = %v, %v", name, c, err)
		}
	}
}

// The two transports would look for a name that is not ASCII in two places.
func TestClientHostIsASCII(t *testing.T) {
	for raw, good := range map[string]bool{
		"http://xn--bcher-kva.example/": true, "https://Books.example:8443/bücher": true, "http://[fe80::1%25eth0]/": true,
		"http://bücher.example/": false, "http://b%C3%BCcher.example/": false, "https://books.example。/": false,
	} {
		_, err := bayeux.NewClient(raw, bayeux.ClientConfig{})
		if good != (err == nil) || !good && !strings.Contains(err.Error(), "ASCII") {
			t.Errorf("%s: %v", raw, err)
		}
	}
}

// What a program may write for "no limit" is refused if the client could not count
// with it, and works otherwise.
func TestClientHighestLimits(t *testing.T) {
	const years = 10 * 365 * 24 * time.Hour
	for name, cfg := range map[string]bayeux.ClientConfig{
		"MaxReply": {MaxReply: math.MaxInt}, "MaxPending": {MaxPending: math.MaxInt}, "RequestTimeout": {RequestTimeout: math.MaxInt64},
		"Backoff": {Backoff: math.MaxInt64}, "MaxBackoff": {MaxBackoff: math.MaxInt64},
	} {
		if _, err := bayeux.NewClient("http://bayeux.test/", cfg); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	eachTransport(t, func(t *testing.T, transports []string) {
		s := newServer(t, bayeux.Config{})
		c := connected(t, serveMem(t, s), bayeux.ClientConfig{Transports: transports, MaxReply: 1 << 30, MaxPending: 1 << 30, RequestTimeout: years, Backoff: years, MaxBackoff: years})
		var calls atomic.Int64
		release := make(chan struct{})
		if err := c.Subscribe(t.Context(), "/a", func(*bayeux.Message) { calls.Add(1); <-release }); err != nil {
			t.Fatal(err)
		}
		for range 50 {
			s.Publish("/a", 1)
			synctest.Wait()
		}
		close(release)
		time.Sleep(time.Minute)
		if n := calls.Load(); n != 50 || c.State() != bayeux.StateConnected {
			t.Errorf("%d of 50 messages, state %v", n, c.State())
		}
	})
}

// A server gets the same cookies by an upgrade as by a request.
func TestClientCookiesAreTheSame(t *testing.T) {
	sent := map[string]string{}
	for name, list := range transports {
		synctest.Test(t, func(t *testing.T) {
			s := newServer(t, bayeux.Config{})
			var first atomic.Pointer[string]
			n := serveMem(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				first.CompareAndSwap(nil, new(fmt.Sprintf("%q", r.Header["Cookie"])))
				s.ServeHTTP(w, r)
			}))
			jar, err := cookiejar.New(nil)
			if err != nil {
				t.Fatal(err)
			}
			given := http.Response{Header: http.Header{"Set-Cookie": {`tok="abc"; Path=/`, `two=a b; Path=/`, `three=a,b; Path=/`}}}
			jar.SetCookies(&url.URL{Scheme: "http", Host: "bayeux.test", Path: "/"}, given.Cookies())
			tr := n.transport()
			t.Cleanup(tr.CloseIdleConnections)
			connected(t, n, bayeux.ClientConfig{Transports: list, Header: http.Header{"Cookie": {"own=1"}}, HTTPClient: &http.Client{Transport: tr, Jar: jar}})
			sent[name] = *first.Load()
		})
	}
	if want := `["own=1; tok=\"abc\"; two=\"a b\"; three=\"a,b\""]`; sent["websocket"] != want || sent["long-polling"] != want {
		t.Errorf("sent %v, want %s", sent, want)
	}
}
