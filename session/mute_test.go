package session_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealedblob/sealedblob/session"
)

// While the store does not answer, a node can't know that a login was ended: its
// requests are not served for longer than the grace. Visitors without one go on.
func TestLoginNeedsTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		other, answers := c.node(), true
		c.store = &tongue{c.store, &answers}
		m := c.waiting(session.Early{})
		visitor, _ := shopping(t, m)
		anna, _ := shopping(t, m)
		anna = login(t, anna, "anna")
		carl, _ := shopping(t, m)
		carl = login(t, carl, "carl")
		use := func(times int, annas string) {
			t.Helper()
			for range times {
				runFor(t, m, 1100*time.Millisecond)
				wantVerdicts(t, "anna", verdictOn(t, m, anna.Holder()), annas)
				wantVerdicts(t, "a visitor", verdictOn(t, m, visitor.Holder()), "here")
			}
		}
		use(30, "here")
		answers = false
		must(t, other.EndLogins(t.Context(), "anna"))
		use(50, "here")
		runFor(t, m, 11*time.Second) // from when the store was asked about them, in vain
		use(20, "later")
		wantVerdicts(t, "with nothing to restore", verdictOn(t, m, anna.Holder(), session.StatusNone), "later")
		wantVerdicts(t, "carl", verdictOn(t, m, carl.Holder()), "later")
		answers = true
		runFor(t, m, 1500*time.Millisecond)
		wantVerdicts(t, "anna, ended meanwhile", verdictOn(t, m, anna.Holder()), "anew")
		wantVerdicts(t, "carl", verdictOn(t, m, carl.Holder()), "here")
	})
}

// A node that has nothing to ask the store asks whether it answers again.
func TestStoreIsHeardAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		answers := true
		c.store = &tongue{c.store, &answers}
		m := c.waiting(session.Early{})
		anna, _ := shopping(t, m)
		anna = login(t, anna, "anna")
		busy, _ := shopping(t, m)
		runFor(t, m, 1500*time.Millisecond)
		answers = false
		time.Sleep(15 * time.Second)
		wantVerdicts(t, "busy", verdictOn(t, m, busy.Holder()), "here")
		runFor(t, m, 1500*time.Millisecond)
		time.Sleep(2 * time.Minute)
		wantVerdicts(t, "anna", verdictOn(t, m, anna.Holder()), "later")
		must(t, busy.Logout(t.Context()))
		answers = true
		runFor(t, m, 1500*time.Millisecond)
		wantVerdicts(t, "anna", verdictOn(t, m, anna.Holder()), "here")
	})
}
