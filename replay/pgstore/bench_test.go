package pgstore

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/sealedblob/sealedblob/internal/services"
	"github.com/sealedblob/sealedblob/replay"
)

// BenchmarkClaim compares claims with a plain INSERT … ON CONFLICT DO NOTHING of a
// right each, over as many connections and over more, on a server that syncs each
// commit.
func BenchmarkClaim(b *testing.B) {
	server := services.PostgresServer(b)
	s := siteOn(b, server, newRoles(b, server))
	for _, callers := range []int{1, 16, 256} {
		for _, conns := range []int{8, 64} {
			b.Run(fmt.Sprintf("plain/conns=%d/callers=%d", conns, callers), func(b *testing.B) { benchPlain(b, s, callers, conns) })
		}
		b.Run(fmt.Sprintf("pgstore/callers=%d", callers), func(b *testing.B) { benchClaim(b, s, callers) })
	}
}

func benchClaim(b *testing.B, s site, callers int) {
	store := mustOpen(b, Config{URL: s.web})
	spread(b, callers, func() error {
		got, err := store.Claim(b.Context(), newOwner(), newRight())
		if err == nil && got != replay.Won {
			err = fmt.Errorf("claim = %v", got)
		}
		return err
	})
}

func benchPlain(b *testing.B, s site, callers, conns int) {
	cfg, err := pgxpool.ParseConfig(s.owner)
	must(b, err)
	cfg.MaxConns = int32(conns)
	pool, err := pgxpool.NewWithConfig(b.Context(), cfg)
	must(b, err)
	defer pool.Close()
	spread(b, callers, func() error {
		r := newRight()
		_, err := pool.Exec(context.Background(), "INSERT INTO sealedblob.rights (id, owner, keep) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
			uuid(r.ID), uuid(newOwner()), ceil(r.KeepUntil))
		return err
	})
}

// spread runs f b.N times, by so many callers.
func spread(b *testing.B, callers int, f func() error) {
	var left atomic.Int64
	left.Store(int64(b.N))
	var wg sync.WaitGroup
	b.ResetTimer()
	for range callers {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				if err := f(); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "claims/s")
}
