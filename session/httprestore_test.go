package session_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealedblob/sealedblob/replay"
	"github.com/sealedblob/sealedblob/seal"
	"github.com/sealedblob/sealedblob/session"
)

// restoreAnswer is what the restore handler says.
type restoreAnswer struct {
	session.WireReply
	Push *session.WirePush `json:"push"`
}

// bring is a POST of a JSON body, or of anything as JSON.
func bring(t *testing.T, h http.Handler, body any, cookies ...*http.Cookie) (*http.Response, restoreAnswer) {
	t.Helper()
	text, ok := body.(string)
	if !ok {
		b, err := json.Marshal(body)
		must(t, err)
		text = string(b)
	}
	r := httptest.NewRequest("POST", "http://127.0.0.1"+session.RestorePath, strings.NewReader(text))
	r.RemoteAddr = "127.0.0.1:5555"
	r.Header.Set("Content-Type", "application/json")
	for _, c := range cookies {
		r.AddCookie(c)
	}
	res := do(h, r)
	var a restoreAnswer
	_ = json.NewDecoder(res.Body).Decode(&a)
	return res, a
}

func wire(p session.Presented) session.WireRequest {
	return session.WireRequest{V: 1, Attempt: seal.ID(p.Attempt).String(), Manifest: p.Manifest, Blobs: p.Blobs}
}

// take keeps a set that came over HTTP, as a client does.
func (b *browser) take(t *testing.T, u *session.WirePush) {
	t.Helper()
	if u == nil || u.Base != "" || u.V != 1 {
		t.Fatalf("no complete set: %+v", u)
	}
	v, ok := session.ParseVersion(u.Gen)
	if !ok {
		t.Fatalf("version %q", u.Gen)
	}
	b.Push(session.Push{Version: v, Manifest: u.Manifest, Set: u.Set})
}

func TestRestoreOverHTTP(t *testing.T) {
	c := newCluster(t)
	s, b := shopping(t, c.node())
	cookie := cookieOf(t, s.Holder())
	m := c.node()
	presented := wire(b.set(s.Holder()))
	res, a := bring(t, m.RestoreHandler(), presented, cookie)
	if res.StatusCode != 200 || a.State != session.StateRestored || a.Gen != "1.2" || res.Header.Get("Cache-Control") != "no-store" {
		t.Fatalf("%d %+v %v", res.StatusCode, a, res.Header)
	}
	if cookies := res.Cookies(); len(cookies) != 1 || !strings.HasSuffix(cookies[0].Value, ".1") || !cookies[0].HttpOnly {
		t.Errorf("cookies %v, want one with fence 1", cookies)
	}
	b.take(t, a.Push)
	if w := do(m.Middleware(http.HandlerFunc(handler)), request("GET", "/", cookie)); w.StatusCode != 200 {
		t.Errorf("the repeated request: %d", w.StatusCode)
	}
	// A repetition, its answer lost, gets the same set once more.
	if _, again := bring(t, m.RestoreHandler(), presented, cookie); again.State != session.StateNone || again.Gen != a.Gen || again.Push == nil || again.Push.Manifest != a.Push.Manifest {
		t.Errorf("a repetition: %+v", again)
	}
	// The new set is good for the next move, without Bayeux anywhere.
	if _, next := bring(t, c.node().RestoreHandler(), wire(b.set(s.Holder())), cookie); next.State != session.StateRestored || next.Gen != "2.3" {
		t.Errorf("the next move: %+v", next.WireReply)
	}
}

// The node dies with its answer on the way: the same attempt wins elsewhere.
func TestRestoreOverHTTPAfterALostAnswer(t *testing.T) {
	c := newCluster(t)
	s, b := shopping(t, c.node())
	presented := wire(b.set(s.Holder()))
	bring(t, c.node().RestoreHandler(), presented, cookieOf(t, s.Holder()))
	if res, a := bring(t, c.node().RestoreHandler(), presented, cookieOf(t, s.Holder())); res.StatusCode != 200 || a.State != session.StateRestored {
		t.Errorf("the same attempt: %d %+v", res.StatusCode, a.WireReply)
	}
	presented.Attempt = seal.NewID().String()
	if res, a := bring(t, c.node().RestoreHandler(), presented, cookieOf(t, s.Holder())); res.StatusCode != 401 || a.State != session.StateRefused || a.Push != nil {
		t.Errorf("another attempt: %d %+v", res.StatusCode, a.WireReply)
	}
}

func TestRestoreOverHTTPRefuses(t *testing.T) {
	c := newCluster(t)
	s, b := shopping(t, c.node())
	other, _ := shopping(t, c.node())
	h := c.node().RestoreHandler()
	cookie := cookieOf(t, s.Holder())
	good, err := json.Marshal(wire(b.set(s.Holder())))
	must(t, err)
	text := string(good)
	for name, test := range map[string]struct {
		body   any
		cookie *http.Cookie
		status int
	}{
		"no cookie":               {text, nil, 401},
		"another's cookie":        {text, cookieOf(t, other.Holder()), 401},
		"a changed manifest":      {strings.Replace(text, `"manifest":"e`, `"manifest":"f`, 1), cookie, 401},
		"version 2":               {strings.Replace(text, `"v":1`, `"v":2`, 1), cookie, 401},
		"no version":              {strings.Replace(text, `"v":1,`, ``, 1), cookie, 401},
		"no attempt":              {strings.Replace(text, `"attempt"`, `"proof":"","attempt":"AAAAAAAAAAAAAAAAAAAAAA","x"`, 1), cookie, 400},
		"a short attempt":         {`{"v":1,"attempt":"AA","manifest":"x"}`, cookie, 401},
		"a set and a version":     {strings.Replace(text, `"v":1`, `"v":1,"gen":"0.1"`, 1), cookie, 400},
		"no version held":         {`{"v":1,"gen":"1"}`, cookie, 400},
		"an unknown member":       {strings.Replace(text, `"v":1`, `"v":1,"admin":true`, 1), cookie, 400},
		"a member twice":          {strings.Replace(text, `"v":1`, `"v":1,"v":1`, 1), cookie, 400},
		"a slot twice":            {`{"v":1,"blobs":{"AAAAAAAAAAAA":"x","AAAAAAAAAAAA":"x"}}`, cookie, 400},
		"another case":            {strings.Replace(text, `"v":1`, `"V":1`, 1), cookie, 400},
		"an envelope that is 1":   {`{"v":1,"blobs":{"AAAAAAAAAAAA":1}}`, cookie, 400},
		"blobs that are a list":   {`{"v":1,"blobs":["x"]}`, cookie, 400},
		"v as text":               {`{"v":"1"}`, cookie, 400},
		"v as 1.0":                {`{"v":1.0}`, cookie, 400},
		"a list":                  {`[` + text + `]`, cookie, 400},
		"something behind":        {text + `{}`, cookie, 400},
		"half":                    {text[:len(text)/2], cookie, 400},
		"not closed":              {text[:len(text)-1], cookie, 400},
		"a wrong bracket":         {text[:len(text)-1] + "]", cookie, 400},
		"nothing":                 {"", cookie, 400},
		"no UTF-8":                {"{\"v\":1,\"manifest\":\"\xff\"}", cookie, 400},
		"more than a set can be":  {`{"v":1,"manifest":"` + strings.Repeat("x", session.MaxHandshake+20<<10) + `"}`, cookie, 413},
		"more blobs than allowed": {map[string]any{"v": 1, "attempt": "AAAAAAAAAAAAAAAAAAAAAQ", "manifest": "x", "blobs": many(65)}, cookie, 401},
	} {
		cookies := []*http.Cookie{test.cookie}
		if test.cookie == nil {
			cookies = nil
		}
		res, a := bring(t, h, test.body, cookies...)
		if res.StatusCode != test.status || a.Push != nil || len(res.Cookies()) != 0 || res.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %d %+v, want %d", name, res.StatusCode, a, test.status)
		}
	}
	if res, a := bring(t, h, text, cookie); res.StatusCode != 200 || a.State != session.StateRestored {
		t.Errorf("the untouched set after all that: %d %+v", res.StatusCode, a.WireReply)
	}
}

func many(n int) map[string]string {
	out := map[string]string{}
	for range n {
		out[seal.NewID().String()[:12]] = "x"
	}
	return out
}

func TestRestoreOverHTTPIsForItsOwnOrigin(t *testing.T) {
	c := newCluster(t)
	s, b := shopping(t, c.node())
	h := c.node().RestoreHandler()
	body, err := json.Marshal(wire(b.set(s.Holder())))
	must(t, err)
	for name, test := range map[string]struct {
		change func(*http.Request)
		status int
	}{
		"GET":             {func(r *http.Request) { r.Method = "GET" }, 405},
		"a preflight":     {func(r *http.Request) { r.Method = "OPTIONS" }, 405},
		"a form":          {func(r *http.Request) { r.Header.Set("Content-Type", "text/plain") }, 415},
		"no type":         {func(r *http.Request) { r.Header.Del("Content-Type") }, 415},
		"another site":    {func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") }, 403},
		"a subdomain":     {func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "same-site") }, 403},
		"another origin":  {func(r *http.Request) { r.Header.Set("Origin", "http://evil.example") }, 403},
		"an opaque one":   {func(r *http.Request) { r.Header.Set("Origin", "null") }, 403},
		"its own":         {func(r *http.Request) { r.Header.Set("Origin", "http://127.0.0.1") }, 200},
		"with parameters": {func(r *http.Request) { r.Header.Set("Content-Type", "application/json; charset=utf-8") }, 200},
	} {
		r := httptest.NewRequest("POST", "http://127.0.0.1/sealed/restore", strings.NewReader(string(body)))
		r.RemoteAddr = "127.0.0.1:5555"
		r.Header.Set("Content-Type", "application/json")
		r.AddCookie(cookieOf(t, s.Holder()))
		test.change(r)
		if res := do(h, r); res.StatusCode != test.status {
			t.Errorf("%s: %d, want %d", name, res.StatusCode, test.status)
		}
	}
}

func TestRestoreOverHTTPWhenNobodyCanTell(t *testing.T) {
	c := newCluster(t)
	s, b := shopping(t, c.node())
	down := &spy{Store: c.store, restore: func(context.Context) (replay.Restored, error, bool) {
		return replay.Restored{}, errors.New("the store is away"), true
	}}
	good := c.store
	c.store = down
	m := c.node()
	presented := wire(b.set(s.Holder()))
	res, a := bring(t, m.RestoreHandler(), presented, cookieOf(t, s.Holder()))
	if res.StatusCode != 503 || a.State != session.StateRetry || res.Header.Get("Retry-After") == "" || a.Push != nil {
		t.Errorf("%d %+v", res.StatusCode, a)
	}
	c.store = good
	if _, a := bring(t, c.node().RestoreHandler(), presented, cookieOf(t, s.Holder())); a.State != session.StateRestored {
		t.Errorf("the same set and attempt later: %+v", a.WireReply)
	}
}

// A set that is no good costs nobody the session that lives here.
func TestRestoreOverHTTPRefusesASetAndGivesTheGoodOne(t *testing.T) {
	c := newCluster(t)
	m := c.node()
	s, b := shopping(t, m)
	bad := wire(b.set(s.Holder()))
	bad.Manifest = bad.Manifest[:len(bad.Manifest)-2] + "AA"
	res, a := bring(t, m.RestoreHandler(), bad, cookieOf(t, s.Holder()))
	if res.StatusCode != 401 || a.State != session.StateRefused || a.Gen != "0.1" || a.Push == nil || a.Push.Manifest != b.manifest {
		t.Errorf("%d %+v", res.StatusCode, a)
	}
}

// fading is a keyring that goes away after some calls.
type fading struct {
	ring *seal.Ring
	err  error
	left int // calls that succeed before err
}

func (f *fading) Ring(context.Context) (*seal.Ring, error) {
	if f.left--; f.left < 0 && f.err != nil {
		return nil, f.err
	}
	return f.ring, nil
}

// Restored but not sealed is "try again": without the new set its client holds
// one that restores no more.
func TestRestoreOverHTTPHandsOverOrSaysRetry(t *testing.T) {
	c := newCluster(t)
	s, b := shopping(t, c.node())
	keys := &fading{ring: c.ring, err: errors.New("no keys"), left: 1}
	m, err := session.New(t.Context(), session.Config{Keys: keys, Policy: c.policy, Store: c.store, App: "shop"})
	must(t, err)
	presented := wire(b.set(s.Holder()))
	if res, a := bring(t, m.RestoreHandler(), presented, cookieOf(t, s.Holder())); res.StatusCode != 503 || a.State != session.StateRetry {
		t.Errorf("%d %+v", res.StatusCode, a.WireReply)
	}
	keys.err = nil
	if _, a := bring(t, m.RestoreHandler(), presented, cookieOf(t, s.Holder())); a.State != session.StateNone || a.Push == nil || a.Gen != "1.2" {
		t.Errorf("the repetition: %+v", a)
	}
}

// A client without Bayeux asks for the newest set.
func TestAskingForTheNewestSet(t *testing.T) { synctest.Test(t, askForTheNewestSet) }

func askForTheNewestSet(t *testing.T) {
	c := newCluster(t)
	m := c.node()
	h := m.RestoreHandler()
	s, err := m.Start()
	must(t, err)
	cookie := cookieOf(t, s.Holder())
	if _, a := bring(t, h, session.WireRequest{V: 1}, cookie); a.State != session.StateNone || a.Gen != "0.0" || a.Push != nil {
		t.Errorf("nothing was ever set: %+v", a)
	}
	must(t, s.Set(t.Context(), "cart", []string{"tea"}))
	b := &browser{}
	_, a := bring(t, h, session.WireRequest{V: 1}, cookie)
	b.take(t, a.Push)
	first := b.set(s.Holder())
	if _, a := bring(t, h, session.WireRequest{V: 1, Gen: "0.1"}, cookie); a.Gen != "0.1" || a.Push != nil {
		t.Errorf("holding the newest: %+v", a)
	}
	must(t, s.Set(t.Context(), "cart", []string{"tea", "pot"}))
	if _, a = bring(t, h, session.WireRequest{V: 1, Gen: "0.1"}, cookie); a.Gen != "0.2" {
		t.Errorf("holding an older one: %+v", a)
	}
	b.take(t, a.Push)
	bring(t, h, session.WireRequest{V: 1, Gen: "0.2"}, cookie)
	runFor(t, m, 1500*time.Millisecond)
	// Another client of the same browser may still hold the first set: it restores.
	if _, err := c.node().Restore(t.Context(), first); err != nil {
		t.Errorf("what one client said over HTTP locked another out: %v", err)
	}
	if _, a := bring(t, h, session.WireRequest{V: 1, Gen: "1.3"}, cookie); a.State != session.StateNone || a.Gen != "" || a.Push != nil {
		t.Errorf("a client that knows of a later fence: %+v", a)
	}
	if _, live := m.Live(s.Holder()); live {
		t.Error("the copy that has been left behind lives on")
	}
}
