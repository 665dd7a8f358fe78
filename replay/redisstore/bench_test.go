package redisstore

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/rueidis"
	"github.com/sealedblob/sealedblob/internal/services"
)

// callers runs f from n goroutines and reports calls a second and percentiles.
func callers(b *testing.B, n int, f func() error) {
	var left atomic.Int64
	left.Store(int64(b.N))
	var wg sync.WaitGroup
	took := make([][]time.Duration, n)
	b.ResetTimer()
	for i := range n {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				start := time.Now()
				if err := f(); err != nil {
					b.Error(err)
					return
				}
				took[i] = append(took[i], time.Since(start))
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	all := slices.Concat(took...)
	slices.Sort(all)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "calls/s")
	b.ReportMetric(float64(all[len(all)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(all[len(all)*99/100].Microseconds()), "p99-µs")
}

func BenchmarkClaim(b *testing.B) {
	for _, options := range [][]string{nil, services.Durable()} {
		for _, n := range []int{1, 16, 256} {
			kind := "memory"
			if options != nil {
				kind = "always"
			}
			b.Run(fmt.Sprintf("store/%s/%d", kind, n), func(b *testing.B) {
				cfg := configOf(services.Redis(b, options...).Addr, "bench")
				cfg.MaxRights = 1 << 30
				s := mustOpen(b, cfg)
				callers(b, n, func() error {
					_, err := s.Claim(b.Context(), newOwner(), newRight(s))
					return err
				})
			})
			b.Run(fmt.Sprintf("plain/%s/%d", kind, n), func(b *testing.B) {
				c, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{services.Redis(b, options...).Addr}, ForceSingleClient: true, DisableCache: true})
				must(b, err)
				defer c.Close()
				callers(b, n, func() error {
					o, id := newOwner(), newID()
					return c.Do(context.Background(), c.B().Set().Key(string(id[:])).Value(string(o[:])).Nx().Px(time.Hour).Build()).Error()
				})
			})
		}
	}
}
