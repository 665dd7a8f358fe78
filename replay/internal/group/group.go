// Package group gathers the calls of concurrent callers into batches: a store
// whose round trip or commit costs the same for one call as for a hundred pays it
// once for all that wait.
//
// A group runs a fixed number of workers and no goroutine for a call. Calls are
// taken in the order in which they came. It repeats nothing, and knows nothing of
// what it carries.
package group

import (
	"context"
	"fmt"
	"runtime"
	"sync"

	"github.com/sealedblob/sealedblob/replay"
)

// Config sets up a [Group]. All are required to be positive.
type Config struct {
	// Workers is how many batches may be under way at a time.
	Workers int
	// Size bounds the calls of one batch.
	Size int
	// Queue bounds the calls that wait beside those under way. Further ones wait
	// for a place, until their context ends.
	Queue int
}

// Group carries out calls in batches. It is safe for concurrent use.
type Group[In, Out any] struct {
	size  int
	carry func(batch []In, answers []Out) error

	calls   chan *call[In, Out]
	turn    sync.Mutex // held by the worker that gathers
	closing sync.Once
	quit    chan struct{} // closed by Close
	stopped chan struct{} // closed when all workers have ended
}

// call is one caller's own.
type call[In, Out any] struct {
	ctx context.Context
	in  In

	done chan struct{}
	out  Out // read these after done
	err  error
}

// New starts a group. Carry does the work of a batch of at least one call and sets
// answers[i] for batch[i]; its error is that of every call in the batch. It must
// end in bounded time, and keeps neither slice. The caller must Close the group.
func New[In, Out any](cfg Config, carry func(batch []In, answers []Out) error) *Group[In, Out] {
	g := &Group[In, Out]{
		size:    cfg.Size,
		carry:   carry,
		calls:   make(chan *call[In, Out], cfg.Queue),
		quit:    make(chan struct{}),
		stopped: make(chan struct{}),
	}
	var workers sync.WaitGroup
	for range cfg.Workers {
		workers.Go(g.work)
	}
	go func() {
		workers.Wait()
		close(g.stopped)
	}()
	return g
}

// Do hands in over and waits for its answer. An ended ctx ends the wait with the
// error of ctx: a call that no worker took by then is not carried out, any other
// may be. After [Group.Close] the error is [replay.ErrClosed].
func (g *Group[In, Out]) Do(ctx context.Context, in In) (out Out, err error) {
	select {
	case <-g.quit:
		return out, replay.ErrClosed
	default:
	}
	if err := ctx.Err(); err != nil {
		return out, err
	}
	c := &call[In, Out]{ctx: ctx, in: in, done: make(chan struct{})}
	select {
	case g.calls <- c:
	case <-ctx.Done():
		return out, ctx.Err()
	case <-g.quit:
		return out, replay.ErrClosed
	}
	select {
	case <-c.done:
		return c.out, c.err
	case <-ctx.Done():
		return out, ctx.Err()
	case <-g.stopped:
	}
	select {
	case <-c.done: // by the last batch
		return c.out, c.err
	default:
		return out, replay.ErrClosed
	}
}

// Close waits for the batches under way and ends the workers; calls that no worker
// took return [replay.ErrClosed], and so does a second Close.
func (g *Group[In, Out]) Close() error {
	err := replay.ErrClosed
	g.closing.Do(func() {
		close(g.quit)
		<-g.stopped
		err = nil
	})
	return err
}

func (g *Group[In, Out]) work() {
	for {
		batch, open := g.gather()
		if !open {
			return
		}
		g.commit(batch)
	}
}

// gather waits for calls and takes those that wait. One worker does so at a time:
// two would share what is better one batch. Callers that were answered just now get the
// chance to come again, so that batches are large under load.
func (g *Group[In, Out]) gather() (batch []*call[In, Out], open bool) {
	g.turn.Lock()
	defer g.turn.Unlock()
	select { // the next one may choose a call though quit is closed
	case <-g.quit:
		return nil, false
	default:
	}
	select {
	case <-g.quit:
		return nil, false
	case c := <-g.calls:
		batch = append(batch, c)
	}
	for n := -1; n != len(g.calls); {
		n = len(g.calls)
		runtime.Gosched()
	}
	for len(batch) < g.size {
		select {
		case c := <-g.calls:
			batch = append(batch, c)
		default:
			return batch, true
		}
	}
	return batch, true
}

// commit carries out a batch without the calls that nobody waits for any more.
func (g *Group[In, Out]) commit(batch []*call[In, Out]) {
	live := batch[:0]
	for _, c := range batch {
		if c.err = c.ctx.Err(); c.err != nil {
			close(c.done)
			continue
		}
		live = append(live, c)
	}
	if len(live) == 0 {
		return
	}
	in, out := make([]In, len(live)), make([]Out, len(live))
	for i, c := range live {
		in[i] = c.in
	}
	err := g.carrySafely(in, out)
	for i, c := range live {
		if c.err = err; err == nil {
			c.out = out[i]
		}
		close(c.done)
	}
}

// carrySafely turns a panic into an error of the batch: a worker that is gone would
// leave all callers waiting.
func (g *Group[In, Out]) carrySafely(in []In, out []Out) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("replay: batch: panic: %v", p)
		}
	}()
	return g.carry(in, out)
}
