package filestore_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"

	"github.com/sealedblob/sealedblob/replay"
	"github.com/sealedblob/sealedblob/replay/filestore"
)

func ExampleOpen() {
	temp, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(temp)

	store, err := filestore.Open(filepath.Join(temp, "replay"), filestore.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer store.Close()

	ctx := context.Background()
	issued, err := store.Epoch(ctx)
	if err != nil {
		log.Fatal(err)
	}
	ticket := replay.Right{
		ID:        replay.NewID("shop", "uid", []byte("the ticket's use-id")),
		Issued:    issued,
		KeepUntil: issued.Add(time.Hour),
	}
	mine, theirs := replay.Owner{1}, replay.Owner{2} // random in earnest
	for _, owner := range []replay.Owner{mine, mine, theirs} {
		outcome, err := store.Claim(ctx, owner, ticket)
		fmt.Println(outcome, err)
	}
	// Output:
	// won <nil>
	// mine <nil>
	// lost <nil>
}
