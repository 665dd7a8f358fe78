package pgstore

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sealedblob/sealedblob/internal/services"
	"github.com/sealedblob/sealedblob/replay"
)

// The owner's default privileges, which are usual where the application's own tables
// are in the same database, give a web node's login nothing of the store's; who has
// more than admit gives is refused until the owner migrates again.
func TestMorePrivilegesRefused(t *testing.T) {
	t.Parallel()
	server := services.Postgres(t)
	r := newRoles(t, server)
	t.Cleanup(func() {
		sql(t, server.DSN, "DROP OWNED BY "+r.owner+" CASCADE; DROP OWNED BY "+r.web+"; DROP ROLE "+r.owner+", "+r.web)
	})
	s := bareSite(t, server, r)
	sql(t, s.owner, "ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO "+r.web+"; ALTER DEFAULT PRIVILEGES GRANT ALL ON FUNCTIONS TO "+r.web)
	s.migrate(t)
	web := dial(t, s.web)
	for _, statement := range []string{"DELETE FROM sealedblob.rights", "UPDATE sealedblob.memory SET epoch = 0", "SELECT sealedblob.raise_epoch()"} {
		if _, err := runSQL(web, statement); state(err) != stateForbidden {
			t.Errorf("%s: %v, want SQLSTATE %s", statement, err, stateForbidden)
		}
	}
	claims(t, mustOpen(t, Config{URL: s.web}), newOwner(), replay.Won, newRight())
	for _, more := range []string{"DELETE ON sealedblob.rights", "TRUNCATE ON sealedblob.sessions", "UPDATE (keep) ON sealedblob.rights", "UPDATE ON sealedblob.memory"} {
		sql(t, s.owner, "GRANT "+more+" TO "+r.web)
		if _, err := Open(t.Context(), Config{URL: s.web}); !errors.Is(err, ErrUnfit) || !strings.Contains(err.Error(), "Migrate") {
			t.Errorf("with %s: Open = %v, want %v", more, err, ErrUnfit)
		}
		must(t, Migrate(t.Context(), s.owner))
		claims(t, mustOpen(t, Config{URL: s.web}), newOwner(), replay.Won, newRight())
	}
}

// No setting of a role lets a commit wait for less than the server would.
func TestCommitsWaitForTheDisk(t *testing.T) {
	t.Parallel()
	server := services.Postgres(t)
	r := newRoles(t, server)
	t.Cleanup(func() {
		sql(t, server.DSN, "DROP OWNED BY "+r.owner+" CASCADE; DROP OWNED BY "+r.web+"; DROP ROLE "+r.owner+", "+r.web)
	})
	s := siteOn(t, server, r)
	for set, want := range map[string]string{"local": "on", "remote_write": "on", "remote_apply": "remote_apply"} {
		sql(t, s.web, "ALTER ROLE "+r.web+" SET synchronous_commit = "+set)
		store := mustOpen(t, Config{URL: s.web})
		var got string
		must(t, store.pool.QueryRow(t.Context(), "SHOW synchronous_commit").Scan(&got))
		if got != want {
			t.Errorf("the role says %s: synchronous_commit = %s, want %s", set, got, want)
		}
		// A transaction of the caller's own, that commits as he likes until it spends.
		tx := begin(t, s, pgx.TxOptions{})
		for as, want := range map[string]string{"off": "on", "local": "on", "remote_apply": "remote_apply"} {
			_, err := tx.Exec(t.Context(), "SET LOCAL synchronous_commit = "+as)
			must(t, err)
			claims(t, store.ClaimTx(tx), newOwner(), replay.Won, newRight())
			must(t, tx.QueryRow(t.Context(), "SHOW synchronous_commit").Scan(&got))
			if got != want {
				t.Errorf("a transaction with %s: %s once it spent, want %s", as, got, want)
			}
		}
	}
}

// What is spent in a transaction on another database, which has a store of its own,
// could be spent here again.
func TestTransactionOfAnotherDatabase(t *testing.T) {
	t.Parallel()
	here, there := newSite(t), newSite(t)
	store, right := mustOpen(t, Config{URL: here.web}), newRight()
	claims(t, store, newOwner(), replay.Won, right)
	tx := begin(t, there, pgx.TxOptions{})
	got, err := store.ClaimTx(tx).Claim(t.Context(), newOwner(), right)
	if got != replay.Lost || !errors.Is(err, ErrOtherDatabase) {
		t.Errorf("Claim = %v, %v, want %v", got, err, ErrOtherDatabase)
	}
}

// A copy of the files was put back, and before the first node came others had made more
// transactions than were lost, and a checkpoint: the server seems to have begun later.
// Who was told that a right is spent, and does not find it, believes nothing.
func TestCopyPutBackAfterCheckpoint(t *testing.T) {
	t.Parallel()
	server := services.PostgresServer(t)
	s := siteOn(t, server, newRoles(t, server))
	for spends, spend := range map[string]func(*Store, replay.Right) error{
		"claim": func(store *Store, r replay.Right) error {
			_, err := store.Claim(t.Context(), newOwner(), r)
			return err
		},
		"claim of two": func(store *Store, r replay.Right) error {
			_, err := store.Claim(t.Context(), newOwner(), r, newRight())
			return err
		},
		"take": func(store *Store, r replay.Right) error {
			_, _, err := store.Take(t.Context(), replay.Place{Session: newID(), KeepUntil: r.KeepUntil}, newOwner(), r)
			return err
		},
		"claim before one that is past": func(store *Store, r replay.Right) error {
			_, err := store.Claim(t.Context(), newOwner(), r)
			soon := newRight()
			soon.KeepUntil = time.Now().Add(time.Second)
			_, too := store.Claim(t.Context(), newOwner(), soon)
			time.Sleep(time.Until(soon.KeepUntil.Add(2 * time.Second)))
			return errors.Join(err, too)
		},
	} {
		store := mustOpen(t, Config{URL: s.web, hooks: hooks{purgeEvery: time.Hour}})
		server.Stop()
		old := server.Save()
		server.Start()
		awaitStore(t, store)
		lost := rightOf(t, store)
		must(t, spend(store, lost))
		server.Kill()
		server.PutBack(old)
		server.Start()
		server.SQL("CREATE TABLE others (n int)")
		others := dial(t, server.DSN)
		for range 300 {
			_, err := runSQL(others, "INSERT INTO others VALUES (1)")
			must(t, err)
		}
		server.SQL("CHECKPOINT; DROP TABLE others")
		var got replay.Outcome
		var err error
		for range 100 {
			if got, err = store.Claim(t.Context(), newOwner(), lost); got.Granted() || errors.Is(err, ErrRestored) {
				break // not one of the dead connections
			}
		}
		if got != replay.Lost || !errors.Is(err, ErrRestored) {
			t.Errorf("%s: then Claim = %v, %v, want %v", spends, got, err, ErrRestored)
		}
		must(t, mustOpen(t, Config{URL: s.owner, Restored: true}).RaiseEpoch(t.Context()))
		claims(t, store, newOwner(), replay.Won, rightOf(t, store)) // what was put back proves nothing any more
	}
}

// What a web node's login can hold up ends with its connections, and purging is not
// among it.
func TestTakenLogin(t *testing.T) {
	t.Parallel()
	server := services.Postgres(t)
	r := newRoles(t, server)
	t.Cleanup(func() {
		sql(t, server.DSN, "DROP OWNED BY "+r.owner+" CASCADE; DROP OWNED BY "+r.web+"; DROP ROLE "+r.owner+", "+r.web)
	})
	s := siteOn(t, server, r)
	owner := mustOpen(t, Config{URL: s.owner, LockWait: time.Second, hooks: hooks{purgeEvery: time.Hour}})
	sql(t, s.owner, "INSERT INTO sealedblob.rights VALUES (gen_random_uuid(), gen_random_uuid(), 1)")
	taken := dial(t, s.web)
	must(t, second(runSQL(taken, "SELECT pg_advisory_lock(21314, 0)")))
	must(t, owner.Purge(t.Context()))
	sql(t, s.owner, "INSERT INTO sealedblob.rights VALUES (gen_random_uuid(), gen_random_uuid(), 1)")
	must(t, second(runSQL(taken, "BEGIN; SELECT sealedblob.purge(1000, 1)")))
	if err := owner.Purge(t.Context()); !errors.Is(err, replay.ErrHeld) {
		t.Errorf("Purge beside one that is not over = %v, want %v", err, replay.ErrHeld)
	}
	sql(t, server.DSN, "ALTER ROLE "+r.web+" NOLOGIN; SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '"+r.web+"'")
	must(t, owner.Purge(t.Context()))
	must(t, owner.RaiseEpoch(t.Context()))
}

// A cut that nobody could raise any more is nobody's.
func TestFarCutRefused(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	store, subject := mustOpen(t, Config{URL: s.web}), newID()
	ever := time.Unix(1<<62, 0)
	if err := store.RevokeSubject(t.Context(), subject, ever, ever); !errors.Is(err, replay.ErrArgument) {
		t.Errorf("RevokeSubject for ever = %v, want %v", err, replay.ErrArgument)
	}
	must(t, store.RevokeSubject(t.Context(), subject, time.Now(), ever))
}
