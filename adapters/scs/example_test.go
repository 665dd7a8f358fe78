package scsstore_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"os"
	"time"

	"github.com/alexedwards/scs/v2"

	scsstore "github.com/sealedblob/sealedblob/adapters/scs"
	"github.com/sealedblob/sealedblob/policy"
	"github.com/sealedblob/sealedblob/replay"
	"github.com/sealedblob/sealedblob/seal"
	"github.com/sealedblob/sealedblob/session"
)

// The handler knows scs alone.
func Example() {
	dir := must(os.MkdirTemp("", "scsstore"))
	defer os.RemoveAll(dir)
	rules := must(policy.New(1, policy.SessionRule{Idle: 30 * time.Minute, Absolute: 12 * time.Hour},
		policy.Rule{Name: "scs", TTL: 12 * time.Hour, MaxBytes: 8 << 10}))
	sessions := must(session.New(context.Background(), session.Config{
		App: "example", Policy: rules,
		Keys:  must(seal.InitRing(dir, seal.A256GCM, time.Now())), // seal.LoadRing, in a real program
		Store: replay.NewMemory(replay.MemoryConfig{}),            // filestore.Open, in a real program
	}))

	manager := scs.New()
	manager.Store, manager.ErrorFunc = must(scsstore.New(rules, "scs")), scsstore.ErrorFunc
	hits := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := manager.GetInt(r.Context(), "hits") + 1
		manager.Put(r.Context(), "hits", n)
		fmt.Fprintln(w, n)
	})
	server := httptest.NewServer(sessions.Middleware(manager.LoadAndSave(hits)))
	defer server.Close()

	browser := &http.Client{Jar: must(cookiejar.New(nil))}
	for range 2 {
		res := must(browser.Get(server.URL))
		fmt.Print(string(must(io.ReadAll(res.Body))))
		res.Body.Close()
	}
	// Output:
	// 1
	// 2
}

func must[T any](v T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return v
}
