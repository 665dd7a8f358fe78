package faultproxy_test

import (
	"context"
	"crypto/rand"
	"errors"
	mathrand "math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/rueidis"
	"github.com/sealedblob/sealedblob/internal/faultproxy"
	"github.com/sealedblob/sealedblob/internal/services"
	"github.com/sealedblob/sealedblob/replay"
	"github.com/sealedblob/sealedblob/replay/pgstore"
	"github.com/sealedblob/sealedblob/replay/redisstore"
)

// patience is for how long a caller waits for what hangs. The stores' own time is
// longer: a loaded machine takes a while to connect.
const patience = 500 * time.Millisecond

// backend is a server with a store, and a network that fails before it.
type backend struct {
	proxy  *faultproxy.Proxy
	open   func(t *testing.T) replay.Store // through the proxy
	direct func(t *testing.T) replay.Store
}

var backends = map[string]func(*testing.T) backend{
	"redis":    redisBackend,
	"postgres": postgresBackend,
}

func redisBackend(t *testing.T) backend {
	server := services.SharedRedis(t)
	p := faultproxy.New(t, server.Addr, faultproxy.Redis())
	name := rand.Text()
	at := func(addr string) func(*testing.T) replay.Store {
		return func(t *testing.T) replay.Store {
			return opened(t, func() (replay.Store, error) {
				return redisstore.Open(t.Context(), redisstore.Config{Name: name, Client: rueidis.ClientOption{InitAddress: []string{addr}}})
			})
		}
	}
	return backend{p, at(p.Addr), at(server.Addr)}
}

func postgresBackend(t *testing.T) backend {
	server := services.Postgres(t)
	if err := pgstore.Migrate(t.Context(), server.DSN); err != nil {
		t.Fatal(err)
	}
	p := faultproxy.New(t, server.Addr, faultproxy.Postgres())
	at := func(addr string) func(*testing.T) replay.Store {
		return func(t *testing.T) replay.Store {
			return opened(t, func() (replay.Store, error) {
				return pgstore.Open(t.Context(), pgstore.Config{URL: strings.Replace(server.DSN, server.Addr, addr, 1)})
			})
		}
	}
	return backend{p, at(p.Addr), at(server.Addr)}
}

func opened(t *testing.T, open func() (replay.Store, error)) replay.Store {
	t.Helper()
	s, err := open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil && !errors.Is(err, replay.ErrClosed) {
			t.Error(err)
		}
	})
	return s
}

func newID() (id replay.ID) {
	copy(id[:], rand.Text())
	return id
}

func newOwner() (o replay.Owner) {
	copy(o[:], rand.Text())
	return o
}

// epochOf is a time at which everything may be issued.
func epochOf(t *testing.T, s replay.Store) time.Time {
	t.Helper()
	epoch, err := s.Epoch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return epoch
}

func newRight(issued time.Time) replay.Right {
	return replay.Right{ID: newID(), Issued: issued, KeepUntil: time.Now().Add(time.Hour)}
}

// contest is something that only one of those who try may have.
type contest func(ctx context.Context, s replay.Store, owner replay.Owner) (has bool, err error)

// contests makes one of each kind.
func contests(issued time.Time) map[string]contest {
	claimed, taken, burnt := newRight(issued), newRight(issued), newRight(issued)
	place := func() replay.Place {
		return replay.Place{Session: newID(), Version: replay.Version{Gen: 1}, KeepUntil: time.Now().Add(time.Hour)}
	}
	taker, old := place(), place()
	set := replay.RestoreRequest{Session: newID(), Issued: claimed.Issued, KeepUntil: claimed.KeepUntil, Burn: []replay.Burn{{Right: burnt, Required: true}}}
	return map[string]contest{
		"claim": func(ctx context.Context, s replay.Store, owner replay.Owner) (bool, error) {
			out, err := s.Claim(ctx, owner, claimed)
			return out.Granted(), err
		},
		"take": func(ctx context.Context, s replay.Store, owner replay.Owner) (bool, error) {
			_, out, err := s.Take(ctx, taker, owner, taken)
			return out.Granted(), err
		},
		"restore": func(ctx context.Context, s replay.Store, owner replay.Owner) (bool, error) {
			r := set
			r.Attempt = owner
			out, err := s.Restore(ctx, r)
			return out.Verdict == replay.Granted, err
		},
		"renew": func(ctx context.Context, s replay.Store, owner replay.Owner) (bool, error) {
			verdict, err := s.Renew(ctx, old, replay.ID(owner))
			return verdict == replay.Granted, err
		},
	}
}

// final says that an error is a refusal for good, which no network may cause.
func final(err error) bool {
	for _, refusal := range []error{replay.ErrReplayed, replay.ErrBeforeEpoch, replay.ErrBeyondHorizon, replay.ErrNoOwner, replay.ErrFull, replay.ErrClosed} {
		if errors.Is(err, refusal) {
			return true
		}
	}
	return false
}

// once lets a fault meet one request, the next.
func once(f faultproxy.Fault) faultproxy.Rule {
	met := false
	return func(faultproxy.Request) faultproxy.Fault {
		if met {
			return faultproxy.Fault{}
		}
		met = true
		return f
	}
}

// persist repeats what could not be told, as the contract says, and returns what is
// told at last.
func persist(t *testing.T, s replay.Store, c contest, owner replay.Owner) (has bool) {
	t.Helper()
	for limit := time.Now().Add(10 * time.Second); time.Now().Before(limit); time.Sleep(10 * time.Millisecond) {
		has, err := c(context.Background(), s, owner)
		switch {
		case err == nil:
			return has
		case has || final(err):
			t.Fatalf("has %v beside %v", has, err)
		}
	}
	t.Fatal("no answer in 10 s")
	return false
}

// One request meets a fault; then another owner tries over a good line, and at last
// the first again. Exactly one of them has it, and each fault leaves it to the one
// whom it must.
func TestOneFault(t *testing.T) {
	t.Parallel()
	kinds := map[string]struct {
		fault faultproxy.Fault
		first bool // the server carries it out before the other comes
		told  bool // and the answer arrives
	}{
		"delay":      {faultproxy.Fault{Delay: patience / 10}, true, true},
		"cut before": {faultproxy.Fault{Kind: faultproxy.CutBefore}, false, false},
		"cut within": {faultproxy.Fault{Kind: faultproxy.CutWithin}, false, false},
		"lose reply": {faultproxy.Fault{Kind: faultproxy.LoseReply}, true, false},
		"cut reply":  {faultproxy.Fault{Kind: faultproxy.CutReply}, true, false},
		"cut after":  {faultproxy.Fault{Kind: faultproxy.CutAfter}, true, true},
		"twice":      {faultproxy.Fault{Kind: faultproxy.Twice}, true, true},
		"hang":       {faultproxy.Fault{Kind: faultproxy.Hang}, false, false},
		"hang reply": {faultproxy.Fault{Kind: faultproxy.HangReply}, true, false},
	}
	for server, make := range backends {
		for name, want := range kinds {
			t.Run(server+"/"+name, func(t *testing.T) {
				t.Parallel()
				b := make(t)
				near, far := b.direct(t), b.open(t)
				issued := epochOf(t, near)
				for what, c := range contests(issued) {
					first, other := newOwner(), newOwner()
					_ = persist(t, far, contests(issued)["claim"], newOwner()) // the line is good
					b.proxy.Set(once(want.fault))
					began := time.Now()
					ctx, cancel := context.WithTimeout(t.Context(), patience)
					has, err := c(ctx, far, first)
					cancel()
					if took := time.Since(began); took > patience+5*time.Second {
						t.Errorf("%s: it took %v", what, took)
					}
					if has != want.told || (err == nil) != want.told || final(err) {
						t.Errorf("%s: the first has %v, %v; want told: %v", what, has, err, want.told)
					}
					otherHas := persist(t, near, c, other)
					b.proxy.Heal()
					firstHas := persist(t, far, c, first)
					if firstHas != want.first || otherHas == want.first {
						t.Errorf("%s: the first has %v, the other %v; want the first: %v", what, firstHas, otherHas, want.first)
					}
				}
			})
		}
	}
}

// 160 callers on two nodes, four for each of 40 contests, go on while the network
// fails, and repeat what they could not tell. Each call ends in time, all are
// answered soon after it is healed, each contest has one winner, who hears the same
// again, and no goroutine is left.
func TestManyCallers(t *testing.T) {
	each := func(f faultproxy.Fault) func(*faultproxy.Proxy) func() {
		return func(p *faultproxy.Proxy) func() {
			p.Set(func(faultproxy.Request) faultproxy.Fault { return f })
			return p.Heal
		}
	}
	for server, make := range backends {
		for name, trouble := range map[string]func(*faultproxy.Proxy) (end func()){
			"hang":       each(faultproxy.Fault{Kind: faultproxy.Hang}),
			"hang reply": each(faultproxy.Fault{Kind: faultproxy.HangReply}),
			"delay":      each(faultproxy.Fault{Delay: 50 * time.Millisecond}),
			"twice":      each(faultproxy.Fault{Kind: faultproxy.Twice}),
			"flap": func(p *faultproxy.Proxy) func() {
				return p.Flap(20*time.Millisecond, 20*time.Millisecond)
			},
			"storm": func(p *faultproxy.Proxy) func() {
				p.Set(storm(t))
				return p.Heal
			},
		} {
			t.Run(server+"/"+name, func(t *testing.T) { contend(t, make(t), trouble) })
		}
	}
}

// storm chooses among all faults for every third request.
func storm(t *testing.T) faultproxy.Rule {
	seed := mathrand.Uint64()
	t.Logf("seed %d", seed)
	random := mathrand.New(mathrand.NewPCG(seed, 0))
	return func(faultproxy.Request) faultproxy.Fault {
		if random.IntN(3) > 0 {
			return faultproxy.Fault{}
		}
		return faultproxy.Fault{Kind: faultproxy.Kind(random.IntN(int(faultproxy.HangReply) + 1)), Delay: time.Duration(random.IntN(5)) * time.Millisecond}
	}
}

func contend(t *testing.T, b backend, trouble func(*faultproxy.Proxy) func()) {
	before := runtime.NumGoroutine()
	nodes := []replay.Store{b.open(t), b.open(t)}
	guards := []*replay.Guard{replay.NewGuard(nodes[0], replay.GuardConfig{Timeout: patience}), replay.NewGuard(nodes[1], replay.GuardConfig{Timeout: patience})}
	issued := epochOf(t, nodes[0])
	end := trouble(b.proxy)
	var all sync.WaitGroup
	var unanswered, longest atomic.Int64
	winners := make([]map[string]*atomic.Int64, 10)
	for i := range winners {
		winners[i] = map[string]*atomic.Int64{}
		for what, c := range contests(issued) {
			winners[i][what] = new(atomic.Int64)
			all.Go(func() {
				var rivals sync.WaitGroup
				for n := range 4 {
					rivals.Go(func() {
						has, failed := stubborn(t, guards[n%2], c, newOwner(), &longest)
						unanswered.Add(int64(failed))
						if has {
							winners[i][what].Add(1)
						}
					})
				}
				rivals.Wait()
			})
		}
	}
	time.Sleep(patience + 100*time.Millisecond)
	end()
	healed := time.Now()
	all.Wait()
	t.Logf("%d calls could not tell; the longest took %v; all were answered %v after it was healed",
		unanswered.Load(), time.Duration(longest.Load()).Round(time.Millisecond), time.Since(healed).Round(time.Millisecond))
	if took := time.Since(healed); took > 20*time.Second { // a second, but for a loaded machine
		t.Errorf("they were answered after %v", took)
	}
	if took := time.Duration(longest.Load()); took > patience+5*time.Second {
		t.Errorf("a call took %v", took)
	}
	for i := range winners {
		for what, n := range winners[i] {
			if n.Load() != 1 {
				t.Errorf("%s %d has %d winners", what, i, n.Load())
			}
		}
	}
	for i := range nodes {
		if state := guards[i].Circuit(); state != replay.CircuitClosed {
			t.Errorf("node %d: the circuit is %v", i, state)
		}
		if err := guards[i].Close(); err != nil {
			t.Error(err)
		}
	}
	b.proxy.Down() // and its own goroutines end
	for limit := time.Now().Add(10 * time.Second); runtime.NumGoroutine() > before; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(limit) {
			stacks := make([]byte, 1<<20)
			t.Fatalf("%d goroutines, %d before: %s", runtime.NumGoroutine(), before, stacks[:runtime.Stack(stacks, true)])
		}
	}
}

// stubborn repeats what could not be told, and asks once more when it was told:
// the answer must stay. It counts the calls that could not tell.
func stubborn(t *testing.T, s replay.Store, c contest, owner replay.Owner, longest *atomic.Int64) (has bool, failed int) {
	ask := func() (bool, error) {
		began := time.Now()
		has, err := c(context.Background(), s, owner)
		for took := int64(time.Since(began)); ; {
			if was := longest.Load(); took <= was || longest.CompareAndSwap(was, took) {
				return has, err
			}
		}
	}
	told := 0
	for limit := time.Now().Add(time.Minute); time.Now().Before(limit); time.Sleep(20 * time.Millisecond) {
		now, err := ask()
		if err != nil {
			if now || final(err) {
				t.Errorf("has %v beside %v", now, err)
			}
			failed++
			continue
		}
		if told > 0 && now != has {
			t.Errorf("told %v and then %v", has, now)
		}
		if has, told = now, told+1; told == 2 {
			return has, failed
		}
	}
	t.Error("no answer in a minute")
	return has, failed
}
