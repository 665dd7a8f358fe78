package redisstore

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/sealedblob/sealedblob/internal/services"
	"github.com/sealedblob/sealedblob/replay"
)

// A server that forgot: nothing is granted there, and to nodes that come or live on
// everything older is before the epoch.
func TestEmptied(t *testing.T) {
	for name, empty := range map[string]func(s *services.Server){
		"FLUSHALL": func(s *services.Server) { s.Redis("FLUSHALL") },
		"FLUSHDB":  func(s *services.Server) { s.Redis("FLUSHDB") },
		"memory":   func(s *services.Server) { s.Redis("DEL", "sb:{test}:meta") },
		"fresh":    func(s *services.Server) { s.Stop(); s.Start() }, // it keeps nothing
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server, living := fresh(t)
			right := newRight(living)
			expect(t, living, newOwner(), right, replay.Won, nil)
			nextSecond(living)
			empty(server)
			expectSoonErr(t, living, right, ErrGone)
			expect(t, living, newOwner(), right, replay.Lost, ErrGone)
			if v, err := living.Protect(context.Background(), placeOf(newID())); v != replay.Refused || !errors.Is(err, ErrGone) {
				t.Fatalf("Protect = %v, %v", v, err)
			}
			if _, err := living.Spent(context.Background(), right.ID); !errors.Is(err, ErrGone) {
				t.Fatalf("Spent = %v", err)
			}
			if n := said(server, "EXISTS", "sb:{test}:meta"); n != "0" {
				t.Fatalf("a node that lives on made a store")
			}
			for _, s := range []*Store{mustOpen(t, configOf(server.Addr, "test")), living} {
				expectSoon(t, s, newOwner(), right, replay.Lost, replay.ErrBeforeEpoch)
				expectSoon(t, s, newOwner(), newRight(s), replay.Won, nil)
			}
		})
	}
}

// A server that was started again may have lost what it acknowledged: unless told
// otherwise by name, everything older is refused, though it is still there.
func TestRestarted(t *testing.T) {
	for _, keep := range []bool{false, true} {
		t.Run(map[bool]string{false: "by default", true: "KeepOnRestart"}[keep], func(t *testing.T) {
			t.Parallel()
			server := services.Redis(t, services.Durable()...)
			cfg := configOf(server.Addr, "test")
			cfg.KeepOnRestart = keep
			living := mustOpen(t, cfg)
			owner, right := newOwner(), newRight(living)
			expect(t, living, owner, right, replay.Won, nil)
			server.Kill()
			server.Start()
			rejoin(t, living)
			for _, s := range []*Store{living, mustOpen(t, cfg)} {
				if keep {
					expectSoon(t, s, newOwner(), right, replay.Lost, nil)
					expectSoon(t, s, owner, right, replay.Mine, nil)
				} else {
					expectSoon(t, s, newOwner(), right, replay.Lost, replay.ErrBeforeEpoch)
				}
				expectSoon(t, s, newOwner(), newRight(s), replay.Won, nil)
			}
		})
	}
}

// Where others made their scripts known to the server that was started again, or just
// the ones for the server before, a node does not take it for that one.
func TestRestartedAndInUse(t *testing.T) {
	for name, use := range map[string]func(t *testing.T, addr string, former serverInfo){
		"another store": func(t *testing.T, addr string, _ serverInfo) { mustOpen(t, configOf(addr, "another")) },
		"former scripts": func(t *testing.T, addr string, former serverInfo) {
			late := mustOpen(t, configOf(addr, "another"))
			late.meta = "sb:{test}:meta"
			loadFor(t, late, former)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server, living := fresh(t, services.Durable()...)
			former, right := living.server.Load().info, newRight(living)
			expect(t, living, newOwner(), right, replay.Won, nil)
			server.Kill()
			server.Start()
			use(t, server.Addr, former)
			expectSoon(t, living, newOwner(), right, replay.Lost, replay.ErrBeforeEpoch)
		})
	}
}

// loadFor makes the scripts for another server known to this one.
func loadFor(t *testing.T, s *Store, other serverInfo) {
	t.Helper()
	for _, text := range s.scripts {
		r := s.eval(t.Context(), s.textFor(other, text), question{operation: "load"})
		if strings.Contains(text, "@RUN@") && !errors.Is(r.err, errOtherServer) {
			t.Fatalf("load for another run = %v", r.err)
		}
	}
}

// A server that is replaced while it is checked.
func TestReplacedInBetween(t *testing.T) {
	t.Parallel()
	redis, s := fresh(t)
	present := s.server.Load().info
	other := strings.Repeat("a", 40)
	for _, mode := range []string{"join", "raise", "make"} {
		for _, former := range []serverInfo{{run: other, replid: present.replid}, {run: present.run, replid: other}} {
			if _, _, _, err := s.present(t.Context(), &server{info: former}, mode); !errors.Is(err, errOtherServer) {
				t.Errorf("%s at another server = %v", mode, err)
			}
		}
	}
	right := newRight(s)
	expect(t, s, newOwner(), right, replay.Won, nil)
	loadFor(t, s, serverInfo{run: other, replid: present.replid})
	expect(t, s, newOwner(), right, replay.Lost, replay.ErrBeforeEpoch)
	redis.Redis("FLUSHALL")
	loadFor(t, s, serverInfo{run: other, replid: present.replid})
	if n := said(redis, "DBSIZE"); n != "0" {
		t.Errorf("load made %s keys", n)
	}
}

func TestRaiseEpoch(t *testing.T) {
	t.Parallel()
	server, s := fresh(t)
	other := mustOpen(t, configOf(server.Addr, "test"))
	first, err := s.Epoch(t.Context())
	must(t, err)
	right := newRight(s)
	expect(t, s, newOwner(), right, replay.Won, nil)
	must(t, s.RaiseEpoch(t.Context()))
	for _, s := range []*Store{s, other} {
		if epoch, err := s.Epoch(t.Context()); err != nil || !epoch.After(first) {
			t.Errorf("Epoch = %v, %v, first %v", epoch, err, first)
		}
		expect(t, s, newOwner(), right, replay.Lost, replay.ErrBeforeEpoch)
		expect(t, s, newOwner(), newRight(s), replay.Won, nil)
	}
	server.Redis("HSET", "sb:{test}:meta", "epoch", "9000000000") // what is granted may be dated so
	must(t, s.RaiseEpoch(t.Context()))
	if epoch, err := s.Epoch(t.Context()); err != nil || epoch.Unix() != 9000000001 {
		t.Errorf("Epoch = %v, %v", epoch, err)
	}
	server.Redis("FLUSHALL")
	must(t, s.RaiseEpoch(t.Context())) // makes one
	expect(t, s, newOwner(), right, replay.Lost, replay.ErrBeforeEpoch)
	if said(server, "HGET", "sb:{test}:meta", "version") != "1" {
		t.Error("RaiseEpoch made no store")
	}
	server.Redis("HSET", "sb:{test}:meta", "version", "2", "era", "x")
	expect(t, s, newOwner(), newRight(s), replay.Lost, errVersion)
}

// The clock of a server that comes up again may be behind what its nodes have seen.
func TestEpochIsAfterWhatWasAnswered(t *testing.T) {
	t.Parallel()
	server := services.Redis(t)
	s := skewed(t, configOf(server.Addr, "test"))
	skew(server, 500)
	ahead := newRight(s)
	ahead.Issued = time.Now().Add(504 * time.Second)
	expect(t, s, newOwner(), ahead, replay.Won, nil)
	server.Stop()
	server.Start()
	eventually(t, func() bool { return s.RaiseEpoch(context.Background()) == nil })
	expectSoon(t, s, newOwner(), ahead, replay.Lost, replay.ErrBeforeEpoch)
}

// Another's new store whose epoch is not after all that was answered, as on a server
// whose clock is behind, gets one that is, and both nodes go on.
func TestBehindEpochIsRaised(t *testing.T) {
	t.Parallel()
	server := services.Redis(t)
	s := skewed(t, configOf(server.Addr, "test"))
	skew(server, 500)
	expect(t, s, newOwner(), newRight(s), replay.Won, nil)
	right := newRight(s)
	right.Issued = time.Now().Add(504 * time.Second)
	expect(t, s, newOwner(), right, replay.Won, nil)
	server.Redis("FLUSHALL")
	other := mustOpen(t, configOf(server.Addr, "test"))
	expect(t, s, newOwner(), right, replay.Lost, replay.ErrBeforeEpoch)
	for _, s := range []*Store{s, other} {
		epoch, err := s.Epoch(t.Context())
		if err != nil || epoch.Before(time.Now().Add(500*time.Second)) {
			t.Errorf("Epoch = %v, %v", epoch, err)
		}
		expect(t, s, newOwner(), newRight(s), replay.Won, nil)
	}
}

// A tool that does not know how the nodes are set up begins no epoch where they would.
func TestTend(t *testing.T) {
	t.Parallel()
	server := services.Redis(t, services.Durable()...)
	tend := configOf(server.Addr, "test")
	tend.Tend = true
	if _, err := Open(t.Context(), tend); !errors.Is(err, ErrGone) {
		t.Errorf("Open where there is no store = %v", err)
	}
	cfg := configOf(server.Addr, "test")
	cfg.KeepOnRestart = true
	node := mustOpen(t, cfg)
	owner, right := newOwner(), newRight(node)
	expect(t, node, owner, right, replay.Won, nil)
	must(t, mustOpen(t, tend).Purge(t.Context()))
	must(t, node.Close())
	server.Kill()
	server.Start()
	if _, err := Open(t.Context(), tend); !errors.Is(err, errAgain) || isFinal(err) {
		t.Errorf("Open after a restart = %v", err)
	}
	node = mustOpen(t, cfg)
	expect(t, node, owner, right, replay.Mine, nil)
	must(t, mustOpen(t, tend).Purge(t.Context()))
	expect(t, node, owner, right, replay.Mine, nil)
}

// While the append-only file was off nothing was kept: what was answered then is
// refused, once the file is whole again.
func TestAppendOnlyOff(t *testing.T) {
	t.Parallel()
	server := services.Redis(t, services.Durable()...)
	cfg := configOf(server.Addr, "test")
	cfg.KeepOnRestart = true
	node := mustOpen(t, cfg)
	server.Redis("CONFIG", "SET", "appendonly", "no")
	right := newRight(node)
	expect(t, node, newOwner(), right, replay.Won, nil)
	node.recheck()
	expect(t, node, newOwner(), newRight(node), replay.Lost, ErrUnfit)
	server.Redis("CONFIG", "SET", "appendonly", "yes")
	expectSoon(t, node, newOwner(), right, replay.Lost, replay.ErrBeforeEpoch)
	expect(t, node, newOwner(), newRight(node), replay.Won, nil)
	if said(server, "HGET", node.meta, "unsynced") != "" {
		t.Error("it is still noted")
	}
}

// But it is joined at any later time.
func TestNewEpochIsJoinedLater(t *testing.T) {
	t.Parallel()
	server := services.Redis(t)
	s := skewed(t, configOf(server.Addr, "test"))
	right := newRight(s)
	expect(t, s, newOwner(), right, replay.Won, nil)
	nextSecond(s)
	server.Redis("FLUSHALL")
	mustOpen(t, configOf(server.Addr, "test"))
	skew(server, 60)
	expect(t, s, newOwner(), right, replay.Lost, replay.ErrBeforeEpoch)
	expect(t, s, newOwner(), newRight(s), replay.Won, nil)
}
