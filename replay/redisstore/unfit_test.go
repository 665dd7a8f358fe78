package redisstore

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/sealedblob/sealedblob/internal/services"
	"github.com/sealedblob/sealedblob/replay"
)

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
	old := strings.Replace(text, "redis_version:", "redis_version:6.", 1)
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
	server, s := fresh(t)
	server.Redis("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
	s.recheck()
	expect(t, s, newOwner(), newRight(s), replay.Lost, ErrUnfit)
	server.Redis("CONFIG", "SET", "maxmemory-policy", "noeviction")
	expect(t, s, newOwner(), newRight(s), replay.Won, nil)
}

// What was evicted, though it was something else here, may have been a record.
func TestEvicted(t *testing.T) {
	t.Parallel()
	server, s := fresh(t)
	right := newRight(s)
	expect(t, s, newOwner(), right, replay.Won, nil)
	evict(t, server)
	mustOpen(t, s.cfg)
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
	evict(t, server)
	evict(t, server)
	s := mustOpen(t, configOf(server.Addr, "test"))
	right := newRight(s)
	expect(t, s, newOwner(), right, replay.Won, nil)
	server.Redis("CONFIG", "RESETSTAT")
	evict(t, server)
	mustOpen(t, s.cfg)
	expect(t, s, newOwner(), right, replay.Lost, replay.ErrBeforeEpoch)
}
