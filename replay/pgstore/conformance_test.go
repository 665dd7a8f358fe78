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
	t     testing.TB
	now   site   // of the check that runs
	free  []site // of checks that ended
	of    map[replay.Store]site
	conns map[site]*pgx.Conn // the owner's

	broken bool // the site of the check that runs
}

func (b *stand) sql(t testing.TB, s site, script string) {
	t.Helper()
	if b.conns[s] == nil {
		b.conns[s] = dial(b.t, s.owner)
	}
	_, err := runSQL(b.conns[s], script)
	must(t, err)
}

// fresh is a site that remembers nothing. To make one takes longer than most checks.
func (b *stand) fresh(t testing.TB) site {
	t.Helper()
	if len(b.free) == 0 {
		s := newSite(b.t)
		b.sql(t, s, timed)
		b.free = append(b.free, s)
	}
	s := b.free[0]
	b.free = b.free[1:]
	b.sql(t, s, `DELETE FROM sealedblob.rights; DELETE FROM sealedblob.sessions; DELETE FROM sealedblob.subjects;
		UPDATE sealedblob.ahead SET seconds = 0;
		UPDATE sealedblob.memory SET epoch = sealedblob.latest() + 1, rights_horizon = '-9223372036854775808', horizon = '-9223372036854775808';
		SELECT sealedblob.sign()`)
	t.Cleanup(func() {
		if !b.broken {
			b.free = append(b.free, s)
		}
		b.broken = false
	})
	return s
}

func (b *stand) open(t testing.TB, s site) *Store {
	t.Helper()
	st, err := Open(context.Background(), Config{URL: s.web, Timeout: busy, hooks: hooks{purgeEvery: 50 * time.Millisecond}})
	must(t, err)
	b.of[st] = s
	return st
}

// The whole contract, logged in as a web node, with the database purging all the
// time. It has no bounds of its own.
func TestConformance(t *testing.T) {
	t.Parallel()
	b := &stand{t: t, of: make(map[replay.Store]site), conns: make(map[site]*pgx.Conn)}
	replaytest.Run(t, replaytest.Config{
		New: func(t testing.TB) replay.Store {
			b.now = b.fresh(t)
			return b.open(t, b.now)
		},
		Reopen: func(t testing.TB, old replay.Store) replay.Store { return b.open(t, b.of[old]) },
		Break: func(t testing.TB, s replay.Store) {
			b.sql(t, b.of[s], "DROP SCHEMA sealedblob CASCADE")
			b.broken = true
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
		Operator: func(t testing.TB, s replay.Store) replay.Operable {
			return mustOpen(t, Config{URL: b.of[s].owner})
		},
		FastForward: func(d time.Duration) { b.sql(t, b.now, shift(d)) },
		Steps:       1000,
		StepBack:    func(d time.Duration) { b.sql(t, b.now, shift(-d)) },
	})
}
