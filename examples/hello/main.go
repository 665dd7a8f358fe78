// Hello counts a visitor's clicks. Start it twice, on two ports behind one
// address, kill the one in use, and the count goes on.
package main

import (
	"context"
	_ "embed"
	"flag"
	"fmt"
	"log"
	"log/slog"
	"net/http"
	"time"

	"github.com/sealedblob/sealedblob/bayeux"
	"github.com/sealedblob/sealedblob/bayeux/sessionext"
	"github.com/sealedblob/sealedblob/client"
	"github.com/sealedblob/sealedblob/policy"
	"github.com/sealedblob/sealedblob/replay/filestore"
	"github.com/sealedblob/sealedblob/seal"
	"github.com/sealedblob/sealedblob/session"
)

//go:embed page.html
var page []byte

var clicks = policy.Attr[int]("clicks", policy.TTL(time.Hour))

func main() {
	listen := flag.String("listen", "127.0.0.1:8080", "address")
	flag.Parse()
	ctx := context.Background()
	sessions := must(session.New(ctx, session.Config{
		App:    "hello",
		Keys:   must(seal.LoadRing(".hello/keys")), // blobctl keyring init --dir .hello/keys
		Policy: must(policy.New(1, policy.SessionRule{Idle: 30 * time.Minute, Absolute: 12 * time.Hour}, clicks)),
		Store:  must(filestore.Open(".hello/replay", filestore.Config{})), // shared by the servers of this host
	}))
	go sessions.Run(ctx)
	messages := must(bayeux.NewServer(bayeux.Config{}))
	messages.AddExtension(sessionext.New(sessions, slog.Default()))

	http.Handle("/bayeux", messages) // a WebSocket follows no redirect
	http.Handle("/bayeux/", messages)
	http.Handle("/sealedblob/", http.StripPrefix("/sealedblob/", http.FileServerFS(client.Files)))
	http.Handle("POST /click", sessions.Middleware(http.HandlerFunc(click)))
	http.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(page) })
	log.Printf("open http://%s/", *listen)
	server := &http.Server{Addr: *listen, ReadHeaderTimeout: 10 * time.Second}
	log.Fatal(server.ListenAndServe())
}

func click(w http.ResponseWriter, r *http.Request) {
	var now int
	if err := session.Update(r.Context(), clicks, func(n int) (int, error) { now = n + 1; return now, nil }); err != nil {
		http.Error(w, "try again", session.HTTPStatus(err))
		return
	}
	fmt.Fprint(w, now)
}

func must[T any](v T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return v
}
