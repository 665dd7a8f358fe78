package pgstore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/sealedblob/sealedblob/internal/racing"
	"github.com/sealedblob/sealedblob/internal/services"
	"github.com/sealedblob/sealedblob/replay"
)

// The tests here start this program again as another node.
func TestMain(m *testing.M) {
	racing.Main(racing.Roles{"load": load, "race": race, "buy": buyAndHesitate})
	code := m.Run()
	if err := dropShared(); err != nil {
		fmt.Println(err)
		code = 1
	}
	os.Exit(code)
}

// load uses the store while it is purged all the time.
func load(url string) error {
	s, err := Open(context.Background(), Config{URL: url, Timeout: busy, hooks: hooks{purgeEvery: 5 * time.Millisecond}})
	if err != nil {
		return err
	}
	return racing.Load(s)
}

func race(url string) error {
	s, err := Open(context.Background(), Config{URL: url, MaxConns: 6, Timeout: time.Minute, LockWait: time.Minute})
	if err != nil {
		return err
	}
	return racing.Claim(s, 4)
}

// Nothing that a node acknowledged is granted again, however often nodes are killed
// in the middle of their work, and the store opens every time.
func TestKillNodes(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	all := racing.Kills{Place: s.web, Number: racing.Rounds(200), AtOnce: 4, Life: 100 * time.Millisecond}.Run(t)
	racing.CheckAll(t, mustOpen(t, Config{URL: s.web, MaxConns: 16}), all)
}

// The server is killed under load again and again: what it answered holds, and
// nodes that live go on by themselves when it is back.
func TestKillServer(t *testing.T) {
	t.Parallel()
	server := services.PostgresServer(t)
	// Recovery need not sync each file, since the host lives; PostgreSQL 13 must.
	if server.SQL("SELECT count(*) FROM pg_settings WHERE name = 'recovery_init_sync_method'") == "1" {
		server.SQL("ALTER SYSTEM SET recovery_init_sync_method = syncfs")
	}
	s := siteOn(t, server, newRoles(t, server))
	store := mustOpen(t, Config{URL: s.web, Timeout: 10 * time.Second})
	all := racing.KillServer(t, server, store, min(racing.Rounds(20), 20), final, func([]racing.Fact) { awaitStore(t, store) })
	racing.CheckAll(t, store, all)
	racing.CheckAll(t, mustOpen(t, Config{URL: s.web}), all[:min(len(all), 100)])
}

// awaitStore waits until s answers again, which takes it as many errors as it has
// dead connections.
func awaitStore(t *testing.T, s *Store) {
	t.Helper()
	var err error
	for limit := time.Now().Add(20 * time.Second); time.Now().Before(limit); time.Sleep(10 * time.Millisecond) {
		if _, err = s.Epoch(context.Background()); err == nil {
			if _, err = s.Claim(context.Background(), newOwner(), newRight()); err == nil {
				return
			}
		}
		if errors.Is(err, ErrRestored) {
			break
		}
	}
	t.Fatalf("the store does not come back: %v", err)
}

// final says whether err pretends to know.
func final(err error) bool {
	for _, known := range []error{replay.ErrReplayed, replay.ErrBeforeEpoch, replay.ErrBeyondHorizon, replay.ErrFull, replay.ErrNoOwner, replay.ErrClosed} {
		if errors.Is(err, known) {
			return true
		}
	}
	return false
}

// So many processes race for the same rights: each is won by exactly one.
func TestProcessesRace(t *testing.T) {
	t.Parallel()
	server := services.PostgresServer(t, "max_connections=450")
	s := siteOn(t, server, newRoles(t, server))
	won := racing.Race(t, s.web)
	racing.CheckAll(t, mustOpen(t, Config{URL: s.web}), won)
	if got := sql(t, s.owner, "SELECT count(*) FROM sealedblob.rights"); got != strconv.Itoa(len(won)) {
		t.Errorf("%s rights are kept of %d", got, len(won))
	}
}
