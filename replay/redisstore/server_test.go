package redisstore

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sealedblob/sealedblob/internal/services"
	"github.com/sealedblob/sealedblob/replay"
)

// issuedNow is a right of this second.
func issuedNow() replay.Right {
	r := newRight()
	r.Issued = time.Now()
	return r
}

func said(s *services.Server, command ...string) string {
	return strings.TrimSpace(s.Redis(command...))
}

// expect claims r and expects an outcome or an error.
func expect(t *testing.T, s *Store, owner replay.Owner, r replay.Right, want replay.Outcome, wantErr error) {
	t.Helper()
	if got, err := s.Claim(context.Background(), owner, r); got != want || !errors.Is(err, wantErr) {
		t.Fatalf("Claim = %v, %v, want %v, %v", got, err, want, wantErr)
	}
}

// expectSoon is expect of a server that came up again, after the errors of former
// connections.
func expectSoon(t *testing.T, s *Store, owner replay.Owner, r replay.Right, want replay.Outcome, wantErr error) {
	t.Helper()
	var got replay.Outcome
	var err error
	eventually(t, func() bool {
		got, err = s.Claim(context.Background(), owner, r)
		return err == nil || isFinal(err)
	})
	if got != want || !errors.Is(err, wantErr) {
		t.Fatalf("Claim = %v, %v, want %v, %v", got, err, want, wantErr)
	}
}

// afterEpoch waits until what is issued now is after the epoch.
func afterEpoch(t *testing.T, s *Store) {
	t.Helper()
	var epoch time.Time
	eventually(t, func() bool {
		var err error
		epoch, err = s.Epoch(context.Background())
		return err == nil
	})
	time.Sleep(time.Until(epoch))
}

// A server that forgot: nothing is granted there, and to nodes that come or live on
// everything older is before the epoch.
func TestEmptied(t *testing.T) {
	for name, empty := range map[string]func(s *services.Server){
		"FLUSHALL": func(s *services.Server) { s.Redis("FLUSHALL") },
		"FLUSHDB":  func(s *services.Server) { s.Redis("FLUSHDB") },
		"sentinel": func(s *services.Server) { s.Redis("DEL", "sb:{test}:meta") },
		"fresh":    func(s *services.Server) { s.Stop(); s.Start() }, // it keeps nothing
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := services.Redis(t)
			living := mustOpen(t, configOf(server.Addr, "test"))
			afterEpoch(t, living)
			owner, right := newOwner(), issuedNow()
			expect(t, living, owner, right, replay.Won, nil)
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
				expectSoon(t, s, newOwner(), newRight(), replay.Won, nil)
			}
		})
	}
}

// expectSoonErr waits for an error of a claim.
func expectSoonErr(t *testing.T, s *Store, r replay.Right, want error) {
	t.Helper()
	var got replay.Outcome
	var err error
	for end := time.Now().Add(20 * time.Second); !errors.Is(err, want); time.Sleep(20 * time.Millisecond) {
		if got, err = s.Claim(context.Background(), newOwner(), r); time.Now().After(end) {
			t.Fatalf("Claim = %v, %v, want soon %v", got, err, want)
		}
	}
}

// eventually waits for a server that comes up again.
func eventually(t *testing.T, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it did not come about in 20 s")
		}
	}
}

func newID() (id replay.ID) {
	rand.Read(id[:])
	return id
}

func placeOf(session replay.ID) replay.Place {
	return replay.Place{Session: session, Version: replay.Version{Gen: 1}, KeepUntil: time.Now().Add(time.Hour)}
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
			afterEpoch(t, living)
			owner, right := newOwner(), issuedNow()
			expect(t, living, owner, right, replay.Won, nil)
			server.Kill()
			server.Start()
			eventually(t, func() bool {
				_, err := living.Spent(context.Background(), right.ID)
				return err == nil
			})
			for _, s := range []*Store{living, mustOpen(t, cfg)} {
				if keep {
					expectSoon(t, s, newOwner(), right, replay.Lost, nil)
					expectSoon(t, s, owner, right, replay.Mine, nil)
				} else {
					expectSoon(t, s, newOwner(), right, replay.Lost, replay.ErrBeforeEpoch)
				}
				expectSoon(t, s, newOwner(), newRight(), replay.Won, nil)
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
			server := services.Redis(t, services.Durable()...)
			living := mustOpen(t, configOf(server.Addr, "test"))
			afterEpoch(t, living)
			former, right := living.server.Load().info, issuedNow()
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
	redis := services.Redis(t)
	s := mustOpen(t, configOf(redis.Addr, "test"))
	present := s.server.Load().info
	other := strings.Repeat("a", 40)
	for _, mode := range []string{"join", "raise", "make"} {
		for _, former := range []serverInfo{{run: other, replid: present.replid}, {run: present.run, replid: other}} {
			if _, _, _, err := s.present(t.Context(), &server{info: former}, mode); !errors.Is(err, errOtherServer) {
				t.Errorf("%s at another server = %v", mode, err)
			}
		}
	}
	afterEpoch(t, s)
	right := issuedNow()
	expect(t, s, newOwner(), right, replay.Won, nil)
	loadFor(t, s, serverInfo{run: other, replid: present.replid})
	expect(t, s, newOwner(), right, replay.Lost, replay.ErrBeforeEpoch)
	redis.Redis("FLUSHALL")
	loadFor(t, s, serverInfo{run: other, replid: present.replid})
	if n := said(redis, "DBSIZE"); n != "0" {
		t.Errorf("load made %s keys", n)
	}
}

// Older data put back is found out by the new run, or else by the nodes that live on.
func TestPutBack(t *testing.T) {
	for _, keep := range []bool{false, true} {
		t.Run(map[bool]string{false: "by default", true: "KeepOnRestart"}[keep], func(t *testing.T) {
			t.Parallel()
			server := services.Redis(t, services.Durable()...)
			cfg := configOf(server.Addr, "test")
			cfg.KeepOnRestart = keep
			living := mustOpen(t, cfg)
			afterEpoch(t, living)
			expect(t, living, newOwner(), issuedNow(), replay.Won, nil)
			server.Stop()
			old := server.Save()
			server.Start()
			afterEpoch(t, living)
			right := issuedNow()
			expectSoon(t, living, newOwner(), right, replay.Won, nil)
			server.Stop()
			server.PutBack(old)
			server.Start()
			if keep {
				expectSoonErr(t, living, right, ErrWentBack)
				expect(t, living, newOwner(), right, replay.Lost, ErrWentBack)
				started := mustOpen(t, cfg) // can't tell, and writes more than was lost
				for range 9 {
					expect(t, started, newOwner(), newRight(), replay.Won, nil)
				}
				expect(t, living, newOwner(), right, replay.Lost, ErrWentBack)
				server.Stop() // another run, that the former is the last of
				server.Start()
				expectSoon(t, started, newOwner(), newRight(), replay.Won, nil)
				expectSoonErr(t, living, right, ErrWentBack)
				expect(t, living, newOwner(), right, replay.Lost, ErrWentBack)
				must(t, started.RaiseEpoch(context.Background()))
			}
			eventually(t, func() bool {
				_, err := living.Spent(context.Background(), right.ID)
				return err == nil
			})
			for _, s := range []*Store{living, mustOpen(t, cfg)} {
				expectSoon(t, s, newOwner(), right, replay.Lost, replay.ErrBeforeEpoch)
				expectSoon(t, s, newOwner(), newRight(), replay.Won, nil)
			}
		})
	}
}

// A node refuses where a server since the one that it saw last found less than it had seen, though
// there is more by now; and where it can't tell, since the history of an era has 32 servers.
func TestHistory(t *testing.T) {
	for name, c := range map[string]struct {
		since string
		want  error
	}{
		"more":       {strings.Repeat("abc:9000 ", 30), nil},
		"less":       {"abc:9000 abc:3 abc:9000 ", ErrWentBack},
		"33 servers": {strings.Repeat("abc:9000 ", 31), ErrWentBack},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := services.Redis(t, services.Durable()...)
			cfg := configOf(server.Addr, "test")
			cfg.KeepOnRestart = true
			living := mustOpen(t, cfg)
			for range 5 {
				expect(t, living, newOwner(), newRight(), replay.Won, nil)
			}
			server.Redis("HSET", living.meta, "seq", "9000", "began", living.known.Load().replid+":1 "+c.since)
			server.Stop()
			server.Start()
			mustOpen(t, cfg)
			if n := strings.Count(server.Redis("HGET", living.meta, "began"), ":"); n > 32 {
				t.Errorf("the history has %d servers", n)
			}
			var err error
			eventually(t, func() bool {
				_, err = living.Epoch(context.Background())
				return err == nil || errors.Is(err, ErrWentBack)
			})
			if !errors.Is(err, c.want) {
				t.Errorf("Epoch = %v, want %v", err, c.want)
			}
		})
	}
}

// Older data put back into a server that runs, key by key, and another store under
// the name with an epoch that vouches for nothing.
func TestReplaced(t *testing.T) {
	t.Parallel()
	server := services.Redis(t)
	living := mustOpen(t, configOf(server.Addr, "test"))
	seq := said(server, "HGET", "sb:{test}:meta", "seq")
	afterEpoch(t, living)
	right := issuedNow()
	expect(t, living, newOwner(), right, replay.Won, nil)
	server.Redis("DEL", "sb:{test}:r:"+string(right.ID[:]))
	server.Redis("HSET", "sb:{test}:meta", "seq", seq)
	expect(t, living, newOwner(), right, replay.Lost, ErrWentBack)
	server.Redis("HSET", "sb:{test}:meta", "era", "another", "seq", "1000", "epoch", "1")
	expect(t, living, newOwner(), right, replay.Lost, ErrWentBack)
	must(t, living.RaiseEpoch(context.Background()))
	expect(t, living, newOwner(), right, replay.Lost, replay.ErrBeforeEpoch)
	expect(t, living, newOwner(), newRight(), replay.Won, nil)
}

func TestRaiseEpoch(t *testing.T) {
	t.Parallel()
	server := services.Redis(t)
	s := mustOpen(t, configOf(server.Addr, "test"))
	other := mustOpen(t, configOf(server.Addr, "test"))
	afterEpoch(t, s)
	first, err := s.Epoch(t.Context())
	must(t, err)
	right, kept := issuedNow(), newRight()
	expect(t, s, newOwner(), kept, replay.Won, nil)
	must(t, s.RaiseEpoch(t.Context()))
	for _, s := range []*Store{s, other} {
		if epoch, err := s.Epoch(t.Context()); err != nil || !epoch.After(first) {
			t.Errorf("Epoch = %v, %v, first %v", epoch, err, first)
		}
		expect(t, s, newOwner(), right, replay.Lost, replay.ErrBeforeEpoch)
		expect(t, s, newOwner(), kept, replay.Lost, nil)
	}
	server.Redis("HSET", "sb:{test}:meta", "epoch", "9000000000") // what was issued in its first second lies at it
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
	expect(t, s, newOwner(), newRight(), replay.Lost, errVersion)
}

// The clock of a server that comes up again may be behind what its nodes have seen.
func TestEpochIsAfterWhatWasAnswered(t *testing.T) {
	t.Parallel()
	server := services.Redis(t)
	s, err := open(t.Context(), configOf(server.Addr, "test"), bent("skew"))
	must(t, err)
	defer s.Close()
	server.Redis("SET", "skew", "500")
	ahead := newRight()
	ahead.Issued = time.Now().Add(400 * time.Second)
	expect(t, s, newOwner(), ahead, replay.Won, nil)
	server.Stop()
	server.Start()
	eventually(t, func() bool { return s.RaiseEpoch(context.Background()) == nil })
	expectSoon(t, s, newOwner(), ahead, replay.Lost, replay.ErrBeforeEpoch)
}

// Another's new store is not joined if its epoch is not after all that was answered.
func TestBehindEpochIsNotJoined(t *testing.T) {
	t.Parallel()
	server := services.Redis(t)
	s, err := open(t.Context(), configOf(server.Addr, "test"), bent("skew"))
	must(t, err)
	defer s.Close()
	server.Redis("SET", "skew", "500")
	expect(t, s, newOwner(), newRight(), replay.Won, nil)
	server.Redis("FLUSHALL")
	mustOpen(t, configOf(server.Addr, "test"))
	expect(t, s, newOwner(), newRight(), replay.Lost, ErrWentBack)
}

// But it is joined at any later time.
func TestNewEpochIsJoinedLater(t *testing.T) {
	t.Parallel()
	server := services.Redis(t)
	s, err := open(t.Context(), configOf(server.Addr, "test"), bent("skew"))
	must(t, err)
	defer s.Close()
	right := newRight()
	right.Issued = time.Now()
	expect(t, s, newOwner(), newRight(), replay.Won, nil)
	server.Redis("FLUSHALL")
	mustOpen(t, configOf(server.Addr, "test"))
	server.Redis("SET", "skew", "60")
	expect(t, s, newOwner(), right, replay.Lost, replay.ErrBeforeEpoch)
	expect(t, s, newOwner(), newRight(), replay.Won, nil)
}

func openFails(t *testing.T, cfg Config, reason string) {
	t.Helper()
	s, err := Open(context.Background(), cfg)
	if err == nil {
		s.Close()
	}
	if !errors.Is(err, ErrUnfit) || !strings.Contains(err.Error(), reason) {
		t.Errorf("Open = %v, want unfit: %s", err, reason)
	}
}

func TestUnfit(t *testing.T) {
	t.Parallel()
	for _, policy := range []string{"allkeys-lru", "volatile-ttl", "allkeys-random", "volatile-lfu"} {
		openFails(t, configOf(services.Redis(t, "--maxmemory-policy", policy).Addr, "test"), policy)
	}
	server := services.Redis(t)
	openFails(t, configOf(services.RedisReplica(t, server).Addr, "test"), "slave")
	keep := configOf(server.Addr, "test")
	keep.KeepOnRestart = true
	openFails(t, keep, "appendonly")
	keep.Client.InitAddress = []string{services.Redis(t, "--appendonly", "yes", "--appendfsync", "everysec").Addr}
	openFails(t, keep, "everysec")
	rewrite := append(services.Durable(), "--no-appendfsync-on-rewrite", "yes")
	keep.Client.InitAddress = []string{services.Redis(t, rewrite...).Addr}
	openFails(t, keep, "no-appendfsync-on-rewrite")
	if n := said(server, "DBSIZE"); n != "0" {
		t.Errorf("refused, and %s keys", n)
	}
}

func TestPromise(t *testing.T) {
	t.Parallel()
	web := append(web(t), "-config")
	for _, c := range []struct {
		options     []string
		keep, asWeb bool
		want        []string
	}{
		{nil, false, false, []string{"memory alone", "is refused"}},
		{services.Durable(), false, false, []string{"synced before each answer", "is refused"}},
		{services.Durable(), true, false, []string{"synced before each answer", "KeepOnRestart"}},
		{services.Durable(), true, true, []string{"may not see", "KeepOnRestart"}},
		{[]string{"--appendonly", "yes"}, false, false, []string{"not synced before", "is refused"}},
		{append(services.Durable(), "--no-appendfsync-on-rewrite", "yes"), false, false, []string{"not synced before", "is refused"}},
	} {
		server := services.Redis(t, c.options...)
		cfg := configOf(server.Addr, "")
		cfg.KeepOnRestart, cfg.LeavePurge = c.keep, true
		if c.asWeb {
			server.Redis(web...)
			cfg.Client.Username, cfg.Client.Password = "web", "secret"
		}
		got := mustOpen(t, cfg).Promise()
		for _, want := range c.want {
			if !strings.Contains(got, want) {
				t.Errorf("%v: %q, want %q in it", c, got, want)
			}
		}
	}
}

func TestOldServer(t *testing.T) {
	text := services.Redis(t).Redis("INFO")
	old := strings.Replace(text, "redis_version:7", "redis_version:6", 1)
	for _, c := range []struct {
		text string
		fit  bool
	}{{text, true}, {old, false}, {strings.ReplaceAll(text, "redis_version:", "x:"), false}, {strings.ReplaceAll(text, "run_id:", "run_id:x"), false}, {strings.ReplaceAll(text, "master_replid:", "x:"), false}, {"", false}} {
		i, err := parseInfo(c.text)
		if err == nil {
			err = i.fit()
		}
		if c.fit != (err == nil) || err != nil && !errors.Is(err, ErrUnfit) {
			t.Errorf("%.40q…: %v, want fit = %v", c.text, err, c.fit)
		}
	}
}

// What was right when the store was opened is looked at again.
func TestUnfitLater(t *testing.T) {
	t.Parallel()
	server := services.Redis(t)
	s := mustOpen(t, configOf(server.Addr, "test"))
	server.Redis("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
	s.recheck()
	expect(t, s, newOwner(), newRight(), replay.Lost, ErrUnfit)
	server.Redis("CONFIG", "SET", "maxmemory-policy", "noeviction")
	expect(t, s, newOwner(), newRight(), replay.Won, nil)
}

// What was evicted, though it was something else here, may have been a record.
func TestEvicted(t *testing.T) {
	t.Parallel()
	server := services.Redis(t)
	cfg := configOf(server.Addr, "test")
	s := mustOpen(t, cfg)
	afterEpoch(t, s)
	right := issuedNow()
	expect(t, s, newOwner(), right, replay.Won, nil)
	evict(t, server)
	mustOpen(t, cfg)
	expect(t, s, newOwner(), right, replay.Lost, replay.ErrBeforeEpoch)
}

// evict makes the server evict something, while no node looks.
func evict(t *testing.T, server *services.Server) {
	t.Helper()
	server.Redis("CONFIG", "SET", "maxmemory-policy", "volatile-ttl")
	server.Redis("SET", "victim", "x", "EX", "100")
	server.Redis("CONFIG", "SET", "maxmemory", "1")
	eventually(t, func() bool { return said(server, "EXISTS", "victim") == "0" })
	server.Redis("CONFIG", "SET", "maxmemory", "0")
	server.Redis("CONFIG", "SET", "maxmemory-policy", "noeviction")
}

// After CONFIG RESETSTAT the number is lower than noted, whatever was evicted since.
func TestEvictedAndReset(t *testing.T) {
	t.Parallel()
	server := services.Redis(t)
	cfg := configOf(server.Addr, "test")
	evict(t, server)
	evict(t, server)
	s := mustOpen(t, cfg)
	afterEpoch(t, s)
	right := issuedNow()
	expect(t, s, newOwner(), right, replay.Won, nil)
	server.Redis("CONFIG", "RESETSTAT")
	evict(t, server)
	mustOpen(t, cfg)
	expect(t, s, newOwner(), right, replay.Lost, replay.ErrBeforeEpoch)
}

// A master that became a replica, and a master again, may have lost all it had.
func TestDemoted(t *testing.T) {
	t.Parallel()
	server := services.Redis(t)
	cfg := configOf(server.Addr, "test")
	s := mustOpen(t, cfg)
	afterEpoch(t, s)
	owner, right := newOwner(), issuedNow()
	expect(t, s, owner, right, replay.Won, nil)
	server.Redis("REPLICAOF", "127.0.0.1", "1")
	if _, err := s.Spent(t.Context(), right.ID); err == nil || isFinal(err) {
		t.Fatalf("Spent from a replica = %v", err)
	}
	if o, err := s.Claim(t.Context(), newOwner(), newRight()); o.Granted() || err == nil || isFinal(err) {
		t.Fatalf("Claim from a replica = %v, %v", o, err)
	}
	expect(t, s, newOwner(), right, replay.Lost, ErrUnfit)
	server.Redis("REPLICAOF", "NO", "ONE")
	expect(t, s, owner, right, replay.Lost, replay.ErrBeforeEpoch)
}

// A replica without a node's knowledge takes over: what it may lack is refused.
func TestPromoted(t *testing.T) {
	t.Parallel()
	server := services.Redis(t)
	replica := services.RedisReplica(t, server)
	s := mustOpen(t, configOf(server.Addr, "test"))
	afterEpoch(t, s)
	right := issuedNow()
	expect(t, s, newOwner(), right, replay.Won, nil)
	server.Kill()
	replica.Redis("REPLICAOF", "NO", "ONE")
	moved := mustOpen(t, configOf(replica.Addr, "test"))
	expect(t, moved, newOwner(), right, replay.Lost, replay.ErrBeforeEpoch)
}

// A master that was a replica and is a master again, without a node asking it in between, has the
// same run and scripts. Nodes that live on, and have seen no more than it has now, and nodes
// that are started do not take it for what it was.
func TestPromotedAgain(t *testing.T) {
	for name, next := range map[string]func(living *Store, cfg Config) *Store{
		"lives on": func(living *Store, _ Config) *Store { return living },
		"started":  func(_ *Store, cfg Config) *Store { return mustOpen(t, cfg) },
	} {
		for _, keep := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, KeepOnRestart=%v", name, keep), func(t *testing.T) {
				t.Parallel()
				server := services.Redis(t, services.Durable()...)
				replica := services.RedisReplica(t, server)
				cfg := configOf(server.Addr, "test")
				cfg.KeepOnRestart = keep
				living, spender := mustOpen(t, cfg), mustOpen(t, cfg)
				afterEpoch(t, living)
				eventually(t, func() bool { return said(replica, "EXISTS", "sb:{test}:meta") == "1" })
				replica.Redis("REPLICAOF", "NO", "ONE")
				right := issuedNow()
				expect(t, spender, newOwner(), right, replay.Won, nil)
				replica.Redis("CONFIG", "SET", "repl-diskless-sync-delay", "0")
				host, port, err := net.SplitHostPort(replica.Addr)
				must(t, err)
				server.Redis("REPLICAOF", host, port)
				eventually(t, func() bool { return strings.Contains(said(server, "INFO", "replication"), "master_link_status:up") })
				server.Redis("REPLICAOF", "NO", "ONE")
				expect(t, next(living, cfg), newOwner(), right, replay.Lost, replay.ErrBeforeEpoch)
				expect(t, living, newOwner(), newRight(), replay.Won, nil)
			})
		}
	}
}

// WAIT is about the connection that wrote, and its answer counts.
func TestReplicas(t *testing.T) {
	t.Parallel()
	server := services.Redis(t, "--repl-ping-replica-period", "1")
	replica := services.RedisReplica(t, server)
	cfg := configOf(server.Addr, "test")
	cfg.Replicas, cfg.ReplicaTimeout = 1, 300*time.Millisecond
	var s *Store
	eventually(t, func() bool { // a busy machine may be slower than that
		var err error
		s, err = Open(context.Background(), cfg)
		return err == nil
	})
	defer s.Close()
	owner, right := newOwner(), newRight()
	eventually(t, func() bool {
		o, err := s.Claim(context.Background(), owner, right)
		return o.Granted() && err == nil
	})
	owner, right = newOwner(), newRight()
	replica.Stop()
	for range 2 { // also what only finds it there must be with the replica
		expect(t, s, owner, right, replay.Lost, ErrReplicas)
	}
	if v, err := s.Protect(t.Context(), placeOf(newID())); v != replay.Refused || !errors.Is(err, ErrReplicas) {
		t.Errorf("Protect = %v, %v", v, err)
	}
	expect(t, mustOpen(t, configOf(server.Addr, "test")), newOwner(), right, replay.Lost, nil)
	replica.Start()
	eventually(t, func() bool {
		o, err := s.Claim(context.Background(), owner, right)
		return o == replay.Mine && err == nil
	})
	cfg.Replicas = 2
	if _, err := Open(t.Context(), cfg); !errors.Is(err, ErrReplicas) {
		t.Errorf("Open with a replica that is not there = %v", err)
	}
}

// What WAIT is asked about is written, also by a call that finds all as it is to be.
func TestReplicasWritten(t *testing.T) {
	t.Parallel()
	server := services.Redis(t)
	services.RedisReplica(t, server)
	cfg := configOf(server.Addr, "test")
	cfg.Replicas, cfg.ReplicaTimeout = 1, 30*time.Second
	s := mustOpen(t, cfg)
	ctx, owner, right, at, gone := t.Context(), newOwner(), newRight(), placeOf(newID()), newID()
	granted := func(v replay.Verdict, err error) error {
		if err == nil && v != replay.Granted {
			return errors.New(v.String())
		}
		return err
	}
	outcome := func(want replay.Outcome) func() error {
		return func() error {
			got, err := s.Claim(ctx, owner, right)
			if err == nil && got != want {
				return fmt.Errorf("%v, want %v", got, want)
			}
			return err
		}
	}
	must(t, outcome(replay.Won)())
	must(t, granted(s.Protect(ctx, at)))
	must(t, s.Revoke(ctx, gone, at.KeepUntil))
	for name, again := range map[string]func() error{
		"Claim":   outcome(replay.Mine),
		"Protect": func() error { return granted(s.Protect(ctx, at)) },
		"Revoke":  func() error { return s.Revoke(ctx, gone, at.KeepUntil) },
		"Take":    func() error { v, _, err := s.Take(ctx, at, owner, right); return granted(v, err) },
		"Acknowledge": func() error {
			held := at
			held.Version.Gen = 0
			v, err := s.Acknowledge(ctx, held)
			return granted(v[0], err)
		},
	} {
		before := said(server, "HGET", s.meta, "seq")
		if err := again(); err != nil || said(server, "HGET", s.meta, "seq") == before {
			t.Errorf("%s again: %v, and wrote nothing", name, err)
		}
	}
	next := newID()
	must(t, granted(s.Renew(ctx, at, next)))
	before := said(server, "HGET", s.meta, "seq")
	if err := granted(s.Renew(ctx, at, next)); err != nil || said(server, "HGET", s.meta, "seq") == before {
		t.Errorf("Renew again: %v, and wrote nothing", err)
	}
	server.Redis("CONFIG", "SET", "maxmemory", "1")
	expect(t, s, owner, right, replay.Lost, ErrReplicas)
	expect(t, s, newOwner(), newRight(), replay.Lost, replay.ErrFull)
	if _, err := s.Protect(ctx, placeOf(newID())); !errors.Is(err, replay.ErrFull) {
		t.Errorf("Protect without memory = %v", err)
	}
	if err := granted(s.Renew(ctx, at, next)); !errors.Is(err, ErrReplicas) {
		t.Errorf("Renew again without memory = %v", err)
	}
}

// A server without memory left evicts nothing and is full; what is past makes room.
func TestOutOfMemory(t *testing.T) {
	t.Parallel()
	server := services.Redis(t)
	s, err := open(t.Context(), configOf(server.Addr, "test"), bent("skew"))
	must(t, err)
	defer s.Close()
	owner, right, session := newOwner(), newRight(), newID()
	expect(t, s, owner, right, replay.Won, nil)
	if v, err := s.Protect(t.Context(), placeOf(session)); v != replay.Granted || err != nil {
		t.Fatal(v, err)
	}
	server.Redis("CONFIG", "SET", "maxmemory", "1")
	expect(t, s, newOwner(), newRight(), replay.Lost, replay.ErrFull)
	expect(t, s, owner, right, replay.Mine, nil)
	expect(t, s, newOwner(), right, replay.Lost, nil)
	if err := s.Revoke(t.Context(), newID(), time.Now().Add(time.Hour)); !errors.Is(err, replay.ErrFull) {
		t.Errorf("Revoke = %v", err)
	}
	held := placeOf(session)
	held.Version.Gen = 9
	if v, err := s.Acknowledge(t.Context(), held); len(v) != 1 || v[0] != replay.Granted || !errors.Is(err, replay.ErrFull) {
		t.Errorf("Acknowledge = %v, %v", v, err)
	}
	if spent, err := s.Spent(t.Context(), right.ID); err != nil || !spent[0] {
		t.Errorf("Spent = %v, %v", spent, err)
	}
	server.Redis("CONFIG", "SET", "maxmemory", "0")
	server.Redis("SET", "skew", "7200")
	server.Redis("CONFIG", "SET", "maxmemory", "1")
	must(t, s.Purge(t.Context()))
	if status, err := s.Status(t.Context()); err != nil || status.Rights != 0 || status.Sessions != 0 || status.Horizon.IsZero() {
		t.Errorf("Status = %+v, %v", status, err)
	}
	expect(t, s, owner, right, replay.Lost, replay.ErrBeyondHorizon)
}

// Purged in many turns; what is kept longer than first said, is.
func TestPurge(t *testing.T) {
	t.Parallel()
	server := services.Redis(t)
	cfg := configOf(server.Addr, "test")
	cfg.LeavePurge = true
	s, err := open(t.Context(), cfg, bent("skew"))
	must(t, err)
	defer s.Close()
	owner, late := newOwner(), newRight()
	expect(t, s, owner, late, replay.Won, nil)
	late.KeepUntil = late.KeepUntil.Add(2 * time.Hour)
	expect(t, s, owner, late, replay.Mine, nil)
	rights := make([]replay.Right, 3000)
	for i := range rights {
		rights[i] = newRight()
	}
	if o, err := s.Claim(t.Context(), owner, rights...); o != replay.Won || err != nil {
		t.Fatal(o, err)
	}
	server.Redis("SET", "skew", "7200")
	fresh := newRight()
	fresh.KeepUntil = fresh.KeepUntil.Add(2 * time.Hour)
	expect(t, s, newOwner(), fresh, replay.Won, nil)
	if status, err := s.Status(t.Context()); err != nil || status.Rights != 3002 {
		t.Errorf("with LeavePurge: %+v, %v", status, err)
	}
	must(t, s.Purge(t.Context()))
	if status, err := s.Status(t.Context()); err != nil || status.Rights != 2 {
		t.Errorf("after Purge: %+v, %v", status, err)
	}
	expect(t, s, newOwner(), late, replay.Lost, nil)
	server.Redis("SET", "skew", "14400")
	must(t, s.Purge(t.Context()))
	if n := said(server, "DBSIZE"); n != "2" { // meta and skew
		t.Errorf("%s keys are left: %s", n, server.Redis("KEYS", "*"))
	}
}

// A claim purges more than it may write, so that a store does not fill with what is past.
func TestSweep(t *testing.T) {
	t.Parallel()
	server := services.Redis(t)
	s, err := open(t.Context(), configOf(server.Addr, "test"), bent("skew"))
	must(t, err)
	defer s.Close()
	const n = 300
	for _, hours := range []int{0, 2} {
		server.Redis("SET", "skew", strconv.Itoa(hours*3600))
		rights := make([]replay.Right, n)
		for i := range rights {
			rights[i] = newRight()
			rights[i].KeepUntil = rights[i].KeepUntil.Add(time.Duration(hours) * time.Hour)
		}
		if o, err := s.Claim(t.Context(), newOwner(), rights...); o != replay.Won || err != nil {
			t.Fatal(o, err)
		}
	}
	if status, err := s.Status(t.Context()); err != nil || status.Rights != n {
		t.Errorf("Status = %+v, %v, want %d rights", status, err, n)
	}
}

func TestReadOnly(t *testing.T) {
	server := services.Redis(t)
	cfg := configOf(server.Addr, "test")
	cfg.ReadOnly = true
	if _, err := Open(t.Context(), cfg); !errors.Is(err, ErrGone) {
		t.Errorf("Open without a store = %v", err)
	}
	right := newRight()
	expect(t, mustOpen(t, configOf(server.Addr, "test")), newOwner(), right, replay.Won, nil)
	s := mustOpen(t, cfg)
	expect(t, s, newOwner(), newRight(), replay.Lost, errReadOnly)
	if spent, err := s.Spent(t.Context(), right.ID); err != nil || !spent[0] {
		t.Errorf("Spent = %v, %v", spent, err)
	}
	for name, err := range map[string]error{"Purge": s.Purge(t.Context()), "RaiseEpoch": s.RaiseEpoch(t.Context()), "Revoke": s.Revoke(t.Context(), newID(), time.Now().Add(time.Hour))} {
		if !errors.Is(err, errReadOnly) {
			t.Errorf("%s = %v", name, err)
		}
	}
}

// A store of a Cluster is in one slot. Stores of many names are on all masters.
func TestCluster(t *testing.T) {
	t.Parallel()
	nodes := services.RedisCluster(t, 3)
	for _, name := range []string{"a", "b", "c", "d"} {
		cfg := configOf(nodes[0].Addr, name)
		cfg.Client.ForceSingleClient = false
		s := mustOpen(t, cfg)
		owner, right, session := newOwner(), newRight(), newID()
		expect(t, s, owner, right, replay.Won, nil)
		expect(t, s, newOwner(), right, replay.Lost, nil)
		r := replay.RestoreRequest{Session: session, Issued: right.Issued, KeepUntil: right.KeepUntil, Attempt: owner, Burn: []replay.Burn{{Right: newRight()}}}
		if got, err := s.Restore(t.Context(), r); got.Verdict != replay.Granted || err != nil {
			t.Errorf("Restore = %v, %v", got, err)
		}
		must(t, s.Purge(t.Context()))
		must(t, s.RaiseEpoch(t.Context()))
		expect(t, s, newOwner(), right, replay.Lost, nil)
	}
	cfg := configOf(nodes[0].Addr, "e")
	cfg.Client.ForceSingleClient, cfg.Replicas = false, 1
	if _, err := Open(t.Context(), cfg); !errors.Is(err, ErrReplicas) {
		t.Errorf("Open in a Cluster without replicas = %v", err)
	}
	used := 0
	for _, n := range nodes {
		if said(n, "DBSIZE") != "0" {
			used++
		}
	}
	if used < 2 {
		t.Errorf("four stores are on %d masters", used)
	}
}

// web is the account of the package comment, for the store "sealedblob".
func web(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("redisstore.go"))
	must(t, err)
	_, text2, found := strings.Cut(string(text), "//	ACL SETUSER web on >PASSWORD ")
	rule, _, ended := strings.Cut(text2, "//\n")
	if !found || !ended {
		t.Fatal("no account in the package comment")
	}
	var rules []string
	for _, word := range strings.Fields(strings.ReplaceAll(rule, "//", "")) {
		if n := len(rules); n > 0 && strings.HasPrefix(rules[n-1], "(") && !strings.HasSuffix(rules[n-1], ")") {
			rules[n-1] += " " + word
			continue
		}
		rules = append(rules, word)
	}
	return append([]string{"ACL", "SETUSER", "web", "on", ">secret"}, rules...)
}

// The account of a web node is enough for a store, and for nothing else.
func TestAccount(t *testing.T) {
	server := services.Redis(t)
	server.Redis(web(t)...)
	cfg := configOf(server.Addr, "")
	cfg.Client.Username, cfg.Client.Password = "web", "secret"
	openFails(t, cfg, "LeavePurge")
	wrong := cfg
	wrong.Client.Password = "hunter2"
	if _, err := Open(t.Context(), wrong); err == nil || strings.Contains(err.Error(), "hunter2") || len(err.Error()) > 200 {
		t.Errorf("Open with a wrong password = %v", err)
	}
	cfg.LeavePurge = true
	s := mustOpen(t, cfg)
	owner, right := newOwner(), newRight()
	exercise(t, s, owner, right)
	if err := s.Purge(t.Context()); err == nil || isFinal(err) {
		t.Errorf("Purge by an account that may not = %v", err)
	}
	key := "sb:{sealedblob}:r:" + string(right.ID[:])
	if said(server, "EXISTS", key) != "1" {
		t.Fatal("the right is elsewhere")
	}
	for _, command := range [][]string{
		{"DEL", key}, {"UNLINK", key}, {"SET", key, "x"}, {"GETDEL", key}, {"EXPIRE", key, "1"}, {"PERSIST", key}, {"HSET", key, "a", "b"},
		{"RENAME", key, "sb:{sealedblob}:x:1"}, {"COPY", key, "sb:{sealedblob}:x:1"}, {"SETRANGE", key, "0", "x"}, {"APPEND", key, "x"},
		{"DEL", "sb:{sealedblob}:meta"}, {"FLUSHALL"}, {"FLUSHDB"}, {"CONFIG", "GET", "*"}, {"CONFIG", "SET", "maxmemory", "1"}, {"ACL", "LIST"},
		{"SCRIPT", "FLUSH"}, {"SCRIPT", "KILL"}, {"REPLICAOF", "NO", "ONE"}, {"SHUTDOWN"}, {"KEYS", "*"}, {"SWAPDB", "0", "1"},
		{"GET", "other"}, {"SETNX", "other", "x"}, {"MIGRATE", "127.0.0.1", "1", key, "0", "1"}, {"RESTORE", key, "0", "x", "REPLACE"},
	} {
		err := s.client.Do(t.Context(), s.client.B().Arbitrary(command...).Build()).Error()
		if !isRedisError(err, "NOPERM") {
			t.Errorf("%q = %v, want NOPERM", command, err)
		}
	}
	expect(t, s, newOwner(), right, replay.Lost, nil)
	// Scripts have no more rights than who calls them.
	if err := s.client.Do(t.Context(), s.client.B().Eval().Script("return redis.call('DEL', KEYS[1])").Numkeys(1).Key(key).Build()).Error(); err == nil {
		t.Error("a script deleted a right")
	}
	// Each of its words is needed.
	whole := web(t)
	for i := 5; i < len(whole); i++ {
		if word := whole[i]; word != "+wait" && word != "resetchannels" {
			server.Redis("FLUSHALL")
			server.Redis("ACL", "DELUSER", "web")
			server.Redis(append(append([]string(nil), whole[:i]...), whole[i+1:]...)...)
			if err := try(cfg); err == nil {
				t.Errorf("%s is not needed", word)
			}
		}
	}
}

// A node that was taken over sets the epoch back, so that what the server forgot is granted again:
// not by nodes that live on.
func TestEpochSetBack(t *testing.T) {
	t.Parallel()
	server := services.Redis(t)
	server.Redis(web(t)...)
	cfg := configOf(server.Addr, "")
	cfg.Client.Username, cfg.Client.Password, cfg.LeavePurge = "web", "secret", true
	first := mustOpen(t, cfg)
	afterEpoch(t, first)
	right := issuedNow()
	expect(t, first, newOwner(), right, replay.Won, nil)
	server.Redis("FLUSHALL")
	s := mustOpen(t, cfg)
	expect(t, s, newOwner(), right, replay.Lost, replay.ErrBeforeEpoch)
	must(t, s.client.Do(t.Context(), s.client.B().Arbitrary("HSET", s.meta, "epoch", "0").Build()).Error())
	for range 2 {
		expect(t, s, newOwner(), right, replay.Lost, ErrWentBack)
	}
	must(t, s.RaiseEpoch(t.Context()))
	expect(t, s, newOwner(), right, replay.Lost, replay.ErrBeforeEpoch)
	expect(t, s, newOwner(), newRight(), replay.Won, nil)
}

// A record that is damaged, as by a node that was taken over, is its own affair: not that of those who
// ask in the same round trip, nor of what is purged.
func TestDamaged(t *testing.T) {
	t.Parallel()
	server := services.Redis(t)
	s := mustOpen(t, configOf(server.Addr, "test"))
	key := func(rest string) string { return "sb:{test}:" + rest }
	owner, session, subject := replay.Owner([]byte(rand.Text()[:16])), newRight().ID, newRight().ID
	list, garbage, longer, late, good := newRight(), newRight(), newRight(), newRight(), newRight()
	server.Redis("RPUSH", key("r:"+string(list.ID[:])), "x")
	server.Redis("SET", key("r:"+string(garbage.ID[:])), string(owner[:])+"nan")
	expect(t, s, owner, longer, replay.Won, nil)
	longer.KeepUntil = longer.KeepUntil.Add(time.Hour)
	server.Redis("RPUSH", key("x:"+string(longer.ID[:])), "soon")
	expect(t, s, newOwner(), late, replay.Won, nil)

	claims := func(rights ...replay.Right) (batch []question) {
		for _, r := range rights {
			q, err := s.claim(owner, []replay.Right{r})
			must(t, err)
			batch = append(batch, q)
		}
		return batch
	}
	replies := make([]reply, 4)
	must(t, s.carry(claims(list, garbage, longer, good), replies))
	for i, want := range []replay.Outcome{replay.Lost, replay.Lost, replay.Mine, replay.Won} {
		if replies[i].err != nil || replies[i].outcome != want {
			t.Errorf("claim %d = %v, %v, want %v", i, replies[i].outcome, replies[i].err, want)
		}
	}
	server.Redis("RPUSH", key("d:1"), "r"+string(list.ID[:]), "r"+string(garbage.ID[:]), "r"+string(late.ID[:]), "r", "z", "s"+string(list.ID[:]))
	server.Redis("RPUSH", key("d:never"), "r"+string(late.ID[:]))
	server.Redis("ZADD", key("due"), "0", "never", "1", "1")
	expect(t, s, newOwner(), newRight(), replay.Won, nil)
	must(t, s.Purge(t.Context()))
	for _, r := range []replay.Right{list, garbage, late, good} {
		expect(t, s, newOwner(), r, replay.Lost, nil)
	}

	server.Redis("HSET", key("s:"+string(session[:])), "keep", "9999999999", "fence", "x")
	server.Redis("HSET", key("u:"+string(subject[:])), "cut", "x")
	before := said(server, "HGET", s.meta, "seq")
	for name, err := range map[string]error{
		"Revoke":        s.Revoke(t.Context(), session, late.KeepUntil),
		"RevokeSubject": s.RevokeSubject(t.Context(), subject, time.Now(), late.KeepUntil),
	} {
		if err == nil || isFinal(err) || len(err.Error()) > 200 {
			t.Errorf("%s = %v", name, err)
		}
	}
	if said(server, "HGET", s.meta, "seq") != before {
		t.Error("a damaged record was written to")
	}
}

// try uses a store in every way, and returns the first error.
func try(cfg Config) error {
	s, err := Open(context.Background(), cfg)
	if err != nil {
		return err
	}
	defer s.Close()
	return use(s, newOwner(), newRight())
}

func exercise(t *testing.T, s *Store, owner replay.Owner, right replay.Right) {
	t.Helper()
	must(t, use(s, owner, right))
}

func use(s *Store, owner replay.Owner, right replay.Right) error {
	ctx, session, subject := context.Background(), newID(), newID()
	_, errClaim := s.Claim(ctx, owner, right)
	right.KeepUntil = right.KeepUntil.Add(time.Minute)
	_, errLonger := s.Claim(ctx, owner, right)
	_, errSpent := s.Spent(ctx, right.ID)
	_, errRestore := s.Restore(ctx, replay.RestoreRequest{Session: session, Issued: right.Issued, KeepUntil: right.KeepUntil, Attempt: owner,
		Burn: []replay.Burn{{Right: newRight()}}, Look: []replay.ID{right.ID}})
	at := placeOf(session)
	at.Version.Fence, at.Login = 1, replay.Login{Subject: subject, Since: right.Issued}
	_, errProtect := s.Protect(ctx, at)
	_, _, errTake := s.Take(ctx, at, owner, newRight())
	_, errAck := s.Acknowledge(ctx, at)
	_, errRenew := s.Renew(ctx, at, newID())
	errRevoke := s.Revoke(ctx, newID(), right.KeepUntil)
	errSubject := s.RevokeSubject(ctx, subject, time.Now(), right.KeepUntil)
	_, errCut := s.SubjectCut(ctx, subject)
	_, errEpoch := s.Epoch(ctx)
	s.recheck()
	_, errStatus := s.Status(ctx)
	return errors.Join(errClaim, errLonger, errSpent, errRestore, errProtect, errTake, errAck, errRenew, errRevoke, errSubject, errCut, errEpoch, errStatus)
}
