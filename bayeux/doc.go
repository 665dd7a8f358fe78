// Package bayeux is a Bayeux 1.0 server and client: publish and subscribe
// between a web server and its browsers, over long-polling and WebSocket and, where
// a program asks for it, callback-polling.
//
// Most people want two calls. [NewServer] gives an [http.Handler]; mount it at
// a path and everything below it ("/bayeux" and "/bayeux/"), and send with [Server.Publish] or, to one
// client, [ServerSession.Deliver]. [NewClient] gives a client that stays
// connected: it reconnects, shakes hands again when the server does not know it
// any more, and renews its subscriptions.
//
// docs/bayeux.md tells what it does on the wire, requirement by requirement.
//
// The server speaks to CometD's and Faye's clients, the client to their
// servers. An [Extension] sees every message; a [HandshakeHook] has a say in
// each handshake, which is where state can be carried over from another server.
//
// # What the caller must still do
//
// Serve over TLS. Say in a [SecurityPolicy] who may do what: by default
// everybody may publish and subscribe on every broadcast channel. List other
// origins in [Config.AllowedOrigins]; by default only pages of the server's own
// origin are served. Call [Server.Shutdown] first and then that of the http.Server,
// which by itself waits for held connects and does not know of WebSockets; what is
// given to its RegisterOnShutdown is not waited for. Delivery is at most once: a message written
// to a connection that dies is lost, unless the client asks for acknowledged
// delivery ([Config.Acknowledge]).
//
// # Limits
//
// Everything a client can make the server keep or read is bounded; see
// [Config]. JSON is read once, strictly: duplicate members, members that differ
// from a known one in case alone, and invalid UTF-8 are refused.
//
// # Compatibility
//
// The package follows semantic versioning with the module. Wire behaviour that
// the protocol leaves open, the text of errors and the default limits may
// change in a minor version.
package bayeux
