//go:build unix

package replay_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/sealedblob/sealedblob/replay"
)

// claims makes rights that are good for ten to twenty minutes.
type claims struct {
	*rand.ChaCha8
	now time.Time
}

func newClaims(b *testing.B, s replay.Store) *claims {
	b.Helper()
	epoch, err := s.Epoch(context.Background())
	if err != nil {
		b.Fatal(err)
	}
	return &claims{rand.NewChaCha8([32]byte{}), epoch}
}

func (c *claims) next() (owner replay.Owner, r replay.Right) {
	binary.LittleEndian.PutUint64(owner[:], c.Uint64())
	binary.LittleEndian.PutUint64(r.ID[:], c.Uint64())
	binary.LittleEndian.PutUint64(r.ID[8:], c.Uint64())
	r.Issued, r.KeepUntil = c.now, c.now.Add(time.Duration(600+c.Uint64()%600)*time.Second)
	return owner, r
}

// processorTime is what this process has had so far: on a busy machine the clock
// tells of others.
func processorTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func heap() (m runtime.MemStats) {
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m
}

// One claim of a new right beside so many live ones. B/id is the live heap for each
// right; fill-cpu-ns what a claim took on the way there, of processor time, with all
// that it took to grow. gc-ms is a whole collection, pause-ms the stop of the
// program in it.
func BenchmarkMemoryClaim(b *testing.B) {
	for _, live := range []int{1_000_000, 10_000_000} {
		b.Run(fmt.Sprintf("live=%d", live), func(b *testing.B) {
			before := heap().HeapAlloc
			m := replay.NewMemory(replay.MemoryConfig{MaxRights: 4 * live})
			defer m.Close()
			c, ctx := newClaims(b, m), context.Background()
			claim := func() {
				owner, r := c.next()
				if o, err := m.Claim(ctx, owner, r); o != replay.Won || err != nil {
					b.Fatalf("Claim = %v, %v", o, err)
				}
			}
			start := processorTime()
			for range live {
				claim()
			}
			fill := processorTime() - start
			bytes := float64(heap().HeapAlloc-before) / float64(live)
			begin := time.Now()
			runtime.GC()
			gc := time.Since(begin)
			var stats runtime.MemStats
			runtime.ReadMemStats(&stats)
			start = processorTime()
			for b.Loop() {
				claim()
			}
			b.ReportMetric(float64((processorTime()-start).Nanoseconds())/float64(b.N), "cpu-ns/op")
			b.ReportMetric(bytes, "B/id")
			b.ReportMetric(float64(stats.PauseNs[(stats.NumGC+255)%256])/1e6, "pause-ms")
			b.ReportMetric(float64(fill.Nanoseconds())/float64(live), "fill-cpu-ns")
			b.ReportMetric(float64(gc.Microseconds())/1000, "gc-ms")
		})
	}
}
