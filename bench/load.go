package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

// claim is a request to spend one once-only right. IDs are spread evenly, as those
// of a store are.
type claim struct {
	id, owner [16]byte
	keepUntil time.Time
}

// keep is how long a right is remembered: nothing is purged while it is measured.
const keep = 20 * time.Minute

// fresh makes claims that were never made before, for one caller.
type fresh struct {
	source *rand.ChaCha8
	start  time.Time
}

func newFresh() *fresh {
	var seed [32]byte
	for i := 0; i < len(seed); i += 8 {
		binary.LittleEndian.PutUint64(seed[i:], rand.Uint64())
	}
	return &fresh{rand.NewChaCha8(seed), time.Now()}
}

func (c *fresh) next() (out claim) {
	for _, b := range [][]byte{out.id[:8], out.id[8:], out.owner[:8], out.owner[8:]} {
		binary.LittleEndian.PutUint64(b, c.source.Uint64())
	}
	out.keepUntil = c.start.Add(keep)
	return out
}

// claimer is a store that is open. Its functions are safe for many callers.
type claimer struct {
	// claim spends a right, and says whether it was unspent.
	claim func(claim) (won bool, err error)
	// server is the CPU time of the server's processes; nil: there is no server.
	server func() (time.Duration, error)
	close  func() error
}

// loadSample is what one measurement of a claimer found.
type loadSample struct {
	sample              // CPU time of this process, for each claim
	perSecond           float64
	p50, p99, serverCPU float64 // ns; serverCPU for each claim
}

// caller claims one fresh right after the other.
type caller struct {
	*fresh
	took []time.Duration
	err  error
}

var errSpent = errors.New("a fresh right is said to be spent")

// run claims until the time is up; the last claim may end after it.
func (c *caller) run(claim func(claim) (bool, error), until time.Time) {
	c.took = c.took[:0]
	for now := time.Now(); now.Before(until); {
		won, err := claim(c.next())
		if err == nil && !won {
			err = errSpent
		}
		if err != nil {
			c.err = err
			return
		}
		end := time.Now()
		c.took = append(c.took, end.Sub(now))
		now = end
	}
}

// load lets the callers claim for a while, all at once.
func load(s claimer, callers []*caller, wall time.Duration) (out loadSample, err error) {
	before, err := s.serverTime()
	if err != nil {
		return out, err
	}
	var elapsed time.Duration
	out.sample, err = measure(func() error {
		start := time.Now()
		var running sync.WaitGroup
		for _, c := range callers {
			running.Go(func() { c.run(s.claim, start.Add(wall)) })
		}
		running.Wait()
		elapsed = time.Since(start)
		return nil
	}, 1)
	if err != nil {
		return out, err
	}
	after, err := s.serverTime()
	if err != nil {
		return out, err
	}
	var took []time.Duration
	for _, c := range callers {
		if c.err != nil {
			return out, c.err
		}
		took = append(took, c.took...)
	}
	n := float64(len(took))
	if n == 0 {
		return out, fmt.Errorf("no claim in %v", wall)
	}
	slices.Sort(took)
	out.ns, out.allocs, out.bytes = out.ns/n, out.allocs/n, out.bytes/n
	out.perSecond = n / elapsed.Seconds()
	out.p50, out.p99 = float64(took[len(took)/2]), float64(took[len(took)*99/100])
	out.serverCPU = float64(after-before) / n
	return out, nil
}

func (s claimer) serverTime() (time.Duration, error) {
	if s.server == nil {
		return 0, nil
	}
	return s.server()
}
