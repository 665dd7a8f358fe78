package redisstore

import (
	"crypto/rand"
	"errors"
	"slices"
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
	place := func(id replay.ID, subject replay.ID) replay.Place {
		return replay.Place{Session: id, KeepUntil: late.KeepUntil, Login: replay.Login{Subject: subject, Since: late.Issued}}
	}
	for name, err := range map[string]error{
		"Revoke":        s.Revoke(t.Context(), session, late.KeepUntil),
		"Protect":       second(s.Protect(t.Context(), place(session, replay.ID{}))),
		"of a subject":  second(s.Protect(t.Context(), place(newRight(s).ID, subject))),
		"RevokeSubject": s.RevokeSubject(t.Context(), subject, time.Now(), late.KeepUntil),
	} {
		if err == nil || isFinal(err) || len(err.Error()) > 200 {
			t.Errorf("%s = %v", name, err)
		}
	}
	if said(server, "HGET", s.meta, "seq") != before {
		t.Error("a damaged record was written to")
	}

	// What is purged by who asks about it stays counted, and the horizon is known.
	past := newRight(s)
	past.KeepUntil = time.Now().Add(time.Second)
	expect(t, s, newOwner(), past, replay.Won, nil)
	count := said(server, "HGET", s.meta, "r")
	time.Sleep(time.Until(time.Unix(keepSecond(past.KeepUntil)+1, 0))) // past is what ended before this second
	if _, err := s.Protect(t.Context(), place(session, replay.ID{})); !errors.Is(err, errDamaged) {
		t.Errorf("Protect = %v", err)
	}
	if said(server, "HGET", s.meta, "r") == count {
		t.Error("what was purged is still counted")
	}
	expect(t, s, newOwner(), past, replay.Lost, replay.ErrBeyondHorizon)
	verdicts, err := s.Acknowledge(t.Context(), place(session, replay.ID{}), place(newRight(s).ID, replay.ID{}))
	if err != nil || !slices.Equal(verdicts, []replay.Verdict{replay.Refused, replay.Granted}) {
		t.Errorf("Acknowledge of a damaged one and another = %v, %v", verdicts, err)
	}
}

func second[T any](_ T, err error) error { return err }
