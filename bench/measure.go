package main

import (
	"fmt"
	"runtime"
	"slices"
	"syscall"
	"time"
)

// op is one operation under measurement.
type op func() error

// sample is the cost of one operation: CPU time of the process, user and
// system, over all threads, so that collecting garbage is charged to who made it.
type sample struct {
	ns, allocs, bytes float64
}

// cpu is the CPU time that this process has used.
func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err) // it has no way to fail with these arguments
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// measure runs f n times, beginning with a clean heap.
func measure(f op, n int) (sample, error) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	start := cpu()
	for range n {
		if err := f(); err != nil {
			return sample{}, err
		}
	}
	used := cpu() - start
	runtime.ReadMemStats(&after)
	per := func(total uint64) float64 { return float64(total) / float64(n) }
	return sample{per(uint64(used)), per(after.Mallocs - before.Mallocs), per(after.TotalAlloc - before.TotalAlloc)}, nil
}

// calibrate finds how many operations take about the given CPU time.
func calibrate(c contender, batch time.Duration) (int, error) {
	for n := 8; ; n *= 4 {
		s, err := c.measure(n)
		if err != nil {
			return 0, err
		}
		if took := s.ns * float64(n); took >= float64(batch)/8 {
			return max(1, int(float64(batch)/s.ns)), nil
		}
	}
}

// Result is one line of results.json. Times are medians over the rounds.
type Result struct {
	Group  string  `json:"group"`
	Case   string  `json:"case"`
	System string  `json:"system"`
	NS     float64 `json:"ns"`
	Allocs int     `json:"allocs"`
	Bytes  int     `json:"bytes"` // allocated, by operation

	// Of the group replay: NS is this process's CPU time for each claim.
	PerSecond float64 `json:"per_second,omitempty"`
	P50       float64 `json:"p50_ns,omitempty"`
	P99       float64 `json:"p99_ns,omitempty"`
	ServerNS  float64 `json:"server_ns,omitempty"` // the server's CPU time for each claim

	// Of the group fanout, with NS and ServerNS for each delivery.
	Batch float64 `json:"messages_per_response,omitempty"`
	RSS   int     `json:"rss,omitempty"` // bytes of a server's memory for each idle client

	spread float64 // half the range, by the median
	expiry bool
	wire   int
}

// contender is a system with its operation made ready.
type contender struct {
	system string
	expiry bool // it checks an expiry
	wire   int  // characters sealed
	op     op
	by     func(n int) (sample, error) // in place of op: what n operations cost another process
}

func (c contender) measure(n int) (sample, error) {
	if c.by != nil {
		return c.by(n)
	}
	return measure(c.op, n)
}

// compete measures the contenders in rounds, each round all of them in turn,
// so that a disturbance of the machine meets all alike.
func compete(group, name string, list []contender, rounds int, batch time.Duration) ([]Result, error) {
	runs := make([]int, len(list))
	samples := make([][]sample, len(list))
	for i, c := range list {
		n, err := calibrate(c, batch)
		if err != nil {
			return nil, fmt.Errorf("%s %s: %s: %w", group, name, c.system, err)
		}
		runs[i] = n
	}
	for round := range rounds {
		for k := range list {
			i := (k + round) % len(list)
			s, err := list[i].measure(runs[i])
			if err != nil {
				return nil, fmt.Errorf("%s %s: %s: %w", group, name, list[i].system, err)
			}
			samples[i] = append(samples[i], s)
		}
	}
	var out []Result
	for i, c := range list {
		ns := sorted(samples[i], func(s sample) float64 { return s.ns })
		r := Result{
			Group: group, Case: name, System: c.system, NS: float64(int(ns[len(ns)/2]*10+0.5)) / 10,
			Allocs: int(middle(samples[i], func(s sample) float64 { return s.allocs }) + 0.5),
			Bytes:  int(middle(samples[i], func(s sample) float64 { return s.bytes }) + 0.5),
			expiry: c.expiry, wire: c.wire,
		}
		r.spread = (ns[len(ns)-1] - ns[0]) / 2 / ns[len(ns)/2]
		out = append(out, r)
	}
	return out, nil
}

func sorted(list []sample, of func(sample) float64) []float64 {
	out := make([]float64, len(list))
	for i, s := range list {
		out[i] = of(s)
	}
	slices.Sort(out)
	return out
}

func middle(list []sample, of func(sample) float64) float64 {
	return sorted(list, of)[len(list)/2]
}
