package bayeux

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"
)

func quietServer(t *testing.T, cfg Config) *Server {
	t.Helper()
	cfg.Logger = slog.New(slog.DiscardHandler)
	s, err := NewServer(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// member makes a session that is subscribed, without a client.
func member(t *testing.T, s *Server, channels ...string) *ServerSession {
	t.Helper()
	sess, ok := s.admit(randomID())
	if !ok || !s.registry.add(sess, channels, 10) {
		t.Fatal("not admitted")
	}
	return sess
}

type passing struct{}

func (passing) Incoming(_ context.Context, _ *ServerSession, _ *Message) bool { return true }
func (passing) Outgoing(_ *ServerSession, _ *Message) bool                    { return true }

type marking struct{ passing }

func (marking) Outgoing(_ *ServerSession, m *Message) bool { return m.SetExt("mark", 1) == nil }

// All receivers share the bytes of one rendering, whatever they subscribed to and
// with whatever extensions the server has, or they have themselves; but for those
// whose own change it.
func TestBroadcastIsRenderedOnce(t *testing.T) {
	s := quietServer(t, Config{})
	s.AddExtension(passing{})
	a, b, looks, own := member(t, s, "/a"), member(t, s, "/**"), member(t, s, "/a"), member(t, s, "/*")
	looks.AddExtension(passing{})
	own.AddExtension(marking{})
	if err := s.Publish("/a", strings.Repeat("x", 1000)); err != nil {
		t.Fatal(err)
	}
	at := func(sess *ServerSession) *byte { return unsafe.SliceData(sess.queue.messages[0]) }
	if at(a) != at(b) || at(a) != at(looks) {
		t.Error("two renderings of one broadcast")
	}
	if at(own) == at(a) || !strings.HasSuffix(string(own.queue.messages[0]), `"ext":{"mark":1}}`) {
		t.Error("a session's own extension may change what others get")
	}
}

// A connect that is held costs no goroutine beyond those of any request that
// net/http serves.
func TestHeldConnectsHaveNoGoroutines(t *testing.T) {
	const n = 100
	release := make(chan struct{})
	var came atomic.Int64
	plain := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		came.Add(1)
		select {
		case <-release:
		case <-r.Context().Done():
		}
	}))
	defer plain.Close()
	defer close(release) // before Close, which waits for all
	s := quietServer(t, Config{InsecureTrustClientID: true, MaxPollsPerBrowser: n})
	ours := httptest.NewServer(s)
	defer ours.Close()

	held := func(url string, body func(i int) string, ready func() bool) (goroutines int) {
		before := runtime.NumGoroutine()
		for i := range n {
			go func() {
				resp, err := http.Post(url, "application/json", strings.NewReader(body(i)))
				if err == nil {
					resp.Body.Close()
				}
			}()
		}
		for !ready() {
			time.Sleep(10 * time.Millisecond)
		}
		time.Sleep(200 * time.Millisecond)
		return runtime.NumGoroutine() - before
	}
	want := held(plain.URL, func(int) string { return "x" }, func() bool { return came.Load() == n })
	sessions := make([]*ServerSession, n)
	for i := range sessions {
		sessions[i] = member(t, s, "/a")
		sessions[i].connected = true
	}
	parked := func() bool {
		for _, sess := range sessions {
			sess.mu.Lock()
			waits := sess.poll != nil
			sess.mu.Unlock()
			if !waits {
				return false
			}
		}
		return true
	}
	got := held(ours.URL, func(i int) string {
		return fmt.Sprintf(`{"channel":"/meta/connect","clientId":%q,"connectionType":"long-polling"}`, sessions[i].id)
	}, parked)
	if got > want+n/10 {
		t.Errorf("%d held connects have %d goroutines, plain requests %d", n, got, want)
	}
	if err := s.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}
