package model

import (
	"fmt"
	"time"

	"github.com/sealedblob/sealedblob/replay"
)

// store is the content of a real replay.Ledger, small enough for a map's key:
// the record of the one session, who holds the one right, and the cut of the one
// subject (its second plus 1).
type store struct {
	fence, floor, watermark uint8
	attempt                 uint8
	won                     set
	behind                  bool
	revoked                 bool
	owner                   uint8
	cut                     uint8
}

// answer is what the ledger says to one operation.
type answer struct {
	verdict replay.Verdict
	outcome replay.Outcome
	behind  bool
	spent   bool
}

func (a answer) granted() bool { return a.verdict == replay.Granted }

// op is an operation with everything that it depends on.
type op struct {
	name    string
	at      set
	attempt uint8
	owner   uint8
	login   uint8
	now     uint8
	strict  bool
}

var (
	began   = time.Unix(1_800_000_000, 0) // the store's epoch
	ends    = began.Add(time.Hour)
	session = replay.NewID("model", "session", nil)
	right   = replay.Right{ID: replay.NewID("model", "right", nil), Issued: began, KeepUntil: ends}
	subject = replay.NewID("model", "subject", nil)
)

func second(n uint8) time.Time { return began.Add(time.Duration(n) * time.Second) }

func (s set) version() replay.Version {
	return replay.Version{Fence: uint64(s.fence()), Gen: uint64(s.gen())}
}

func (o op) place() replay.Place {
	return replay.Place{Session: session, Version: o.at.version(), KeepUntil: ends, Login: o.since()}
}

func (o op) since() replay.Login { return replay.Login{Subject: subject, Since: second(o.login)} }

type question struct {
	store
	op
}

type reply struct {
	store
	answer
}

// ask lets the real decision code answer o: a ledger with the records of s does
// it, and what it then holds is the next store. Each question is asked once.
func (m *machine) ask(s store, o op) (store, answer) {
	if r, known := m.asked[question{s, o}]; known {
		return r.store, r.answer
	}
	l := s.ledger()
	a, err := o.do(l)
	if err != nil {
		panic(fmt.Sprintf("%s of a store that is up: %v", o.name, err))
	}
	r := reply{fromLedger(l), a}
	m.asked[question{s, o}] = r
	return r.store, r.answer
}

func (o op) do(l *replay.Ledger) (a answer, err error) {
	now := second(o.now)
	switch o.name {
	case "restore":
		var r replay.Restored
		r, err = l.Restore(now, replay.RestoreRequest{
			Session: session, Set: o.at.version(), Issued: began, KeepUntil: ends, Login: o.since(),
			Attempt: token(o.attempt), Strict: o.strict, Look: []replay.ID{right.ID},
		})
		a.verdict, a.behind = r.Verdict, r.BehindWatermark
		a.spent = len(r.Spent) == 1 && r.Spent[0]
	case "protect":
		a.verdict, err = l.Protect(now, o.place())
	case "take":
		a.verdict, a.outcome, err = l.Take(now, o.place(), token(o.owner), right)
	case "acknowledge":
		var v []replay.Verdict
		if v, err = l.Acknowledge(now, []replay.Place{o.place()}); err == nil {
			a.verdict = v[0]
		}
	case "revoke":
		err = l.Revoke(now, session, ends)
	case "revoke subject":
		err = l.RevokeSubject(now, subject, now, ends)
	default:
		panic(o.name)
	}
	return a, err
}

func (s store) ledger() *replay.Ledger {
	l := replay.NewLedger(replay.LedgerConfig{Epoch: began})
	if state := s.record(); state != (replay.State{}) {
		l.Apply(replay.Change{Kind: replay.SessionRecord, ID: session, KeepUntil: ends, State: state})
	}
	if s.owner != 0 {
		l.Apply(replay.Change{Kind: replay.RightRecord, ID: right.ID, KeepUntil: ends, Owner: token(s.owner)})
	}
	if s.cut != 0 {
		l.Apply(replay.Change{Kind: replay.SubjectRecord, ID: subject, KeepUntil: ends, Cut: second(s.cut - 1)})
	}
	return l
}

func (s store) record() replay.State {
	r := replay.State{
		Fence: uint64(s.fence), Floor: uint64(s.floor), Watermark: uint64(s.watermark),
		Set: s.won.version(), Behind: s.behind, Revoked: s.revoked,
	}
	if s.attempt != 0 {
		r.Attempt = token(s.attempt)
	}
	return r
}

// fromLedger panics over what store has no room for: then the record has grown,
// and the model must grow with it.
func fromLedger(l *replay.Ledger) (s store) {
	for c := range l.All() {
		switch c.Kind {
		case replay.SessionRecord:
			s.fence, s.floor, s.watermark = uint8(c.State.Fence), uint8(c.State.Floor), uint8(c.State.Watermark)
			s.attempt, s.behind, s.revoked = c.State.Attempt[0], c.State.Behind, c.State.Revoked
			s.won = version(uint8(c.State.Set.Fence), uint8(c.State.Set.Gen))
			if s.record() != c.State {
				panic(fmt.Sprintf("the model does not know all of %+v", c.State))
			}
		case replay.RightRecord:
			s.owner = c.Owner[0]
		case replay.SubjectRecord:
			s.cut = uint8(c.Cut.Sub(began)/time.Second) + 1
		}
	}
	return s
}

func token(n uint8) (t replay.Owner) {
	t[0] = n
	return t
}

// The operations, each with the rules that can be taken out of it. A rule goes by
// a question that is asked wrongly or an answer that is read wrongly; the decision
// code stays the real one.

func (m *machine) restore(s store, at set, c content, attempt uint8, now uint8) (store, answer) {
	o := op{name: "restore", at: at, attempt: attempt, login: c.login, now: now, strict: m.strict && !m.without(strictAsked)}
	asked := s
	if m.without(fenceInSet) {
		o.at = version(s.fence, at.gen())
	}
	if m.without(cleanRetry) && s.attempt == attempt && s.won == at {
		asked.floor, asked.watermark = 0, 0
	}
	if m.without(revokedRefuses) {
		asked.revoked = false
	}
	if m.without(cutRefuses) {
		asked.cut = 0
	}
	next, a := m.ask(asked, o)
	if !a.granted() {
		return s, a
	}
	next.cut = s.cut
	if m.without(behindIsKept) {
		next.behind = false
	}
	return next, a
}

func (m *machine) protect(s store, at set, c content, now uint8) (store, answer) {
	if m.without(fenceOnChange) {
		at = version(s.fence, at.gen())
	}
	return m.ask(s, op{name: "protect", at: at, login: c.login, now: now})
}

const anotherToken = 8

func (m *machine) take(s store, at set, c content, owner, now uint8) (store, answer) {
	if m.without(fenceOnChange) {
		at = version(s.fence, at.gen())
	}
	o := op{name: "take", at: at, owner: owner, login: c.login, now: now}
	if m.without(ownerToken) && s.owner == owner {
		o.owner = anotherToken
	}
	next, a := m.ask(s, o)
	if m.without(takeClaims) {
		next, a.outcome = s, replay.Won
	}
	if m.without(takeLeavesMark) && a.granted() {
		next.watermark = max(next.watermark, at.gen())
	}
	return next, a
}

// acknowledge raises the floor; generation 0 only asks.
func (m *machine) acknowledge(s store, at set, c content, now uint8) (store, answer) {
	return m.ask(s, op{name: "acknowledge", at: at, login: c.login, now: now})
}
