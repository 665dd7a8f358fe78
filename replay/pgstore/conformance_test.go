package pgstore

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sealedblob/sealedblob/replay"
	"github.com/sealedblob/sealedblob/replay/replaytest"
)

// stand is the sites of a run of the kit: each store knows where it came from.
type stand struct {
	roles roles
	now   site // of the check that runs
	of    map[replay.Store]site
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
	b := &stand{roles: sharedRoles(t), of: make(map[replay.Store]site)}
	replaytest.Run(t, replaytest.Config{
		New: func(t testing.TB) replay.Store {
			b.now = siteOf(t, b.roles)
			b.now.timed(t)
			return b.open(t, b.now)
		},
		Reopen: func(t testing.TB, old replay.Store) replay.Store { return b.open(t, b.of[old]) },
		Break: func(t testing.TB, s replay.Store) {
			b.of[s].server.SQL("DROP SCHEMA sealedblob CASCADE")
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
