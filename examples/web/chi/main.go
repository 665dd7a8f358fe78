// Chi is examples/nethttp with github.com/go-chi/chi: sessions.Middleware is a
// middleware like any other, and the handlers are those of net/http.
package main

import (
	"context"
	"flag"
	"log"
	"log/slog"
	"net/http"
	"time"

	"github.com/go-chi/chi/v5"

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
		App:      "chi",
		Keys:     must(seal.LoadRing(".chi/keys")), // blobctl keyring init --dir .chi/keys
		Policy:   must(policy.New(1, policy.SessionRule{Idle: 30 * time.Minute, Absolute: 12 * time.Hour}, cart.Cart)),
		Store:    must(filestore.Open(".chi/replay", filestore.Config{})), // shared by the servers of this host
		Observer: session.NewAudit(slog.Default()),
	}))
	go sessions.Run(ctx)
	log.Printf("open http://%s/", *listen)
	server := &http.Server{Addr: *listen, Handler: routes(sessions), ReadHeaderTimeout: 10 * time.Second}
	log.Fatal(server.ListenAndServe())
}

func routes(sessions *session.Manager) http.Handler {
	r := chi.NewRouter()
	r.Use(http.NewCrossOriginProtection().Handler)
	r.Handle(session.RestorePath, sessions.RestoreHandler()) // outside the group: its session is not here yet
	r.Handle("/sealedblob/*", http.StripPrefix("/sealedblob/", http.FileServerFS(client.Files)))
	r.Get("/", cart.Index)
	r.Group(func(r chi.Router) {
		r.Use(sessions.Middleware)
		r.Get("/cart", cart.Show)
		r.Post("/cart", cart.Add)
		r.Post("/login", cart.Login)
		r.Post("/logout", cart.Logout)
	})
	return r
}

func must[T any](v T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return v
}
