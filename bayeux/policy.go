package bayeux

import (
	"context"
	"net/http"
)

// SecurityPolicy decides what remote clients may do. Its methods are called
// concurrently. Whatever a policy says, remote clients never publish or
// subscribe to /meta channels. Each ctx but that of CanHandshake is that of a service
// handler ([Server.HandleService]).
type SecurityPolicy interface {
	// CanHandshake is asked before a session is created. r is the HTTP request,
	// for a WebSocket the one that opened it. ctx is that of a [HandshakeHook]: a
	// client that is denied when it is over is told to come again in 5 s, and
	// otherwise to stop.
	CanHandshake(ctx context.Context, r *http.Request, m *Message) bool
	// CanCreate is asked, before CanSubscribe or CanPublish, when nobody is
	// subscribed to channel.
	CanCreate(ctx context.Context, from *ServerSession, channel string, m *Message) bool
	// CanSubscribe is asked for each channel of a subscription, with wildcards as
	// they are: who may not read /secret/plans may not read /secret/*, /secret/** or
	// /** either. Compare with [Overlaps] and not by prefix, or put an [Authorizer]
	// in charge, who is asked about wildcards that reach in.
	CanSubscribe(ctx context.Context, from *ServerSession, channel string, m *Message) bool
	// CanPublish is asked for broadcast and service channels.
	CanPublish(ctx context.Context, from *ServerSession, channel string, m *Message) bool
}

// DefaultPolicy lets everybody shake hands, create, subscribe and publish, but
// not on /meta channels, and on /service channels publish only where the
// server has a handler. Embed it to write a policy that differs in one point.
type DefaultPolicy struct{}

// CanHandshake implements [SecurityPolicy].
func (DefaultPolicy) CanHandshake(context.Context, *http.Request, *Message) bool { return true }

// CanCreate implements [SecurityPolicy].
func (DefaultPolicy) CanCreate(_ context.Context, _ *ServerSession, channel string, _ *Message) bool {
	return !isMeta(channel)
}

// CanSubscribe implements [SecurityPolicy].
func (DefaultPolicy) CanSubscribe(_ context.Context, _ *ServerSession, channel string, _ *Message) bool {
	return !isMeta(channel)
}

// CanPublish implements [SecurityPolicy].
func (DefaultPolicy) CanPublish(_ context.Context, from *ServerSession, channel string, _ *Message) bool {
	if isService(channel) {
		return from != nil && from.server.serviceHandler(channel) != nil
	}
	return !isMeta(channel)
}
