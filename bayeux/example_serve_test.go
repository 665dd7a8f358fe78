package bayeux_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/sealedblob/sealedblob/bayeux"
)

// serve runs until ctx ends, as that of signal.NotifyContext.
func serve(ctx context.Context, l net.Listener) error {
	messages, err := bayeux.NewServer(bayeux.Config{})
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("/bayeux", messages) // without it ServeMux redirects, which no WebSocket follows
	mux.Handle("/bayeux/", messages)
	web := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- web.Serve(l) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	err = messages.Shutdown(limit) // first: web does not know of WebSockets, nor wait for RegisterOnShutdown
	return errors.Join(err, web.Shutdown(limit))
}

// Example_serve mounts a server and stops it.
func Example_serve() {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	ctx, stop := context.WithTimeout(context.Background(), 10*time.Second)
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- serve(ctx, l) }()

	client, err := bayeux.NewClient("http://"+l.Addr().String()+"/bayeux", bayeux.ClientConfig{Transports: []string{bayeux.WebSocket}})
	if err != nil {
		panic(err)
	}
	defer client.Close(context.Background())
	fmt.Println(client.Connect(ctx), client.State())
	stop()
	fmt.Println(<-ended)
	// Output:
	// <nil> connected
	// <nil>
}
