package redisstore

import (
	"errors"
	"testing"
	"time"

	"github.com/sealedblob/sealedblob/internal/services"
	"github.com/sealedblob/sealedblob/replay"
)

// A server without memory left evicts nothing and is full; what is past makes room.
func TestOutOfMemory(t *testing.T) {
	t.Parallel()
	server := services.Redis(t)
	s := skewed(t, configOf(server.Addr, "test"))
	owner, right, session := newOwner(), newRight(s), newID()
	expect(t, s, owner, right, replay.Won, nil)
	if v, err := s.Protect(t.Context(), placeOf(session)); v != replay.Granted || err != nil {
		t.Fatal(v, err)
	}
	server.Redis("CONFIG", "SET", "maxmemory", "1")
	expect(t, s, newOwner(), newRight(s), replay.Lost, replay.ErrFull)
	expect(t, s, owner, right, replay.Mine, nil)
	expect(t, s, newOwner(), right, replay.Lost, nil)
	if err := s.Revoke(t.Context(), newID(), time.Now().Add(time.Hour)); !errors.Is(err, replay.ErrFull) {
		t.Errorf("Revoke = %v", err)
	}
	held := placeOf(session)
	held.Version.Gen = 9
	if v, err := s.Acknowledge(t.Context(), held); len(v) != 1 || v[0] != replay.Granted || !errors.Is(err, replay.ErrFull) {
		t.Errorf("Acknowledge = %v, %v", v, err)
	}
	if spent, err := s.Spent(t.Context(), right.ID); err != nil || !spent[0] {
		t.Errorf("Spent = %v, %v", spent, err)
	}
	server.Redis("CONFIG", "SET", "maxmemory", "0")
	skew(server, 7200)
	server.Redis("CONFIG", "SET", "maxmemory", "1")
	must(t, s.Purge(t.Context()))
	if status, err := s.Status(t.Context()); err != nil || status.Rights != 0 || status.Sessions != 0 || status.Horizon.IsZero() {
		t.Errorf("Status = %+v, %v", status, err)
	}
	expect(t, s, owner, right, replay.Lost, replay.ErrBeyondHorizon)
}

// Purged in many turns; what is kept longer than first said, is.
func TestPurge(t *testing.T) {
	t.Parallel()
	server := services.Redis(t)
	cfg := configOf(server.Addr, "test")
	cfg.LeavePurge = true
	s := skewed(t, cfg)
	owner, late := newOwner(), newRight(s)
	expect(t, s, owner, late, replay.Won, nil)
	late.KeepUntil = late.KeepUntil.Add(2 * time.Hour)
	expect(t, s, owner, late, replay.Mine, nil)
	rights := make([]replay.Right, 3000)
	for i := range rights {
		rights[i] = newRight(s)
	}
	if o, err := s.Claim(t.Context(), owner, rights...); o != replay.Won || err != nil {
		t.Fatal(o, err)
	}
	skew(server, 7200)
	fresh := newRight(s)
	fresh.KeepUntil = fresh.KeepUntil.Add(2 * time.Hour)
	expect(t, s, newOwner(), fresh, replay.Won, nil)
	if status, err := s.Status(t.Context()); err != nil || status.Rights != 3002 {
		t.Errorf("with LeavePurge: %+v, %v", status, err)
	}
	must(t, s.Purge(t.Context()))
	if status, err := s.Status(t.Context()); err != nil || status.Rights != 2 {
		t.Errorf("after Purge: %+v, %v", status, err)
	}
	expect(t, s, newOwner(), late, replay.Lost, nil)
	skew(server, 14400)
	must(t, s.Purge(t.Context()))
	if n := said(server, "DBSIZE"); n != "2" { // meta and skew
		t.Errorf("%s keys are left: %s", n, server.Redis("KEYS", "*"))
	}
}

// A claim purges more than it may write, so that a store does not fill with what is past.
func TestSweep(t *testing.T) {
	t.Parallel()
	server := services.Redis(t)
	s := skewed(t, configOf(server.Addr, "test"))
	const n = 300
	for _, hours := range []int{0, 2} {
		skew(server, hours*3600)
		rights := make([]replay.Right, n)
		for i := range rights {
			rights[i] = newRight(s)
			rights[i].KeepUntil = rights[i].KeepUntil.Add(time.Duration(hours) * time.Hour)
		}
		if o, err := s.Claim(t.Context(), newOwner(), rights...); o != replay.Won || err != nil {
			t.Fatal(o, err)
		}
	}
	if status, err := s.Status(t.Context()); err != nil || status.Rights != n {
		t.Errorf("Status = %+v, %v, want %d rights", status, err, n)
	}
}
