package filestore

import (
	"os"
	"sync"
	"testing"
	"time"

	"github.com/sealedblob/sealedblob/replay"
	"github.com/sealedblob/sealedblob/replay/replaytest"
)

// clock is the real one, set ahead or back.
type clock struct {
	mu    sync.Mutex
	ahead time.Duration
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.ahead)
}

func (c *clock) reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ahead = 0
}

func (c *clock) shift(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ahead += d
}

// conformance runs the kit on stores with hooks h, under a clock of its own.
func conformance(t *testing.T, h hooks) {
	var c clock
	h.now = c.now
	replaytest.Run(t, replaytest.Config{
		New: func(t testing.TB) replay.Store {
			c.reset()
			return openFresh(t, folder(t), Config{}, h)
		},
		NewBounded: func(t testing.TB, room replaytest.Bounds) replay.Store {
			c.reset()
			return openFresh(t, folder(t), Config{MaxRights: room.Rights, MaxSessions: room.Sessions, MaxSubjects: room.Subjects}, h)
		},
		Reopen: func(t testing.TB, old replay.Store) replay.Store {
			return mustOpen(t, old.(*Store).disk.dir, Config{}, h)
		},
		Break: func(t testing.TB, s replay.Store) {
			must(t, os.Rename(s.(*Store).disk.dir, s.(*Store).disk.dir+".gone"))
		},
		FastForward: c.shift,
		StepBack:    func(d time.Duration) { c.shift(-d) },
	})
}

func TestConformance(t *testing.T) { conformance(t, quick()) }

// The same while the log is rewritten at every turn.
func TestConformanceCompacting(t *testing.T) {
	h := quick()
	h.minLog = 1
	conformance(t, h)
}

// The same in a bubble, in which a goroutine that Close left behind shows.
func TestConformanceInFakeTime(t *testing.T) {
	replaytest.Run(t, replaytest.Config{
		New: func(t testing.TB) replay.Store { return openFresh(t, folder(t), Config{}, realHooks()) },
		Reopen: func(t testing.TB, old replay.Store) replay.Store {
			return mustOpen(t, old.(*Store).disk.dir, Config{}, realHooks())
		},
		FakeTime: true,
		Steps:    200,
	})
}
