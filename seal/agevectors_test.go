package seal

import (
	"bytes"
	"compress/zlib"
	"errors"
	"io"
	"io/fs"
	"runtime"
	"strings"
	"testing"

	agevectors "c2sp.org/CCTV/age"
)

// C2SP's vectors of age, each with the identities or the passphrase that it
// names: what must decrypt does, and nothing else; armor never, since a ring is
// binary. There are none of SSH recipients.
func TestAgeVectors(t *testing.T) {
	entries, err := fs.ReadDir(agevectors.Vectors, ".")
	if err != nil {
		t.Fatal(err)
	}
	opened := map[string]int{}
	for _, e := range entries {
		v := readAgeVector(t, e.Name())
		want := v.expect == "success" && !v.armored
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		plain, err := v.ids.decrypt(v.file, MaxRing)
		if (err == nil) != want || err != nil && (plain != nil || !errors.Is(err, ErrRing)) {
			t.Errorf("%s: decrypt = %d bytes, %v; expect: %s", e.Name(), len(plain), err, v.expect)
		}
		if err == nil && len(v.ids.recipients) > 0 {
			opened[v.kind]++
		}
		runtime.ReadMemStats(&after)
		if spent := after.TotalAlloc - before.TotalAlloc; spent > 64<<20 { // a work factor of 23 takes 8 GiB
			t.Errorf("%s took %d bytes", e.Name(), spent)
		}
	}
	for _, kind := range []string{"x25519", "hybrid", "scrypt"} {
		if opened[kind] == 0 {
			t.Errorf("no vector of %s was opened, of %d", kind, len(entries))
		}
	}
}

type ageVector struct {
	expect, kind string
	armored      bool
	ids          *identities
	file         []byte
}

func readAgeVector(t *testing.T, name string) ageVector {
	t.Helper()
	raw, err := fs.ReadFile(agevectors.Vectors, name)
	if err != nil {
		t.Fatal(err)
	}
	head, body, ok := bytes.Cut(raw, []byte("\n\n"))
	if !ok {
		t.Fatalf("%s has no body", name)
	}
	v := ageVector{ids: &identities{}, file: body}
	for _, line := range strings.Split(string(head), "\n") {
		key, value, _ := strings.Cut(line, ": ")
		switch key {
		case "expect":
			v.expect = value
		case "armored":
			v.armored = true
		case "identity":
			v.kind = map[bool]string{true: "hybrid", false: "x25519"}[strings.Contains(value, "-PQ-")]
			err = v.ids.addFile([]byte(value))
		case "passphrase":
			v.kind, err = "scrypt", v.ids.addScrypt(value)
		case "compressed":
			r, failed := zlib.NewReader(bytes.NewReader(body))
			if failed != nil {
				t.Fatal(failed)
			}
			v.file, err = io.ReadAll(r)
		}
		if err != nil {
			t.Fatalf("%s: %s: %v", name, key, err)
		}
	}
	return v
}
