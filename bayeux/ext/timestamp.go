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
	m.Timestamp = time.Now().UTC().Format("2006-01-02T15:04:05.00")
	return true
}
