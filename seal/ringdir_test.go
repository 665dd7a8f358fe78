package seal_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sealedblob/sealedblob/seal"
)

func ringDir(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "keys")
	if _, err := seal.InitRing(dir, usual, now); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestLoadRing(t *testing.T) {
	dir := ringDir(t)
	ring, err := seal.LoadRing(dir)
	if err != nil || ring.Version() != 1 || len(ring.Keys()) != 1 {
		t.Fatalf("LoadRing = %v, %v", ring, err)
	}
	if _, err := seal.InitRing(dir, usual, now); !errors.Is(err, fs.ErrExist) {
		t.Errorf("second init: %v, want fs.ErrExist", err)
	}
	for name, mode := range map[string]fs.FileMode{seal.RingFile: 0o600, seal.IdentityFile: 0o600, seal.SignerFile: 0o600, seal.VerifierFile: 0o644} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
	os.Remove(filepath.Join(dir, seal.SignerFile))
	if _, err := seal.LoadRing(dir); err != nil {
		t.Errorf("a reader needs no signer's key: %v", err)
	}
	if _, err := seal.UnsafeRotateRing(t.Context(), dir, usual, now, now); !errors.Is(err, seal.ErrRing) {
		t.Errorf("rotating without the signer's key: %v", err)
	}
}

// Each of these must be refused, and the message must name the path.
func TestLoadRingRefuses(t *testing.T) {
	for name, spoil := range map[string]func(t *testing.T, dir string) (path string){
		"no ring":                 func(t *testing.T, dir string) string { return remove(t, dir, seal.RingFile) },
		"group-readable ring":     func(t *testing.T, dir string) string { return chmod(t, dir, seal.RingFile, 0o640) },
		"world-readable identity": func(t *testing.T, dir string) string { return chmod(t, dir, seal.IdentityFile, 0o604) },
		"writable verifier":       func(t *testing.T, dir string) string { return chmod(t, dir, seal.VerifierFile, 0o666) },
		"writable folder":         func(t *testing.T, dir string) string { return chmod(t, dir, "", 0o777) },
		"symlink": func(t *testing.T, dir string) string {
			path := filepath.Join(dir, seal.RingFile)
			must(t, os.Rename(path, path+".real"))
			must(t, os.Symlink(path+".real", path))
			return path
		},
		"symbolic link as folder": func(t *testing.T, dir string) string {
			must(t, os.Rename(dir, dir+".real"))
			must(t, os.Symlink(dir+".real", dir))
			return dir
		},
		"folder as ring": func(t *testing.T, dir string) string {
			path := remove(t, dir, seal.RingFile)
			must(t, os.Mkdir(path, 0o700))
			return path
		},
		"flipped bit": func(t *testing.T, dir string) string {
			return edit(t, dir, seal.RingFile, func(b []byte) []byte { b[len(b)-3] ^= 1; return b })
		},
		"truncated": func(t *testing.T, dir string) string {
			return edit(t, dir, seal.RingFile, func(b []byte) []byte { return b[:len(b)/2] })
		},
		"empty": func(t *testing.T, dir string) string {
			return edit(t, dir, seal.RingFile, func([]byte) []byte { return nil })
		},
		"huge": func(t *testing.T, dir string) string {
			return edit(t, dir, seal.RingFile, func([]byte) []byte { return make([]byte, seal.MaxRing+1) })
		},
		"plugin identity": func(t *testing.T, dir string) string {
			return edit(t, dir, seal.IdentityFile, func([]byte) []byte { return []byte("AGE-PLUGIN-EVIL-1QQQ\n") })
		},
		"foreign signer": func(t *testing.T, dir string) string {
			pub, _, _ := ed25519.GenerateKey(rand.Reader)
			edit(t, dir, seal.VerifierFile, func([]byte) []byte { return []byte(base64.RawURLEncoding.EncodeToString(pub) + "\n") })
			return filepath.Join(dir, seal.RingFile)
		},
		"ring of another folder": func(t *testing.T, dir string) string {
			other, err := os.ReadFile(filepath.Join(ringDir(t), seal.RingFile))
			must(t, err)
			return edit(t, dir, seal.RingFile, func([]byte) []byte { return other })
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := ringDir(t)
			path := spoil(t, dir)
			ring, err := seal.LoadRing(dir)
			if ring != nil || !errors.Is(err, seal.ErrRing) || !strings.Contains(err.Error(), path) {
				t.Errorf("LoadRing = %v, %v; want an ErrRing that names %s", ring, err, path)
			}
		})
	}
}

// A slash behind its name makes the system follow a symbolic link.
func TestSymbolicLinkWithASlash(t *testing.T) {
	link := filepath.Join(t.TempDir(), "link")
	must(t, os.Symlink(ringDir(t), link))
	empty := filepath.Join(t.TempDir(), "link")
	must(t, os.Symlink(t.TempDir(), empty))
	for _, end := range []string{"", "/", "//", "/.", "/x/.."} {
		_, loading := seal.LoadRing(link + end)
		_, watching := seal.WatchRing(link+end, seal.WatchConfig{})
		_, rotating := seal.RotateRing(t.Context(), link+end, usual, now, now.Add(time.Hour))
		_, listing := seal.RingRecipients(link + end)
		_, making := seal.InitRing(empty+end, usual, now)
		for who, err := range map[string]error{"LoadRing": loading, "WatchRing": watching, "RotateRing": rotating, "RingRecipients": listing, "InitRing": making} {
			if !errors.Is(err, seal.ErrRing) || !strings.Contains(err.Error(), "symbolic link") {
				t.Errorf("%s of link%s = %v", who, end, err)
			}
		}
	}
	t.Chdir(ringDir(t))
	if _, err := seal.LoadRing(""); !errors.Is(err, seal.ErrRing) {
		t.Errorf("no name: %v", err)
	}
}

// smallOrder are the points whose order divides 8, in each way to write them.
var smallOrder = []string{
	"0100000000000000000000000000000000000000000000000000000000000000",
	"0100000000000000000000000000000000000000000000000000000000000080",
	"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
	"0000000000000000000000000000000000000000000000000000000000000000",
	"0000000000000000000000000000000000000000000000000000000000000080",
	"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
	"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
	"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
	"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
	"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
	"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
}

// Under a public key of small order anybody signs: R is the neutral element, S
// zero, and a few tries find a content that verifies.
func TestSignerOfSmallOrder(t *testing.T) {
	k := newKeyring(t)
	forgery := make([]byte, ed25519.SignatureSize)
	forgery[0] = 1
	for _, text := range smallOrder {
		verifier, err := hex.DecodeString(text)
		must(t, err)
		d := k.doc(key("firstkey", 1))
		var content []byte
		for verifies := false; !verifies; d.Created-- {
			if d.Created < now.Unix()-1000 {
				t.Fatalf("%s: no forgery found", text)
			}
			content, err = json.Marshal(d)
			must(t, err)
			verifies = ed25519.Verify(verifier, append([]byte("sealed-blob/v1/keyring-signature\x00"), content...), forgery)
		}
		plain := "sealed-blob/v1 keyring\n" + b64(string(content)) + "\n" + b64(string(forgery)) + "\n"
		if ring, err := seal.ParseRing([]byte(plain), verifier, seal.InsecureSampleKeys()); ring != nil || !errors.Is(err, seal.ErrRing) {
			t.Errorf("%s: ParseRing = %v, %v", text, ring, err)
		}
		edit(t, k.dir, seal.VerifierFile, func([]byte) []byte { return []byte(b64(string(verifier)) + "\n") })
		k.write(nil, func([]byte) string { return plain })
		if ring, err := seal.LoadRing(k.dir, seal.InsecureSampleKeys()); ring != nil || !errors.Is(err, seal.ErrRing) || !strings.Contains(err.Error(), seal.VerifierFile) {
			t.Errorf("%s: LoadRing = %v, %v", text, ring, err)
		}
	}
}

// Of several inits of one folder one makes the ring, and it opens.
func TestInitIsOneWriter(t *testing.T) {
	for range 5 {
		dir := t.TempDir()
		errs := make(chan error, 4)
		for range cap(errs) {
			go func() {
				_, err := seal.InitRing(dir, usual, now)
				errs <- err
			}()
		}
		made := 0
		for range cap(errs) {
			if err := <-errs; err == nil {
				made++
			} else if !errors.Is(err, fs.ErrExist) {
				t.Errorf("InitRing = %v, want fs.ErrExist", err)
			}
		}
		if _, err := seal.LoadRing(dir); made != 1 || err != nil {
			t.Fatalf("%d rings made, LoadRing = %v", made, err)
		}
	}
}

func TestRotateIsOneWriter(t *testing.T) {
	dir := ringDir(t)
	const n = 8
	errs := make(chan error, n)
	for range n {
		go func() {
			_, err := seal.UnsafeRotateRing(t.Context(), dir, usual, now, now.Add(time.Minute))
			errs <- err
		}()
	}
	for range n {
		must(t, <-errs)
	}
	ring, err := seal.LoadRing(dir)
	must(t, err)
	if ring.Version() != n+1 || len(ring.Keys()) != n+1 {
		t.Errorf("version %d with %d keys, want %d", ring.Version(), len(ring.Keys()), n+1)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, dir, name string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	must(t, os.Remove(path))
	return path
}

func chmod(t *testing.T, dir, name string, mode fs.FileMode) string {
	t.Helper()
	path := filepath.Join(dir, name)
	must(t, os.Chmod(path, mode))
	return path
}

func edit(t *testing.T, dir, name string, f func([]byte) []byte) string {
	t.Helper()
	path := filepath.Join(dir, name)
	old, err := os.ReadFile(path)
	must(t, err)
	must(t, os.WriteFile(path, f(old), 0o600))
	return path
}
