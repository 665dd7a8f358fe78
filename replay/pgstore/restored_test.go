package pgstore

import (
	"errors"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sealedblob/sealedblob/internal/services"
	"github.com/sealedblob/sealedblob/replay"
)

// refuses expects that nothing is decided on s but by who raises the epoch, and that
// what was issued before is refused from then on.
func refuses(t *testing.T, web, owner string, before ...replay.Right) {
	t.Helper()
	if _, err := Open(t.Context(), Config{URL: web}); !errors.Is(err, ErrRestored) {
		t.Fatalf("Open = %v, want %v", err, ErrRestored)
	}
	s := mustOpen(t, Config{URL: owner, Restored: true})
	if got, err := s.Claim(t.Context(), newOwner(), newRight()); got != replay.Lost || !errors.Is(err, ErrRestored) {
		t.Fatalf("Claim = %v, %v, want %v", got, err, ErrRestored)
	}
	if _, err := s.Status(t.Context()); err != nil {
		t.Errorf("Status = %v", err)
	}
	must(t, s.RaiseEpoch(t.Context()))
	for _, r := range before {
		if got, err := s.Claim(t.Context(), newOwner(), r); got != replay.Lost || !errors.Is(err, replay.ErrBeforeEpoch) {
			t.Errorf("Claim of an old right = %v, %v, want %v", got, err, replay.ErrBeforeEpoch)
		}
	}
	store := mustOpen(t, Config{URL: web})
	claims(t, store, newOwner(), replay.Won, rightOf(t, store))
}

// elsewhere moves dsn to another database.
func elsewhere(t *testing.T, dsn string, server *services.Server) string {
	t.Helper()
	u := parse(t, dsn)
	to := parse(t, server.DSN)
	u.Host, u.Path, u.RawQuery = to.Host, to.Path, to.RawQuery
	return u.String()
}

// A dump that is restored into another database of the same server, or into the same
// one again, or a clone, is refused until the epoch is raised.
func TestDumpRestored(t *testing.T) {
	t.Parallel()
	s, other := newSite(t), services.Postgres(t)
	store := mustOpen(t, Config{URL: s.web})
	right := newRight()
	dump := pipe(t, nil, "pg_dump", "--schema=sealedblob", "--dbname="+s.server.DSN)
	claims(t, store, newOwner(), replay.Won, right) // after the dump
	pipe(t, dump, "psql", "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--dbname="+other.DSN)
	web, owner := elsewhere(t, s.web, other), elsewhere(t, s.owner, other)
	refuses(t, web, owner, right)

	sql(t, s.owner, "DROP SCHEMA sealedblob CASCADE")
	pipe(t, dump, "psql", "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--dbname="+s.server.DSN)
	if got, err := store.Claim(t.Context(), newOwner(), right); got != replay.Lost || !errors.Is(err, ErrRestored) {
		t.Errorf("Claim on a connection from before = %v, %v, want %v", got, err, ErrRestored)
	}
	refuses(t, s.web, s.owner, right)
	claims(t, store, newOwner(), replay.Won, rightOf(t, store)) // who lived through it goes on
	store.Close()
}

// Data alone, loaded into the tables from which they were dumped, are refused too:
// by whoever lived through it, by whoever comes anew, and by the purge.
func TestDataRestored(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	store := mustOpen(t, Config{URL: s.web, hooks: hooks{purgeEvery: time.Hour}})
	right := newRight()
	sql(t, s.owner, "INSERT INTO sealedblob.rights SELECT gen_random_uuid(), gen_random_uuid(), 1")
	dump := pipe(t, nil, "pg_dump", "--data-only", "--disable-triggers", "--schema=sealedblob", "--dbname="+s.server.DSN)
	claims(t, store, newOwner(), replay.Won, right) // after the dump
	sql(t, s.owner, "TRUNCATE sealedblob.rights, sealedblob.sessions, sealedblob.subjects, sealedblob.memory, sealedblob.migrations")
	pipe(t, dump, "psql", "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--dbname="+s.server.DSN)
	if got, err := store.Claim(t.Context(), newOwner(), right); got != replay.Lost || !errors.Is(err, ErrRestored) {
		t.Errorf("Claim = %v, %v, want %v", got, err, ErrRestored)
	}
	if err := store.Purge(t.Context()); !errors.Is(err, ErrRestored) {
		t.Errorf("Purge = %v, want %v", err, ErrRestored)
	}
	operator := mustOpen(t, Config{URL: s.owner, Restored: true})
	if err := operator.AcceptFailover(t.Context()); !errors.Is(err, ErrRestored) {
		t.Errorf("AcceptFailover = %v, want %v", err, ErrRestored)
	}
	refuses(t, s.web, s.owner, right)
	must(t, store.Purge(t.Context()))
}

// What moves or freezes memory's row, and each of its own writes, in a savepoint or
// not, leaves it known.
func TestMemoryWritten(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	store := mustOpen(t, Config{URL: s.web, hooks: hooks{purgeEvery: time.Hour}})
	past := "INSERT INTO sealedblob.rights VALUES (gen_random_uuid(), gen_random_uuid(), 1); "
	const purge = "SELECT sealedblob.purge(1000, 1000)"
	for _, script := range []string{
		past + purge,
		past + "BEGIN; SAVEPOINT a; " + purge + "; RELEASE a; COMMIT",
		"BEGIN; SAVEPOINT a; SELECT sealedblob.raise_epoch(); ROLLBACK TO a; SELECT sealedblob.raise_epoch(); COMMIT",
		"SELECT sealedblob.accept_failover()",
		"SELECT epoch FROM sealedblob.memory FOR UPDATE",
		"VACUUM (FREEZE) sealedblob.memory",
		"VACUUM FULL sealedblob.memory",
		past + purge,
		"CLUSTER sealedblob.memory USING memory_pkey",
		"REINDEX TABLE sealedblob.memory",
	} {
		sql(t, s.owner, script)
		if got, err := store.Claim(t.Context(), newOwner(), rightOf(t, store)); got != replay.Won || err != nil {
			t.Errorf("after %s: Claim = %v, %v", script, got, err)
		}
	}
}

// Each of what tells where a memory was made is compared.
func TestWhereabouts(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	store := mustOpen(t, Config{URL: s.web})
	write := func(column, value string) {
		sql(t, s.owner, "UPDATE sealedblob.memory SET "+column+" = "+value+"; SELECT sealedblob.sign()")
	}
	for _, column := range []string{"system", "timeline", "database", "relation"} {
		was := sql(t, s.owner, "SELECT "+column+" FROM sealedblob.memory")
		write(column, "("+was+" + 1)::text::"+sql(t, s.owner, "SELECT pg_typeof("+column+") FROM sealedblob.memory"))
		if got, err := store.Claim(t.Context(), newOwner(), newRight()); got != replay.Lost || !errors.Is(err, ErrRestored) {
			t.Errorf("another %s: Claim = %v, %v, want %v", column, got, err, ErrRestored)
		}
		write(column, was)
		claims(t, store, newOwner(), replay.Won, newRight())
	}
}

func TestCloneRefused(t *testing.T) {
	t.Parallel()
	server := services.PostgresServer(t)
	s := siteOn(t, server, newRoles(t, server))
	right := newRight()
	store := mustOpen(t, Config{URL: s.web})
	claims(t, store, newOwner(), replay.Won, right)
	must(t, store.Close())
	u := parse(t, server.DSN)
	u.Path = "/template1"
	sql(t, u.String(), "CREATE DATABASE clone TEMPLATE postgres")
	web, owner := parse(t, s.web), parse(t, s.owner)
	web.Path, owner.Path = "/clone", "/clone"
	refuses(t, web.String(), owner.String(), right)
}

func pipe(t *testing.T, input []byte, name string, arguments ...string) []byte {
	t.Helper()
	cmd := exec.Command(name, arguments...)
	cmd.Stdin = strings.NewReader(string(input))
	out, err := cmd.Output()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		t.Fatalf("%s: %v: %s", name, err, exit.Stderr)
	}
	must(t, err)
	return out
}

// A copy of the files that is put back is refused by whoever saw more, in time and
// after others went on with it.
func TestCopyPutBack(t *testing.T) {
	t.Parallel()
	server := services.PostgresServer(t)
	s := siteOn(t, server, newRoles(t, server))
	store := mustOpen(t, Config{URL: s.web})
	kept, lost := newRight(), newRight()
	o := newOwner()
	claims(t, store, o, replay.Won, kept)
	server.Stop()
	old := server.Save()
	server.Start()
	awaitStore(t, store)
	claims(t, store, o, replay.Mine, kept) // a restart alone is none
	claims(t, store, newOwner(), replay.Won, lost)
	server.Kill()
	server.PutBack(old)
	server.Start()
	var err error
	var got replay.Outcome
	for range 100 {
		if got, err = store.Claim(t.Context(), newOwner(), lost); got.Granted() || errors.Is(err, ErrRestored) {
			break // not one of the dead connections
		}
	}
	if got != replay.Lost || !errors.Is(err, ErrRestored) {
		t.Fatalf("Claim of a spent right on a copy put back = %v, %v, want %v", got, err, ErrRestored)
	}
	// Also when others have made more transactions than were lost, and other nodes claims.
	server.SQL("CREATE TABLE others (n int)")
	others := dial(t, server.DSN)
	for range 100 {
		_, err := runSQL(others, "INSERT INTO others VALUES (1)")
		must(t, err)
	}
	claims(t, mustOpen(t, Config{URL: s.web}), newOwner(), replay.Won, newRight())
	server.SQL("CHECKPOINT")
	if got, err := store.Claim(t.Context(), newOwner(), lost); got != replay.Lost || !errors.Is(err, ErrRestored) {
		t.Errorf("Claim after others went on with the copy = %v, %v, want %v", got, err, ErrRestored)
	}
	if _, err := store.Spent(t.Context(), lost.ID); !errors.Is(err, ErrRestored) {
		t.Errorf("Spent = %v, want %v", err, ErrRestored)
	}
	operator := mustOpen(t, Config{URL: s.owner, Restored: true})
	must(t, operator.RaiseEpoch(t.Context()))
	if got, err := store.Claim(t.Context(), newOwner(), lost); got != replay.Lost || !errors.Is(err, replay.ErrBeforeEpoch) {
		t.Errorf("Claim after the epoch was raised = %v, %v, want %v", got, err, replay.ErrBeforeEpoch)
	}
	claims(t, store, newOwner(), replay.Won, rightOf(t, store))

	// The same where a session is what was lost.
	server.Stop()
	old = server.Save()
	server.Start()
	awaitOpen(t, store)
	moved := restoring(newID(), 0, newOwner())
	moved.Issued = rightOf(t, store).Issued
	must(t, second(store.Restore(t.Context(), moved)))
	server.Kill()
	server.PutBack(old)
	server.Start()
	for range 100 {
		if err = second(store.Restore(t.Context(), moved)); err == nil || errors.Is(err, ErrRestored) {
			break
		}
	}
	if !errors.Is(err, ErrRestored) {
		t.Errorf("Restore on a copy put back = %v, want %v", err, ErrRestored)
	}
}

// awaitOpen waits until s answers again, and writes nothing.
func awaitOpen(t *testing.T, s *Store) {
	t.Helper()
	err := errors.New("never asked")
	for limit := time.Now().Add(20 * time.Second); err != nil && time.Now().Before(limit); time.Sleep(10 * time.Millisecond) {
		_, err = s.Epoch(t.Context())
	}
	must(t, err)
}

// A standby is refused, and so is the primary that it becomes, until an operator
// raises the epoch or says that nothing was lost.
func TestFailover(t *testing.T) {
	t.Parallel()
	server := services.PostgresServer(t)
	s := siteOn(t, server, newRoles(t, server))
	store := mustOpen(t, Config{URL: s.web})
	right := newRight()
	claims(t, store, newOwner(), replay.Won, right)
	standby := services.PostgresStandby(t, server)
	web, owner := elsewhere(t, s.web, standby), elsewhere(t, s.owner, standby)
	if _, err := Open(t.Context(), Config{URL: web}); !errors.Is(err, ErrUnfit) || !strings.Contains(err.Error(), "standby") {
		t.Fatalf("Open of a standby = %v", err)
	}
	late := newRight()
	claims(t, store, newOwner(), replay.Won, late)
	for limit := time.Now().Add(20 * time.Second); standby.SQL("SELECT count(*) FROM sealedblob.rights") != "2"; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatal("the standby lags behind")
		}
	}
	// A connection from before the server became a standby, as it were.
	if _, err := trySQL(web, "SELECT sealedblob.recall('{0,0}')"); state(err) != stateStandby {
		t.Errorf("recall on a standby = %v", err)
	}
	server.Kill()
	standby.SQL("SELECT pg_promote()")
	if _, err := Open(t.Context(), Config{URL: web}); !errors.Is(err, ErrRestored) {
		t.Fatalf("Open after a failover = %v, want %v", err, ErrRestored)
	}
	operator := mustOpen(t, Config{URL: owner, Restored: true})
	must(t, operator.AcceptFailover(t.Context()))
	living := mustOpen(t, Config{URL: web})
	living.witness.note(store.witness.arg()) // as if it had followed
	claims(t, living, newOwner(), replay.Lost, right)
	claims(t, living, newOwner(), replay.Lost, late)
	if err := mustOpen(t, Config{URL: web}).AcceptFailover(t.Context()); err == nil {
		t.Error("a web node may accept a failover")
	}
}

// Where a standby must have what is answered, a repetition waits for it as the first
// call did, whose wait may have ended without it. Who is told no need not wait.
func TestRepetitionWaitsForStandby(t *testing.T) {
	t.Parallel()
	server := services.PostgresServer(t)
	s := siteOn(t, server, newRoles(t, server))
	store := mustOpen(t, Config{URL: s.web, hooks: hooks{purgeEvery: time.Hour}})
	o, right, taken, next := newOwner(), newRight(), newRight(), newID()
	place := func() replay.Place {
		return replay.Place{Session: newID(), Version: replay.Version{Gen: 1}, KeepUntil: right.KeepUntil}
	}
	taking, changed, held, old, ended := place(), place(), place(), place(), newID()
	req := restoring(newID(), 0, o)
	req.Burn = []replay.Burn{{Right: newRight(), Required: true}}
	calls := map[string]func(s *Store) error{
		"Claim":        func(s *Store) error { return second(s.Claim(t.Context(), o, right)) },
		"Claim of two": func(s *Store) error { return second(s.Claim(t.Context(), o, right, taken)) },
		"Take": func(s *Store) error {
			_, _, err := s.Take(t.Context(), taking, o, taken)
			return err
		},
		"Restore":     func(s *Store) error { return second(s.Restore(t.Context(), req)) },
		"Protect":     func(s *Store) error { return second(s.Protect(t.Context(), changed)) },
		"Acknowledge": func(s *Store) error { return second(s.Acknowledge(t.Context(), held)) },
		"Renew":       func(s *Store) error { return second(s.Renew(t.Context(), old, next)) },
		"Revoke":      func(s *Store) error { return s.Revoke(t.Context(), ended, right.KeepUntil) },
		"RevokeSubject": func(s *Store) error {
			return s.RevokeSubject(t.Context(), ended, time.Now().Add(-time.Minute), right.KeepUntil)
		},
	}
	for name, call := range calls {
		if err := call(store); err != nil {
			t.Fatalf("%s = %v", name, err)
		}
	}
	server.SQL("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
	server.SQL("SELECT pg_reload_conf()")
	hasty := mustOpen(t, Config{URL: s.web, MaxConns: 16, Timeout: 2 * time.Second, hooks: hooks{purgeEvery: time.Hour}})
	for limit := time.Now().Add(10 * time.Second); server.SQL("SHOW synchronous_standby_names") != "nobody" && time.Now().Before(limit); {
		time.Sleep(10 * time.Millisecond)
	}
	var wg sync.WaitGroup
	for name, call := range calls {
		wg.Go(func() {
			if err := call(hasty); err == nil || final(err) {
				t.Errorf("%s again, without the standby = %v", name, err)
			}
		})
	}
	wg.Wait()
	claims(t, store, newOwner(), replay.Lost, right)
}
