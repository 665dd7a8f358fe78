package racing

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"sync"
	"testing"

	"github.com/sealedblob/sealedblob/replay"
)

// The rights that all race for, and who they are.
const (
	contested = 200
	racers    = 64
)

// contestedID is the same in all processes.
func contestedID(i int) replay.ID {
	return replay.NewID("racing", "right", binary.BigEndian.AppendUint64(nil, uint64(i)))
}

// Claim is the role of who takes part in a [Race]: it claims all rights from so many
// goroutines, in an order of its own, once told to, and says which it won.
func Claim(s replay.Store, callers int) error {
	issued, keepUntil, err := dates(s)
	if err != nil {
		return err
	}
	Ready()
	if _, err := io.ReadAll(os.Stdin); err != nil { // its end is the start
		return err
	}
	order, failed := rand.Perm(contested), make(chan error, callers)
	var wg sync.WaitGroup
	for part := range callers {
		wg.Go(func() {
			for n := part; n < contested; n += callers {
				o, r := replay.NewOwner(), replay.Right{ID: contestedID(order[n]), Issued: issued, KeepUntil: keepUntil}
				got, err := s.Claim(context.Background(), o, r)
				if err != nil {
					failed <- err
					return
				}
				if got == replay.Won {
					fmt.Println(Fact{claimed, r.ID, o})
				}
			}
		})
	}
	wg.Wait()
	close(failed)
	if err := <-failed; err != nil {
		return err
	}
	return s.Close()
}

// Race has 64 processes claim the same 200 rights at once. Each must be won by
// exactly one. It returns who won which.
func Race(t *testing.T, place string) (won []Fact) {
	t.Helper()
	var mu sync.Mutex
	var wg, ready sync.WaitGroup
	start := make(chan struct{})
	for range racers {
		ready.Add(1)
		wg.Go(func() {
			p, err := Start("race", place)
			ready.Done()
			if err != nil {
				t.Error(err)
				return
			}
			<-start
			p.in.Close()
			facts, err := p.facts(func() {})
			if err != nil {
				t.Error(err)
			}
			if err := p.cmd.Wait(); err != nil {
				t.Errorf("a process that raced: %v", err)
			}
			mu.Lock()
			defer mu.Unlock()
			won = append(won, facts...)
		})
	}
	ready.Wait()
	close(start)
	wg.Wait()
	winners := make(map[replay.ID]int)
	for _, f := range won {
		winners[f.ID]++
	}
	for i := range contested {
		if n := winners[contestedID(i)]; n != 1 {
			t.Errorf("right %d was won %d times", i, n)
		}
	}
	if len(won) != contested {
		t.Errorf("%d winners of %d rights", len(won), contested)
	}
	return won
}
