package session_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/sealedblob/sealedblob/replay"
	"github.com/sealedblob/sealedblob/seal"
	"github.com/sealedblob/sealedblob/session"
)

// Of all subsets of a session's blobs, in all mixtures of three generations,
// with each of their manifests, exactly the three genuine sets pass. n = 6.
func TestOnlyGenuineSetsRestore(t *testing.T) {
	const n, gens = 6, 3
	names := []string{"a", "b", "c", "d", "e", "f"}
	c := newCluster(t).with(`{"version":1,"session":{"idle":"30m","absolute":"12h"},"attributes":{"a":{},"b":{},"c":{},"d":{},"e":{},"f":{}}}`)
	s, err := c.node().Start()
	must(t, err)
	b := &browser{}
	var sets []session.Presented
	for gen := range gens { // each changes every attribute
		for _, name := range names {
			must(t, s.Set(t.Context(), name, fmt.Sprint(name, gen)))
		}
		must(t, s.Save(t.Context()))
		if gen == 0 {
			must(t, s.Attach(b))
			must(t, s.Acknowledge(t.Context(), b, nil))
		}
		sets = append(sets, b.set(s.Holder()))
	}
	slots := slices.Sorted(maps.Keys(sets[0].Blobs))
	spy := c.spied() // grants what has passed every other check, each time anew
	spy.restore = func(context.Context) (replay.Restored, error, bool) {
		return replay.Restored{Verdict: replay.Granted, Fence: 1}, nil, true
	}
	node := c.node()
	tried, passed := 0, map[string]int{}
	for mixture := range pow(gens+1, n) { // of each slot: absent, or of one of the generations
		blobs, of := map[string]string{}, ""
		for i, left := 0, mixture; i < n; i, left = i+1, left/(gens+1) {
			if gen := left % (gens + 1); gen < gens {
				blobs[slots[i]] = sets[gen].Blobs[slots[i]]
				of += fmt.Sprint(gen)
			}
		}
		for gen, genuine := range sets {
			tried++
			p := session.Presented{Holder: s.Holder(), Attempt: replay.Owner(seal.NewID()), Manifest: genuine.Manifest, Blobs: blobs}
			_, err := node.Restore(t.Context(), p)
			if wanted := of == strings.Repeat(fmt.Sprint(gen), n); (err == nil) != wanted || err != nil && !errors.Is(err, session.ErrIncomplete) {
				t.Fatalf("manifest %d with blobs of %q: %v", gen, of, err)
			}
			if err == nil {
				passed[of]++
			}
		}
	}
	if tried != gens*pow(gens+1, n) || len(passed) != gens {
		t.Errorf("tried %d, passed %v", tried, passed)
	}
}

func pow(base, n int) int {
	out := 1
	for range n {
		out *= base
	}
	return out
}
