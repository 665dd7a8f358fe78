package bayeux

import (
	"net/http"
	"net/url"
	"strconv"
	"testing"
)

// What the jar does not send to the server it does not keep: nothing would
// count it.
func TestJarKeepsWhatItSends(t *testing.T) {
	jar, err := newBoundedJar()
	if err != nil {
		t.Fatal(err)
	}
	at := func(raw string) *url.URL {
		u, err := url.Parse(raw)
		if err != nil {
			t.Fatal(err)
		}
		return u
	}
	server := at("http://bayeux.test/bayeux")
	jar.SetCookies(server, []*http.Cookie{
		{Name: "kept", Value: "1"}, {Name: "root", Value: "1", Path: "/"}, {Name: "lasting", Value: "1", MaxAge: 100},
		{Name: "elsewhere", Value: "1", Path: "/other"}, {Name: "tls", Value: "1", Secure: true}, {Name: "gone", Value: "1", MaxAge: -1},
		{Name: "other", Value: "1", Domain: "other.test"},
	})
	if got := jar.Cookies(server); len(got) != 3 {
		t.Errorf("kept %v", got)
	}
	if got := jar.Cookies(at("https://bayeux.test/other")); len(got) != 3 { // those three, for /
		t.Errorf("kept for another place: %v", got)
	}
	for i := range 2 * maxCookies {
		jar.SetCookies(server, []*http.Cookie{{Name: strconv.Itoa(i), Value: "1"}})
	}
	jar.SetCookies(server, []*http.Cookie{{Name: "kept", Value: "2"}, {Name: "lasting", MaxAge: -1}})
	got := jar.Cookies(server)
	if len(got) != maxCookies-1 {
		t.Errorf("%d cookies, want %d", len(got), maxCookies-1)
	}
	for _, ck := range got {
		if ck.Name == "kept" && ck.Value != "2" {
			t.Errorf("%s = %q", ck.Name, ck.Value)
		}
	}
}
