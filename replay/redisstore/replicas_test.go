package redisstore

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/sealedblob/sealedblob/internal/services"
	"github.com/sealedblob/sealedblob/replay"
)

// A master that became a replica, and a master again, may have lost all it had.
func TestDemoted(t *testing.T) {
	t.Parallel()
	server, s := fresh(t)
	owner, right := newOwner(), newRight(s)
	expect(t, s, owner, right, replay.Won, nil)
	server.Redis("REPLICAOF", "127.0.0.1", "1")
	if _, err := s.Spent(t.Context(), right.ID); err == nil || isFinal(err) {
		t.Fatalf("Spent from a replica = %v", err)
	}
	if o, err := s.Claim(t.Context(), newOwner(), newRight(s)); o.Granted() || err == nil || isFinal(err) {
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
	right := newRight(s)
	expect(t, s, newOwner(), right, replay.Won, nil)
	nextSecond(s)
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
				eventually(t, func() bool { return said(replica, "EXISTS", "sb:{test}:meta") == "1" })
				replica.Redis("REPLICAOF", "NO", "ONE")
				right := newRight(spender)
				expect(t, spender, newOwner(), right, replay.Won, nil)
				replica.Redis("CONFIG", "SET", "repl-diskless-sync-delay", "0")
				host, port, err := net.SplitHostPort(replica.Addr)
				must(t, err)
				server.Redis("REPLICAOF", host, port)
				eventually(t, func() bool { return strings.Contains(said(server, "INFO", "replication"), "master_link_status:up") })
				server.Redis("REPLICAOF", "NO", "ONE")
				expect(t, next(living, cfg), newOwner(), right, replay.Lost, replay.ErrBeforeEpoch)
				rejoin(t, living)
				expect(t, living, newOwner(), newRight(living), replay.Won, nil)
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
	owner, right := newOwner(), newRight(s)
	eventually(t, func() bool {
		o, err := s.Claim(context.Background(), owner, right)
		return o.Granted() && err == nil
	})
	owner, right = newOwner(), newRight(s)
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

// WAITAOF is about the disk of the server and of its replicas. A server that has none is refused.
func TestSynced(t *testing.T) {
	t.Parallel()
	server := services.Redis(t, services.Durable()...)
	cfg := configOf(server.Addr, "test")
	cfg.Synced, cfg.ReplicaTimeout = true, 300*time.Millisecond
	info, err := parseInfo(server.Redis("INFO"))
	must(t, err)
	if info.major == 7 && info.minor < 2 {
		openFails(t, cfg, "7.2")
		return
	}
	s := mustOpen(t, cfg)
	owner, right := newOwner(), newRight(s)
	expect(t, s, owner, right, replay.Won, nil)
	if got := s.Promise(); !strings.Contains(got, "synced before each answer") {
		t.Errorf("Promise = %q", got)
	}
	server.Redis("CONFIG", "SET", "appendfsync", "no")
	expect(t, s, newOwner(), newRight(s), replay.Lost, ErrReplicas)
	server.Redis("CONFIG", "SET", "appendfsync", "always")

	replica := services.RedisReplica(t, server, services.Durable()...)
	cfg.Replicas, cfg.ReplicaTimeout = 1, 10*time.Second
	eventually(t, func() bool { // the replication ID is another with the first replica
		s, err = Open(context.Background(), cfg)
		return err == nil
	})
	defer s.Close()
	expect(t, s, newOwner(), newRight(s), replay.Won, nil)
	replica.Redis("CONFIG", "SET", "appendonly", "no")
	s.cfg.ReplicaTimeout = 300 * time.Millisecond
	expect(t, s, newOwner(), newRight(s), replay.Lost, ErrReplicas)

	server.Redis("CONFIG", "SET", "appendonly", "no")
	openFails(t, cfg, "appendonly")
}

// What WAIT is asked about is written, also by a call that finds all as it is to be.
func TestReplicasWritten(t *testing.T) {
	t.Parallel()
	server := services.Redis(t)
	services.RedisReplica(t, server)
	cfg := configOf(server.Addr, "test")
	cfg.Replicas, cfg.ReplicaTimeout = 1, 30*time.Second
	s := mustOpen(t, cfg)
	ctx, owner, right, at, gone := t.Context(), newOwner(), newRight(s), placeOf(newID()), newID()
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
	expect(t, s, newOwner(), newRight(s), replay.Lost, replay.ErrFull)
	if _, err := s.Protect(ctx, placeOf(newID())); !errors.Is(err, replay.ErrFull) {
		t.Errorf("Protect without memory = %v", err)
	}
	if err := granted(s.Renew(ctx, at, next)); !errors.Is(err, ErrReplicas) {
		t.Errorf("Renew again without memory = %v", err)
	}
}
