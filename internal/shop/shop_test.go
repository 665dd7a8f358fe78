package shop_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/sealedblob/sealedblob/internal/shop"
	"github.com/sealedblob/sealedblob/internal/testkit"
	"github.com/sealedblob/sealedblob/replay"
)

func newNode(t *testing.T, policy string) (*shop.Node, error) {
	t.Helper()
	return shop.New(t.Context(), shop.Config{
		Name: "node-1", Keys: testkit.Ring(t), Policy: testkit.Policy(t, policy), Store: replay.NewMemory(replay.MemoryConfig{}), App: "shop",
	})
}

// customer is an HTTP client on loopback with a cookie.
type customer struct {
	t      *testing.T
	node   *shop.Node
	cookie *http.Cookie
}

func (c *customer) do(method, path, body string, headers ...string) (int, map[string]any) {
	c.t.Helper()
	r := httptest.NewRequest(method, "http://127.0.0.1"+path, strings.NewReader(body))
	r.RemoteAddr = "127.0.0.1:1"
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	if c.cookie != nil {
		r.AddCookie(c.cookie)
	}
	w := httptest.NewRecorder()
	c.node.ServeHTTP(w, r)
	if cookies := w.Result().Cookies(); len(cookies) == 1 {
		c.cookie = cookies[0]
	}
	var out map[string]any
	_ = json.Unmarshal(w.Body.Bytes(), &out)
	return w.Code, out
}

func TestAPI(t *testing.T) {
	node, err := newNode(t, testkit.ShopPolicy)
	if err != nil {
		t.Fatal(err)
	}
	c := &customer{t: t, node: node}
	for _, step := range []struct {
		name, method, path, body string
		headers                  []string
		want                     int
	}{
		{"state of a visitor", "GET", "/api/state", "", nil, 200},
		{"nothing to buy", "POST", "/api/buy", "", []string{"Idempotency-Key", "AAAAAAAAAAAAAAAAAAAAAQ"}, 409},
		{"login", "POST", "/api/login", `{"user":"ada"}`, nil, 200},
		{"nobody", "POST", "/api/login", `{"user":""}`, nil, 400},
		{"no JSON", "POST", "/api/login", `user=ada`, nil, 400},
		{"unknown member", "POST", "/api/login", `{"user":"ada","admin":true}`, nil, 400},
		{"a megabyte", "POST", "/api/cart", `{"item":"` + strings.Repeat("x", 1<<20) + `"}`, nil, 400},
		{"item", "POST", "/api/cart", `{"item":"tea"}`, nil, 200},
		{"ticket", "POST", "/api/ticket", ``, nil, 200},
		{"buying without a key", "POST", "/api/buy", ``, nil, 400},
		{"buying", "POST", "/api/buy", ``, []string{"Idempotency-Key", "AAAAAAAAAAAAAAAAAAAAAQ"}, 200},
		{"buying again", "POST", "/api/buy", ``, []string{"Idempotency-Key", "AAAAAAAAAAAAAAAAAAAAAw"}, 409},
		{"another site", "POST", "/api/cart", `{"item":"x"}`, []string{"Origin", "https://evil.example", "Sec-Fetch-Site", "cross-site"}, 403},
		{"GET changes nothing", "GET", "/api/buy", ``, nil, 405},
		{"logout", "POST", "/api/logout", ``, nil, 200},
		{"after logout", "GET", "/api/state", ``, nil, 200},
	} {
		if got, body := c.do(step.method, step.path, step.body, step.headers...); got != step.want {
			t.Errorf("%s: %d %v, want %d", step.name, got, body, step.want)
		}
	}
}

func TestPageHeaders(t *testing.T) {
	node, err := newNode(t, testkit.ShopPolicy)
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/", "/sealedblob/index.js"} {
		w := httptest.NewRecorder()
		node.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		if w.Code != 200 || !strings.Contains(w.Header().Get("Content-Security-Policy"), "default-src 'self'") || w.Header().Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %d %v", path, w.Code, w.Header())
		}
	}
}

func TestPolicyMustFit(t *testing.T) {
	if _, err := newNode(t, `{"version":1,"session":{"idle":"1m","absolute":"1h"},"attributes":{"cart":{}}}`); err == nil {
		t.Error("a policy without ticket and login is accepted")
	}
}
