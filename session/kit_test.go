package session_test

import (
	"context"
	"maps"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/sealedblob/sealedblob/internal/testkit"
	"github.com/sealedblob/sealedblob/policy"
	"github.com/sealedblob/sealedblob/replay"
	"github.com/sealedblob/sealedblob/seal"
	"github.com/sealedblob/sealedblob/session"
)

const shopPolicy = testkit.ShopPolicy

// pastEpoch is how long after a store was made its nodes go by their clocks.
const pastEpoch = replay.MaxAhead + 2*time.Second

// cluster is what nodes share: keyring, policy and store.
type cluster struct {
	t      testing.TB
	ring   *seal.Ring
	policy *policy.Policy
	store  replay.Store
}

func newCluster(t testing.TB) *cluster {
	t.Helper()
	return &cluster{t, testkit.Ring(t), testkit.Policy(t, shopPolicy), replay.NewMemory(replay.MemoryConfig{})}
}

func (c *cluster) node() *session.Manager { return c.nodeOf("shop", "") }

func (c *cluster) nodeOf(app, tenant string) *session.Manager {
	c.t.Helper()
	m, err := session.New(context.Background(), session.Config{
		Keys: c.ring, Policy: c.policy, Store: c.store, App: app, Tenant: tenant,
		Early: session.Early{Wait: -1}, // answers at once; early_test.go has nodes that wait
	})
	if err != nil {
		c.t.Fatal(err)
	}
	return m
}

// browser is a client that keeps the sealed set.
type browser struct {
	mu       sync.Mutex
	version  *session.Version
	manifest string
	blobs    map[string]string
	pushes   []session.Push
	ended    bool
	detached bool
	renewed  *session.Session
	deaf     bool // loses what is pushed
}

func (b *browser) Push(p session.Push) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.deaf {
		return
	}
	b.pushes = append(b.pushes, p)
	switch {
	case p.End:
		b.ended, b.blobs, b.manifest, b.version = true, nil, "", nil
		return
	case p.Delta && (b.version == nil || *b.version != p.Base):
		return
	case !p.Delta:
		b.blobs = map[string]string{}
	}
	maps.Copy(b.blobs, p.Set)
	for _, slot := range p.Del {
		delete(b.blobs, slot)
	}
	v := p.Version
	b.version, b.manifest = &v, p.Manifest
}

func (b *browser) Detached() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.detached = true
}

func (b *browser) Renewed(s *session.Session) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.renewed = s
}

func (b *browser) set(h session.Holder) session.Presented {
	b.mu.Lock()
	defer b.mu.Unlock()
	return session.Presented{Holder: h, Attempt: replay.Owner(seal.NewID()), Manifest: b.manifest, Blobs: maps.Clone(b.blobs)}
}

// shopping makes a session with a cart, a login and a ticket, and its browser.
func shopping(t testing.TB, m *session.Manager) (*session.Session, *browser) {
	t.Helper()
	s, err := m.Start()
	must(t, err)
	must(t, s.Set(t.Context(), "cart", []string{"tea"}))
	must(t, s.Set(t.Context(), "login", "ada"))
	must(t, s.Set(t.Context(), "ticket", "row 7"))
	must(t, s.Save(t.Context()))
	b := &browser{}
	must(t, s.Attach(b))
	must(t, s.Acknowledge(t.Context(), b, nil))
	if len(b.blobs) != 3 {
		t.Fatalf("the browser holds %d blobs, want 3", len(b.blobs))
	}
	return s, b
}

// trusted stands for good credentials.
func trusted(context.Context) error { return nil }

// login logs in and returns the renewed session.
func login(t testing.TB, s *session.Session, subject string) *session.Session {
	t.Helper()
	s, err := s.Login(t.Context(), subject, trusted)
	must(t, err)
	return s
}

// login logs in, and b shakes hands with the new cookie.
func (b *browser) login(t testing.TB, s *session.Session, subject string) *session.Session {
	t.Helper()
	s = login(t, s, subject)
	must(t, s.Attach(b))
	return s
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func get(t testing.TB, s *session.Session, name string) (out string, err error) {
	t.Helper()
	var v any
	err = s.Get(name, &v)
	if list, ok := v.([]any); ok && len(list) > 0 {
		v = list[len(list)-1]
	}
	out, _ = v.(string)
	return out, err
}

// request makes a loopback request with the cookies of earlier responses.
func request(method, path string, cookies ...*http.Cookie) *http.Request {
	r := httptest.NewRequest(method, "http://127.0.0.1"+path, nil)
	r.RemoteAddr = "127.0.0.1:5555"
	for _, c := range cookies {
		r.AddCookie(c)
	}
	return r
}
