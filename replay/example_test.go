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

// After a change of the password the old login is void, and the next one lives,
// in the same second.
func ExampleMemory_RevokeSubject() {
	ctx := context.Background()
	store := replay.NewMemory(replay.MemoryConfig{})
	defer store.Close()
	epoch, err := store.Epoch(ctx)
	if err != nil {
		log.Fatal(err)
	}
	ada := replay.NewID("shop", "subject", []byte("ada"))
	login := func() replay.Login { // before the credentials are checked
		cut, err := store.SubjectCut(ctx, ada)
		if err != nil {
			log.Fatal(err)
		}
		return replay.Login{Subject: ada, Since: replay.LoginTime(epoch, cut)}
	}
	place := replay.Place{Session: replay.NewID("shop", "session", []byte("sid")), KeepUntil: epoch.Add(12 * time.Hour)}
	old := login()
	const leeway = 30 * time.Second
	if err := store.RevokeSubject(ctx, ada, epoch.Add(leeway), epoch.Add(12*time.Hour+2*leeway)); err != nil {
		log.Fatal(err)
	}
	for _, place.Login = range []replay.Login{old, login()} {
		fmt.Println(store.Protect(ctx, place))
	}
	// Output:
	// revoked <nil>
	// granted <nil>
}
