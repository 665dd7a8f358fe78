package pgstore

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sealedblob/sealedblob/internal/services"
	"github.com/sealedblob/sealedblob/replay"
	"github.com/sealedblob/sealedblob/replay/replaytest"
)

// stand is the sites of a run of the kit: each store knows where it came from.
type stand struct {
	t     testing.TB
	roles roles
	now   site   // of the check that runs
	free  []site // of checks that ended
	of    map[replay.Store]site
}

// fresh is a site with nothing in it: a database takes half a second to make.
func (b *stand) fresh(t testing.TB) site {
	t.Helper()
	if len(b.free) == 0 {
		b.free = append(b.free, bareSite(b.t, services.Postgres(b.t), b.roles))
	}
	s := b.free[0]
	b.free = b.free[1:]
	sql(t, s.owner, "DROP SCHEMA IF EXISTS sealedblob CASCADE")
	s.migrate(t)
	t.Cleanup(func() { b.free = append(b.free, s) })
	return s
}

func (b *stand) open(t testing.TB, s site) *Store {
	t.Helper()
	st, err := Open(context.Background(), Config{URL: s.web, hooks: hooks{purgeEvery: 50 * time.Millisecond}})
	must(t, err)
	b.of[st] = s
	return st
}

// The whole contract, logged in as a web node, with the database purging all the
// time. It has no bounds of its own.
func TestConformance(t *testing.T) {
	b := &stand{t: t, roles: sharedRoles(t), of: make(map[replay.Store]site)}
	replaytest.Run(t, replaytest.Config{
		New: func(t testing.TB) replay.Store {
			b.now = b.fresh(t)
			b.now.timed(t)
			return b.open(t, b.now)
		},
		Reopen: func(t testing.TB, old replay.Store) replay.Store { return b.open(t, b.of[old]) },
		Break: func(t testing.TB, s replay.Store) {
			sql(t, b.of[s].owner, "DROP SCHEMA sealedblob CASCADE")
		},
		Begin: func(t testing.TB, s replay.Store) replaytest.Tx {
			ctx := context.Background()
			conn, err := pgx.Connect(ctx, b.of[s].web)
			must(t, err)
			t.Cleanup(func() { conn.Close(ctx) })
			tx, err := conn.Begin(ctx)
			must(t, err)
			return replaytest.Tx{
				Spender:  s.(*Store).ClaimTx(tx),
				Commit:   func() error { return tx.Commit(ctx) },
				Rollback: func() error { return tx.Rollback(ctx) },
			}
		},
		FastForward: func(d time.Duration) { b.now.shift(t, d) },
		StepBack:    func(d time.Duration) { b.now.shift(t, -d) },
	})
}
