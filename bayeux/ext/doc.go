// Package ext has the extensions of CometD that need no part in the server:
// [Timestamp], [TimeSync], [Activity] and [Binary]. Register what you want with
// bayeux.Server.AddExtension, before the server serves. Acknowledged delivery is
// bayeux.Config.Acknowledge.
//
// For clients there are [ClientTimestamp] and [ClientTimeSync], to be named in
// bayeux.ClientConfig.Extensions; [NewBinary] and [ReadBinary] are for both sides,
// and acknowledged delivery is bayeux.ClientConfig.Acknowledge.
//
// All are safe for concurrent use.
package ext

import (
	"context"

	"github.com/sealedblob/sealedblob/bayeux"
)

// bystander lets every message pass.
type bystander struct{}

func (bystander) Incoming(context.Context, *bayeux.ServerSession, *bayeux.Message) bool { return true }

func (bystander) Outgoing(*bayeux.ServerSession, *bayeux.Message) bool { return true }
