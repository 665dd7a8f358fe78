package redisstore

import (
	"crypto/rand"
	"testing"
	"time"

	"github.com/sealedblob/sealedblob/replay"
)

// A record that is damaged, as by a node that was taken over, is its own affair: not that of those who
// ask in the same round trip, nor of what is purged.
func TestDamaged(t *testing.T) {
	t.Parallel()
	server, s := fresh(t)
	key := func(rest string) string { return "sb:{test}:" + rest }
	owner, session, subject := replay.Owner([]byte(rand.Text()[:16])), newRight(s).ID, newRight(s).ID
	list, garbage, longer, late, good := newRight(s), newRight(s), newRight(s), newRight(s), newRight(s)
	server.Redis("RPUSH", key("r:"+string(list.ID[:])), "x")
	server.Redis("SET", key("r:"+string(garbage.ID[:])), string(owner[:])+"nan")
	expect(t, s, owner, longer, replay.Won, nil)
	longer.KeepUntil = longer.KeepUntil.Add(time.Hour)
	server.Redis("RPUSH", key("x:"+string(longer.ID[:])), "soon")
	expect(t, s, newOwner(), late, replay.Won, nil)

	claims := func(rights ...replay.Right) (batch []question) {
		for _, r := range rights {
			q, err := s.claim(owner, []replay.Right{r})
			must(t, err)
			batch = append(batch, q)
		}
		return batch
	}
	replies := make([]reply, 4)
	must(t, s.carry(claims(list, garbage, longer, good), replies))
	for i, want := range []replay.Outcome{replay.Lost, replay.Lost, replay.Mine, replay.Won} {
		if replies[i].err != nil || replies[i].outcome != want {
			t.Errorf("claim %d = %v, %v, want %v", i, replies[i].outcome, replies[i].err, want)
		}
	}
	server.Redis("RPUSH", key("d:1"), "r"+string(list.ID[:]), "r"+string(garbage.ID[:]), "r"+string(late.ID[:]), "r", "z", "s"+string(list.ID[:]))
	server.Redis("RPUSH", key("d:never"), "r"+string(late.ID[:]))
	server.Redis("ZADD", key("due"), "0", "never", "1", "1")
	expect(t, s, newOwner(), newRight(s), replay.Won, nil)
	must(t, s.Purge(t.Context()))
	for _, r := range []replay.Right{list, garbage, late, good} {
		expect(t, s, newOwner(), r, replay.Lost, nil)
	}

	server.Redis("HSET", key("s:"+string(session[:])), "keep", "9999999999", "fence", "x")
	server.Redis("HSET", key("u:"+string(subject[:])), "cut", "x")
	before := said(server, "HGET", s.meta, "seq")
	for name, err := range map[string]error{
		"Revoke":        s.Revoke(t.Context(), session, late.KeepUntil),
		"RevokeSubject": s.RevokeSubject(t.Context(), subject, time.Now(), late.KeepUntil),
	} {
		if err == nil || isFinal(err) || len(err.Error()) > 200 {
			t.Errorf("%s = %v", name, err)
		}
	}
	if said(server, "HGET", s.meta, "seq") != before {
		t.Error("a damaged record was written to")
	}
}
