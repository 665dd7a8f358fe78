package redisstore

import (
	"errors"
	"testing"

	"github.com/sealedblob/sealedblob/internal/services"
	"github.com/sealedblob/sealedblob/replay"
)

// A store of a Cluster is in one slot. Stores of many names are on all masters.
func TestCluster(t *testing.T) {
	t.Parallel()
	nodes := services.RedisCluster(t, 3)
	for _, name := range []string{"a", "b", "c", "d"} {
		cfg := configOf(nodes[0].Addr, name)
		cfg.Client.ForceSingleClient = false
		s := mustOpen(t, cfg)
		owner, right, session := newOwner(), newRight(s), newID()
		expect(t, s, owner, right, replay.Won, nil)
		expect(t, s, newOwner(), right, replay.Lost, nil)
		r := replay.RestoreRequest{Session: session, Issued: right.Issued, KeepUntil: right.KeepUntil, Attempt: owner, Burn: []replay.Burn{{Right: newRight(s)}}}
		if got, err := s.Restore(t.Context(), r); got.Verdict != replay.Granted || err != nil {
			t.Errorf("Restore = %v, %v", got, err)
		}
		must(t, s.Purge(t.Context()))
		must(t, s.RaiseEpoch(t.Context()))
		expect(t, s, newOwner(), right, replay.Lost, replay.ErrBeforeEpoch)
	}
	cfg := configOf(nodes[0].Addr, "e")
	cfg.Client.ForceSingleClient, cfg.Replicas = false, 1
	if _, err := Open(t.Context(), cfg); !errors.Is(err, ErrReplicas) {
		t.Errorf("Open in a Cluster without replicas = %v", err)
	}
	used := 0
	for _, n := range nodes {
		if said(n, "DBSIZE") != "0" {
			used++
		}
	}
	if used < 2 {
		t.Errorf("four stores are on %d masters", used)
	}
}
