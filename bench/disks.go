package main

import (
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/dgraph-io/badger/v4"
	"go.etcd.io/bbolt"
	_ "modernc.org/sqlite"

	"github.com/sealedblob/sealedblob/replay"
	"github.com/sealedblob/sealedblob/replay/filestore"
)

// disks are the embedded stores that sync a claim before they answer. The peers
// are used as their manuals say: one transaction for each claim.
var disks = []maker{
	{"limit", func(dir string) (claimer, error) { return openLimit(dir, 0) }},
	{"limit, preallocated", func(dir string) (claimer, error) { return openLimit(dir, 256<<20) }},
	{"filestore", openFilestore},
	{"bbolt", func(dir string) (claimer, error) { return openBolt(dir, (*bbolt.DB).Update) }},
	{"bbolt Batch", func(dir string) (claimer, error) { return openBolt(dir, (*bbolt.DB).Batch) }},
	{"sqlite", openSQLite},
	{"badger", openBadger},
	{"pebble", openPebble},
}

// room is how many rights a store of ours may hold here.
const room = 1 << 26

func openFilestore(dir string) (claimer, error) {
	s, err := filestore.Open(filepath.Join(dir, "replay"), filestore.Config{MaxRights: room})
	if err != nil {
		return claimer{}, err
	}
	return ofStore(s)
}

// ofStore claims in a store of ours.
func ofStore(s replay.Store) (claimer, error) {
	epoch, err := s.Epoch(context.Background())
	if err != nil {
		return claimer{}, errors.Join(err, s.Close())
	}
	return claimer{
		claim: func(c claim) (bool, error) {
			o, err := s.Claim(context.Background(), c.owner, replay.Right{ID: c.id, Issued: epoch, KeepUntil: c.keepUntil})
			return o == replay.Won, err
		},
		close: s.Close,
	}, nil
}

// value is what a peer keeps of a claim under its id.
func (c claim) value() []byte {
	b := make([]byte, 24)
	copy(b, c.owner[:])
	binary.BigEndian.PutUint64(b[16:], uint64(c.keepUntil.Unix()))
	return b
}

func openBolt(dir string, transaction func(*bbolt.DB, func(*bbolt.Tx) error) error) (claimer, error) {
	db, err := bbolt.Open(filepath.Join(dir, "bolt"), 0o600, nil)
	if err != nil {
		return claimer{}, err
	}
	name := []byte("rights")
	if err := db.Update(func(tx *bbolt.Tx) error {
		_, err := tx.CreateBucketIfNotExists(name)
		return err
	}); err != nil {
		return claimer{}, errors.Join(err, db.Close())
	}
	return claimer{
		claim: func(c claim) (won bool, err error) {
			err = transaction(db, func(tx *bbolt.Tx) error {
				rights := tx.Bucket(name)
				if won = rights.Get(c.id[:]) == nil; !won { // a batch may run this again
					return nil
				}
				return rights.Put(c.id[:], c.value())
			})
			return won && err == nil, err
		},
		close: db.Close,
	}, nil
}

// openSQLite has one connection: SQLite has one writer at a time, and to wait for
// the connection is fairer than to wait for the lock.
func openSQLite(dir string) (claimer, error) {
	db, err := sql.Open("sqlite", "file:"+filepath.Join(dir, "sqlite")+"?_pragma=journal_mode(wal)&_pragma=synchronous(full)")
	if err != nil {
		return claimer{}, err
	}
	db.SetMaxOpenConns(1)
	var insert *sql.Stmt
	_, err = db.Exec("CREATE TABLE IF NOT EXISTS rights (id BLOB PRIMARY KEY, owner BLOB NOT NULL, keep INTEGER NOT NULL) WITHOUT ROWID")
	if err == nil {
		insert, err = db.Prepare("INSERT INTO rights VALUES (?, ?, ?) ON CONFLICT DO NOTHING")
	}
	if err != nil {
		return claimer{}, errors.Join(err, db.Close())
	}
	return claimer{
		claim: func(c claim) (bool, error) {
			result, err := insert.Exec(c.id[:], c.owner[:], c.keepUntil.Unix())
			if err != nil {
				return false, err
			}
			rows, err := result.RowsAffected()
			return rows == 1, err
		},
		close: db.Close,
	}, nil
}

func openBadger(dir string) (claimer, error) {
	db, err := badger.Open(badger.DefaultOptions(dir).WithSyncWrites(true).WithLoggingLevel(badger.ERROR))
	if err != nil {
		return claimer{}, err
	}
	return claimer{
		claim: func(c claim) (won bool, err error) {
			err = db.Update(func(tx *badger.Txn) error {
				_, err := tx.Get(c.id[:])
				if won = errors.Is(err, badger.ErrKeyNotFound); !won {
					return err
				}
				return tx.SetEntry(badger.NewEntry(c.id[:], c.value()).WithTTL(time.Until(c.keepUntil)))
			})
			if errors.Is(err, badger.ErrConflict) { // another's claim of the same right was first
				return false, nil
			}
			return won && err == nil, err
		},
		close: db.Close,
	}, nil
}

// openPebble locks what it looks up and sets, in parts, as pebble has no
// transactions. Pebble itself lets concurrent writers share a sync.
func openPebble(dir string) (claimer, error) {
	db, err := pebble.Open(filepath.Join(dir, "pebble"), &pebble.Options{Logger: quiet{}})
	if err != nil {
		return claimer{}, err
	}
	var parts [256]sync.Mutex
	return claimer{
		claim: func(c claim) (bool, error) {
			part := &parts[c.id[0]]
			part.Lock()
			defer part.Unlock()
			_, closer, err := db.Get(c.id[:])
			if err == nil {
				return false, closer.Close()
			}
			if !errors.Is(err, pebble.ErrNotFound) {
				return false, err
			}
			err = db.Set(c.id[:], c.value(), pebble.Sync)
			return err == nil, err
		},
		close: db.Close,
	}, nil
}

// quiet is pebble's logger; it logs what it does by default.
type quiet struct{}

func (quiet) Infof(string, ...any)      {}
func (quiet) Errorf(string, ...any)     {}
func (quiet) Fatalf(f string, a ...any) { panic(fmt.Sprintf(f, a...)) }
