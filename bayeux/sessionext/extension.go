// Package sessionext carries sealed sessions over Bayeux: it pushes each new
// set to the browser, and restores a session from the handshake of a client
// that comes from another server.
//
// Server side: make an [Extension] with [New] and register it at a
// bayeux.Server. Client side, in Go: register a [Keeper] at a bayeux.Client;
// browsers use the modules in client/. The session package does all checks; a
// handshake is answered only after every field was verified.
package sessionext

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/sealedblob/sealedblob/bayeux"
	"github.com/sealedblob/sealedblob/session"
)

// Extension is the server's side. It is safe for concurrent use.
type Extension struct {
	manager *session.Manager
	log     *slog.Logger

	mu      sync.Mutex
	clients map[string]*client // by clientId
}

// New makes the extension for manager's sessions. A nil logger logs nothing.
func New(manager *session.Manager, logger *slog.Logger) *Extension {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	return &Extension{manager: manager, log: logger, clients: map[string]*client{}}
}

// client is one Bayeux client that is attached to a session.
type client struct {
	to      *bayeux.ServerSession
	session *session.Session

	mu       sync.Mutex
	prompted session.Version // asked once for an answer to this version
}

// Push implements session.Client. What does not arrive is sent again when the
// client says on its next connect what it holds; that connect is asked for at
// once, because only what is acknowledged is safe from a rollback.
func (c *client) Push(p session.Push) {
	if c.to.Deliver(Channel, p.Wire()) == nil {
		c.to.EndConnect()
	}
}

// Detached implements session.Client: the client must shake hands again, with
// a node that has the session or with its blobs.
func (c *client) Detached() { go c.to.Dismiss() }

// answerTime is how long the answer with a renewed session's cookie has to reach the
// browser before its clients are sent to shake hands. One that comes too early is told
// to try again.
const answerTime = 500 * time.Millisecond

// Renewed implements session.Client. The client may be of somebody who knew the
// former cookie, and attached it before a login: it gets nothing more, what it says
// counts for nothing, and it has to shake hands with the new cookie, over a connection
// of its own.
func (c *client) Renewed(*session.Session) { time.AfterFunc(answerTime, c.to.Reopen) }

// prompt reports once for each version that the client's answer is wanted.
func (c *client) prompt(v session.Version) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	wanted := c.prompted != v
	c.prompted = v
	return wanted
}

// timeToSign is how long a client waits with the repetition of a handshake that
// lacks a proof, in milliseconds. Browsers sign in the background.
const timeToSign = 50

// Handshake implements bayeux.HandshakeHook.
func (e *Extension) Handshake(ctx context.Context, h *bayeux.Handshake) {
	var request Request
	present, err := h.Request.DecodeExt(ExtName, &request)
	if !present {
		return // a client that keeps no blobs
	}
	if err != nil || request.Gen != "" {
		request = Request{} // of no version: refused
	}
	s, reply := e.manager.Present(ctx, h.HTTP, request)
	why, wait := "503::try_again", 500+rand.Int64N(1500)
	if s != nil {
		switch err := e.attach(h.Session, s); {
		case err == nil:
			reply.Gen = session.FormatVersion(s.Version())
		case errors.Is(err, session.ErrTooManyClients):
			why, wait = "503::too_many_clients", untilOneLapses.Milliseconds()
			fallthrough
		default: // it left a moment ago: any other answer would have the client give up its attempt
			reply = Reply{V: wireVersion, State: StateRetry}
		}
	}
	if reply.State == StateRetry {
		if reply.Challenge != "" {
			wait = timeToSign
		}
		h.Refuse(why, bayeux.Advice{Reconnect: bayeux.ReconnectHandshake, Interval: &wait})
	}
	if err := h.Reply.SetExt(ExtName, reply); err != nil {
		e.log.Error("handshake reply not encoded", "error", err)
	}
}

// untilOneLapses is how long a client waits whose session has too many.
const untilOneLapses = 10 * time.Second

// attach connects a Bayeux client with its session until one of them is gone.
func (e *Extension) attach(to *bayeux.ServerSession, s *session.Session) error {
	c := &client{to: to, session: s}
	if err := s.Attach(c); err != nil {
		return err
	}
	e.mu.Lock()
	e.clients[to.ID()] = c
	e.mu.Unlock()
	to.OnRemove(func(bool) {
		e.mu.Lock()
		delete(e.clients, to.ID())
		e.mu.Unlock()
		go s.Detach(c) // other removals need not wait while the session is at work
	})
	return nil
}

// Incoming implements bayeux.Extension: each connect says which set the client
// holds. Nobody publishes on the push channel.
func (e *Extension) Incoming(ctx context.Context, from *bayeux.ServerSession, m *bayeux.Message) bool {
	if m.Channel == Channel {
		return false
	}
	if m.Channel != bayeux.MetaConnect || from == nil {
		return true
	}
	e.mu.Lock()
	c := e.clients[from.ID()]
	e.mu.Unlock()
	if c != nil {
		e.acknowledge(ctx, c, m)
	}
	return true
}

func (e *Extension) acknowledge(ctx context.Context, c *client, m *bayeux.Message) {
	var request Request
	present, err := m.DecodeExt(ExtName, &request)
	if !present || err != nil || request.V != wireVersion {
		return
	}
	held, ok := request.Held()
	if !ok {
		return
	}
	s := c.session
	if err := s.Acknowledge(ctx, c, held); err != nil {
		e.log.Info("client not served", "reason", err)
		return
	}
	if v := s.Version(); (held == nil || *held != v) && c.prompt(v) {
		now := int64(0)
		m.Advice = &bayeux.Advice{Timeout: &now} // don't hold this connect: the next one acknowledges
	}
}

// Outgoing implements bayeux.Extension.
func (e *Extension) Outgoing(*bayeux.ServerSession, *bayeux.Message) bool { return true }
