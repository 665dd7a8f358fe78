package scsstore_test

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/sealedblob/sealedblob/internal/nodes"
	"github.com/sealedblob/sealedblob/internal/testkit"
	"github.com/sealedblob/sealedblob/policy"
	"github.com/sealedblob/sealedblob/replay"
	"github.com/sealedblob/sealedblob/session"
)

// forgetful runs servers of the program that remember nothing, under that rule.
func forgetful(t *testing.T, count int, rule policy.Rule) (servers []*nodes.Node) {
	t.Helper()
	config := session.StatelessConfig{Config: session.Config{
		App: "scs", Keys: testkit.Ring(t), Policy: nodes.Policy(t, rule),
		Store: replay.NewMemory(replay.MemoryConfig{}),
	}}
	for range count {
		stateless, err := session.NewStateless(t.Context(), config)
		if err != nil {
			t.Fatal(err)
		}
		manager := managerOf(t, config.Policy)
		server := httptest.NewServer(stateless.Middleware(manager.LoadAndSave(app(manager))))
		t.Cleanup(server.Close)
		servers = append(servers, &nodes.Node{URL: server.URL})
	}
	return servers
}

// The same program on servers that remember nothing: cookies carry its session
// from one to the other, at each request.
func TestStateless(t *testing.T) {
	servers, v := forgetful(t, 2, policy.Rule{Name: "scs", TTL: time.Hour}), nodes.NewVisitor(t)
	post(t, v, servers[0], "/put", "tea")
	expect(t, v, servers[1], "tea 1")
	post(t, v, servers[1], "/login", "")
	post(t, v, servers[0], "/put", "milk")
	expect(t, v, servers[1], "milk 2")
	post(t, v, servers[0], "/destroy", "")
	expect(t, v, servers[1], " 0")
}

// Who copied the cookies before Destroy comes back with them: only a rule against
// rollback makes it a logout for him too. README.md says so.
func TestDestroyAndCopiedCookies(t *testing.T) {
	for rollback, back := range map[policy.Rollback]bool{policy.RollbackAllow: true, policy.RollbackDrop: false} {
		server := forgetful(t, 1, policy.Rule{Name: "scs", TTL: time.Hour, Rollback: rollback})[0]
		v := nodes.NewVisitor(t)
		post(t, v, server, "/put", "tea")
		thief := v.Copy(server.URL)
		post(t, v, server, "/destroy", "")
		status, got := thief.Get(server.URL + "/")
		if in := status == http.StatusOK && got == "tea 1"; in != back {
			t.Errorf("rollback %v: %d %q", rollback, status, got)
		}
	}
}
