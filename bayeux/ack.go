package bayeux

import "strconv"

// extAck is the member of ext that CometD's acknowledge extension uses.
const extAck = "ack"

// acknowledgement is the state of a session whose client says by each connect
// which replies it has. Until then what they brought stays at the front of the
// queue, within its limits, and is sent again.
//
// It is in the server, and not an [Extension], because it decides when a message
// may be forgotten.
type acknowledgement struct {
	batch int64 // number of the last connect reply
	sent  []sentBatch
}

// sentBatch notes that the first messages of the queue, up to end, had been sent
// with the reply of this number. Both rise from one sentBatch to the next.
type sentBatch struct {
	number int64
	end    int
}

// wantsAck reports whether a handshake asks for acknowledged delivery.
func wantsAck(m *Message) bool { return string(m.Ext[extAck]) == "true" }

// acknowledge forgets what the client has by the word of its connect. A number
// that was not sent yet acknowledges what was sent: the loss is the client's.
func (s *ServerSession) acknowledge(connect *Message) {
	n, err := strconv.ParseInt(string(connect.Ext[extAck]), 10, 64)
	if err != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ack == nil {
		return
	}
	end := 0
	for _, b := range s.ack.sent {
		if b.number <= n {
			end = b.end
		}
	}
	s.discard(end)
}

// discard drops the queue's first n messages; the caller holds s.mu.
func (s *ServerSession) discard(n int) {
	s.queue.drop(n)
	if s.ack == nil {
		return
	}
	kept := s.ack.sent[:0]
	for _, b := range s.ack.sent {
		if b.end > n {
			kept = append(kept, sentBatch{b.number, b.end - n})
		}
	}
	s.ack.sent = kept
}

// sendUnacknowledged numbers a connect reply, and returns what goes along with
// it: all that the client is not known to have. Without acknowledgement it does
// nothing.
func (s *ServerSession) sendUnacknowledged(reply *Message) [][]byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ack == nil {
		return nil
	}
	a, n := s.ack, len(s.queue.messages)
	a.batch++
	if n > 0 && (len(a.sent) == 0 || a.sent[len(a.sent)-1].end < n) {
		a.sent = append(a.sent, sentBatch{a.batch, n})
	}
	_ = reply.SetExt(extAck, a.batch)
	s.queue.settled()
	return append([][]byte(nil), s.queue.messages...)
}
