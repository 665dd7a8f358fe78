//go:build linux

package main

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/sealedblob/sealedblob/bayeux"
)

const (
	// lull is the time within which the server has forgotten everybody.
	lull = 30 * time.Second
	// sessions of the last part, which shows what each leaves behind.
	sessions = 2000
)

// run returns what is wrong with the server, all of it.
func (p plan) run(say func(format string, args ...any)) error {
	h, err := start(p)
	if err != nil {
		return err
	}
	defer h.stop()
	quickly(h.addr, 4, 100) // what is set up once is there from here on
	before, err := h.empty()
	if err != nil {
		return err
	}
	var idle crowd
	defer idle.leave()
	if err := idle.gather(h.addr, p.polls, p.sockets); err != nil {
		return fmt.Errorf("after %d clients: %w", len(idle.callers), err)
	}
	full, err := p.allHeld(h)
	if err != nil {
		return err
	}
	n := p.polls + p.sockets
	kib := func(a, b int64) float64 { return float64(b-a) / 1024 / float64(n) }
	say("%s: %d long polls, %d websockets: %.1f KiB RSS each (live heap %.1f, stacks %.1f), %.1f goroutines each", p.name, p.polls, p.sockets,
		kib(before.RSS, full.RSS), kib(before.Heap, full.Heap), kib(before.Stacks, full.Stacks), float64(full.Goroutines-before.Goroutines)/float64(n))

	if p.idle > 0 {
		time.Sleep(p.timeout * 3 / 2) // all connects end at about the same time: more goroutines than ever before
	}
	wrong := []error{p.stayFlat(h, "idle", p.idle, say), p.stayFlatWithChurn(h, say), idle.err()}
	idle.leave()
	after, err := h.empty()
	if err != nil {
		return errors.Join(append(wrong, err)...)
	}
	wrong = append(wrong, sameAs(before, after), p.wantChurn(after))
	quickly(h.addr, 16, sessions)
	last, err := h.empty()
	if err != nil {
		return errors.Join(append(wrong, err)...)
	}
	wrong = append(wrong, sameAs(before, last), leftBehind(after, last))
	say("%s: after everybody left: RSS %d MiB, was %d; heap %d KiB, was %d; %d goroutines, was %d; %d open files, was %d; %d sessions served, the last %d left %d objects and %d bytes", p.name,
		after.RSS>>20, before.RSS>>20, after.Heap>>10, before.Heap>>10, after.Goroutines, before.Goroutines, after.Files, before.Files, last.Gauges["served"],
		last.Gauges["served"]-after.Gauges["served"], last.Objects-after.Objects, last.Heap-after.Heap)
	return errors.Join(wrong...)
}

// allHeld returns a sample with a connect of each idle client held. Some are on
// their way at any time.
func (p plan) allHeld(h *host) (sample, error) {
	for end := time.Now().Add(lull); ; time.Sleep(200 * time.Millisecond) {
		s, err := h.ask("settle")
		if err != nil {
			return s, err
		}
		sessions, polls, sockets := s.Gauges[bayeux.GaugeSessions], s.Gauges[bayeux.GaugePolls], s.Gauges[bayeux.GaugeSockets]
		if sessions == int64(p.polls+p.sockets) && polls == int64(p.polls) && sockets == int64(p.sockets) {
			return s, nil
		}
		if time.Now().After(end) {
			return s, fmt.Errorf("%d sessions, %d polls and %d sockets of %d long polls and %d websockets", sessions, polls, sockets, p.polls, p.sockets)
		}
	}
}

func (p plan) stayFlatWithChurn(h *host, say func(string, ...any)) error {
	if p.churn == 0 {
		return nil
	}
	c := begin(h.addr, p.churners, p.patience)
	// At first there are more sessions every second: those of who left without a
	// word go when they lapse.
	c.over(min(p.lapse+p.patience, p.churn/3))
	err := p.stayFlat(h, "churn", p.churn, say)
	c.end()
	for i, life := range lives {
		say("%s: %d %s clients", p.name, c.lives[i].Load(), life.name)
		if c.lives[i].Load() == 0 {
			err = errors.Join(err, fmt.Errorf("nobody was %s", life.name))
		}
	}
	if c.good.Load() == 0 {
		err = errors.Join(err, errors.New("no life of the churn went well"))
	}
	return errors.Join(err, c.flooded)
}

// wantChurn says that the churn led to all that it should.
func (p plan) wantChurn(s sample) error {
	if p.churn == 0 {
		return nil
	}
	kinds := []bayeux.EventKind{bayeux.CountPublished, bayeux.CountDelivered, bayeux.CountExpired}
	if p.churn >= minute {
		kinds = append(kinds, bayeux.CountDropped) // in a few seconds nobody may be so slow
	}
	var err error
	for _, kind := range kinds {
		if s.Gauges[kind] == 0 {
			err = errors.Join(err, fmt.Errorf("the churn led to no %q", kind))
		}
	}
	return err
}

// stayFlat takes a sample each second, and compares the thirds.
func (p plan) stayFlat(h *host, what string, d time.Duration, say func(string, ...any)) error {
	if d == 0 {
		return nil
	}
	var rss, heap []int64
	for end := time.Now().Add(d); len(rss) < 3 || time.Now().Before(end); time.Sleep(time.Second) {
		s, err := h.ask("look")
		if err != nil {
			return err
		}
		rss, heap = append(rss, s.RSS), append(heap, s.Heap)
	}
	say("%s: %s, %d samples: RSS %s; heap %s", p.name, what, len(rss), thirds(rss), thirds(heap))
	return errors.Join(p.flat(what+": RSS", rss), p.flat(what+": heap", heap))
}

func thirds(v []int64) string {
	first, last := ends(v)
	return fmt.Sprintf("%.1f MiB in the first third, %.1f in the last (%+.1f %%)", float64(first)/(1<<20), float64(last)/(1<<20), 100*float64(last-first)/float64(first))
}

func (p plan) flat(what string, v []int64) error {
	if first, last := ends(v); p.slack > 0 && float64(last) > float64(first)*(1+p.slack) {
		return fmt.Errorf("%s grew: %s", what, thirds(v))
	}
	return nil
}

// ends are the least of the first third and of the last: a leak raises that as
// well, and what comes and goes does not.
func ends(v []int64) (first, last int64) {
	third := len(v) / 3
	return slices.Min(v[:third]), slices.Min(v[len(v)-third:])
}

// empty waits until the server has no session, and samples it.
func (h *host) empty() (sample, error) {
	for end := time.Now().Add(lull); ; time.Sleep(100 * time.Millisecond) {
		s, err := h.ask("settle")
		if err != nil {
			return s, err
		}
		if s.Gauges[bayeux.GaugeSessions] == 0 && s.Gauges[bayeux.GaugePolls] == 0 && s.Gauges[bayeux.GaugeSockets] == 0 {
			time.Sleep(time.Second) // for the connections' ends
			return h.ask("settle")
		}
		if time.Now().After(end) {
			return s, fmt.Errorf("%v after everybody left there are %d sessions, %d polls and %d websockets", lull,
				s.Gauges[bayeux.GaugeSessions], s.Gauges[bayeux.GaugePolls], s.Gauges[bayeux.GaugeSockets])
		}
	}
}

// sameAs reports goroutines and files that were not there at the beginning.
func sameAs(before, after sample) error {
	var err error
	if after.Goroutines > before.Goroutines {
		err = fmt.Errorf("%d goroutines, %d at the beginning", after.Goroutines, before.Goroutines)
	}
	if after.Files > before.Files {
		err = errors.Join(err, fmt.Errorf("%d open files, %d at the beginning", after.Files, before.Files))
	}
	return err
}

// leftBehind reports what a number of sessions left on the heap: more than an
// object for each tenth of them, or 16 bytes for each, is a leak. That one object
// for each session is noticed is TestSoakNoticesLeaks' to show.
func leftBehind(before, after sample) error {
	n := after.Gauges["served"] - before.Gauges["served"]
	objects, bytes := after.Objects-before.Objects, after.Heap-before.Heap
	if objects > n/10 || bytes > 16*n {
		return fmt.Errorf("%d sessions left %d objects behind, %d bytes", n, objects, bytes)
	}
	return nil
}
