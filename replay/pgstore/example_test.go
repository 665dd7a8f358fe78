package pgstore_test

import (
	"context"
	"log"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/sealedblob/sealedblob/replay"
	"github.com/sealedblob/sealedblob/replay/pgstore"
	"github.com/sealedblob/sealedblob/session"
)

// The owner's part, once and at each update: psql then lets the web nodes in, with
// SELECT sealedblob.admit('web').
func ExampleMigrate() {
	ctx := context.Background()
	if err := pgstore.Migrate(ctx, "postgres://owner@db.internal/shop"); err != nil {
		log.Fatal(err)
	}
}

func ExampleOpen() {
	ctx := context.Background()
	store, err := pgstore.Open(ctx, pgstore.Config{URL: "postgres://web@db.internal/shop"})
	if err != nil {
		log.Fatal(err)
	}
	defer store.Close()
	// session.New(ctx, session.Config{Store: store, …})
}

// The order and the spending of the ticket commit together: however often this is
// called, by whomever and on whichever node, there is one order.
func ExampleStore_ClaimTx() {
	buy := func(ctx context.Context, db *pgxpool.Pool, store *pgstore.Store, s *session.Session, attempt replay.Owner) error {
		return pgx.BeginFunc(ctx, db, func(tx pgx.Tx) error {
			var seat string
			outcome, err := s.TakeTx(ctx, store.ClaimTx(tx), "ticket", attempt, &seat)
			if err != nil || outcome == replay.Mine { // spent by another, or ordered before by this attempt
				return err
			}
			_, err = tx.Exec(ctx, "INSERT INTO orders (seat) VALUES ($1)", seat)
			return err
		})
	}
	_ = buy
}
