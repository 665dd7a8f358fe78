package main

import (
	"fmt"
	"slices"
	"time"
)

// window is one measurement of a fleet.
type window struct {
	receivers int
	sent      []time.Time // of each publication, when it was due
	left      []int32     // how many do not have it yet
	open      int         // publications that not everybody has
	took      []time.Duration
	responses int // responses, or frames, with at least one delivery
}

func (w *window) delivered(seq int, at time.Time) {
	w.took = append(w.took, at.Sub(w.sent[seq]))
	if w.left[seq]--; w.left[seq] == 0 {
		w.open--
	}
}

// pace says when publications are due. At most inFlight of them are not with every
// subscriber yet.
type pace struct {
	every    time.Duration // 0: as soon as there is room
	inFlight int
}

// fanSample is what one measurement found.
type fanSample struct {
	server, client float64 // CPU ns for each delivery
	perSecond      float64
	batch          float64 // deliveries for each response that had some
	p50, p99       float64 // ns from when a publication was due to each receipt
}

const fanPatience = 20 * time.Second

// measure publishes for so long and waits until everybody has everything. It fails
// unless each subscriber gets each publication once.
func (f *fleet) measure(p pace, wall time.Duration, used func() (time.Duration, error)) (s fanSample, err error) {
	w := &window{receivers: len(f.members)}
	f.current = w
	defer func() { f.current = nil }()
	for _, m := range f.members {
		clear(m.seen)
	}
	f.forgetPosts()
	server, err := used()
	if err != nil {
		return s, err
	}
	client, start := cpu(), time.Now()
	if err := f.publishAll(w, p, start, wall); err != nil {
		return s, err
	}
	if err := f.drain(w, fanPatience); err != nil {
		return s, err
	}
	elapsed := time.Since(start)
	after, err := used()
	if err != nil {
		return s, err
	}
	n := float64(len(w.took))
	if n == 0 {
		return s, fmt.Errorf("nothing was published in %v", wall)
	}
	slices.Sort(w.took)
	return fanSample{
		server: float64(after-server) / n, client: float64(cpu()-client) / n, perSecond: n / elapsed.Seconds(), batch: n / float64(w.responses),
		p50: float64(w.took[len(w.took)/2]), p99: float64(w.took[len(w.took)*99/100]),
	}, nil
}

func (f *fleet) publishAll(w *window, p pace, start time.Time, wall time.Duration) error {
	due := start
	for now := start; now.Sub(start) < wall; now = time.Now() {
		wait := 10 * time.Millisecond
		if p.every == 0 {
			due = now
		}
		for w.open < p.inFlight && !due.After(now) {
			seq := len(w.sent)
			w.sent, w.left = append(w.sent, due), append(w.left, int32(w.receivers))
			w.open++
			if err := f.publish(seq); err != nil {
				return err
			}
			due = due.Add(p.every)
		}
		if p.every > 0 && w.open < p.inFlight {
			wait = min(wait, due.Sub(now))
		}
		if err := f.poller.turn(wait); err != nil {
			return err
		}
	}
	return nil
}

// drain waits until nothing is open.
func (f *fleet) drain(w *window, patience time.Duration) error {
	for end := time.Now().Add(patience); w.open > 0 || !f.answered(); {
		if time.Now().After(end) {
			return fmt.Errorf("%d of %d publications did not reach everybody", w.open, len(w.sent))
		}
		if err := f.poller.turn(10 * time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}
