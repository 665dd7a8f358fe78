package sessionext

import (
	"encoding/base64"

	"github.com/sealedblob/sealedblob/session"
)

// ExtName is the member of a Bayeux message's ext; Channel is where sets are
// pushed (docs/SPEC.md §9). Clients never subscribe to it and never publish on it.
const (
	ExtName = "sealed"
	Channel = "/service/sealed"
)

const wireVersion = session.WireVersion

// States of a handshake's reply.
const (
	StateRestored = session.StateRestored
	StateRefused  = session.StateRefused
	StateNone     = session.StateNone
	StateRetry    = session.StateRetry
)

// What travels, the same as over plain HTTP.
type (
	// Request is ext.sealed of a handshake and of a connect (Gen alone).
	Request = session.WireRequest
	// Reply is ext.sealed of a handshake's reply.
	Reply = session.WireReply
	// Update is the data of a push.
	Update = session.WirePush
)

func formatOwner(owner session.Owner) string { return base64.RawURLEncoding.EncodeToString(owner[:]) }
