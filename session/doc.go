// Package session keeps a server's sessions in memory and their replicas on
// the clients. It is the one pipeline: seal, policy and replay meet here and
// nowhere else.
//
// Most people make a [Manager] with [New], wrap their handlers in
// [Manager.Middleware], and use [Get], [Set], [Update] and [Take] with the
// request's context and what an attribute was declared with. [FromContext] is the
// session itself, with [Session.Login] and [Session.Logout], and with methods for
// attributes that only a policy file names. bayeux/sessionext carries the sealed sets
// to the clients and back; it and the middleware restore through
// [Manager.Restore], so that there is one order of checks to review
// (docs/SPEC.md §7). [Manager.RestoreHandler] does so over plain HTTP.
//
// [Stateless] serves the same sessions without keeping them: the whole set comes
// with each request, in cookies or in a header. [IssueGrant], [TakeGrant] and
// [GrantPage] are for rights outside any session, such as one-time links.
//
// What the caller must still do: run [Manager.Run], call [Manager.Drain] before
// the node stops, serve over TLS, and treat [ErrUnavailable] as "try again",
// never as "no session".
package session
