package redisstore

import (
	"testing"
	"time"

	"github.com/redis/rueidis"
	"github.com/sealedblob/sealedblob/internal/services"
	"github.com/sealedblob/sealedblob/replay"
)

// Sentinels promote a replica of a master that was killed while nodes claimed: nobody is granted
// what somebody was granted before, and nodes go on at the new master.
func TestSentinel(t *testing.T) {
	t.Parallel()
	master := services.Redis(t)
	replica := services.RedisReplica(t, master)
	cfg := configOf("", "test")
	cfg.Client.ForceSingleClient, cfg.Client.InitAddress = false, nil
	cfg.Client.Sentinel = rueidis.SentinelOption{MasterSet: "store"}
	for _, s := range services.RedisSentinels(t, "store", master) {
		cfg.Client.InitAddress = append(cfg.Client.InitAddress, s.Addr)
	}
	s := mustOpen(t, cfg)
	eventually(t, func() bool { return said(replica, "EXISTS", s.meta) == "1" })
	stop := claimOn(t, s)
	time.Sleep(200 * time.Millisecond)
	before := newRight(s)
	expect(t, s, newOwner(), before, replay.Won, nil)
	master.Kill()
	expectSoon(t, s, newOwner(), before, replay.Lost, replay.ErrBeforeEpoch)
	time.Sleep(200 * time.Millisecond)
	all := stop()
	if after := checkWon(t, s, all); after == 0 || after == len(all) {
		t.Errorf("%d of %d are after the epoch", after, len(all))
	}
	expect(t, mustOpen(t, cfg), newOwner(), before, replay.Lost, replay.ErrBeforeEpoch)
	if said(replica, "EXISTS", s.meta) != "1" {
		t.Error("the store is elsewhere")
	}
}
