package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// each opens every store of every contest in turn, and may open it again.
func each(t *testing.T, f func(t *testing.T, contest string, m maker, where string)) {
	for _, c := range contests {
		where, release, err := c.prepare()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(release)
		for _, m := range c.stores {
			t.Run(c.name+"/"+m.name, func(t *testing.T) {
				at, err := where()
				if err != nil {
					t.Fatal(err)
				}
				f(t, c.name, m, at)
			})
		}
	}
}

func mustOpen(t *testing.T, m maker, where string) claimer {
	t.Helper()
	s, err := m.open(where)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Of all who claim a right one wins, and nobody after him, also when the store
// was closed meanwhile. The limits decide nothing: they keep every record.
func TestEveryStoreGrantsARightOnce(t *testing.T) {
	each(t, func(t *testing.T, contest string, m maker, where string) {
		s := mustOpen(t, m, where)
		source, rights := newFresh(), make([]claim, 20)
		for i := range rights {
			rights[i] = source.next()
		}
		wins := race(t, s, rights, 32)
		if strings.HasPrefix(m.name, "limit") {
			if err := s.close(); err != nil {
				t.Fatal(err)
			}
			limitKept(t, where, rights)
			return
		}
		for i, n := range wins {
			if n != 1 {
				t.Errorf("right %d was granted %d times", i, n)
			}
		}
		if contest != "memory" {
			if err := s.close(); err != nil {
				t.Fatal(err)
			}
			s = mustOpen(t, m, where)
		}
		again := rights[0]
		again.owner = source.next().owner
		if won, err := s.claim(again); won || err != nil {
			t.Errorf("a spent right: %t, %v", won, err)
		}
		if won, err := s.claim(source.next()); !won || err != nil {
			t.Errorf("a fresh right: %t, %v", won, err)
		}
		if err := s.close(); err != nil {
			t.Fatal(err)
		}
	})
}

// race lets so many claim each of the rights, and counts who is granted it.
func race(t *testing.T, s claimer, rights []claim, callers int) []int32 {
	wins := make([]int32, len(rights))
	var running sync.WaitGroup
	for range callers {
		owners := newFresh()
		running.Go(func() {
			for i, c := range rights {
				c.owner = owners.next().owner
				won, err := s.claim(c)
				if err != nil {
					t.Error(err)
				}
				if won {
					atomic.AddInt32(&wins[i], 1)
				}
			}
		})
	}
	running.Wait()
	return wins
}

func limitKept(t *testing.T, dir string, rights []claim) {
	t.Helper()
	log, err := os.ReadFile(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	for i, c := range rights {
		if n := bytes.Count(log, c.id[:]); n != 32 {
			t.Errorf("right %d is in the log %d times, it was claimed 32 times", i, n)
		}
	}
	if n := len(bytes.TrimRight(log, "\x00")); n > 32*len(rights)*recordSize {
		t.Errorf("the log has %d bytes", n)
	}
}

// What says that it is durable must sync each claim of a lone caller.
func TestDisksSyncEachClaim(t *testing.T) {
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Fatal("strace is missing (make need)")
	}
	for _, m := range disks {
		t.Run(m.name, func(t *testing.T) {
			few, many := syncs(t, strace, m.name, 5), syncs(t, strace, m.name, 45)
			if many-few < 40 {
				t.Errorf("40 claims more took %d syncs more", many-few)
			}
		})
	}
}

var synced = regexp.MustCompile(`(?m)^\d+ +(fsync|fdatasync|msync|sync_file_range)\(`)

// syncs counts the system calls of a process that makes so many claims.
func syncs(t *testing.T, strace, store string, claims int) int {
	t.Helper()
	dir := t.TempDir()
	trace := filepath.Join(dir, "trace")
	cmd := exec.Command(strace, "-f", "-qq", "-e", "signal=none", "-e", "trace=fsync,fdatasync,msync,sync_file_range", "-o", trace, os.Args[0])
	cmd.Env = append(os.Environ(), claimVariable+"="+strconv.Itoa(claims)+" "+store, "TMPDIR="+dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	text, err := os.ReadFile(trace)
	if err != nil {
		t.Fatal(err)
	}
	return len(synced.FindAll(text, -1))
}

// claimVariable makes this test program claim so many rights in one of the disks.
const claimVariable = "SEALEDBLOB_BENCH_CLAIM"

func claimSome(order string) error {
	count, name, _ := strings.Cut(order, " ")
	n, err := strconv.Atoi(count)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(disks, func(m maker) bool { return m.name == name })
	s, err := disks[i].open(os.TempDir())
	if err != nil {
		return err
	}
	source := newFresh()
	for range n {
		if won, err := s.claim(source.next()); !won || err != nil {
			return fmt.Errorf("%t, %w", won, err)
		}
	}
	return s.close()
}

// A load counts its own claims alone, and stops at the first that is refused.
func TestLoad(t *testing.T) {
	var claims atomic.Int64
	s := claimer{
		claim:  func(claim) (bool, error) { time.Sleep(time.Millisecond); return claims.Add(1) <= 1000, nil },
		server: func() (time.Duration, error) { return time.Duration(claims.Load()) * 3, nil },
	}
	callers := []*caller{{fresh: newFresh()}, {fresh: newFresh()}}
	got, err := load(s, callers, 50*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	n := float64(claims.Load())
	if rate := n / 0.05; got.perSecond > rate || got.perSecond < rate/4 {
		t.Errorf("%.0f claims/s, there were %.0f claims in a twentieth of a second", got.perSecond, n)
	}
	if got.p50 < 1e6 || got.p99 < got.p50 || got.serverCPU != 3 {
		t.Errorf("%+v", got)
	}
	claims.Store(1000)
	if _, err := load(s, callers, time.Millisecond); err != errSpent {
		t.Errorf("a right that is spent: %v", err)
	}
}

func TestFreshClaimsDiffer(t *testing.T) {
	a, b, seen := newFresh(), newFresh(), map[[16]byte]bool{}
	for range 1000 {
		for _, c := range []claim{a.next(), b.next()} {
			if seen[c.id] || seen[c.owner] {
				t.Fatal("a right or an owner came twice")
			}
			seen[c.id], seen[c.owner] = true, true
		}
	}
}

func TestClaimResultIsOfMedians(t *testing.T) {
	var samples []loadSample
	for _, n := range []float64{5, 1, 9, 3, 7} {
		samples = append(samples, loadSample{sample{n, n + 0.1, n}, n * 10, n * 2, n * 3, n * 4})
	}
	got := claimResult("disk-1", "x", samples)
	want := Result{Group: "replay", Case: "disk-1", System: "x", NS: 5, Allocs: 5, Bytes: 5, PerSecond: 50, P50: 10, P99: 15, ServerNS: 20, spread: 0.8}
	if got != want {
		t.Errorf("%+v", got)
	}
}

// The time of a process that works is told, and its children's with it.
func TestProcesses(t *testing.T) {
	cmd := exec.Command("sh", "-c", "sh -c 'ulimit -t 20; while :; do :; done'; :")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL); _ = cmd.Wait() }() // the children too
	for limit := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		own, err := threads(cmd.Process.Pid)
		if err != nil {
			t.Fatal(err)
		}
		all, err := processes(cmd.Process.Pid)
		if err != nil {
			t.Fatal(err)
		}
		if all > own+50*time.Millisecond {
			return
		}
		if time.Now().After(limit) {
			t.Fatalf("%v, of which %v its own", all, own)
		}
	}
}

// A file system in memory would make everybody fast.
func TestDevice(t *testing.T) {
	if name, err := device(t.TempDir()); err != nil || !strings.Contains(name, " on ") {
		t.Errorf("%q, %v", name, err)
	}
	if name, err := device("/dev/shm"); err == nil {
		t.Errorf("/dev/shm passes for %s", name)
	}
}

// The whole group, in short.
func TestRunReplay(t *testing.T) {
	file := t.TempDir() + "/results.json"
	if err := (options{only: "replay", json: file, rounds: 1, live: 20, batch: time.Millisecond}).run(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var results []Result
	if err := json.Unmarshal(text, &results); err != nil {
		t.Fatal(err)
	}
	want := 0
	for _, c := range contests {
		want += len(callersOf) * len(c.stores)
	}
	if len(results) != want {
		t.Errorf("%d results, want %d", len(results), want)
	}
	for _, r := range results {
		server := strings.HasPrefix(r.Case, "redis") || strings.HasPrefix(r.Case, "postgres")
		if r.PerSecond <= 0 || r.NS <= 0 || r.P50 <= 0 || r.P99 < r.P50 || server != (r.ServerNS > 0) {
			t.Errorf("%+v", r)
		}
	}
	judged := 0
	for _, g := range goals {
		if !slices.Contains(g.only, "replay") {
			continue
		}
		judged++
		if v := g.got(of(results)); !(v > 0) {
			t.Errorf("%s: %v", g.text, v)
		}
	}
	if judged < 4 {
		t.Errorf("%d goals were judged", judged)
	}
}

// A record of every store takes something, and not much.
func TestSizes(t *testing.T) {
	results, err := sizesOf(options{live: 20_000})
	if err != nil {
		t.Fatal(err)
	}
	if want := 3 * 5; len(results) != want {
		t.Errorf("%d results, want %d", len(results), want)
	}
	for _, r := range results {
		if r.Bytes < 16 || r.Bytes > 2000 {
			t.Errorf("a %s in %s takes %d bytes", r.Case, r.System, r.Bytes)
		}
	}
}
