package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealedblob/sealedblob/policy"
	"github.com/sealedblob/sealedblob/seal"
)

// TestMain serves a system, or claims rights, where a measurement or test asks
// this program to.
func TestMain(m *testing.M) {
	if name := os.Getenv(serveVariable); name != "" {
		fmt.Fprintln(os.Stderr, serve(name))
		os.Exit(1)
	}
	if order := os.Getenv(claimVariable); order != "" {
		if err := claimSome(order); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// ours are held to the letter.
var ours = map[string]bool{"envelope": true, "attribute": true, "attribute-cold": true}

func letter(c byte) bool {
	return 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '_'
}

func same(b []byte) []byte { return b }

func all(t *testing.T) []system {
	t.Helper()
	b, err := newBench()
	if err != nil {
		t.Fatal(err)
	}
	return append(slices.Clone(b.systems), b.cold)
}

func TestPayload(t *testing.T) {
	for n := 64; n < 3000; n++ {
		if p := payload(n); len(p) != n || !seal.ValidValue(p) {
			t.Fatalf("payload(%d) has %d bytes: %s", n, len(p), p)
		}
	}
}

// Whoever does not return what was sealed, or opens what was changed, is not
// doing the work that is measured.
func TestEverySystemOpensWhatItSealedAndNothingElse(t *testing.T) {
	for _, s := range all(t) {
		t.Run(s.name, func(t *testing.T) {
			for _, n := range append([]int{64, 65, 66, 67}, sizes...) {
				if tooLarge(s.name, n) {
					continue
				}
				plain := payload(n)
				out, err := s.trip(plain, same)
				if err != nil || !bytes.Equal(out, plain) {
					t.Fatalf("%d bytes: %v: %s", n, err, out)
				}
			}
			plain, length := payload(256), 0
			if _, err := s.trip(plain, func(b []byte) []byte { length = len(b); return b }); err != nil {
				t.Fatal(err)
			}
			changes := 0
			for at := range length {
				loose := false
				out, err := s.trip(plain, func(b []byte) []byte {
					// Some read a part's last character loosely, or take what stands
					// around the dots as they like.
					loose = !ours[s.name] && (at+4 >= length || !letter(b[at]) || !letter(b[at+1]))
					if b[at] ^= 1; !letter(b[at]) {
						b[at] = 'B'
					}
					return b
				})
				if loose {
					continue
				}
				if err == nil {
					t.Fatalf("opened with character %d of %d changed: %s", at, length, out)
				}
				changes++
			}
			if changes < 300 {
				t.Fatalf("only %d changes were tried", changes)
			}
			for _, cut := range []int{0, 1, length / 2, length - 6} {
				if _, err := s.trip(plain, func(b []byte) []byte { return b[:cut] }); err == nil {
					t.Fatalf("opened when cut to %d of %d characters", cut, length)
				}
			}
		})
	}
}

func TestExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		late := func(b []byte) []byte {
			time.Sleep(lifetime + time.Minute)
			return b
		}
		expiring := 0
		for _, s := range all(t) {
			_, err := s.trip(payload(256), late)
			if (err != nil) != s.expiry {
				t.Errorf("%s: opened after its time: %v, it is said to have an expiry: %v", s.name, err, s.expiry)
			}
			if s.expiry {
				expiring++
			}
		}
		if expiring != 7 {
			t.Errorf("%d systems have an expiry", expiring)
		}
	})
}

func TestEnvelopeAllocatesNothing(t *testing.T) {
	k, err := newKit()
	if err != nil {
		t.Fatal(err)
	}
	s, err := k.envelope()
	if err != nil {
		t.Fatal(err)
	}
	plain := payload(256)
	open, _, err := s.opening(plain)
	if err != nil {
		t.Fatal(err)
	}
	for name, f := range map[string]op{"seal": s.sealing(plain), "open": open} {
		if n := testing.AllocsPerRun(100, func() { _ = f() }); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func TestRestore(t *testing.T) {
	k, err := newKit()
	if err != nil {
		t.Fatal(err)
	}
	sets, err := k.presented(payload(256))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []contender{k.restores(sets, false), k.restores(sets, true)} {
		for range 2*sessions + 1 {
			if err := c.op(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := k.attributesOf(sets[0]).op(); err != nil {
		t.Fatal(err)
	}
	if len(sets[0].Blobs) != attributes {
		t.Fatalf("%d attributes in a set", len(sets[0].Blobs))
	}
	mixed := sets[0]
	mixed.Blobs = maps.Clone(mixed.Blobs)
	for slot, text := range mixed.Blobs {
		b := []byte(text)
		b[len(b)/2] ^= 1
		mixed.Blobs[slot] = string(b)
		break
	}
	m, err := k.manager()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Restore(context.Background(), mixed); !errors.Is(err, seal.ErrAuth) && !errors.Is(err, seal.ErrMalformed) {
		t.Fatalf("a changed set: %v", err)
	}
	if err := k.attributesOf(mixed).op(); err == nil {
		t.Fatal("a changed set was opened")
	}
	r, err := m.Restore(context.Background(), sets[0])
	if err != nil {
		t.Fatal(err)
	}
	var value json.RawMessage
	if err := r.Session.Get(k.names[3], &value); err != nil || !bytes.Equal(value, payload(256)) {
		t.Fatalf("restored %s: %v", value, err)
	}
}

// Every site keeps its visitors' sessions, in as many requests as there are; and
// one that was changed or left at home is not taken for it.
func TestSites(t *testing.T) {
	list, stop, err := requests(sites)
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	for _, c := range list {
		s, err := c.by(20)
		if err != nil || s.ns <= 0 || s.allocs <= 0 {
			t.Errorf("%s: %+v, %v", c.system, s, err)
		}
	}
	if floor, ours := list[0].wire, list[1].wire; floor < ours-32 || floor > ours+32 {
		t.Errorf("the floor's cookie has %d characters, ours %d", floor, ours)
	}
	redis, stopRedis, err := startRedis()
	if err != nil {
		t.Fatal(err)
	}
	defer stopRedis()
	for _, name := range sites[1:] {
		s, err := startServer(name, redis)
		if err != nil {
			t.Fatal(err)
		}
		for range visitors {
			if err := s.request(); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		for cookie, value := range s.browsers[0].cookies {
			changed := []byte(value)
			changed[len(changed)/2] ^= 1
			s.browsers[0].cookies[cookie] = string(changed)
		}
		if err := s.request(); err == nil {
			t.Errorf("%s: went on with a changed cookie", name)
		}
		s.close()
	}
}

// The largest value must be the largest, and without a memory no policy may
// need one.
func TestPolicy(t *testing.T) {
	k, err := newKit()
	if err != nil {
		t.Fatal(err)
	}
	if name, needed := k.policy.NeedsStore(); needed {
		t.Fatalf("%s needs a store", name)
	}
	if !slices.Contains(sizes, policy.MaxValueBytes) {
		t.Fatal("the largest attribute is not among the sizes")
	}
}

// The whole of it, in short: every result is there, and every goal is judged.
func TestRun(t *testing.T) {
	file := t.TempDir() + "/results.json"
	o := options{only: "seal", json: file, rounds: 1, live: 20, batch: 50 * time.Microsecond}
	if err := o.run(); err != nil {
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
	want := (3*12 + 11) + (3*13 + 11) + 14
	if len(results) != want {
		t.Errorf("%d results, want %d", len(results), want)
	}
	seen := map[[3]string]bool{}
	for _, r := range results {
		if key := [3]string{r.Group, r.Case, r.System}; seen[key] || r.NS <= 0 {
			t.Errorf("%v: twice, or without a time", key)
		} else {
			seen[key] = true
		}
	}
	for _, g := range goals {
		if g.only[0] == "stateless" || g.only[0] == "replay" || g.only[0] == "fanout" {
			continue // not asked for
		}
		v := g.got(func(group, name, system string) Result {
			if !seen[[3]string{group, name, system}] {
				t.Errorf("%s: no result %s %s %s", g.text, group, name, system)
			}
			return results[0]
		})
		if v < 0 {
			t.Errorf("%s: %v", g.text, v)
		}
	}
	if err := (options{only: "nothing", rounds: 1, live: 20, batch: 1}).run(); err == nil {
		t.Error("an unknown name measured something")
	}
	if err := (options{one: "seal/1/nobody", rounds: 1, live: 20, batch: 1, json: file}).run(); err == nil {
		t.Error("measuring nothing is no error")
	}
}
