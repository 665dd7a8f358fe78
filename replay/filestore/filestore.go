// Package filestore is the embedded durable replay store: one folder on a local
// disk, shared by all processes of one host.
//
// Most people call [Open] and give the [Store] to session.New. Every process of
// the application on this host opens the same folder; nodes on several hosts
// need a store that they share, such as redisstore or pgstore.
//
// A claim is on disk before it is answered. Concurrent calls share one write and
// one fsync (group commit). A folder that was copied or put back from a backup is
// refused with [ErrRestored]: a file knows its inode and when it was born, so that a
// file system that numbers files anew at each mount is of no use.
//
// What the package does not promise: nothing that the disk does not keep after it
// said that it would; and nothing after the whole disk was set back to a snapshot,
// files were overwritten in their place, or the log's last group was damaged, which
// looks like a write that a crash cut short; until the operator calls
// [Store.RaiseEpoch]. A process that had the store open refuses then with
// [ErrCorrupt]; one that opens it later can't tell.
//
// The files are described in docs/SPEC.md §8. It runs on Linux, macOS and
// FreeBSD; elsewhere Open returns an error.
package filestore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/sealedblob/sealedblob/replay"
)

// Errors that a caller may want to tell apart; like every error that is not one
// of package replay's, they mean "we could not tell".
var (
	// ErrCorrupt says that the log is damaged where no crash damages it, or that
	// it lost what it had. The path and the offset are in the message; nothing
	// was changed.
	ErrCorrupt = errors.New("replay log is corrupt")
	// ErrLocked says that another process held the folder for too long.
	ErrLocked = errors.New("replay folder is locked by another process")

	// ErrRestored says that a file of the store is a copy: the folder was put back
	// from a backup, or moved to another disk. See [Config].AfterRestore.
	ErrRestored = errors.New("replay log was copied or restored")

	errReadOnly = errors.New("replay store is open for reading only")
)

// Config sets up a [Store]. Its zero value is the safe choice.
type Config struct {
	// MaxRights, MaxSessions and MaxSubjects bound the live records; when one is
	// reached, what needs another record is refused with [replay.ErrFull]. The log
	// takes at most about 100, 200 and 80 bytes on disk for each, and 32 MiB; a
	// process about 32, 200 and 100 bytes of memory. Zero means [replay.DefaultMaxRights],
	// [replay.DefaultMaxSessions] and [replay.DefaultMaxSubjects].
	// Acknowledgements leave the last eighth of MaxSessions to the others.
	MaxRights, MaxSessions, MaxSubjects int

	// LockWait bounds how long a call waits for other processes. Zero means 5 s.
	LockWait time.Duration

	// AfterRestore opens a folder that was copied or put back from a backup, which
	// Open otherwise refuses with [ErrRestored], and raises the epoch as
	// [Store.RaiseEpoch] does: what was spent since the copy was made is not known.
	AfterRestore bool

	// ReadOnly makes nothing, repairs nothing and writes nothing: Open fails if
	// there is no store, and all but Spent, SubjectCut, Epoch and Status returns an error.
	ReadOnly bool

	// UnsafeNetworkFilesystem opens a folder on NFS, SMB, 9p, FUSE and the like.
	// Where such a file system does not lock or sync as a local disk does, a
	// right can be spent twice.
	UnsafeNetworkFilesystem bool
}

// Store is a [replay.Store] in a folder. It is safe for concurrent use by many
// goroutines, and with other Stores on the same folder, by many processes.
type Store struct {
	lockWait time.Duration
	readOnly bool
	disk     *disk // the committer's own

	ops     chan *op
	closing sync.Once
	quit    chan struct{} // closed by Close
	stopped chan struct{} // closed when the committer has ended
}

var (
	_ replay.Store    = (*Store)(nil)
	_ replay.Operable = (*Store)(nil)
)

// hooks are what the tests of this package bend.
type hooks struct {
	now        func() time.Time
	write      func(f *os.File, b []byte, off int64) error
	sync       func(f *os.File) error
	syncFolder func(f *os.File) error
	stamp      func(f *os.File) (stamp, error)
	minLog     int64 // up to this size the log is left alone
}

func realHooks() hooks {
	return hooks{
		now: time.Now,
		write: func(f *os.File, b []byte, off int64) error {
			_, err := f.WriteAt(b, off)
			return err
		},
		sync:       datasync,
		syncFolder: (*os.File).Sync,
		stamp:      stampOf,
		minLog:     1 << 20,
	}
}

// Open opens the store in the folder dir, and creates both if there is none. A
// store that starts empty has the first whole second after now as its epoch.
//
// It refuses, with the path in the message, a folder or file that is a symbolic
// link, belongs to another user, or is accessible to group or others; and a
// network file system unless cfg says otherwise. It cuts off a group of records
// that a crash left incomplete: nobody was told of it. It returns an error
// wrapping [ErrCorrupt] if anything else is wrong with the log, and one wrapping
// [ErrLocked] if another process does not let go of the folder.
//
// The caller must Close the Store.
func Open(dir string, cfg Config) (*Store, error) { return open(dir, cfg, realHooks()) }

func open(dir string, cfg Config, h hooks) (*Store, error) {
	if cfg.LockWait <= 0 {
		cfg.LockWait = 5 * time.Second
	}
	d, err := openDisk(dir, cfg, h)
	if err != nil {
		return nil, fmt.Errorf("replay/filestore: open: %w", err)
	}
	s := &Store{
		lockWait: cfg.LockWait,
		readOnly: cfg.ReadOnly,
		disk:     d,
		ops:      make(chan *op, maxGroup),
		quit:     make(chan struct{}),
		stopped:  make(chan struct{}),
	}
	d.ahead()
	err = d.locked(cfg.LockWait, s.quit, func() error {
		if err := d.refresh(); err != nil || cfg.ReadOnly {
			return err
		}
		d.cfg.AfterRestore = false
		if err := d.commit(true); err != nil {
			return err
		}
		d.tidy()
		return nil
	})
	if err != nil {
		d.close()
		return nil, fmt.Errorf("replay/filestore: open: %w", err)
	}
	go s.run()
	return s, nil
}

// Claim implements [replay.Rights].
func (s *Store) Claim(ctx context.Context, owner replay.Owner, rights ...replay.Right) (replay.Outcome, error) {
	rights = slices.Clone(rights)
	return do(ctx, s, op{}, func(l *replay.Ledger, now time.Time) (replay.Outcome, error) {
		return l.Claim(now, owner, rights)
	})
}

// Spent implements [replay.Rights].
func (s *Store) Spent(ctx context.Context, ids ...replay.ID) ([]bool, error) {
	ids = slices.Clone(ids)
	return do(ctx, s, op{reads: true}, func(l *replay.Ledger, _ time.Time) ([]bool, error) {
		return l.Spent(ids), nil
	})
}

// Restore implements [replay.Sessions].
func (s *Store) Restore(ctx context.Context, r replay.RestoreRequest) (replay.Restored, error) {
	r.Burn, r.Look = slices.Clone(r.Burn), slices.Clone(r.Look)
	return do(ctx, s, op{}, func(l *replay.Ledger, now time.Time) (replay.Restored, error) {
		return l.Restore(now, r)
	})
}

// Protect implements [replay.Sessions].
func (s *Store) Protect(ctx context.Context, at replay.Place) (replay.Verdict, error) {
	return do(ctx, s, op{}, func(l *replay.Ledger, now time.Time) (replay.Verdict, error) {
		return l.Protect(now, at)
	})
}

// Take implements [replay.Sessions].
func (s *Store) Take(ctx context.Context, by replay.Place, owner replay.Owner, right replay.Right) (replay.Verdict, replay.Outcome, error) {
	type taken struct {
		verdict replay.Verdict
		outcome replay.Outcome
	}
	got, err := do(ctx, s, op{}, func(l *replay.Ledger, now time.Time) (taken, error) {
		v, o, err := l.Take(now, by, owner, right)
		return taken{v, o}, err
	})
	return got.verdict, got.outcome, err
}

// Acknowledge implements [replay.Sessions]. If it raises no floor it writes and
// syncs nothing.
func (s *Store) Acknowledge(ctx context.Context, held ...replay.Place) ([]replay.Verdict, error) {
	type answer struct {
		verdicts []replay.Verdict
		full     error // beside which the verdicts hold
	}
	held = slices.Clone(held)
	got, err := do(ctx, s, op{asks: true}, func(l *replay.Ledger, now time.Time) (answer, error) {
		verdicts, full := l.Acknowledge(now, held)
		return answer{verdicts, full}, nil
	})
	if err != nil {
		return nil, err
	}
	return got.verdicts, got.full
}

// Renew implements [replay.Sessions].
func (s *Store) Renew(ctx context.Context, old replay.Place, next replay.ID) (replay.Verdict, error) {
	return do(ctx, s, op{}, func(l *replay.Ledger, now time.Time) (replay.Verdict, error) {
		return l.Renew(now, old, next)
	})
}

// Revoke implements [replay.Sessions].
func (s *Store) Revoke(ctx context.Context, session replay.ID, keepUntil time.Time) error {
	return s.submit(ctx, &op{f: func(l *replay.Ledger, now time.Time) error { return l.Revoke(now, session, keepUntil) }})
}

// RevokeSubject implements [replay.Subjects].
func (s *Store) RevokeSubject(ctx context.Context, subject replay.ID, before, keepUntil time.Time) error {
	return s.submit(ctx, &op{f: func(l *replay.Ledger, now time.Time) error {
		return l.RevokeSubject(now, subject, before, keepUntil)
	}})
}

// SubjectCut implements [replay.Subjects].
func (s *Store) SubjectCut(ctx context.Context, subject replay.ID) (time.Time, error) {
	return do(ctx, s, op{reads: true}, func(l *replay.Ledger, _ time.Time) (time.Time, error) {
		return l.SubjectCut(subject), nil
	})
}

// Epoch implements [replay.Store].
func (s *Store) Epoch(ctx context.Context) (time.Time, error) {
	return do(ctx, s, op{reads: true}, func(l *replay.Ledger, _ time.Time) (time.Time, error) {
		return l.Epoch(), nil
	})
}

// Status counts the records and tells epoch, horizon and size. It writes nothing.
func (s *Store) Status(ctx context.Context) (replay.Status, error) {
	return do(ctx, s, op{reads: true}, func(l *replay.Ledger, _ time.Time) (replay.Status, error) {
		status := l.Status()
		status.Bytes = s.disk.size()
		return status, nil
	})
}

// purgeStep is how much of the log Purge writes anew before it lets others in.
const purgeStep = 1 << 20

// Purge forgets all records that are past their KeepUntil and writes what is left
// anew, in steps between which other calls are answered. There is no need to call
// it: the oldest segment is removed when it is past, and written anew little by
// little when less than half of the log is live.
func (s *Store) Purge(ctx context.Context) error {
	var last uint64
	err := s.submit(ctx, &op{
		f: func(l *replay.Ledger, now time.Time) error {
			l.Purge(now)
			return nil
		},
		then: func(d *disk) error {
			err := d.endSegment()
			last = d.header.number
			return err
		},
	})
	for done := false; err == nil && !done; {
		err = s.submit(ctx, &op{f: func(_ *replay.Ledger, now time.Time) error {
			if done = s.disk.begin.segment >= last; done {
				return nil
			}
			return s.disk.clean(now, purgeStep)
		}})
	}
	return err
}

// RaiseEpoch makes the epoch [replay.FirstEpoch] of now, so that everything
// granted before is refused for good. An operator calls it after the folder was
// restored from a backup in a way that the store can't see.
func (s *Store) RaiseEpoch(ctx context.Context) error {
	return s.submit(ctx, &op{f: func(l *replay.Ledger, now time.Time) error {
		l.RaiseEpoch(nextEpoch(l.Epoch(), now))
		s.disk.pending = appendEpoch(s.disk.pending, l.Epoch().Unix())
		return nil
	}})
}

// nextEpoch is later than the epoch was: whoever issued in its very second, before
// that had come, wrote it as the time.
func nextEpoch(was, now time.Time) time.Time {
	next := replay.FirstEpoch(now)
	if !next.After(was) {
		next = was.Add(time.Second)
	}
	return next
}

// Close implements [replay.Store]. It waits for the group that is being written;
// calls that still wait return [replay.ErrClosed].
func (s *Store) Close() error {
	err := replay.ErrClosed
	s.closing.Do(func() {
		close(s.quit)
		<-s.stopped
		err = s.disk.close()
	})
	return err
}
