package seal

import (
	"bytes"
	"crypto/fips140"
	"testing"

	"github.com/sealedblob/sealedblob/vectors"
)

// vectorRing is the ring of the vectors. Each worker of a fuzz run is a process
// of its own: under a ring of its own it could open nobody else's seeds.
func vectorRing(tb testing.TB) *Ring {
	tb.Helper()
	dir := tb.TempDir()
	if err := vectors.WriteKeys(dir); err != nil {
		tb.Fatal(err)
	}
	ring, err := LoadRing(dir, InsecureSampleKeys())
	if err != nil {
		tb.Fatal(err)
	}
	return ring
}

func allVectors(tb testing.TB) []vectors.Vector {
	tb.Helper()
	all, err := vectors.All()
	if err != nil {
		tb.Fatal(err)
	}
	return all
}

// vectorPlaintexts are the plaintexts, without padding, of all vectors of a
// purpose that are authentic: the good ones, and those that their claims spoil.
func vectorPlaintexts(tb testing.TB, p Purpose) (out [][]byte) {
	tb.Helper()
	ring := vectorRing(tb)
	fips140.WithoutEnforcement(func() { // most are A256GCM
		for _, v := range allVectors(tb) {
			plain, err := ring.NewOpener(Scope{App: v.App, Tenant: v.Tenant}, v.Now).AppendOpen(nil, p, v.Text)
			if err == nil {
				out = append(out, bytes.TrimRight(plain, " "))
			}
		}
	})
	if len(out) < 7 {
		tb.Fatalf("only %d vectors have a plaintext", len(out))
	}
	return out
}
