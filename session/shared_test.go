package session

import (
	"testing"
	"time"

	"github.com/sealedblob/sealedblob/internal/testkit"
	"github.com/sealedblob/sealedblob/seal"
)

// A salt is given up before any of its keys could have sealed too much.
func TestSharedSaltIsGivenUpInTime(t *testing.T) {
	ring, now := testkit.Ring(t), time.Now()
	s := newShared(seal.Scope{App: "shop"}, 63)
	first, err := s.sealFor(ring, now)
	if err != nil {
		t.Fatal(err)
	}
	sets := 1
	for ; sets < 1<<20; sets++ {
		if next, err := s.sealFor(ring, now); err != nil {
			t.Fatal(err)
		} else if next != first {
			break
		}
	}
	if seals := sets * (63 + 1); seals > 1<<20 || seals < 1<<19 {
		t.Errorf("%d sets of 63 attributes under one salt", sets)
	}
}

// A changed ring is seen at once, a changed primary key within a second.
func TestSharedOpenerFollowsTheRing(t *testing.T) {
	ring, now := testkit.Ring(t), time.Now()
	s := newShared(seal.Scope{App: "shop"}, 1)
	o := s.open(ring, now)
	s.openers.Put(o)
	if s.open(testkit.Ring(t), now) == o {
		t.Error("an opener of another ring")
	}
	s.openers.Put(o)
	if s.open(ring, now.Add(openerLife)) == o {
		t.Error("an opener past its time")
	}
}
