package redisstore

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/sealedblob/sealedblob/internal/services"
	"github.com/sealedblob/sealedblob/replay"
)

// Older data put back is found out by the new run, or else by the nodes that live on.
func TestPutBack(t *testing.T) {
	for _, keep := range []bool{false, true} {
		t.Run(map[bool]string{false: "by default", true: "KeepOnRestart"}[keep], func(t *testing.T) {
			t.Parallel()
			server := services.Redis(t, services.Durable()...)
			cfg := configOf(server.Addr, "test")
			cfg.KeepOnRestart = keep
			living := mustOpen(t, cfg)
			expect(t, living, newOwner(), newRight(living), replay.Won, nil)
			server.Stop()
			old := server.Save()
			server.Start()
			rejoin(t, living)
			right := newRight(living)
			expectSoon(t, living, newOwner(), right, replay.Won, nil)
			server.Stop()
			server.PutBack(old)
			server.Start()
			if keep {
				expectSoonErr(t, living, right, ErrWentBack)
				expect(t, living, newOwner(), right, replay.Lost, ErrWentBack)
				started := mustOpen(t, cfg) // can't tell, and writes more than was lost
				for range 9 {
					expect(t, started, newOwner(), newRight(started), replay.Won, nil)
				}
				expect(t, living, newOwner(), right, replay.Lost, ErrWentBack)
				server.Stop() // another run, that the former is the last of
				server.Start()
				expectSoon(t, started, newOwner(), newRight(started), replay.Won, nil)
				expectSoonErr(t, living, right, ErrWentBack)
				expect(t, living, newOwner(), right, replay.Lost, ErrWentBack)
				must(t, started.RaiseEpoch(context.Background()))
			}
			rejoin(t, living)
			for _, s := range []*Store{living, mustOpen(t, cfg)} {
				expectSoon(t, s, newOwner(), right, replay.Lost, replay.ErrBeforeEpoch)
				expectSoon(t, s, newOwner(), newRight(s), replay.Won, nil)
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
				expect(t, living, newOwner(), newRight(living), replay.Won, nil)
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
// the name with an epoch that vouches for nothing: it gets one that does.
func TestReplaced(t *testing.T) {
	t.Parallel()
	server, living := fresh(t)
	seq := said(server, "HGET", "sb:{test}:meta", "seq")
	right := newRight(living)
	expect(t, living, newOwner(), right, replay.Won, nil)
	server.Redis("DEL", "sb:{test}:r:"+string(right.ID[:]))
	server.Redis("HSET", "sb:{test}:meta", "seq", seq)
	expect(t, living, newOwner(), right, replay.Lost, ErrWentBack)
	server.Redis("HSET", "sb:{test}:meta", "era", "another", "seq", "1000", "epoch", "1")
	expect(t, living, newOwner(), right, replay.Lost, replay.ErrBeforeEpoch)
	must(t, living.RaiseEpoch(context.Background()))
	expect(t, living, newOwner(), right, replay.Lost, replay.ErrBeforeEpoch)
	expect(t, living, newOwner(), newRight(living), replay.Won, nil)
}
