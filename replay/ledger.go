package replay

import (
	"fmt"
	"time"
)

// The limits of a [Ledger] whose configuration names none.
const (
	DefaultMaxRights   = 1 << 20
	DefaultMaxSessions = 1 << 20
	DefaultMaxSubjects = 1 << 20
)

// sweepBudget bounds the records that one operation purges, so that a million
// rights that end in one second do not stop the store for that second.
const sweepBudget = 1024

// What must not read as done.
var (
	errNoRights  = fmt.Errorf("%w: claim of no rights", ErrArgument)
	errNoSubject = fmt.Errorf("%w: revocation of no subject", ErrArgument)
	errFarCut    = fmt.Errorf("%w: revocation of logins later than KeepUntil", ErrArgument)
)

// LedgerConfig sets up a [Ledger].
type LedgerConfig struct {
	// Epoch is the moment at which the memory began.
	Epoch time.Time
	// Horizon is the largest KeepUntil purged so far; zero means none.
	Horizon time.Time
	// MaxRights, MaxSessions and MaxSubjects bound the live records. Zero means
	// [DefaultMaxRights], [DefaultMaxSessions] and [DefaultMaxSubjects], about
	// 120, 200 and 100 bytes each. Acknowledgements leave the last eighth of
	// MaxSessions to the others.
	MaxRights, MaxSessions, MaxSubjects int
	// ShortOwners keeps the rights as a [Memory] does, in about 32 bytes each: of
	// an owner 64 bits of a keyed cipher. All does not yield them then.
	ShortOwners bool
	// Journal, if not nil, is called with every record that an operation writes.
	Journal func(Change)
}

// Ledger is the bookkeeping of a store without its storage: the exact decisions
// on rights, sessions and subjects, bounds, purging, epoch and horizon. [Memory] is a
// Ledger with a lock; filestore is one with a log. Most people want a [Store].
//
// Each operation takes the time as an argument and either takes effect as a
// whole or, when it returns an error or denies, writes nothing; Acknowledge does
// so for each session by itself. It purges a few of the records that are past
// their KeepUntil.
//
// A Ledger is not safe for concurrent use.
type Ledger struct {
	epoch, horizon           int64 // Unix seconds; the rights have horizons of their own
	maxSessions, maxSubjects int
	journal                  func(Change)

	rights      rightSet
	held        *heldRights // the same, or nil if their owners are short
	sessions    map[ID]kept
	subjects    map[ID]ended
	sessionsDue expiry
	subjectsDue expiry
}

// NewLedger returns an empty Ledger.
func NewLedger(cfg LedgerConfig) *Ledger {
	room := orDefault(cfg.MaxRights, DefaultMaxRights)
	var l *Ledger
	if cfg.ShortOwners {
		l = newLedger(cfg, newShards(room))
	} else {
		rights := &heldRights{max: room, past: none, all: make(map[ID]held)}
		l = newLedger(cfg, rights)
		l.held = rights
	}
	l.RaiseHorizon(cfg.Horizon)
	return l
}

// newLedger returns a Ledger that keeps its rights elsewhere.
func newLedger(cfg LedgerConfig, rights rightSet) *Ledger {
	return &Ledger{
		epoch:       cfg.Epoch.Unix(),
		horizon:     none,
		maxSessions: orDefault(cfg.MaxSessions, DefaultMaxSessions),
		maxSubjects: orDefault(cfg.MaxSubjects, DefaultMaxSubjects),
		journal:     cfg.Journal,
		rights:      rights,
		sessions:    make(map[ID]kept),
		subjects:    make(map[ID]ended),
	}
}

func orDefault(n, d int) int {
	if n <= 0 {
		return d
	}
	return n
}

// MaxAhead is how far after the store's clock a right or set may be dated; what is
// dated later is [ErrAhead]. It is also how much later than now a memory begins.
const MaxAhead = 5 * time.Second

// FirstEpoch is the epoch of a memory that starts empty at now: the first whole
// second of which nothing can have been granted before, [MaxAhead] and up to a
// second later.
func FirstEpoch(now time.Time) time.Time { return time.Unix(latest(now)+1, 0) }

// latest is the last Unix second of which something may be granted at now.
func latest(now time.Time) int64 { return now.Unix() + int64(MaxAhead/time.Second) }

// Epoch returns the epoch.
func (l *Ledger) Epoch() time.Time { return time.Unix(l.epoch, 0) }

// RaiseEpoch moves the epoch to at, if that is later.
func (l *Ledger) RaiseEpoch(at time.Time) { l.epoch = max(l.epoch, at.Unix()) }

// RaiseHorizon moves the horizon to at, if that is later; the zero time is none.
func (l *Ledger) RaiseHorizon(at time.Time) {
	if at.IsZero() {
		return
	}
	l.horizon = max(l.horizon, at.Unix())
	l.rights.raise(at.Unix())
}

// Horizon returns the largest KeepUntil purged so far, zero if there is none.
func (l *Ledger) Horizon() time.Time {
	_, horizon := l.rights.status()
	if horizon = max(horizon, l.horizon); horizon == none {
		return time.Time{}
	}
	return time.Unix(horizon, 0)
}

// Len counts the records, those not yet purged included.
func (l *Ledger) Len() (rights, sessions, subjects int) {
	rights, _ = l.rights.status()
	return rights, len(l.sessions), len(l.subjects)
}

// Claim is [Rights.Claim].
func (l *Ledger) Claim(now time.Time, owner Owner, rights []Right) (Outcome, error) {
	l.sweep(now, sweepBudget)
	return l.claim(now, owner, rights)
}

// claim is Claim, and touches nothing but the rights.
func (l *Ledger) claim(now time.Time, owner Owner, rights []Right) (Outcome, error) {
	if len(rights) == 0 {
		return Lost, errNoRights
	}
	if owner == (Owner{}) {
		return Lost, ErrNoOwner
	}
	outcome := Mine
	for _, r := range rights {
		if err := l.admit(now, r); err != nil {
			return Lost, err
		}
		switch l.rights.outcome(r.ID, owner) {
		case Lost:
			return Lost, nil
		case Won:
			outcome = Won
		}
	}
	if !l.rights.room(now.Unix(), rights) {
		return Lost, ErrFull
	}
	l.spend(now, owner, rights)
	return outcome, nil
}

// Spent is [Rights.Spent].
func (l *Ledger) Spent(ids []ID) []bool {
	spent := make([]bool, len(ids))
	for i, id := range ids {
		spent[i] = l.rights.outcome(id, Owner{}) != Won
	}
	return spent
}

// Restore is [Sessions.Restore].
func (l *Ledger) Restore(now time.Time, r RestoreRequest) (Restored, error) {
	l.sweep(now, sweepBudget)
	if r.Attempt == (Owner{}) {
		return Restored{}, ErrNoOwner
	}
	if err := l.dated(now, r.Issued); err != nil {
		return Restored{}, err
	}
	was, err := l.enter(now, Place{Session: r.Session, KeepUntil: r.KeepUntil, Login: r.Login})
	if err != nil {
		return Restored{}, err
	}
	next, verdict, behind := was.Restore(r.Set, r.Attempt, r.Strict)
	if verdict != Granted {
		return Restored{Verdict: verdict}, nil
	}
	burnt, spend, verdict, err := l.weigh(now, r.Attempt, r.Burn)
	if err != nil || verdict != Granted {
		return Restored{Verdict: verdict}, err
	}
	if !l.rights.room(now.Unix(), spend) || !l.roomFor(now, r.Session) {
		return Restored{}, ErrFull
	}
	looked := l.Spent(r.Look)
	l.spend(now, r.Attempt, spend)
	l.put(r.Session, next, r.KeepUntil)
	return Restored{Verdict: Granted, Fence: next.Fence, BehindWatermark: behind, Burnt: burnt, Spent: looked}, nil
}

// weigh decides on the rights that a restore burns and writes nothing. A right
// of which the store cannot know is lost, unless it is required. One that is dated
// ahead is not lost: the store will know in a moment.
func (l *Ledger) weigh(now time.Time, owner Owner, burns []Burn) (burnt []Outcome, spend []Right, v Verdict, err error) {
	if len(burns) == 0 {
		return nil, nil, Granted, nil
	}
	burnt = make([]Outcome, len(burns))
	mine := make(map[ID]bool) // listed twice: the second is ours already
	for i, b := range burns {
		err := l.admit(now, b.Right)
		if err != nil && (b.Required || err == ErrAhead) {
			return nil, nil, Refused, err
		}
		if err == nil {
			burnt[i] = l.rights.outcome(b.ID, owner)
		}
		switch {
		case !burnt[i].Granted() && b.Required:
			return nil, nil, Spent, nil
		case !burnt[i].Granted():
			continue
		case mine[b.ID]:
			burnt[i] = Mine
		}
		mine[b.ID] = true
		spend = append(spend, b.Right)
	}
	return burnt, spend, Granted, nil
}

// Protect is [Sessions.Protect].
func (l *Ledger) Protect(now time.Time, at Place) (Verdict, error) {
	return l.move(now, at, func(s State) (State, Verdict) { return s.Protect(at.Version) })
}

// Renew is [Sessions.Renew].
func (l *Ledger) Renew(now time.Time, old Place, next ID) (Verdict, error) {
	return l.move(now, old, func(s State) (State, Verdict) { return s.Renew(old.Version.Fence, next) })
}

// move takes the session at p to the state that decide grants.
func (l *Ledger) move(now time.Time, p Place, decide func(State) (State, Verdict)) (Verdict, error) {
	l.sweep(now, sweepBudget)
	was, err := l.enter(now, p)
	if err != nil {
		return Refused, err
	}
	next, verdict := decide(was)
	if verdict != Granted {
		return verdict, nil
	}
	if err := l.update(now, p.Session, next, p.KeepUntil); err != nil {
		return Refused, err
	}
	return Granted, nil
}

// Take is [Sessions.Take].
func (l *Ledger) Take(now time.Time, by Place, owner Owner, right Right) (Verdict, Outcome, error) {
	l.sweep(now, sweepBudget)
	was, err := l.enter(now, by)
	if err != nil {
		return Refused, Lost, err
	}
	if v := was.Under(by.Version.Fence); v != Granted {
		return v, Lost, nil
	}
	outcome, err := l.claim(now, owner, []Right{right})
	if err != nil {
		return Refused, Lost, err
	}
	return Granted, outcome, nil
}

// Acknowledge is [Sessions.Acknowledge]. Its only error is [ErrFull].
func (l *Ledger) Acknowledge(now time.Time, places []Place) ([]Verdict, error) {
	l.sweep(now, sweepBudget)
	verdicts := make([]Verdict, len(places))
	var full error
	for i, p := range places {
		was, err := l.enter(now, p)
		if err != nil {
			continue // its record may have been purged: Refused
		}
		next, v := was.Acknowledge(p.Version)
		verdicts[i] = v
		_, known := l.sessions[p.Session]
		switch {
		case next == was:
		case !known && !l.spare(now):
			full = ErrFull
		default:
			l.put(p.Session, next, p.KeepUntil)
		}
	}
	return verdicts, full
}

// Revoke is [Sessions.Revoke].
func (l *Ledger) Revoke(now time.Time, session ID, keepUntil time.Time) error {
	l.sweep(now, sweepBudget)
	if err := l.reach(now, keepUntil); err != nil {
		return err
	}
	next := l.sessions[session].State
	next.Revoked = true
	return l.update(now, session, next, keepUntil)
}

// RevokeSubject is [Subjects.RevokeSubject].
func (l *Ledger) RevokeSubject(now time.Time, subject ID, before, keepUntil time.Time) error {
	l.sweep(now, sweepBudget)
	if subject == (ID{}) {
		return errNoSubject
	}
	if err := l.reach(now, keepUntil); err != nil {
		return err
	}
	if before.After(keepUntil) {
		return errFarCut
	}
	was, known := l.subjects[subject]
	next := ended{cut: max(before.Unix(), l.epoch), keep: ceil(keepUntil)}
	if known {
		next = ended{max(next.cut, was.cut+1), max(next.keep, was.keep)}
	} else if len(l.subjects) >= l.maxSubjects {
		if l.purgeSessions(now); len(l.subjects) >= l.maxSubjects {
			return ErrFull
		}
	}
	l.setSubject(subject, next)
	l.note(next.change(subject))
	return nil
}

// SubjectCut is [Subjects.SubjectCut].
func (l *Ledger) SubjectCut(subject ID) time.Time {
	if s, known := l.subjects[subject]; known {
		return time.Unix(s.cut, 0)
	}
	return time.Time{}
}
