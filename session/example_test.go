package session_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"os"
	"time"

	"github.com/sealedblob/sealedblob/policy"
	"github.com/sealedblob/sealedblob/replay"
	"github.com/sealedblob/sealedblob/seal"
	"github.com/sealedblob/sealedblob/session"
)

// What the application keeps: a cart for an hour, and a voucher that is good once.
var (
	cartOf    = policy.Attr[[]string]("cart", policy.TTL(time.Hour), policy.MaxBytes(4<<10))
	voucherOf = policy.Once[int]("voucher", policy.TTL(time.Hour))
)

// A cart, and a voucher that buys one ticket however often it is shown.
func Example() {
	dir := orExit(os.MkdirTemp("", "session"))
	defer os.RemoveAll(dir)
	sessions := orExit(session.New(context.Background(), session.Config{
		App:    "example",
		Keys:   orExit(seal.InitRing(dir, seal.A256GCM, time.Now())), // seal.LoadRing, in a real program
		Policy: orExit(policy.New(1, policy.SessionRule{Idle: 30 * time.Minute, Absolute: 12 * time.Hour}, cartOf, voucherOf)),
		Store:  replay.NewMemory(replay.MemoryConfig{}), // filestore.Open, in a real program
	}))

	mux := http.NewServeMux()
	mux.HandleFunc("/visit", func(w http.ResponseWriter, r *http.Request) {
		err := session.Update(r.Context(), cartOf, func(cart []string) ([]string, error) { return append(cart, "tea"), nil })
		if err = errors.Join(err, session.Set(r.Context(), voucherOf, 25)); err != nil {
			http.Error(w, "later", session.HTTPStatus(err))
			return
		}
		cart, _ := session.Get(r.Context(), cartOf)
		fmt.Fprintln(w, cart)
	})
	mux.HandleFunc("/buy", func(w http.ResponseWriter, r *http.Request) {
		owner := replay.NewOwner() // a repetition of this very attempt would need the same one
		euros, err := session.Take(r.Context(), voucherOf, owner)
		if err != nil { // policy, store and time have their say
			fmt.Fprintln(w, "no ticket:", session.HTTPStatus(err))
			return
		}
		fmt.Fprintln(w, "a ticket for", euros)
	})
	server := httptest.NewServer(sessions.Middleware(mux))
	defer server.Close()

	browser := &http.Client{Jar: orExit(cookiejar.New(nil))}
	for _, path := range []string{"/visit", "/buy", "/buy"} {
		res := orExit(browser.Get(server.URL + path))
		fmt.Print(string(orExit(io.ReadAll(res.Body))))
		res.Body.Close()
	}
	// Output:
	// [tea]
	// a ticket for 25
	// no ticket: 409
}

func orExit[T any](v T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return v
}
