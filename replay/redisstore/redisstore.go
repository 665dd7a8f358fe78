// Package redisstore is the replay store for nodes on several hosts that share a
// Redis, version 7.0 or later, or a Valkey.
//
// Most people call [Open] with the server's address and give the [Store] to
// session.New. Each operation is one script and one round trip; concurrent claims
// share one. All of a store lives in one slot, so that in a Cluster it is on one
// master: several stores spread, one does not. While the Cluster moves that slot to
// another master nothing can be told. With rueidis.ClientOption.Sentinel the store
// follows the master that Sentinels name.
//
// # What is promised
//
// A claim is decided in one step for all nodes. Whether the server still knows it after a crash
// is the server's matter, so the store goes by the epoch: a server that was started
// again, a promoted replica or one whose replication ID changed otherwise, one that
// evicted something, and one that was emptied, may have forgotten, and from then on
// everything issued before is refused with [replay.ErrBeforeEpoch]. No acknowledged
// claim is granted again; what is lost is the use of what was sealed before.
// [Config.KeepOnRestart] keeps it where the server syncs each write before it answers.
// [Store.Promise] says in words what was found.
//
// A server on which older data was put back is found out by its new run, and
// with KeepOnRestart only by nodes that live on: call [Store.RaiseEpoch] after it, and
// after CONFIG RESETSTAT on a server that was let evict since a node last looked (nodes
// look every ten seconds).
// Not promised: anything after the keys of the store were written by others, or while
// a master that was replaced still serves the nodes that can reach it, if not
// [Config.Replicas] makes its answers wait for replicas that it has lost.
//
// # Accounts
//
// A web node needs no right to delete. With [Config.LeavePurge] this account does,
// for the store "sealedblob":
//
//	ACL SETUSER web on >PASSWORD resetchannels
//	  ~sb:{sealedblob}:* +eval +evalsha +info +time +wait +get +hget +hmget +exists
//	  (~sb:{sealedblob}:r:* +setnx +msetnx) (~sb:{sealedblob}:x:* +set) (~sb:{sealedblob}:s:* +hset)
//	  (~sb:{sealedblob}:u:* +hset) (~sb:{sealedblob}:d:* +rpush) (~sb:{sealedblob}:due +zadd)
//	  (~sb:{sealedblob}:meta +hset +hincrby)
//
// plus +cluster|slots +cluster|shards in a Cluster, and +waitaof for [Config.Synced]. Somebody else then calls [Store.Purge] now
// and then, with +zrange +lpop +mget +unlink +zrem on the same keys besides.
//
// What a node that was taken over can do with it: spend any right, revoke or rewrite any
// session or subject, and stop the store for all. It can neither delete nor overwrite a
// right, so that what the server still has stays spent. What the server has forgotten, with a
// restart or FLUSHALL, it can have granted again: it can set the epoch back, which nodes that
// live on refuse with [ErrWentBack], and nodes that are started later can't tell. Call
// [Store.RaiseEpoch] when the node is out.
package redisstore

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"
	"github.com/sealedblob/sealedblob/replay"
	"github.com/sealedblob/sealedblob/replay/internal/group"
)

// Errors that a caller may want to tell apart; like every error that is not one
// of package replay's, they mean "we could not tell".
var (
	// ErrUnfit says that the server can't keep the store's promise: its version,
	// role, eviction or persistence. The reason is in the message.
	ErrUnfit = errors.New("server is unfit")
	// ErrGone says that the server has no store of this name any more: it was
	// emptied, or is another one. A new Open makes one, with an epoch of its own;
	// so does RaiseEpoch.
	ErrGone = errors.New("store is gone")
	// ErrWentBack says that the store has less in it than this node has seen there:
	// older data was put back. Call RaiseEpoch.
	ErrWentBack = errors.New("store went back in time")
	// ErrReplicas says that fewer than asked for have the write. Whoever
	// repeats the call with the same owner learns what became of it.
	ErrReplicas = errors.New("too few replicas acknowledged")
)

// Config sets up a [Store].
type Config struct {
	// Client says where the server is, and with which account and TLS settings.
	// InitAddress is required. The store sets DisableRetry, DisableCache and
	// DisableAutoPipelining, since it repeats and gathers calls by itself.
	Client rueidis.ClientOption

	// Name tells the stores of one server apart: their keys begin with sb:{Name}:.
	// It has up to 64 letters, digits and any of . _ : -. Empty means "sealedblob".
	Name string

	// MaxRights, MaxSessions and MaxSubjects bound the live records; when one is
	// reached, or the server is out of memory, what needs another record is refused
	// with [replay.ErrFull]. Zero means [replay.DefaultMaxRights],
	// [replay.DefaultMaxSessions] and [replay.DefaultMaxSubjects].
	MaxRights, MaxSessions, MaxSubjects int

	// Timeout bounds each operation. Zero means 5 s.
	Timeout time.Duration

	// Replicas is how many replicas must have a write before it is answered (WAIT);
	// otherwise the error wraps [ErrReplicas]. ReplicaTimeout bounds the wait for
	// them; zero means 1 s.
	Replicas       int
	ReplicaTimeout time.Duration

	// Synced answers a write only when the server and as many replicas as Replicas says have
	// it on disk, in append-only files of their own (WAITAOF); otherwise the error wraps
	// [ErrReplicas], after ReplicaTimeout. It needs Redis 7.2 or a Valkey, with appendonly yes, and
	// a second for each write where appendfsync is everysec.
	Synced bool

	// KeepOnRestart keeps the epoch when the server was started again. It is for a
	// server with appendonly yes, appendfsync always and no-appendfsync-on-rewrite no
	// that nothing is ever put back on: where it lost an acknowledged write, a right can
	// be spent twice. The same holds for a replica that was promoted without it. Open
	// refuses a server that is known to be otherwise; how it syncs is only known to an
	// account with +config|get.
	KeepOnRestart bool

	// LeavePurge never deletes anything, for accounts that may not. Then somebody
	// else must call Purge before the store is full.
	LeavePurge bool

	// Tend is for an operator's tool beside the nodes: it neither makes a store nor, where a
	// node would, begins a new epoch, since it may not know how the nodes are set up; then
	// Open, or a call, fails. RaiseEpoch does what it says.
	Tend bool

	// ReadOnly makes nothing and writes nothing: Open fails if there is no store,
	// and all but Spent, SubjectCut, Epoch and Status returns an error.
	ReadOnly bool
}

var nameForm = regexp.MustCompile(`^[A-Za-z0-9._:-]{1,64}$`)

// waits says that an answer comes after others have the write, or the disk.
func (cfg Config) waits() bool { return cfg.Replicas > 0 || cfg.Synced }

func (cfg Config) withDefaults() (Config, error) {
	if cfg.Name == "" {
		cfg.Name = "sealedblob"
	}
	if !nameForm.MatchString(cfg.Name) { // with another brace the keys would not share a slot
		return cfg, errors.New("Config.Name is not of the required form")
	}
	if len(cfg.Client.InitAddress) == 0 {
		return cfg, errors.New("Config.Client.InitAddress is missing")
	}
	if cfg.Replicas < 0 {
		return cfg, errors.New("Config.Replicas is negative")
	}
	for limit, otherwise := range map[*int]int{
		&cfg.MaxRights:   replay.DefaultMaxRights,
		&cfg.MaxSessions: replay.DefaultMaxSessions,
		&cfg.MaxSubjects: replay.DefaultMaxSubjects,
	} {
		if *limit <= 0 {
			*limit = otherwise
		}
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = 5 * time.Second
	}
	if cfg.ReplicaTimeout <= 0 {
		cfg.ReplicaTimeout = time.Second
	}
	cfg.Client.DisableRetry, cfg.Client.DisableCache = true, true
	// Connections that nobody reads in the background: an answer too many would end the process.
	cfg.Client.DisableAutoPipelining = true
	if cfg.Client.Dialer.Timeout == 0 {
		cfg.Client.Dialer.Timeout = cfg.Timeout
	}
	return cfg, nil
}

// Questions share a round trip. The store does this itself, over few connections
// of its own, so that a caller can leave at any time, WAIT comes right behind what it
// is about, and an answer too many breaks a connection and nothing else.
const (
	connections = 2
	batchSize   = 128 // of 256 callers one half is answered while the other is served
	queueSize   = 4096
)

// watchEvery is how often role, eviction policy and evictions are looked at; they
// may change without a reconnect.
const watchEvery = 10 * time.Second

// Store is a [replay.Store] in a Redis. It is safe for concurrent use by many
// goroutines, and with other Stores of the same name, by many processes.
type Store struct {
	cfg       Config
	meta      string
	rights    string // what the keys of rights begin with
	scripts   scripts
	client    rueidis.Client
	conns     *conns
	questions *group.Group[question, reply]
	tags      atomic.Uint64
	waiting   atomic.Pointer[context.Context] // see common

	// server is the one that was checked last; nil: it must be checked. turn is held
	// by whoever does. Known is the store as it was when it was joined last, clock the
	// latest time of the server in an answer. Demoted says that the server was seen as
	// a replica since.
	server  atomic.Pointer[server]
	turn    chan struct{}
	known   atomic.Pointer[era]
	clock   atomic.Int64
	demoted atomic.Bool

	closing sync.Once
	quit    chan struct{} // closed by Close
	watched chan struct{} // closed when watch has ended
}

var (
	_ replay.Store    = (*Store)(nil)
	_ replay.Operable = (*Store)(nil)
)

// Open connects to the server, checks that it can keep the promise, and opens the
// store of that name. It makes one if there is none: its epoch is [replay.FirstEpoch] of
// the server's clock, and nodes that do so at once agree.
//
// It refuses, with an error wrapping [ErrUnfit], a server older than 7.0, a
// replica, one with a maxmemory-policy other than noeviction, and an account that may not
// delete, if LeavePurge is not set. Role and policy are looked at again with every
// new server and every ten seconds; until they are right again, all operations
// return that error.
//
// The caller must Close the Store.
func Open(ctx context.Context, cfg Config) (*Store, error) { return open(ctx, cfg, storeScripts) }

func open(ctx context.Context, cfg Config, texts scripts) (*Store, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("replay/redisstore: open: %w", err)
	}
	own := new(conns)
	option := cfg.Client
	own.track(&option)
	client, err := rueidis.NewClient(option)
	if err != nil {
		return nil, fmt.Errorf("replay/redisstore: open: %w", err)
	}
	s := &Store{
		cfg:     cfg,
		conns:   own,
		meta:    "sb:{" + cfg.Name + "}:meta",
		rights:  "sb:{" + cfg.Name + "}:r:",
		scripts: texts,
		client:  client,
		turn:    make(chan struct{}, 1),
		quit:    make(chan struct{}),
		watched: make(chan struct{}),
	}
	ctx, cancel := context.WithTimeout(ctx, s.patience())
	defer cancel()
	if err := s.enter(ctx); err != nil {
		client.Close()
		return nil, fmt.Errorf("replay/redisstore: open: %w", err)
	}
	s.questions = group.New(group.Config{Workers: connections, Size: batchSize, Queue: queueSize}, s.carry)
	go s.watch()
	return s, nil
}

// Close implements [replay.Store]. It waits for what is under way.
func (s *Store) Close() error {
	err := replay.ErrClosed
	s.closing.Do(func() {
		close(s.quit)
		err = s.questions.Close()
		<-s.watched
		s.client.Close()
	})
	return err
}
