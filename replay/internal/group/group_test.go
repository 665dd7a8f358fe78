package group

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealedblob/sealedblob/replay"
)

// double answers each number with its double.
func double(in, out []int) error {
	for i, n := range in {
		out[i] = 2 * n
	}
	return nil
}

func newGroup(t *testing.T, cfg Config, carry func(in, out []int) error) *Group[int, int] {
	t.Helper()
	g := New(cfg, carry)
	t.Cleanup(func() { g.Close() })
	return g
}

// slow is a carry that waits to be let go, and tells of each batch.
type slow struct {
	batches chan []int
	release chan struct{}
}

func newSlow() slow { return slow{make(chan []int, 100), make(chan struct{})} }

func (s slow) carry(in, out []int) error {
	s.batches <- append([]int(nil), in...)
	<-s.release
	return double(in, out)
}

func TestEachGetsItsOwnAnswer(t *testing.T) {
	g := newGroup(t, Config{Workers: 3, Size: 7, Queue: 16}, double)
	var wg sync.WaitGroup
	for caller := range 64 {
		wg.Go(func() {
			for n := range 100 {
				in := caller*1000 + n
				if got, err := g.Do(t.Context(), in); got != 2*in || err != nil {
					t.Errorf("Do(%d) = %d, %v", in, got, err)
				}
			}
		})
	}
	wg.Wait()
}

func TestWhatWaitsSharesABatchInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSlow()
		g := newGroup(t, Config{Workers: 1, Size: 4, Queue: 10}, s.carry)
		for n := range 8 {
			go g.Do(t.Context(), n)
			synctest.Wait() // n waits before n+1 comes
		}
		close(s.release)
		synctest.Wait()
		want := [][]int{{0}, {1, 2, 3, 4}, {5, 6, 7}}
		for _, w := range want {
			got := <-s.batches
			if len(got) != len(w) || got[0] != w[0] || got[len(got)-1] != w[len(w)-1] {
				t.Errorf("batch %v, want %v", got, w)
			}
		}
	})
}

func TestWorkersBoundTheBatches(t *testing.T) {
	var now, most atomic.Int64
	g := newGroup(t, Config{Workers: 2, Size: 3, Queue: 8}, func(in, out []int) error {
		n := now.Add(1)
		defer now.Add(-1)
		for was := most.Load(); n > was && !most.CompareAndSwap(was, n); was = most.Load() {
		}
		if len(in) == 0 || len(in) > 3 {
			t.Errorf("batch of %d", len(in))
		}
		time.Sleep(time.Millisecond)
		return double(in, out)
	})
	var wg sync.WaitGroup
	for n := range 100 {
		wg.Go(func() { g.Do(t.Context(), n) })
	}
	wg.Wait()
	if most.Load() != 2 {
		t.Errorf("%d batches at a time, want 2", most.Load())
	}
}

func TestErrorIsThatOfAll(t *testing.T) {
	broken := errors.New("broken")
	g := newGroup(t, Config{Workers: 1, Size: 8, Queue: 8}, func(in, out []int) error {
		double(in, out)
		return broken
	})
	var wg sync.WaitGroup
	for n := range 8 {
		wg.Go(func() {
			if got, err := g.Do(t.Context(), n+1); got != 0 || !errors.Is(err, broken) {
				t.Errorf("Do = %d, %v, want 0, %v", got, err, broken)
			}
		})
	}
	wg.Wait()
}

func TestPanicIsAnError(t *testing.T) {
	g := newGroup(t, Config{Workers: 1, Size: 8, Queue: 8}, func(in, out []int) error {
		if in[0] == 1 {
			panic("one")
		}
		return double(in, out)
	})
	if got, err := g.Do(t.Context(), 1); got != 0 || err == nil {
		t.Errorf("Do = %d, %v, want an error", got, err)
	}
	if got, err := g.Do(t.Context(), 2); got != 4 || err != nil {
		t.Errorf("Do after a panic = %d, %v", got, err)
	}
}

// A cancelled call ends at once wherever it is, and is carried out only if a worker
// has it already. One that waits for a place among others is no different.
func TestCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSlow()
		g := newGroup(t, Config{Workers: 1, Size: 8, Queue: 1}, s.carry)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := g.Do(ctx, 9); !errors.Is(err, context.Canceled) {
			t.Errorf("Do with a cancelled context = %v", err)
		}
		ctx, cancel = context.WithCancel(t.Context())
		errs := make(chan error, 3)
		for n := range 3 { // with the worker, in the queue, before it
			go func() {
				_, err := g.Do(ctx, n)
				errs <- err
			}()
			synctest.Wait()
		}
		cancel()
		synctest.Wait()
		for range 3 {
			select {
			case err := <-errs:
				if !errors.Is(err, context.Canceled) {
					t.Errorf("Do = %v, want cancelled", err)
				}
			default:
				t.Error("Do still waits after it was cancelled")
			}
		}
		close(s.release)
		if got, err := g.Do(t.Context(), 3); got != 6 || err != nil {
			t.Errorf("Do afterwards = %d, %v", got, err)
		}
		synctest.Wait()
		close(s.batches)
		for batch := range s.batches {
			for _, n := range batch {
				if n == 1 || n == 2 || n == 9 {
					t.Errorf("%d was carried out, though it was cancelled before", n)
				}
			}
		}
	})
}

// Close waits for what is under way; the rest is told, and nothing is left behind.
func TestClose(t *testing.T) {
	before := runtime.NumGoroutine()
	synctest.Test(t, func(t *testing.T) {
		s := newSlow()
		g := New(Config{Workers: 1, Size: 8, Queue: 1}, s.carry)
		type answer struct {
			out int
			err error
		}
		var answers [3]chan answer
		for n := range answers {
			answers[n] = make(chan answer, 1)
			go func() {
				out, err := g.Do(t.Context(), n+1)
				answers[n] <- answer{out, err}
			}()
			synctest.Wait()
		}
		closed := make(chan error, 1)
		go func() { closed <- g.Close() }()
		synctest.Wait()
		select {
		case <-closed:
			t.Error("Close did not wait for the batch under way")
		default:
		}
		close(s.release)
		if err := <-closed; err != nil {
			t.Errorf("Close = %v", err)
		}
		if got := <-answers[0]; got.out != 2 || got.err != nil {
			t.Errorf("under way: %v", got)
		}
		for _, a := range answers[1:] {
			if got := <-a; got.out != 0 || !errors.Is(got.err, replay.ErrClosed) {
				t.Errorf("waiting: %v, want %v", got, replay.ErrClosed)
			}
		}
		if _, err := g.Do(t.Context(), 1); !errors.Is(err, replay.ErrClosed) {
			t.Errorf("Do after Close = %v", err)
		}
		if err := g.Close(); !errors.Is(err, replay.ErrClosed) {
			t.Errorf("second Close = %v", err)
		}
	})
	if after := runtime.NumGoroutine(); after > before {
		t.Errorf("%d goroutines before, %d after", before, after)
	}
}

func TestCloseUnderLoad(t *testing.T) {
	g := New(Config{Workers: 2, Size: 8, Queue: 8}, double)
	var wg sync.WaitGroup
	started := make(chan struct{}, 32)
	for range 32 {
		wg.Go(func() {
			for n := 1; ; n++ {
				got, err := g.Do(context.Background(), n)
				select {
				case started <- struct{}{}:
				default:
				}
				if errors.Is(err, replay.ErrClosed) {
					return
				}
				if got != 2*n || err != nil {
					t.Errorf("Do(%d) = %d, %v", n, got, err)
					return
				}
			}
		})
	}
	for range 32 {
		<-started
	}
	if err := g.Close(); err != nil {
		t.Errorf("Close = %v", err)
	}
	wg.Wait()
}

func BenchmarkDo(b *testing.B) {
	g := New(Config{Workers: 2, Size: 256, Queue: 1024}, double)
	defer g.Close()
	b.ReportAllocs()
	b.SetParallelism(128)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			g.Do(context.Background(), 1)
		}
	})
}
