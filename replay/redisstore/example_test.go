package redisstore_test

import (
	"context"
	"log"

	"github.com/redis/rueidis"
	"github.com/sealedblob/sealedblob/replay/redisstore"
)

// All nodes of an application open the same store.
func Example() {
	store, err := redisstore.Open(context.Background(), redisstore.Config{
		Client: rueidis.ClientOption{InitAddress: []string{"redis.internal:6379"}, Username: "web", Password: "…"},
		Name:   "shop",
	})
	if err != nil {
		log.Fatal(err)
	}
	defer store.Close()
	log.Print(store.Promise())
	// session.New(session.Config{Store: store, …})
}
