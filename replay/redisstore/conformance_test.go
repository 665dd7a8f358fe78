package redisstore

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"net"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/sealedblob/sealedblob/internal/services"
	"github.com/sealedblob/sealedblob/replay"
	"github.com/sealedblob/sealedblob/replay/replaytest"
)

// line is a network that can be cut.
type line struct {
	mu    sync.Mutex
	cut   bool
	conns []net.Conn
}

func (l *line) dial(ctx context.Context, addr string, d *net.Dialer, _ *tls.Config) (net.Conn, error) {
	c, err := d.DialContext(ctx, "tcp", addr)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cut && err == nil {
		c.Close()
		err = errors.New("network is cut")
	}
	l.conns = append(l.conns, c)
	return c, err
}

func (l *line) sever() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut = true
	for _, c := range l.conns {
		c.Close()
	}
}

func TestConformance(t *testing.T) {
	server := services.SharedRedis(t)
	skewKey := "sb:skew:" + rand.Text()
	texts := bent(skewKey)
	var ahead time.Duration
	shift := func(d time.Duration) {
		ahead += d
		server.Redis("SET", skewKey, strconv.Itoa(int(ahead.Seconds())))
	}
	lines := make(map[*Store]*line)
	start := func(t testing.TB, cfg Config) replay.Store {
		l := new(line)
		cfg.Client.DialCtxFn = l.dial
		s, err := open(t.Context(), cfg, texts)
		must(t, err)
		lines[s] = l
		return s
	}
	fresh := func(t testing.TB, cfg Config) replay.Store {
		ahead = 0
		shift(0)
		t.Cleanup(func() { discard(server, cfg.Name) })
		return start(t, cfg)
	}
	replaytest.Run(t, replaytest.Config{
		New: func(t testing.TB) replay.Store { return fresh(t, configOf(server.Addr, rand.Text())) },
		NewBounded: func(t testing.TB, room replaytest.Bounds) replay.Store {
			cfg := configOf(server.Addr, rand.Text())
			cfg.MaxRights, cfg.MaxSessions, cfg.MaxSubjects = room.Rights, room.Sessions, room.Subjects
			return fresh(t, cfg)
		},
		Reopen:      func(t testing.TB, old replay.Store) replay.Store { return start(t, old.(*Store).cfg) },
		Break:       func(t testing.TB, s replay.Store) { lines[s.(*Store)].sever() },
		FastForward: shift,
		StepBack:    func(d time.Duration) { shift(-d) },
	})
}

// discard drops what a store left on a server that it shares.
func discard(server *services.Server, name string) {
	server.Redis("EVAL", "for _, k in ipairs(redis.call('KEYS', ARGV[1])) do redis.call('DEL', k) end", "0", "sb:{"+name+"}:*")
}
