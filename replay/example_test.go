package replay_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/sealedblob/sealedblob/replay"
)

// A set restores once; the retry of the same attempt does, and a fork does not.
func ExampleMemory() {
	ctx := context.Background()
	store := replay.NewMemory(replay.MemoryConfig{})
	defer store.Close()
	epoch, err := store.Epoch(ctx)
	if err != nil {
		log.Fatal(err)
	}
	request := replay.RestoreRequest{
		Session:   replay.NewID("shop", "sid", []byte("the session's id")),
		Set:       replay.Version{Fence: 0, Gen: 7},
		Issued:    epoch,
		KeepUntil: epoch.Add(12 * time.Hour),
		Attempt:   replay.Owner{1}, // random in earnest
	}
	fork := request
	fork.Attempt = replay.Owner{2}
	for _, r := range []replay.RestoreRequest{request, request, fork} {
		got, err := store.Restore(ctx, r)
		fmt.Println(got.Verdict, got.Fence, err)
	}
	// Output:
	// granted 1 <nil>
	// granted 2 <nil>
	// superseded 0 <nil>
}
