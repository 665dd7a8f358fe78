package sessionext

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sealedblob/sealedblob/bayeux"
	"github.com/sealedblob/sealedblob/internal/testkit"
	"github.com/sealedblob/sealedblob/replay"
	"github.com/sealedblob/sealedblob/session"
)

// A Bayeux client that is gone is forgotten: by the extension, or it would grow
// with every page ever opened; and by the session, or the floor would wait for
// the dead and the session never lapse.
func TestGoneClientIsForgotten(t *testing.T) {
	m, err := session.New(t.Context(), session.Config{
		Keys: testkit.Ring(t), Policy: testkit.Policy(t, testkit.ShopPolicy), Store: replay.NewMemory(replay.MemoryConfig{}), App: "shop", Lapse: time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	server, err := bayeux.NewServer(bayeux.Config{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	e := New(m, nil)
	server.AddExtension(e)
	var holding atomic.Bool
	server.AddExtension(after{&holding})
	var s *session.Session
	mux := http.NewServeMux()
	mux.Handle("/bayeux", server)
	mux.Handle("/bayeux/", server)
	mux.Handle("/set", m.Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		s = session.FromContext(r.Context())
		if err := s.Set(t.Context(), "cart", "tea"); err != nil {
			t.Error(err)
		}
	})))
	front := httptest.NewServer(mux)
	defer front.Close()
	defer server.Shutdown(context.Background())
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	visitor := &http.Client{Jar: jar}
	res, err := visitor.Get(front.URL + "/set")
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()

	keeper := NewKeeper()
	c, err := bayeux.NewClient(front.URL+"/bayeux", bayeux.ClientConfig{HTTPClient: visitor, Extensions: []bayeux.ClientExtension{keeper}, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Connect(t.Context()); err != nil {
		t.Fatal(err)
	}
	known := func() int {
		e.mu.Lock()
		defer e.mu.Unlock()
		return len(e.clients)
	}
	if known() != 1 {
		t.Fatalf("%d clients known, want 1", known())
	}
	until(t, "the set is acknowledged", holding.Load)
	if err := c.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	until(t, "the extension forgets the client", func() bool { return known() == 0 })
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	go m.Run(ctx)
	until(t, "the session lapses", func() bool { _, live := m.Live(s.Holder()); return !live })
}

// after notes, after the extension, that a connect said which set its client holds.
type after struct{ holding *atomic.Bool }

func (a after) Incoming(_ context.Context, _ *bayeux.ServerSession, m *bayeux.Message) bool {
	var request Request
	if present, err := m.DecodeExt(ExtName, &request); m.Channel == bayeux.MetaConnect && present && err == nil && request.Gen != "" {
		a.holding.Store(true)
	}
	return true
}

func (after) Outgoing(*bayeux.ServerSession, *bayeux.Message) bool { return true }

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s", what)
		}
	}
}
