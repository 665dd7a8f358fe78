package session

import (
	"context"
	"net/http"
)

// Present answers a client that hands a set back, or that asks without one, the
// same for every carrier. r is the HTTP request that the cookie came with.
// Presented sets go through [Manager.Restore]; request.Gen plays no part.
//
// s is the session that lives here for the cookie's holder, nil if there is
// none. Reply.Gen is left to the caller, who first connects the client. Requests
// that wait for this session are woken, or sent away if it does not come.
func (m *Manager) Present(ctx context.Context, r *http.Request, request WireRequest) (s *Session, reply WireReply) {
	holder, known := m.Holder(r)
	reply = WireReply{V: WireVersion, State: StateNone}
	switch {
	case request.V != WireVersion:
		reply = m.refusedUnread(ctx, ReasonMalformed, "the request is not of version 1")
	case known && m.replacing(holder): // with the newer cookie it gets an answer
		reply.State = StateRetry
	case !known && request.Presents():
		reply = m.refusedUnread(ctx, ReasonBinding, "no session cookie: nobody is the holder")
	case known && request.Presents():
		s, reply = m.restorePresented(ctx, holder, request)
	}
	if known && s == nil && reply.State != StateRetry {
		s, reply = m.connect(ctx, holder, request, reply) // the session may live here whatever was brought
	}
	if reply.State == StateNone && s == nil && m.draining.Load() {
		reply.State = StateRetry // nothing begins here any more
	}
	if known && s == nil && reply.State != StateRetry {
		m.arrivals.giveUp(holder)
	}
	return s, reply
}

// refusedUnread notes a refusal that never reached [Manager.Restore].
func (m *Manager) refusedUnread(ctx context.Context, class Reason, reason string) WireReply {
	m.observe(ctx, Event{Kind: KindRestore, Result: ResultRefused, Reason: class})
	m.log.Warn("restore refused", "outward", ErrRejected.Error(), "reason", reason)
	return WireReply{V: WireVersion, State: StateRefused}
}

// connect is for a client that brought no set, or a bad one, as reply says.
func (m *Manager) connect(ctx context.Context, h Holder, request WireRequest, reply WireReply) (*Session, WireReply) {
	s, err := m.connectable(ctx, h, request)
	switch {
	case err == nil:
		return s, reply
	case Outward(err) != ErrRejected:
		return nil, m.retry(ctx, h, err)
	case reply.State == StateRefused: // and said so
		return nil, reply
	}
	_, class := outcome(err)
	return nil, m.refusedUnread(ctx, class, err.Error())
}

func (m *Manager) restorePresented(ctx context.Context, h Holder, request WireRequest) (*Session, WireReply) {
	owner, ok := request.owner()
	if !ok {
		return nil, m.refusedUnread(ctx, ReasonMalformed, "the attempt is no token")
	}
	restored, err := m.Restore(ctx, Presented{Holder: h, Attempt: owner, Manifest: request.Manifest, Blobs: request.Blobs, Proof: request.Proof})
	switch Outward(err) {
	case nil:
	case ErrRejected:
		return nil, WireReply{V: WireVersion, State: StateRefused}
	default:
		return nil, m.retry(ctx, h, err)
	}
	reply := WireReply{V: WireVersion, State: StateRestored}
	if restored.Joined {
		reply.State = StateNone
	}
	for _, d := range restored.Dropped {
		reply.Dropped = append(reply.Dropped, d.Slot)
	}
	return restored.Session, reply
}
