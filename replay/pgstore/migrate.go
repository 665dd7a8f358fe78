package pgstore

import (
	"context"
	"embed"
	"fmt"
	"io/fs"

	"github.com/jackc/pgx/v5"
)

//go:embed sql/*.sql
var files embed.FS

// migrations are the files' texts; the version of each is its place, from 1.
var migrations = func() (all []string) {
	names, _ := fs.Glob(files, "sql/*.sql") // in order
	for _, name := range names {
		text, _ := files.ReadFile(name)
		all = append(all, string(text))
	}
	return all
}()

// migrationLock keeps two migrations apart: "sealblob".
const migrationLock = 0x7365616c626c6f62

// Migrate makes the schema "sealedblob" in the database at url, or brings an older
// one up to date, in one transaction. Who logs in becomes the owner of what is
// made; it should be nobody whom a web node can log in as. Grants on it are brought in
// order, also if it is up to date: those whom admit let in have what it gives, and
// nobody else has anything, whatever the owner's default privileges say. It may run on
// many nodes at once. It returns an error wrapping [ErrSchema] if the schema is
// newer than this program.
func Migrate(ctx context.Context, url string) error {
	if err := migrate(ctx, url, migrations); err != nil {
		return fmt.Errorf("replay/pgstore: migrate: %w", err)
	}
	return nil
}

func migrate(ctx context.Context, url string, migrations []string) error {
	cfg, err := pgx.ParseConfig(url)
	if err != nil {
		return errURL
	}
	cfg.DefaultQueryExecMode = pgx.QueryExecModeExec
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return plain(err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error { return advance(ctx, tx, migrations) })
	if err != nil {
		return plain(err)
	}
	return nil
}

// advance applies what tx's database lacks.
func advance(ctx context.Context, tx pgx.Tx, migrations []string) error {
	if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock($1)", migrationLock); err != nil {
		return err
	}
	var server int
	if err := tx.QueryRow(ctx, "SELECT current_setting('server_version_num')::int").Scan(&server); err != nil {
		return err
	}
	if server < leastVersion {
		return &refused{ErrUnfit, "PostgreSQL before version 13"}
	}
	var known bool
	if err := tx.QueryRow(ctx, "SELECT to_regclass('sealedblob.migrations') IS NOT NULL").Scan(&known); err != nil {
		return err
	}
	if !known {
		// An owner who may not make schemas was given one.
		if err := run(ctx, tx, "DO $$ BEGIN IF to_regnamespace('sealedblob') IS NULL THEN CREATE SCHEMA sealedblob; END IF; END $$; CREATE TABLE sealedblob.migrations (version integer PRIMARY KEY, applied timestamptz NOT NULL DEFAULT now())"); err != nil {
			return err
		}
	}
	admitted := "SELECT NULL::oid WHERE false"
	if known {
		admitted = sqlAdmitted
	}
	rows, err := tx.Query(ctx, admitted)
	if err != nil {
		return err
	}
	roles, err := pgx.CollectRows(rows, pgx.RowTo[uint32])
	if err != nil {
		return err
	}
	var version int
	if err := tx.QueryRow(ctx, "SELECT coalesce(max(version), 0) FROM sealedblob.migrations").Scan(&version); err != nil {
		return err
	}
	if version > len(migrations) {
		return fitVersion(version)
	}
	for n := version; n < len(migrations); n++ {
		if err := run(ctx, tx, migrations[n]); err != nil {
			return fmt.Errorf("version %d: %w", n+1, err)
		}
		if _, err := tx.Exec(ctx, "INSERT INTO sealedblob.migrations (version) VALUES ($1)", n+1); err != nil {
			return err
		}
	}
	return grant(ctx, tx, roles)
}

// sqlAdmitted are the roles that were admitted.
const sqlAdmitted = `SELECT a.grantee FROM pg_proc p, aclexplode(p.proacl) a
	WHERE p.pronamespace = to_regnamespace('sealedblob') AND p.proname = 'arrive' AND a.grantee <> 0 AND a.grantee <> p.proowner`

// sqlTakeBack leaves to the owner alone what others were given, also by the owner's
// default privileges.
const sqlTakeBack = `DO $$
DECLARE
  g record;
BEGIN
  FOR g IN
    SELECT DISTINCT CASE WHEN c.relkind = 'S' THEN 'SEQUENCE' ELSE 'TABLE' END AS kind, c.oid::regclass::text AS name, a.grantee
    FROM pg_class c, aclexplode(c.relacl) a
    WHERE c.relnamespace = to_regnamespace('sealedblob') AND c.relkind IN ('r', 'p', 'v', 'S') AND a.grantee <> c.relowner
    UNION
    SELECT 'TABLE', t.attrelid::regclass::text, a.grantee
    FROM pg_class c JOIN pg_attribute t ON t.attrelid = c.oid, aclexplode(t.attacl) a
    WHERE c.relnamespace = to_regnamespace('sealedblob') AND a.grantee <> c.relowner
    UNION
    SELECT DISTINCT 'FUNCTION', p.oid::regprocedure::text, a.grantee
    FROM pg_proc p, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
    WHERE p.pronamespace = to_regnamespace('sealedblob') AND a.grantee <> p.proowner
  LOOP
    EXECUTE format('REVOKE ALL ON %s %s FROM %s', g.kind, g.name,
      CASE g.grantee WHEN 0 THEN 'PUBLIC' ELSE g.grantee::regrole::text END);
  END LOOP;
END $$`

// grant gives the roles what admit gives, and nobody anything else.
func grant(ctx context.Context, tx pgx.Tx, roles []uint32) error {
	if err := run(ctx, tx, sqlTakeBack); err != nil {
		return err
	}
	for _, role := range roles {
		if _, err := tx.Exec(ctx, "SELECT sealedblob.admit(rolname) FROM pg_roles WHERE oid = $1", role); err != nil {
			return err
		}
	}
	return nil
}

// run executes a script of ours, which has no parameters.
func run(ctx context.Context, tx pgx.Tx, script string) error {
	_, err := tx.Conn().PgConn().Exec(ctx, script).ReadAll()
	return err
}

// fitVersion refuses a schema of another version than this program's.
func fitVersion(version int) error {
	switch {
	case version < len(migrations):
		return &refused{ErrSchema, fmt.Sprintf("version %d, want %d: call Migrate as the owner", version, len(migrations))}
	case version > len(migrations):
		return &refused{ErrSchema, fmt.Sprintf("version %d is newer than this program's %d", version, len(migrations))}
	}
	return nil
}
