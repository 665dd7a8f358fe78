package bayeux

// Observer is told what a server does, for metrics. Observe is called from many
// goroutines at once, in the middle of what it tells of: it must be quick, must
// not wait and must not call back into the server.
type Observer interface {
	Observe(e Event)
}

// Event is one change of a counter or gauge. It holds nothing that a client
// chose.
type Event struct {
	Kind EventKind
	// N is by how much a counter rises, or a gauge rises or falls. It is not 0.
	N int
}

// EventKind names a counter or gauge. It is fit for a metric's name or label.
type EventKind string

// The gauges: what there is now.
const (
	GaugeSessions EventKind = "sessions"
	GaugeSockets  EventKind = "sockets" // open WebSockets
	GaugePolls    EventKind = "polls"   // connects held over HTTP
)

// The counters: what happened.
const (
	CountReceived  EventKind = "received"  // messages from clients, refused ones included
	CountRefused   EventKind = "refused"   // messages answered with an error, but for handshakes
	CountDenied    EventKind = "denied"    // handshakes answered with an error
	CountBad       EventKind = "bad"       // requests and WebSocket messages that were not Bayeux
	CountPublished EventKind = "published" // broadcasts that started at this node
	CountDelivered EventKind = "delivered" // messages put into a session's queue
	CountDropped   EventKind = "dropped"   // messages for which a queue had no room
	CountBroker    EventKind = "broker"    // broadcasts that did not go to other nodes
)

// The counters of sessions that are gone: each is in one of them.
const (
	CountDisconnected EventKind = "disconnected" // by their clients
	CountExpired      EventKind = "expired"      // whose clients fell silent
	CountOverflowed   EventKind = "overflowed"   // whose queues had no room
	CountEnded        EventKind = "ended"        // by the application, a refusing hook, or Shutdown
)

func (s *Server) observe(kind EventKind, n int) {
	if s.cfg.Observer != nil && n != 0 {
		s.safely("observer", func() { s.cfg.Observer.Observe(Event{kind, n}) })
	}
}
