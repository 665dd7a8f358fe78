//go:build unix

package seal_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sealedblob/sealedblob/seal"
)

// A ring that a later version of this software may write is refused as a whole,
// not read in part: a node that runs keeps the ring it has and says so, one that
// starts does not, and no writer puts its own in the place of what it can't read.
func TestRingOfTheFuture(t *testing.T) {
	member := func(name string) func([]byte) []byte {
		return func(content []byte) []byte { return bytes.Replace(content, []byte(name), []byte(`"new":1,`+name), 1) }
	}
	value := func(old, new string) func([]byte) []byte {
		return func(content []byte) []byte { return bytes.Replace(content, []byte(old), []byte(new), 1) }
	}
	for name, future := range map[string]struct {
		content func([]byte) []byte
		file    func(string) string
	}{
		"another version of the file":   {file: func(s string) string { return strings.Replace(s, "v1 keyring\n", "v2 keyring\n", 1) }},
		"another line":                  {file: func(s string) string { return s + "more\n" }},
		"another member":                {content: member(`"version"`)},
		"another member of a key":       {content: member(`"id"`)},
		"another algorithm":             {content: value(string(usual), "A512GCM")},
		"another state":                 {content: value(`}]}`, `,"ended":"suspended"}]}`)},
		"a version that is not counted": {content: value(`"version":2`, `"version":2.5`)},
		"another signature": {file: func(s string) string {
			lines := strings.Split(s, "\n")
			lines[2] = b64(strings.Repeat("s", 96))
			return strings.Join(lines, "\n")
		}},
	} {
		t.Run(name, func(t *testing.T) {
			k := newKeyring(t)
			keys := k.read().Keys
			id := keys[0].ID
			good, err := json.Marshal(k.doc(keys...))
			must(t, err)
			content, file := good, ""
			if future.content != nil {
				content = future.content(good)
			}
			if file = k.signed(content); future.file != nil {
				file = future.file(file)
			}
			if file == k.signed(good) {
				t.Fatal("nothing was changed")
			}
			var last error
			w, err := seal.WatchRing(k.dir, seal.WatchConfig{Reloaded: func(_ *seal.Ring, err error) { last = err }})
			must(t, err)

			k.write(nil, func([]byte) string { return file })
			path := filepath.Join(k.dir, seal.RingFile)
			written, err := os.ReadFile(path)
			must(t, err)
			refused := func(who string, err error) {
				t.Helper()
				if !errors.Is(err, seal.ErrRing) || len(err.Error()) > 200+len(path) {
					t.Errorf("%s: %v", who, err)
				}
			}
			w.Reload()
			refused("a node that runs", last)
			if ring, _ := w.Ring(t.Context()); ring.Version() != 1 {
				t.Errorf("a node that runs has version %d", ring.Version())
			}
			_, err = seal.WatchRing(k.dir, seal.WatchConfig{})
			refused("a node that starts", err)
			_, err = seal.LoadRing(k.dir)
			refused("a reader", err)
			_, err = seal.UnsafeRotateRing(t.Context(), k.dir, usual, now, now)
			refused("rotate", err)
			_, err = seal.RevokeKey(t.Context(), k.dir, id, now)
			refused("revoke", err)
			_, err = seal.RetireKey(t.Context(), k.dir, id, now)
			refused("retire", err)
			_, err = seal.SetRecipients(t.Context(), k.dir, []string{k.recipient.String()})
			refused("recipients", err)
			if left, err := os.ReadFile(path); err != nil || !bytes.Equal(left, written) {
				t.Errorf("the file was changed: %v", err)
			}

			k.write(good, k.signed) // the same ring as this version writes it
			w.Reload()
			if ring, _ := w.Ring(t.Context()); last != nil || ring.Version() != 2 {
				t.Errorf("the same in our form: version %d, %v", ring.Version(), last)
			}
		})
	}
}
