package replay

import (
	"iter"
	"time"
)

// Kind says what a record is about.
type Kind uint8

// The kinds of records.
const (
	RightRecord Kind = iota
	SessionRecord
	SubjectRecord
)

// Change is one record as an operation left it.
type Change struct {
	ID   ID
	Kind Kind
	// KeepUntil is in whole seconds, rounded up.
	KeepUntil time.Time
	// Owner holds the right.
	Owner Owner
	// State is that of the session.
	State State
	// Cut is the last second of which the subject's logins are void.
	Cut time.Time
}

// kept is a session, ended a subject whose logins up to cut are void; keep and
// cut are in Unix seconds.
type kept struct {
	State
	keep int64
}

type ended struct {
	cut, keep int64
}

// Purge forgets every record that is past its KeepUntil and raises the horizon.
func (l *Ledger) Purge(now time.Time) { l.sweep(now, everything) }

// purgeSessions is Purge without the rights.
func (l *Ledger) purgeSessions(now time.Time) { l.sweepSessions(now, everything) }

// Apply writes a record as it is, without a decision, a bound or a call of the
// journal: to rebuild a Ledger from what its journal was told, in that order.
func (l *Ledger) Apply(c Change) {
	switch keep := ceil(c.KeepUntil); c.Kind {
	case RightRecord:
		l.rights.set(c.ID, held{c.Owner, keep})
	case SessionRecord:
		l.setSession(c.ID, kept{c.State, keep})
	case SubjectRecord:
		l.setSubject(c.ID, ended{c.Cut.Unix(), keep})
	}
}

// Has says whether c is what the Ledger has under its ID: not purged, and nothing
// newer.
func (l *Ledger) Has(c Change) bool {
	keep := ceil(c.KeepUntil)
	switch c.Kind {
	case RightRecord:
		return l.rights.has(c.ID, held{c.Owner, keep})
	case SessionRecord:
		s, known := l.sessions[c.ID]
		return known && s == kept{c.State, keep}
	case SubjectRecord:
		s, known := l.subjects[c.ID]
		return known && s == ended{c.Cut.Unix(), keep}
	}
	return false
}

// All yields every record, in no order; no rights if [LedgerConfig] has ShortOwners.
func (l *Ledger) All() iter.Seq[Change] {
	return func(yield func(Change) bool) {
		if l.held != nil {
			for id, r := range l.held.all {
				if !yield(r.change(id)) {
					return
				}
			}
		}
		for id, s := range l.sessions {
			if !yield(s.change(id)) {
				return
			}
		}
		for id, s := range l.subjects {
			if !yield(s.change(id)) {
				return
			}
		}
	}
}

// enter returns the session's state, revoked if its login is void. It refuses
// where the record of either may be gone.
func (l *Ledger) enter(now time.Time, p Place) (State, error) {
	if err := l.reach(now, p.KeepUntil); err != nil {
		return State{}, err
	}
	s := l.sessions[p.Session].State
	if p.Login.Subject == (ID{}) {
		return s, nil
	}
	since := p.Login.Since.Unix()
	if since < l.epoch {
		return State{}, ErrBeforeEpoch
	}
	if subject, known := l.subjects[p.Login.Subject]; known && since <= subject.cut {
		return State{Revoked: true}, nil
	}
	return s, nil
}

// dated refuses what was issued before the memory began, or is dated so far ahead that
// the next memory might begin before it.
func (l *Ledger) dated(now, issued time.Time) error {
	switch at := issued.Unix(); {
	case at < l.epoch:
		return ErrBeforeEpoch
	case at > max(l.epoch, latest(now)):
		return ErrAhead
	}
	return nil
}

// admit refuses a right by its date, or for being out of reach.
func (l *Ledger) admit(now time.Time, r Right) error {
	if err := l.dated(now, r.Issued); err != nil {
		return err
	}
	return within(now, r.KeepUntil, l.rights.horizon(r.ID))
}

// reach refuses a session or subject that may already have been purged.
func (l *Ledger) reach(now, keepUntil time.Time) error { return within(now, keepUntil, l.horizon) }

// within refuses all that is past by the clock or was so when the clock was ahead.
func within(now, keepUntil time.Time, horizon int64) error {
	if keep := ceil(keepUntil); keep < now.Unix() || keep <= horizon {
		return ErrBeyondHorizon
	}
	return nil
}

// roomFor says whether there is a place for a session's record.
func (l *Ledger) roomFor(now time.Time, session ID) bool {
	if _, known := l.sessions[session]; known || len(l.sessions) < l.maxSessions {
		return true
	}
	l.purgeSessions(now)
	return len(l.sessions) < l.maxSessions
}

// spare says whether there is room for a record that only an acknowledgement
// needs: whoever comes and goes makes these, so the last eighth is not for them.
func (l *Ledger) spare(now time.Time) bool {
	most := l.maxSessions - (l.maxSessions-1)/8 - 1
	if len(l.sessions) >= most {
		l.purgeSessions(now)
	}
	return len(l.sessions) < most
}

// spend writes rights that owner holds from now on.
func (l *Ledger) spend(now time.Time, owner Owner, rights []Right) {
	for _, r := range rights {
		if l.rights.spend(now.Unix(), owner, r) {
			l.note(held{owner, ceil(r.KeepUntil)}.change(r.ID))
		}
	}
}

// update writes a session's next state if it differs.
func (l *Ledger) update(now time.Time, id ID, next State, keepUntil time.Time) error {
	if was := l.sessions[id]; was.State == next && (next == State{} || was.keep >= ceil(keepUntil)) {
		return nil
	}
	if !l.roomFor(now, id) {
		return ErrFull
	}
	l.put(id, next, keepUntil)
	return nil
}

func (l *Ledger) put(id ID, next State, keepUntil time.Time) {
	keep := ceil(keepUntil)
	if was, ok := l.sessions[id]; ok {
		keep = max(keep, was.keep)
	}
	rec := kept{next, keep}
	l.setSession(id, rec)
	l.note(rec.change(id))
}

func (l *Ledger) note(c Change) {
	if l.journal != nil {
		l.journal(c)
	}
}

func (l *Ledger) setSession(id ID, s kept) {
	if _, ok := l.sessions[id]; !ok {
		l.sessionsDue.add(s.keep, id)
	}
	l.sessions[id] = s
}

func (l *Ledger) setSubject(id ID, s ended) {
	if _, ok := l.subjects[id]; !ok {
		l.subjectsDue.add(s.keep, id)
	}
	l.subjects[id] = s
}

// sweep purges up to budget records of each kind that are past their KeepUntil,
// the oldest first.
func (l *Ledger) sweep(now time.Time, budget int) {
	l.rights.purge(now.Unix(), budget)
	l.sweepSessions(now, budget)
}

func (l *Ledger) sweepSessions(now time.Time, budget int) {
	l.horizon = max(l.horizon,
		sweep(&l.sessionsDue, l.sessions, now.Unix(), budget, func(s kept) int64 { return s.keep }),
		sweep(&l.subjectsDue, l.subjects, now.Unix(), budget, func(s ended) int64 { return s.keep }))
}

// sweep forgets up to budget records that are past and returns the last second of
// those.
func sweep[R any](due *expiry, records map[ID]R, now int64, budget int, keep func(R) int64) (horizon int64) {
	horizon = none
	for budget > 0 {
		sec, ids := due.take(now, budget)
		if len(ids) == 0 {
			return horizon
		}
		budget -= len(ids)
		for _, id := range ids {
			if k := keep(records[id]); k > sec {
				due.add(k, id)
				continue
			}
			delete(records, id)
			horizon = max(horizon, sec)
		}
	}
	return horizon
}

func (r held) change(id ID) Change {
	return Change{ID: id, Kind: RightRecord, KeepUntil: time.Unix(r.keep, 0), Owner: r.owner}
}

func (s kept) change(id ID) Change {
	return Change{ID: id, Kind: SessionRecord, KeepUntil: time.Unix(s.keep, 0), State: s.State}
}

func (s ended) change(id ID) Change {
	return Change{ID: id, Kind: SubjectRecord, KeepUntil: time.Unix(s.keep, 0), Cut: time.Unix(s.cut, 0)}
}

// ceil is t in Unix seconds, rounded up: a record is kept at least until t.
func ceil(t time.Time) int64 {
	sec := t.Unix()
	if t.Nanosecond() > 0 {
		sec++
	}
	return sec
}
