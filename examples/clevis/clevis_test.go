//go:build keyservice

package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/sealedblob/sealedblob/seal"
)

// The times of the test: how often the service is asked, and for how long the
// last good ring serves without it.
const (
	interval = 100 * time.Millisecond
	patient  = 5 * time.Second
)

// A node with a real Tang server that goes away and comes back.
func TestNodeFollowsTheKeyService(t *testing.T) {
	tang := newTang(t)
	dir, wrapped := wrappedKeyring(t, tang)
	keys, err := follow(dir, wrapped, interval, patient)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ran := make(chan struct{})
	go func() { defer close(ran); keys.Run(ctx, nil) }()
	defer func() { cancel(); <-ran }()
	node := httptest.NewServer(health(keys))
	defer node.Close()

	expect(t, node.URL, 200)
	tang.stop()
	if _, err := unwrap(wrapped); err == nil {
		t.Fatal("the identity opens without the service: nothing is tested")
	} else if !strings.Contains(err.Error(), tang.address) {
		t.Errorf("what clevis says of the service is lost: %v", err)
	}
	stopped := time.Now()
	expect(t, node.URL, 200) // the last good ring
	if time.Since(stopped) > patient {
		t.Fatal("too slow a machine: the ring would be stale by now")
	}
	await(t, node.URL, 503)
	if after := time.Since(stopped); after < patient/2 {
		t.Errorf("given up %v after the service", after)
	}
	if _, err := follow(dir, wrapped, interval, patient); err == nil {
		t.Error("a node starts without the service")
	}
	tang.start()
	await(t, node.URL, 200)
}

// A service whose key is another one opens nothing.
func TestAnotherKeyService(t *testing.T) {
	tang := newTang(t)
	dir, wrapped := wrappedKeyring(t, tang)
	tang.stop()
	tang.keys(t.TempDir())
	tang.start()
	if keys, err := follow(dir, wrapped, interval, patient); err == nil {
		ring, _ := keys.Ring(t.Context())
		t.Errorf("opened without the key: version %d", ring.Version())
	}
}

// A node that has the service open the whole ring: it follows a rotation, takes no
// older ring, neither while it runs nor at its next start, and ends with the service.
func TestWholeRing(t *testing.T) {
	tang := newTang(t)
	keyring, folder := filepath.Join(t.TempDir(), "keys"), t.TempDir()
	_, err := seal.InitRing(keyring, seal.A256GCM, time.Now())
	must(t, err)
	ring, signer, seen := filepath.Join(folder, "ring.jwe"), filepath.Join(keyring, seal.VerifierFile), filepath.Join(folder, "ring.version")
	older := wrap(t, tang, plaintext(t, keyring))
	must(t, os.WriteFile(ring, older, 0o600))
	w, err := newWholeRing(ring, signer, seen, patient)
	must(t, err)
	var source seal.Source = w

	now := time.Now()
	_, err = seal.RotateRing(t.Context(), keyring, seal.A256GCM, now, now.Add(2*seal.ReloadInterval))
	must(t, err)
	newer := wrap(t, tang, plaintext(t, keyring))
	must(t, os.WriteFile(ring, newer, 0o600))
	must(t, w.look())
	if keys, err := source.Ring(t.Context()); err != nil || keys.Version() != 2 {
		t.Fatalf("after the rotation: %v", err)
	}
	must(t, os.WriteFile(ring, older, 0o600))
	if err := w.look(); err == nil {
		t.Error("an older ring is taken")
	}
	if keys, err := source.Ring(t.Context()); err != nil || keys.Version() != 2 {
		t.Errorf("after an older one: %v", err)
	}
	if _, err := newWholeRing(ring, signer, seen, patient); err == nil {
		t.Error("the next start takes the older ring")
	}
	other := filepath.Join(t.TempDir(), "keys")
	_, err = seal.InitRing(other, seal.A256GCM, time.Now())
	must(t, err)
	if _, err := newWholeRing(ring, filepath.Join(other, seal.VerifierFile), filepath.Join(folder, "none"), patient); err == nil {
		t.Error("another signer's ring is taken")
	}
	tang.stop()
	must(t, os.WriteFile(ring, newer, 0o600))
	if err := w.look(); err == nil {
		t.Error("the ring opens without the service")
	}
	w.maxStale = 0
	if _, err := source.Ring(t.Context()); err == nil {
		t.Error("a stale ring is used")
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// plaintext is what the key service's owner has it encrypt: age -d -i identity.txt ring.age.
func plaintext(t *testing.T, keyring string) []byte {
	t.Helper()
	identity, err := os.Open(filepath.Join(keyring, seal.IdentityFile))
	must(t, err)
	defer identity.Close()
	ids, err := age.ParseIdentities(identity)
	must(t, err)
	file, err := os.Open(filepath.Join(keyring, seal.RingFile))
	must(t, err)
	defer file.Close()
	in, err := age.Decrypt(file, ids...)
	must(t, err)
	plain, err := io.ReadAll(in)
	must(t, err)
	return plain
}

// wrap encrypts to tang.
func wrap(t *testing.T, tang *tangServer, plain []byte) []byte {
	t.Helper()
	clevis := exec.Command("clevis", "encrypt", "tang", fmt.Sprintf(`{"url":"http://%s"}`, tang.address), "-y")
	clevis.Stdin = bytes.NewReader(plain)
	out, err := clevis.Output()
	if err != nil {
		t.Fatalf("clevis encrypt: %v", err)
	}
	return out
}

// wrappedKeyring is a keyring whose identity is encrypted to tang, and nowhere else.
func wrappedKeyring(t *testing.T, tang *tangServer) (dir, wrapped string) {
	t.Helper()
	dir, wrapped = filepath.Join(t.TempDir(), "keys"), filepath.Join(t.TempDir(), "identity.jwe")
	if _, err := seal.InitRing(dir, seal.A256GCM, time.Now()); err != nil {
		t.Fatal(err)
	}
	plain := filepath.Join(dir, seal.IdentityFile)
	identity, err := os.ReadFile(plain)
	must(t, err)
	must(t, os.WriteFile(wrapped, wrap(t, tang, identity), 0o600))
	must(t, os.Remove(plain))
	return dir, wrapped
}

// tangServer is the real tangd, which speaks on standard input and output: one
// process a connection, as its systemd socket starts it.
type tangServer struct {
	t       *testing.T
	address string
	dir     string
	l       net.Listener
}

func newTang(t *testing.T) *tangServer {
	t.Helper()
	s := &tangServer{t: t, address: "127.0.0.1:0"}
	s.keys(t.TempDir())
	s.start()
	t.Cleanup(s.stop)
	return s
}

// keys makes fresh keys, and s uses them from now on.
func (s *tangServer) keys(dir string) {
	s.t.Helper()
	if out, err := exec.Command("/usr/libexec/tangd-keygen", dir).CombinedOutput(); err != nil {
		s.t.Fatalf("tangd-keygen: %v: %s", err, out)
	}
	s.dir = dir
}

func (s *tangServer) start() {
	s.t.Helper()
	l, err := net.Listen("tcp", s.address)
	if err != nil {
		s.t.Fatal(err)
	}
	s.l, s.address = l, l.Addr().String()
	dir := s.dir
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go serve(conn, dir)
		}
	}()
}

func serve(conn net.Conn, dir string) {
	defer conn.Close()
	socket, err := conn.(*net.TCPConn).File()
	if err != nil {
		return
	}
	defer socket.Close()
	tangd := exec.Command("/usr/libexec/tangd", dir)
	tangd.Stdin, tangd.Stdout = socket, socket
	_ = tangd.Run()
}

func (s *tangServer) stop() { s.l.Close() }

func status(t *testing.T, url string) int {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return resp.StatusCode
}

func expect(t *testing.T, url string, want int) {
	t.Helper()
	if got := status(t, url); got != want {
		t.Fatalf("health %d, want %d", got, want)
	}
}

func await(t *testing.T, url string, want int) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); status(t, url) != want; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("health is not %d after 20 s", want)
		}
	}
}
