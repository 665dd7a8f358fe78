package ext

import (
	"time"

	"github.com/sealedblob/sealedblob/bayeux"
)

const (
	timeSyncName = "timesync"
	// accuracyGoal: a client that is nearer to the server's clock than this, in
	// milliseconds, is told nothing.
	accuracyGoal = 25
	// maxClientTime keeps sums of a client's numbers from overflowing.
	maxClientTime = 1 << 53
)

// TimeSync tells clients the server's time. A client says in ext.timesync of its
// meta messages what its clock shows, tc, and what it takes for the lag of the
// network, l, and the offset of its clock, o; all in milliseconds. The reply's
// ext.timesync has the same tc, the server's clock at the arrival, ts, how long
// the server took to answer, p, and how wrong the client is, a.
type TimeSync struct{ bystander }

type timeSyncRequest struct {
	TC int64 `json:"tc"`
	L  int64 `json:"l"`
	O  int64 `json:"o"`
}

type timeSyncReply struct {
	TC int64 `json:"tc"`
	TS int64 `json:"ts"`
	P  int64 `json:"p"`
	A  int64 `json:"a"`
}

// Outgoing implements bayeux.Extension.
func (TimeSync) Outgoing(_ *bayeux.ServerSession, m *bayeux.Message) bool {
	asked := m.Request()
	if asked == nil || !m.IsMeta() {
		return true
	}
	var q timeSyncRequest
	if present, err := asked.DecodeExt(timeSyncName, &q); !present || err != nil || !q.sane() {
		return true
	}
	arrived := asked.Received()
	r := timeSyncReply{TC: q.TC, TS: arrived.UnixMilli(), P: time.Since(arrived).Milliseconds()}
	r.A = q.TC + q.O + q.L - r.TS
	if q.L == 0 || r.A >= accuracyGoal || r.A <= -accuracyGoal {
		_ = m.SetExt(timeSyncName, r)
	}
	return true
}

func (q timeSyncRequest) sane() bool {
	for _, n := range []int64{q.TC, q.L, q.O} {
		if n > maxClientTime || n < -maxClientTime {
			return false
		}
	}
	return true
}
