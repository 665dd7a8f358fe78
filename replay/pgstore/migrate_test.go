package pgstore

import (
	"errors"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sealedblob/sealedblob/internal/services"
	"github.com/sealedblob/sealedblob/replay"
)

// Many nodes may migrate at once.
func TestMigrateAtOnce(t *testing.T) {
	t.Parallel()
	s := bareSite(t, services.Postgres(t), sharedRoles(t))
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if err := Migrate(t.Context(), s.owner); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if got := sql(t, s.owner, "SELECT string_agg(version::text, ',' ORDER BY version) FROM sealedblob.migrations"); got != "1,2,3,4" {
		t.Errorf("versions %s", got)
	}
}

// An older schema is brought up to date and keeps what it has; a newer one is left
// alone, and neither is opened.
func TestMigrateVersions(t *testing.T) {
	t.Parallel()
	s := bareSite(t, services.Postgres(t), sharedRoles(t))
	if _, err := Open(t.Context(), Config{URL: s.owner}); !errors.Is(err, ErrSchema) || !strings.Contains(err.Error(), "Migrate") {
		t.Errorf("Open without a schema = %v", err)
	}
	earliest := replay.FirstEpoch(time.Now()).Unix()
	must(t, migrate(t.Context(), s.owner, migrations[:2]))
	if began, err := strconv.ParseInt(sql(t, s.owner, "SELECT epoch FROM sealedblob.memory"), 10, 64); err != nil || began < earliest {
		t.Errorf("epoch %d, %v, want no earlier than %d", began, err, earliest)
	}
	if _, err := Open(t.Context(), Config{URL: s.owner}); !errors.Is(err, ErrSchema) {
		t.Errorf("Open of an older schema = %v", err)
	}
	right := newRight()
	sql(t, s.owner, "INSERT INTO sealedblob.rights VALUES ('"+hexOf(right.ID)+"', gen_random_uuid(), 4000000000)")
	epoch := sql(t, s.owner, "SELECT epoch FROM sealedblob.memory")
	must(t, Migrate(t.Context(), s.owner))
	store := mustOpen(t, Config{URL: s.owner})
	right.Issued = rightOf(t, store).Issued
	claims(t, store, newOwner(), replay.Lost, right)
	if got := sql(t, s.owner, "SELECT epoch FROM sealedblob.memory"); got != epoch {
		t.Errorf("epoch %s, then %s", epoch, got)
	}

	newer := append(slices.Clone(migrations), "CREATE TABLE sealedblob.future ()")
	must(t, migrate(t.Context(), s.owner, newer))
	if err := Migrate(t.Context(), s.owner); !errors.Is(err, ErrSchema) {
		t.Errorf("Migrate of a newer schema = %v", err)
	}
	if _, err := Open(t.Context(), Config{URL: s.owner}); !errors.Is(err, ErrSchema) || !strings.Contains(err.Error(), "newer") {
		t.Errorf("Open of a newer schema = %v", err)
	}
}

// A migration that fails leaves nothing behind.
func TestMigrateAllOrNone(t *testing.T) {
	t.Parallel()
	s := bareSite(t, services.Postgres(t), sharedRoles(t))
	if err := migrate(t.Context(), s.owner, append(slices.Clone(migrations), "SELECT 1/0")); err == nil {
		t.Fatal("no error")
	}
	if got := sql(t, s.owner, "SELECT count(*) FROM pg_namespace WHERE nspname = 'sealedblob'"); got != "0" {
		t.Errorf("%s schemas are left", got)
	}
	must(t, Migrate(t.Context(), s.owner))
}

// An owner who may make no schema can be given an empty one.
func TestMigrateIntoGivenSchema(t *testing.T) {
	t.Parallel()
	server, r := services.Postgres(t), sharedRoles(t)
	server.SQL("CREATE SCHEMA sealedblob AUTHORIZATION " + r.owner)
	must(t, Migrate(t.Context(), as(t, server.DSN, r.owner, r.password)))
}
