package seal_test

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	agevectors "c2sp.org/CCTV/age"

	"github.com/sealedblob/sealedblob/seal"
)

// Project Wycheproof's JWEs are of other profiles: our verdict on each of them,
// valid or not, is that it is not our format. None reaches a key.
func TestWycheproofIsNotOurs(t *testing.T) {
	raw, err := os.ReadFile("testdata/wycheproof/json_web_encryption_test.json")
	must(t, err)
	var file struct {
		NumberOfTests int
		TestGroups    []struct {
			Tests []struct {
				TcID    int
				Comment string
				JWE     string
			}
		}
	}
	must(t, json.Unmarshal(raw, &file))
	ring := testRing(t, usual)
	ran := 0
	for _, g := range file.TestGroups {
		for _, c := range g.Tests {
			ran++
			for _, open := range []func(string) error{
				func(s string) error { _, _, err := ring.NewOpener(scope, now).Attribute(s); return err },
				func(s string) error { _, err := seal.InspectUnverified(s); return err },
			} {
				if err := open(c.JWE); !errors.Is(err, seal.ErrMalformed) {
					t.Errorf("case %d (%s): %v, want ErrMalformed", c.TcID, c.Comment, err)
				}
			}
		}
	}
	if ran != file.NumberOfTests || ran < 100 {
		t.Errorf("%d of %d cases ran", ran, file.NumberOfTests)
	}
}

// The age test vectors, in place of a ring: each is refused, with its path, in
// bounded time; those with an expensive passphrase too.
func TestAgeVectorsAreNoRings(t *testing.T) {
	entries, err := fs.ReadDir(agevectors.Vectors, ".")
	must(t, err)
	dir := ringDir(t)
	start := time.Now()
	for _, e := range entries {
		raw, err := fs.ReadFile(agevectors.Vectors, e.Name())
		must(t, err)
		_, body, ok := strings.Cut(string(raw), "\n\n")
		if !ok {
			continue
		}
		path := filepath.Join(dir, seal.RingFile)
		must(t, os.WriteFile(path, []byte(body), 0o600))
		if ring, err := seal.LoadRing(dir); ring != nil || !errors.Is(err, seal.ErrRing) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: LoadRing = %v, %v", e.Name(), ring, err)
		}
	}
	if len(entries) < 100 {
		t.Errorf("only %d vectors", len(entries))
	}
	if spent := time.Since(start); spent > time.Minute {
		t.Errorf("%d refusals took %v", len(entries), spent)
	}
}
