// Package seal turns one session attribute, or one session's manifest, into an
// opaque string that only the holders of a keyring can read or make.
//
// An envelope is a compact JWE (RFC 7516 §7.1) with "alg":"dir" and one fixed
// protected header per key. Its content key is derived from a keyring key for
// one application, tenant, purpose and session salt; nothing of that context
// travels. See docs/SPEC.md §2–5.
//
// Most people want [LoadRing], then [Ring.NewSealer] and [Ring.NewOpener]. The
// package is mechanism only: it authenticates and parses. It does not judge
// expiry, reuse, completeness or binding, so whoever opens an envelope must go
// through session.Restore (or policy and replay) before acting on its claims.
//
// Exactly one string is accepted for each sealed value: base64url is canonical,
// the header is compared byte for byte, and claims have one spelling.
//
// The API may still change before v1.0; the wire format v1 will not.
package seal
