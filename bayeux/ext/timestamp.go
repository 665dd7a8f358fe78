package ext

import (
	"time"

	"github.com/sealedblob/sealedblob/bayeux"
)

// Timestamp writes the time into every message that the server sends, in the
// form and time zone that Bayeux 1.0, section 3.9, asks for: UTC, to a hundredth
// of a second.
type Timestamp struct{ bystander }

// Outgoing implements bayeux.Extension.
func (Timestamp) Outgoing(_ *bayeux.ServerSession, m *bayeux.Message) bool {
	m.Timestamp = timestamp()
	return true
}

// ClientTimestamp does the same for every message that a client sends.
type ClientTimestamp struct{}

// Incoming implements bayeux.ClientExtension.
func (ClientTimestamp) Incoming(*bayeux.Message) bool { return true }

// Outgoing implements bayeux.ClientExtension.
func (ClientTimestamp) Outgoing(m *bayeux.Message) bool {
	m.Timestamp = timestamp()
	return true
}

func timestamp() string { return time.Now().UTC().Format("2006-01-02T15:04:05.00") }
