package session_test

import (
	"strings"
	"testing"

	"github.com/sealedblob/sealedblob/internal/testkit"
)

// With pad max an envelope's length says nothing of its value's, however small
// or large that is; without it, it says something.
func TestPadMax(t *testing.T) {
	c := newCluster(t)
	c.policy = testkit.Policy(t, `{"version":1,"session":{"idle":"30m","absolute":"12h"},"attributes":{"role":{"max_bytes":11264,"pad":"max"},"cart":{"max_bytes":11264}}}`)
	s, err := c.node().Start()
	must(t, err)
	b := &browser{}
	must(t, s.Attach(b))
	lengths := map[string]map[int]bool{"role": {}, "cart": {}}
	for _, n := range []int{0, 1, 500, 11260} {
		for name := range lengths {
			must(t, s.Set(t.Context(), name, strings.Repeat("x", n)))
			must(t, s.Save(t.Context()))
			lengths[name][len(c.envelopeOf(b.set(s.Holder()), name))] = true
		}
	}
	if len(lengths["role"]) != 1 || len(lengths["cart"]) != 3 {
		t.Errorf("lengths that show: %v", lengths)
	}
	r, err := c.node().Restore(t.Context(), b.set(s.Holder()))
	must(t, err)
	if got, err := get(t, r.Session, "role"); len(got) != 11260 || err != nil {
		t.Errorf("restored %d characters, %v", len(got), err)
	}
}
