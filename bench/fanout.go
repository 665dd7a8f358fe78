package main

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// fanLoad is a way to publish.
type fanLoad struct {
	name string
	pace func(transport string, subscribers int) pace
	wall time.Duration // for a batch of one 25th of a second
}

// inFlight is how many publications may be under way at once. One is under way until
// every subscriber has it.
const inFlight = 16

// deliveriesPerSecond are what every server carries with ease.
var deliveriesPerSecond = map[string]int{polling: 4000, websocket: 10_000}

var fanLoads = []fanLoad{
	{"paced", func(transport string, subscribers int) pace {
		return pace{time.Second * time.Duration(subscribers) / time.Duration(deliveriesPerSecond[transport]), inFlight}
	}, 120},
	{"flat", func(string, int) pace { return pace{0, inFlight} }, 60},
}

var fanSizes = []int{200, 1000}

// fanouts measures the deliveries of one publisher's messages to many subscribers.
func fanouts(o options) (out []Result, err error) {
	fmt.Printf("\nfanout: load %s before\n", loadAverage())
	defer func() { fmt.Printf("\nfanout: load %s after\n", loadAverage()) }()
	for _, transport := range []string{polling, websocket} {
		for _, n := range fanSizes {
			results, err := fanContest(transport, n, o)
			if err != nil {
				return nil, fmt.Errorf("fanout %s to %d: %w", transport, n, err)
			}
			out = append(out, results...)
		}
	}
	memory, err := idleMemory(o)
	return append(out, memory...), err
}

// contestant is a server with its clients.
type contestant struct {
	name    string
	server  *program
	fleet   *fleet
	samples map[string][]fanSample // by load
}

// fanContest measures all servers that speak the transport, in rounds.
func fanContest(transport string, subscribers int, o options) (out []Result, err error) {
	caseOf := func(l fanLoad) string { return fmt.Sprintf("%s-%s-%d", l.name, transport, subscribers) }
	wanted := func(l fanLoad, system string) bool {
		return strings.HasPrefix("fanout/"+caseOf(l)+"/"+system, o.one)
	}
	p, err := newPoller()
	if err != nil {
		return nil, err
	}
	defer p.close()
	var list []*contestant
	for _, s := range fanServers {
		if !slices.Contains(s.transports, transport) || !slices.ContainsFunc(fanLoads, func(l fanLoad) bool { return wanted(l, s.name) }) {
			continue
		}
		c := &contestant{name: s.name, samples: map[string][]fanSample{}}
		if c.server, err = s.start(profileVariable + "=" + o.profile); err != nil {
			return nil, fmt.Errorf("%s: %w", s.name, err)
		}
		defer c.server.close()
		list = append(list, c)
	}
	for _, c := range list { // once all have started: from now on clients wait for their poller
		if c.fleet, err = newFleet(p, c.server.addr, transport, subscribers); err != nil {
			return nil, fmt.Errorf("%s: %w", c.name, err)
		}
	}
	for round := range o.rounds + 1 {
		for k := range list {
			c := list[(k+round)%len(list)]
			for _, l := range fanLoads {
				if !wanted(l, c.name) {
					continue
				}
				s, err := c.fleet.measure(l.pace(transport, subscribers), l.wall*o.batch, c.server.used)
				if err != nil {
					return nil, fmt.Errorf("%s: %w", c.name, err)
				}
				if round > 0 { // the first is for warmth
					c.samples[l.name] = append(c.samples[l.name], s)
				}
			}
		}
	}
	for _, l := range fanLoads {
		var results []Result
		for _, c := range list {
			if wanted(l, c.name) {
				results = append(results, fanResult(caseOf(l), c.name, c.samples[l.name]))
			}
		}
		if len(results) > 0 {
			fmt.Print(fanTable(results))
		}
		out = append(out, results...)
	}
	return out, nil
}

func fanResult(name, system string, samples []fanSample) Result {
	middle := func(of func(fanSample) float64) float64 { return fanSorted(samples, of)[len(samples)/2] }
	cpu := fanSorted(samples, func(s fanSample) float64 { return s.server })
	r := Result{
		Group: "fanout", Case: name, System: system,
		NS: middle(func(s fanSample) float64 { return s.client }), ServerNS: cpu[len(cpu)/2],
		PerSecond: middle(func(s fanSample) float64 { return s.perSecond }),
		P50:       middle(func(s fanSample) float64 { return s.p50 }), P99: middle(func(s fanSample) float64 { return s.p99 }),
		Batch: middle(func(s fanSample) float64 { return s.batch }),
	}
	r.spread = (cpu[len(cpu)-1] - cpu[0]) / 2 / r.ServerNS
	return r
}

func fanSorted(list []fanSample, of func(fanSample) float64) []float64 {
	out := make([]float64, len(list))
	for i, s := range list {
		out[i] = of(s)
	}
	slices.Sort(out)
	return out
}

// fanTable shows one case in Markdown.
func fanTable(results []Result) string {
	var b strings.Builder
	fmt.Fprintf(&b, "\nfanout %s\n\n", results[0].Case)
	fmt.Fprintln(&b, "| server | deliveries for a CPU-second | ± | CPU µs each | deliveries/s | p50 ms | p99 ms | messages in a response | client CPU µs each |")
	fmt.Fprintln(&b, "|---|---:|---:|---:|---:|---:|---:|---:|---:|")
	for _, r := range results {
		fmt.Fprintf(&b, "| %s | %.0f | %.0f %% | %s | %.0f | %.2f | %.2f | %.2f | %s |\n", r.System, 1e9/r.ServerNS, 100*r.spread,
			micros(r.ServerNS), r.PerSecond, r.P50/1e6, r.P99/1e6, r.Batch, micros(r.NS))
	}
	return b.String()
}
