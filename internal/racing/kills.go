package racing

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sealedblob/sealedblob/replay"
)

// Rounds is how many there are of a crash test, unless SEALEDBLOB_CRASH_ROUNDS says
// another number.
func Rounds(usual int) int {
	if n, err := strconv.Atoi(os.Getenv("SEALEDBLOB_CRASH_ROUNDS")); err == nil {
		return n
	}
	return usual
}

// Load is the role that [Kills] kills: it uses s from eight goroutines and says what
// it was told, until something fails.
func Load(s replay.Store) error {
	Ready()
	failed := make(chan error)
	for range 8 {
		go func() {
			for {
				if err := Use(s, func(f Fact) { fmt.Println(f) }); err != nil {
					failed <- err
				}
			}
		}()
	}
	return <-failed
}

// Kills says how processes under load are killed.
type Kills struct {
	// Place is where their store is.
	Place string
	// Number is how many are killed in all, and AtOnce how many run beside each other.
	Number, AtOnce int
	// Life is the longest that one uses the store after it was told something.
	Life time.Duration
	// Watch, unless nil, is given what each was told while others go on.
	Watch func([]Fact)
}

// Run kills them and returns all that they were told.
func (k Kills) Run(t *testing.T) (all []Fact) {
	t.Helper()
	var mu sync.Mutex
	var left atomic.Int64
	left.Store(int64(k.Number))
	var wg sync.WaitGroup
	for range k.AtOnce {
		wg.Go(func() {
			for left.Add(-1) >= 0 && !t.Failed() {
				told, err := k.one()
				if err != nil {
					t.Error(err)
				}
				if k.Watch != nil {
					k.Watch(told)
				}
				mu.Lock()
				all = append(all, told...)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	enough(t, k.Number, all)
	return all
}

func enough(t *testing.T, kills int, all []Fact) {
	t.Helper()
	t.Logf("%d kills, %d facts", kills, len(all))
	if len(all) < kills {
		t.Fatalf("only %d facts beside %d kills", len(all), kills)
	}
}

// one starts a process, kills it after a moment and returns what it was told.
func (k Kills) one() (told []Fact, err error) {
	p, err := Start("load", k.Place)
	if err != nil {
		return nil, err
	}
	soon := func() { time.AfterFunc(rand.N(k.Life), func() { p.cmd.Process.Kill() }) }
	if told, err = p.facts(soon); err != nil {
		_ = p.Kill()
		return told, err
	}
	return told, p.killed()
}

// server can be killed and started again on its data, as those of internal/services.
type server interface {
	Kill()
	Start()
}

// KillServer kills a server in rounds while sixteen goroutines use s, which lives
// there. It starts it again and calls back each time, with what they were told in the
// round. What they are told when it dies must not be final. It returns all facts.
func KillServer(t *testing.T, server server, s replay.Store, rounds int, final func(error) bool, back func(told []Fact)) (all []Fact) {
	t.Helper()
	for range rounds {
		var mu sync.Mutex
		var told []Fact
		first := make(chan struct{})
		begun := sync.OnceFunc(func() { close(first) })
		tell := func(f Fact) {
			mu.Lock()
			defer mu.Unlock()
			told = append(told, f)
			begun()
		}
		var wg sync.WaitGroup
		for range 16 {
			wg.Go(func() {
				var err error
				for err == nil {
					err = Use(s, tell)
				}
				if final(err) {
					t.Errorf("told of a server that died: %v", err)
				}
			})
		}
		select {
		case <-first:
			time.Sleep(rand.N(100 * time.Millisecond))
		case <-time.After(20 * time.Second):
			t.Error("nobody was told anything in 20 s")
		}
		server.Kill()
		wg.Wait()
		server.Start()
		back(told)
		all = append(all, told...)
	}
	enough(t, rounds, all)
	return all
}
