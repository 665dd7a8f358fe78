// Nethttp puts sessions under handlers that are there already: net/http alone,
// and a page that restores over plain HTTP. Start it twice, on two ports behind
// one address, and stop the one in use, by SIGTERM or kill -9: cart and login go on.
package main

import (
	"context"
	"flag"
	"log"
	"net"
	"net/http"
	"os/signal"
	"syscall"
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
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	sessions := must(session.New(ctx, session.Config{
		App:    "nethttp",
		Keys:   must(seal.LoadRing(".nethttp/keys")), // blobctl keyring init --dir .nethttp/keys
		Policy: must(policy.New(1, policy.SessionRule{Idle: 30 * time.Minute, Absolute: 12 * time.Hour}, cart.Cart)),
		Store:  must(filestore.Open(".nethttp/replay", filestore.Config{})), // shared by the servers of this host
		// Who opens an address while his session is elsewhere gets a page that brings it.
		Early: session.Early{NotHere: session.NotHerePage{Modules: "/sealedblob/"}},
	}))
	log.Printf("open http://%s/", *listen)
	if err := serve(ctx, must(net.Listen("tcp", *listen)), sessions, around(sessions, existing())); err != nil {
		log.Fatal(err)
	}
}

// serve runs until ctx ends, as at a deploy. Then the sessions go to their clients,
// while requests are still answered; the server ends last. The limit must be shorter than
// the patience of whoever stops the program (systemd: TimeoutStopSec).
func serve(ctx context.Context, l net.Listener, sessions *session.Manager, h http.Handler) error {
	go sessions.Run(ctx)
	server, failed := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}, make(chan error, 1)
	go func() { failed <- server.Serve(l) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
	defer cancel()
	out := sessions.Drain(limit)
	log.Printf("%d sessions left with everything, %d without", out.Sessions, len(out.Unacknowledged))
	return server.Shutdown(limit)
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
