package filestore

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"

	"github.com/sealedblob/sealedblob/replay"
)

// BenchmarkClaim is claims of new rights by so many callers at once. "limit" is a
// group-commit log that does nothing else: it decides nothing, has no checksums
// and can't be read back, and its file was written beforehand.
func BenchmarkClaim(b *testing.B) {
	for _, callers := range []int{1, 16, 256} {
		b.Run(fmt.Sprintf("limit/%d", callers), func(b *testing.B) {
			l := newLimit(b)
			b.ResetTimer()
			spread(b, callers, func(owner replay.Owner, r replay.Right) error { return l.claim(owner, r) })
		})
		b.Run(fmt.Sprintf("store/%d", callers), func(b *testing.B) {
			s := mustOpen(b, folder(b), Config{MaxRights: 1 << 26}, realHooks())
			b.ResetTimer()
			spread(b, callers, func(owner replay.Owner, r replay.Right) error {
				if o, err := s.Claim(context.Background(), owner, r); o != replay.Won {
					return fmt.Errorf("claim: %v, %w", o, err)
				}
				return nil
			})
		})
	}
}

// spread has b.N claims done by callers.
func spread(b *testing.B, callers int, claim func(replay.Owner, replay.Right) error) {
	b.Helper()
	sample, seed := newRight(), rand.Uint64()
	var wg sync.WaitGroup
	for caller := range callers {
		wg.Go(func() {
			rnd, owner := rand.New(rand.NewPCG(seed, uint64(caller))), newOwner()
			for range (b.N + caller) / callers {
				r := sample
				for i := range r.ID {
					r.ID[i] = byte(rnd.Uint32())
				}
				if err := claim(owner, r); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "claims/s")
}

// limit appends records to a file that has its size already.
type limit struct {
	file *os.File
	ops  chan limitOp
}

type limitOp struct {
	replay.Change
	done chan error
}

func newLimit(b *testing.B) *limit {
	b.Helper()
	f, err := os.Create(filepath.Join(b.TempDir(), "log"))
	must(b, err)
	zeros := make([]byte, 1<<20)
	for off := int64(0); off < 256<<20; off += int64(len(zeros)) {
		_, err := f.WriteAt(zeros, off)
		must(b, err)
	}
	must(b, f.Sync())
	l := &limit{f, make(chan limitOp, maxGroup)}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		l.run()
	}()
	b.Cleanup(func() {
		close(l.ops)
		<-ended
		f.Close()
	})
	return l
}

func (l *limit) claim(owner replay.Owner, r replay.Right) error {
	o := limitOp{replay.Change{ID: r.ID, Owner: owner, KeepUntil: r.KeepUntil}, make(chan error, 1)}
	l.ops <- o
	return <-o.done
}

func (l *limit) run() {
	var offset int64
	var text []byte
	for first := range l.ops {
		group := []limitOp{first}
		for n := -1; n != len(l.ops); {
			n = len(l.ops)
			runtime.Gosched()
		}
		for range len(l.ops) {
			group = append(group, <-l.ops)
		}
		text = text[:0]
		for _, o := range group {
			text = appendRecord(text, o.Change)
		}
		_, err := l.file.WriteAt(text, offset)
		if err == nil {
			err = datasync(l.file)
		}
		offset += int64(len(text))
		for _, o := range group {
			o.done <- err
		}
	}
}
