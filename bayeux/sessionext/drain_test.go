package sessionext_test

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/cookiejar"
	"slices"
	"strconv"
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

var (
	drainSessions = flag.Int("drain.sessions", 60, "sessions of TestDrainUnderLoad")
	drainRestarts = flag.Int("drain.restarts", 6, "rolling restarts of TestDrainUnderLoad")
	drainPause    = flag.Duration("drain.pause", 200*time.Millisecond, "between two changes of a session, on average")
)

// fleet is two nodes that share keyring, policy and store, and the front before
// them: who has a connection keeps it, and a new one goes to the node that the
// guest was on, or to the other if that one is not ready.
type fleet struct {
	t      *testing.T
	ring   *seal.Ring
	policy *policy.Policy
	store  replay.Store
	hosts  [2]host
}

// host is one place for a node; the node in it is exchanged at a restart.
type host struct {
	mu      sync.Mutex
	address string
	ready   bool
	manager *session.Manager
	bayeux  *bayeux.Server
	server  *http.Server
	stop    context.CancelFunc
}

func newFleet(t *testing.T) *fleet {
	f := &fleet{
		t: t, ring: testkit.Ring(t), store: replay.NewMemory(replay.MemoryConfig{}),
		policy: testkit.Policy(t, `{"version":1,"session":{"idle":"30m","absolute":"12h"},"attributes":{"count":{},"cart":{"ttl":"1h"}}}`),
	}
	for i := range f.hosts {
		f.start(&f.hosts[i])
	}
	t.Cleanup(func() {
		for i := range f.hosts {
			f.end(&f.hosts[i])
		}
	})
	return f
}

// start puts a new node into h.
func (f *fleet) start(h *host) {
	f.t.Helper()
	m, err := session.New(f.t.Context(), session.Config{Keys: f.ring, Policy: f.policy, Store: f.store, App: "shop"})
	must(f.t, err)
	b, err := bayeux.NewServer(bayeux.Config{HandshakeSpread: 200 * time.Millisecond, Logger: slog.New(slog.DiscardHandler)})
	must(f.t, err)
	b.AddExtension(sessionext.New(m, nil))
	mux := http.NewServeMux()
	mux.Handle("/bayeux", b)
	mux.Handle("/bayeux/", b)
	mux.Handle("POST /count", m.Middleware(http.HandlerFunc(countTo)))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(f.t, err)
	server := &http.Server{Handler: mux, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)}
	ctx, cancel := context.WithCancel(context.Background())
	go m.Run(ctx)
	go func() { _ = server.Serve(l) }()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.address, h.ready, h.manager, h.bayeux, h.server, h.stop = l.Addr().String(), true, m, b, server, cancel
}

// end stops the node in h, as blobctl serve does after it has drained.
func (f *fleet) end(h *host) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_ = h.bayeux.Shutdown(ctx)
	_ = h.server.Shutdown(ctx)
	h.server.Close()
	h.stop()
}

// replace drains the node in h and puts another into its place when meanwhile is
// over.
func (f *fleet) replace(h *host, meanwhile func()) session.Drained {
	h.mu.Lock()
	h.ready = false
	h.mu.Unlock()
	ctx, cancel := context.WithTimeout(f.t.Context(), time.Minute)
	defer cancel()
	out := h.manager.Drain(ctx)
	f.end(h)
	meanwhile()
	f.start(h)
	return out
}

func (h *host) at() (address string, ready bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.address, h.ready
}

// countTo sets the count to n and answers with what it was: 0 for none.
func countTo(w http.ResponseWriter, r *http.Request) {
	s := session.FromContext(r.Context())
	n, err := strconv.Atoi(r.URL.Query().Get("n"))
	var was int
	if err == nil && n > 0 {
		if err = s.Get("count", &was); errors.Is(err, session.ErrNoAttribute) {
			err = nil
		}
		if err == nil {
			err = s.Set(r.Context(), "count", n)
		}
	} else if err == nil {
		err = s.Get("count", &was)
	}
	if err != nil {
		http.Error(w, "no", session.HTTPStatus(err))
		return
	}
	_ = json.NewEncoder(w).Encode(counted{s.ID().String(), was})
}

type counted struct {
	Session string
	Was     int
}

// guest is a visitor whose session changes all the time.
type guest struct {
	f       *fleet
	http    *http.Client
	keeper  *sessionext.Keeper
	client  *bayeux.Client
	on      atomic.Int32 // the host that the front last sent it to
	session string
	last    int   // what was acknowledged last
	unsure  []int // sent since, and not answered
	next    int
	longest time.Duration // from a first try to its success
	changes atomic.Int64
}

func (f *fleet) guest(i int) (*guest, error) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return nil, err
	}
	g := &guest{f: f, keeper: sessionext.NewKeeper()}
	g.on.Store(int32(i % len(f.hosts)))
	g.http = &http.Client{Jar: jar, Timeout: 20 * time.Second, Transport: &http.Transport{DialContext: g.dial}}
	transport := bayeux.WebSocket
	if i%8 == 7 {
		transport = bayeux.LongPolling
	}
	g.client, err = bayeux.NewClient("http://127.0.0.1:1/bayeux", bayeux.ClientConfig{ // the front decides where that is
		HTTPClient: g.http, Transports: []string{transport}, Extensions: []bayeux.ClientExtension{g.keeper},
		Backoff: 50 * time.Millisecond, MaxBackoff: time.Second, Logger: slog.New(slog.DiscardHandler),
	})
	return g, err
}

// dial is the front.
func (g *guest) dial(ctx context.Context, network, _ string) (net.Conn, error) {
	on := g.on.Load()
	if _, ready := g.f.hosts[on].at(); !ready {
		on = 1 - on
		g.on.Store(on)
	}
	address, _ := g.f.hosts[on].at()
	return new(net.Dialer).DialContext(ctx, network, address)
}

// begin makes the session and connects.
func (g *guest) begin(ctx context.Context) error {
	if err := g.change(ctx); err != nil {
		return err
	}
	for {
		err := g.client.Connect(ctx)
		if err == nil || ctx.Err() != nil {
			return err
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// change sets the next count, and checks that the one before is still there.
// What is refused is tried again, as pages do.
func (g *guest) change(ctx context.Context) error {
	began := time.Now()
	for {
		g.next++
		status, got, err := g.count(ctx, g.next)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			g.unsure = append(g.unsure, g.next) // perhaps it was done
		case status == http.StatusOK:
			if err := g.check(got); err != nil {
				return err
			}
			g.last, g.unsure = g.next, nil
			g.changes.Add(1)
			g.longest = max(g.longest, time.Since(began))
			return nil
		case status != http.StatusServiceUnavailable:
			return fmt.Errorf("answered %d", status)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// check says whether the session is the one it was.
func (g *guest) check(got counted) error {
	if g.session == "" {
		g.session = got.Session
	}
	if got.Session != g.session || got.Was != g.last && !slices.Contains(g.unsure, got.Was) {
		return fmt.Errorf("session %.6s counted %d, want %.6s and %d or one of %v", got.Session, got.Was, g.session, g.last, g.unsure)
	}
	return nil
}

// count asks for the count and, if n is above 0, sets it.
func (g *guest) count(ctx context.Context, n int) (status int, got counted, err error) {
	r, err := http.NewRequestWithContext(ctx, "POST", "http://127.0.0.1:1/count?n="+strconv.Itoa(n), nil)
	if err != nil {
		return 0, got, err
	}
	res, err := g.http.Do(r)
	if err != nil {
		return 0, got, err
	}
	defer res.Body.Close()
	if res.StatusCode == http.StatusOK {
		err = json.NewDecoder(res.Body).Decode(&got)
	}
	_, _ = io.Copy(io.Discard, res.Body)
	return res.StatusCode, got, err
}

// live changes the session until stop is closed, and then looks once more.
func (g *guest) live(ctx context.Context, stop <-chan struct{}) error {
	for {
		select {
		case <-stop:
			for {
				status, got, err := g.count(ctx, 0)
				if err == nil && status == http.StatusOK {
					return g.check(got)
				}
				if ctx.Err() != nil {
					return ctx.Err()
				}
				time.Sleep(20 * time.Millisecond)
			}
		case <-time.After(*drainPause/2 + rand.N(*drainPause)):
			if err := g.change(ctx); err != nil {
				return err
			}
		}
	}
}

// allChangeAgain waits until every session has changed since: all are on the
// node that is left.
func allChangeAgain(ctx context.Context, guests []*guest) {
	before := make([]int64, len(guests))
	for i, g := range guests {
		before[i] = g.changes.Load()
	}
	for i, g := range guests {
		for g.changes.Load() == before[i] && ctx.Err() == nil {
			time.Sleep(5 * time.Millisecond)
		}
	}
}

// A deploy loses no session: two nodes are drained and replaced in turn, while
// every session changes all the time, and what was answered last is always
// there. make drain runs it with 1,000 sessions and 20 restarts.
func TestDrainUnderLoad(t *testing.T) {
	began := time.Now()
	f := newFleet(t)
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	guests, lost := make([]*guest, *drainSessions), make([]error, *drainSessions)
	stop := make(chan struct{})
	var ready, over sync.WaitGroup
	for i := range guests {
		g, err := f.guest(i)
		must(t, err)
		guests[i] = g
		ready.Add(1)
		over.Go(func() {
			err := g.begin(ctx)
			ready.Done()
			if err == nil {
				err = g.live(ctx, stop)
			}
			if lost[i] = err; err != nil {
				cancel() // one is enough
			}
		})
	}
	ready.Wait()
	started := time.Now()
	var moves, unacknowledged int
	for i := range *drainRestarts {
		out := f.replace(&f.hosts[i%len(f.hosts)], func() { allChangeAgain(ctx, guests) })
		moves, unacknowledged = moves+out.Sessions, unacknowledged+len(out.Unacknowledged)
	}
	restarted := time.Now()
	close(stop)
	over.Wait()
	changes, longest := 0, time.Duration(0)
	for i, g := range guests {
		if lost[i] != nil && !errors.Is(lost[i], context.Canceled) {
			t.Errorf("session %d: %v", i, lost[i])
		}
		changes, longest = changes+int(g.changes.Load()), max(longest, g.longest)
	}
	if unacknowledged > 0 || moves < *drainSessions*(*drainRestarts-1) {
		t.Errorf("%d sessions left with their newest set, %d without", moves, unacknowledged)
	}
	farewell(guests)
	if t.Failed() {
		return
	}
	t.Logf("%d sessions, %d restarts: %d moves and %d changes, none lost; a change took %v at most. Start %v, restarts %v, all %v",
		*drainSessions, *drainRestarts, moves, changes, longest.Round(time.Millisecond), started.Sub(began).Round(time.Millisecond), restarted.Sub(started).Round(time.Millisecond), time.Since(began).Round(time.Millisecond))
}

func farewell(guests []*guest) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	var over sync.WaitGroup
	for _, g := range guests {
		over.Go(func() { _ = g.client.Close(ctx); g.http.CloseIdleConnections() })
	}
	over.Wait()
}
