package session_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/sealedblob/sealedblob/session"
)

// Padding makes a set of few bytes a long one. What is set can be restored, and
// what could not be is refused when it is set.
func TestPaddedSetsRestore(t *testing.T) {
	var rules []string
	for i := range 32 {
		rules = append(rules, fmt.Sprintf(`"a%d":{"ttl":"1h","pad":"max","max_bytes":11264}`, i))
	}
	c := newCluster(t).with(`{"version":1,"session":{"idle":"30m","absolute":"12h"},"attributes":{` + strings.Join(rules, ",") + `}}`)
	s, err := c.node().Start()
	must(t, err)
	set, refused := 0, 0
	for i := range 32 {
		switch err := s.Set(t.Context(), fmt.Sprintf("a%d", i), "x"); {
		case err == nil:
			set++
		case errors.Is(err, session.ErrTooLarge):
			refused++
		default:
			t.Fatal(err)
		}
	}
	s = login(t, s, strings.Repeat("\"", 256)) // the longest subject there is
	must(t, s.Save(t.Context()))
	b := connected(t, s)
	length := 0
	for slot, envelope := range b.blobs {
		length += len(slot) + len(envelope)
	}
	if _, err := c.node().Restore(t.Context(), b.set(s.Holder())); err != nil {
		t.Errorf("a set of %d characters: %v", length, err)
	}
	if set < 15 || refused == 0 {
		t.Errorf("%d set, %d refused: %d characters", set, refused, length)
	}
	t.Logf("%d attributes, %d characters", set, length)
}
