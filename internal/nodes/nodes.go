// Package nodes runs several real nodes on loopback, for the tests of adapters
// and examples, and a visitor who moves from one to another.
package nodes

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/sealedblob/sealedblob/internal/testkit"
	"github.com/sealedblob/sealedblob/policy"
	"github.com/sealedblob/sealedblob/replay"
	"github.com/sealedblob/sealedblob/session"
)

// Node is one server.
type Node struct {
	Sessions *session.Manager
	URL      string
}

// Start runs count nodes that share keyring, policy and store until the test
// ends. Config has Policy, and what else the test wants to be other than usual;
// app makes a node's whole handler, with RestoreHandler in it.
func Start(tb testing.TB, count int, config session.Config, app func(*session.Manager) http.Handler) []*Node {
	tb.Helper()
	config.Keys, config.App = testkit.Ring(tb), "nodes"
	config.Early = session.Early{Wait: -1} // visitors restore over HTTP alone
	if config.Store == nil {
		config.Store = replay.NewMemory(replay.MemoryConfig{})
	}
	var out []*Node
	for range count {
		m, err := session.New(tb.Context(), config)
		if err != nil {
			tb.Fatal(err)
		}
		server := httptest.NewServer(app(m))
		tb.Cleanup(server.Close)
		out = append(out, &Node{m, server.URL})
	}
	return out
}

// Mount puts app into m's middleware, and m's restore handler beside it.
func Mount(m *session.Manager, app http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle(session.RestorePath, m.RestoreHandler())
	mux.Handle("/", m.Middleware(app))
	return mux
}

// Policy declares attributes for tests.
func Policy(tb testing.TB, attributes ...policy.Declaration) *policy.Policy {
	tb.Helper()
	p, err := policy.New(1, policy.SessionRule{Idle: 30 * time.Minute, Absolute: 12 * time.Hour}, attributes...)
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

// Visitor is a client with a cookie jar. All nodes are one site to it, as they
// are behind a front.
type Visitor struct {
	tb   testing.TB
	http *http.Client
}

// NewVisitor makes a visitor without cookies.
func NewVisitor(tb testing.TB) *Visitor {
	tb.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		tb.Fatal(err)
	}
	return &Visitor{tb, &http.Client{Jar: jar}}
}

// Get fetches a page.
func (v *Visitor) Get(url string) (status int, body string) {
	v.tb.Helper()
	return v.do(http.MethodGet, url, "", "")
}

// Post sends a form.
func (v *Visitor) Post(url string, form url.Values) (status int, body string) {
	v.tb.Helper()
	return v.do(http.MethodPost, url, "application/x-www-form-urlencoded", form.Encode())
}

// Cookie is the value that the visitor would send to u; empty if there is none.
func (v *Visitor) Cookie(u, name string) string {
	v.tb.Helper()
	parsed, err := url.Parse(u)
	if err != nil {
		v.tb.Fatal(err)
	}
	for _, c := range v.http.Jar.Cookies(parsed) {
		if c.Name == name {
			return c.Value
		}
	}
	return ""
}

// SetCookie puts another value in place of a cookie's, or a cookie that the jar
// has forgotten back.
func (v *Visitor) SetCookie(u, name, value string) {
	v.tb.Helper()
	parsed, err := url.Parse(u)
	if err != nil {
		v.tb.Fatal(err)
	}
	v.http.Jar.SetCookies(parsed, []*http.Cookie{{Name: name, Value: value, Path: "/"}})
}

// Copy is somebody else who has v's cookies for u.
func (v *Visitor) Copy(u string) *Visitor {
	v.tb.Helper()
	parsed, err := url.Parse(u)
	if err != nil {
		v.tb.Fatal(err)
	}
	other := NewVisitor(v.tb)
	other.http.Jar.SetCookies(parsed, v.http.Jar.Cookies(parsed))
	return other
}

func (v *Visitor) do(method, url, kind, content string) (status int, body string) {
	v.tb.Helper()
	r, err := http.NewRequestWithContext(v.tb.Context(), method, url, strings.NewReader(content))
	if err != nil {
		v.tb.Fatal(err)
	}
	if kind != "" {
		r.Header.Set("Content-Type", kind)
	}
	res, err := v.http.Do(r)
	if err != nil {
		v.tb.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		v.tb.Fatal(err)
	}
	return res.StatusCode, string(text)
}

// Set is what the visitor carries: the newest sealed set of its session on n.
func (v *Visitor) Set(n *Node) session.WireRequest {
	v.tb.Helper()
	status, body := v.restore(n, session.WireRequest{V: session.WireVersion})
	var answer struct {
		Push *session.WirePush `json:"push"`
	}
	if err := json.Unmarshal([]byte(body), &answer); err != nil || answer.Push == nil {
		v.tb.Fatalf("no set: %d %s", status, body)
	}
	token := make([]byte, 16)
	rand.Read(token)
	return session.WireRequest{
		V: session.WireVersion, Attempt: base64.RawURLEncoding.EncodeToString(token),
		Manifest: answer.Push.Manifest, Blobs: answer.Push.Set,
	}
}

// Present hands a set to n and returns the state that it answers.
func (v *Visitor) Present(n *Node, set session.WireRequest) (state string) {
	v.tb.Helper()
	status, body := v.restore(n, set)
	var answer session.WireReply
	if err := json.Unmarshal([]byte(body), &answer); err != nil {
		v.tb.Fatalf("no answer to a set: %d %s", status, body)
	}
	return answer.State
}

// Move takes the visitor's session from one node to another.
func (v *Visitor) Move(from, to *Node) {
	v.tb.Helper()
	if state := v.Present(to, v.Set(from)); state != session.StateRestored {
		v.tb.Fatalf("moving: the set was answered %q", state)
	}
}

func (v *Visitor) restore(n *Node, request session.WireRequest) (status int, body string) {
	v.tb.Helper()
	var text bytes.Buffer
	if err := json.NewEncoder(&text).Encode(request); err != nil {
		v.tb.Fatal(err)
	}
	return v.do(http.MethodPost, n.URL+session.RestorePath, "application/json", text.String())
}
