package scsstore_test

import (
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"github.com/alexedwards/scs/v2"

	scsstore "github.com/sealedblob/sealedblob/adapters/scs"
	"github.com/sealedblob/sealedblob/internal/nodes"
	"github.com/sealedblob/sealedblob/internal/testkit"
	"github.com/sealedblob/sealedblob/policy"
	"github.com/sealedblob/sealedblob/replay"
	"github.com/sealedblob/sealedblob/session"
)

// Who copied the cookies before Destroy comes back with them: only a rule against
// rollback makes it a logout for him too. README.md says so.
func TestDestroyAndCopiedCookies(t *testing.T) {
	for rollback, back := range map[policy.Rollback]bool{policy.RollbackAllow: true, policy.RollbackDrop: false} {
		rules := nodes.Policy(t, policy.Rule{Name: "scs", TTL: time.Hour, Rollback: rollback})
		stateless, err := session.NewStateless(t.Context(), session.StatelessConfig{Config: session.Config{
			App: "scs", Keys: testkit.Ring(t), Policy: rules,
			Store: replay.NewMemory(replay.MemoryConfig{}),
		}})
		if err != nil {
			t.Fatal(err)
		}
		store, err := scsstore.New(rules, "scs")
		if err != nil {
			t.Fatal(err)
		}
		manager := scs.New()
		manager.Store, manager.ErrorFunc = store, scsstore.ErrorFunc
		server := httptest.NewServer(stateless.Middleware(manager.LoadAndSave(app(manager))))
		t.Cleanup(server.Close)

		jar, err := cookiejar.New(nil)
		if err != nil {
			t.Fatal(err)
		}
		client := &http.Client{Jar: jar}
		post := func(path string) {
			res, err := client.PostForm(server.URL+path, url.Values{"note": {"tea"}})
			if err != nil || res.StatusCode != http.StatusOK {
				t.Fatalf("POST %s: %v, %v", path, res.Status, err)
			}
			res.Body.Close()
		}
		post("/put")
		at, _ := url.Parse(server.URL)
		copied := jar.Cookies(at)
		post("/destroy")

		r, _ := http.NewRequest(http.MethodGet, server.URL, nil)
		for _, c := range copied {
			r.AddCookie(c)
		}
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		got := make([]byte, 16)
		n, _ := res.Body.Read(got)
		if in := string(got[:n]) == "tea 1"; in != back {
			t.Errorf("rollback %v: %d %q", rollback, res.StatusCode, got[:n])
		}
	}
}
