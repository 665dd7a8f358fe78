package main

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// table shows one group and case in Markdown; × limit is the ratio to the limit
// in this run, or × floor that to the floor; × envelope says how many times the
// envelope's cost it is.
func table(results []Result) string {
	base := "limit"
	if results[0].Group == "stateless" {
		base = "floor"
	}
	limit, envelope := find(results, base), find(results, "envelope")
	var b strings.Builder
	fmt.Fprintf(&b, "\n%s %s\n\n", results[0].Group, results[0].Case)
	fmt.Fprintln(&b, "| system | CPU ns | ± | × "+base+" | × envelope | allocations | bytes | expiry | characters |")
	fmt.Fprintln(&b, "|---|---:|---:|---:|---:|---:|---:|---|---:|")
	for _, r := range results {
		expiry := ""
		if r.expiry {
			expiry = "yes"
		}
		fmt.Fprintf(&b, "| %s | %.0f | %.0f %% | %s | %s | %d | %d | %s | %d |\n",
			r.System, r.NS, 100*r.spread, ratio(r.NS, limit), ratio(r.NS, envelope), r.Allocs, r.Bytes, expiry, r.wire)
	}
	return b.String()
}

// claimTable shows one contest in Markdown; × base is the ratio of the rates.
func claimTable(results []Result, base string) string {
	to := find(results, base)
	var b strings.Builder
	fmt.Fprintf(&b, "\n\n%s %s\n\n", results[0].Group, results[0].Case)
	fmt.Fprintln(&b, "| store | claims/s | ± | × "+base+" | p50 µs | p99 µs | CPU µs | server CPU µs | allocations | bytes |")
	fmt.Fprintln(&b, "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|")
	for _, r := range results {
		times := "–"
		if to != nil {
			times = fmt.Sprintf("%.2f", r.PerSecond/to.PerSecond)
		}
		fmt.Fprintf(&b, "| %s | %.0f | %.0f %% | %s | %s | %s | %s | %s | %d | %d |\n", r.System, r.PerSecond, 100*r.spread, times,
			micros(r.P50), micros(r.P99), micros(r.NS), micros(r.ServerNS), r.Allocs, r.Bytes)
	}
	return b.String()
}

func micros(ns float64) string {
	switch {
	case ns == 0:
		return "–"
	case ns < 100_000:
		return fmt.Sprintf("%.1f", ns/1000)
	}
	return fmt.Sprintf("%.0f", ns/1000)
}

func ratio(ns float64, to *Result) string {
	if to == nil {
		return "–"
	}
	return fmt.Sprintf("%.2f", ns/to.NS)
}

func find(results []Result, system string) *Result {
	if i := slices.IndexFunc(results, func(r Result) bool { return r.System == system }); i >= 0 {
		return &results[i]
	}
	return nil
}

// goal is something that this project wants of itself, as a ratio or a rate
// within one run.
type goal struct {
	text    string
	atLeast bool // else at most
	want    float64
	got     func(of func(group, name, system string) Result) float64
	only    []string // groups that must have been measured
}

func times(group, name, system, by string) func(func(string, string, string) Result) float64 {
	return func(of func(string, string, string) Result) float64 {
		return of(group, name, system).NS / of(group, name, by).NS
	}
}

func allocations(group, name, system string) func(func(string, string, string) Result) float64 {
	return func(of func(string, string, string) Result) float64 { return float64(of(group, name, system).Allocs) }
}

// expiring are the peers whose open checks an expiry.
var expiring = []string{"go-jose+exp", "jwx+exp", "securecookie", "fernet", "paseto"}

// fastest is by how much the fastest of the expiring peers costs more than ours.
func fastest(group, name string) func(func(string, string, string) Result) float64 {
	return func(of func(string, string, string) Result) float64 {
		best := of(group, name, expiring[0]).NS
		for _, peer := range expiring {
			best = min(best, of(group, name, peer).NS)
		}
		return best / of(group, name, "attribute").NS
	}
}

var goals = []goal{
	{"envelope, seal 256 B: × limit", false, 1, times("seal", "256", "envelope", "limit"), []string{"seal"}},
	{"envelope, open 256 B: × limit", false, 1, times("open", "256", "envelope", "limit"), []string{"open"}},
	{"envelope, seal 256 B: allocations", false, 0, allocations("seal", "256", "envelope"), []string{"seal"}},
	{"envelope, open 256 B: allocations", false, 0, allocations("open", "256", "envelope"), []string{"open"}},
	{"envelope, seal 256 B: times faster than go-jose", true, 12, times("seal", "256", "go-jose", "envelope"), []string{"seal"}},
	{"the same with a key ID in its header, as ours has", true, 12, times("seal", "256", "go-jose+kid", "envelope"), []string{"seal"}},
	{"envelope, open 256 B: times faster than go-jose", true, 25, times("open", "256", "go-jose", "envelope"), []string{"open"}},
	{"the same with a key ID in its header", true, 25, times("open", "256", "go-jose+kid", "envelope"), []string{"open"}},
	{"envelope, seal 4 KiB: times faster than go-jose", true, 2.5, times("seal", "4096", "go-jose", "envelope"), []string{"seal"}},
	{"envelope, open 4 KiB: times faster than go-jose", true, 2.5, times("open", "4096", "go-jose", "envelope"), []string{"open"}},
	{"envelope, seal 64 KiB: times faster than go-jose", true, 2.5, times("seal", "65536", "go-jose", "envelope"), []string{"seal"}},
	{"envelope, open 64 KiB: times faster than go-jose", true, 2.5, times("open", "65536", "go-jose", "envelope"), []string{"open"}},
	{"attribute, seal 256 B: × limit", false, 2.5, times("seal", "256", "attribute", "limit"), []string{"seal"}},
	{"attribute, open 256 B: × limit", false, 2.5, times("open", "256", "attribute", "limit"), []string{"open"}},
	{"attribute, seal 256 B: allocations", false, 4, allocations("seal", "256", "attribute"), []string{"seal"}},
	{"attribute, open 256 B: allocations", false, 4, allocations("open", "256", "attribute"), []string{"open"}},
	{"attribute, seal 256 B: times faster than the fastest peer with an expiry", true, 1.5, fastest("seal", "256"), []string{"seal"}},
	{"attribute, open 256 B: times faster than the fastest peer with an expiry", true, 1.5, fastest("open", "256"), []string{"open"}},
	{"stateless request: × a handler that only sets a cookie", false, 1.6, times("stateless", "request", "stateless", "floor"), []string{"stateless"}},
	{"stateless request: × scs in memory", false, 1, times("stateless", "request", "stateless", "scs memory"), []string{"stateless"}},
	{"stateless request: × gorilla CookieStore", false, 1, times("stateless", "request", "stateless", "gorilla cookie"), []string{"stateless"}},
	{"stateless request: × scs with Redis", false, 1, times("stateless", "request", "stateless", "scs Redis"), []string{"stateless"}},
	{"session.Restore, 10 × 256 B and manifest, no store: sessions/s on one core", true, 60_000, rate, []string{"restore"}},
	{"filestore, 256 callers: × a raw log, one sync for each group", true, 0.5, claimRate("disk-256", "filestore", "limit"), []string{"replay"}},
	{"the same, × a raw log that was preallocated", true, 0.5, claimRate("disk-256", "filestore", "limit, preallocated"), []string{"replay"}},
	{"filestore, 256 callers: × the best of bbolt, sqlite and badger, one transaction for each claim", true, 2, claimRate("disk-256", "filestore", "bbolt", "sqlite", "badger"), []string{"replay"}},
	{"the same, × pebble, which groups by itself", true, 2, claimRate("disk-256", "filestore", "pebble"), []string{"replay"}},
	{"redisstore, 256 callers: × plain rueidis SET NX PX", true, 0.8, claimRate("redis-256", "redisstore", "rueidis SET"), []string{"replay"}},
	{"the same with appendfsync always", true, 0.8, claimRate("redis+aof-256", "redisstore", "rueidis SET"), []string{"replay"}},
	{"pgstore, 256 callers: × plain INSERT over as many connections as help", true, 3, claimRate("postgres-256", "pgstore", plainPGX), []string{"replay"}},
	{"the same, × plain INSERT over as many connections as pgstore has", true, 3, claimRate("postgres-256", "pgstore", samePGX), []string{"replay"}},
	{"fan-out to 1,000 by WebSocket, flat out: × the deliveries for a CPU-second of Faye", true, 4, fanCPU(websocket, oursFan), []string{"fanout"}},
	{"the same by long-polling: × the better of Faye and cometd-nodejs-server", true, 4, fanCPU(polling, oursFan), []string{"fanout"}},
	{"the same with RepeatPolls", true, 4, fanCPU(polling, oursRepeat), []string{"fanout"}},
	{"fan-out to 1,000 by WebSocket, paced: p99 × the lowest of the others", false, 1, fanLatency(websocket, oursFan), []string{"fanout"}},
	{"the same by long-polling", false, 1, fanLatency(polling, oursFan), []string{"fanout"}},
	{"the same with RepeatPolls", false, 1, fanLatency(polling, oursRepeat), []string{"fanout"}},
	{"an idle client on a WebSocket, KiB", false, 12, fanIdle(websocket, oursFan), []string{"fanout"}},
	{"an idle client in a held long poll, KiB", false, 25, fanIdle(polling, oursFan), []string{"fanout"}},
	{"the same with ParkPolls", false, 25, fanIdle(polling, oursPark), []string{"fanout"}},
	{"the same with RepeatPolls", false, 25, fanIdle(polling, oursRepeat), []string{"fanout"}},
}

// fanPeers are the others that speak the transport.
func fanPeers(transport string) []string {
	if transport == polling {
		return []string{"Faye", "cometd-nodejs-server", "CometD Java"}
	}
	return []string{"Faye", "CometD Java"}
}

// fanCPU is how many times the deliveries for a CPU-second of the best server in
// Node.js ours makes.
func fanCPU(transport, system string) func(func(string, string, string) Result) float64 {
	return func(of func(string, string, string) Result) float64 {
		name, best := "flat-"+transport+"-1000", math.Inf(1)
		for _, peer := range fanPeers(transport) {
			if peer != "CometD Java" {
				best = min(best, of("fanout", name, peer).ServerNS)
			}
		}
		return best / of("fanout", name, system).ServerNS
	}
}

func fanLatency(transport, system string) func(func(string, string, string) Result) float64 {
	return func(of func(string, string, string) Result) float64 {
		name, best := "paced-"+transport+"-1000", math.Inf(1)
		for _, peer := range fanPeers(transport) {
			best = min(best, of("fanout", name, peer).P99)
		}
		return of("fanout", name, system).P99 / best
	}
}

func fanIdle(transport, system string) func(func(string, string, string) Result) float64 {
	return func(of func(string, string, string) Result) float64 {
		return float64(of("fanout", "idle-"+transport, system).RSS) / 1024
	}
}

// claimRate is how many times the claims a second of another store ours answers.
func claimRate(name, system string, by ...string) func(func(string, string, string) Result) float64 {
	return func(of func(string, string, string) Result) float64 {
		best := 0.0
		for _, peer := range by {
			best = max(best, of("replay", name, peer).PerSecond)
		}
		return of("replay", name, system).PerSecond / best
	}
}

func rate(of func(string, string, string) Result) float64 {
	return 1e9 / of("restore", "10x256", "session").NS
}

// of finds a result by its group, case and system.
func of(all []Result) func(group, name, system string) Result {
	measured := map[[3]string]Result{}
	for _, r := range all {
		measured[[3]string{r.Group, r.Case, r.System}] = r
	}
	return func(group, name, system string) Result { return measured[[3]string{group, name, system}] }
}

// verdicts says of each goal what was measured and whether it is met.
func verdicts(all []Result) string {
	groups := map[string]bool{}
	for _, r := range all {
		groups[r.Group] = true
	}
	measured := of(all)
	const head = "\n| goal | wanted | measured | |\n|---|---:|---:|---|\n"
	var b strings.Builder
	for _, g := range goals {
		if slices.ContainsFunc(g.only, func(group string) bool { return !groups[group] }) {
			continue
		}
		got, sign, word := g.got(measured), "≤", "**missed**"
		met := got <= g.want
		if g.atLeast {
			sign, met = "≥", got >= g.want
		}
		if met {
			word = "met"
		}
		fmt.Fprintf(&b, "| %s | %s %s | %s | %s |\n", g.text, sign, figure(g.want), figure(got), word)
	}
	if b.Len() == 0 {
		return "" // nothing that was measured has a goal
	}
	return head + b.String()
}

func figure(v float64) string {
	switch {
	case v >= 1000:
		return fmt.Sprintf("%.0f", v)
	case v == float64(int(v)):
		return fmt.Sprint(int(v))
	}
	return fmt.Sprintf("%.2f", v)
}
