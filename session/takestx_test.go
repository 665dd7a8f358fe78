package session_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/sealedblob/sealedblob/internal/services"
	"github.com/sealedblob/sealedblob/replay"
	"github.com/sealedblob/sealedblob/replay/pgstore"
	"github.com/sealedblob/sealedblob/session"
)

// boxOffice is a cluster whose store is in the database of the orders.
type boxOffice struct {
	*cluster
	pg *pgstore.Store
	db *pgxpool.Pool
}

func newBoxOffice(t *testing.T) boxOffice {
	t.Helper()
	dsn := services.Postgres(t).DSN
	must(t, pgstore.Migrate(t.Context(), dsn))
	store, err := pgstore.Open(t.Context(), pgstore.Config{URL: dsn})
	must(t, err)
	t.Cleanup(func() { must(t, store.Close()) })
	db, err := pgxpool.New(t.Context(), dsn)
	must(t, err)
	t.Cleanup(db.Close)
	_, err = db.Exec(t.Context(), "CREATE TABLE orders (seat text)")
	must(t, err)
	c := newCluster(t)
	c.store = store
	return boxOffice{c, store, db}
}

var errChangedMind = errors.New("the buyer changed his mind")

// buy takes the ticket and orders its seat, in one transaction.
func (o boxOffice) buy(ctx context.Context, s *session.Session, attempt replay.Owner, afterwards func(pgx.Tx) error) (outcome replay.Outcome, err error) {
	err = pgx.BeginFunc(ctx, o.db, func(tx pgx.Tx) (err error) {
		var seat string
		if outcome, err = s.TakeTx(ctx, o.pg.ClaimTx(tx), "ticket", attempt, &seat); err != nil || outcome == replay.Mine {
			return err
		}
		if _, err = tx.Exec(ctx, "INSERT INTO orders VALUES ($1)", seat); err != nil {
			return err
		}
		return afterwards(tx)
	})
	return outcome, err
}

func (o boxOffice) orders(t *testing.T) (n int) {
	t.Helper()
	must(t, o.db.QueryRow(t.Context(), "SELECT count(*) FROM orders").Scan(&n))
	return n
}

func commit(pgx.Tx) error { return nil }

func changeMind(pgx.Tx) error { return errChangedMind }

// die ends the connection between the claim and the commit.
func die(tx pgx.Tx) error { return tx.Conn().Close(context.Background()) }

// The ticket is spent with its order, or not at all.
func TestTakeInARealTransaction(t *testing.T) {
	o := newBoxOffice(t)
	s, b := shopping(t, o.node())
	early := b.set(s.Holder())
	if outcome, err := o.buy(t.Context(), s, replay.Owner{1}, changeMind); outcome != replay.Won || !errors.Is(err, errChangedMind) {
		t.Fatalf("rolled back = %v, %v", outcome, err)
	}
	if _, err := o.buy(t.Context(), s, replay.Owner{2}, die); err == nil {
		t.Fatal("a transaction without a connection was committed")
	}
	if n := o.orders(t); n != 0 {
		t.Fatalf("%d orders before anything was committed", n)
	}
	if outcome, err := o.buy(t.Context(), s, replay.Owner{3}, commit); outcome != replay.Won || err != nil {
		t.Fatalf("after others were rolled back = %v, %v", outcome, err)
	}
	if outcome, err := o.buy(t.Context(), s, replay.Owner{3}, commit); outcome != replay.Mine || err != nil {
		t.Errorf("repeated = %v, %v", outcome, err)
	}
	if outcome, err := o.buy(t.Context(), s, replay.Owner{4}, commit); outcome != replay.Lost || !errors.Is(err, replay.ErrReplayed) {
		t.Errorf("by another = %v, %v", outcome, err)
	}
	// Elsewhere, from a set of before.
	elsewhere, err := o.node().Restore(t.Context(), early)
	must(t, err)
	if _, err := o.buy(t.Context(), elsewhere.Session, replay.Owner{5}, commit); !errors.Is(err, session.ErrNoAttribute) && !errors.Is(err, replay.ErrReplayed) {
		t.Errorf("from an older set = %v", err)
	}
	if outcome, err := o.buy(t.Context(), s, replay.Owner{6}, commit); outcome.Granted() || err == nil {
		t.Errorf("on the node that the session left = %v, %v", outcome, err)
	}
	if n := o.orders(t); n != 1 {
		t.Errorf("%d orders", n)
	}
}

// Many try at once, and most change their minds or lose their connection: the
// ticket is bought exactly once.
func TestTicketBoughtExactlyOnce(t *testing.T) {
	o := newBoxOffice(t)
	s, _ := shopping(t, o.node())
	var wg sync.WaitGroup
	for buyer := range 12 {
		wg.Go(func() {
			for try := 0; ; try++ {
				end := [...]func(pgx.Tx) error{commit, changeMind, die}[rand.IntN(3)]
				outcome, err := o.buy(t.Context(), s, replay.Owner{byte(buyer + 1)}, end)
				switch {
				case outcome.Granted() && err == nil, errors.Is(err, replay.ErrReplayed), errors.Is(err, session.ErrNoAttribute):
					return
				case try == 200:
					t.Errorf("buyer %d ends with %v, %v", buyer, outcome, err)
					return
				}
			}
		})
	}
	wg.Wait()
	if n := o.orders(t); n != 1 {
		t.Errorf("%d orders", n)
	}
}

// While visitors keep purchases open, and log out of those very sessions over and
// over, others buy and log out as if they were not there: whether it is one visitor
// or more of them than the store has connections.
func TestOpenTransactionsKeepNobodyElseWaiting(t *testing.T) {
	for _, visitors := range []int{1, 12} {
		t.Run(strconv.Itoa(visitors), func(t *testing.T) { keepOpen(t, visitors) })
	}
}

func keepOpen(t *testing.T, visitors int) {
	o := newBoxOffice(t)
	m := o.node()
	var seat string
	ctx, stop := context.WithCancel(t.Context())
	var loops sync.WaitGroup
	for range visitors {
		mine, _ := shopping(t, m)
		conn, err := pgx.ConnectConfig(t.Context(), o.db.Config().ConnConfig)
		must(t, err)
		defer func() { must(t, conn.Close(context.Background())) }()
		tx, err := conn.Begin(t.Context())
		must(t, err)
		_, err = mine.TakeTx(t.Context(), o.pg.ClaimTx(tx), "ticket", replay.Owner{1}, &seat)
		must(t, err)
		for range 60 / visitors {
			loops.Go(func() {
				for ctx.Err() == nil {
					_ = mine.Logout(ctx)
				}
			})
		}
	}
	defer loops.Wait()
	defer stop()
	for end := time.Now().Add(8 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		began := time.Now()
		s, _ := shopping(t, m)
		must(t, s.Take(t.Context(), "ticket", replay.Owner{2}, &seat))
		must(t, s.Logout(t.Context()))
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("another visitor waited %v", took)
		}
		if state := m.Stats().Circuit; state != replay.CircuitClosed {
			t.Fatalf("the circuit is %v", state)
		}
	}
}
