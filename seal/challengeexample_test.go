package seal

import (
	"crypto/sha256"
	"os"
	"strings"
	"testing"
	"time"
)

// The challenge of the specification (§10.2), which was made from its text alone.
func TestChallengeExample(t *testing.T) {
	const example = "ExampleK.AAAAAGtJ0gA80Tj4Zj-z1KiCwa2Jelg61bFbZC8PD78mThp0c08CSg"
	spec, err := os.ReadFile("../docs/SPEC.md")
	if err != nil || !strings.Contains(string(spec), "\n"+example+"\n") {
		t.Fatalf("the example is not in the specification, %v", err)
	}
	secret := sha256.Sum256([]byte("sealed-blob/v1 example ring key"))
	key, err := newKey("ExampleK", A256GCM, secret[:], time.Time{}, time.Time{}, "")
	if err != nil {
		t.Fatal(err)
	}
	ring, err := newRing(1, []*Key{key})
	if err != nil {
		t.Fatal(err)
	}
	session, err := ParseID("ICEiIyQlJicoKSorLC0uLw")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := ring.Challenge(Scope{App: "shop"}, session, time.Unix(1_800_000_000, 0)); got != example {
		t.Errorf("%s, %v; want %s", got, err, example)
	}
}
