package pgstore

import (
	"context"
	"errors"
	"math"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/sealedblob/sealedblob/replay"
)

// What does not fit into a bigint is refused here, not wrapped or stored.
func TestLargeNumbersRefused(t *testing.T) {
	t.Parallel()
	store := mustOpen(t, Config{URL: newSite(t).web})
	ctx := t.Context()
	for _, n := range []uint64{math.MaxInt64, math.MaxInt64 + 1, math.MaxUint64} {
		for _, v := range []replay.Version{{Fence: n}, {Gen: n}} {
			at := replay.Place{Session: newID(), Version: v, KeepUntil: time.Now().Add(time.Hour)}
			req := restoring(at.Session, 0, newOwner())
			req.Set = v
			errs := map[string]error{
				"Restore":     second(store.Restore(ctx, req)),
				"Protect":     second(store.Protect(ctx, at)),
				"Acknowledge": second(store.Acknowledge(ctx, at)),
			}
			if v.Fence > 0 {
				_, _, errs["Take"] = store.Take(ctx, at, newOwner(), newRight())
				errs["Renew"] = second(store.Renew(ctx, at, newID()))
			}
			for name, err := range errs {
				if !errors.Is(err, errTooLarge) || final(err) {
					t.Errorf("%s of %v = %v", name, v, err)
				}
			}
		}
	}
	last := replay.Place{Session: newID(), Version: replay.Version{Gen: math.MaxInt64 - 1}, KeepUntil: time.Now().Add(time.Hour)}
	if v, err := store.Protect(ctx, last); v != replay.Granted || err != nil {
		t.Errorf("Protect of the last generation = %v, %v", v, err)
	}
}

// Claims that come together for one right have one winner, also in one statement.
func TestOneStatementManyClaims(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	store := mustOpen(t, Config{URL: s.web})
	r, other, held, late, past := newRight(), newRight(), newRight(), newRight(), newRight()
	late.Issued = time.Unix(1, 0)
	past.KeepUntil = time.Now().Add(-5 * time.Second)
	a, b := newOwner(), newOwner()
	claims(t, store, a, replay.Won, held)
	batch := []claim{{a, r}, {b, r}, {a, r}, {b, other}, {a, held}, {b, held}, {a, late}, {a, past}, {b, r}}
	got := make([]answer, len(batch))
	must(t, store.claimTogether(batch, got))
	want := []answer{answer(replay.Won), answer(replay.Lost), answer(replay.Mine), answer(replay.Won), answer(replay.Mine), answer(replay.Lost), answerEpoch, answerHorizon, answer(replay.Lost)}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("claim %d = %d, want %d", i, got[i], want[i])
		}
	}
	// A right that its owner claims with a later end is kept for longer.
	held.KeepUntil = held.KeepUntil.Add(time.Hour)
	must(t, store.claimTogether([]claim{{b, held}, {a, held}}, got[:2]))
	if kept := sql(t, s.owner, "SELECT keep FROM sealedblob.rights WHERE id = '"+hexOf(held.ID)+"'"); kept != itoa(ceil(held.KeepUntil)) {
		t.Errorf("kept until %s, want %d", kept, ceil(held.KeepUntil))
	}
}

func itoa(n int64) string { return strconv.FormatInt(n, 10) }

// Who wants the same rights in another order waits, and for nobody who waits for
// him: a third one holds the middle one until both wait.
func TestNoDeadlock(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	store := mustOpen(t, Config{URL: s.web, LockWait: 20 * time.Second, Timeout: 20 * time.Second})
	all := map[string]func(rights []replay.Right) (bool, error){
		"claim": func(rights []replay.Right) (bool, error) {
			got, err := store.Claim(context.Background(), newOwner(), rights...)
			return got == replay.Won, err
		},
		"restore": func(rights []replay.Right) (bool, error) {
			req := restoring(newID(), 0, newOwner())
			for _, r := range rights {
				req.Burn = append(req.Burn, replay.Burn{Right: r, Required: true})
			}
			got, err := store.Restore(context.Background(), req)
			return got.Verdict == replay.Granted, err
		},
	}
	for _, pair := range [][2]string{{"claim", "claim"}, {"claim", "restore"}, {"restore", "restore"}} {
		rights := []replay.Right{newRight(), newRight(), newRight()}
		for i := range rights {
			rights[i].ID[0] = byte(i)
		}
		holder, err := dial(t, s.owner).Begin(t.Context())
		must(t, err)
		_, err = holder.Exec(t.Context(), "INSERT INTO sealedblob.rights VALUES ($1, $1, 4000000000)", uuid(rights[1].ID))
		must(t, err)
		var wins atomic.Int64
		var wg sync.WaitGroup
		for n, kind := range pair {
			mine := slices.Clone(rights)
			if n == 1 {
				slices.Reverse(mine)
			}
			wg.Go(func() {
				won, err := all[kind](mine)
				if err != nil {
					t.Errorf("%s beside %s = %v", kind, pair[1-n], err)
				}
				if won {
					wins.Add(1)
				}
			})
		}
		s.awaitWaiting(t, 2)
		must(t, holder.Rollback(t.Context()))
		wg.Wait()
		if wins.Load() != 1 {
			t.Errorf("%v: %d winners", pair, wins.Load())
		}
	}
}

// The disk is the bound: when it is full the answer is final, and nothing is written.
func TestFull(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	store := mustOpen(t, Config{URL: s.web})
	sql(t, s.owner, `CREATE FUNCTION sealedblob.no_space() RETURNS trigger LANGUAGE plpgsql AS
		$$ BEGIN RAISE EXCEPTION 'no space left' USING ERRCODE = 'disk_full'; END $$;
		CREATE TRIGGER no_space BEFORE INSERT ON sealedblob.rights FOR EACH ROW EXECUTE FUNCTION sealedblob.no_space();
		GRANT EXECUTE ON FUNCTION sealedblob.no_space TO `+s.roles.web)
	r, burn := newRight(), restoring(newID(), 0, newOwner())
	burn.Burn = []replay.Burn{{Right: r}}
	for name, err := range map[string]error{
		"Claim":        second(store.Claim(t.Context(), newOwner(), r)),
		"Claim of two": second(store.Claim(t.Context(), newOwner(), r, newRight())),
		"Restore":      second(store.Restore(t.Context(), burn)),
	} {
		if !errors.Is(err, replay.ErrFull) {
			t.Errorf("%s = %v, want %v", name, err, replay.ErrFull)
		}
	}
	sql(t, s.owner, "DROP TRIGGER no_space ON sealedblob.rights")
	if status, err := store.Status(t.Context()); err != nil || status.Rights+status.Sessions != 0 {
		t.Errorf("Status = %+v, %v, want nothing", status, err)
	}
}

// A purge that commits between the check and the insert of a claim is noticed: the
// right is not won again.
func TestClaimBesidePurge(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	sql(t, s.owner, timed)
	store := mustOpen(t, Config{URL: s.web, LockWait: 10 * time.Second, Timeout: 15 * time.Second, hooks: hooks{purgeEvery: time.Hour, pool: patient}})
	burn, longer := restoring(newID(), 0, newOwner()), time.Duration(0)
	for name, again := range map[string]func(replay.Right) (replay.Outcome, error){
		"claim": func(r replay.Right) (replay.Outcome, error) { return store.Claim(context.Background(), newOwner(), r) },
		"claim of two": func(r replay.Right) (replay.Outcome, error) {
			other := newRight()
			other.KeepUntil = r.KeepUntil
			return store.Claim(context.Background(), newOwner(), r, other)
		},
		"restore": func(r replay.Right) (replay.Outcome, error) {
			req := burn
			req.Session, req.Burn = newID(), []replay.Burn{{Right: r}}
			got, err := store.Restore(context.Background(), req)
			if err != nil || got.Verdict != replay.Granted {
				return replay.Lost, err
			}
			return got.Burnt[0], nil
		},
	} {
		r := newRight()
		longer += 10 * time.Minute // than what was purged before
		r.KeepUntil = r.KeepUntil.Add(longer)
		claims(t, store, newOwner(), replay.Won, r)
		commit := s.purging(t)
		got := make(chan answered, 1)
		go func() {
			o, err := again(r)
			got <- answered{o, err}
		}()
		s.awaitWaiting(t, 1)
		commit()
		if a := <-got; a.outcome.Granted() {
			t.Errorf("%s of a spent right beside a purge = %v, %v", name, a.outcome, a.err)
		}
		if o, err := again(r); o.Granted() || err != nil && !errors.Is(err, replay.ErrBeyondHorizon) {
			t.Errorf("%s after the purge = %v, %v", name, o, err)
		}
	}
}

// patient lets claims in company wait for longer than companyWait.
func patient(cfg *pgxpool.Config) {
	connected := cfg.AfterConnect
	cfg.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
		if err := connected(ctx, conn); err != nil {
			return err
		}
		_, err := conn.Exec(ctx, "SET lock_timeout = '10s'")
		return err
	}
}

// awaitWaiting waits until so many statements in the database wait for a lock, and for
// longer than those that give their places back.
func (s site) awaitWaiting(t *testing.T, n int) {
	t.Helper()
	conn, want, got := dial(t, s.server.DSN), strconv.Itoa(n), ""
	for limit := time.Now().Add(15 * time.Second); got != want && time.Now().Before(limit); time.Sleep(time.Millisecond) {
		var err error
		got, err = runSQL(conn, `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
			AND wait_event_type = 'Lock' AND clock_timestamp() - query_start > '250 ms'`)
		must(t, err)
	}
	if got != want {
		t.Fatalf("%s statements wait, want %s", got, want)
	}
}

// A right that is purged after a claim of several found it, and before it reads whose
// it is, is nobody's: the claim waits for the second one meanwhile.
func TestClaimOfPurged(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	sql(t, s.owner, timed)
	store := mustOpen(t, Config{URL: s.web, LockWait: 10 * time.Second, Timeout: 15 * time.Second, hooks: hooks{purgeEvery: time.Hour}})
	spent, other := newRight(), newRight()
	spent.ID[0], other.ID[0] = 1, 2
	other.KeepUntil = other.KeepUntil.Add(9 * time.Hour)
	claims(t, store, newOwner(), replay.Won, spent)
	holder, err := dial(t, s.owner).Begin(t.Context())
	must(t, err)
	_, err = holder.Exec(t.Context(), "INSERT INTO sealedblob.rights VALUES ($1, $1, 4000000000)", uuid(other.ID))
	must(t, err)
	got := make(chan answered, 1)
	go func() {
		o, err := store.Claim(context.Background(), newOwner(), spent, other)
		got <- answered{o, err}
	}()
	s.awaitWaiting(t, 1)
	s.purging(t)()
	must(t, holder.Rollback(t.Context()))
	if a := <-got; a.outcome.Granted() || a.err == nil {
		t.Errorf("Claim of a right that was purged meanwhile = %v, %v", a.outcome, a.err)
	}
}

// An acknowledgement of a revoked session whose record is purged after the horizon was
// read is not taken for that of a session without a record.
func TestAcknowledgeBesidePurge(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	sql(t, s.owner, timed)
	// Web nodes stop to look at the clock, which is where the horizon is read.
	sql(t, s.owner, `CREATE OR REPLACE FUNCTION sealedblob.clock() RETURNS bigint LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
		BEGIN
		  IF session_user = '`+s.roles.web+`' THEN
		    PERFORM pg_advisory_xact_lock_shared(1);
		  END IF;
		  RETURN floor(extract(epoch FROM clock_timestamp()))::bigint + (SELECT seconds FROM sealedblob.ahead);
		END $$`)
	store := mustOpen(t, Config{URL: s.web, LockWait: 10 * time.Second, Timeout: 15 * time.Second, hooks: hooks{purgeEvery: time.Hour}})
	place := replay.Place{Session: newID(), Version: replay.Version{Gen: 1}, KeepUntil: time.Now().Add(time.Hour)}
	must(t, store.Revoke(t.Context(), place.Session, place.KeepUntil))
	stop := dial(t, s.owner)
	_, err := runSQL(stop, "SELECT pg_advisory_lock(1)")
	must(t, err)
	got := make(chan replay.Verdict, 1)
	go func() {
		v, err := store.Acknowledge(context.Background(), place)
		if err != nil || len(v) != 1 {
			t.Errorf("Acknowledge = %v, %v", v, err)
			v = append(v, replay.Refused)
		}
		got <- v[0]
	}()
	s.awaitWaiting(t, 1)
	s.purging(t)()
	_, err = runSQL(stop, "SELECT pg_advisory_unlock(1)")
	must(t, err)
	if v := <-got; v == replay.Granted {
		t.Errorf("Acknowledge of a revoked session beside a purge = %v", v)
	}
}

// purging deletes all that ends within two hours in a transaction, which it leaves
// to the caller to commit. Others see the clock as it was.
func (s site) purging(t *testing.T) (commit func()) {
	t.Helper()
	tx, err := dial(t, s.owner).Begin(t.Context())
	must(t, err)
	_, err = tx.Exec(t.Context(), "UPDATE sealedblob.ahead SET seconds = seconds + 7200")
	must(t, err)
	var gone int64
	must(t, tx.QueryRow(t.Context(), "SELECT sealedblob.purge(1000, 1000)").Scan(&gone))
	if gone == 0 {
		t.Fatal("nothing was purged")
	}
	_, err = tx.Exec(t.Context(), "UPDATE sealedblob.ahead SET seconds = 0")
	must(t, err)
	return func() { must(t, tx.Commit(context.Background())) }
}

// A session whose record is purged while somebody asks for it is not taken for one
// without a record.
func TestSessionBesidePurge(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	sql(t, s.owner, timed)
	store := mustOpen(t, Config{URL: s.web, LockWait: 10 * time.Second, Timeout: 15 * time.Second, hooks: hooks{purgeEvery: time.Hour}})
	req := restoring(newID(), 0, newOwner())
	must(t, store.Revoke(t.Context(), req.Session, req.KeepUntil))
	commit := s.purging(t)
	type told struct {
		got replay.Restored
		err error
	}
	got := make(chan told, 1)
	go func() {
		r, err := store.Restore(context.Background(), req)
		got <- told{r, err}
	}()
	s.awaitWaiting(t, 1)
	commit()
	if a := <-got; a.got.Verdict == replay.Granted || a.err != nil && !errors.Is(a.err, replay.ErrBeyondHorizon) {
		t.Errorf("Restore of a revoked session beside a purge = %v, %v", a.got.Verdict, a.err)
	}
}

// Purge forgets what is past in steps, while the store itself does so in time too.
func TestPurge(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	sql(t, s.owner, timed)
	quiet := mustOpen(t, Config{URL: s.web, hooks: hooks{purgeEvery: time.Hour}})
	sql(t, s.owner, "INSERT INTO sealedblob.rights SELECT gen_random_uuid(), gen_random_uuid(), 1000 + n FROM generate_series(1, 2500) n")
	live := newRight()
	claims(t, quiet, newOwner(), replay.Won, live)
	must(t, quiet.Purge(t.Context()))
	status, err := quiet.Status(t.Context())
	if err != nil || status.Rights != 1 || status.Horizon.Unix() != 3500 || status.Bytes == 0 {
		t.Errorf("Status = %+v, %v", status, err)
	}
	claims(t, quiet, newOwner(), replay.Lost, live)

	sql(t, s.owner, shift(2*time.Hour))
	mustOpen(t, Config{URL: s.web, hooks: hooks{purgeEvery: 10 * time.Millisecond}})
	for limit := time.Now().Add(20 * time.Second); status.Rights > 0 && time.Now().Before(limit); time.Sleep(20 * time.Millisecond) {
		status, err = quiet.Status(t.Context())
		must(t, err)
	}
	if status.Rights != 0 {
		t.Errorf("%d rights after their end", status.Rights)
	}
}

// Callers that leave cost no connection, and no goroutines beyond the store's places
// for statements. What the server works on is done, and noted.
func TestCallersLeave(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	store := mustOpen(t, Config{URL: s.web, LockWait: 20 * time.Second, Timeout: 20 * time.Second, hooks: hooks{purgeEvery: time.Hour}})
	place, next := replay.Place{Session: newID(), KeepUntil: time.Now().Add(time.Hour)}, newID()
	tx := begin(t, s, pgx.TxOptions{})
	_, _, err := store.ClaimTx(tx).Take(t.Context(), place, newOwner(), newRight())
	must(t, err) // and a renewal waits for its end
	ctx, leave := context.WithCancel(t.Context())
	told := make(chan error, 50)
	for range cap(told) {
		go func() { told <- second(store.Renew(ctx, place, next)) }()
	}
	for limit := time.Now().Add(15 * time.Second); len(store.held) < cap(store.held); time.Sleep(time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatalf("%d of %d stand in line", len(store.held), cap(store.held))
		}
	}
	s.awaitWaiting(t, cap(store.held)) // those in line: on a busy machine the first tries may wait as long
	leave()
	for range cap(told) {
		if err := <-told; !errors.Is(err, context.Canceled) {
			t.Errorf("Renew = %v, want %v", err, context.Canceled)
		}
	}
	if got := len(store.alone); got < cap(store.held) {
		t.Errorf("%d statements are left, want %d", got, cap(store.held))
	}
	must(t, tx.Commit(t.Context()))
	for limit := time.Now().Add(20 * time.Second); len(store.alone) > 0 && time.Now().Before(limit); {
		time.Sleep(time.Millisecond)
	}
	if store.witness.arg()[1] == 0 {
		t.Error("a transaction that was committed is not noted")
	}
	if v, err := store.Renew(t.Context(), place, newID()); v != replay.Revoked || err != nil {
		t.Errorf("Renew after one that was left = %v, %v", v, err)
	}
	if closed := store.pool.Stat().NewConnsCount() - int64(store.pool.Stat().TotalConns()); closed != 0 {
		t.Errorf("%d connections were closed", closed)
	}
}

// RaiseEpoch never goes back, and is not for web nodes.
func TestRaiseEpoch(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	web, owner := mustOpen(t, Config{URL: s.web}), mustOpen(t, Config{URL: s.owner})
	if err := web.RaiseEpoch(t.Context()); err == nil {
		t.Error("a web node raised the epoch")
	}
	last, err := web.Epoch(t.Context())
	must(t, err)
	for range 3 {
		must(t, owner.RaiseEpoch(t.Context()))
		epoch, err := web.Epoch(t.Context())
		if err != nil || !epoch.After(last) {
			t.Errorf("Epoch = %v, %v, after %v", epoch, err, last)
		}
		last = epoch
	}
}

// A session whose record is made after an acknowledgement locked those that it is to
// raise, and is then restored, is judged anew.
func TestAcknowledgeBesideRestore(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	store := mustOpen(t, Config{URL: s.web, LockWait: 10 * time.Second, Timeout: 15 * time.Second})
	at := func(session replay.ID, gen uint64) replay.Place {
		return replay.Place{Session: session, Version: replay.Version{Gen: gen}, KeepUntil: time.Now().Add(time.Hour)}
	}
	held, restored := newID(), newID()
	must(t, second(store.Acknowledge(t.Context(), at(held, 1))))
	holder, restorer := dial(t, s.owner), dial(t, s.owner)
	must(t, second(runSQL(holder, "BEGIN; SELECT id FROM sealedblob.sessions WHERE id = '"+hexOf(held)+"' FOR UPDATE")))
	got := make(chan []replay.Verdict, 1)
	go func() {
		v, err := store.Acknowledge(context.Background(), at(held, 2), at(restored, 5))
		if err != nil {
			t.Error(err)
		}
		got <- v
	}()
	s.awaitWaiting(t, 1)
	must(t, second(store.Acknowledge(t.Context(), at(restored, 1))))
	must(t, second(runSQL(restorer, "BEGIN; UPDATE sealedblob.sessions SET fence = 1, floor = 0 WHERE id = '"+hexOf(restored)+"'")))
	must(t, second(runSQL(holder, "COMMIT")))
	s.awaitWaiting(t, 1)
	must(t, second(runSQL(restorer, "COMMIT")))
	if v := <-got; len(v) != 2 || v[0] != replay.Granted || v[1] != replay.Superseded {
		t.Errorf("Acknowledge = %v, want %v, %v", v, replay.Granted, replay.Superseded)
	}
}
