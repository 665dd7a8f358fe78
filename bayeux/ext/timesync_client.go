package ext

import (
	"slices"
	"sync"
	"time"

	"github.com/sealedblob/sealedblob/bayeux"
)

// maxSamples is how many answers an estimate is made of.
const maxSamples = 10

// ClientTimeSync estimates the server's clock from the answers of a server that has
// [TimeSync], or CometD's extension of this name. The way to the server is taken to
// be as long as the way back. It is for one client.
type ClientTimeSync struct {
	mu      sync.Mutex
	samples []timeSample // the newest last
}

type timeSample struct{ offset, lag time.Duration }

// Offset returns how far the server's clock is ahead of this one, the mean of the last
// ten answers, and whether there was any. It is the server's word: trust it as far as
// the server.
func (s *ClientTimeSync) Offset() (offset time.Duration, known bool) {
	mean, known := s.mean()
	return mean.offset, known
}

// Lag returns how long a message takes to the server, the mean of the last ten answers;
// 0 before any.
func (s *ClientTimeSync) Lag() time.Duration {
	mean, _ := s.mean()
	return mean.lag
}

func (s *ClientTimeSync) mean() (mean timeSample, known bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := time.Duration(len(s.samples))
	for _, one := range s.samples { // divided first: a sum could overflow
		mean.offset += one.offset / n
		mean.lag += one.lag / n
	}
	return mean, n > 0
}

// Outgoing implements bayeux.ClientExtension.
func (s *ClientTimeSync) Outgoing(m *bayeux.Message) bool {
	if m.IsMeta() {
		mean, _ := s.mean()
		_ = m.SetExt(timeSyncName, timeSyncRequest{TC: time.Now().UnixMilli(), L: mean.lag.Milliseconds(), O: mean.offset.Milliseconds()})
	}
	return true
}

// Incoming implements bayeux.ClientExtension.
func (s *ClientTimeSync) Incoming(m *bayeux.Message) bool {
	var r timeSyncReply
	if present, err := m.DecodeExt(timeSyncName, &r); !m.IsMeta() || !present || err != nil {
		return true
	}
	// There and back, but for the time that the server took; twice the lag.
	away := time.Now().UnixMilli() - r.TC - r.P
	offset := r.TS - r.TC - away/2
	if r.P < 0 || away < 0 || away > maxOffset || offset > maxOffset || offset < -maxOffset {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.samples = append(s.samples, timeSample{millis(offset), millis(away) / 2}); len(s.samples) > maxSamples {
		s.samples = slices.Delete(s.samples, 0, 1)
	}
	return true
}

// maxOffset, in milliseconds, is a century: a time.Duration can hold it.
const maxOffset = 100 * 365 * 24 * 3_600_000

func millis(n int64) time.Duration { return time.Duration(n) * time.Millisecond }
