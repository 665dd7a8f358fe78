package bayeux

import (
	"context"
	"net/http"
	"runtime/debug"
	"slices"
)

// Extension sees every message between the server and its sessions, and may
// change it. Incoming is called in the order of registration, Outgoing in the
// reverse order, those of the server before those of the session. Calls for
// different sessions run concurrently. An extension that panics counts as one
// that returned false. One that ends its goroutine ([runtime.Goexit], as t.Fatal does)
// ends the request, or the WebSocket, with it.
type Extension interface {
	// Incoming sees a message before security policy and dispatch do. from is
	// nil for a handshake; messages of unknown clients are refused before any
	// extension. False deletes the message: it is answered with
	// 404::message_deleted. ctx is that of a service handler ([Server.HandleService]),
	// for a handshake that of a [HandshakeHook].
	Incoming(ctx context.Context, from *ServerSession, m *Message) bool
	// Outgoing sees a reply or a delivery to a session. False deletes it. A
	// message that is broadcast passes the server's extensions once, for all its
	// receivers and on the node where it was published, with a nil to; the
	// session's own see it once for each receiver. Outgoing is not called for
	// replies that have no session: to an unknown client or a refused handshake.
	// What it delivers itself passes Outgoing again.
	Outgoing(to *ServerSession, m *Message) bool
}

// HandshakeHook is an optional interface of an [Extension]. Handshake is called
// after the policy agreed and the new session exists, before the reply is sent.
// It may block within ctx, which [Config.HandshakeTimeout] bounds together with what
// came before; it may set members of h.Reply, or refuse. Messages it delivers to the session wait for
// the client's first connect. A hook that panics counts as one that refused.
type HandshakeHook interface {
	Handshake(ctx context.Context, h *Handshake)
}

// Handshake is one handshake about to be answered.
type Handshake struct {
	// Session is the new session. No client knows its id yet.
	Session *ServerSession
	// Request is the client's message, Reply the answer so far.
	Request, Reply *Message
	// HTTP is the request the handshake came with, for a WebSocket the one that
	// opened it. Its body is consumed.
	HTTP *http.Request

	refused bool
}

// Refuse makes the reply unsuccessful, with errorText ("code:arguments:text")
// and advice, and discards the session. An advice without Reconnect means
// "none": the client stops. Members of h.Reply.Ext are kept. Hooks after this
// one are not called.
func (h *Handshake) Refuse(errorText string, advice Advice) {
	if advice.Reconnect == "" {
		advice.Reconnect = ReconnectNone
	}
	if errorText == "" {
		errorText = errorHandshakeDenied
	}
	h.refused = true
	h.Reply.Successful = ptr(false)
	h.Reply.Error = errorText
	h.Reply.Advice = &advice
	h.Reply.ClientID = ""
}

// AddExtension registers e. Call it before the server serves.
func (s *Server) AddExtension(e Extension) {
	s.extensions = append(s.extensions, e)
}

// AddExtension registers e for this session alone. A [HandshakeHook] is a good
// place to call it; e's own Handshake is not called any more.
func (s *ServerSession) AddExtension(e Extension) {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := append(slices.Clone(s.ownExtensions()), e)
	s.extensions.Store(&list)
}

func (s *ServerSession) ownExtensions() []Extension {
	if list := s.extensions.Load(); list != nil {
		return *list
	}
	return nil
}

func (s *Server) extendIncoming(ctx context.Context, from *ServerSession, m *Message) bool {
	if !s.incoming(ctx, s.extensions, from, m) {
		return false
	}
	return from == nil || s.incoming(ctx, from.ownExtensions(), from, m)
}

func (s *Server) extendOutgoing(to *ServerSession, m *Message) bool {
	return s.outgoing(s.extensions, to, m) && s.outgoing(to.ownExtensions(), to, m)
}

func (s *Server) incoming(ctx context.Context, list []Extension, from *ServerSession, m *Message) bool {
	for _, e := range list {
		ok := false
		s.safely("extension", func() { ok = e.Incoming(ctx, from, m) })
		if !ok {
			return false
		}
	}
	return true
}

func (s *Server) outgoing(list []Extension, to *ServerSession, m *Message) bool {
	for _, e := range slices.Backward(list) {
		ok := false
		s.safely("extension", func() { ok = e.Outgoing(to, m) })
		if !ok {
			return false
		}
	}
	return true
}

func (s *Server) runHandshakeHooks(ctx context.Context, h *Handshake) {
	for _, e := range s.extensions {
		hook, ok := e.(HandshakeHook)
		if !ok || h.refused {
			continue
		}
		if !s.safely("handshake hook", func() { hook.Handshake(ctx, h) }) {
			h.Refuse(errorHandshakeDenied, Advice{})
		}
	}
}

// safely keeps a panic of code that is not ours from ending the process. It
// reports whether f returned.
func (s *Server) safely(what string, f func()) (returned bool) {
	defer func() {
		if !returned {
			s.cfg.Logger.Error("bayeux: panic", "in", what, "value", recover(), "stack", string(debug.Stack()))
		}
	}()
	f()
	return true
}
