package pgstore

import (
	"context"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// leastVersion is the first server with 64-bit transaction ids in SQL.
const leastVersion = 130000

// idle is for how long a connection is trusted to live without being asked.
const idle = 15 * time.Second

// companyWait bounds how long claims in company wait for one transaction before
// each of them goes alone.
const companyWait = 100 * time.Millisecond

// connLife bounds how old a connection gets: settings of the server that nobody asks for
// again, fsync and full_page_writes, are looked at on each new one.
const connLife = 10 * time.Minute

// connect makes a pool of connections that passed the checks, and one of them. Each
// notes its place.
func connect(ctx context.Context, cfg Config, place *atomic.Int64) (*pgxpool.Pool, error) {
	pc, err := pgxpool.ParseConfig(cfg.URL)
	if err != nil {
		return nil, errURL // the library's would repeat it
	}
	pc.MaxConns = int32(min(cfg.MaxConns, 1<<16))
	pc.MinConns = 0
	pc.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeCacheStatement // never the simple protocol
	pc.ConnConfig.StatementCacheCapacity = 64
	pc.ConnConfig.ConnectTimeout = cfg.Timeout
	pc.PingTimeout = cfg.Timeout
	pc.ShouldPing = func(_ context.Context, p pgxpool.ShouldPingParams) bool { return p.IdleDuration > idle }
	pc.MaxConnLifetime = min(pc.MaxConnLifetime, connLife)
	pc.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error { return prepare(ctx, conn, cfg, place) }
	if cfg.hooks.pool != nil {
		cfg.hooks.pool(pc)
	}
	pool, err := pgxpool.NewWithConfig(ctx, pc)
	if err != nil {
		return nil, errURL
	}
	ctx, cancel := context.WithTimeout(ctx, cfg.Timeout)
	defer cancel()
	conn, err := pool.Acquire(ctx)
	if err != nil {
		pool.Close()
		return nil, plain(err)
	}
	conn.Release()
	return pool, nil
}

// prepare asks the server what it is, and sets up the session.
func prepare(ctx context.Context, conn *pgx.Conn, cfg Config, place *atomic.Int64) error {
	var version, fsync, pages, commit string
	err := conn.QueryRow(ctx, `SELECT current_setting('server_version_num'),
		current_setting('fsync'), current_setting('full_page_writes'), current_setting('synchronous_commit')`).
		Scan(&version, &fsync, &pages, &commit)
	if err != nil {
		return err
	}
	if n, err := strconv.Atoi(version); err != nil || n < leastVersion {
		return &refused{ErrUnfit, "PostgreSQL before version 13"}
	}
	switch {
	case (fsync == "off" || pages == "off") && !cfg.UnsafeNoSync:
		return &refused{ErrUnfit, "fsync=" + fsync + ", full_page_writes=" + pages}
	case commit == "off" && !cfg.UnsafeAsyncCommit:
		return &refused{ErrUnfit, "synchronous_commit=off"}
	}
	// What the session sets no reload of the server's settings and no ALTER ROLE changes.
	if commit != "remote_apply" && !cfg.UnsafeAsyncCommit {
		commit = "on"
	}
	// The server gives up a little after we do.
	statement := (cfg.Timeout + time.Second).Milliseconds()
	_, err = conn.Exec(ctx, `SELECT set_config('statement_timeout', $1, false), set_config('lock_timeout', $2, false),
		set_config('idle_in_transaction_session_timeout', $1, false), set_config('default_transaction_isolation', 'read committed', false),
		set_config('default_transaction_read_only', 'off', false), set_config('synchronous_commit', $3, false)`,
		strconv.FormatInt(statement, 10), strconv.FormatInt(companyWait.Milliseconds(), 10), commit)
	if err != nil {
		return err
	}
	if err := checkSchema(ctx, conn); err != nil {
		return err
	}
	var here int64
	if err := conn.QueryRow(ctx, "SELECT sealedblob.arrive()").Scan(&here); err != nil {
		return err
	}
	place.Store(here)
	for _, sql := range statements {
		if _, err := conn.Prepare(ctx, sql, sql); err != nil {
			return err
		}
	}
	return nil
}

// checkSchema refuses a database whose schema is not of this program's version.
func checkSchema(ctx context.Context, conn *pgx.Conn) error {
	var version int
	err := conn.QueryRow(ctx, "SELECT coalesce(max(version), 0) FROM sealedblob.migrations").Scan(&version)
	switch state(err) {
	case stateNoSchema, stateNoTable:
		version, err = 0, nil
	case stateForbidden:
		return &refused{ErrSchema, "this role was not admitted"}
	}
	if err != nil {
		return err
	}
	if err := fitVersion(version); err != nil {
		return err
	}
	return checkPrivileges(ctx, conn)
}

// checkPrivileges refuses a login that could unspend: whom default privileges, or
// somebody, gave more than admit does. The owner and superusers can do everything anyway.
func checkPrivileges(ctx context.Context, conn *pgx.Conn) error {
	var tables string
	err := conn.QueryRow(ctx, `SELECT coalesce(string_agg(c.relname, ', '), '') FROM pg_class c
		WHERE c.relnamespace = 'sealedblob'::regnamespace AND c.relkind IN ('r', 'p') AND NOT pg_has_role(c.relowner, 'USAGE')
		AND (has_table_privilege(c.oid, 'DELETE, TRUNCATE') OR has_any_column_privilege(c.oid, 'UPDATE'))`).Scan(&tables)
	if err == nil && tables != "" {
		err = &refused{ErrUnfit, "this role may change or delete what is spent (" + tables + "): call Migrate as the owner"}
	}
	return err
}
