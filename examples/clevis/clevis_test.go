//go:build keyservice

package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/sealedblob/sealedblob/seal"
)

// The times of the test: how often the service is asked, and for how long the
// last good ring serves without it.
const (
	interval = 100 * time.Millisecond
	maxStale = 5 * time.Second
)

// A node with a real Tang server that goes away and comes back.
func TestNodeFollowsTheKeyService(t *testing.T) {
	tang := newTang(t)
	dir, wrapped := wrappedKeyring(t, tang)
	keys, err := follow(dir, wrapped, interval, maxStale)
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
	}
	stopped := time.Now()
	expect(t, node.URL, 200) // the last good ring
	if time.Since(stopped) > maxStale {
		t.Fatal("too slow a machine: the ring would be stale by now")
	}
	await(t, node.URL, 503)
	if after := time.Since(stopped); after < maxStale/2 {
		t.Errorf("given up %v after the service", after)
	}
	if _, err := follow(dir, wrapped, interval, maxStale); err == nil {
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
	if keys, err := follow(dir, wrapped, interval, maxStale); err == nil {
		ring, _ := keys.Ring(t.Context())
		t.Errorf("opened without the key: version %d", ring.Version())
	}
}

// wrappedKeyring is a keyring whose identity is encrypted to tang, and nowhere else.
func wrappedKeyring(t *testing.T, tang *tangServer) (dir, wrapped string) {
	t.Helper()
	dir, wrapped = filepath.Join(t.TempDir(), "keys"), filepath.Join(t.TempDir(), "identity.jwe")
	if _, err := seal.InitRing(dir, seal.A256GCM, time.Now()); err != nil {
		t.Fatal(err)
	}
	plain := filepath.Join(dir, seal.IdentityFile)
	in, err := os.Open(plain)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	clevis := exec.Command("clevis", "encrypt", "tang", fmt.Sprintf(`{"url":"http://%s"}`, tang.address), "-y")
	clevis.Stdin = in
	out, err := clevis.Output()
	if err != nil {
		t.Fatalf("clevis encrypt: %v", err)
	}
	if err := os.WriteFile(wrapped, out, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(plain); err != nil {
		t.Fatal(err)
	}
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
