package seal_test

import (
	"strings"
	"testing"

	"github.com/sealedblob/sealedblob/seal"
)

// The limit of an envelope holds for the first ring and for each that follows.
func TestWatchKeepsTheLimit(t *testing.T) {
	dir := ringDir(t)
	large := []byte(strings.Repeat("x", 40<<10))
	for limit, fits := range map[int]bool{0: false, 64 << 10: true} {
		w, err := seal.WatchRing(dir, seal.WatchConfig{MaxEnvelope: limit})
		must(t, err)
		for range 2 {
			ring, err := w.Ring(t.Context())
			must(t, err)
			s, err := ring.NewSealer(scope, now)
			must(t, err)
			text, err := s.AppendSeal(nil, seal.ForAttribute, large)
			if fits != (err == nil) {
				t.Errorf("limit %d, version %d: sealing: %v", limit, ring.Version(), err)
			}
			if err == nil {
				_, err = ring.NewOpener(scope, now).AppendOpen(nil, seal.ForAttribute, string(text))
				must(t, err)
			}
			_, err = seal.RotateRing(t.Context(), dir, usual, now, now.Add(2*seal.ReloadInterval))
			must(t, err)
			w.Reload()
			if again, _ := w.Ring(t.Context()); again.Version() == ring.Version() {
				t.Fatal("the ring did not change")
			}
		}
	}
}
