package bayeux

import (
	"context"
	"fmt"
	"strings"
)

// Operation is what an [Authorizer] is asked about.
type Operation int

// The operations. Their meaning is that of the [SecurityPolicy] method.
const (
	OperationCreate Operation = iota
	OperationSubscribe
	OperationPublish
)

// Verdict is an [Authorizer]'s answer.
type Verdict int

// The verdicts. The zero one denies unless another authorizer grants.
const (
	Ignore Verdict = iota // no opinion
	Grant
	Deny // whatever others say
)

// Authorizer decides about some channels. It is called concurrently. One that
// panics has denied.
type Authorizer interface {
	Authorize(ctx context.Context, op Operation, channel string, from *ServerSession, m *Message) Verdict
}

// AuthorizerFunc is a function that is an [Authorizer].
type AuthorizerFunc func(ctx context.Context, op Operation, channel string, from *ServerSession, m *Message) Verdict

// Authorize implements [Authorizer].
func (f AuthorizerFunc) Authorize(ctx context.Context, op Operation, channel string, from *ServerSession, m *Message) Verdict {
	return f(ctx, op, channel, from, m)
}

type authorizerEntry struct {
	pattern string
	Authorizer
}

// Authorize puts a in charge of pattern, a channel or a wildcard. It is asked
// after the [SecurityPolicy] agreed. Where authorizers are in charge one must
// grant, and none may deny.
//
// A subscription to a wildcard is also the business of those in charge of a part
// of what it covers: a client that may not read /admin/news may not read /** .
//
// Call it before the server serves. Authorize panics if pattern is no channel.
func (s *Server) Authorize(pattern string, a Authorizer) {
	if !validChannel(pattern) {
		panic(fmt.Sprintf("bayeux: %q is not a channel", pattern))
	}
	s.authorizers = append(s.authorizers, authorizerEntry{pattern, a})
}

// authorized asks all who are in charge of the channel.
func (x *exchange) authorized(op Operation, channel string, from *ServerSession, m *Message) bool {
	asked, granted := false, false
	for _, e := range x.server.authorizers {
		if !overlap(e.pattern, channel) {
			continue
		}
		asked = true
		v := Deny
		x.server.safely("authorizer", func() { v = e.Authorize(x.ctx, op, channel, from, m) })
		switch v {
		case Grant:
			granted = true
		case Ignore:
		default:
			return false
		}
	}
	return granted || !asked
}

// Overlaps reports whether a channel exists that both cover; each is a channel or a
// wildcard. A [SecurityPolicy] that keeps a part of the channels from somebody asks it
// about subscriptions, as a wildcard reaches into that part without its name: /**
// overlaps /secret/**. What is no channel overlaps everything.
func Overlaps(a, b string) bool {
	return !validChannel(a) || !validChannel(b) || overlap(a, b)
}

// overlap reports whether a channel exists that both patterns cover. Both are
// valid; a channel covers itself alone.
func overlap(a, b string) bool {
	for {
		headA, restA, moreA := strings.Cut(a[1:], "/")
		headB, restB, moreB := strings.Cut(b[1:], "/")
		if headA == "**" || headB == "**" {
			return true
		}
		if headA != headB && headA != "*" && headB != "*" {
			return false
		}
		if !moreA || !moreB {
			return moreA == moreB
		}
		a, b = "/"+restA, "/"+restB
	}
}
