package sessionext_test

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sealedblob/sealedblob/bayeux"
	"github.com/sealedblob/sealedblob/bayeux/sessionext"
	"github.com/sealedblob/sealedblob/internal/testkit"
	"github.com/sealedblob/sealedblob/policy"
	"github.com/sealedblob/sealedblob/replay"
	"github.com/sealedblob/sealedblob/seal"
	"github.com/sealedblob/sealedblob/session"
)

// world is what the nodes share, and the address that visitors know: the
// handler behind it can be exchanged, as a balancer would.
type world struct {
	t       *testing.T
	ring    *seal.Ring
	policy  *policy.Policy
	store   *moodyStore
	server  *httptest.Server
	current atomic.Pointer[node]
	observe observer // of the next nodes
}

// observer may be nil.
type observer func(session.Event)

func (o observer) Observe(_ context.Context, e session.Event) {
	if o != nil {
		o(e)
	}
}

type node struct {
	manager *session.Manager
	bayeux  *bayeux.Server
	mux     *http.ServeMux
	stop    context.CancelFunc
}

// moodyStore can be told to be down, and knows of what it was told.
type moodyStore struct {
	replay.Store
	down   atomic.Bool
	mu     sync.Mutex
	floors []replay.Version
}

var errDown = errors.New("the store is down")

func (s *moodyStore) Restore(ctx context.Context, r replay.RestoreRequest) (replay.Restored, error) {
	if s.down.Load() {
		return replay.Restored{}, errDown
	}
	return s.Store.Restore(ctx, r)
}

func (s *moodyStore) Acknowledge(ctx context.Context, places ...replay.Place) ([]replay.Verdict, error) {
	verdicts, err := s.Store.Acknowledge(ctx, places...)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, place := range places {
		if err == nil {
			s.floors = append(s.floors, place.Version)
		}
	}
	return verdicts, err
}

// awaitFloor waits until the store knows that a client holds the set, for less than
// a connect is held.
func (s *moodyStore) awaitFloor(t *testing.T, set session.Version) {
	t.Helper()
	for limit := time.Now().Add(10 * time.Second); time.Now().Before(limit); time.Sleep(5 * time.Millisecond) {
		s.mu.Lock()
		told := slices.Contains(s.floors, set)
		s.mu.Unlock()
		if told {
			return
		}
	}
	t.Fatalf("the store was not told of %s", session.FormatVersion(set))
}

type nobody struct{ bayeux.DefaultPolicy }

func (nobody) CanHandshake(context.Context, *http.Request, *bayeux.Message) bool { return false }

func newWorld(t *testing.T) *world {
	w := &world{t: t, ring: testkit.Ring(t), policy: testkit.Policy(t, testkit.ShopPolicy), store: &moodyStore{Store: replay.NewMemory(replay.MemoryConfig{})}}
	w.server = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { w.current.Load().mux.ServeHTTP(rw, r) }))
	t.Cleanup(w.server.Close)
	w.move(nil)
	return w
}

// move exchanges the node behind the address; the old one ends without a word.
func (w *world) move(p bayeux.SecurityPolicy) *node {
	w.t.Helper()
	m, err := session.New(w.t.Context(), session.Config{Keys: w.ring, Policy: w.policy, Store: w.store, App: "shop", Observer: w.observe})
	must(w.t, err)
	b, err := bayeux.NewServer(bayeux.Config{Timeout: 20 * time.Second, Policy: p, Logger: slog.New(slog.DiscardHandler)})
	must(w.t, err)
	b.AddExtension(sessionext.New(m, nil))
	ctx, cancel := context.WithCancel(context.Background())
	n := &node{m, b, http.NewServeMux(), cancel}
	go m.Run(ctx)
	n.mux.Handle("/bayeux/", b)
	n.mux.Handle("/bayeux", b)
	n.mux.Handle("/set", m.Middleware(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		s := session.FromContext(r.Context())
		if r.URL.Query().Has("logout") {
			_ = s.Logout(r.Context())
			return
		}
		if r.URL.Query().Has("login") {
			if _, err := s.Login(r.Context(), "ada", func(context.Context) error { return nil }); err != nil {
				http.Error(rw, err.Error(), 500)
			}
			return
		}
		if err := s.Set(r.Context(), r.URL.Query().Get("name"), r.URL.Query().Get("value")); err != nil {
			http.Error(rw, err.Error(), 500)
		}
	})))
	n.mux.Handle("/get", m.Middleware(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		var v string
		_ = session.FromContext(r.Context()).Get(r.URL.Query().Get("name"), &v)
		_, _ = rw.Write([]byte(v))
	})))
	w.t.Cleanup(func() { cancel(); _ = b.Shutdown(context.Background()) })
	if old := w.current.Swap(n); old != nil {
		old.stop()
		w.server.CloseClientConnections()
		_ = old.bayeux.Shutdown(context.Background())
	}
	return n
}

// visitor has a cookie jar and a Bayeux client with a keeper.
type visitor struct {
	w      *world
	http   *http.Client
	keeper *sessionext.Keeper
	client *bayeux.Client
}

func (w *world) visitor(transport string, extra ...bayeux.ClientExtension) *visitor {
	w.t.Helper()
	jar, err := cookiejar.New(nil)
	must(w.t, err)
	v := &visitor{w: w, http: &http.Client{Jar: jar, Timeout: 10 * time.Second}, keeper: sessionext.NewKeeper()}
	v.do("/set?name=cart&value=tea")
	v.client, err = bayeux.NewClient(w.server.URL+"/bayeux", bayeux.ClientConfig{
		HTTPClient: v.http, Transports: []string{transport}, Extensions: append(extra, v.keeper), // the others see what it sends, and lose what it gets
		Backoff: 20 * time.Millisecond, MaxBackoff: 100 * time.Millisecond, Logger: slog.New(slog.DiscardHandler),
	})
	must(w.t, err)
	w.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = v.client.Close(ctx)
	})
	return v
}

func (v *visitor) connect() *visitor {
	v.w.t.Helper()
	must(v.w.t, v.client.Connect(v.w.t.Context()))
	return v
}

func (v *visitor) do(path string) string {
	v.w.t.Helper()
	res, err := v.http.Get(v.w.server.URL + path)
	must(v.w.t, err)
	defer res.Body.Close()
	var body [100]byte
	n, _ := res.Body.Read(body[:])
	if res.StatusCode != 200 {
		v.w.t.Fatalf("%s: %d %s", path, res.StatusCode, body[:n])
	}
	return string(body[:n])
}

func (v *visitor) wait(what string, ok func(sessionext.Held, sessionext.Reply) bool) sessionext.Held {
	v.w.t.Helper()
	deadline := time.After(8 * time.Second)
	for {
		changed := v.keeper.Changed()
		held, _ := v.keeper.Held()
		if ok(held, v.keeper.Last()) {
			return held
		}
		select {
		case <-changed:
		case <-deadline:
			v.w.t.Fatalf("no %s; holding %v, last answer %+v", what, held.Version, v.keeper.Last())
		}
	}
}

func (v *visitor) blobs(n int) sessionext.Held {
	v.w.t.Helper()
	return v.wait("blobs", func(h sessionext.Held, _ sessionext.Reply) bool { return len(h.Blobs) == n })
}

func state(want string) func(sessionext.Held, sessionext.Reply) bool {
	return func(_ sessionext.Held, r sessionext.Reply) bool { return r.State == want }
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

var transports = []string{bayeux.WebSocket, bayeux.LongPolling}

func TestSessionOutlivesItsNode(t *testing.T) {
	for _, transport := range transports {
		t.Run(transport, func(t *testing.T) {
			w := newWorld(t)
			v := w.visitor(transport).connect()
			v.blobs(1)
			v.do("/set?name=login&value=ada")
			v.blobs(2)
			w.move(nil)
			v.wait("restore", state(sessionext.StateRestored))
			if got := v.do("/get?name=cart") + v.do("/get?name=login"); got != "teaada" {
				t.Errorf("restored %q", got)
			}
			v.wait("the new fence", func(h sessionext.Held, _ sessionext.Reply) bool { return h.Version.Fence == 1 })
			w.move(nil)
			v.wait("the second restore", func(h sessionext.Held, _ sessionext.Reply) bool { return h.Version.Fence == 2 })
		})
	}
}

// What is pushed is acknowledged at once, also over a WebSocket whose connect
// is held for 20 s: soon the older set restores no more.
func TestPushesAreAcknowledgedSoon(t *testing.T) {
	for _, transport := range transports {
		t.Run(transport, func(t *testing.T) {
			w := newWorld(t)
			v := w.visitor(transport).connect()
			old := v.blobs(1)
			v.do("/set?name=cart&value=paid")
			newer := v.wait("the push", func(h sessionext.Held, _ sessionext.Reply) bool { return old.Version.Less(h.Version) })
			w.store.awaitFloor(t, newer.Version)
			v.keeper.Put(old)
			w.move(nil)
			v.wait("a refusal", state(sessionext.StateRefused))
		})
	}
}

// lossy loses the first pushes on the client's side.
type lossy struct {
	mu   sync.Mutex
	lose int
}

func (l *lossy) Outgoing(*bayeux.Message) bool { return true }
func (l *lossy) Incoming(m *bayeux.Message) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if m.Channel == sessionext.Channel && l.lose > 0 {
		l.lose--
		return false
	}
	return true
}

func TestLostPushIsSentAgain(t *testing.T) {
	for _, transport := range transports {
		t.Run(transport, func(t *testing.T) {
			w := newWorld(t)
			loss := &lossy{}
			v := w.visitor(transport, loss)
			v.connect().blobs(1)
			loss.mu.Lock()
			loss.lose = 1
			loss.mu.Unlock()
			v.do("/set?name=login&value=ada")
			v.do("/set?name=note&value=x") // a delta on a set that the client never got
			v.blobs(3)
			loss.mu.Lock()
			defer loss.mu.Unlock()
			if loss.lose != 0 {
				t.Error("nothing was lost")
			}
		})
	}
}

func TestStoreDownIsRetriedWithTheSameAttempt(t *testing.T) {
	w := newWorld(t)
	attempts := &attempts{}
	v := w.visitor(bayeux.LongPolling, attempts).connect()
	v.blobs(1)
	w.store.down.Store(true)
	w.move(nil)
	v.wait("retry", state(sessionext.StateRetry))
	time.Sleep(100 * time.Millisecond)
	if _, ok := v.keeper.Held(); !ok {
		t.Error("the blobs were dropped")
	}
	w.store.down.Store(false)
	v.wait("restore", state(sessionext.StateRestored))
	if got := v.do("/get?name=cart"); got != "tea" {
		t.Errorf("cart = %q", got)
	}
	seen := attempts.list()
	if len(seen) < 2 || len(slices.Compact(seen)) != 1 {
		t.Errorf("attempt tokens %v, want one, several times", attempts.list())
	}
}

// attempts notes the tokens of handshakes.
type attempts struct {
	mu   sync.Mutex
	seen []string
}

func (a *attempts) Incoming(*bayeux.Message) bool { return true }
func (a *attempts) Outgoing(m *bayeux.Message) bool {
	var r sessionext.Request
	if _, err := m.DecodeExt(sessionext.ExtName, &r); err == nil && m.Channel == bayeux.MetaHandshake && r.Attempt != "" {
		a.mu.Lock()
		a.seen = append(a.seen, r.Attempt)
		a.mu.Unlock()
	}
	return true
}
func (a *attempts) list() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.seen)
}

func TestLogoutClearsTheClient(t *testing.T) {
	w := newWorld(t)
	v := w.visitor(bayeux.WebSocket).connect()
	old := v.blobs(1)
	v.do("/set?logout=1")
	v.wait("the end", func(h sessionext.Held, _ sessionext.Reply) bool { return h.Manifest == "" })
	v.keeper.Put(old)
	w.move(nil)
	v.wait("a refusal", state(sessionext.StateRefused))
}

// A client that may not connect restores nothing.
func TestNothingIsRestoredBeforeAuthorisation(t *testing.T) {
	w := newWorld(t)
	v := w.visitor(bayeux.LongPolling).connect()
	held := v.blobs(1)
	must(t, v.client.Close(t.Context()))
	w.move(nobody{})
	v.http.CloseIdleConnections() // they are the former node's: an EOF would pass for a refusal
	other, err := bayeux.NewClient(w.server.URL+"/bayeux", bayeux.ClientConfig{HTTPClient: v.http, Transports: []string{bayeux.LongPolling}, Extensions: []bayeux.ClientExtension{v.keeper}, Logger: slog.New(slog.DiscardHandler)})
	must(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if err := other.Connect(ctx); err == nil || !strings.Contains(err.Error(), "403") {
		t.Errorf("connected in spite of the policy, or did not ask it: %v", err)
	}
	_ = other.Close(t.Context())
	if last := v.keeper.Last(); last.State == sessionext.StateRestored {
		t.Errorf("answered %+v", last)
	}
	// The set was not touched: it restores where its owner is welcome.
	w.move(nil)
	fresh := w.visitor(bayeux.LongPolling)
	fresh.http.Jar = v.http.Jar
	fresh.keeper.Put(held)
	fresh.client, err = bayeux.NewClient(w.server.URL+"/bayeux", bayeux.ClientConfig{HTTPClient: v.http, Transports: []string{bayeux.LongPolling}, Extensions: []bayeux.ClientExtension{fresh.keeper}, Logger: slog.New(slog.DiscardHandler)})
	must(t, err)
	defer fresh.client.Close(context.Background())
	fresh.connect().wait("restore", state(sessionext.StateRestored))
}

func TestPushChannelIsClosedToClients(t *testing.T) {
	w := newWorld(t)
	victim := w.visitor(bayeux.WebSocket).connect()
	before := victim.blobs(1)
	evil := w.visitor(bayeux.WebSocket).connect()
	err := evil.client.Publish(t.Context(), sessionext.Channel, map[string]any{"v": 1, "gen": "9.9", "end": true})
	if err == nil || !strings.Contains(err.Error(), "404") { // 403 would be the policy's, which a program may change
		t.Errorf("a client's publication on the push channel: %v", err)
	}
	if err := evil.client.Subscribe(t.Context(), "/**", func(*bayeux.Message) {}); err == nil {
		victim.do("/set?name=login&value=ada")
		victim.blobs(2)
	}
	if held, ok := evil.keeper.Held(); ok && held.Manifest == before.Manifest {
		t.Error("another visitor's set was received")
	}
}

func TestMalformedExtIsRefusedNotFatal(t *testing.T) {
	w := newWorld(t)
	for name, ext := range map[string]string{
		"a number":       `1`,
		"another v":      `{"v":2}`,
		"unknown member": `{"v":1,"x":1}`,
		"wrong case":     `{"V":1}`,
		"no attempt":     `{"v":1,"manifest":"a","blobs":{}}`,
		"bad attempt":    `{"v":1,"attempt":"??","manifest":"a","blobs":{"a":"b"}}`,
		"gen":            `{"v":1,"gen":"0.1"}`,
	} {
		v := w.visitor(bayeux.LongPolling)
		reply := handshake(t, v, ext)
		if reply.State != sessionext.StateRefused {
			t.Errorf("%s: %+v, want refused", name, reply)
		}
	}
}
