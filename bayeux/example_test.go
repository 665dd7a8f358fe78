package bayeux_test

import (
	"context"
	"fmt"
	"net/http/httptest"
	"time"

	"github.com/sealedblob/sealedblob/bayeux"
)

func Example() {
	server, err := bayeux.NewServer(bayeux.Config{})
	if err != nil {
		panic(err)
	}
	front := httptest.NewServer(server)
	defer front.Close()

	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	client, err := bayeux.NewClient(front.URL+"/bayeux", bayeux.ClientConfig{})
	if err != nil {
		panic(err)
	}
	defer client.Close(ctx)
	if err := client.Connect(ctx); err != nil {
		panic(err)
	}

	got := make(chan string, 1)
	err = client.Subscribe(ctx, "/news/*", func(m *bayeux.Message) {
		var headline string
		if m.DecodeData(&headline) == nil {
			got <- m.Channel + ": " + headline
		}
	})
	if err != nil {
		panic(err)
	}
	if err := server.Publish("/news/sport", "nil-nil"); err != nil {
		panic(err)
	}
	fmt.Println(<-got)
	// Output: /news/sport: nil-nil
}
