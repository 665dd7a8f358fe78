package replaytest

import (
	"errors"
	"testing"
	"time"

	"github.com/sealedblob/sealedblob/replay"
)

// Tx is a transaction of the caller's own and what a store made of it.
type Tx struct {
	replay.Spender
	Commit, Rollback func() error
}

var spenderChecks = []check{
	{name: "transaction/spends when it commits", clause: 1, needs: begin, run: txCommits},
	{name: "transaction/rolled back, nothing is spent", clause: 3, needs: begin, run: txRollsBack},
	{name: "transaction/takes under the fence", needs: begin, run: txTakes},
	{name: "transaction/nobody loses to what may roll back", clause: 1, needs: begin, run: txOthersWait},
}

// begin starts a transaction, which ends with the check at the latest.
func (s store) begin() Tx {
	s.k.Helper()
	tx := s.k.cfg.Begin(s.k.TB, s.Store)
	s.k.Cleanup(func() { tx.Rollback() }) // an error if it ended before
	return tx
}

// claimIn expects an outcome within a transaction.
func (k *kit) claimIn(tx Tx, want replay.Outcome, owner replay.Owner, rights ...replay.Right) {
	k.Helper()
	if got, err := tx.Claim(k.Context(), owner, rights...); got != want || err != nil {
		k.Fatalf("Claim in a transaction = %v, %v, want %v", got, err, want)
	}
}

func end(t testing.TB, what string, f func() error) {
	t.Helper()
	if err := f(); err != nil {
		t.Fatalf("%s = %v", what, err)
	}
}

func txCommits(k *kit) {
	s, a, b, held, o := k.open(), k.right(), k.right(), k.right(), newOwner()
	s.claim(replay.Won, newOwner(), held)
	tx := s.begin()
	k.claimIn(tx, replay.Lost, o, a, held)
	k.claimIn(tx, replay.Won, o, a, b)
	k.claimIn(tx, replay.Mine, o, a)
	k.claimIn(tx, replay.Lost, newOwner(), a)
	end(k.TB, "Commit", tx.Commit)
	s.spent(true, a.ID, b.ID)
	s.claim(replay.Mine, o, a, b)
	s.claim(replay.Lost, newOwner(), a)
}

func txRollsBack(k *kit) {
	s, a, b := k.open(), k.right(), k.right()
	tx := s.begin()
	k.claimIn(tx, replay.Won, newOwner(), a, b)
	end(k.TB, "Rollback", tx.Rollback)
	s.spent(false, a.ID, b.ID)
	s.claim(replay.Won, newOwner(), a, b)
}

func txTakes(k *kit) {
	s, sid, r, o := k.open(), newID("sid"), k.right(), newOwner()
	old := s.login(newID("subject"))
	s.granted(1, k.request(sid, 0, 1))
	s.revokeSubject(old.Subject)
	tx := s.begin()
	take := func(want replay.Verdict, outcome replay.Outcome, p replay.Place) {
		k.Helper()
		if v, out, err := tx.Take(k.Context(), p, o, r); v != want || out != outcome || err != nil {
			k.Fatalf("Take in a transaction = %v, %v, %v, want %v, %v", v, out, err, want, outcome)
		}
	}
	take(replay.Superseded, replay.Lost, k.place(sid, 0, 0))
	take(replay.Revoked, replay.Lost, as(k.place(sid, 1, 0), old))
	take(replay.Granted, replay.Won, k.place(sid, 1, 0))
	end(k.TB, "Commit", tx.Commit)
	s.spent(true, r.ID)
}

// txOthersWait: who asks for a right that a transaction holds is answered when
// that has ended, truly, or with an error that says nothing.
func txOthersWait(k *kit) {
	s := k.open()
	for _, commits := range []bool{true, false} {
		r, tx := k.right(), s.begin()
		k.claimIn(tx, replay.Won, newOwner(), r)
		type answer struct {
			outcome replay.Outcome
			err     error
		}
		got := make(chan answer, 1)
		go func() {
			o, err := s.Claim(k.Context(), newOwner(), r)
			got <- answer{o, err}
		}()
		time.Sleep(20 * time.Millisecond) // it has most likely asked
		finish, want := tx.Rollback, replay.Won
		if commits {
			finish, want = tx.Commit, replay.Lost
		}
		end(k.TB, "the end of the transaction", finish)
		switch a := <-got; {
		case a.err == nil && a.outcome != want:
			k.Fatalf("Claim beside a transaction (committed: %v) = %v, want %v", commits, a.outcome, want)
		case a.err != nil && (a.outcome != replay.Lost || final(a.err)):
			k.Fatalf("Claim beside a transaction = %v, %v, want an error that is not final", a.outcome, a.err)
		}
	}
}

// final says whether err pretends to know.
func final(err error) bool {
	return errors.Is(err, replay.ErrReplayed) || errors.Is(err, replay.ErrBeforeEpoch) || errors.Is(err, replay.ErrBeyondHorizon)
}
