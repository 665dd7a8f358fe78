package redisstore

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha1"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"
	"github.com/sealedblob/sealedblob/replay"
)

// The scripts have the run ID of the server in their text. A server keeps scripts
// neither on disk nor for its replicas. So every EVALSHA also asks, at no cost and in
// the same step, whether this still is the process that was checked: any other one
// answers NOSCRIPT, has done nothing, and is checked first. The replication ID is there
// too, and compared: it changes whenever a replica is promoted.

// scripts are the texts, by name.
type scripts map[string]string

//go:embed lua/*.lua
var luaFiles embed.FS

func lua(names ...string) (text string) {
	for _, name := range names {
		b, err := luaFiles.ReadFile("lua/" + name + ".lua")
		if err != nil {
			panic(err) // embedded
		}
		text += string(b)
	}
	return strings.ReplaceAll(text, "@AHEAD@", itoa(int64(replay.MaxAhead/time.Second)))
}

// Few functions for each: a script makes all of its own anew whenever it is called.
var storeScripts = scripts{
	"open":    lua("open"),
	"claim":   lua("head", "rights", "claim"),
	"session": lua("head", "rights", "session"),
	"purge":   lua("head", "rights", "purge"),
	"ask":     lua("head", "ask"),
}

// reads are the operations that change nothing.
var reads = map[string]bool{"spent": true, "cut": true, "status": true, "info": true, "load": true, "look": true}

// scriptOf names the script of an operation.
var scriptOf = map[string]string{
	"claim": "claim", "purge": "purge",
	"spent": "ask", "cut": "ask", "status": "ask",
	"restore": "session", "protect": "session", "take": "session", "acknowledge": "session",
	"renew": "session", "revoke": "session", "revoke_subject": "session",
}

// server is a server that was checked.
type server struct {
	info serverInfo
	sync string            // appendfsync; empty if not known
	sha  map[string]string // of the scripts, by name
	era  *era
}

// era is the time of a store without a loss. Its seq is the highest that this node has seen, on
// a server of this replication ID last; whoever has the turn sets that.
type era struct {
	name   string
	epoch  int64
	seq    atomic.Int64
	replid string
}

// known is what a script compares: a store with another epoch is not this one either.
func (e *era) known() string { return e.name + " " + itoa(e.epoch) }

func newEra(name string, epoch, seq int64) *era {
	e := &era{name: name, epoch: epoch}
	e.saw(seq)
	return e
}

func (e *era) saw(seq int64) { raise(&e.seq, seq) }

// raise makes a at least n.
func raise(a *atomic.Int64, n int64) {
	for was := a.Load(); was < n && !a.CompareAndSwap(was, n); was = a.Load() {
	}
}

// serverInfo is what INFO says.
type serverInfo struct {
	version, run, replid, role, policy string
	major, minor                       int
	evicted                            int64
	aof, cluster                       bool
}

// idForm is that of a run ID and of a replication ID.
var idForm = regexp.MustCompile(`^[0-9a-f]{40}$`)

func parseInfo(text string) (i serverInfo, err error) {
	fields := make(map[string]string)
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			fields[name] = value
		}
	}
	i = serverInfo{
		version: fields["redis_version"],
		run:     fields["run_id"],
		replid:  fields["master_replid"],
		role:    fields["role"],
		policy:  fields["maxmemory_policy"],
		aof:     fields["aof_enabled"] == "1",
		cluster: fields["cluster_enabled"] == "1",
	}
	var errEvicted error
	n, _ := fmt.Sscanf(i.version, "%d.%d", &i.major, &i.minor)
	i.evicted, errEvicted = strconv.ParseInt(fields["evicted_keys"], 10, 64)
	if n != 2 || errEvicted != nil || !idForm.MatchString(i.run) || !idForm.MatchString(i.replid) || i.role == "" || i.policy == "" {
		return i, fmt.Errorf("%w: its INFO is not understood", ErrUnfit)
	}
	return i, nil
}

const master = "master"

// fit says why the server can't keep the promise.
func (i serverInfo) fit() error {
	switch {
	case i.major < 7:
		return fmt.Errorf("%w: version %.16s, and 7.0 is needed", ErrUnfit, i.version)
	case i.role != master:
		return fmt.Errorf("%w: its role is %.16s, not master", ErrUnfit, i.role)
	case i.policy != "noeviction":
		return fmt.Errorf("%w: maxmemory-policy is %.16s, not noeviction", ErrUnfit, i.policy)
	}
	return nil
}

// enter is the first check.
func (s *Store) enter(ctx context.Context) error {
	mode := "make"
	if s.cfg.ReadOnly || s.cfg.Tend {
		mode = s.again()
	}
	if _, err := s.check(ctx, mode); err != nil || s.cfg.LeavePurge || s.cfg.ReadOnly {
		return err
	}
	err := s.client.Do(ctx, s.client.B().Unlink().Key(s.key("none")).Build()).Error()
	if isRedisError(err, "NOPERM") {
		return fmt.Errorf("%w: its account may not delete; see Config.LeavePurge", ErrUnfit)
	}
	return err
}

func (s *Store) key(rest string) string { return strings.TrimSuffix(s.meta, "meta") + rest }

// checked returns the server that was checked last, or checks the present one.
func (s *Store) checked(ctx context.Context) (*server, error) {
	if srv := s.server.Load(); srv != nil {
		return srv, nil
	}
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if srv := s.server.Load(); srv != nil {
		return srv, nil
	}
	return s.check(ctx, s.again())
}

// again is how a store is joined that was open before.
func (s *Store) again() string {
	switch {
	case s.cfg.ReadOnly:
		return "look"
	case s.cfg.Tend:
		return "tend"
	}
	return "join"
}

// watch checks the server now and then.
func (s *Store) watch() {
	defer close(s.watched)
	ticker := time.NewTicker(watchEvery)
	defer ticker.Stop()
	for {
		select {
		case <-s.quit:
			return
		case <-ticker.C:
		}
		s.recheck()
	}
}

func (s *Store) recheck() {
	ctx, cancel := context.WithTimeout(context.Background(), s.patience())
	defer cancel()
	s.turn <- struct{}{}
	defer func() { <-s.turn }()
	s.check(ctx, s.again()) // the next operation learns of a failure
}

// check looks at the server, takes the store that is there, and notes both.
func (s *Store) check(ctx context.Context, mode string) (*server, error) {
	known := s.server.Load()
	srv, err := s.look(ctx, mode)
	if _, answered := rueidis.IsRedisErr(err); err != nil && !answered && !errors.Is(err, ErrUnfit) && ctx.Err() == nil {
		srv, err = s.look(ctx, mode) // the connection may have been one to the server before
	}
	if err != nil {
		s.server.CompareAndSwap(known, nil)
		return nil, err
	}
	s.server.Store(srv)
	return srv, nil
}

// look does so, step by step; each but the first finds out if the server is another.
func (s *Store) look(ctx context.Context, mode string) (*server, error) {
	srv, err := s.prepare(ctx)
	if err != nil {
		return nil, err
	}
	return srv, s.join(ctx, srv, mode)
}

// prepare checks the server and makes the scripts known to it.
func (s *Store) prepare(ctx context.Context) (*server, error) {
	// From inside a script, since in a Cluster only what has a key comes to the
	// store's own node.
	r := s.eval(ctx, s.scripts["open"], question{operation: "info"})
	text, err := r.text(0)
	if err = cmp.Or(r.err, err); err != nil {
		return nil, err
	}
	srv := new(server)
	if srv.info, err = parseInfo(text); err != nil {
		return nil, err
	}
	if err := srv.info.fit(); err != nil {
		if srv.info.role != master {
			s.demoted.Store(true)
		}
		return nil, err
	}
	srv.sync = s.appendfsync(ctx, srv.info)
	if err := s.keeps(srv); err != nil {
		if s.cfg.KeepOnRestart && !srv.info.aof && !s.cfg.ReadOnly {
			err = cmp.Or(s.eval(ctx, s.scripts["open"], s.opening(srv, "unsynced")).err, err)
		}
		return nil, err
	}
	srv.sha, err = s.load(ctx, srv.info)
	return srv, err
}

// load makes the scripts for a server known to it, and returns their names there.
func (s *Store) load(ctx context.Context, info serverInfo) (map[string]string, error) {
	sha := make(map[string]string, len(s.scripts))
	for name, text := range s.scripts {
		if name == "open" {
			continue
		}
		text = s.textFor(info, text)
		if r := s.eval(ctx, text, question{operation: "load"}); r.err != nil {
			return nil, r.err
		}
		sum := sha1.Sum([]byte(text))
		sha[name] = hex.EncodeToString(sum[:])
	}
	return sha, nil
}

// textFor is a script for that server and this configuration.
func (s *Store) textFor(info serverInfo, text string) string {
	return strings.NewReplacer("@RUN@", info.run, "@REPLID@", info.replid, "@WAITS@", strconv.FormatBool(s.cfg.waits())).Replace(text)
}

// eval runs a script that the server may not know.
func (s *Store) eval(ctx context.Context, script string, q question) reply {
	e := s.known.Load()
	if e == nil {
		e = new(era)
	}
	tag := s.tag()
	c := s.client.B().Eval().Script(script).Numkeys(1).Key(s.meta).Arg(tag, e.known(), itoa(e.seq.Load()), q.operation).Arg(q.args...).Build()
	return s.ask(ctx, nil, []call{{question: q, command: command{c, tag}}})[0]
}

// appendfsync is that of the server, or of all in a Cluster, since each of its masters may
// get the store: the worst that is known.
func (s *Store) appendfsync(ctx context.Context, info serverInfo) (worst string) {
	if !info.cluster {
		return appendfsync(ctx, s.client)
	}
	for _, node := range s.client.Nodes() {
		if sync := appendfsync(ctx, node); worst == "" || worst == "always" && sync != "" {
			worst = sync
		}
	}
	return worst
}

// appendfsync asks for what INFO does not say, if the account may. With no-appendfsync-on-rewrite
// the server does not sync for as long as a rewrite or a snapshot takes.
func appendfsync(ctx context.Context, conn rueidis.CoreClient) string {
	m, err := conn.Do(ctx, conn.B().ConfigGet().Parameter("appendfsync", "no-appendfsync-on-rewrite").Build()).AsStrMap()
	if err != nil {
		return ""
	}
	sync := m["appendfsync"]
	if sync == "always" && m["no-appendfsync-on-rewrite"] != "no" {
		sync += " but no-appendfsync-on-rewrite"
	}
	return sync
}

// keeps refuses a server that is known not to do what Synced or KeepOnRestart says.
func (s *Store) keeps(srv *server) error {
	switch info := srv.info; {
	case s.cfg.Synced && (info.major == 7 && info.minor < 2 || !info.aof):
		return fmt.Errorf("%w: Synced needs 7.2 and appendonly yes, and it is %.16s", ErrUnfit, info.version)
	case !s.cfg.KeepOnRestart:
	case !srv.info.aof:
		return fmt.Errorf("%w: KeepOnRestart without appendonly yes", ErrUnfit)
	case srv.sync != "" && srv.sync != "always":
		return fmt.Errorf("%w: KeepOnRestart with appendfsync %.48s, not always", ErrUnfit, srv.sync)
	}
	return nil
}

// join takes the store that the server has, or makes one. Another era than the one
// known is taken only if its epoch is after all that this node was ever granted:
// what it saw spent is then refused.
func (s *Store) join(ctx context.Context, srv *server, mode string) error {
	known := s.known.Load()
	if known == nil {
		known = new(era)
	}
	if mode == "join" && s.demoted.Load() {
		mode = "raise" // what it had as a master may be gone
	}
	srv.era = known
	name, epoch, seq, err := s.present(ctx, srv, mode)
	if err != nil {
		return err
	}
	if name == known.name && epoch != known.epoch {
		return fmt.Errorf("%w: its epoch was changed", ErrWentBack)
	}
	if name != known.name {
		if known.name != "" && epoch <= s.granted() {
			// Whoever began it had a clock that is behind, or what was put back is older. An epoch after all
			// that this node was granted is safe in both cases, and all nodes come to the latest of theirs.
			if mode != "join" {
				return fmt.Errorf("%w: another one has its name", ErrWentBack)
			}
			if name, epoch, seq, err = s.present(ctx, srv, "raise"); err != nil {
				return err
			}
		}
		srv.era = newEra(name, epoch, seq)
		s.known.Store(srv.era)
	}
	srv.era.replid = srv.info.replid
	s.demoted.Store(false)
	return nil
}

// granted is the latest date of what this node can have been granted.
func (s *Store) granted() int64 {
	latest := s.clock.Load() + int64(replay.MaxAhead/time.Second)
	if known := s.known.Load(); known != nil {
		latest = max(latest, known.epoch)
	}
	return latest
}

// present asks the store for its era, or makes one.
func (s *Store) present(ctx context.Context, srv *server, mode string) (era string, epoch, seq int64, err error) {
	r := s.eval(ctx, s.scripts["open"], s.opening(srv, mode))
	if r.err != nil {
		return "", 0, 0, r.err
	}
	era, errEra := r.text(0)
	epoch, errEpoch := r.number(1)
	return era, epoch, r.seq, errors.Join(errEra, errEpoch)
}

func (s *Store) opening(srv *server, mode string) question {
	var on string
	if known := s.known.Load(); known != nil {
		on = known.replid
	}
	return question{operation: mode, args: []string{srv.info.run, srv.info.replid, itoa(srv.info.evicted), rand.Text(), itoa(s.granted()), flag(s.cfg.KeepOnRestart), on}}
}

// RaiseEpoch makes the epoch that of a store that begins now, by the server's clock, or later,
// so that everything issued before is refused for good. An operator calls it after
// older data was put back. Where the store is gone it makes one.
func (s *Store) RaiseEpoch(ctx context.Context) error {
	if err := s.usable(ctx, true); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, s.patience())
	defer cancel()
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	srv, err := s.prepare(ctx)
	if err != nil {
		return s.wrap(err)
	}
	name, epoch, seq, err := s.present(ctx, srv, "raise")
	if err != nil {
		return s.wrap(err)
	}
	srv.era = newEra(name, epoch, seq)
	srv.era.replid = srv.info.replid
	s.known.Store(srv.era)
	s.server.Store(srv)
	s.demoted.Store(false)
	return nil
}
