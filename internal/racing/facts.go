package racing

import (
	"context"
	"crypto/rand"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/sealedblob/sealedblob/replay"
)

// Fact is what somebody was told by a store, which nobody is told otherwise for an
// hour.
type Fact struct {
	What  string // claimed, moved or revoked
	ID    replay.ID
	Owner replay.Owner // of a right
}

const (
	claimed = "claimed"
	moved   = "moved"
	revoked = "revoked"
)

// moves is how often a session was restored that moved.
const moves = 2

func (f Fact) String() string { return fmt.Sprintf("%s %x %x", f.What, f.ID, f.Owner) }

func parse(line string) (f Fact, err error) {
	var id, owner []byte
	_, err = fmt.Sscanf(line, "%s %x %x", &f.What, &id, &owner)
	if err != nil || copy(f.ID[:], id) != len(id) || copy(f.Owner[:], owner) != len(owner) || f.String() != line {
		return f, fmt.Errorf("racing: no fact: %q", line)
	}
	return f, nil
}

func newID() (id replay.ID) {
	rand.Read(id[:])
	return id
}

// dates are of what a node issues now, to be kept for an hour.
func dates(s replay.Store) (issued, keepUntil time.Time, err error) {
	now := time.Now()
	epoch, err := s.Epoch(context.Background())
	if epoch.After(now) {
		return epoch, now.Add(time.Hour), err
	}
	return now, now.Add(time.Hour), err
}

func restoring(session replay.ID, fence uint64, attempt replay.Owner, issued, keepUntil time.Time) replay.RestoreRequest {
	return replay.RestoreRequest{
		Session: session, Set: replay.Version{Fence: fence, Gen: 1},
		Issued: issued, KeepUntil: keepUntil, Attempt: attempt,
	}
}

// Use claims a right, restores a session, with a right that it burns, and revokes
// another, and tells each fact once the store has answered.
func Use(s replay.Store, tell func(Fact)) error {
	issued, keepUntil, err := dates(s)
	if err != nil {
		return err
	}
	ctx, o := context.Background(), replay.NewOwner()
	r := replay.Right{ID: newID(), Issued: issued, KeepUntil: keepUntil}
	if got, err := s.Claim(ctx, o, r); err != nil || got != replay.Won {
		return fmt.Errorf("claim: %v, %w", got, err)
	}
	tell(Fact{claimed, r.ID, o})
	session, burn := newID(), replay.Right{ID: newID(), Issued: issued, KeepUntil: keepUntil}
	for fence := range uint64(moves) {
		req := restoring(session, fence, o, issued, keepUntil)
		if fence == 0 {
			req.Burn = []replay.Burn{{Right: burn, Required: true}}
		}
		if got, err := s.Restore(ctx, req); err != nil || got.Verdict != replay.Granted {
			return fmt.Errorf("restore: %v, %w", got.Verdict, err)
		}
	}
	tell(Fact{claimed, burn.ID, o})
	tell(Fact{moved, session, o})
	over := newID()
	if err := s.Revoke(ctx, over, keepUntil); err != nil {
		return fmt.Errorf("revoke: %w", err)
	}
	tell(Fact{revoked, over, o})
	return nil
}

// Check looks whether a store says so still.
func (f Fact) Check(s replay.Store) error {
	issued, keepUntil, err := dates(s)
	if err != nil {
		return err
	}
	fences, want := 1, replay.Revoked
	switch f.What {
	case claimed:
		return f.checkClaim(s, replay.Right{ID: f.ID, Issued: issued, KeepUntil: keepUntil})
	case moved:
		fences, want = moves, replay.Superseded
	case revoked:
	default:
		return fmt.Errorf("unknown fact %q", f.What)
	}
	for fence := range uint64(fences) {
		got, err := s.Restore(context.Background(), restoring(f.ID, fence, replay.NewOwner(), issued, keepUntil))
		if got.Verdict != want || err != nil {
			return fmt.Errorf("restore = %v, %v, want %v", got.Verdict, err, want)
		}
	}
	return nil
}

func (f Fact) checkClaim(s replay.Store, r replay.Right) error {
	if got, err := s.Claim(context.Background(), replay.NewOwner(), r); got != replay.Lost || err != nil {
		return fmt.Errorf("claim by another = %v, %v, want lost", got, err)
	}
	if got, err := s.Claim(context.Background(), f.Owner, r); got != replay.Mine || err != nil {
		return fmt.Errorf("claim by its owner = %v, %v, want mine", got, err)
	}
	return nil
}

// CheckAll looks whether a store says all facts still, many at a time.
func CheckAll(t *testing.T, s replay.Store, all []Fact) {
	t.Helper()
	const workers = 32
	var wg sync.WaitGroup
	for part := range workers {
		wg.Go(func() {
			for i := part; i < len(all); i += workers {
				if err := all[i].Check(s); err != nil {
					t.Errorf("%v: %v", all[i], err)
					return
				}
			}
		})
	}
	wg.Wait()
}
