package redisstore

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/sealedblob/sealedblob/internal/racing"
	"github.com/sealedblob/sealedblob/internal/services"
	"github.com/sealedblob/sealedblob/replay"
)

// The tests here start this program again as nodes on a server.
func TestMain(m *testing.M) {
	racing.Main(racing.Roles{
		"load": func(addr string) error {
			s, err := Open(context.Background(), configOf(addr, "test"))
			if err != nil {
				return err
			}
			return racing.Load(s)
		},
		"race": func(addr string) error {
			cfg := configOf(addr, "test")
			cfg.Timeout = 30 * time.Second
			s, err := Open(context.Background(), cfg)
			if err != nil {
				return err
			}
			return racing.Claim(s, 4)
		},
	})
	os.Exit(m.Run())
}

// Nothing that a node was told is ever granted again, however often nodes are
// killed in the middle of it, four at a time.
func TestKillNode(t *testing.T) {
	t.Parallel()
	server := services.Redis(t)
	all := racing.Kills{Place: server.Addr, Number: racing.Rounds(200), AtOnce: 4, Life: 40 * time.Millisecond}.Run(t)
	racing.CheckAll(t, mustOpen(t, configOf(server.Addr, "test")), all)
}

// The same for a server that syncs each write and is killed, with KeepOnRestart.
func TestKillServer(t *testing.T) {
	t.Parallel()
	server := services.Redis(t, services.Durable()...)
	cfg := configOf(server.Addr, "test")
	cfg.KeepOnRestart = true
	s := mustOpen(t, cfg)
	all := racing.KillServer(t, server, s, 30, isFinal, func(told []racing.Fact) {
		expectSoon(t, s, newOwner(), newRight(s), replay.Won, nil)
		racing.CheckAll(t, mustOpen(t, cfg), told)
	})
	racing.CheckAll(t, s, all)
}

// 64 processes race for the same rights: each is won by exactly one.
func TestProcessesRace(t *testing.T) {
	server := services.Redis(t)
	won := racing.Race(t, server.Addr)
	racing.CheckAll(t, mustOpen(t, configOf(server.Addr, "test")), won)
}
