package session

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sealedblob/sealedblob/policy"
	"github.com/sealedblob/sealedblob/replay"
	"github.com/sealedblob/sealedblob/seal"
)

// Config says what a [Manager] works with.
type Config struct {
	// Keys is the keyring; required.
	Keys seal.Source
	// Policy governs the attributes; required.
	Policy *policy.Policy
	// Store remembers spent rights and fences; required. Use [replay.None] to
	// go without on purpose.
	Store replay.Store
	// App and Tenant are bound into every key. App is required.
	App, Tenant string
	// MaxSessions bounds the sessions in memory. Zero: 100,000. At the bound
	// restores get [ErrUnavailable]; new sessions get it already at seven
	// eighths, so that visitors without end don't shut out those who move here.
	// A session takes at most the policy's max_bytes and about as much again
	// for its sealed set.
	MaxSessions int
	// StoreTimeout bounds each call of the store. Zero: 3 s. The store is behind a
	// [replay.Guard]: while it does not answer, most calls are not made at all.
	StoreTimeout time.Duration
	// LoginGrace is how long requests of a session with a login are served while the
	// store does not answer, which may know by now that the login was ended. Then they
	// get 503 until it answers. Zero: 1 min.
	LoginGrace time.Duration
	// Lapse is how long a session without a connected client stays in memory
	// after the last one left, if that client holds the newest set. Zero: 30 s.
	Lapse time.Duration
	// Early says what becomes of requests that come before their session.
	Early Early
	// SecureCookie makes the session cookie Secure on every request. Zero:
	// unless the request is plainly on loopback. Set it behind a proxy on the
	// same machine that does not pass the Host header on.
	SecureCookie bool
	// CookieSuffix is put, after a hyphen, to the names of the cookies. Two
	// programs that share a host, also on two ports or paths, need different ones:
	// else each refuses the other's cookie. At most 32 of a-z and 0-9.
	CookieSuffix string
	// Logger gets one line for each refusal, with its reason. Nil: none.
	Logger *slog.Logger
	// Observer is told of every outcome. Nil: nobody.
	Observer Observer
}

// Manager holds the sessions that live on this node. It is safe for concurrent use.
type Manager struct {
	cfg    Config
	scope  seal.Scope
	log    *slog.Logger
	shared *shared     // keys of all sessions of a [Stateless]; nil: each has its own
	epoch  *epochStore // nothing is issued before the store's memory began

	store     replay.Store  // as it was configured, without the guard
	storeless bool          // nobody remembers fences
	guard     *replay.Guard // of the store; nil without one

	strict bool // the policy's, which looks at every rule

	mu       sync.Mutex
	sessions map[seal.ID]*Session
	restores map[seal.ID]chan struct{} // one restore a session at a time; closed at its end, nil while nobody waits
	places   int                       // kept for restores under way
	bringing map[Holder]int            // restores under way, waiting ones too, by holder without the hint

	draining atomic.Bool // set under mu: nothing begins here any more
	arrivals arrivals
	gone     gone

	loginsEnded atomic.Uint64 // how often EndLogins looked through the sessions
	mute        atomic.Int64  // when the store last stopped answering, in Unix nanoseconds; 0: it answers
}

// New checks the configuration and asks the store for its epoch, which [Manager.Run] does
// again, and whoever is refused something as from before it. A policy that
// needs a store is refused with [replay.None], and so is any negative limit.
func New(ctx context.Context, cfg Config) (*Manager, error) {
	if cfg.Keys == nil || cfg.Policy == nil || cfg.Store == nil || cfg.App == "" {
		return nil, errors.New("session: Keys, Policy, Store and App are required")
	}
	if cfg.MaxSessions < 0 || cfg.StoreTimeout < 0 || cfg.LoginGrace < 0 || cfg.Lapse < 0 {
		return nil, fmt.Errorf("session: MaxSessions %d, StoreTimeout %v, LoginGrace %v and Lapse %v must not be negative",
			cfg.MaxSessions, cfg.StoreTimeout, cfg.LoginGrace, cfg.Lapse)
	}
	if len(cfg.CookieSuffix) > 32 || strings.Trim(cfg.CookieSuffix, "abcdefghijklmnopqrstuvwxyz0123456789") != "" {
		return nil, fmt.Errorf("session: CookieSuffix %.40q, want at most 32 of a-z and 0-9", cfg.CookieSuffix)
	}
	if name, needed := cfg.Policy.NeedsStore(); needed && storeless(cfg.Store) {
		return nil, fmt.Errorf("session: the rule of attribute %q needs a replay store; none is configured", name)
	}
	if cfg.MaxSessions == 0 {
		cfg.MaxSessions = 100_000
	}
	if cfg.StoreTimeout == 0 {
		cfg.StoreTimeout = 3 * time.Second
	}
	if cfg.LoginGrace == 0 {
		cfg.LoginGrace = time.Minute
	}
	if cfg.Lapse == 0 {
		cfg.Lapse = 30 * time.Second
	}
	cfg.Early = cfg.Early.withDefaults()
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	alone, configured := storeless(cfg.Store), cfg.Store
	var guard *replay.Guard
	if !alone {
		guard = guardStore(cfg)
		cfg.Store = newTurnStore(guard, cfg.StoreTimeout)
	}
	if cfg.Observer != nil {
		cfg.Store = observedStore{cfg.Store, cfg.Observer}
	}
	epoch, err := newEpochStore(ctx, cfg.Store)
	if err != nil {
		return nil, fmt.Errorf("session: asking the store for its epoch: %w", err)
	}
	cfg.Store = epoch
	return &Manager{
		cfg: cfg, scope: seal.Scope{App: cfg.App, Tenant: cfg.Tenant}, log: cfg.Logger, epoch: epoch, store: configured, storeless: alone, guard: guard, strict: cfg.Policy.Strict(),
		sessions: map[seal.ID]*Session{}, restores: map[seal.ID]chan struct{}{}, bringing: map[Holder]int{},
		arrivals: arrivals{byHolder: map[Holder]*arrival{}}, gone: gone{half: max(1, cfg.MaxSessions/8)},
	}, nil
}

// storeless reports the deliberate mode without a memory.
func storeless(s replay.Store) bool {
	switch s.(type) {
	case replay.None, *replay.None:
		return true
	}
	return false
}

// Policy is the policy in force.
func (m *Manager) Policy() *policy.Policy { return m.cfg.Policy }

// Run does the manager's background work until ctx ends: once a second it
// tells the store what clients have acknowledged, asks for its epoch, which may have been
// raised, and lets go of sessions that are over.
func (m *Manager) Run(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			m.flush(ctx, now)
			m.epoch.heed(ctx, true)
			m.sweep(now)
		}
	}
}

// state is where a holder's session is, as far as this node knows.
type state int

const (
	elsewhere state = iota // not in memory here
	here
	over      // it was here, and is over for certain
	departing // here, but about to leave: no request enters any more
	settling  // renewed a moment ago, or logged out: the client's newer cookie may be on its way
	unsure    // here, but its login may have been ended: the store has not answered for too long
)

// locate finds h's session and lets go of it if it has moved, as a hint of a
// higher fence says, or if its time is over.
func (m *Manager) locate(h Holder) (*Session, state) {
	s := m.find(h)
	switch {
	case s == nil:
		return nil, elsewhere
	case h.Fence > s.Version().Fence:
		m.passivate(s)
		return nil, elsewhere
	case s.over(time.Now()):
		m.depart(s, expired)
		return nil, over
	}
	return s, here
}

// Live finds a session that lives on this node, as far as this node knows, and whose
// holder is h. A hint of a higher fence says that the session has moved: then it is let
// go here, as is one whose time is over. It asks no store and counts as no use.
func (m *Manager) Live(h Holder) (*Session, bool) {
	s, where := m.locate(h)
	if where != here {
		return nil, false
	}
	return s, true
}

// find looks for h's session in memory and changes nothing.
func (m *Manager) find(h Holder) *Session {
	m.mu.Lock()
	s := m.sessions[h.Session]
	m.mu.Unlock()
	if s == nil || !h.holds(s.binding) {
		return nil
	}
	return s
}

// newBound is the bound for sessions that begin here.
func (m *Manager) newBound() int {
	if m.cfg.MaxSessions == 1 {
		return 1
	}
	return m.cfg.MaxSessions - max(1, m.cfg.MaxSessions/8)
}

// add puts a session that began here into memory, unless it is full.
func (m *Manager) add(s *Session) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.draining.Load() {
		return errDraining
	}
	if len(m.sessions)+m.places >= m.newBound() {
		return fmt.Errorf("%w: %d sessions in memory", ErrUnavailable, len(m.sessions))
	}
	m.sessions[s.id] = s
	return nil
}

// put puts a restored session into the place that was kept for it, or into
// that of an older copy.
func (m *Manager) put(s *Session) {
	m.mu.Lock()
	old := m.sessions[s.id]
	m.sessions[s.id] = s
	m.mu.Unlock()
	m.gone.forget(s.id)
	if old != nil {
		old.kill(ErrMoved)
	}
	m.arrivals.tell(s.Holder())
}

// exchange puts a renewed session in the place of the one that it was.
func (m *Manager) exchange(old, renewed *Session) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.sessions[old.id] == old {
		delete(m.sessions, old.id)
	}
	if renewed.visit == nil {
		m.sessions[renewed.id] = renewed
	}
}

// passivate lets go of a session; its client keeps the sealed set.
func (m *Manager) passivate(s *Session) { m.remove(s, ErrMoved) }

// remove takes a session out of memory, and reports whether it was usable until then.
func (m *Manager) remove(s *Session, why error) (was bool) {
	m.mu.Lock()
	if m.sessions[s.id] == s {
		delete(m.sessions, s.id)
	}
	m.mu.Unlock()
	was = s.kill(why)
	m.arrivals.tell(s.Holder())
	return was
}

func (m *Manager) all() []*Session {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := make([]*Session, 0, len(m.sessions))
	for _, s := range m.sessions {
		out = append(out, s)
	}
	return out
}

func (m *Manager) sweep(now time.Time) {
	for _, s := range m.all() {
		switch s.due(now, m.cfg.Lapse) {
		case ErrEnded:
			m.depart(s, expired)
		case ErrMoved:
			m.passivate(s)
		}
	}
}

// checkEvery is how soon a node learns from the store that a session which is
// in use here has moved or was logged out elsewhere.
const checkEvery = 10 * time.Second

// maxReports is how many sessions one call tells the store of, so that it can
// answer in time however many there are.
const maxReports = 1000

// flush raises the floors in the store, in few calls: only what every connected
// client of a session holds, because a push lost in a crash must not lock its
// owner out. The answers tell which sessions no longer live here. Of whom the
// store was not asked for longest come first, since it may not get to all.
func (m *Manager) flush(ctx context.Context, now time.Time) {
	var due []report
	for _, s := range m.all() {
		if r, is := s.report(now); is {
			due = append(due, r)
		}
	}
	if len(due) == 0 && m.mute.Load() != 0 {
		m.hear(ctx)
	}
	slices.SortFunc(due, func(a, b report) int { return a.checked.Compare(b.checked) })
	for some := range slices.Chunk(due, maxReports) {
		if !m.tellStore(ctx, now, some) {
			return // the next second tries again
		}
	}
}

// hear asks whether the store answers again, when there is nothing else to ask.
func (m *Manager) hear(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, m.cfg.StoreTimeout)
	defer cancel()
	if _, err := m.cfg.Store.Epoch(ctx); err == nil {
		m.mute.Store(0)
	}
}

// tellStore is one call of flush, and says whether the store answered.
func (m *Manager) tellStore(ctx context.Context, now time.Time, due []report) (answered bool) {
	places := make([]replay.Place, len(due))
	for i := range due {
		places[i] = due[i].at
	}
	limited, cancel := context.WithTimeout(ctx, m.cfg.StoreTimeout)
	defer cancel()
	verdicts, err := m.cfg.Store.Acknowledge(limited, places...)
	if err != nil {
		m.log.Warn("acknowledged generations not stored, will retry", "sessions", len(due), "error", err)
		if !errors.Is(err, replay.ErrFull) {
			m.mute.CompareAndSwap(0, now.UnixNano())
			return false
		}
	}
	m.mute.Store(0)
	if len(verdicts) != len(due) { // a store that breaks its contract
		m.log.Error("the store gave no verdicts", "sessions", len(due), "verdicts", len(verdicts))
		return false
	}
	for i, r := range due {
		switch stays := m.follow(ctx, r.of, verdicts[i]); {
		case !stays || verdicts[i] == replay.Refused:
		case err == nil:
			r.of.reported(now, r.at.Version)
		default:
			r.of.noRoom()
		}
	}
	return true
}

// unsure reports that s acts for somebody whose logins may have been ended while
// the store gave no answer. Sessions in use are asked about every few seconds.
func (m *Manager) unsure(s *Session) bool {
	since := m.mute.Load()
	if since == 0 || time.Since(time.Unix(0, since)) <= m.cfg.LoginGrace {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.login.subject != ""
}

// follow lets go of a session of which the store says that it is over or lives
// elsewhere, and reports whether it stays.
func (m *Manager) follow(ctx context.Context, s *Session, v replay.Verdict) (stays bool) {
	switch {
	case v == replay.Revoked && !s.renewing(ctx):
		_ = m.revoked(ctx, s)
	case v == replay.Superseded:
		m.passivate(s)
	default:
		return true
	}
	return false
}

// livesHere asks the store whether the session still is under this node's fence.
// A client that hears so gives up its attempt; were the session elsewhere, that
// attempt would be the only one that still restores. A store that can't tell
// forbids nothing: nothing is restored.
func (m *Manager) livesHere(ctx context.Context, s *Session) bool {
	ctx, cancel := context.WithTimeout(ctx, m.cfg.StoreTimeout)
	defer cancel()
	s.mu.Lock()
	at := s.place(0)
	s.mu.Unlock()
	verdicts, err := m.cfg.Store.Acknowledge(ctx, at)
	if err != nil || len(verdicts) != 1 {
		return true
	}
	return m.follow(ctx, s, verdicts[0])
}

func (m *Manager) sessionKey(id seal.ID) replay.ID { return record(m.scope, "session", id[:]) }

func (m *Manager) subjectKey(subject string) replay.ID {
	return record(m.scope, "subject", []byte(subject))
}

func (m *Manager) keepUntil(absolute time.Time) time.Time { return keepUntil(m.cfg.Policy, absolute) }

// now is the time of one operation in whole seconds, never before the store's epoch.
func (m *Manager) now() time.Time {
	return time.Unix(max(time.Now().Unix(), m.epoch.seconds.Load()), 0)
}
