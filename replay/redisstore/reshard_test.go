package redisstore

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sealedblob/sealedblob/internal/services"
	"github.com/sealedblob/sealedblob/replay"
)

// move is a slot on its way from one master of a Cluster to the other.
type move struct {
	t        *testing.T
	from, to *services.Server
	slot     string
}

// moveOf begins to move the slot of a store on one of two masters.
func moveOf(t *testing.T, nodes []*services.Server, s *Store) move {
	t.Helper()
	m := move{t: t, from: nodes[0], to: nodes[1], slot: said(nodes[0], "CLUSTER", "KEYSLOT", s.meta)}
	if said(m.from, "CLUSTER", "COUNTKEYSINSLOT", m.slot) == "0" {
		m.from, m.to = m.to, m.from
	}
	m.to.Redis("CLUSTER", "SETSLOT", m.slot, "IMPORTING", said(m.from, "CLUSTER", "MYID"))
	m.from.Redis("CLUSTER", "SETSLOT", m.slot, "MIGRATING", said(m.to, "CLUSTER", "MYID"))
	return m
}

func (m move) keys(keys ...string) {
	m.t.Helper()
	host, port, err := net.SplitHostPort(m.to.Addr)
	must(m.t, err)
	m.from.Redis(append([]string{"MIGRATE", host, port, "", "0", "10000", "KEYS"}, keys...)...)
}

// left are keys that were not moved, up to 500 of them.
func (m move) left() []string {
	m.t.Helper()
	return strings.Fields(m.from.Redis("CLUSTER", "GETKEYSINSLOT", m.slot, "500"))
}

// rest moves all that is left, and gives the slot to its new master.
func (m move) rest() {
	m.t.Helper()
	for keys := m.left(); len(keys) > 0; keys = m.left() {
		m.keys(keys...)
	}
	id := said(m.to, "CLUSTER", "MYID")
	m.to.Redis("CLUSTER", "SETSLOT", m.slot, "NODE", id)
	m.from.Redis("CLUSTER", "SETSLOT", m.slot, "NODE", id)
}

// The slot of a store moves to another master while nodes claim: what was granted on one side is not
// granted on the other, whichever record moves first, and nodes go on when it is there.
func TestReshard(t *testing.T) {
	for _, keep := range []bool{false, true} {
		for _, last := range []bool{false, true} {
			t.Run(fmt.Sprintf("KeepOnRestart=%v, meta last=%v", keep, last), func(t *testing.T) {
				t.Parallel()
				nodes := services.RedisCluster(t, 2, services.Durable()...)
				cfg := configOf(nodes[0].Addr, "test")
				cfg.Client.ForceSingleClient, cfg.KeepOnRestart = false, keep
				s := mustOpen(t, cfg)
				stop := claimOn(t, s)
				time.Sleep(200 * time.Millisecond)
				m := moveOf(t, nodes, s)
				if last {
					m.keys(slices.DeleteFunc(m.left(), func(key string) bool { return key == s.meta })...)
				} else {
					m.keys(s.meta)
				}
				time.Sleep(200 * time.Millisecond)
				expect(t, s, newOwner(), newRight(s), replay.Lost, errMoving)
				if _, err := Open(t.Context(), cfg); !errors.Is(err, errMoving) {
					t.Errorf("Open = %v, want %v", err, errMoving)
				}
				m.rest()
				rejoin(t, s)
				time.Sleep(time.Second) // also where much else runs
				all := stop()
				after := checkWon(t, s, all)
				if after == 0 || keep != (after == len(all)) {
					t.Errorf("%d of %d are after the epoch", after, len(all))
				}
			})
		}
	}
}
