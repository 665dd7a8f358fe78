package pgstore

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sealedblob/sealedblob/internal/racing"
	"github.com/sealedblob/sealedblob/replay"
)

func begin(t testing.TB, s site, options pgx.TxOptions) pgx.Tx {
	t.Helper()
	conn := dial(t, s.web)
	tx, err := conn.BeginTx(t.Context(), options)
	must(t, err)
	t.Cleanup(func() { tx.Rollback(context.Background()) })
	return tx
}

// answered is what somebody was told, and when.
type answered struct {
	outcome replay.Outcome
	err     error
}

// claiming claims in the background.
func claiming(x replay.Spender, o replay.Owner, r replay.Right) <-chan answered {
	got := make(chan answered, 1)
	go func() {
		outcome, err := x.Claim(context.Background(), o, r)
		got <- answered{outcome, err}
	}()
	return got
}

// Of two transactions the second waits for the first, and learns the truth.
func TestTwoTransactions(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	store := mustOpen(t, Config{URL: s.web, LockWait: 20 * time.Second, Timeout: 20 * time.Second})
	for _, commits := range []bool{true, false} {
		first, second, r := begin(t, s, pgx.TxOptions{}), begin(t, s, pgx.TxOptions{}), newRight()
		claims(t, store.ClaimTx(first), newOwner(), replay.Won, r)
		got := claiming(store.ClaimTx(second), newOwner(), r)
		select {
		case a := <-got:
			t.Fatalf("told %v, %v while the first may still roll back", a.outcome, a.err)
		case <-time.After(200 * time.Millisecond):
		}
		want := replay.Won
		if commits {
			want = replay.Lost
			must(t, first.Commit(t.Context()))
		} else {
			must(t, first.Rollback(t.Context()))
		}
		if a := <-got; a.outcome != want || a.err != nil {
			t.Errorf("after the first ended (committed: %v) = %v, %v, want %v", commits, a.outcome, a.err, want)
		}
		must(t, second.Commit(t.Context()))
	}
}

// Whoever waits too long is told that we cannot tell, and can use his connection.
func TestTransactionHeldTooLong(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	store, r := mustOpen(t, Config{URL: s.web, LockWait: 200 * time.Millisecond}), newRight()
	tx := begin(t, s, pgx.TxOptions{})
	claims(t, store.ClaimTx(tx), newOwner(), replay.Won, r)
	for what, x := range map[string]replay.Spender{"the store": store, "a transaction": store.ClaimTx(begin(t, s, pgx.TxOptions{}))} {
		start := time.Now()
		got, err := x.Claim(t.Context(), newOwner(), r)
		if got != replay.Lost || !errors.Is(err, replay.ErrHeld) || final(err) || time.Since(start) > 3*time.Second {
			t.Errorf("%s = %v, %v after %v", what, got, err, time.Since(start))
		}
	}
	patient := mustOpen(t, Config{URL: s.web, LockWait: 20 * time.Second, Timeout: 20 * time.Second})
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	waiter := begin(t, s, pgx.TxOptions{})
	if got, err := patient.ClaimTx(waiter).Claim(ctx, newOwner(), r); got != replay.Lost || err == nil {
		t.Errorf("with a deadline = %v, %v", got, err)
	}
	if waiter.Conn().IsClosed() {
		t.Error("the deadline cost the connection: the server should give up first")
	}
	must(t, tx.Commit(t.Context()))
	claims(t, store, newOwner(), replay.Lost, r)
}

// A right that a transaction holds does not hold up other claims that come with one
// for it.
func TestCompanyPassesByTransactions(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	store, held := mustOpen(t, Config{URL: s.web, LockWait: 10 * time.Second, Timeout: 15 * time.Second}), newRight()
	tx := begin(t, s, pgx.TxOptions{})
	claims(t, store.ClaimTx(tx), newOwner(), replay.Won, held)
	var waiting []<-chan answered
	for range 4 {
		waiting = append(waiting, claiming(store, newOwner(), held))
	}
	start := time.Now()
	var wg sync.WaitGroup
	for range 32 {
		wg.Go(func() {
			for range 10 {
				if got, err := store.Claim(context.Background(), newOwner(), newRight()); got != replay.Won || err != nil {
					t.Errorf("Claim of another right = %v, %v", got, err)
				}
			}
		})
	}
	wg.Wait()
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("others took %v", took)
	}
	var batch []claim
	for range 3 {
		batch = append(batch, claim{newOwner(), newRight()})
	}
	batch = append(batch, claim{newOwner(), held})
	answers := make([]answer, len(batch))
	must(t, store.claimTogether(batch, answers))
	if want := []answer{answer(answerWon), answer(answerWon), answer(answerWon), answerAlone}; fmt.Sprint(answers) != fmt.Sprint(want) {
		t.Errorf("in company: %v, want %v", answers, want)
	}
	for _, w := range waiting {
		select {
		case a := <-w:
			t.Errorf("told %v, %v of what may roll back", a.outcome, a.err)
		default:
		}
	}
	must(t, tx.Commit(t.Context()))
	for _, w := range waiting {
		if a := <-w; a.outcome != replay.Lost || a.err != nil {
			t.Errorf("after the commit = %v, %v", a.outcome, a.err)
		}
	}
}

// A snapshot from before cannot see what was spent or revoked since.
func TestOtherIsolationsRefused(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	store := mustOpen(t, Config{URL: s.web})
	place := replay.Place{Session: newID(), KeepUntil: time.Now().Add(time.Hour)}
	for _, level := range []pgx.TxIsoLevel{pgx.RepeatableRead, pgx.Serializable} {
		x := store.ClaimTx(begin(t, s, pgx.TxOptions{IsoLevel: level}))
		if got, err := x.Claim(t.Context(), newOwner(), newRight()); got != replay.Lost || !errors.Is(err, errIsolation) {
			t.Errorf("%s: Claim = %v, %v", level, got, err)
		}
		x = store.ClaimTx(begin(t, s, pgx.TxOptions{IsoLevel: level}))
		if v, got, err := x.Take(t.Context(), place, newOwner(), newRight()); v != replay.Refused || got != replay.Lost || !errors.Is(err, errIsolation) {
			t.Errorf("%s: Take = %v, %v, %v", level, v, got, err)
		}
	}
}

// A restore waits for a transaction that takes a right of the session, also if the
// session has no record, and sees then what it took.
func TestRestoreWaitsForTake(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	store := mustOpen(t, Config{URL: s.web, LockWait: 20 * time.Second, Timeout: 20 * time.Second})
	for fence := range uint64(2) {
		sid, r := newID(), newRight()
		if fence > 0 {
			must(t, second(store.Restore(t.Context(), restoring(sid, 0, newOwner()))))
		}
		tx := begin(t, s, pgx.TxOptions{})
		place := replay.Place{Session: sid, Version: replay.Version{Fence: fence}, KeepUntil: time.Now().Add(time.Hour)}
		if v, o, err := store.ClaimTx(tx).Take(t.Context(), place, newOwner(), r); v != replay.Granted || o != replay.Won || err != nil {
			t.Fatalf("Take = %v, %v, %v", v, o, err)
		}
		restored := make(chan replay.Restored, 1)
		go func() {
			req := restoring(sid, fence, newOwner())
			req.Look = []replay.ID{r.ID}
			got, err := store.Restore(context.Background(), req)
			if err != nil {
				t.Error(err)
			}
			restored <- got
		}()
		select {
		case <-restored:
			t.Fatal("the restore did not wait")
		case <-time.After(200 * time.Millisecond):
		}
		// Acknowledgements wait for neither.
		if v, err := store.Acknowledge(t.Context(), place); err != nil || v[0] != replay.Granted {
			t.Errorf("Acknowledge = %v, %v", v, err)
		}
		must(t, tx.Commit(t.Context()))
		if got := <-restored; got.Verdict != replay.Granted || !got.Spent[0] {
			t.Errorf("Restore after the take = %+v, want the right spent", got)
		}
	}
}

func second[T any](_ T, err error) error { return err }

// buy makes an order for a right: the effect of a claim.
func buy(ctx context.Context, tx pgx.Tx, store *Store, o replay.Owner, r replay.Right) (replay.Outcome, error) {
	got, err := store.ClaimTx(tx).Claim(ctx, o, r)
	if err == nil && got == replay.Won {
		_, err = tx.Exec(ctx, "INSERT INTO orders VALUES ($1)", uuid(r.ID))
	}
	return got, err
}

// bought is the right of all who play buyAndHesitate's role, and of who comes after.
func bought() replay.Right {
	r := newRight()
	r.ID = replay.ID{1}
	return r
}

// buyAndHesitate claims and orders, and never commits.
func buyAndHesitate(url string) error {
	ctx := context.Background()
	store, err := Open(ctx, Config{URL: url, Timeout: busy})
	if err != nil {
		return err
	}
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	tx, err := conn.Begin(ctx)
	if err != nil {
		return err
	}
	if got, err := buy(ctx, tx, store, replay.Owner{1}, bought()); err != nil || got != replay.Won {
		return fmt.Errorf("claim: %v, %w", got, err)
	}
	racing.Ready()
	time.Sleep(time.Minute)
	return os.ErrDeadlineExceeded
}

func withOrders(t *testing.T) site {
	t.Helper()
	s := newSite(t)
	s.server.SQL("CREATE TABLE orders (id uuid); GRANT INSERT, SELECT ON orders TO " + s.roles.web)
	return s
}

// A process that dies between claim and commit leaves neither.
func TestCrashBetweenClaimAndCommit(t *testing.T) {
	t.Parallel()
	s := withOrders(t)
	buyer, err := racing.Start("buy", s.web)
	must(t, err)
	must(t, buyer.Kill())
	store := mustOpen(t, Config{URL: s.web, LockWait: 20 * time.Second, Timeout: 20 * time.Second})
	tx := begin(t, s, pgx.TxOptions{})
	if got, err := buy(t.Context(), tx, store, replay.Owner{2}, bought()); got != replay.Won || err != nil {
		t.Fatalf("after the crash = %v, %v", got, err)
	}
	must(t, tx.Commit(t.Context()))
	if n := sql(t, s.web, "SELECT count(*) FROM orders"); n != "1" {
		t.Errorf("%s orders", n)
	}
}

// Many buy with one right each, and many of them change their minds: there is one
// order for each right that is spent.
func TestExactlyOnce(t *testing.T) {
	t.Parallel()
	s := withOrders(t)
	store := mustOpen(t, Config{URL: s.web})
	rights := []replay.Right{newRight(), newRight(), newRight(), newRight()}
	var wg sync.WaitGroup
	for range 16 {
		conn := dial(t, s.web)
		wg.Go(func() {
			for _, i := range rand.Perm(len(rights)) {
				tx, err := conn.Begin(context.Background())
				if err != nil {
					t.Error(err)
					return
				}
				_, err = buy(context.Background(), tx, store, newOwner(), rights[i])
				if err == nil && rand.IntN(4) == 0 {
					err = tx.Commit(context.Background())
				} else {
					tx.Rollback(context.Background())
				}
				if err != nil && final(err) {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if n := sql(t, s.web, "SELECT count(*) - count(DISTINCT id) FROM orders"); n != "0" {
		t.Errorf("%s orders too many", n)
	}
	if n := sql(t, s.owner, "SELECT count(*) FROM sealedblob.rights"); n != sql(t, s.web, "SELECT count(*) FROM orders") || n == "0" {
		t.Errorf("%s rights are spent, for %s orders", n, sql(t, s.web, "SELECT count(*) FROM orders"))
	}
}
