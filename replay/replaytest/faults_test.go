package replaytest

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/sealedblob/sealedblob/replay"
)

// fault is one deliberate fault and the checks that must find it.
type fault struct {
	name string
	want []string
	make func(f *faulty, b *backend)
}

// The names of the checks that most faults are found by.
const (
	cFirst    = "claim/first wins, owner retries, others lose"
	cRace     = "claim/race of 64 owners"
	cBatch    = "claim/batch is all or none"
	cMixed    = "claim/batch of own and new"
	cDup      = "claim/batch with duplicates"
	cNoOwner  = "claim/zero owner is refused"
	cKeep     = "horizon/remembered until KeepUntil, refused after"
	cPast     = "horizon/what is past is refused"
	cBack     = "horizon/survives a clock that steps back"
	cAhead    = "epoch/what is dated ahead can't be told"
	cFull     = "bounds/full of rights refuses and evicts nothing"
	cFullB    = "bounds/a batch that does not fit writes nothing"
	cFork     = "restore/another attempt is superseded"
	cAgain    = "restore/the same attempt wins again"
	cClosed   = "failure/closed store"
	cBroken   = "failure/broken backend is not replayed"
	cWalk     = "walk/at random beside the reference"
	cStrict   = "watermark/strict is rolled back"
	cReopened = "instances/reopened, everything is remembered"
	cLowers   = "acknowledge/never lowers the floor"
	cFenced   = "acknowledge/under another fence is superseded"
	cRevoked  = "acknowledge/of a revoked session is revoked"
	cMany     = "acknowledge/answers many in order"
	cAsks     = "acknowledge/generation 0 raises nothing"
	cNoRecord = "acknowledge/generation 0 makes no record"
	cReach    = "acknowledge/out of reach is refused"
	cReserve  = "acknowledge/leaves the last eighth"
)

// The kit goes red for every fault, in each check that is there to find it.
func TestFaultsAreFound(t *testing.T) {
	for _, bad := range faults() {
		t.Run(bad.name, func(t *testing.T) {
			for _, name := range bad.want {
				if !finds(t, checkNamed(t, name), bad) {
					t.Errorf("%q passed", name)
				}
			}
		})
	}
}

func faults() (all []fault) {
	for _, topic := range [][]fault{claimFaults, timeFaults, sessionFaults, ackFaults, burnFaults, subjectFaults, renewFaults, spenderFaults, operateFaults, otherFaults} {
		all = append(all, topic...)
	}
	return all
}

// Each check finds a fault.
func TestEveryCheckFindsAFault(t *testing.T) {
	useful := make(map[string]bool)
	for _, bad := range faults() {
		for _, name := range bad.want {
			useful[name] = true
		}
	}
	for _, c := range checks() {
		if !useful[c.name] {
			t.Errorf("no fault is there for %q", c.name)
		}
	}
}

// Each clause of the contract has faults that its own checks find: with -v, which.
func TestEveryClauseHasAFault(t *testing.T) {
	clause, found := make(map[string]int), make(map[int][]string)
	for _, c := range checks() {
		clause[c.name] = c.clause
	}
	for _, bad := range faults() {
		of := make(map[int]bool)
		for _, name := range bad.want {
			of[clause[name]] = true
		}
		for n := range of {
			found[n] = append(found[n], bad.name)
		}
	}
	for n := range clauses(t) {
		if n++; len(found[n]) == 0 {
			t.Errorf("no fault is there for clause %d", n)
		}
		t.Logf("clause %d: %s", n, strings.Join(found[n], "; "))
	}
	for n := range found {
		if n > clauses(t) {
			t.Errorf("a check is there for clause %d, which does not exist", n)
		}
	}
}

// clauses counts those of the contract in package replay.
func clauses(t *testing.T) int {
	t.Helper()
	text, err := os.ReadFile("../contract.go")
	if err != nil {
		t.Fatal(err)
	}
	n := len(regexp.MustCompile(`(?m)^//  \d+\. `).FindAll(text, -1))
	if n < 10 {
		t.Fatalf("%d clauses in the contract", n)
	}
	return n
}

// finds gives a check that needs luck a few chances.
func finds(t *testing.T, c check, bad fault) bool {
	cfg := configWith(func(s replay.Store, b *backend) replay.Store {
		f := &faulty{Store: s}
		bad.make(f, b)
		return f
	})
	for range 20 {
		if len(failures(t, c, cfg)) > 0 {
			return true
		}
	}
	return false
}
