package main

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// idleClients wait at once. idleFirst come before them, so that what a server loads for
// its first clients is not counted.
const (
	idleClients = 2000
	idleFirst   = 100
	idleSettle  = 3 * time.Second
)

// idleMemory measures what a client costs that is subscribed and waits: by how much
// the memory of a fresh process has grown after so many of them.
func idleMemory(o options) (out []Result, err error) {
	for _, transport := range []string{polling, websocket} {
		servers := append([]fanServer{
			{bareHeld, []string{polling}, nil}, {bareHijacked, []string{websocket}, nil}, {oursPark, []string{polling}, nil},
		}, fanServers...)
		name := "idle-" + transport
		var results []Result
		for _, s := range servers {
			if !slices.Contains(s.transports, transport) || !strings.HasPrefix("fanout/"+name+"/"+s.name, o.one) {
				continue
			}
			var sizes []int
			for range (o.rounds + 2) / 3 {
				n, err := s.idle(transport)
				if err != nil {
					return nil, fmt.Errorf("%s: %s: %w", name, s.name, err)
				}
				sizes = append(sizes, n)
			}
			slices.Sort(sizes)
			results = append(results, Result{Group: "fanout", Case: name, System: s.name, RSS: sizes[len(sizes)/2]})
		}
		if len(results) > 0 {
			fmt.Print(idleTable(results))
		}
		out = append(out, results...)
	}
	return out, nil
}

// idle is the memory for each client, in bytes.
func (s fanServer) idle(transport string) (int, error) {
	p, err := newPoller()
	if err != nil {
		return 0, err
	}
	defer p.close()
	server, err := s.start()
	if err != nil {
		return 0, err
	}
	defer server.close()
	f := &fleet{addr: server.addr, transport: transport, poller: p, mute: s.mute()}
	if err := f.grow(idleFirst); err != nil {
		return 0, err
	}
	before, err := f.settled(server)
	if err != nil {
		return 0, err
	}
	if err := f.grow(idleClients); err != nil {
		return 0, err
	}
	after, err := f.settled(server)
	return (after - before) / idleClients, err
}

// settled is the server's memory after a while in which nothing is published.
func (f *fleet) settled(server *program) (int, error) {
	for end := time.Now().Add(idleSettle); time.Now().Before(end); {
		if err := f.poller.turn(10 * time.Millisecond); err != nil {
			return 0, err
		}
	}
	return server.resident()
}

func idleTable(results []Result) string {
	var b strings.Builder
	fmt.Fprintf(&b, "\nfanout %s\n\n", results[0].Case)
	fmt.Fprintln(&b, "| server | KiB for each client |")
	fmt.Fprintln(&b, "|---|---:|")
	for _, r := range results {
		fmt.Fprintf(&b, "| %s | %.1f |\n", r.System, float64(r.RSS)/1024)
	}
	return b.String()
}
