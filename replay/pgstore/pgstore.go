// Package pgstore is the replay store in PostgreSQL 13 or later: one database,
// shared by the nodes of an application or of many, on one host or several.
//
// Its owner calls [Migrate] once and at each update, and admits the role of the web
// nodes: SELECT sealedblob.admit('web'). The nodes call [Open] and give the [Store]
// to session.New. Web nodes call functions of the owner that decide by the table of
// docs/SPEC.md §8; they read, write and delete no record by themselves. A node that was
// taken over can spend, log out, have what it wrote kept for ever, which fills the disk,
// and stop the store, by locks for example. It can't unspend.
//
// A claim is committed before it is answered, and as durable as the server is.
// Concurrent claims of one right each share one statement and one commit. Each
// operation is one round trip. [Store.ClaimTx] spends in a transaction of the
// caller's own, so that an effect in the same database happens exactly once.
//
// What the package does not promise: nothing that was lost by a failover to a server
// that had not received it, which is why another timeline is refused until an
// operator decides; and nothing after a file-level copy was put back while no node
// ran that had seen more. If others' transactions and a checkpoint came before the first
// node, it refuses only for rights that it won itself. Then call [Store.RaiseEpoch].
//
// A store has no bounds but the disk: an exact count would be a row that every
// writer waits for, until the longest of the callers' own transactions ends. When
// the disk is full the answer is [replay.ErrFull]. Under load each node holds up to 256
// places in the server's table of locks, of which there are
// max_locks_per_transaction · max_connections, 6400 by default.
package pgstore

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/sealedblob/sealedblob/replay"
	"github.com/sealedblob/sealedblob/replay/internal/group"
)

// Config sets up a [Store]. URL is required.
type Config struct {
	// URL tells where the database is and as whom to log in: a URL or the key=value
	// form of libpq, or empty for its PG… environment variables. Connections are
	// direct, or through a pooler that keeps a session on one connection.
	URL string

	// MaxConns bounds the connections of this process; zero means 8, the least is 6.
	// Four of them are for claims in company.
	MaxConns int

	// Timeout bounds each operation, whatever its context says. Zero means 5 s.
	Timeout time.Duration

	// LockWait bounds how long an operation waits for a transaction that holds what
	// it needs, such as one of a caller's own. Zero means 2 s. The error is
	// [replay.ErrHeld] then.
	LockWait time.Duration

	// Restored opens a database that is refused with [ErrRestored], for an operator
	// to call Status and RaiseEpoch. All else returns that error until then.
	Restored bool

	// UnsafeAsyncCommit opens a server with synchronous_commit off: what it answered
	// in the last moments before a crash may be forgotten, and spent again. Who lived
	// through it and was answered more returns ErrRestored, but not if the crash was of one
	// process of the server, which then goes on as if it had not ended.
	UnsafeAsyncCommit bool

	// UnsafeNoSync opens a server with fsync or full_page_writes off. A crash of its
	// host may leave anything.
	UnsafeNoSync bool

	hooks hooks
}

// hooks are what the tests of this package bend.
type hooks struct {
	pool       func(*pgxpool.Config)
	purgeEvery time.Duration
}

const (
	workers   = 4  // statements of claims in company under way
	groupSize = 64 // claims in one statement; each holds a lock in the server's table until it commits
	queueSize = 1024
	purgeStep = 1000 // records of each kind in one transaction
)

// Store is a [replay.Store] in PostgreSQL. It is safe for concurrent use by many
// goroutines and, with other Stores on the same database, by many processes.
type Store struct {
	pool     *pgxpool.Pool
	timeout  time.Duration
	lockWait time.Duration
	witness  witness
	place    *atomic.Int64 // the database's, as of the latest connection

	claims *group.Group[claim, answer]
	alone  chan struct{} // a place for each statement that is not of claims in company
	held   chan struct{} // a half of them for those that wait for another transaction

	closing sync.Once
	closed  atomic.Bool
	quit    chan struct{} // ends the purging
	stopped chan struct{}
}

var (
	_ replay.Store    = (*Store)(nil)
	_ replay.Operable = (*Store)(nil)
)

// Open connects to the database that [Migrate] prepared.
//
// It refuses, by name: a server before version 13, a standby, settings that make a
// commit less than durable unless cfg says otherwise, a schema of another version,
// and with [ErrRestored] a database that is not where its memory was made. Version,
// settings and schema are asked for again on each new connection, and the others by each
// operation, since behind an address the server may change. No error holds the password.
//
// The caller must Close the Store. It forgets what is past every minute or so.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	if cfg.Timeout <= 0 {
		cfg.Timeout = 5 * time.Second
	}
	if cfg.LockWait <= 0 {
		cfg.LockWait = 2 * time.Second
	}
	if cfg.MaxConns <= 0 {
		cfg.MaxConns = 8
	}
	cfg.MaxConns = max(cfg.MaxConns, workers+2)
	if cfg.hooks.purgeEvery <= 0 {
		cfg.hooks.purgeEvery = time.Minute
	}
	place := new(atomic.Int64)
	pool, err := connect(ctx, cfg, place)
	if err != nil {
		return nil, fmt.Errorf("replay/pgstore: open: %w", err)
	}
	s := &Store{
		pool:     pool,
		place:    place,
		timeout:  cfg.Timeout,
		lockWait: min(cfg.LockWait, cfg.Timeout),
		alone:    make(chan struct{}, cfg.MaxConns-workers),
		held:     make(chan struct{}, (cfg.MaxConns-workers)/2),
		quit:     make(chan struct{}),
		stopped:  make(chan struct{}),
	}
	if _, err := s.Epoch(ctx); err != nil && !cfg.Restored {
		pool.Close()
		return nil, fmt.Errorf("replay/pgstore: open: %w", err)
	}
	s.claims = group.New(group.Config{Workers: workers, Size: groupSize, Queue: queueSize}, s.claimTogether)
	go s.purgeNowAndThen(cfg.hooks.purgeEvery)
	return s, nil
}

// Epoch implements [replay.Store].
func (s *Store) Epoch(ctx context.Context) (time.Time, error) {
	var epoch int64
	if err := s.call(ctx, "epoch", sqlEpoch, []any{s.witness.arg()}, &epoch); err != nil {
		return time.Time{}, err
	}
	return time.Unix(epoch, 0), nil
}

// Status counts the records and tells epoch, horizon and size. It reads every
// record's place in an index, which takes a while where there are millions.
func (s *Store) Status(ctx context.Context) (status replay.Status, err error) {
	var rights, sessions, subjects, epoch, horizon int64
	err = s.query(ctx, "status", sqlStatus, nil, &rights, &sessions, &subjects, &epoch, &horizon, &status.Bytes)
	if err != nil {
		return replay.Status{}, err
	}
	status.Rights, status.Sessions, status.Subjects = int(rights), int(sessions), int(subjects)
	status.Epoch = time.Unix(epoch, 0)
	if horizon != noHorizon {
		status.Horizon = time.Unix(horizon, 0)
	}
	return status, nil
}

// Purge forgets all records that are past their KeepUntil, in steps of some
// thousand in a transaction each. It returns [replay.ErrHeld] while another purge is
// held open.
func (s *Store) Purge(ctx context.Context) error {
	for {
		gone, err := s.purge(ctx)
		if err != nil || gone == 0 {
			return err
		}
	}
}

func (s *Store) purge(ctx context.Context) (gone int64, err error) {
	err = s.query(ctx, "purge", sqlPurge, []any{s.wait(ctx), purgeStep}, &gone)
	return gone, err
}

// purgeNowAndThen purges while others do something else, until the Store is closed.
// What fails is tried again the next time; that nothing is purged shows in the horizon,
// and Purge says why.
func (s *Store) purgeNowAndThen(every time.Duration) {
	defer close(s.stopped)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	for {
		select {
		case <-s.quit:
			return
		case <-time.After(every + rand.N(every/4+1)): // nodes take turns
		}
		for gone := int64(1); gone > 0 && !s.closed.Load(); {
			var err error
			if gone, err = s.purge(ctx); err != nil {
				break
			}
		}
	}
}

// RaiseEpoch makes the epoch [replay.FirstEpoch] of now, or one more than it
// was if that is later, and this database the place of the memory. Everything granted
// before is refused for good. An operator calls it as the owner after a restore or a
// failover; see [Config.Restored].
func (s *Store) RaiseEpoch(ctx context.Context) error {
	var epoch int64
	if err := s.query(ctx, "raise epoch", "SELECT sealedblob.raise_epoch()", nil, &epoch); err != nil {
		return err
	}
	s.witness.note([]int64{epoch, 0})
	return nil
}

// AcceptFailover lets the memory go on after a failover, which is refused with
// [ErrRestored] like any other timeline. An operator calls it as the owner only if
// the new primary had everything before the old one answered: synchronous
// replication. Elsewhere call RaiseEpoch.
func (s *Store) AcceptFailover(ctx context.Context) error {
	var timeline int32
	return s.query(ctx, "accept failover", "SELECT sealedblob.accept_failover()", nil, &timeline)
}

// Close implements [replay.Store]. It waits for what the server is working on.
func (s *Store) Close() error {
	err := replay.ErrClosed
	s.closing.Do(func() {
		s.closed.Store(true)
		close(s.quit)
		err = s.claims.Close()
		<-s.stopped
		s.pool.Close()
	})
	return err
}
