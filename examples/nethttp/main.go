// Nethttp puts sessions under handlers that are there already: net/http alone,
// and a page that restores over plain HTTP. Start it twice, on two ports behind
// one address, and stop the one in use: cart and login go on.
package main

import (
	"context"
	"flag"
	"log"
	"net/http"
	"time"

	"github.com/sealedblob/sealedblob/client"
	"github.com/sealedblob/sealedblob/examples/cart"
	"github.com/sealedblob/sealedblob/policy"
	"github.com/sealedblob/sealedblob/replay/filestore"
	"github.com/sealedblob/sealedblob/seal"
	"github.com/sealedblob/sealedblob/session"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:8080", "address")
	flag.Parse()
	ctx := context.Background()
	sessions := must(session.New(ctx, session.Config{
		App:    "nethttp",
		Keys:   must(seal.LoadRing(".nethttp/keys")), // blobctl keyring init --dir .nethttp/keys
		Policy: must(policy.New(1, policy.SessionRule{Idle: 30 * time.Minute, Absolute: 12 * time.Hour}, cart.Cart)),
		Store:  must(filestore.Open(".nethttp/replay", filestore.Config{})), // shared by the servers of this host
	}))
	go sessions.Run(ctx)
	log.Printf("open http://%s/", *listen)
	log.Fatal(http.ListenAndServe(*listen, around(sessions, existing())))
}

// existing is the handler that the program has. Where its functions kept a map of
// carts by cookie, they ask the session of the request.
func existing() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /cart", cart.Show)
	mux.HandleFunc("POST /cart", cart.Add)
	mux.HandleFunc("POST /login", cart.Login)
	mux.HandleFunc("POST /logout", cart.Logout)
	return mux
}

// around is what is new: the middleware, where clients restore, and their modules.
func around(sessions *session.Manager, next http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle(session.RestorePath, sessions.RestoreHandler())
	mux.Handle("GET /sealedblob/", http.StripPrefix("/sealedblob/", http.FileServerFS(client.Files)))
	mux.HandleFunc("GET /{$}", cart.Index) // needs no session
	mux.Handle("/", http.NewCrossOriginProtection().Handler(sessions.Middleware(next)))
	return mux
}

func must[T any](v T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return v
}
