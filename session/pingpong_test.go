package session_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealedblob/sealedblob/internal/testkit"
	"github.com/sealedblob/sealedblob/replay"
	"github.com/sealedblob/sealedblob/seal"
)

var (
	pingpongSteps = flag.Int("pingpong.steps", 10_000, "how often TestPingPong goes to a node")
	pingpongSeed  = flag.Uint64("pingpong.seed", 0, "repeats what TestPingPong did; 0: something new")
)

var pingpongActs = words("6 read,12 set,3 update,3 delete,6 take")

// A browser goes from one of three living nodes to another, and a thief with every
// cookie and every set of before does so too. It is one session all the time: no
// right is taken twice, and no change with rollback refuse is undone or lost; the
// oracle sees to that at every step, and in the end at what came of it all.
func TestPingPong(t *testing.T) {
	seed := *pingpongSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("-pingpong.seed=%d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	rings := programRings(t)
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, testkit.Policy(t, fmt.Sprintf(programPolicy, "refuse")), true, replay.NewMemory(replay.MemoryConfig{}), rings)
		w.cookie, _ = w.visit(0, "", false, []act{{Do: "set", Name: "role"}})
		for range *pingpongSteps {
			w.pingpong(func(_ string, n int) int { return random.IntN(n) })
		}
		t.Logf("%v", w.tally)
		only := w.lifeOf(w.cookie)
		if only == nil || only.ended || only.at.from == nil {
			t.Errorf("the session did not last: %+v", only)
		}
		for _, cookie := range w.cookies {
			if w.lifeOf(cookie) != only {
				t.Fatal("there was another session")
			}
		}
		for what, oneIn := range map[string]int{
			"restored": 20, "joined": 50, "refused": 20, "taken": 100, "protected change": 40, "an intruder served": 20,
		} {
			if w.tally[what] < *pingpongSteps/oneIn {
				t.Errorf("%s %d times: too few to show anything", what, w.tally[what])
			}
		}
	})
}

// pingpong is one step. The browser lets nobody tell it that it has no session: it
// tries another node, until it comes to where a thief took it.
func (w *world) pingpong(c choice) {
	w.align(14 * time.Second)
	n, tab := c("node", 3), w.tabs[0]
	switch c("who", 10) {
	case 0:
		w.tick(n)
	case 1, 2:
		if _, served := w.visit(n, pick(c, "cookie", w.cookies), false, []act{drawAct(c, pingpongActs)}); served {
			w.tally["an intruder served"]++
		}
	case 3, 4:
		w.thieve(n, c)
	default:
		acts := []act{drawAct(c, pingpongActs), {Do: "read"}}
		cookie, served := w.visit(n, w.cookie, false, acts)
		if w.cookie = cookie; !served || tab.s == nil {
			w.shake(tab, n, false)
		}
		if !served && tab.s != nil {
			w.cookie, _ = w.visit(n, w.cookie, false, acts)
		}
		for range c("acknowledged", 4) {
			w.ack(tab)
		}
	}
	w.look(false)
}

// thieve presents a set: one of the newest, or any.
func (w *world) thieve(n int, c choice) {
	if len(w.sets) == 0 {
		return
	}
	from := w.sets
	if c("new", 2) == 0 {
		from = from[max(0, len(from)-5):]
	}
	q, attempt := pick(c, "set", from), replay.Owner(seal.NewID())
	if c("again", 3) == 0 {
		attempt = q.attempt
	}
	w.hand(n, pick(c, "cookie", w.cookies), q, attempt, false)
}
