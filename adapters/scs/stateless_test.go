package scsstore_test

import (
	"net/http/httptest"
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

// The same program on servers that remember nothing: cookies carry its session
// from one to the other, at each request.
func TestStateless(t *testing.T) {
	config := session.StatelessConfig{Config: session.Config{
		App: "scs", Keys: testkit.Ring(t), Policy: nodes.Policy(t, policy.Rule{Name: "scs", TTL: time.Hour}),
		Store: replay.NewMemory(replay.MemoryConfig{}),
	}}
	var servers []*nodes.Node
	for range 2 {
		stateless, err := session.NewStateless(t.Context(), config)
		if err != nil {
			t.Fatal(err)
		}
		store, err := scsstore.New(config.Policy, "scs")
		if err != nil {
			t.Fatal(err)
		}
		manager := scs.New()
		manager.Store, manager.ErrorFunc = store, scsstore.ErrorFunc
		server := httptest.NewServer(stateless.Middleware(manager.LoadAndSave(app(manager))))
		t.Cleanup(server.Close)
		servers = append(servers, &nodes.Node{URL: server.URL})
	}
	v := nodes.NewVisitor(t)
	post(t, v, servers[0], "/put", "tea")
	expect(t, v, servers[1], "tea 1")
	post(t, v, servers[1], "/login", "")
	post(t, v, servers[0], "/put", "milk")
	expect(t, v, servers[1], "milk 2")
	post(t, v, servers[0], "/destroy", "")
	expect(t, v, servers[1], " 0")
}
