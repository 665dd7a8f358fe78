// Package replay is the memory that makes once-only and rollback promises true:
// who spent a right, and how far each session has moved.
//
// A [Store] keeps two kinds of small records: rights (a once-only attribute's
// use-id, spent at most once) and sessions (fence, floor, watermark and the last
// winning restore, see docs/SPEC.md §8). Most people only choose an
// implementation ([NewMemory], filestore.Open) and hand it to session.New.
//
// [None] is the deliberate mode without a memory. Whoever writes a store finds
// the decisions ready made in [State] and [Ledger], and proves it with
// replaytest.Run.
//
// The package knows nothing of envelopes, policies or HTTP. It never logs.
package replay

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"time"
)

// ID names one record in a store. Make it with [NewID], never from the text of
// an envelope: only authenticated ids are stable.
type ID [16]byte

// Owner is the caller's own random attempt token. A retry that carries the same
// Owner learns the outcome of the first try; everybody else has lost.
type Owner [16]byte

// NewID derives the record name of raw (a uid or sid, as authenticated) within
// namespace (app and tenant), so that two applications can share one store and
// a right can never be mistaken for a session. Each part is length-prefixed.
func NewID(namespace, kind string, raw []byte) ID {
	h := sha256.New()
	for _, part := range [][]byte{[]byte("sealed-blob/v1/replay"), []byte(namespace), []byte(kind), raw} {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(part)))
		h.Write(n[:])
		h.Write(part)
	}
	var id ID
	copy(id[:], h.Sum(nil))
	return id
}

// Outcome is the answer to a claim. Its zero value denies.
type Outcome uint8

// The outcomes of a claim.
const (
	Lost Outcome = iota // somebody else holds it: replayed
	Mine                // this owner won it earlier: the retry of a lost answer
	Won                 // this call won it
)

// String returns "lost", "mine" or "won".
func (o Outcome) String() string {
	switch o {
	case Won:
		return "won"
	case Mine:
		return "mine"
	}
	return "lost"
}

// Granted says whether the caller holds the right.
func (o Outcome) Granted() bool { return o == Won || o == Mine }

// Errors of a store. Every error but these means "we could not tell": the
// caller refuses and may retry with the same [Owner].
var (
	// ErrReplayed says that a right was already spent. Stores answer [Lost];
	// the session package turns it into this error.
	ErrReplayed = errors.New("replay: already spent")
	// ErrBeforeEpoch says that the right or set was issued before this store's
	// memory began, so that it cannot know whether it was used. A final refusal.
	ErrBeforeEpoch = errors.New("replay: issued before the store's epoch")
	// ErrBeyondHorizon says that the record may already have been purged: its
	// KeepUntil has passed by the store's clock, or is at or below the largest
	// KeepUntil that the store ever purged. A final refusal, also when the clock
	// was stepped back since.
	ErrBeyondHorizon = errors.New("replay: at or below the purge horizon")
	// ErrFull says that the store is at its capacity. Nothing live is evicted.
	ErrFull = errors.New("replay: store is full")
	// ErrClosed says that the store was closed.
	ErrClosed = errors.New("replay: store is closed")
)

// Right is one once-only right: the use-id of an attribute.
type Right struct {
	ID ID
	// Issued is when the right was created; it is fixed for life and compared
	// with the store's epoch.
	Issued time.Time
	// KeepUntil is axp + 2·leeway: the last moment at which any envelope of the
	// right could be accepted, plus the clocks' disagreement. It is fixed for
	// life like axp, and not later than that of the right's session.
	KeepUntil time.Time
}

// Version is a place in a session's history. Versions are ordered by fence,
// then generation.
type Version struct {
	Fence, Gen uint64
}

// Less reports whether v is older than w.
func (v Version) Less(w Version) bool {
	return v.Fence < w.Fence || v.Fence == w.Fence && v.Gen < w.Gen
}

// Verdict is a store's decision on a session. Its zero value denies.
type Verdict uint8

// The verdicts of [Sessions].
const (
	Refused    Verdict = iota // nothing is known: beside an error, or for an acknowledgement out of reach
	Superseded                // the session has moved on: another fence, or below the floor
	RolledBack                // older than a protected change
	Revoked                   // logged out
	Spent                     // a right that must be burnt is already spent
	Granted                   // the operation took effect
)

// String returns the verdict's lower-case word.
func (v Verdict) String() string {
	switch v {
	case Superseded:
		return "superseded"
	case RolledBack:
		return "rolled back"
	case Revoked:
		return "revoked"
	case Spent:
		return "spent"
	case Granted:
		return "granted"
	}
	return "refused"
}

// Burn is a right that a restore spends.
type Burn struct {
	Right
	// Required refuses the whole restore, with nothing written, when the right
	// is already spent by another owner, or when it lies before the epoch or
	// beyond the horizon. Otherwise that right alone is lost.
	Required bool
}

// RestoreRequest asks to restore one set of one session, all in one atomic step.
type RestoreRequest struct {
	Session ID
	Set     Version
	// Issued is when the set was sealed; compared with the store's epoch.
	Issued time.Time
	// KeepUntil is the session's axp + 2·leeway.
	KeepUntil time.Time
	// Attempt decides whether a repeated request is the same client's retry. It
	// also owns the rights in Burn.
	Attempt Owner
	// Strict refuses a set older than the watermark; otherwise it is granted
	// and [Restored.BehindWatermark] tells the caller what to withhold.
	Strict bool
	// Burn lists the rights to spend with this restore.
	Burn []Burn
	// Look lists rights whose state is only reported.
	Look []ID
}

// Restored is the answer to a [RestoreRequest]. Unless Verdict is [Granted] the
// store is unchanged and the other fields are zero.
type Restored struct {
	Verdict Verdict
	// Fence is the session's new fence.
	Fence uint64
	// BehindWatermark says that a protected change is newer than the set.
	BehindWatermark bool
	// Burnt holds one outcome for each Burn; Lost means spent by another, or
	// before the epoch, or beyond the horizon.
	Burnt []Outcome
	// Spent says of each Look whether it was spent before this restore.
	Spent []bool
}

// Rights spends once-only rights.
type Rights interface {
	// Claim spends rights for owner, all or none: if any of them is held by
	// another owner nothing is written and the outcome is [Lost]. It is [Mine]
	// if owner held every one before, otherwise [Won]. A right listed twice
	// counts once; a claim of no rights is an error.
	//
	// Claim is one atomic operation over all users of the store, and durable
	// (as far as the store promises to be) before it answers. With an error the
	// outcome is [Lost]: refused for good after [ErrBeforeEpoch] and
	// [ErrBeyondHorizon], otherwise unknown, and the caller may retry with the
	// same owner. A right is remembered at least until its KeepUntil; purging
	// it raises the horizon. A cancelled ctx ends the wait, not necessarily
	// the claim.
	Claim(ctx context.Context, owner Owner, rights ...Right) (Outcome, error)

	// Spent reports which ids are spent, and writes nothing.
	Spent(ctx context.Context, ids ...ID) ([]bool, error)
}

// Sessions fences sessions. A record that does not exist reads as all zero, and
// is created by the first operation that has something to note in it.
// Each operation is atomic and durable like [Rights.Claim], and is one round trip.
// A record is kept until the latest KeepUntil that it was given, which is
// axp + 2·leeway of the session; where that is past or purged, the operation is
// refused with [ErrBeyondHorizon]. With an error the verdict is [Refused]. In
// both, Acknowledge is different, since it is about many sessions.
// The table is in docs/SPEC.md §8; model/restore.py proves it.
type Sessions interface {
	// Restore decides in this order: a revoked session is [Revoked]. If the
	// same attempt restored this very set last, and since then nothing was
	// protected or acknowledged (floor = watermark = 0), it wins again. If the
	// set's fence is not the session's, or its generation is below the floor,
	// it is [Superseded]. If it is below the watermark it is [RolledBack] when
	// Strict. If a Required burn is held by another owner it is [Spent].
	// Otherwise it is granted: fence+1, floor = watermark = 0, attempt and set
	// are noted, burns are claimed. [ErrBeforeEpoch] and [ErrBeyondHorizon] come
	// before all of these.
	Restore(ctx context.Context, r RestoreRequest) (Restored, error)

	// Protect raises the watermark to at.Gen before a protected change is made
	// visible. It is [Revoked] if the session is; [Superseded] means that the
	// session lives elsewhere by now.
	Protect(ctx context.Context, session ID, at Version, keepUntil time.Time) (Verdict, error)

	// Take spends right for owner if the session is still under fence. The
	// verdict is [Granted] with the claim's outcome, [Superseded] or [Revoked]
	// with [Lost]; the watermark is left alone. A right before the epoch or beyond
	// the horizon is an error, as in a claim.
	Take(ctx context.Context, session ID, fence uint64, owner Owner, right Right) (Verdict, Outcome, error)

	// Acknowledge raises the floor of each session that still is under
	// Version.Fence to Version.Gen, and answers one verdict for each, in order:
	// [Granted] if the session is under that fence, [Superseded] if it moved to
	// another, [Revoked] if it was logged out, and [Refused], without an error,
	// if KeepUntil is past or purged, because then nothing is known of it.
	//
	// It never lowers a floor. What raises none is answered all the same and
	// writes nothing, not even a later KeepUntil: with Gen 0 a node learns
	// whether a session still lives with it.
	//
	// Acknowledgements make no record in the last eighth, rounded up, of a
	// store's room for sessions, so that visitors who come and go leave it to
	// restores, protected changes and logouts. Then the error is [ErrFull]: the
	// verdicts hold, and the floors of some sessions without a record were not
	// raised. With any other error there are no verdicts, and some floors may
	// have been raised. Doing it again does no harm.
	Acknowledge(ctx context.Context, acks ...Acknowledged) ([]Verdict, error)

	// Revoke refuses every set of the session until keepUntil. It is idempotent.
	// A keepUntil that is past is [ErrBeyondHorizon]: there is nothing left to
	// refuse.
	Revoke(ctx context.Context, session ID, keepUntil time.Time) error
}

// Acknowledged says that every connected client of a session holds the set at
// Version; with Gen 0, only that the session lives under Version.Fence.
type Acknowledged struct {
	Session   ID
	Version   Version
	KeepUntil time.Time
}

// Store is what the session package needs. Implementations are safe for
// concurrent use by many goroutines and, where they say so, processes. They
// prove themselves with replaytest.Run.
type Store interface {
	Rights
	Sessions
	// Epoch is the moment at which the store's memory began, in whole seconds:
	// everything issued before it, that is Issued.Unix() < Epoch.Unix(), is
	// refused with [ErrBeforeEpoch]. Nobody may issue below it: a set or right
	// sealed in the very second in which a store was made takes Epoch as its time.
	Epoch(ctx context.Context) (time.Time, error)
	// Close releases the store. Later calls return [ErrClosed].
	Close() error
}
