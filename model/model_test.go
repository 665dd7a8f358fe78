package model

import (
	"os"
	"strings"
	"testing"
	"time"
)

// A scenario is a part of the protocol, on two nodes, with as much else as its
// states can bear.
var scenarios = map[string]machine{
	"refuse":      {tabs: 1, values: 1, strict: true, thief: true},
	"drop":        {tabs: 1, values: 1, thief: true},
	"ticket":      {tabs: 1, ticket: true, thief: true},
	"logout":      {tabs: 1, values: 1, strict: true, logout: true, thief: true},
	"logins":      {tabs: 1, seconds: 1, thief: true},
	"drain":       {tabs: 2, drain: true, thief: true},
	"two tabs":    {tabs: 2, values: 1, strict: true, thief: true},
	"tabs apart":  {tabs: 2, apart: true},
	"owner alone": {tabs: 1, values: 1, strict: true, ticket: true, logout: true},
}

// bounds are the restores that are granted, and the generations besides theirs.
type bounds struct{ fences, gens uint8 }

// levels are the bounds of each MODEL in the environment; "" is that of a
// scenario without its own.
var levels = map[string]map[string]bounds{
	"":     {"": {1, 1}, "drop": {2, 1}},
	"full": {"": {2, 1}, "refuse": {2, 2}},
	"deep": {"": {2, 2}, "refuse": {3, 2}, "drop": {3, 1}},
}

func (m machine) within(level map[string]bounds, scenario string) machine {
	b, own := level[scenario]
	if !own {
		b = level[""]
	}
	m.nodes, m.fences, m.gens = 2, b.fences, b.gens
	return m
}

func run(t *testing.T, m machine) result {
	start := time.Now()
	r := explore(&m)
	t.Logf("%s: %d restores, %d generations, %d states, %d steps, %d questions to the store, %s",
		t.Name(), m.fences, m.gens, r.states, r.steps, r.questions, time.Since(start).Round(time.Millisecond))
	return r
}

// Nothing that the protocol promises breaks in any state within the bounds.
func TestProtocol(t *testing.T) {
	level, known := levels[os.Getenv("MODEL")]
	if !known {
		t.Fatalf("MODEL=%s is no level", os.Getenv("MODEL"))
	}
	for name, m := range scenarios {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := run(t, m.within(level, name))
			if r.violation != nil {
				t.Fatal(r.violation)
			}
			if r.states < 1000 {
				t.Errorf("only %d states", r.states)
			}
		})
	}
}

// What the protocol does not survive, so that docs/model.md tells the truth: a
// handshake that arrives after another answer to its sender has ended the episode.
func TestLateHandshakeLocksOut(t *testing.T) {
	m := machine{tabs: 1, late: true}.within(map[string]bounds{"": {2, 1}}, "")
	r := run(t, m)
	if r.violation == nil || r.violation.what != lockedOut {
		t.Fatal("it does now: ", r.violation)
	}
	t.Log(r.violation)
}

// The properties, as check and the steps call them.
const (
	fork      = "a fork restores"
	undone    = "a restore over a protected value that is not the newest"
	lockedOut = "the owner is locked out"
	twice     = "the ticket has its effect twice"
	robbed    = "an owner who won the ticket can't learn it from his node"
	drained   = "a set older than what a drained node left with its clients restores"
)

// Each rule is needed: without it a property breaks, and this one.
func TestRulesAreNeeded(t *testing.T) {
	for _, v := range []struct {
		rule           rule
		scenario, what string
	}{
		{fenceInSet, "refuse", fork},
		{cleanRetry, "refuse", fork},
		{fenceOnChange, "refuse", undone},
		{takeLeavesMark, "owner alone", lockedOut},
		{strictAsked, "refuse", undone},
		{behindIsKept, "drop", undone},
		{revokedRefuses, "logout", "a restore after the logout was answered"},
		{cutRefuses, "logins", "a restore by a login from before the logout everywhere"},
		{takeClaims, "ticket", twice},
		{ownerToken, "ticket", robbed},
		{protectFirst, "refuse", undone},
		{withholds, "drop", undone},
		{ackedOnly, "refuse", lockedOut},
		{everyClient, "tabs apart", lockedOut},
		{drainWaits, "drain", drained},
		{drainStores, "drain", drained},
		{spentLeft, "ticket", twice},
		{doubtKept, "ticket", robbed},
		{joinAsks, "refuse", lockedOut},
		{loginAfterCut, "logins", lockedOut},
		{tokenKept, "refuse", lockedOut},
		{setKept, "two tabs", lockedOut},
		{episodeOpen, "refuse", lockedOut},
		{newestWins, "two tabs", lockedOut},
	} {
		t.Run(string(v.rule), func(t *testing.T) {
			t.Parallel()
			m := scenarios[v.scenario].within(map[string]bounds{"": {2, 2}}, "")
			m.broken = v.rule
			r := run(t, m)
			switch {
			case r.violation == nil:
				t.Fatal("without this rule nothing breaks")
			case !strings.HasPrefix(r.violation.what, v.what):
				t.Fatalf("%s, want %s", r.violation, v.what)
			}
			t.Log(r.violation)
		})
	}
}
