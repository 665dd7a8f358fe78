package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/sealedblob/sealedblob/internal/services"
)

// maker opens a claimer. What where is depends on the contest: a folder, or the
// address of a server.
type maker struct {
	name string
	open func(where string) (claimer, error)
}

// contest is a kind of stores that are compared with one another.
type contest struct {
	name   string
	base   string // what the others are compared with
	stores []maker
	// prepare makes what the stores need. For each store one more where.
	prepare func() (where func() (string, error), release func(), err error)
}

// contests in their order. One ends before the next begins, so that nobody's
// garbage is charged to another kind.
var contests = []contest{
	{"disk", "limit", disks, folders},
	{"memory", "sync.Map", volatiles, folders},
	{"redis", "rueidis SET", redises, onServer(redisServer())},
	{"redis+aof", "rueidis SET", redises, onServer(redisServer(services.Durable()...))},
	{"postgres", plainPGX, postgreses, onServer(postgresServer)},
}

// callersOf are how many goroutines claim at once.
var callersOf = []int{1, 16, 256}

// wallOf is how long one measurement of a store lasts for a batch of so much CPU time.
func wallOf(batch time.Duration) time.Duration { return 12 * batch }

// replays measures the claims of once-only rights, with all processors: waiting for
// a disk or a server is most of it.
func replays(o options) (out []Result, err error) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(runtime.NumCPU()))
	where, err := device(os.TempDir())
	if err != nil {
		return nil, err
	}
	fmt.Printf("\nreplay: GOMAXPROCS %d; files on %s; load %s before", runtime.NumCPU(), where, loadAverage())
	defer func() { fmt.Printf("\nreplay: load %s after\n", loadAverage()) }()
	for _, c := range contests {
		for _, n := range callersOf {
			results, err := c.run(n, o)
			if err != nil {
				return nil, fmt.Errorf("replay %s, %d callers: %w", c.name, n, err)
			}
			if len(results) > 0 {
				fmt.Print(claimTable(results, c.base))
			}
			out = append(out, results...)
		}
	}
	return out, nil
}

// run measures all stores of the contest, in rounds.
func (c contest) run(callers int, o options) (out []Result, err error) {
	name := fmt.Sprintf("%s-%d", c.name, callers)
	list := slices.DeleteFunc(slices.Clone(c.stores), func(m maker) bool {
		return o.one != "" && o.one != "replay/"+name+"/"+m.name
	})
	if len(list) == 0 {
		return nil, nil
	}
	where, release, err := c.prepare()
	if err != nil {
		return nil, err
	}
	defer release()
	var open []claimer
	defer func() {
		for _, s := range open {
			err = errors.Join(err, s.close())
		}
	}()
	for _, m := range list {
		at, err := where()
		if err != nil {
			return nil, err
		}
		s, err := m.open(at)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", m.name, err)
		}
		open = append(open, s)
	}
	samples, err := rounds(open, callers, o)
	if err != nil {
		return nil, err
	}
	for i, m := range list {
		out = append(out, claimResult(name, m.name, samples[i]))
	}
	return out, nil
}

// rounds measures the stores in turn, beginning each round with another one. A
// shorter round before the first is not counted.
func rounds(stores []claimer, callers int, o options) ([][]loadSample, error) {
	list := make([]*caller, callers)
	for i := range list {
		list[i] = &caller{fresh: newFresh()}
	}
	wall := wallOf(o.batch)
	samples := make([][]loadSample, len(stores))
	for round := range o.rounds + 1 {
		for k := range stores {
			i := (k + round) % len(stores)
			if round == 0 {
				if _, err := load(stores[i], list, wall/4); err != nil {
					return nil, err
				}
				continue
			}
			s, err := load(stores[i], list, wall)
			if err != nil {
				return nil, err
			}
			samples[i] = append(samples[i], s)
		}
	}
	return samples, nil
}

// claimResult takes the median over the rounds of each figure.
func claimResult(name, system string, samples []loadSample) Result {
	of := func(f func(loadSample) float64) []float64 {
		out := make([]float64, len(samples))
		for i, s := range samples {
			out[i] = f(s)
		}
		slices.Sort(out)
		return out
	}
	median := func(f func(loadSample) float64) float64 { return of(f)[len(samples)/2] }
	rate := of(func(s loadSample) float64 { return s.perSecond })
	r := Result{
		Group: "replay", Case: name, System: system,
		NS:        median(func(s loadSample) float64 { return s.ns }),
		Allocs:    int(median(func(s loadSample) float64 { return s.allocs }) + 0.5),
		Bytes:     int(median(func(s loadSample) float64 { return s.bytes }) + 0.5),
		PerSecond: rate[len(rate)/2],
		P50:       median(func(s loadSample) float64 { return s.p50 }),
		P99:       median(func(s loadSample) float64 { return s.p99 }),
		ServerNS:  median(func(s loadSample) float64 { return s.serverCPU }),
	}
	r.spread = (rate[len(rate)-1] - rate[0]) / 2 / r.PerSecond
	return r
}

// folders makes a folder for each store, on the disk that TMPDIR is on.
func folders() (where func() (string, error), release func(), err error) {
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		return nil, nil, err
	}
	n := 0
	return func() (string, error) {
		n++
		one := filepath.Join(dir, strconv.Itoa(n))
		return one, os.Mkdir(one, 0o700)
	}, func() { os.RemoveAll(dir) }, nil
}

// device names the file system and device of a folder. It refuses one in memory,
// where a sync costs nothing.
func device(dir string) (string, error) {
	var st, at syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return "", err
	}
	f, err := os.Open("/proc/self/mounts")
	if err != nil {
		return "", err
	}
	defer f.Close()
	name := "an unknown file system"
	lines := bufio.NewScanner(f)
	for lines.Scan() { // the device, where, the kind
		if field := strings.Fields(lines.Text()); len(field) > 2 && syscall.Statfs(field[1], &at) == nil && at.Fsid == st.Fsid {
			name = field[2] + " on " + field[0]
		}
	}
	if strings.HasPrefix(name, "tmpfs ") || strings.HasPrefix(name, "ramfs ") {
		return "", fmt.Errorf("%s is %s, where a sync costs nothing: set TMPDIR to a folder on a disk", dir, name)
	}
	return name, lines.Err()
}

// loadAverage is how many processes ran or waited over the last minute.
func loadAverage() string {
	text, _ := os.ReadFile("/proc/loadavg")
	first, _, _ := strings.Cut(string(text), " ")
	return first
}
