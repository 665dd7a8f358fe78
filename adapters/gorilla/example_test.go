package gorillastore_test

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

	gorillastore "github.com/sealedblob/sealedblob/adapters/gorilla"
	"github.com/sealedblob/sealedblob/policy"
	"github.com/sealedblob/sealedblob/replay"
	"github.com/sealedblob/sealedblob/seal"
	"github.com/sealedblob/sealedblob/session"
)

// The handler knows gorilla/sessions alone.
func Example() {
	dir := must(os.MkdirTemp("", "gorillastore"))
	defer os.RemoveAll(dir)
	rules := must(policy.New(1, policy.SessionRule{Idle: 30 * time.Minute, Absolute: 12 * time.Hour},
		policy.Rule{Name: "cart", TTL: 12 * time.Hour}))
	manager := must(session.New(context.Background(), session.Config{
		App: "example", Policy: rules,
		Keys:  must(seal.InitRing(dir, seal.A256GCM, time.Now())), // seal.LoadRing, in a real program
		Store: replay.NewMemory(replay.MemoryConfig{}),            // filestore.Open, in a real program
	}))

	store := gorillastore.New(rules)
	buy := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		cart, err := store.Get(r, "cart")
		if err != nil {
			http.Error(w, "try again", session.HTTPStatus(err))
			return
		}
		n, _ := cart.Values["teas"].(int)
		cart.Values["teas"] = n + 1
		if err := cart.Save(r, w); err != nil {
			http.Error(w, "try again", session.HTTPStatus(err))
			return
		}
		fmt.Fprintln(w, "teas:", n+1)
	})
	server := httptest.NewServer(manager.Middleware(buy))
	defer server.Close()

	browser := &http.Client{Jar: must(cookiejar.New(nil))}
	for range 2 {
		res := must(browser.Get(server.URL))
		fmt.Print(string(must(io.ReadAll(res.Body))))
		res.Body.Close()
	}
	// Output:
	// teas: 1
	// teas: 2
}

func must[T any](v T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return v
}
