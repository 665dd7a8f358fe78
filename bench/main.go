package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"runtime"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sealedblob/sealedblob/policy"
)

// areas are the names for -only: each stands for some groups. An area holds
// what one wants to see together.
var areas = map[string][]string{
	"":           {"seal", "open", "restore", "stateless", "replay"},
	"seal":       {"seal", "open", "restore"},
	"open":       {"open"},
	"restore":    {"restore"},
	"stateless":  {"stateless"},
	"replay":     {"replay"},
	"size":       {"size"},
	"fanout":     {"fanout"},
	"websockets": {"websockets"},
}

// sizes of the values, in bytes: one small, one middling, the largest that an
// attribute may have, and one that fits a bare envelope alone.
var sizes = []int{256, 4096, policy.MaxValueBytes, 64 << 10}

func main() {
	if name := os.Getenv(serveVariable); name != "" {
		fmt.Fprintln(os.Stderr, "bench:", serve(name))
		os.Exit(1)
	}
	var o options
	flag.StringVar(&o.only, "only", "", "what to measure: seal (all of sealing, opening and restoring), open, restore, stateless, replay, size, fanout or websockets; all but the last three if empty")
	flag.StringVar(&o.one, "one", "", "only this `group/case/system`, for a profile; no ratios then")
	flag.StringVar(&o.json, "json", "results.json", "write the results to this `file`")
	flag.StringVar(&o.profile, "cpuprofile", "", "write a CPU profile to this `file`")
	flag.IntVar(&o.rounds, "rounds", 9, "how often each is measured")
	flag.IntVar(&o.live, "live", 1_000_000, "how many rights are kept for size")
	flag.DurationVar(&o.batch, "batch", 25*time.Millisecond, "CPU time of one measurement; of replay, a 12th of its length, of fanout a 60th or 120th")
	flag.Parse()
	if err := o.run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

type options struct {
	only, one, json, profile string
	rounds, live             int
	batch                    time.Duration
}

func (o options) run() error {
	groups, known := areas[o.only]
	if !known || o.rounds < 1 || o.live < 20 || o.batch <= 0 || flag.NArg() > 0 {
		return fmt.Errorf("nothing to measure: -only is seal, open, restore, stateless, replay, size, fanout or websockets, rounds, batch and live are above zero")
	}
	runtime.GOMAXPROCS(1)
	b, err := newBench()
	if err != nil {
		return err
	}
	stop, err := o.startProfile()
	if err != nil {
		return err
	}
	fmt.Println(machine())
	var all []Result
	for _, group := range groups {
		results, err := b.group(group, o)
		if err != nil {
			return err
		}
		all = append(all, results...)
	}
	if err := stop(); err != nil {
		return err
	}
	if o.one == "" {
		fmt.Print(verdicts(all))
	}
	return write(o.json, all)
}

func (o options) startProfile() (stop func() error, err error) {
	if o.profile == "" || o.only == "fanout" { // the server's own
		return func() error { return nil }, nil
	}
	f, err := os.Create(o.profile)
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, err
	}
	return func() error {
		pprof.StopCPUProfile()
		return f.Close()
	}, nil
}

func write(file string, all []Result) error {
	if len(all) == 0 {
		return fmt.Errorf("nothing was measured")
	}
	out, err := json.MarshalIndent(all, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(out, '\n'), 0o644)
}

// bench holds the systems, made once.
type bench struct {
	kit     *kit
	systems []system // the limit first, then ours, then the peers
	cold    system
}

func newBench() (*bench, error) {
	k, err := newKit()
	if err != nil {
		return nil, err
	}
	list, err := peers()
	if err != nil {
		return nil, err
	}
	envelope, err := k.envelope()
	if err != nil {
		return nil, err
	}
	attribute, err := k.attribute()
	if err != nil {
		return nil, err
	}
	cold, err := k.verifier()
	if err != nil {
		return nil, err
	}
	return &bench{k, slices.Insert(list, 1, envelope, attribute), cold}, nil
}

func (b *bench) group(group string, o options) (out []Result, err error) {
	switch group {
	case "stateless":
		return wholeRequests(o)
	case "replay":
		return replays(o)
	case "size":
		return sizesOf(o)
	case "fanout":
		return fanouts(o)
	case "websockets":
		return sockets(o)
	}
	cases := []func() (string, []contender, error){func() (string, []contender, error) { return b.restore(sizes[0]) }}
	if group != "restore" {
		cases = nil
		for _, n := range sizes {
			cases = append(cases, func() (string, []contender, error) { return b.single(group, n) })
		}
	}
	for _, prepare := range cases {
		name, list, err := prepare()
		if err != nil {
			return nil, err
		}
		if o.one != "" {
			list = slices.DeleteFunc(list, func(c contender) bool { return group+"/"+name+"/"+c.system != o.one })
		}
		if len(list) == 0 {
			continue
		}
		results, err := compete(group, name, list, o.rounds, o.batch)
		if err != nil {
			return nil, err
		}
		fmt.Print(table(results))
		out = append(out, results...)
	}
	return out, nil
}

// wholeRequests measures what a server spends on a request with a session.
func wholeRequests(o options) ([]Result, error) {
	names := slices.DeleteFunc(slices.Clone(sites), func(name string) bool { return o.one != "" && o.one != "stateless/request/"+name })
	if len(names) == 0 {
		return nil, nil
	}
	list, stop, err := requests(names)
	if err != nil {
		return nil, err
	}
	defer stop()
	results, err := compete("stateless", "request", list, o.rounds, 8*o.batch) // each server is cold at first
	if err == nil {
		fmt.Print(table(results))
	}
	return results, err
}

// tooLarge reports that no attribute may have so many bytes.
func tooLarge(system string, n int) bool {
	return strings.HasPrefix(system, "attribute") && n > policy.MaxValueBytes
}

// single prepares sealing or opening one value of n bytes.
func (b *bench) single(group string, n int) (name string, list []contender, err error) {
	systems := b.systems
	if group == "open" {
		systems = slices.Insert(slices.Clone(b.systems), 3, b.cold)
	}
	plain := payload(n)
	for _, s := range systems {
		if tooLarge(s.name, n) {
			continue
		}
		f, wire, err := s.opening(plain)
		if err != nil {
			return "", nil, err
		}
		if group == "seal" {
			f = s.sealing(plain)
		}
		list = append(list, contender{system: s.name, expiry: s.expiry, wire: wire, op: f})
	}
	return strconv.Itoa(n), list, nil
}

// restore prepares whole sets: ten values of n bytes, and a manifest.
func (b *bench) restore(n int) (name string, list []contender, err error) {
	plains := slices.Repeat([][]byte{payload(n)}, attributes)
	sets, err := b.kit.presented(plains[0])
	if err != nil {
		return "", nil, err
	}
	plains = append(plains, payload(manifestBytes(sets[0].Manifest)))
	for _, s := range b.systems {
		if s.name == "attribute" {
			list = append(list, b.kit.attributesOf(sets[0]), b.kit.restores(sets, false), b.kit.restores(sets, true))
			continue
		}
		f, wire, err := s.opening(plains...)
		if err != nil {
			return "", nil, err
		}
		list = append(list, contender{system: s.name, expiry: s.expiry, wire: wire, op: f})
	}
	return fmt.Sprintf("%dx%d", attributes, n), list, nil
}

// machine describes where this runs, without its name.
func machine() string {
	model, flags := "unknown processor", ""
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(text)) {
			key, value, _ := strings.Cut(line, ":")
			switch strings.TrimSpace(key) {
			case "model name":
				model = strings.TrimSpace(value)
			case "flags":
				flags = value
			}
		}
	}
	var has []string
	for _, flag := range []string{"aes", "vaes", "avx2", "avx512f", "sha_ni"} {
		if slices.Contains(strings.Fields(flags), flag) {
			has = append(has, flag)
		}
	}
	kernel, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	return fmt.Sprintf("%s, %s/%s, kernel %.4s; %s (%s), %d cores, GOMAXPROCS 1",
		runtime.Version(), runtime.GOOS, runtime.GOARCH, kernel, model, strings.Join(has, " "), runtime.NumCPU())
}
