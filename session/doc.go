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
// The words: a set is what a client carries, one envelope for each attribute in a
// slot that hides its name, and a manifest that lists them. A set's generation counts
// the sets of a session, its fence the restores: so a [Version] says which of two is
// newer. The [Holder] of a session is who has its cookie. The floor is what all
// connected clients hold, the watermark the newest protected change; older sets are
// refused by the one, and as the policy says by the other. A protected change is one of
// an attribute whose rule says rollback refuse or drop.
//
// Not promised: that an ordinary change, acknowledged by no client, outlives its node;
// that a node which a session has left learns so in less than about ten seconds of use;
// and with replay.None, that an older set is refused. SECURITY.md has the whole list.
//
// What the caller must still do: run [Manager.Run], call [Manager.Drain] before
// the node stops, serve over TLS, and treat [ErrUnavailable] as "try again",
// never as "no session".
package session
